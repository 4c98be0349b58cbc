//! Map output that stays in memory: in a local run maps and reduces share a process, so what fits is never written
//! to disk, nor copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};

use super::run::{Cursor, Run};
use super::segment::{MappedSegment, Segment};
use super::sort::Entry;

/// Memory for the output of all maps of a run together.
#[derive(Debug)]
pub(crate) struct Pool {
    free: AtomicU64,
}

impl Pool {
    /// A pool of so many bytes.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { free: AtomicU64::new(bytes) })
    }

    fn take(&self, bytes: u64) -> bool {
        let took = self
            .free
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        took.is_ok()
    }

    fn give(&self, bytes: u64) {
        self.free.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A part of a pool; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Room {
    /// No bytes yet.
    pub(crate) fn none(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), bytes: 0 }
    }

    /// Makes it a part of at least so many bytes, if the pool has them.
    pub(crate) fn ensure(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let took = self.pool.take(more);
        if took {
            self.bytes += more;
        }
        took
    }

    /// Bytes of the part.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives all of it back.
    pub(crate) fn clear(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The sorted output of one map, in memory: records as they were emitted, and entries in their order.
#[derive(Debug)]
pub(crate) struct KeptOutput {
    records: Vec<u8>,
    entries: Vec<Entry>,
    /// Where each partition's entries begin; one more says where the last end.
    starts: Vec<usize>,
    /// Bytes of each partition's records.
    bytes: Vec<usize>,
    _room: Room,
}

impl KeptOutput {
    pub(crate) fn new(
        records: Vec<u8>,
        entries: Vec<Entry>,
        starts: Vec<usize>,
        bytes: Vec<usize>,
        room: Room,
    ) -> Self {
        Self { records, entries, starts, bytes, _room: room }
    }

    /// Bytes of a partition's records.
    pub(crate) fn bytes(&self, partition: u32) -> usize {
        self.bytes.get(partition as usize).copied().unwrap_or_default()
    }

    /// Stands on the first record of a partition.
    pub(crate) fn cursor(&self, partition: u32) -> Result<Cursor<'_>> {
        Cursor::of_entries(&self.records, self.entries(partition))
    }

    fn entries(&self, partition: u32) -> &[Entry] {
        match self.starts.get(partition as usize..) {
            Some([from, to, ..]) => &self.entries[*from..*to],
            _ => &[],
        }
    }
}

/// What a map leaves for reducers.
#[derive(Debug)]
pub(crate) enum MapOutput {
    Segment(Segment),
    Kept(Arc<KeptOutput>),
}

impl MapOutput {
    /// The segment that a map leaves that was given no pool.
    ///
    /// # Errors
    /// When it left its output in memory.
    pub(crate) fn into_segment(self) -> Result<Segment> {
        match self {
            Self::Segment(segment) => Ok(segment),
            Self::Kept(_) => bail!("the map kept its output, but another process is to read it"),
        }
    }

    /// Makes it readable by reducers of this process, and removes its name, if it has one: a killed process leaves
    /// nothing behind.
    pub(crate) fn open(self) -> Result<Opened> {
        Ok(match self {
            Self::Kept(output) => Opened::Kept(output),
            Self::Segment(Segment { path, .. }) => {
                let mapped = MappedSegment::open(&path)?;
                std::fs::remove_file(&path)
                    .with_context(|| format!("{} can't be removed", path.display()))?;
                Opened::Mapped(Arc::new(mapped))
            }
        })
    }
}

/// A map's output as reducers of the same process read it.
#[derive(Debug, Clone)]
pub(crate) enum Opened {
    Mapped(Arc<MappedSegment>),
    Kept(Arc<KeptOutput>),
}

impl Opened {
    /// The run of a partition, verified where it was on disk, and its number of records.
    pub(crate) fn run(&self, partition: u32) -> Result<(Run, u64)> {
        match self {
            Self::Mapped(segment) => segment.run(partition),
            Self::Kept(output) => {
                let records = output.entries(partition).len() as u64;
                Ok((Run::Kept(Arc::clone(output), partition), records))
            }
        }
    }
}
