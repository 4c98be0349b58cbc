//! The contracts between the processes of hfs: ids, wire messages, frames and checksums.

pub mod error;
pub mod ids;
pub mod proto;
