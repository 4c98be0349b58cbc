//! What the store can't do, said so that an operator or a client can act on it.

use std::io;
use std::path::{Path, PathBuf};

use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::{BlockId, GenStamp};

/// Why the store refused or failed an operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no replica of this block here (HDFS `ReplicaNotFoundException`).
    #[error("this datanode has no replica of blk_{0}")]
    NotFound(BlockId),
    /// There is one already (HDFS `ReplicaAlreadyExistsException`).
    #[error(
        "this datanode already has a replica of blk_{block} ({state}, generation stamp {have})"
    )]
    Exists {
        /// The block.
        block: BlockId,
        /// HDFS's name of its state.
        state: &'static str,
        /// The stamp of the replica that is here.
        have: GenStamp,
    },
    /// The replica's generation stamp is not in the range the caller may act on.
    #[error("blk_{block} has generation stamp {have} here, but {expected} was expected")]
    GenStamp {
        /// The block.
        block: BlockId,
        /// The stamp of the replica that is here.
        have: GenStamp,
        /// What the caller said, in words.
        expected: String,
    },
    /// The replica's state does not allow the operation.
    #[error("blk_{block} is {state} here and can't be {verb}")]
    State {
        /// The block.
        block: BlockId,
        /// HDFS's name of its state.
        state: &'static str,
        /// What was wanted, as a past participle.
        verb: &'static str,
    },
    /// The replica's length is not what the caller said.
    #[error("blk_{block} has {have} bytes here, but {expected} were expected")]
    Length {
        /// The block.
        block: BlockId,
        /// Bytes on disk, or acked, as the operation counts.
        have: u64,
        /// What the caller said, in words.
        expected: String,
    },
    /// A newer recovery of the same block is under way.
    #[error("blk_{block} is under recovery {have}; recovery {asked} comes too late")]
    RecoverySuperseded {
        /// The block.
        block: BlockId,
        /// The recovery that is under way.
        have: GenStamp,
        /// The recovery that was asked for.
        asked: GenStamp,
    },
    /// The thread that writes the replica did not stop in time.
    #[error("the writer of blk_{0} did not stop in {1} s; try again")]
    WriterBusy(BlockId, u64),
    /// The caller's hold on the replica was taken over by a recovery.
    #[error("the writer of blk_{0} was stopped by a recovery of the block")]
    Fenced(BlockId),
    /// No volume has room.
    #[error(
        "no data directory of this datanode has {needed} free bytes beyond its reserve: {details}; \
         free some space or add a directory"
    )]
    NoSpace {
        /// Bytes asked for.
        needed: u64,
        /// Each directory with its free bytes.
        details: String,
    },
    /// The bytes on disk do not match their checksums.
    #[error("blk_{block} is corrupt on this datanode: {reason}")]
    Corrupt {
        /// The block.
        block: BlockId,
        /// What did not match, and where.
        reason: String,
    },
    /// The datanode has not been accepted by a namenode yet, so it has no block pool.
    #[error("this datanode has no block pool yet: it has never registered with a namenode")]
    NoBlockPool,
    /// The block belongs to another block pool.
    #[error("this datanode serves block pool {have}, not {asked}")]
    BlockPool {
        /// Ours.
        have: String,
        /// The caller's.
        asked: String,
    },
    /// A data directory can't be used as it is. A whole sentence.
    #[error("{0}")]
    Directory(String),
    /// The operating system said no.
    #[error("{verb} {} failed: {source}", path.display())]
    Io {
        /// What was tried, such as `read`.
        verb: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

impl StoreError {
    /// Wraps an operating system error with what was tried on which path.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { verb, path, source }
    }

    /// True when the disk itself is suspect: the volume should be checked. Not when it is full, and
    /// not when this process has run out of descriptors or memory: every disk would look ill then.
    #[must_use]
    pub fn is_disk_fault(&self) -> bool {
        use rustix::io::Errno;
        let Self::Io { source, .. } = self else { return false };
        let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
        !source.raw_os_error().is_some_and(|code| short.contains(&code))
            && !matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
            )
    }
}

impl From<&StoreError> for RemoteError {
    fn from(error: &StoreError) -> Self {
        let kind = match error {
            StoreError::NotFound(_) | StoreError::GenStamp { .. } => ErrorKind::ReplicaNotFound,
            StoreError::NoBlockPool | StoreError::WriterBusy(..) => ErrorKind::Retriable,
            _ => ErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}
