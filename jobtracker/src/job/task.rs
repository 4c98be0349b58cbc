//! A task: one map's split or one reduce's partition, until it is done once.

use hfs_protocol::proto::task::{Counter, OutputFile};

use super::attempt::{Attempt, AttemptEnd, AttemptState, Running};
use crate::workers::WorkerKey;

/// Where a finished map's segment file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentAt {
    /// The worker that serves it.
    pub worker: WorkerKey,
    /// Its path in that worker's local file system.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// The result of a task.
#[derive(Debug, Clone)]
pub struct Success {
    /// The attempt whose result counts.
    pub attempt: u32,
    /// Of a map with reduces: its output.
    pub segment: Option<SegmentAt>,
    /// Of a map with reduces: its output files beside that, which are moved when the job is sealed. Until then a
    /// map whose output gets lost may run again, and the files of only one attempt count.
    pub files: Vec<OutputFile>,
    /// The attempt's last counters.
    pub counters: Vec<Counter>,
    /// How often a reduce reported that it could not fetch this output.
    pub fetch_reports: u32,
}

/// An attempt that is done and whose files are being moved to the job's staging directory.
#[derive(Debug, Clone)]
pub struct Committing {
    /// The one attempt whose files will count. Whoever else finishes now comes too late.
    pub attempt: u32,
    /// What is moved.
    pub files: Vec<OutputFile>,
    /// The attempt's last counters.
    pub counters: Vec<Counter>,
}

/// Where a task is in its life.
///
/// ```text
///            launch              files to commit             moved
///  Waiting ─────────► Running ───────────────────► Committing ─────► Succeeded
///     ▲                 │ │                            │               ▲ │
///     ├── attempt ended ┘ └──── map with reduces ──────┼───────────────┘ │
///     ├────────────────── could not be moved ──────────┘                 │
///     └────────────────── a map's output got lost ───────────────────────┘
/// ```
#[derive(Debug, Clone)]
pub enum TaskState {
    /// In the queue.
    Waiting,
    /// At least one attempt is at work.
    Running,
    /// One attempt has finished and its files are being moved.
    Committing(Committing),
    /// Done.
    Succeeded(Success),
}

/// A state's name without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Waiting,
    Running,
    Committing,
    Succeeded,
}

impl TaskState {
    pub(super) fn tag(&self) -> Tag {
        match self {
            Self::Waiting => Tag::Waiting,
            Self::Running => Tag::Running,
            Self::Committing(_) => Tag::Committing,
            Self::Succeeded(_) => Tag::Succeeded,
        }
    }
}

/// A task and everything that was tried.
#[derive(Debug, Clone)]
pub struct Task {
    /// Where it is.
    pub state: TaskState,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// How many attempts have failed, of the `max_attempts` that may.
    pub failures: u32,
    /// Records (of a map) or groups (of a reduce) that were at work when attempts in skip mode failed, by their
    /// numbers in the task's input.
    pub bad_records: Vec<u64>,
}

impl Default for Task {
    fn default() -> Self {
        let (attempts, bad_records) = (Vec::new(), Vec::new());
        Self { state: TaskState::Waiting, attempts, failures: 0, bad_records }
    }
}

impl Task {
    /// The attempt of this number.
    #[must_use]
    pub fn attempt(&self, number: u32) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| attempt.number == number)
    }

    /// The attempt of this number.
    pub fn attempt_mut(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.number == number)
    }

    /// The attempts at work.
    pub fn running(&self) -> impl Iterator<Item = (&Attempt, &Running)> {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.running().map(|running| (attempt, running)))
    }

    /// The number the next attempt gets: above all before it and at least `base`.
    #[must_use]
    pub fn next_number(&self, base: u32) -> u32 {
        self.attempts.last().map_or(base, |last| (last.number + 1).max(base))
    }

    /// Whether a try of this task has failed on this worker.
    #[must_use]
    pub fn failed_on(&self, worker: WorkerKey) -> bool {
        self.failures > 0
            && self.attempts.iter().any(|attempt| {
                attempt.worker == worker
                    && matches!(attempt.state, AttemptState::Ended { end: AttemptEnd::Failed, .. })
            })
    }

    /// Whether the task is done.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.state, TaskState::Succeeded(_))
    }

    /// Ends a running attempt. False when there is no such attempt at work.
    pub fn end(&mut self, number: u32, end: AttemptEnd, finish_ms: u64) -> bool {
        let Some(attempt) = self.attempt_mut(number) else { return false };
        if attempt.running().is_none() {
            return false;
        }
        attempt.state = AttemptState::Ended { end, finish_ms };
        true
    }
}
