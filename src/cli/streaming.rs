//! `hfs streaming`: Hadoop Streaming.

pub use hfs_mapreduce::streaming::main_of_verb;

/// The verb. In a task process it is the first argument as well.
pub const VERB: &str = "streaming";
