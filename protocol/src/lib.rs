//! The contracts between the processes of hfs: ids, wire messages, frames and checksums.
//!
//! In reading order: [`ids`] and [`error`] are the words every process shares; [`proto`] holds the
//! generated messages and [`delimited`] how single ones are framed; [`hadoop`] is Hadoop RPC,
//! which file clients and the namenode speak; [`transfer`] is the data transfer protocol of block
//! bytes; [`shuffle`] is how map output lies on disk and reaches reducers; [`skip`] is how a dead task tells which
//! record killed it.

pub mod delimited;
pub mod error;
pub mod hadoop;
pub mod ids;
pub mod proto;
pub mod shuffle;
pub mod skip;
pub mod transfer;

#[cfg(test)]
mod testing;
