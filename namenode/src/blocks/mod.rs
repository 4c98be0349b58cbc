//! The block manager: which replicas should exist, which do, and what to do about the difference.
//!
//! A pure state machine. The time is an argument, events come in (reports, losses, changes of the
//! namespace) and [`Decision`]s go out; it knows no clock, no socket and no thread. All of it is
//! soft state, rebuilt from the namespace and from reports after every start.
//!
//! In reading order: [`map`] holds intent and observation, [`report`] turns reports into
//! observation, [`placement`] chooses nodes for new replicas, [`repair`] turns the difference of
//! intent and observation into work, [`safemode`] says when the namenode knows enough to act.
//!
//! Promises: no decision removes the last good replica of a block; any order of reports and
//! losses ends, given enough nodes and quiet, in the wanted number of good replicas.

#![deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]

pub mod map;
pub mod placement;
pub mod recovery;
pub mod repair;
pub mod report;
pub mod safemode;

mod manager;
#[cfg(test)]
mod tests;

pub use manager::{BlockManager, BlockSettings, Decision, Totals};
pub use map::{BlockIntent, NodeId, Replica, ReplicaKind, StorageId};
