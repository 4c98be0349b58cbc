//! A run: records sorted by key, one after the other, as segments and spills hold them.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use memmap2::Mmap;

use super::fetch::budget::Held;
use super::keep::KeptRun;
use super::memory::{append_short, prefetch};
use super::sort::Entry;

/// Appends a length: LEB128, seven bits a byte, lowest first.
#[inline]
pub(crate) fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The length at the front of `bytes` and the bytes it takes.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let &first = bytes.first()?;
    if first < 0x80 {
        return Some((usize::from(first), 1));
    }
    let mut value = usize::from(first & 0x7f);
    for (at, &byte) in bytes.iter().enumerate().skip(1).take(8) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Appends a record.
#[inline]
pub(crate) fn put_record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    put_varint(key.len(), out);
    put_varint(value.len(), out);
    append_short(key, out);
    append_short(value, out);
}

/// The first eight bytes of a key as a number that compares as they do; short keys are padded with
/// zeros, so equal prefixes decide nothing.
#[inline]
pub(crate) fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(bytes)
        }
    }
}

/// Entries whose records are asked for before they are looked at: sorted records lie anywhere.
const PREFETCHED: usize = 8;
/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Where a run lies. Mapped runs cost page cache, not memory of the task, so they don't count against the sort
/// memory; runs in memory hold their part of it; kept ones hold a part of their own pool.
#[derive(Debug, Clone)]
pub(crate) enum Run {
    Memory(Arc<Held>),
    Mapped(Arc<Mmap>, Range<usize>),
    /// A partition of what a map of the same process has left in memory.
    Kept(Arc<KeptRun>, u32),
}

impl Run {
    /// Bytes of its records.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Mapped(_, range) => range.len(),
            Self::Kept(output, partition) => output.bytes(*partition),
        }
    }

    /// Stands on the first record.
    pub(crate) fn cursor(&self) -> Result<Cursor<'_>> {
        match self {
            Self::Memory(bytes) => Cursor::new(bytes),
            Self::Mapped(map, range) => Cursor::new(&map[range.clone()]),
            Self::Kept(output, partition) => output.cursor(*partition),
        }
    }
}

/// Maps a file for reading from front to back.
pub(crate) fn map_file(file: &File) -> std::io::Result<Arc<Mmap>> {
    // SAFETY: the file is a spill or a segment: it is complete, nobody truncates or changes it while
    // the job lives (they are only ever unlinked), and the map is read-only.
    let map = unsafe { Mmap::map(file)? };
    // Advice only: reading works without it.
    let _ = map.advise(memmap2::Advice::Sequential);
    Ok(Arc::new(map))
}

/// What a cursor has not seen yet.
#[derive(Debug)]
enum Rest<'a> {
    /// Records one after the other.
    Bytes(&'a [u8]),
    /// Records in the order of entries that point to them.
    Entries { records: &'a [u8], entries: &'a [Entry] },
}

/// Walks through a run.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: Rest<'a>,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// [`prefix`] of `key`; the largest number when the run is at its end.
    pub(crate) prefix: u64,
    pub(crate) at_end: bool,
}

impl<'a> Cursor<'a> {
    /// Stands on the first record.
    pub(crate) fn new(run: &'a [u8]) -> Result<Self> {
        Self::begin(Rest::Bytes(run))
    }

    /// Stands on the record of the first entry; `records` hold what entries point to.
    pub(crate) fn of_entries(records: &'a [u8], entries: &'a [Entry]) -> Result<Self> {
        entries.iter().take(PREFETCHED).for_each(|entry| prefetch_record(records, entry.at));
        Self::begin(Rest::Entries { records, entries })
    }

    fn begin(rest: Rest<'a>) -> Result<Self> {
        let mut cursor = Self { rest, key: &[], value: &[], prefix: 0, at_end: false };
        cursor.advance()?;
        Ok(cursor)
    }

    /// Goes to the next record.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        let record = match &mut self.rest {
            Rest::Bytes([]) | Rest::Entries { entries: [], .. } => {
                self.at_end = true;
                self.prefix = u64::MAX;
                return Ok(());
            }
            Rest::Bytes(bytes) => split_record(bytes).map(|(key, value, rest)| {
                *bytes = rest;
                (key, value)
            }),
            Rest::Entries { records, entries } => {
                let (records, at) = (*records, entries[0].at as usize);
                *entries = &entries[1..];
                if let Some(later) = entries.get(PREFETCHED) {
                    prefetch_record(records, later.at);
                }
                records.get(at..).and_then(split_record).map(|(key, value, _)| (key, value))
            }
        };
        let Some((key, value)) = record else { return damaged() };
        self.key = key;
        self.value = value;
        self.prefix = prefix(key);
        Ok(())
    }
}

/// The key and value at the front of `bytes`, and what follows them.
#[inline]
pub(crate) fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_bytes, first) = varint(bytes)?;
    let (value_bytes, second) = varint(&bytes[first..])?;
    let key_end = key_bytes.checked_add(first + second)?;
    let end = key_end.checked_add(value_bytes)?;
    let key = bytes.get(first + second..key_end)?;
    let value = bytes.get(key_end..end)?;
    Some((key, value, &bytes[end..]))
}

#[inline]
fn prefetch_record(records: &[u8], at: u32) {
    // Lengths are not known yet; most records lie in two lines.
    prefetch(records, at as usize);
    prefetch(records, at as usize + CACHE_LINE);
}

#[cold]
fn damaged() -> Result<()> {
    bail!("a run of sorted records is damaged: a record goes beyond its end")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_read_back(
            records in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 0..200)),
                0..20,
            ),
        ) {
            let mut run = Vec::new();
            for (key, value) in &records {
                put_record(key, value, &mut run);
            }
            let mut cursor = Cursor::new(&run).unwrap();
            for (key, value) in &records {
                prop_assert!(!cursor.at_end);
                prop_assert_eq!((cursor.key, cursor.value), (&key[..], &value[..]));
                cursor.advance().unwrap();
            }
            prop_assert!(cursor.at_end);
        }

        #[test]
        fn garbage_ends_or_errs(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(mut cursor) = Cursor::new(&bytes) {
                while !cursor.at_end && cursor.advance().is_ok() {}
            }
        }

        #[test]
        fn prefixes_never_contradict_keys(
            a in prop::collection::vec(any::<u8>(), 0..12), b in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            if prefix(&a) < prefix(&b) {
                prop_assert!(a < b);
            }
        }
    }
}
