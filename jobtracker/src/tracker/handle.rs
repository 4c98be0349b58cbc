//! How the fronts talk to the loop.

use hfs_protocol::ids::{AttemptId, JobId};
use hfs_protocol::proto::job::{JobStatus, QueueStatus, SubmitRequest, WorkerStatus};
use hfs_protocol::proto::task::{FetchFailed, Progress};
use hfs_protocol::proto::worker::{LogData, TrackerMessage};
use tokio::sync::{mpsc, oneshot, watch};

use crate::job::{Detail, Priority};
use crate::scheduler::{Event, Registration, Report};
use crate::workers::WorkerKey;

/// One connection of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// How often a job's status has changed, and whether it was the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Counted from 0.
    pub number: u64,
    /// The job is over.
    pub ended: bool,
}

/// Why a submission was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Later it might be.
    #[error("{0}")]
    Busy(String),
    /// Something is wrong here.
    #[error("{0}")]
    Failed(String),
}

/// What the cluster looks like now.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// The workers, those that died lately included.
    pub workers: Vec<WorkerStatus>,
    /// Jobs that are not over.
    pub running_jobs: u32,
    /// The queues.
    pub queues: Vec<QueueStatus>,
}

/// What a worker says after it has registered.
#[derive(Debug)]
pub enum WorkerEvent {
    /// It is there.
    Heartbeat,
    /// How far an attempt is.
    Progress(Progress),
    /// An attempt has ended.
    Report(Report),
    /// A reduce could not fetch.
    FetchFailed(FetchFailed),
}

impl WorkerEvent {
    pub(super) fn on(self, worker: WorkerKey) -> Event {
        match self {
            Self::Heartbeat => Event::Heartbeat(worker),
            Self::Progress(progress) => Event::Progress(worker, progress),
            Self::Report(report) => Event::Report(worker, report),
            Self::FetchFailed(report) => Event::FetchFailed(worker, report),
        }
    }
}

/// Asks for an attempt's log.
#[derive(Debug)]
pub struct LogRoute {
    /// Whose.
    pub attempt: AttemptId,
    /// The id of the worker that ran it.
    pub worker: String,
    /// Only so many bytes at the end; 0: all.
    pub tail_bytes: u64,
    /// Where the pieces go. A receiver that is full or gone ends the transfer.
    pub pieces: mpsc::Sender<LogData>,
}

/// What the loop is told or asked.
#[derive(Debug)]
pub enum Message {
    /// A job, checked already.
    Submit {
        /// The job.
        request: Box<SubmitRequest>,
        /// Answered when it is durable.
        reply: oneshot::Sender<Result<JobId, Refusal>>,
    },
    /// A submission is durable, or can't be.
    Durable(JobId, Result<(), String>),
    /// End a job.
    Kill {
        /// Which.
        job: JobId,
        /// Why.
        reason: String,
        /// Whether there is such a job.
        reply: oneshot::Sender<bool>,
    },
    /// Make a job more or less urgent.
    SetPriority {
        /// Which.
        job: JobId,
        /// How urgent.
        priority: Priority,
        /// Whether there is such a job, not over yet. Answered when no restart can forget it.
        reply: oneshot::Sender<Result<bool, String>>,
    },
    /// End an attempt; its task tries again.
    EndAttempt {
        /// Which.
        id: AttemptId,
        /// Whether that counts as a failure.
        fails: bool,
        /// Who wants it, for people.
        reason: String,
        /// Whether it runs.
        reply: oneshot::Sender<bool>,
    },
    /// Give a host or a worker no new attempts, or some again.
    Drain {
        /// The host, or the worker's id.
        node: String,
        /// No new ones.
        drained: bool,
        /// Answered when no restart can forget it.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// A worker opened a stream.
    Register {
        /// What it says.
        registration: Box<Registration>,
        /// What it is told. When this is full the connection is closed and the worker comes again.
        outgoing: mpsc::Sender<Result<TrackerMessage, tonic::Status>>,
        /// The name of this connection.
        reply: oneshot::Sender<SessionId>,
    },
    /// A worker said something.
    FromWorker(SessionId, WorkerEvent),
    /// A worker's stream ended.
    Gone(SessionId),
    /// A piece of a log.
    LogData(LogData),
    /// Send a log.
    ReadLog(LogRoute),
    /// Work that the loop started is done.
    Performed(Event),
    /// The status of a job.
    Status {
        /// Which.
        job: JobId,
        /// How much.
        detail: Detail,
        /// None: there is no such job.
        reply: oneshot::Sender<Option<Box<JobStatus>>>,
    },
    /// The status of all jobs, oldest first.
    List {
        /// Without those that are over.
        running_only: bool,
        /// The answer.
        reply: oneshot::Sender<Vec<JobStatus>>,
    },
    /// Be told when a job changes.
    Watch {
        /// Which.
        job: JobId,
        /// None: there is no such job.
        reply: oneshot::Sender<Option<watch::Receiver<Version>>>,
    },
    /// What the cluster looks like.
    Cluster {
        /// The answer.
        reply: oneshot::Sender<ClusterView>,
    },
}

/// The loop has ended: the jobtracker is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the jobtracker is stopping")]
pub struct Stopped;

/// Talks to the loop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    sender: mpsc::Sender<Message>,
}

impl Handle {
    pub(super) fn new(sender: mpsc::Sender<Message>) -> Self {
        Self { sender }
    }

    /// Sends a message; waits while the queue is full.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn send(&self, message: Message) -> Result<(), Stopped> {
        self.sender.send(message).await.map_err(|_| Stopped)
    }

    /// Sends a message that has a reply and waits for it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// The status of a job, when there is one.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn status(
        &self,
        job: JobId,
        detail: Detail,
    ) -> Result<Option<Box<JobStatus>>, Stopped> {
        self.ask(|reply| Message::Status { job, detail, reply }).await
    }
}
