//! What a mapper emits into when the job has reducers: a table that folds or a buffer that sorts,
//! both of which spill.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::buffer::SortBuffer;
use super::combine::{Combining, Folder};
use super::keep::{MapOutput, Pool, Room};
use super::segment::Segment;
use super::sort::sort_entries;
use super::spill::Spills;
use super::table::Table;
use crate::context::Context;
use crate::counters::TaskCounter;
use crate::mapper::Emit;
use crate::partition::Partitioner;
use crate::record::{Record, Scratch};
use crate::reducer::Combiner;

/// The least sort memory: below it spills would be smaller than a disk's read-ahead.
pub(crate) const LEAST_SORT_BYTES: u64 = 4 << 10;
/// The most sort memory: offsets into the buffers have 32 bits.
pub(crate) const MOST_SORT_BYTES: u64 = 3 << 30;
/// The largest key or value. Bounds what a reader of a run must hold.
const MAX_FIELD_BYTES: usize = 1 << 30;
/// Folding pays while a key is seen at least this often before the table is full. Below it, each
/// record costs a cache miss and saves less than the sort would.
const LEAST_RECORDS_PER_KEY: f64 = 1.3;

/// What a buffer that may stay in memory takes of the pool at a time.
const EXTENSION_BYTES: usize = 64 << 20;

/// Where emitted records wait.
enum Store<A> {
    Fold(Table<A>),
    Sort(SortBuffer),
}

/// Collects, sorts, combines and spills the output of one map attempt.
pub(crate) struct MapCollector<'c, K: Record, V: Record, C, P> {
    context: &'c mut Context,
    partitions: u32,
    partitioner: P,
    combiner: C,
    folder: Folder<K, V, C>,
    store: Store<V::Owned>,
    spills: Spills,
    budget: usize,
    /// What the buffer has taken of the pool, if there is one, to stay in memory.
    room: Option<Room>,
    /// Records emitted since the last spill.
    emitted: u64,
    key_buffer: Vec<u8>,
    value_buffer: Vec<u8>,
}

impl<'c, K, V, C, P> MapCollector<'c, K, V, C, P>
where
    K: Record,
    V: Record,
    C: Combiner<K, V>,
    P: Partitioner<K>,
{
    pub(crate) fn new(
        context: &'c mut Context,
        work_dir: &Path,
        sort_bytes: u64,
        fan_in: usize,
        pool: Option<&Arc<Pool>>,
        combining: Combining<C>,
        partitioner: P,
    ) -> Self {
        let budget = sort_bytes.clamp(LEAST_SORT_BYTES, MOST_SORT_BYTES) as usize;
        let partitions = context.reduces();
        // What is combined becomes smaller on its way to a file.
        let room = pool.filter(|_| !combining.combines::<K, V>()).map(Room::none);
        let store = match &room {
            _ if C::FOLDS => Store::Fold(Table::new(budget)),
            Some(_) => Store::Sort(SortBuffer::growing(budget, MOST_SORT_BYTES as usize)),
            None => Store::Sort(SortBuffer::new(budget)),
        };
        Self {
            context,
            partitions,
            partitioner,
            room,
            combiner: combining.fold.clone(),
            folder: Folder::new(combining),
            store,
            spills: Spills::new(work_dir, partitions, fan_in),
            budget,
            emitted: 0,
            key_buffer: Vec::new(),
            value_buffer: Vec::new(),
        }
    }

    /// Sorts what is left, to leave it in memory if there is a pool with room for it, or to write it and merge the
    /// spills into the attempt's one segment.
    pub(crate) fn finish(mut self, path: &Path) -> Result<MapOutput> {
        self.context.phase("sort", 1.0);
        if let Some(room) = &mut self.room
            && let Store::Sort(buffer) = &mut self.store
            && self.spills.is_empty()
            && room.ensure(buffer.held_bytes() as u64)
            && let Some(room) = self.room.take()
        {
            let kept = std::mem::take(buffer).keep(self.partitions, room);
            self.context.count(TaskCounter::MapOutputRecords, self.emitted);
            let bytes = (0..self.partitions).map(|partition| kept.bytes(partition) as u64).sum();
            self.context.count(TaskCounter::MapOutputBytes, bytes);
            self.context.count(TaskCounter::MapOutputMaterializedBytes, bytes);
            return Ok(MapOutput::Kept(Arc::new(kept)));
        }
        self.spill()?;
        let segment = self.spills.finish(path, &mut self.folder, self.context)?;
        self.context.count(TaskCounter::MapOutputMaterializedBytes, segment.bytes);
        Ok(MapOutput::Segment(segment))
    }

    /// Lets a full buffer grow, so that all of it can stay in memory.
    #[cold]
    #[inline(never)]
    fn extend(&mut self) -> bool {
        let Some(room) = self.room.as_mut().filter(|_| self.spills.is_empty()) else {
            return false;
        };
        let Store::Sort(buffer) = &mut self.store else { return false };
        room.ensure((buffer.budget() + EXTENSION_BYTES) as u64) && buffer.extend(EXTENSION_BYTES)
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self) -> Result<()> {
        let emitted = std::mem::take(&mut self.emitted);
        self.context.count(TaskCounter::MapOutputRecords, emitted);
        match &mut self.store {
            Store::Fold(table) => {
                let combiner = &self.combiner;
                table.settle(|total, value| combiner.combine(total, V::borrow(&value)));
                let keys = table.len();
                if keys == 0 {
                    return Ok(());
                }
                self.context.count(TaskCounter::CombineInputRecords, emitted);
                self.context.count(TaskCounter::CombineOutputRecords, keys as u64);
                self.spill_table()?;
                // The decision is made with a full table's worth of evidence and for good: input
                // whose keys stop repeating rarely starts again.
                if (emitted as f64) < keys as f64 * LEAST_RECORDS_PER_KEY {
                    self.store = Store::Sort(SortBuffer::new(self.budget));
                }
                Ok(())
            }
            Store::Sort(buffer) => {
                if buffer.is_empty() {
                    return Ok(());
                }
                let mut writer = self.spills.create()?;
                buffer.sorted(self.partitions, |records| {
                    self.folder.pass(records, self.context, |k, v| writer.record(k, v))?;
                    writer.end_partition();
                    self.context.progress();
                    Ok(())
                })?;
                buffer.clear();
                if let Some(room) = self.room.as_mut().filter(|room| room.bytes() > 0) {
                    room.clear();
                    *buffer = SortBuffer::new(self.budget);
                }
                let spill = writer.finish()?;
                self.add_spill(spill);
                Ok(())
            }
        }
    }

    fn spill_table(&mut self) -> Result<()> {
        let Store::Fold(table) = &mut self.store else { return Ok(()) };
        let partitions = self.partitions;
        let mut scratch = Scratch::default();
        let mut failed = None;
        let mut entries = table.entries(|bytes| {
            if partitions == 1 {
                return 0;
            }
            match K::decode(bytes, &scratch) {
                Ok(key) => self.partitioner.partition(key, bytes, partitions),
                Err(error) => {
                    failed = Some(error);
                    0
                }
            }
        });
        scratch.clear();
        if let Some(error) = failed {
            return Err(error.into());
        }
        if let Some(entry) = entries.iter().find(|entry| entry.partition >= partitions) {
            return Err(wrong_partition(entry.partition, partitions));
        }
        let key_of = |at: u32| table.key(at);
        let starts = sort_entries(&mut entries, &mut Vec::new(), partitions, &key_of);
        let mut writer = self.spills.create()?;
        let value = &mut self.value_buffer;
        for bounds in starts.windows(2) {
            for entry in &entries[bounds[0]..bounds[1]] {
                value.clear();
                V::encode(V::borrow(table.total(entry.at)), value);
                writer.record(table.key(entry.at), value)?;
            }
            writer.end_partition();
        }
        table.clear();
        let spill = writer.finish()?;
        self.add_spill(spill);
        Ok(())
    }

    fn add_spill(&mut self, spill: Segment) {
        let bytes = spill.index.partitions.iter().map(|entry| entry.length).sum();
        self.context.count(TaskCounter::MapOutputBytes, bytes);
        self.spills.add(spill, self.context);
    }

    #[inline]
    fn sort(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        let Store::Sort(buffer) = &mut self.store else { return Ok(()) };
        self.value_buffer.clear();
        V::encode(value, &mut self.value_buffer);
        let value = &self.value_buffer;
        let (partitioner, partitions) = (&self.partitioner, self.partitions);
        K::with_encoded(key, &mut self.key_buffer, |bytes| {
            let partition =
                if partitions == 1 { 0 } else { partitioner.partition(key, bytes, partitions) };
            if partition >= partitions {
                return Err(wrong_partition(partition, partitions));
            }
            if bytes.len().max(value.len()) > MAX_FIELD_BYTES {
                return Err(too_large(bytes.len(), value.len()));
            }
            buffer.push(partition, bytes, value);
            Ok(())
        })?;
        if buffer.is_full() && !self.extend() {
            self.spill()?;
        }
        Ok(())
    }
}

#[cold]
fn wrong_partition(partition: u32, partitions: u32) -> anyhow::Error {
    anyhow::anyhow!(
        "the partitioner chose partition {partition}, but the job has {partitions}: 0 to {}",
        partitions - 1
    )
}

#[cold]
fn too_large(key: usize, value: usize) -> anyhow::Error {
    anyhow::anyhow!(
        "a record has a key of {key} bytes and a value of {value}; the most is {MAX_FIELD_BYTES} each"
    )
}

impl<K, V, C, P> Emit<K, V> for MapCollector<'_, K, V, C, P>
where
    K: Record,
    V: Record,
    C: Combiner<K, V>,
    P: Partitioner<K>,
{
    #[inline]
    fn emit(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        self.emitted += 1;
        let Store::Fold(table) = &mut self.store else { return self.sort(key, value) };
        let combiner = &self.combiner;
        K::with_encoded(key, &mut self.key_buffer, |bytes| {
            if bytes.len() > MAX_FIELD_BYTES {
                bail!(too_large(bytes.len(), 0));
            }
            table.add(bytes, V::to_owned(value), |total, value| {
                combiner.combine(total, V::borrow(&value));
            });
            Ok(())
        })?;
        if table.is_full() {
            return self.spill();
        }
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        self.context
    }
}
