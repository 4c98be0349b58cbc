//! The datanode: replicas on disk and the data transfer protocol.
//!
//! In reading order:
//! - [`store`]: replicas in HDFS's own file formats, in one or more data directories;
//! - [`xceiver`]: the data transfer protocol (HDFS `DataXceiver`): write pipelines, reads, copies,
//!   checksums;
//! - [`ipc`]: the few calls that file clients make on a datanode (`ClientDatanodeProtocol`);
//! - [`namenode`]: registration, reports and commands over one stream;
//! - [`run`]: all of it, from a [`Config`] to an orderly end.
//!
//! What it promises: bytes that were acknowledged are in the operating system's hands, or on the
//! disk if the client asked for that; a complete replica is announced before its last packet is
//! acknowledged; a writer that was replaced can't add a byte; whoever reads gets the checksums that
//! the writer sent.

mod config;
pub mod ipc;
pub mod namenode;
mod run;
pub mod store;
mod web;
pub mod xceiver;

pub use config::Config;
pub use run::run;
