//! The HDFS client: a file system whose namenode and datanodes speak HDFS's protocols, be they
//! ours or Apache Hadoop's.
//!
//! In reading order: [`FsUrl`] and [`ClientConfig`] say where and how; [`FileSystem`] is a
//! connected file system and its calls about names; [`FileReader`] and [`FileWriter`] move bytes;
//! [`blocking`] is the same for programs without an async runtime. Inside, `namenode` keeps one
//! logical connection through the namenode's restarts, `reader` goes from replica to replica,
//! and `pipeline` keeps a write going when datanodes die. [`localize`] brings files, directories and
//! archives to this machine; `objects`, behind the feature `object-store`, reaches buckets of S3-like stores.
//!
//! Promises: no byte that fails its checksum is ever given out; a closed file is whole at its
//! datanodes; every wait has a deadline and every retry a budget, named in [`ClientConfig`].

pub mod blocking;
mod checksum;
mod config;
mod dial;
mod error;
mod file_system;
mod lease;
mod list;
pub mod localize;
mod namenode;
#[cfg(feature = "object-store")]
pub mod objects;
mod pipeline;
mod reader;
mod retry;
mod status;
mod url;
mod writer;

pub use config::{
    ChecksumCombine, ClientConfig, PACKET_BYTES_MAX, PACKET_DATA_BYTES_DEFAULT, ReplacePolicy,
};
pub use error::{Error, ErrorKind, Result};
pub use file_system::{FileSystem, normalize, utf8_path};
pub use hfs_protocol::transfer::file_checksum::FileChecksum;
pub use list::ListPages;
pub use reader::{FileReader, MappedRange, WINDOW_BYTES};
pub use status::{
    Access, BlockLocation, ContentSummary, CreateOptions, DatanodeAdminState, DatanodeFilter,
    DatanodeStatus, FileKind, FileStatus, FsStatus, SafeModeAction, ServerDefaults,
};
pub use url::{Authority, BUCKET_SCHEMES, DEFAULT_PORT, FsUrl};
pub use writer::FileWriter;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
