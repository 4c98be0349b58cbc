//! What goes into the scheduler and what comes out.

use std::ops::Range;

use hfs_protocol::ids::{AttemptId, JobId};
use hfs_protocol::proto::job::SubmitRequest;
use hfs_protocol::proto::task::{Done, FetchFailed, OutputFile, Progress};

use crate::history::Record;
use crate::job::Priority;
use crate::workers::{Profile, WorkerKey};

/// The time of an event, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds on a clock that never jumps: for deadlines.
    pub steady_ms: u64,
    /// Milliseconds since the epoch: for people.
    pub wall_ms: u64,
}

/// An attempt that went wrong, as its worker tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// What went wrong, with the task's own words.
    pub message: String,
    /// The last lines of its log.
    pub log_tail: String,
    /// Ended because the tracker said so.
    pub killed: bool,
    /// No other attempt can do better.
    pub fatal: bool,
    /// In skip mode: the record that was at work, by its number in the task's input.
    pub record: Option<u64>,
}

impl Failure {
    /// One of which no more is known.
    #[must_use]
    pub fn of(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// How an attempt ended, as its worker tells it.
#[derive(Debug, Clone)]
pub enum Report {
    /// It is done.
    Done(Done),
    /// It went wrong.
    Failed(AttemptId, Failure),
}

/// A worker that says hello, for the first time or again.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// What it says of itself.
    pub profile: Profile,
    /// What runs there.
    pub running: Vec<AttemptId>,
    /// Map outputs that lie there.
    pub segments: Vec<(AttemptId, String)>,
    /// Ends that may not have been heard.
    pub reports: Vec<Report>,
}

/// Why a step of a commit was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitError {
    /// What went wrong.
    pub message: String,
    /// The file system gave no clear answer: the step may have been done, or may still be.
    pub unclear: bool,
}

impl CommitError {
    /// It was refused: nothing was done and nothing will be.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self { message: message.into(), unclear: false }
    }

    /// It may have been done.
    #[must_use]
    pub fn unclear(message: impl Into<String>) -> Self {
        Self { message: message.into(), unclear: true }
    }
}

/// What was found when a job was cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaned {
    /// Nothing of the job is left.
    Gone,
    /// Its output directory is there and whole: the commit without a clear answer was done.
    Committed,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job was submitted and its output directory found absent. Its id is new.
    Submitted(JobId, Box<SubmitRequest>),
    /// The submission is durable.
    Journalled(JobId),
    /// The job's history can't be written.
    HistoryFailed(JobId, String),
    /// Someone wants the job ended.
    Kill(JobId, String),
    /// A job shall be more or less urgent.
    Priority(JobId, Priority),
    /// Someone wants an attempt ended; its task tries again.
    EndAttempt {
        /// Which.
        id: AttemptId,
        /// Whether that counts as a failure (`mapred job -fail-task`) or not (`-kill-task`).
        fails: bool,
        /// Who wants it, for people.
        reason: String,
    },
    /// A host or a worker shall get no new attempts, or shall get some again.
    Drain {
        /// The host, or the worker's id.
        node: String,
        /// No new ones.
        drained: bool,
    },
    /// A worker opened a stream.
    Registered(Box<Registration>),
    /// A worker's stream broke.
    Disconnected(WorkerKey),
    /// A worker is there.
    Heartbeat(WorkerKey),
    /// How far an attempt is.
    Progress(WorkerKey, Progress),
    /// An attempt has ended.
    Report(WorkerKey, Report),
    /// A reduce could not get or not trust a map's output.
    FetchFailed(WorkerKey, FetchFailed),
    /// [`Action::CommitTask`] was done, or could not be for this reason.
    TaskCommitted(AttemptId, Result<(), CommitError>),
    /// [`Action::SealJob`] was done, and this is the directory's file id; or it could not be.
    JobSealed(JobId, Result<u64, CommitError>),
    /// [`Action::CommitJob`] was done, or could not be for this reason.
    JobCommitted(JobId, Result<(), CommitError>),
    /// [`Action::CleanJob`] was done, or could not be for this reason.
    JobCleaned(JobId, Result<Cleaned, CommitError>),
    /// A deadline passed ([`super::Scheduler::next_deadline_ms`]).
    Tick,
}

/// Who waits for a journal record to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nobody: it goes out with the next one, and its loss costs only repeated work.
    Buffered,
    /// Somebody: the file is synced.
    Synced,
}

/// What is to be done. Actions on one job are performed in order.
#[derive(Debug, Clone)]
pub enum Action {
    /// Append to the job's history. When the first record ([`Record`] of a submission) is durable,
    /// [`Event::Journalled`] follows.
    Journal(JobId, Box<Record>, Durability),
    /// Start an attempt.
    Launch(WorkerKey, AttemptId),
    /// Stop an attempt.
    Kill(WorkerKey, AttemptId, String),
    /// Tell a reduce of this part of its job's output log ([`super::Scheduler::news`]).
    FeedReduce(WorkerKey, AttemptId, Range<usize>),
    /// The job's local files on this worker can go.
    ForgetJob(WorkerKey, JobId),
    /// End the connection: the worker must register again.
    CloseWorker(WorkerKey, String),
    /// Move the files of the attempt that won to the job's staging directory.
    CommitTask {
        /// The attempt.
        attempt: AttemptId,
        /// Its files.
        files: Vec<OutputFile>,
        /// An earlier tracker may have done it already.
        again: bool,
    },
    /// Mark the directory with the files of all tasks as whole and find its file id. It has to be there
    /// when tasks had output files: so many.
    SealJob(JobId, u64),
    /// Rename the directory of this file id to the output directory. It may have been done before.
    CommitJob(JobId, u64),
    /// Delete the staging directory, and find out what became of the rename of this file id, if it is not 0.
    CleanJob(JobId, u64),
    /// The job's status is another one.
    Changed(JobId),
    /// Nobody can ask about the job any more: its history can go.
    DropHistory(JobId),
}
