//! The namenode: namespace, block management, journal and its protocol fronts.
//!
//! In reading order:
//!
//! - [`config`]: what can be chosen.
//! - [`namesystem`]: files, directories, leases. Pure; every change is an entry that is journalled first.
//! - [`journal`]: makes entries durable, many with one sync.
//! - [`blocks`] and [`datanodes`]: which replicas should exist, which do, on which nodes. Pure, soft state.
//! - [`service`]: owns all of these; check → journal → apply → durable → answer.
//! - [`front`]: Hadoop RPC for file clients, gRPC for datanodes, HTTP for people and tools.

pub mod blocks;
pub mod config;
mod daemon;
pub mod datanodes;
pub mod front;
pub mod journal;
pub mod namesystem;
pub mod service;
pub mod topology;

pub use config::{Config, XML_KEYS};
pub use daemon::{format, run};
