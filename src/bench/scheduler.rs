//! What a decision of the jobtracker's scheduler costs, and how that grows with the cluster, with the tasks
//! and with the jobs.
//!
//! Only the pure scheduler runs: workers that are nothing but their messages, jobs whose maps each have
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

/// What is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    workers: u32,
    tasks: u32,
    jobs: u32,
}

/// The lines: more workers, then more tasks, then more jobs at once.
const SIZES: [Size; 9] = [
    Size { workers: 10, tasks: 100_000, jobs: 1 },
    Size { workers: 100, tasks: 100_000, jobs: 1 },
    Size { workers: 1_000, tasks: 100_000, jobs: 1 },
    Size { workers: 10_000, tasks: 100_000, jobs: 1 },
    Size { workers: 10_000, tasks: 1_000_000, jobs: 1 },
    Size { workers: 1_000, tasks: 1_000_000, jobs: 1 },
    Size { workers: 1_000, tasks: 100_000, jobs: 10 },
    Size { workers: 1_000, tasks: 100_000, jobs: 100 },
    Size { workers: 1_000, tasks: 100_000, jobs: 1_000 },
];
/// Attempts at once on each worker.
const SLOTS: u32 = 4;
/// Workers in a rack.
const RACK: u32 = 20;

/// One line: a cluster of so many workers that has so many jobs with so many tasks in all.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// Workers.
    pub workers: u32,
    /// Tasks, each launched and reported done.
    pub tasks: u32,
    /// Jobs at once that have them.
    pub jobs: u32,
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
            "scheduler  {:>6} workers  {:>8} tasks  {:>5} jobs  {:>7.0} ns an assignment  {:>6.0} ns a heartbeat  \
             {:>5.1} % node-local",
            self.workers,
            self.tasks,
            self.jobs,
            self.assignment_ns,
            self.heartbeat_ns,
            self.on_node_percent
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

/// Splits of so many tasks, each on three of the hosts.
fn splits(tasks: std::ops::Range<u32>, workers: u32) -> Vec<InputSplit> {
    let spread = |task: u32, copy: u32| {
        let mixed = u64::from(task * 3 + copy).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("h{}", (mixed >> 32) % u64::from(workers))
    };
    let split = |task| InputSplit {
        hosts: (0..3).map(|copy| spread(task, copy)).collect(),
        ..InputSplit::default()
    };
    tasks.map(split).collect()
}

fn measure(Size { workers, tasks, jobs }: Size) -> Line {
    let now = Now { steady_ms: 1_000, wall_ms: 1_700_000_000_000 };
    let scheduler = Scheduler::new(Settings::default());
    let mut cluster = Cluster { scheduler, now, out: Vec::new(), launched: VecDeque::new() };
    (0..workers).for_each(|number| cluster.register(number));

    let of_each = tasks / jobs;
    let ids = (0..jobs).map(|number| JobId { tracker: 1, number: number + 1 });
    for (number, job) in (0..jobs).zip(ids.clone()) {
        let splits = splits(number * of_each..(number + 1) * of_each, workers);
        let job_spec = Some(JobSpec::default());
        let request = SubmitRequest { job: job_spec, splits, ..SubmitRequest::default() };
        cluster.event(Event::Submitted(job, Box::new(request)));
    }

    let begun = Instant::now();
    for job in ids.clone() {
        cluster.event(Event::Journalled(job));
    }
    let mut done = 0;
    let mut heartbeats = Duration::ZERO;
    let mut beaten = 0_u32;
    while done < of_each * jobs {
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
    // Nobody commits them, so they are all still there.
    let going = ids.filter_map(|job| cluster.scheduler.jobs().get(&job));
    let near: u32 = going.map(|job| job.locality[0]).sum();
    Line {
        workers,
        tasks: done,
        jobs,
        assignment_ns: took.as_nanos() as f64 / f64::from(done),
        heartbeat_ns: heartbeats.as_nanos() as f64 / f64::from(beaten.max(1)),
        on_node_percent: 100.0 * f64::from(near) / f64::from(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_assigned_once_and_most_run_near_their_input() {
        for jobs in [1, 7] {
            let line = measure(Size { workers: 10, tasks: 7_000, jobs });
            assert_eq!((line.workers, line.tasks, line.jobs), (10, 7_000, jobs));
            assert!(line.assignment_ns > 0.0 && line.heartbeat_ns > 0.0);
            assert!(line.on_node_percent > 90.0, "{}", line.line());
        }
    }
}
