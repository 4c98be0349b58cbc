//! The jobtracker: takes jobs, gives their tasks to workers, commits what comes out, once.
//!
//! - [`job`]: a job, its tasks and attempts. Pure.
//! - [`scheduler`]: events in, actions out: which task runs where and what becomes of it. Pure.
//! - [`workers`]: who is there. Pure.
//! - [`history`]: what was promised, written down; a restart goes on from it.
//! - [`tracker`]: the loop that performs the scheduler's actions.
//! - [`queues`], [`access`]: the queues as they are configured, and who may do what.
//! - [`front`]: gRPC for clients and workers, pages and JSON for people and tools.
//!
//! Promises: a job whose submission was answered survives the death of this process. An output
//! directory is absent or complete, each of its records from exactly one attempt. A job ends: every
//! wait in here has a deadline.

pub mod access;
pub mod config;
pub mod front;
pub mod history;
pub mod job;
pub mod queues;
mod run;
pub mod scheduler;
pub mod tracker;
pub mod workers;

pub use config::Config;
pub use run::run;
