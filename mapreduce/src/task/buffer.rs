//! The sort buffer: records as they were emitted, and an index that is sorted instead of them.

use anyhow::Result;

use super::run::{prefix, put_record, varint};
use super::sort::{Entry, sort_entries};
use super::sorted::{Sorted, Source};

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
        let at = self.records.len() as u32;
        put_record(key, value, &mut self.records);
        self.entries.push(Entry { prefix: prefix(key), at, partition });
    }

    /// Sorts, and gives each partition's records in turn.
    pub(crate) fn sorted(
        &mut self,
        partitions: u32,
        mut use_partition: impl FnMut(&mut SortedRecords<'_>) -> Result<()>,
    ) -> Result<()> {
        let records = &self.records;
        let key_of = |at: u32| record_at(records, at).0;
        let starts = sort_entries(&mut self.entries, &mut self.spare, partitions, &key_of);
        for bounds in starts.windows(2) {
            let entries = &self.entries[bounds[0]..bounds[1]];
            let next = entries.first().map(|entry| record_at(records, entry.at));
            use_partition(&mut SortedRecords { records, entries, next })?;
        }
        Ok(())
    }

    /// Makes the buffer empty; its memory stays for what comes.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.entries.clear();
    }
}

/// The records of one partition in order.
#[derive(Debug)]
pub(crate) struct SortedRecords<'a> {
    records: &'a [u8],
    /// The next record's entry first.
    entries: &'a [Entry],
    next: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Sorted<'a> for SortedRecords<'a> {
    #[inline]
    fn peek(&self) -> Option<(&'a [u8], &'a [u8])> {
        self.next
    }

    #[inline]
    fn advance(&mut self) -> Result<()> {
        if let Some((_, rest)) = self.entries.split_first() {
            self.entries = rest;
        }
        self.next = self.entries.first().map(|entry| record_at(self.records, entry.at));
        Ok(())
    }

    fn source(&mut self) -> Source<'_, 'a> {
        Source::Buffered(self)
    }
}

/// The record that [`SortBuffer::push`] put at `at`.
#[inline]
fn record_at(records: &[u8], at: u32) -> (&[u8], &[u8]) {
    let record = &records[at as usize..];
    let (key_bytes, first) = varint(record).expect("invariant: the buffer wrote this record");
    let (value_bytes, second) =
        varint(&record[first..]).expect("invariant: the buffer wrote this record");
    let record = &record[first + second..];
    (&record[..key_bytes], &record[key_bytes..key_bytes + value_bytes])
}
