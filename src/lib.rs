//! hfs: the command line, the local cluster, and every role behind one binary.
//!
//! - [`cli`]: the verbs.
//! - [`cluster`]: a cluster of real processes on this machine, for users, tests and benches alike.
//! - [`jobs`]: job programs that are part of hfs.
//! - [`bench`]: what hfs does against a peer in the same run.

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod jobs;
