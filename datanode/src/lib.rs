//! The datanode: replicas on disk and the data transfer protocol.
