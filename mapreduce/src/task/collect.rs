//! What a mapper emits into when the job has reducers: a table that folds or a buffer that sorts,
//! both of which spill.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::attempt::Environment;
use super::buffer::SortBuffer;
use super::combine::{Combining, Folder};
use super::keep::{KeptRun, KeptWriter, MapOutput, Pool};
use super::segment::{Segment, SortedWriter};
use super::sort::{Entry, sort_entries};
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

/// Room that a folded value and the lengths of a record are expected to take in memory.
const COMMON_VALUE_BYTES: usize = 16;

/// What a table takes that an ordinary core's own caches nearly hold.
const CACHED_TABLE_BYTES: usize = 16 << 20;
/// A full table of that size is tried with more memory when it has seen each of its keys so often,
const TRIED_RECORDS_PER_KEY: f64 = 4.0;
/// this much,
const TRIED_TABLE_BYTES: usize = 128 << 20;
/// and may take the whole budget when each key was then seen so often: a text with few words looks like one with many
/// until most of them have been met.
const LARGE_RECORDS_PER_KEY: f64 = 12.0;
/// Keys in whose tables it shows whether folding pays.
const EVIDENT_KEYS: u64 = 1 << 19;

/// What to do with a full table.
#[derive(Debug, PartialEq, Eq)]
enum WhenFull {
    /// It may take so many bytes.
    Extend(usize),
    Spill,
    /// More memory brought little: go on with a small one.
    SpillAndStaySmall,
}

/// Decides about a table that may take `most` bytes, was allowed `budget` of them, and is full with so many records
/// folded to so many keys. `small`: it was decided before that tables stay small.
fn when_full(budget: usize, most: usize, small: bool, records: u64, keys: u64) -> WhenFull {
    let per_key = records as f64 / keys.max(1) as f64;
    let tried = most.min(TRIED_TABLE_BYTES);
    if budget < tried && !small && per_key >= TRIED_RECORDS_PER_KEY {
        WhenFull::Extend(tried)
    } else if budget < tried || budget >= most {
        WhenFull::Spill
    } else if per_key >= LARGE_RECORDS_PER_KEY {
        WhenFull::Extend(most)
    } else {
        WhenFull::SpillAndStaySmall
    }
}

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
    /// Where what would be spilled stays in memory as long as there is room.
    pool: Option<Arc<Pool>>,
    kept: Vec<KeptRun>,
    /// No more records come.
    last: bool,
    /// Records emitted since the last spill.
    emitted: u64,
    /// More memory for the table was tried in vain.
    small: bool,
    /// Records that went through tables which were spilled, and keys they became.
    folded: (u64, u64),
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
        env: &Environment,
        combining: Combining<C>,
        partitioner: P,
    ) -> Self {
        let budget = env.sort_bytes.clamp(LEAST_SORT_BYTES, MOST_SORT_BYTES) as usize;
        let partitions = context.reduces();
        // A combiner that is a reducer only works on its way to a file.
        let pool = env.pool.as_ref().filter(|_| combining.reducer.is_none()).cloned();
        let kept = pool.is_some();
        let store = if C::FOLDS {
            // Spills that stay in memory are cheap, tables larger than the caches are not.
            Store::Fold(Table::new(if kept { budget.min(CACHED_TABLE_BYTES) } else { budget }))
        } else {
            Store::Sort(SortBuffer::new(budget))
        };
        Self {
            context,
            partitions,
            partitioner,
            pool,
            kept: Vec::new(),
            combiner: combining.fold.clone(),
            folder: Folder::new(combining),
            store,
            spills: Spills::new(env, partitions),
            budget,
            last: false,
            emitted: 0,
            small: false,
            folded: (0, 0),
            key_buffer: Vec::new(),
            value_buffer: Vec::new(),
        }
    }

    /// Sorts and spills what is left, and merges what went to disk into the attempt's one segment, unless reducers of
    /// this process can read the spills as they are.
    pub(crate) fn finish(mut self, path: &Path) -> Result<MapOutput> {
        self.context.phase("sort", 1.0);
        self.last = true;
        self.spill()?;
        let mut bytes = self.kept.iter().map(|run| run.total_bytes() as u64).sum();
        let mut segments = Vec::new();
        if self.kept.is_empty() || !self.spills.is_empty() {
            segments = self.spills.finish(path, &mut self.folder, self.context)?;
            bytes += segments.iter().map(|segment| segment.bytes).sum::<u64>();
        }
        self.context.count(TaskCounter::MapOutputMaterializedBytes, bytes);
        Ok(MapOutput { kept: self.kept, segments })
    }

    #[cold]
    #[inline(never)]
    fn full(&mut self) -> Result<()> {
        let Store::Fold(table) = &mut self.store else { return self.spill() };
        let keys = table.len() as u64;
        match when_full(table.budget(), self.budget, self.small, self.emitted, keys) {
            WhenFull::Extend(budget) => {
                table.extend(budget);
                Ok(())
            }
            WhenFull::Spill => self.spill(),
            WhenFull::SpillAndStaySmall => {
                self.small = true;
                self.spill()?;
                if let Store::Fold(table) = &mut self.store {
                    *table = Table::new(self.budget.min(CACHED_TABLE_BYTES));
                }
                Ok(())
            }
        }
    }

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
                let whole = table.budget() == self.budget;
                self.spill_table()?;
                self.folded = (self.folded.0 + emitted, self.folded.1 + keys as u64);
                let (records, keys) = self.folded;
                // The decision is made with much evidence and for good: input whose keys stop repeating
                // rarely starts again.
                if (whole || keys >= EVIDENT_KEYS)
                    && (records as f64) < keys as f64 * LEAST_RECORDS_PER_KEY
                {
                    self.store = Store::Sort(SortBuffer::new(self.budget));
                }
                Ok(())
            }
            Store::Sort(buffer) => {
                if buffer.is_empty() {
                    return Ok(());
                }
                let pool = self.pool.as_ref();
                if let Some(room) = pool.and_then(|pool| pool.take(buffer.held_bytes())) {
                    let full = std::mem::replace(buffer, SortBuffer::new(self.budget));
                    self.keep(full.keep(self.partitions, room));
                    return Ok(());
                }
                let mut writer = self.spills.create(self.last)?;
                let heard_by = Arc::clone(self.context.shared());
                buffer.sorted(self.partitions, &heard_by, |records| {
                    self.folder.pass(records, self.context, |k, v| writer.record(k, v))?;
                    writer.end_partition()?;
                    self.context.progress();
                    Ok(())
                })?;
                buffer.clear();
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
        let mut entries = table.entries(|bytes, hash| {
            if partitions == 1 {
                return 0;
            }
            if let Some(partition) = self.partitioner.of_hash(hash, partitions) {
                return partition;
            }
            match K::decode(bytes(), &scratch) {
                Ok(key) => self.partitioner.partition(key, bytes(), partitions),
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
        let value = &mut self.value_buffer;
        let bytes = table.key_bytes() + entries.len() * COMMON_VALUE_BYTES;
        if let Some(room) = self.pool.as_ref().and_then(|pool| pool.take(bytes)) {
            let mut writer = KeptWriter::new(bytes);
            write_in_order::<V>(table, &entries, &starts, value, &mut writer)?;
            table.clear();
            self.keep(writer.finish(room));
            return Ok(());
        }
        let mut writer = self.spills.create(self.last)?;
        write_in_order::<V>(table, &entries, &starts, value, &mut writer)?;
        table.clear();
        let spill = writer.finish()?;
        self.add_spill(spill);
        Ok(())
    }

    fn keep(&mut self, run: KeptRun) {
        self.context.count(TaskCounter::MapOutputBytes, run.total_bytes() as u64);
        self.context.progress();
        self.kept.push(run);
    }

    fn add_spill(&mut self, spill: Segment) {
        self.context.count(TaskCounter::MapOutputBytes, spill.record_bytes);
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
        if buffer.is_full() {
            self.full()?;
        }
        Ok(())
    }
}

/// Writes the table's records in the order of the entries.
fn write_in_order<V: Record>(
    table: &Table<V::Owned>,
    entries: &[Entry],
    starts: &[usize],
    value: &mut Vec<u8>,
    writer: &mut impl SortedWriter,
) -> Result<()>
where
    V::Owned: Default,
{
    for bounds in starts.windows(2) {
        for at in bounds[0]..bounds[1] {
            table.prefetch_key(entries, at);
            let entry = &entries[at];
            value.clear();
            V::encode(V::borrow(table.total(entry.at)), value);
            writer.record(table.key(entry.at), value)?;
        }
        writer.end_partition()?;
    }
    Ok(())
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
        self.context.tick();
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
            return self.full();
        }
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        self.context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_grow_while_keys_repeat() {
        const MOST: usize = 256 << 20;
        let of = |budget, small, records| when_full(budget, MOST, small, records, 1000);
        assert_eq!(of(CACHED_TABLE_BYTES, false, 3_000), WhenFull::Spill);
        assert_eq!(of(CACHED_TABLE_BYTES, false, 4_000), WhenFull::Extend(TRIED_TABLE_BYTES));
        assert_eq!(of(CACHED_TABLE_BYTES, true, 40_000), WhenFull::Spill);
        assert_eq!(of(TRIED_TABLE_BYTES, false, 11_000), WhenFull::SpillAndStaySmall);
        assert_eq!(of(TRIED_TABLE_BYTES, false, 12_000), WhenFull::Extend(MOST));
        assert_eq!(of(MOST, false, 40_000), WhenFull::Spill);
        // Whoever gives less memory than a table would be tried with gets nothing else than spills.
        assert_eq!(when_full(1 << 20, 1 << 20, false, 40_000, 1000), WhenFull::Spill);
    }
}
