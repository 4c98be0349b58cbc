//! The worker: runs the attempts of jobs on a node and serves their output to reducers.
//!
//! - [`link`]: the stream to the jobtracker, opened again whenever it breaks.
//! - [`node`]: the loop that owns everything that runs here.
//! - [`process`]: task processes: spawn, watch, kill with all they started, use again.
//! - [`localize`]: job programs, fetched once and verified.
//! - [`cache`]: what a job's attempts share (the distributed cache), brought once for a job.
//! - [`shuffle`]: map output for reducers, sent from the file.
//! - [`dirs`]: where things lie.
//!
//! Promises: user code runs in processes of its own and takes nothing down with it. Every attempt
//! launched here ends with one report. When the worker dies, so do its tasks.

pub mod cache;
pub mod config;
pub mod dirs;
pub mod link;
pub mod localize;
pub mod node;
pub mod process;
mod run;
pub mod shuffle;

pub use config::Config;
pub use run::run;
