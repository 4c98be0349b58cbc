//! A task process: one run of a job's program, which works on one attempt after another.
//!
//! ```text
//!          spawn           Hello             Done              Launch
//!  (start) ─────► greeting ─────► working ─────────► idle ─────────────► working
//!                    │               │                 │ idle for too long
//!                    ▼               ▼                 ▼
//!                  gone            gone              gone
//!            (not a job program) (failed, killed,  (told to exit)
//!                                 exited)
//! ```
//!
//! Each process has a driver, one async task that owns the socket, the log and the process. The
//! node gives it [`Order`]s and hears [`Happened`]; exactly one end is told for each attempt.

mod driver;
mod group;
mod limits;
mod log;
mod spawn;
#[cfg(test)]
mod tests;
mod tree;

use std::path::PathBuf;
use std::time::Duration;

use hfs_protocol::proto::task::{Done, FetchFailed, Launch, MapOutputs, Progress};
use tokio::sync::mpsc;

pub use limits::{Excess, MemoryLimit, default_memory};
pub use log::AttemptLog;
pub use spawn::{Child, Program, describe, spawn};
pub(crate) use tree::kill_marked;

/// The environment variable that says whose task a process is: the directory of its worker.
pub const WORKER_DIR_ENV: &str = "HFS_WORKER_DIR";
/// The environment variable that makes a job program a task process.
pub const TASK_SOCKET_ENV: &str = "HFS_TASK_SOCKET";
/// The largest message a task may send.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Orders that may wait for a driver.
const ORDERS: usize = 1024;

/// A task process, by the order of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u64);

/// What an attempt needs.
#[derive(Debug)]
pub struct Work {
    /// What the task is told.
    pub launch: Launch,
    /// Where its log goes.
    pub log: PathBuf,
    /// The memory it may use, with all that it starts.
    pub memory: MemoryLimit,
}

/// What a driver is told.
#[derive(Debug)]
pub enum Order {
    /// Another attempt, for an idle process.
    Work(Box<Work>),
    /// For the attempt at work: map outputs to fetch.
    Outputs(MapOutputs),
    /// End at once.
    Kill,
    /// End when idle.
    Exit,
}

/// How an attempt ended without success.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failed {
    /// What went wrong, with the task's own words.
    pub message: String,
    /// The last lines it printed.
    pub log_tail: String,
    /// It was killed by order.
    pub killed: bool,
    /// No other attempt can do better.
    pub fatal: bool,
}

/// What a driver tells.
#[derive(Debug)]
pub enum Happened {
    /// The attempt goes on.
    Progress(Progress),
    /// The attempt could not get a map's output.
    FetchFailed(FetchFailed),
    /// The attempt is done, and the process idle.
    Done(Done),
    /// The attempt failed, and the process is gone or going.
    Failed(String, Failed),
    /// The process is gone. An attempt that it was given and had not begun comes back.
    Gone(Option<Box<Work>>),
}

/// Times and limits of a process.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it has to say hello.
    pub hello_timeout: Duration,
    /// How long it waits for another attempt.
    pub idle_timeout: Duration,
    /// Bytes of log kept of an attempt.
    pub log_limit: u64,
    /// How many processes it may have, itself included.
    pub processes: usize,
}

/// What a process is started with.
#[derive(Debug)]
pub struct Start {
    /// Its number.
    pub id: ProcessId,
    /// The program.
    pub program: Program,
    /// Where its socket goes.
    pub socket: PathBuf,
    /// Its first attempt.
    pub work: Work,
    /// Times and limits.
    pub limits: Limits,
}

/// Starts a process and its driver. `events` hears of everything.
#[must_use]
pub fn start(start: Start, events: mpsc::Sender<(ProcessId, Happened)>) -> mpsc::Sender<Order> {
    let (orders, received) = mpsc::channel(ORDERS);
    tokio::spawn(driver::drive(start, received, events));
    orders
}
