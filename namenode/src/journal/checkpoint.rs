//! Images in the name directory: written so that a start is short, kept so that one bad image is no loss.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use hfs_daemon::storage::Storage;
use hfs_protocol::ids::TxId;
use parking_lot::RwLock;

use super::files::{Files, Replacement};
use super::{Journal, JournalError};
use crate::namesystem::Namespace;

/// What an image's name begins with; the number of its last entry follows, in twenty digits.
pub const PREFIX: &str = "image_";
/// What the name of an image that is being written begins with.
const UNFINISHED: &str = "image";
/// Bytes of an image that go to the disk at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks that may wait for the disk: what a checkpoint needs of memory, in megabytes. Changes wait for the disk only while
/// it is this much behind the walk over the namespace.
const CHUNKS_WAITING: usize = 64;

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
    pub bytes: u64,
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
    /// segments that all of these cover. Changes wait only while the namespace is walked through; a few chunks of the image are in memory
    /// at any time.
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
        let there = images(files)?;
        let mut file = Replacement::begin(files, UNFINISHED)?;
        let (chunks, waiting) = mpsc::sync_channel::<Vec<u8>>(CHUNKS_WAITING);
        let (walked, written) = thread::scope(|scope| {
            let file = &mut file;
            let writer = scope.spawn(move || -> io::Result<()> {
                waiting.iter().try_for_each(|chunk| file.write_all(&chunk))
            });
            let walked = walk(namespace, &there, chunks);
            let failed = |_| Err(io::Error::other("the thread that writes the image panicked"));
            (walked, writer.join().unwrap_or_else(failed))
        });
        // The walk ends early when the disk fails: the disk's own words say more.
        written?;
        let Walked { txid, pause } = walked?;
        let bytes = file.written();
        if bytes > 0 {
            // An image must not hold what the journal may lose.
            journal.wait_durable(txid)?;
            file.commit(&image_name(txid))?;
        }
        journal.roll()?;
        let segments_removed = name_dir.retain(journal)?;
        Ok(CheckpointReport { txid, bytes, pause, segments_removed })
    }
}

/// What a walk over the namespace found.
struct Walked {
    txid: TxId,
    pause: Duration,
}

/// Sends an image of the namespace as it is now, unless there is one already.
fn walk(
    namespace: &RwLock<Namespace>,
    there: &[TxId],
    chunks: SyncSender<Vec<u8>>,
) -> io::Result<Walked> {
    let started = Instant::now();
    let namespace = namespace.read();
    let txid = namespace.applied();
    let mut out = Chunks { chunk: Vec::new(), chunks };
    if !there.contains(&txid) {
        namespace.write_image(&mut out)?;
    }
    drop(namespace);
    let pause = started.elapsed();
    out.flush()?;
    Ok(Walked { txid, pause })
}

/// Gathers what is written into chunks and sends them to another thread.
struct Chunks {
    chunk: Vec<u8>,
    chunks: SyncSender<Vec<u8>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunks.send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
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
