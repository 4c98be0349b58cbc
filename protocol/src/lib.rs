//! The contracts between the processes of hfs: ids, wire messages, frames and checksums.
//!
//! In reading order: [`ids`] and [`error`] are the words every process shares; [`proto`] holds the
//! generated messages and [`delimited`] how single ones are framed; [`transfer`] is the data
//! transfer protocol of block bytes.

pub mod delimited;
pub mod error;
pub mod ids;
pub mod proto;
pub mod shuffle;
pub mod transfer;

#[cfg(test)]
mod testing;
