//! What is written down about a job, in the order in which it happens.
//!
//! The records are protobuf messages, so that a later version can add fields and still read these.

use hfs_protocol::proto::job::{JobStatus, SubmitRequest};
use hfs_protocol::proto::task::{Counter, OutputFile};

/// One entry of a job's history.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// What happened.
    #[prost(oneof = "Entry", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20")]
    pub entry: Option<Entry>,
}

/// What happened.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Entry {
    /// Always the first record.
    #[prost(message, tag = "1")]
    Submitted(Submitted),
    /// An attempt was sent to a worker.
    #[prost(message, tag = "2")]
    Launched(Launched),
    /// A map with reduces has finished.
    #[prost(message, tag = "3")]
    MapDone(MapDone),
    /// From here on only this attempt's files can count.
    #[prost(message, tag = "4")]
    TaskCommitting(TaskCommitting),
    /// They are in the staging directory.
    #[prost(message, tag = "5")]
    TaskCommitted(TaskCommitted),
    /// An attempt ended without success.
    #[prost(message, tag = "6")]
    AttemptEnded(AttemptEnded),
    /// A finished map's output is gone and the map must run again.
    #[prost(message, tag = "7")]
    OutputLost(OutputLost),
    /// All tasks are done; the staging directory may be renamed from here on.
    #[prost(message, tag = "8")]
    JobCommitting(JobCommitting),
    /// The job will not succeed; what is left is cleaning up.
    #[prost(message, tag = "9")]
    Ending(Ending),
    /// Always the last record: all that will be asked about the job later.
    #[prost(message, tag = "10")]
    Ended(Ended),
    /// The job has another priority.
    #[prost(message, tag = "20")]
    Priority(PriorityChanged),
}

/// A job was taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Submitted {
    /// `job_<tracker>_<number>`.
    #[prost(string, tag = "1")]
    pub job_id: String,
    /// As the client sent it, with the job id filled in.
    #[prost(message, optional, tag = "2")]
    pub request: Option<SubmitRequest>,
    /// Milliseconds since the epoch.
    #[prost(uint64, tag = "3")]
    pub submit_ms: u64,
}

/// An attempt was sent to a worker.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Launched {
    /// The attempt.
    #[prost(string, tag = "1")]
    pub attempt_id: String,
    /// The worker's id, to know it again when it registers.
    #[prost(string, tag = "2")]
    pub worker_id: String,
    /// The worker's host.
    #[prost(string, tag = "3")]
    pub host: String,
    /// node, rack, any; empty for reduces.
    #[prost(string, tag = "4")]
    pub locality: String,
    /// Milliseconds since the epoch.
    #[prost(uint64, tag = "5")]
    pub start_ms: u64,
    /// Whether it races a slower attempt of its task.
    #[prost(bool, tag = "6")]
    pub speculative: bool,
}

/// A map with reduces has finished.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MapDone {
    /// The attempt.
    #[prost(string, tag = "1")]
    pub attempt_id: String,
    /// Where its segment lies on its worker.
    #[prost(string, tag = "2")]
    pub path: String,
    /// The segment's length.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// Its counters.
    #[prost(message, repeated, tag = "4")]
    pub counters: Vec<Counter>,
    /// Milliseconds since the epoch.
    #[prost(uint64, tag = "5")]
    pub finish_ms: u64,
    /// Its output files beside the segment.
    #[prost(message, repeated, tag = "6")]
    pub files: Vec<OutputFile>,
}

/// The attempt that won a task with output files.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskCommitting {
    /// The attempt.
    #[prost(string, tag = "1")]
    pub attempt_id: String,
    /// Its files.
    #[prost(message, repeated, tag = "2")]
    pub files: Vec<OutputFile>,
    /// Its counters.
    #[prost(message, repeated, tag = "3")]
    pub counters: Vec<Counter>,
    /// Milliseconds since the epoch.
    #[prost(uint64, tag = "4")]
    pub finish_ms: u64,
}

/// The files of a task are in place.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskCommitted {
    /// The attempt.
    #[prost(string, tag = "1")]
    pub attempt_id: String,
}

/// An attempt ended without success.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttemptEnded {
    /// The attempt.
    #[prost(string, tag = "1")]
    pub attempt_id: String,
    /// failed, killed, lost.
    #[prost(string, tag = "2")]
    pub end: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub message: String,
    /// The last lines of its log.
    #[prost(string, tag = "4")]
    pub log_tail: String,
    /// Milliseconds since the epoch.
    #[prost(uint64, tag = "5")]
    pub finish_ms: u64,
    /// In skip mode: the record that was at work, by its number in the task's input.
    #[prost(uint64, optional, tag = "6")]
    pub record: Option<u64>,
}

/// A map's output is gone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutputLost {
    /// The attempt that had made it.
    #[prost(string, tag = "1")]
    pub attempt_id: String,
    /// Whether that counts against the map: its worker lives and still nobody could fetch it.
    #[prost(bool, tag = "2")]
    pub counts: bool,
    /// Why.
    #[prost(string, tag = "3")]
    pub message: String,
}

/// All tasks are done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobCommitting {
    /// The file id of the directory that will be renamed to the output directory: whoever finds the
    /// output directory knows by it whether the rename was done. 0 in a job without output.
    #[prost(uint64, tag = "1")]
    pub output_id: u64,
}

/// The job will not succeed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ending {
    /// A `JobState`: failed or killed.
    #[prost(int32, tag = "1")]
    pub state: i32,
    /// Why.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Not 0: a rename of this directory to the output directory was tried, and may have been done.
    #[prost(uint64, tag = "3")]
    pub output_id: u64,
}

/// The job has another priority.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PriorityChanged {
    /// Hadoop's name of it.
    #[prost(string, tag = "1")]
    pub priority: String,
}

/// The job has ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ended {
    /// Its last status, with the attempts.
    #[prost(message, optional, tag = "1")]
    pub status: Option<JobStatus>,
    /// A repeated submission with this token is answered with this job.
    #[prost(string, tag = "2")]
    pub submit_token: String,
}

impl From<Entry> for Record {
    fn from(entry: Entry) -> Self {
        Self { entry: Some(entry) }
    }
}

impl From<Entry> for Box<Record> {
    fn from(entry: Entry) -> Self {
        Self::new(entry.into())
    }
}
