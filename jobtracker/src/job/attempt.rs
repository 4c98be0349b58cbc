//! One try at a task, on one worker.

use hfs_protocol::proto::task::Counter;

use crate::workers::WorkerKey;

/// How near to its input a map runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Locality {
    /// On a node that holds the split.
    Node,
    /// In the rack of such a node.
    Rack,
    /// Anywhere else.
    Any,
}

impl Locality {
    /// The word for status messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Rack => "rack",
            Self::Any => "any",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Its result is the task's result, or was until the output got lost.
    Succeeded,
    /// It went wrong by itself. Counts against the job's `max_attempts`.
    Failed,
    /// The tracker no longer wanted it. Does not count.
    Killed,
    /// Its worker is gone. Does not count.
    Lost,
}

impl AttemptEnd {
    /// The word for status messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Lost => "lost",
        }
    }
}

/// An attempt at work.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// When the attempt was last heard of, on the steady clock.
    pub last_heard_ms: u64,
    /// How far it says it is, 0.0 to 1.0.
    pub fraction: f64,
    /// What it does: map, sort, shuffle, merge, reduce.
    pub phase: String,
    /// Its counters so far.
    pub counters: Vec<Counter>,
    /// Of a reduce: how many entries of the job's output log it was sent.
    pub outputs_sent: usize,
}

/// Where an attempt is in its life.
///
/// ```text
///  launch ──► Running ──► Ended(Succeeded)
///                │ ├────► Ended(Failed)    counts against max_attempts
///                │ ├────► Ended(Killed)    the tracker said so
///                │ └────► Ended(Lost)      its worker died
/// ```
///
/// An attempt that was told to die has ended here at once: its task may go on elsewhere. The slot
/// it holds on its worker is the worker's affair and frees when the worker says so
/// ([`crate::workers::Worker::occupied`]).
#[derive(Debug, Clone)]
pub enum AttemptState {
    /// At work, or on its way to the worker.
    Running(Running),
    /// Over.
    Ended {
        /// How.
        end: AttemptEnd,
        /// When, milliseconds since the epoch.
        finish_ms: u64,
    },
}

/// When a reduce was done with its first phases, milliseconds since the epoch, as it told on its way. 0: it
/// did not, because it is not so far, or was too fast for its reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReducePhases {
    /// It had fetched all map output.
    pub shuffle_finish_ms: u64,
    /// The map output was merged, and the reducer began.
    pub merge_finish_ms: u64,
}

impl ReducePhases {
    /// Takes in that the attempt is in this phase now.
    pub fn note(&mut self, phase: &str, now_ms: u64) {
        let (fetched, merged) = match phase {
            "merge" => (true, false),
            "reduce" => (true, true),
            _ => (false, false),
        };
        if fetched && self.shuffle_finish_ms == 0 {
            self.shuffle_finish_ms = now_ms;
        }
        if merged && self.merge_finish_ms == 0 {
            self.merge_finish_ms = now_ms;
        }
    }
}

/// One try at a task.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its number in the task. Not its place in the list: a restarted tracker leaves a gap.
    pub number: u32,
    /// Where it runs or ran.
    pub worker: WorkerKey,
    /// How near to its input. None for reduces.
    pub locality: Option<Locality>,
    /// Whether it races a slower attempt of its task.
    pub speculative: bool,
    /// When it was launched, milliseconds since the epoch.
    pub start_ms: u64,
    /// Of a reduce: how far it came. Of a map nothing is kept.
    pub phases: ReducePhases,
    /// Where it is in its life.
    pub state: AttemptState,
}

impl Attempt {
    /// The running part, when it runs.
    #[must_use]
    pub fn running(&self) -> Option<&Running> {
        match &self.state {
            AttemptState::Running(running) => Some(running),
            AttemptState::Ended { .. } => None,
        }
    }

    /// The running part, when it runs.
    pub fn running_mut(&mut self) -> Option<&mut Running> {
        match &mut self.state {
            AttemptState::Running(running) => Some(running),
            AttemptState::Ended { .. } => None,
        }
    }
}
