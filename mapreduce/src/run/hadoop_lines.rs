//! The lines that Hadoop's job client prints, which programs around it read: `mrjob`, `luigi` and others
//! find the job's id, its progress, its counters and its failures in them.

use std::collections::BTreeSet;

use hfs_protocol::proto::job::{JobState, JobStatus, SubmitReply, TaskCounts};
use hfs_protocol::proto::task::Counter;
use jiff::Zoned;
use parking_lot::Mutex;

use crate::counters::{FILE_SYSTEM_GROUP, TASK_GROUP};

const JOB: &str = "mapreduce.Job";
const STREAM_JOB: &str = "streaming.StreamJob";

/// What was printed of a job so far.
#[derive(Debug, Default)]
pub(super) struct Printed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    percent: Option<(u32, u32)>,
    failures: BTreeSet<String>,
}

fn log(level: &str, logger: &str, message: &str) {
    let now = Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
    eprintln!("{now} {level} {logger}: {message}");
}

/// The job was accepted.
pub(super) fn submitted(reply: &SubmitReply) {
    if !reply.web_url.is_empty() {
        log("INFO", JOB, &format!("The url to track the job: {}", reply.web_url));
    }
    log("INFO", JOB, &format!("Running job: {}", reply.job_id));
}

impl Printed {
    /// How far it is: printed when it has changed.
    pub(super) fn progress(&self, maps: f64, reduces: f64) {
        let percent = |share: f64| (share.clamp(0.0, 1.0) * 100.0) as u32;
        let now = (percent(maps), percent(reduces));
        let mut state = self.0.lock();
        if state.percent != Some(now) {
            state.percent = Some(now);
            log("INFO", JOB, &format!(" map {}% reduce {}%", now.0, now.1));
        }
    }

    /// A cluster's job: its progress, and attempts that have failed since the last look.
    pub(super) fn status(&self, status: &JobStatus) {
        let share = |counts: &Option<TaskCounts>| match counts {
            // As in Hadoop tasks that there are none of are done.
            Some(counts) if counts.total > 0 => counts.progress,
            _ if status.state() == JobState::Succeeded => 1.0,
            _ => 0.0,
        };
        self.progress(share(&status.maps), share(&status.reduces));
        for failure in &status.failures {
            if !self.0.lock().failures.insert(failure.attempt_id.clone()) {
                continue;
            }
            let mut message = format!(
                "Task Id : {}, Status : FAILED\nError: {}",
                failure.attempt_id, failure.message
            );
            if !failure.log_tail.is_empty() {
                message += &format!("\nthe last it said, on {}:", failure.worker);
            }
            for line in failure.log_tail.lines() {
                message += &format!("\n  {line}");
            }
            log("INFO", JOB, &message);
        }
    }
}

/// It has succeeded.
pub(super) fn succeeded(job_id: &str, counters: &[Counter], output: &str) {
    log("INFO", JOB, &format!("Job {job_id} completed successfully"));
    log("INFO", JOB, &counters_block(counters));
    if !output.is_empty() {
        log("INFO", STREAM_JOB, &format!("Output directory: {output}"));
    }
}

/// It has not.
pub(super) fn failed(status: &JobStatus) {
    let state = if status.state() == JobState::Killed { "KILLED" } else { "FAILED" };
    let (id, why) = (&status.job_id, &status.message);
    log("INFO", JOB, &format!("Job {id} failed with state {state} due to: {why}"));
    if !status.counters.is_empty() {
        log("INFO", JOB, &counters_block(&status.counters));
    }
    log("ERROR", STREAM_JOB, &format!("Job not successful! See the logs: hfs job logs {id}"));
}

/// The program ends without success; `why` unless that was told.
pub(crate) fn command_failed(why: Option<&anyhow::Error>) {
    if let Some(why) = why {
        log("ERROR", STREAM_JOB, &format!("Error Launching job : {why:#}"));
    }
    eprintln!("Streaming Command Failed!");
}

/// Counters as Hadoop shows them, indented below their groups.
fn counters_block(counters: &[Counter]) -> String {
    let mut block = format!("Counters: {}", counters.len());
    let mut group = "";
    for counter in counters {
        if counter.group != group {
            group = &counter.group;
            block += &format!("\n\t{}", shown_group(group));
        }
        block += &format!("\n\t\t{}={}", shown_name(&counter.name), counter.value);
    }
    block
}

fn shown_group(group: &str) -> &str {
    match group {
        TASK_GROUP => "Map-Reduce Framework",
        FILE_SYSTEM_GROUP => "File System Counters",
        other => other,
    }
}

/// The names that Hadoop shows for its counters; a job's own have their own.
fn shown_name(name: &str) -> &str {
    match name {
        "MAP_INPUT_RECORDS" => "Map input records",
        "MAP_OUTPUT_RECORDS" => "Map output records",
        "MAP_OUTPUT_BYTES" => "Map output bytes",
        "MAP_OUTPUT_MATERIALIZED_BYTES" => "Map output materialized bytes",
        "COMBINE_INPUT_RECORDS" => "Combine input records",
        "COMBINE_OUTPUT_RECORDS" => "Combine output records",
        "SPILLED_RECORDS" => "Spilled Records",
        "SHUFFLED_MAPS" => "Shuffled Maps ",
        "FAILED_SHUFFLE" => "Failed Shuffles",
        "MERGED_MAP_OUTPUTS" => "Merged Map outputs",
        "REDUCE_SHUFFLE_BYTES" => "Reduce shuffle bytes",
        "REDUCE_INPUT_GROUPS" => "Reduce input groups",
        "REDUCE_INPUT_RECORDS" => "Reduce input records",
        "REDUCE_OUTPUT_RECORDS" => "Reduce output records",
        "CPU_MILLISECONDS" => "CPU time spent (ms)",
        "HDFS_BYTES_READ" => "HDFS: Number of bytes read",
        "HDFS_BYTES_WRITTEN" => "HDFS: Number of bytes written",
        "FILE_BYTES_READ" => "FILE: Number of bytes read",
        "FILE_BYTES_WRITTEN" => "FILE: Number of bytes written",
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shown_as_hadoop_shows_them() {
        let counter = |group: &str, name: &str, value| Counter {
            group: group.into(),
            name: name.into(),
            value,
        };
        let counters = [
            counter(FILE_SYSTEM_GROUP, "HDFS_BYTES_READ", 7),
            counter(TASK_GROUP, "MAP_INPUT_RECORDS", 2),
            counter("mine", "bad lines", 1),
        ];
        assert_eq!(
            counters_block(&counters),
            "Counters: 3\n\tFile System Counters\n\t\tHDFS: Number of bytes read=7\
             \n\tMap-Reduce Framework\n\t\tMap input records=2\n\tmine\n\t\tbad lines=1"
        );
    }
}
