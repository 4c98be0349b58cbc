//! The journal: makes entries durable in order, many with one sync, and gives them back at a start.
//!
//! [`Journal`] is what the service sees. [`LocalJournal`] keeps segment files in the name directory ([`segment`] is their
//! format, `docs/formats.md` has the diagrams); [`MemoryJournal`] serves tests. Both pass [`conformance`]. [`files`] is the
//! seam to the directory, [`recovery`] turns a directory into a namespace and a journal, [`checkpoint`] shortens the next
//! recovery.
//!
//! Promises: an entry that was reported durable survives a loss of power. After a write or a sync failed, nothing is
//! reported durable ever again: the journal is poisoned, and only a restart finds out what the disk has.

pub mod checkpoint;
pub mod conformance;
pub mod files;
mod local;
mod memory;
pub mod recovery;
pub mod segment;
#[cfg(test)]
mod tests;
pub mod version;

pub use checkpoint::{CheckpointError, CheckpointReport, Checkpointer, NameDir};
pub use files::{DirFiles, Files};
pub use local::{JournalOptions, LocalJournal};
pub use memory::MemoryJournal;
pub use recovery::{Recovered, Recovery, RecoveryError, RecoveryOptions, RecoveryReport};
pub use version::Identity;

use std::future::Future;
use std::pin::Pin;

use hfs_protocol::ids::TxId;

/// Why the journal takes no entry, or will never make one durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk failed. Entries above `durable` may be lost or not; nobody can know before a restart.
    #[error(
        "the journal stopped after operation {durable}: {reason}. {}",
        if *.disk_full { "Free space in the name directory and restart the namenode" }
        else { "Check the disk of the name directory and restart the namenode" }
    )]
    Poisoned {
        /// The last entry that is certainly durable.
        durable: TxId,
        /// Whether there was just no room.
        disk_full: bool,
        /// What failed, with the file.
        reason: String,
    },
    /// The namenode is stopping.
    #[error("the journal is closed: the namenode is stopping")]
    Closed,
    /// An entry that no reader would accept.
    #[error(
        "an entry of {bytes} bytes is longer than the {} that a record may have",
        segment::MAX_PAYLOAD_BYTES
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

/// A future that can be kept anywhere.
pub type Durable = Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send>>;

/// A log of entries. One writer appends (the service, under the namespace lock); anybody waits.
pub trait Journal: Send + Sync {
    /// Puts an entry in line for the disk and says which one it is: 1 after the one before. Cheap: no disk is touched. Waits
    /// only when the line is full, which bounds its memory.
    ///
    /// # Errors
    /// When the journal is poisoned or closed.
    fn append(&self, payload: &[u8]) -> Result<TxId, JournalError>;

    /// The last entry in line or on disk.
    fn appended(&self) -> TxId;

    /// The last entry that survives a loss of power. One atomic load.
    fn durable(&self) -> TxId;

    /// Blocks until an entry is durable.
    ///
    /// # Errors
    /// When it will never be.
    fn wait_durable(&self, txid: TxId) -> Result<(), JournalError>;

    /// Resolves when an entry is durable. Ask [`Self::durable`] first: it is cheaper.
    fn when_durable(&self, txid: TxId) -> Durable;

    /// Why the journal is poisoned; `None` while it is well.
    fn poisoned(&self) -> Option<JournalError>;

    /// Begins a new segment once everything in line is durable; returns its first entry's number.
    ///
    /// # Errors
    /// When the journal is poisoned or closed.
    fn roll(&self) -> Result<TxId, JournalError>;

    /// Removes the segments of which no entry is `keep_from` or later.
    ///
    /// # Errors
    /// What the disk says; the journal itself is not harmed.
    fn purge(&self, keep_from: TxId) -> std::io::Result<usize>;

    /// Makes everything in line durable and takes no more.
    fn close(&self);
}
