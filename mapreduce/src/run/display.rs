//! What a person sees of a running job, on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use hfs_protocol::proto::job::{JobState, JobStatus, SubmitReply, TaskCounts};
use hfs_protocol::proto::task::Counter;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::Talk;
use super::hadoop_lines::Printed;
use crate::counters::{FILE_SYSTEM_GROUP, TaskCounter};
use crate::local::LocalProgress;

/// Without a terminal a line is printed at most so often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
/// Steps of the bar.
const STEPS: u64 = 1000;
/// Maps are this share of the bar: reading is most of the work.
const MAP_SHARE: f64 = 0.7;

/// A bar on a terminal, a line now and then elsewhere.
pub(super) struct Display {
    /// Hadoop's lines instead of all else.
    hadoop: Option<Printed>,
    bar: Option<ProgressBar>,
    plain: Mutex<Plain>,
    name: String,
    start: Instant,
}

#[derive(Default)]
struct Plain {
    last: Option<Instant>,
    line: String,
}

impl Display {
    /// Shows the job that began at `start` from now on.
    pub(super) fn new(name: &str, start: Instant, talk: Talk) -> Self {
        let hadoop = (talk == Talk::Hadoop).then(Printed::default);
        let bar = (hadoop.is_none() && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(STEPS);
            if let Ok(style) =
                ProgressStyle::with_template("{elapsed:>4} [{bar:30}] {percent:>3}% {msg}")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { hadoop, bar, plain: Mutex::default(), name: name.to_owned(), start }
    }

    pub(super) fn local(&self, progress: LocalProgress) {
        let ratio = |(done, all): (usize, usize)| done as f64 / all.max(1) as f64;
        if let Some(hadoop) = &self.hadoop {
            return hadoop.progress(ratio(progress.maps), ratio(progress.reduces));
        }
        let line = format!(
            "maps {}/{}, reduces {}/{}",
            progress.maps.0, progress.maps.1, progress.reduces.0, progress.reduces.1
        );
        self.show(ratio(progress.maps), ratio(progress.reduces), line, false);
    }

    pub(super) fn status(&self, status: &JobStatus) {
        if let Some(hadoop) = &self.hadoop {
            return hadoop.status(status);
        }
        let none = TaskCounts::default();
        let (maps, reduces) =
            (status.maps.as_ref().unwrap_or(&none), status.reduces.as_ref().unwrap_or(&none));
        let mut line = format!(
            "maps {}/{} ({} running), reduces {}/{} ({} running)",
            maps.succeeded,
            maps.total,
            maps.running,
            reduces.succeeded,
            reduces.total,
            reduces.running
        );
        let failed = maps.failed_attempts + reduces.failed_attempts;
        if failed > 0 {
            line.push_str(&format!(", {failed} failed attempts"));
        }
        let read = bytes_read(&status.counters);
        if read > 0 {
            let seconds = self.start.elapsed().as_secs_f64().max(0.001);
            let rate = HumanBytes((read as f64 / seconds) as u64);
            line.push_str(&format!(", read {} at {rate}/s", HumanBytes(read)));
        }
        let ended =
            matches!(status.state(), JobState::Succeeded | JobState::Failed | JobState::Killed);
        self.show(maps.progress, reduces.progress, line, ended);
    }

    fn show(&self, maps: f64, reduces: f64, mut line: String, ended: bool) {
        let share = (maps * MAP_SHARE + reduces * (1.0 - MAP_SHARE)).clamp(0.0, 1.0);
        if let Some(bar) = &self.bar {
            if share > 0.05 && share < 1.0 {
                let left = self.start.elapsed().mul_f64((1.0 - share) / share);
                line.push_str(&format!(", about {} left", HumanDuration(left)));
            }
            bar.set_position((share * STEPS as f64) as u64);
            bar.set_message(line);
            return;
        }
        let mut plain = self.plain.lock();
        let due = plain.last.is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL);
        if (due || ended) && plain.line != line {
            eprintln!("{}: {:3.0}%, {line}", self.name, share * 100.0);
            plain.last = Some(Instant::now());
            plain.line = line;
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.hadoop.is_some() {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        eprintln!("{}: ended after {seconds:.2} s", self.name);
    }
}

/// Says that a job was accepted.
pub(super) fn submitted(name: &str, reply: &SubmitReply) {
    let web = if reply.web_url.is_empty() { "" } else { ", " };
    eprintln!("{name}: submitted as {}{web}{}", reply.job_id, reply.web_url);
}

fn bytes_read(counters: &[Counter]) -> u64 {
    let name = TaskCounter::HdfsBytesRead.name();
    let found = counters.iter().find(|c| c.group == FILE_SYSTEM_GROUP && c.name == name);
    found.and_then(|counter| u64::try_from(counter.value).ok()).unwrap_or(0)
}

/// Prints counters by group.
pub(super) fn counters(counters: &[Counter]) {
    let mut group = "";
    for counter in counters {
        if counter.group != group {
            group = &counter.group;
            eprintln!("{group}");
        }
        eprintln!("  {}={}", counter.name, counter.value);
    }
}

/// Says why a job did not succeed, and where to read more.
pub(super) fn failure(status: &JobStatus) {
    let verb = if status.state() == JobState::Killed { "was killed" } else { "failed" };
    eprintln!("{} ({}) {verb}: {}", status.name, status.job_id, status.message);
    for failure in &status.failures {
        eprintln!("  {} on {}: {}", failure.attempt_id, failure.worker, failure.message);
        for line in failure.log_tail.lines() {
            eprintln!("    | {line}");
        }
    }
    eprintln!("see the logs: hfs job logs {}", status.job_id);
}
