//! The sort buffer: records as they were emitted, and an index that is sorted instead of them.

use std::sync::Arc;

use anyhow::Result;

use super::collect::MOST_SORT_BYTES;
use super::keep::{KeptRun, Room};
use super::memory::reserve_huge;
use super::merge::Merger;
use super::run::{Cursor, prefix, put_record, split_record};
use super::sort::{Entry, sort_entries};
use crate::context::Shared;

/// The most bytes of a record's two lengths.
const MOST_LENGTH_BYTES: usize = 20;
/// From so many bytes on a buffer is likely to be filled.
const LARGE_BYTES: usize = 4 << 20;

/// Records of a map attempt that are not on disk yet.
#[derive(Debug, Default)]
pub(crate) struct SortBuffer {
    records: Vec<u8>,
    entries: Vec<Entry>,
    spare: Vec<Entry>,
    budget: usize,
}

impl SortBuffer {
    /// A buffer that asks to be emptied when it takes about `budget` bytes, the memory that sorting
    /// needs included.
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, ..Self::default() }
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.records.len() + self.entries.len() * 2 * size_of::<Entry>() >= self.budget
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    pub(crate) fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) {
        let bytes = key.len() + value.len() + MOST_LENGTH_BYTES;
        if self.records.capacity() - self.records.len() < bytes
            || self.entries.len() == self.entries.capacity()
        {
            self.grow(bytes);
        }
        let at = self.records.len() as u32;
        put_record(key, value, &mut self.records);
        self.entries.push(Entry { prefix: prefix(key), at, partition });
    }

    /// Makes room for an entry and so many bytes. A buffer that has some size already gets its whole budget at
    /// once: what is not written to costs nothing, and large pages would be torn by moving it.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) {
        let length = self.records.len();
        let most = self.budget.min(MOST_SORT_BYTES as usize);
        if length >= LARGE_BYTES && length < most {
            reserve_huge(&mut self.records, most + bytes - length);
            let entries = (most / (2 * size_of::<Entry>())).saturating_sub(self.entries.len());
            reserve_huge(&mut self.entries, entries);
        }
        self.records.reserve(bytes);
        self.entries.reserve(1);
    }

    /// Sorts, and gives each partition's records in turn. `heard_by` hears of each that is taken.
    pub(crate) fn sorted(
        &mut self,
        partitions: u32,
        heard_by: &Arc<Shared>,
        mut use_partition: impl FnMut(&mut Merger<'_>) -> Result<()>,
    ) -> Result<()> {
        let starts = self.sort(partitions);
        for bounds in starts.windows(2) {
            let entries = &self.entries[bounds[0]..bounds[1]];
            let cursor = Cursor::of_entries(&self.records, entries)?;
            use_partition(&mut Merger::of_cursors(vec![cursor], heard_by))?;
        }
        Ok(())
    }

    /// Sorts, and leaves everything where it is.
    pub(crate) fn keep(mut self, partitions: u32, room: Room) -> KeptRun {
        let mut bytes = vec![0; partitions as usize];
        let ends = self.entries.iter().skip(1).map(|next| next.at as usize);
        for (entry, end) in self.entries.iter().zip(ends.chain([self.records.len()])) {
            bytes[entry.partition as usize] += end - entry.at as usize;
        }
        let starts = self.sort(partitions);
        KeptRun::sorted(self.records, self.entries, starts, bytes, room)
    }

    /// Sorts the entries; says where those of each partition begin, and where the last end.
    fn sort(&mut self, partitions: u32) -> Vec<usize> {
        let records = &self.records;
        let key_of = |at: u32| {
            let record = split_record(&records[at as usize..]);
            record.expect("invariant: the buffer wrote this record").0
        };
        sort_entries(&mut self.entries, &mut self.spare, partitions, &key_of)
    }

    /// The memory that the records and their entries take.
    pub(crate) fn held_bytes(&self) -> usize {
        self.records.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Makes the buffer empty; its memory stays for what comes.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.entries.clear();
    }
}
