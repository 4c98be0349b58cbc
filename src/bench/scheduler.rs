//! What a decision of the jobtracker's scheduler costs, and how that grows with the cluster.
//!
//! Only the pure scheduler runs: workers that are nothing but their messages, one job whose maps each have
//! three hosts, and every event settled by itself, as on a tracker that has all the time in the world. The
//! figures are of one thread.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hfs_jobtracker::scheduler::{Action, Event, Now, Registration, Report, Scheduler, Settings};
use hfs_jobtracker::workers::{Profile, WorkerKey};
use hfs_protocol::ids::{AttemptId, JobId};
use hfs_protocol::proto::job::SubmitRequest;
use hfs_protocol::proto::task::{Done, InputSplit, JobSpec};
use serde::Serialize;

/// Workers of each line.
const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];
/// Attempts at once on each worker.
const SLOTS: u32 = 4;
/// Tasks for each worker, but never less than [`TASKS_MIN`] in all.
const TASKS_PER_WORKER: u32 = 100;
/// So few tasks would be over before a clock could tell.
const TASKS_MIN: u32 = 50_000;
/// Workers in a rack.
const RACK: u32 = 20;

/// One line: a cluster of so many workers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// Workers.
    pub workers: u32,
    /// Tasks, each launched and reported done.
    pub tasks: u32,
    /// Nanoseconds for each: its report taken in, its slot given to the next task.
    pub assignment_ns: f64,
    /// Nanoseconds for a heartbeat when every slot is taken and tasks wait.
    pub heartbeat_ns: f64,
    /// Of 100 maps, how many ran on a host of their input.
    pub on_node_percent: f64,
}

impl Line {
    /// The line for people.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "scheduler  {:>6} workers  {:>8} tasks  {:>7.0} ns an assignment  {:>6.0} ns a heartbeat  \
             {:>5.1} % node-local",
            self.workers, self.tasks, self.assignment_ns, self.heartbeat_ns, self.on_node_percent
        )
    }
}

/// Measures all sizes.
#[must_use]
pub fn run() -> Vec<Line> {
    SIZES.into_iter().map(measure).collect()
}

struct Cluster {
    scheduler: Scheduler,
    now: Now,
    out: Vec<Action>,
    launched: VecDeque<(WorkerKey, AttemptId)>,
}

impl Cluster {
    fn event(&mut self, event: Event) {
        self.scheduler.handle(self.now, event, &mut self.out);
        self.scheduler.settle(self.now, &mut self.out);
        for action in self.out.drain(..) {
            if let Action::Launch(worker, attempt) = action {
                self.launched.push_back((worker, attempt));
            }
        }
    }

    fn register(&mut self, number: u32) {
        let profile = Profile {
            id: format!("w{number}"),
            host: format!("h{number}"),
            rack: format!("/r{}", number / RACK),
            slots: SLOTS,
            ..Profile::default()
        };
        let registration = Registration { profile, ..Registration::default() };
        self.event(Event::Registered(Box::new(registration)));
    }
}

fn measure(workers: u32) -> Line {
    let tasks = (workers * TASKS_PER_WORKER).max(TASKS_MIN);
    let now = Now { steady_ms: 1_000, wall_ms: 1_700_000_000_000 };
    let scheduler = Scheduler::new(Settings::default());
    let mut cluster = Cluster { scheduler, now, out: Vec::new(), launched: VecDeque::new() };
    (0..workers).for_each(|number| cluster.register(number));

    let job = JobId { tracker: 1, number: 1 };
    let spread = |task: u32, copy: u32| {
        let mixed = u64::from(task * 3 + copy).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("h{}", (mixed >> 32) % u64::from(workers))
    };
    let splits = (0..tasks)
        .map(|task| InputSplit {
            hosts: (0..3).map(|copy| spread(task, copy)).collect(),
            ..InputSplit::default()
        })
        .collect();
    let request =
        SubmitRequest { job: Some(JobSpec::default()), splits, ..SubmitRequest::default() };
    cluster.event(Event::Submitted(job, Box::new(request)));

    let begun = Instant::now();
    cluster.event(Event::Journalled(job));
    let mut done = 0;
    let mut heartbeats = Duration::ZERO;
    let mut beaten = 0_u32;
    while done < tasks {
        let Some((worker, attempt)) = cluster.launched.pop_front() else {
            // What is left waits a moment for its own node.
            cluster.now.steady_ms += 100;
            cluster.now.wall_ms += 100;
            cluster.event(Event::Tick);
            continue;
        };
        let report = Done { attempt_id: attempt.to_string(), ..Done::default() };
        cluster.event(Event::Report(worker, Report::Done(report)));
        done += 1;
        if done % 64 == 0 {
            let beat = Instant::now();
            cluster.event(Event::Heartbeat(worker));
            heartbeats += beat.elapsed();
            beaten += 1;
        }
    }
    let took = begun.elapsed().saturating_sub(heartbeats);
    let locality = cluster.scheduler.jobs().get(&job).map_or([0; 3], |job| job.locality);
    Line {
        workers,
        tasks,
        assignment_ns: took.as_nanos() as f64 / f64::from(tasks),
        heartbeat_ns: heartbeats.as_nanos() as f64 / f64::from(beaten.max(1)),
        on_node_percent: 100.0 * f64::from(locality[0]) / f64::from(tasks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_assigned_once_and_most_run_near_their_input() {
        let line = measure(10);
        assert_eq!((line.workers, line.tasks), (10, TASKS_MIN));
        assert!(line.assignment_ns > 0.0 && line.heartbeat_ns > 0.0);
        assert!(line.on_node_percent > 90.0, "{}", line.line());
    }
}
