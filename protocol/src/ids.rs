//! Typed ids. A block id can't be passed where a generation stamp is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The id after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

number_id! {
    /// A file or directory, never reused (HDFS `INodeId`: the root is 16385).
    INodeId
}
number_id! {
    /// A block, never reused and positive (HDFS: the first is 1073741825).
    BlockId
}
number_id! {
    /// The version of a block: it rises whenever its pipeline is rebuilt (HDFS: the first is 1001).
    GenStamp
}
number_id! {
    /// The place of an operation in the journal, counted from 1 without gaps.
    TxId
}

impl INodeId {
    /// The root directory's id (HDFS `INodeId.ROOT_INODE_ID`).
    pub const ROOT: Self = Self(16385);
}

impl BlockId {
    /// The id before the first one that is given out (HDFS `LAST_RESERVED_BLOCK_ID`).
    pub const LAST_RESERVED: Self = Self(1 << 30);
}

impl GenStamp {
    /// The stamp before the first one that is given out (HDFS `LAST_RESERVED_STAMP`).
    pub const LAST_RESERVED: Self = Self(1000);
}

/// Identifies a datanode for life: written into its data directories at their first use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatanodeUuid(pub String);

impl fmt::Display for DatanodeUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}; expected a form such as {example}")]
pub struct ParseIdError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// A job, `job_<tracker start, ms>_<number>`, as Hadoop writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// When the jobtracker first started, in milliseconds since the epoch.
    pub tracker: u64,
    /// Counted from 1.
    pub number: u32,
}

/// Whether a task maps or reduces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskKind {
    /// Reads a split.
    Map,
    /// Reads a partition of all maps' output.
    Reduce,
}

/// A task of a job, `task_<tracker>_<number>_m_000000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job it belongs to.
    pub job: JobId,
    /// Map or reduce.
    pub kind: TaskKind,
    /// Split or partition number, counted from 0.
    pub index: u32,
}

/// One try at a task, `attempt_<tracker>_<number>_m_000000_0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task it tries.
    pub task: TaskId,
    /// Counted from 0.
    pub number: u32,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job_{}_{:04}", self.tracker, self.number)
    }
}

impl TaskId {
    fn suffix(&self) -> String {
        let kind = match self.kind {
            TaskKind::Map => 'm',
            TaskKind::Reduce => 'r',
        };
        format!("{}_{:04}_{kind}_{:06}", self.job.tracker, self.job.number, self.index)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task_{}", self.suffix())
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt_{}_{}", self.task.suffix(), self.number)
    }
}

fn parse_job(parts: &mut std::str::Split<'_, char>) -> Option<JobId> {
    Some(JobId { tracker: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? })
}

fn parse_task(parts: &mut std::str::Split<'_, char>) -> Option<TaskId> {
    let job = parse_job(parts)?;
    let kind = match parts.next()? {
        "m" => TaskKind::Map,
        "r" => TaskKind::Reduce,
        _ => return None,
    };
    Some(TaskId { job, kind, index: parts.next()?.parse().ok()? })
}

fn whole<T>(
    text: &str,
    prefix: &str,
    parse: impl Fn(&mut std::str::Split<'_, char>) -> Option<T>,
) -> Option<T> {
    let mut parts = text.strip_prefix(prefix)?.split('_');
    let id = parse(&mut parts)?;
    parts.next().is_none().then_some(id)
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        whole(text, "job_", parse_job).ok_or_else(|| ParseIdError {
            text: text.to_owned(),
            what: "job id",
            example: "job_1700000000000_0001",
        })
    }
}

impl FromStr for TaskId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        whole(text, "task_", parse_task).ok_or_else(|| ParseIdError {
            text: text.to_owned(),
            what: "task id",
            example: "task_1700000000000_0001_m_000000",
        })
    }
}

impl FromStr for AttemptId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        whole(text, "attempt_", |parts| {
            Some(AttemptId { task: parse_task(parts)?, number: parts.next()?.parse().ok()? })
        })
        .ok_or_else(|| ParseIdError {
            text: text.to_owned(),
            what: "task attempt id",
            example: "attempt_1700000000000_0001_m_000000_0",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let job = JobId { tracker: 1_700_000_000_000, number: 12 };
        let task = TaskId { job, kind: TaskKind::Reduce, index: 7 };
        let attempt = AttemptId { task, number: 3 };
        assert_eq!(job.to_string(), "job_1700000000000_0012");
        assert_eq!(attempt.to_string(), "attempt_1700000000000_0012_r_000007_3");
        assert_eq!(job.to_string().parse(), Ok(job));
        assert_eq!(task.to_string().parse(), Ok(task));
        assert_eq!(attempt.to_string().parse(), Ok(attempt));
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        for text in ["", "job_", "job_x_1", "job_1_2_3", "task_1_2_q_3", "attempt_1_2_m_3"] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
            assert!(text.parse::<AttemptId>().is_err(), "{text}");
        }
        let error = "nonsense".parse::<JobId>().map_err(|e| e.to_string());
        assert_eq!(
            error,
            Err("'nonsense' is not a job id; expected a form such as job_1700000000000_0001".into())
        );
    }
}
