//! hfs: the command line, the local cluster, and every role behind one binary.
//!
//! - [`cli`]: the verbs.

pub mod cli;
pub mod cluster;
