//! Images in the name directory: written so that a start is short, kept so that one bad image is no loss.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hfs_daemon::storage::Storage;
use hfs_protocol::ids::TxId;
use parking_lot::RwLock;

use super::files::{self, Files};
use super::{Journal, JournalError};
use crate::namesystem::Namespace;

/// What an image's name begins with; the number of its last entry follows, in twenty digits.
pub const PREFIX: &str = "image_";

/// A name directory in use.
#[derive(Debug, Clone)]
pub struct NameDir {
    files: Arc<dyn Files>,
    /// How many images are kept, at least one. Segments that the oldest of them needs stay too.
    images_kept: usize,
}

impl NameDir {
    /// The directory behind `files`, in which `images_kept` images stay.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, images_kept: usize) -> Self {
        Self { files, images_kept: images_kept.max(1) }
    }
}

/// The name of the image that ends with `txid`.
#[must_use]
pub fn image_name(txid: TxId) -> String {
    format!("{PREFIX}{:020}", txid.0)
}

/// The last entry of an image, from its name.
#[must_use]
pub fn image_txid(name: &str) -> Option<TxId> {
    let digits = name.strip_prefix(PREFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok().map(TxId)).flatten()
}

/// The images in a directory, oldest first.
///
/// # Errors
/// What the disk says.
pub fn images(files: &dyn Files) -> io::Result<Vec<TxId>> {
    Ok(files.list()?.iter().filter_map(|name| image_txid(name)).collect())
}

/// What a checkpoint did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointReport {
    /// The last entry in the image.
    pub txid: TxId,
    /// The image's size; 0 when there was one already.
    pub bytes: usize,
    /// For how long no change could be made.
    pub pause: Duration,
    /// How many journal segments are gone.
    pub segments_removed: usize,
}

/// Why there is no new image. The old ones and the journal are untouched.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The journal failed first.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk said no.
    #[error("can't write an image: {0}")]
    Io(#[from] io::Error),
}

/// Makes checkpoints.
#[derive(Debug)]
pub struct Checkpointer;

impl Checkpointer {
    /// Writes an image of the namespace as it is now, and removes what no start needs any more: images beyond the newest few, and
    /// segments that all of these cover. Changes wait only while the image is put together in memory.
    ///
    /// Blocks for as long as the disk takes. One at a time.
    ///
    /// # Errors
    /// What the journal or the disk says.
    pub fn run(
        name_dir: &NameDir,
        namespace: &RwLock<Namespace>,
        journal: &dyn Journal,
    ) -> Result<CheckpointReport, CheckpointError> {
        let files = name_dir.files.as_ref();
        let started = Instant::now();
        let (txid, image) = {
            let namespace = namespace.read();
            (namespace.applied(), namespace.to_image())
        };
        let pause = started.elapsed();
        let mut bytes = 0;
        if !images(files)?.contains(&txid) {
            // An image must not hold what the journal may lose.
            journal.wait_durable(txid)?;
            files::replace(files, &image_name(txid), &image)?;
            bytes = image.len();
        }
        journal.roll()?;
        let segments_removed = name_dir.retain(journal)?;
        Ok(CheckpointReport { txid, bytes, pause, segments_removed })
    }
}

impl NameDir {
    /// Removes images beyond the newest few, then the segments that none of these needs.
    fn retain(&self, journal: &dyn Journal) -> io::Result<usize> {
        let files = self.files.as_ref();
        let images = images(files)?;
        let cut = images.len().saturating_sub(self.images_kept);
        for &old in &images[..cut] {
            files.remove(&image_name(old))?;
        }
        if cut > 0 {
            files.sync()?;
        }
        if images.len() < self.images_kept {
            return Ok(0);
        }
        journal.purge(images[cut].next())
    }
}

/// A storage read from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Stream {
    file: Box<dyn Storage>,
    offset: u64,
}

impl Stream {
    pub(crate) fn new(file: Box<dyn Storage>) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.offset, into)?;
        self.offset += count as u64;
        Ok(count)
    }
}
