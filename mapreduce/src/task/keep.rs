//! Map output that stays in memory: in a local run maps and reduces share a process, so what fits is never written
//! to disk, nor merged before the reduce.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result, bail};

use super::run::{Cursor, Run, put_record};
use super::segment::{MappedSegment, Segment, SortedWriter};
use super::sort::Entry;

/// Memory for the output of all maps of a run together.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Below 0 when runs took more than was expected of them.
    free: AtomicI64,
}

impl Pool {
    /// A pool of so many bytes.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { free: AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX)) })
    }

    /// A part of so many bytes, if there are as many.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let bytes = i64::try_from(bytes).ok()?;
        let left = |free: i64| free.checked_sub(bytes).filter(|&left| left >= 0);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).ok()?;
        Some(Room { pool: Arc::clone(self), bytes })
    }
}

/// A part of a pool; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    pool: Arc<Pool>,
    bytes: i64,
}

impl Room {
    fn resize(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.pool.free.fetch_add(self.bytes - bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.pool.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Sorted output of a map, in memory.
#[derive(Debug)]
pub(crate) struct KeptRun {
    records: Vec<u8>,
    order: Order,
    _room: Room,
}

#[derive(Debug)]
enum Order {
    /// Records lie as they were emitted; entries are in their order.
    Entries {
        entries: Vec<Entry>,
        /// Where each partition's entries begin; one more says where the last end.
        starts: Vec<usize>,
        /// Bytes of each partition's records.
        bytes: Vec<usize>,
    },
    /// Records lie in their order: where each partition's are, and how many.
    Written(Vec<(Range<usize>, u64)>),
}

impl KeptRun {
    pub(crate) fn sorted(
        records: Vec<u8>,
        entries: Vec<Entry>,
        starts: Vec<usize>,
        bytes: Vec<usize>,
        room: Room,
    ) -> Self {
        Self { records, order: Order::Entries { entries, starts, bytes }, _room: room }
    }

    /// Bytes of a partition's records.
    pub(crate) fn bytes(&self, partition: u32) -> usize {
        match &self.order {
            Order::Entries { bytes, .. } => bytes[partition as usize],
            Order::Written(partitions) => partitions[partition as usize].0.len(),
        }
    }

    /// Bytes of all records.
    pub(crate) fn total_bytes(&self) -> usize {
        self.records.len()
    }

    fn count(&self, partition: u32) -> u64 {
        let at = partition as usize;
        match &self.order {
            Order::Entries { starts, .. } => (starts[at + 1] - starts[at]) as u64,
            Order::Written(partitions) => partitions[at].1,
        }
    }

    /// Stands on the first record of a partition.
    pub(crate) fn cursor(&self, partition: u32) -> Result<Cursor<'_>> {
        let at = partition as usize;
        match &self.order {
            Order::Entries { entries, starts, .. } => {
                Cursor::of_entries(&self.records, &entries[starts[at]..starts[at + 1]])
            }
            Order::Written(partitions) => Cursor::new(&self.records[partitions[at].0.clone()]),
        }
    }
}

/// Writes a run that stays in memory.
#[derive(Debug)]
pub(crate) struct KeptWriter {
    records: Vec<u8>,
    partitions: Vec<(Range<usize>, u64)>,
    count: u64,
}

impl KeptWriter {
    /// A writer of about so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { records: Vec::with_capacity(bytes), partitions: Vec::new(), count: 0 }
    }

    /// Ends the run, whose room becomes what it takes: only now that is known.
    pub(crate) fn finish(self, mut room: Room) -> KeptRun {
        room.resize(self.records.len());
        KeptRun { records: self.records, order: Order::Written(self.partitions), _room: room }
    }
}

impl SortedWriter for KeptWriter {
    #[inline]
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        put_record(key, value, &mut self.records);
        self.count += 1;
        Ok(())
    }

    fn end_partition(&mut self) -> Result<()> {
        let from = self.partitions.last().map_or(0, |(range, _)| range.end);
        self.partitions.push((from..self.records.len(), std::mem::take(&mut self.count)));
        Ok(())
    }
}

/// What a map leaves for reducers.
#[derive(Debug)]
pub(crate) struct MapOutput {
    pub(crate) kept: Vec<KeptRun>,
    /// What was not kept; there is one at least where nothing was.
    pub(crate) segments: Vec<Segment>,
}

impl MapOutput {
    /// The one segment that a map leaves for other processes.
    ///
    /// # Errors
    /// When it left output in memory, or several segments.
    pub(crate) fn into_segment(mut self) -> Result<Segment> {
        match self.segments.pop() {
            Some(segment) if self.kept.is_empty() && self.segments.is_empty() => Ok(segment),
            _ => bail!(
                "the map left its output for this process, but other processes are to read it"
            ),
        }
    }

    /// Makes it readable by reducers of this process, and removes its names, if it has any: a killed process leaves
    /// nothing behind.
    pub(crate) fn open(self) -> Result<Vec<Opened>> {
        let mut opened: Vec<_> =
            self.kept.into_iter().map(|run| Opened::Kept(Arc::new(run))).collect();
        for Segment { path, .. } in self.segments {
            opened.push(Opened::Mapped(Arc::new(MappedSegment::open(&path)?)));
            std::fs::remove_file(&path)
                .with_context(|| format!("{} can't be removed", path.display()))?;
        }
        Ok(opened)
    }
}

/// A part of a map's output as reducers of the same process read it.
#[derive(Debug, Clone)]
pub(crate) enum Opened {
    Mapped(Arc<MappedSegment>),
    Kept(Arc<KeptRun>),
}

impl Opened {
    /// The run of a partition, verified where it was on disk, and its number of records.
    pub(crate) fn run(&self, partition: u32) -> Result<(Run, u64)> {
        match self {
            Self::Mapped(segment) => segment.run(partition),
            Self::Kept(run) => Ok((Run::Kept(Arc::clone(run), partition), run.count(partition))),
        }
    }
}
