//! The wire messages, generated from `proto/`.
#![allow(missing_docs, clippy::all)]

/// Messages of Apache Hadoop.
pub mod hadoop {
    /// Hadoop RPC version 9.
    pub mod common {
        include!(concat!(env!("OUT_DIR"), "/hadoop.common.rs"));
    }
    /// The HDFS protocols.
    pub mod hdfs {
        include!(concat!(env!("OUT_DIR"), "/hadoop.hdfs.rs"));
    }
}

/// Datanode and namenode.
pub mod datanode {
    include!(concat!(env!("OUT_DIR"), "/hfs.datanode.rs"));
}

/// Worker and task process.
pub mod task {
    include!(concat!(env!("OUT_DIR"), "/hfs.task.rs"));
}

/// Job clients and jobtracker.
pub mod job {
    include!(concat!(env!("OUT_DIR"), "/hfs.job.rs"));
}

/// Worker and jobtracker.
pub mod worker {
    include!(concat!(env!("OUT_DIR"), "/hfs.worker.rs"));
}
