//! The least that the jobs of the benchmark cost: programs by hand, on two threads, with no splits, no shuffle, no
//! checksums, no recovery. A framework is held against them.
//!
//! [`word_count`] sends every word through a table that stays in a core's cache, where the frequent words live, and
//! what misses it into hash partitions, each counted later by one thread in a table that fits the cache again.
//! [`key_sort`] copies 100-byte records in, sorts their keys by radix and gathers the records on their way out.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hfs_mapreduce::{hash, words};
use memmap2::{Advice, Mmap, MmapMut};
use parking_lot::Mutex;

/// Threads that work, and files that are written.
const THREADS: usize = 2;
/// Slots of the table of frequent words: 512 KiB, half of a core's second-level cache.
const FREQUENT_SLOTS: usize = 1 << 14;
/// Slots of one bucket of that table: as many as lie in a cache line.
const WAYS: usize = 2;
/// Hash partitions of what is not frequent.
const PARTITIONS: usize = 512;
/// Bytes of output gathered before they are written.
const OUTPUT_BYTES: usize = 1 << 20;
/// Slots that a partition's table begins with.
const FIRST_SLOTS: usize = 1 << 12;

/// Half a cache line: the first 16 bytes of a word of the text, where it begins, how long it is (0: the slot is
/// free), how often it was seen.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Slot {
    head: u128,
    start: u64,
    length: u32,
    count: u32,
}

/// A text and the meaning of slots in it.
#[derive(Clone, Copy)]
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The slot of a word, which is a slice of the text. The head is one load whatever the length, where the
    /// text goes on for sixteen bytes.
    #[inline]
    fn slot(self, word: &[u8]) -> Slot {
        let start = word.as_ptr() as usize - self.0.as_ptr() as usize;
        let bytes = match self.0[start..].first_chunk::<16>() {
            Some(bytes) => u128::from_le_bytes(*bytes),
            None => word.iter().take(16).rev().fold(0, |n, &byte| n << 8 | u128::from(byte)),
        };
        let beyond = 128 - 8 * word.len().min(16) as u32;
        let head = bytes & (u128::MAX >> beyond);
        Slot { head, start: start as u64, length: word.len() as u32, count: 1 }
    }

    fn word(self, slot: &Slot) -> &'a [u8] {
        &self.0[slot.start as usize..][..slot.length as usize]
    }

    #[inline]
    fn hash(self, slot: &Slot) -> u64 {
        let product = u128::from(slot.head as u64 ^ 0xa076_1d64_78bd_642f)
            * u128::from((slot.head >> 64) as u64 ^ 0xe703_7ed1_a0b4_28db);
        let tail = if slot.length > 16 { hash(&self.word(slot)[16..]) } else { 0 };
        (product >> 64) as u64 ^ product as u64 ^ tail
    }

    #[inline]
    fn same(self, a: &Slot, b: &Slot) -> bool {
        a.length == b.length
            && a.head == b.head
            && (a.length <= 16 || self.word(a)[16..] == self.word(b)[16..])
    }
}

/// What one thread has seen: frequent words with their counts, and everything else by hash partition.
struct Counted {
    frequent: Vec<Slot>,
    rest: Vec<Vec<Slot>>,
}

/// Counts the frequent words of a part of the text and deals out the others.
fn count(text: Text<'_>, part: &[u8]) -> Counted {
    let mut frequent = vec![Slot::default(); FREQUENT_SLOTS];
    // Room for one word in sixteen bytes, which is never written to unless it is needed.
    let room = part.len() / (16 * PARTITIONS);
    let mut rest: Vec<_> = (0..PARTITIONS).map(|_| Vec::with_capacity(room)).collect();
    for word in words(part) {
        let new = text.slot(word);
        let hash = text.hash(&new);
        let first = hash as usize & (FREQUENT_SLOTS - WAYS);
        let bucket = &mut frequent[first..first + WAYS];
        if let Some(known) = bucket.iter_mut().find(|slot| text.same(slot, &new)) {
            known.count += 1;
        } else if let Some(free) = bucket.iter_mut().find(|slot| slot.length == 0) {
            *free = new;
        } else {
            // The rarer of the two leaves: a frequent word that came late gets its place.
            let rarer = usize::from(bucket[1].count < bucket[0].count);
            let left = std::mem::replace(&mut bucket[rarer], new);
            rest[partition(text.hash(&left))].push(left);
        }
    }
    Counted { frequent, rest }
}

/// The partition of a hash, by bits that don't decide its place in a table.
fn partition(hash: u64) -> usize {
    (hash >> 48) as usize % PARTITIONS
}

/// Words by linear probing; at most half of the slots are taken.
struct Table<'a> {
    text: Text<'a>,
    slots: Vec<Slot>,
    taken: usize,
}

impl<'a> Table<'a> {
    fn new(text: Text<'a>) -> Self {
        Self { text, slots: vec![Slot::default(); FIRST_SLOTS], taken: 0 }
    }

    fn add(&mut self, new: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = self.text.hash(&new) as usize & mask;
        loop {
            let old = &mut self.slots[at];
            if old.length == 0 {
                break;
            }
            if self.text.same(old, &new) {
                old.count += new.count;
                return;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = new;
        self.taken += 1;
        if self.taken * 2 > self.slots.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let doubled = vec![Slot::default(); self.slots.len() * 2];
        self.taken = 0;
        for slot in std::mem::replace(&mut self.slots, doubled) {
            if slot.length > 0 {
                self.add(slot);
            }
        }
    }

    fn clear(&mut self) {
        self.slots.fill(Slot::default());
        self.taken = 0;
    }

    fn words(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.length > 0)
    }
}

/// Appends a tab, a number and a line end.
fn put_count(mut count: u32, out: &mut Vec<u8>) {
    let mut line = [b'\n'; 12];
    let mut at = line.len() - 1;
    loop {
        at -= 1;
        line[at] = b'0' + (count % 10) as u8;
        count /= 10;
        if count == 0 {
            break;
        }
    }
    line[at - 1] = b'\t';
    out.extend_from_slice(&line[at - 1..]);
}

/// Counts partitions, as long as there are any, and writes their words to one file.
fn write(text: Text<'_>, counted: &[Counted], next: &AtomicUsize, path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut out = Vec::with_capacity(2 * OUTPUT_BYTES);
    let mut table = Table::new(text);
    loop {
        let part = next.fetch_add(1, Ordering::Relaxed);
        if part >= PARTITIONS {
            return file.write_all(&out);
        }
        for thread in counted {
            let frequent = thread.frequent.iter().filter(|slot| slot.length > 0);
            let frequent = frequent.filter(|slot| partition(text.hash(slot)) == part);
            thread.rest[part].iter().chain(frequent).for_each(|slot| table.add(*slot));
        }
        for slot in table.words() {
            out.extend_from_slice(text.word(slot));
            put_count(slot.count, &mut out);
        }
        if out.len() >= OUTPUT_BYTES {
            file.write_all(&out)?;
            out.clear();
        }
        table.clear();
    }
}

/// Counts the words of a file, each shorter than 4 GiB and seen at most 4 Gi times, and writes
/// `word<TAB>count` lines, in no order, into the files `part-0` and `part-1` of the directory `out`.
///
/// # Errors
/// The files' I/O errors.
pub fn word_count(text: &Path, out: &Path) -> io::Result<()> {
    let file = File::open(text)?;
    // SAFETY: the text of a benchmark is not changed while it is counted.
    let map = unsafe { Mmap::map(&file) }?;
    let text: &[u8] = &map;
    let half = text.len() / 2;
    let cut =
        half + text[half..].iter().position(u8::is_ascii_whitespace).unwrap_or(text.len() - half);
    let panicked = |_| io::Error::other("a thread of the word count panicked");
    let counted = std::thread::scope(|scope| {
        let counting =
            [&text[..cut], &text[cut..]].map(|part| scope.spawn(move || count(Text(text), part)));
        counting
            .into_iter()
            .map(|thread| thread.join().map_err(panicked))
            .collect::<io::Result<Vec<_>>>()
    })?;
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (counted, next) = (&counted, &next);
        let writing = std::array::from_fn::<_, THREADS, _>(|part| {
            let path = out.join(format!("part-{part}"));
            scope.spawn(move || write(Text(text), counted, next, &path))
        });
        writing.into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
    })
}

/// Bytes of a record and of the key at its front, as TeraGen makes them.
const RECORD: usize = 100;
const KEY: usize = 10;
/// Pieces that the records are dealt into by the first byte of their keys.
const PIECES: usize = 256;

/// The front of a key and which record it belongs to.
#[derive(Clone, Copy)]
struct KeyEntry {
    prefix: u64,
    record: u32,
}

/// Sorts a file of 100-byte records by their first ten bytes into another file: a copy in, keys dealt out by
/// their first byte and sorted, and the records gathered in order on their way out.
///
/// # Errors
/// The files' I/O errors, or a length that is no number of records below 4 Gi.
pub fn key_sort(input: &Path, output: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = File::open(input)?;
    let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let records = bytes / RECORD;
    if bytes % RECORD != 0 || u32::try_from(records).is_err() {
        return Err(io::Error::other("the input is not a number of 100-byte records"));
    }
    let out = File::create(output)?;
    if records == 0 {
        return Ok(());
    }
    let mut memory = MmapMut::map_anon(bytes)?;
    // Advice only: small pages work, too.
    let _ = memory.advise(Advice::HugePage);
    let panicked = |_| io::Error::other("a thread of the sort panicked");
    let share = records.div_ceil(THREADS);
    let dealt = std::thread::scope(|scope| {
        let file = &file;
        let reading: Vec<_> = memory
            .chunks_mut(share * RECORD)
            .enumerate()
            .map(|(part, chunk)| {
                scope.spawn(move || -> io::Result<Vec<Vec<KeyEntry>>> {
                    file.read_exact_at(chunk, (part * share * RECORD) as u64)?;
                    Ok(deal(chunk, part * share))
                })
            })
            .collect();
        reading
            .into_iter()
            .map(|thread| thread.join().map_err(panicked)?)
            .collect::<io::Result<Vec<_>>>()
    })?;
    let memory = &memory[..];
    let mut pieces = Vec::with_capacity(PIECES);
    let mut offset = 0;
    for piece in 0..PIECES {
        let entries = dealt.iter().flat_map(|part| &part[piece]).copied().collect::<Vec<_>>();
        let at = offset;
        offset += (entries.len() * RECORD) as u64;
        pieces.push((at, entries));
    }
    let pieces = Mutex::new(pieces);
    std::thread::scope(|scope| {
        let (pieces, out) = (&pieces, &out);
        let writing = std::array::from_fn::<_, THREADS, _>(|_| {
            scope.spawn(move || -> io::Result<()> {
                let mut gathered = Vec::new();
                loop {
                    let Some((at, mut entries)) = pieces.lock().pop() else { return Ok(()) };
                    let record =
                        |entry: &KeyEntry| &memory[entry.record as usize * RECORD..][..RECORD];
                    entries.sort_unstable_by(|a, b| {
                        a.prefix
                            .cmp(&b.prefix)
                            .then_with(|| record(a)[..KEY].cmp(&record(b)[..KEY]))
                    });
                    gathered.clear();
                    entries.iter().for_each(|entry| gathered.extend_from_slice(record(entry)));
                    out.write_all_at(&gathered, at)?;
                }
            })
        });
        writing.into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
    })
}

/// Deals the keys of records out by their first byte. `first` is the number of the first record.
fn deal(records: &[u8], first: usize) -> Vec<Vec<KeyEntry>> {
    let expected = records.len() / RECORD / PIECES * 5 / 4;
    let mut pieces: Vec<Vec<KeyEntry>> =
        (0..PIECES).map(|_| Vec::with_capacity(expected)).collect();
    for (number, record) in records.chunks_exact(RECORD).enumerate() {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&record[..8]);
        let entry =
            KeyEntry { prefix: u64::from_be_bytes(prefix), record: (first + number) as u32 };
        pieces[usize::from(record[0])].push(entry);
    }
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    /// The counts of a text, none of them written twice.
    fn counted(text: &str) -> BTreeMap<String, u32> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("text");
        std::fs::write(&file, text).unwrap();
        word_count(&file, dir.path()).unwrap();
        let mut counts = BTreeMap::new();
        for part in ["part-0", "part-1"] {
            for line in std::fs::read_to_string(dir.path().join(part)).unwrap().lines() {
                let (word, count) = line.split_once('\t').unwrap();
                let before = counts.insert(word.to_owned(), count.parse().unwrap());
                assert!(before.is_none(), "{word} stands twice");
            }
        }
        counts
    }

    #[test]
    fn counts_what_is_there() {
        let words: Vec<String> = (0..100_000).map(|i| format!("w{}", i % 40_000)).collect();
        let counts = counted(&words.join(" "));
        assert_eq!(counts.len(), 40_000);
        assert_eq!((counts["w1"], counts["w39999"]), (3, 2));
    }

    #[test]
    fn words_that_differ_only_behind_their_head_are_told_apart() {
        let head = "0123456789abcdef";
        let words =
            [head.to_owned(), format!("{head}x"), format!("{head}y"), head[..15].to_owned()];
        let counts = counted(&format!("{}\n{}", words.join("\n"), words[..2].join(" ")));
        let expected = [(&words[0], 2), (&words[1], 2), (&words[2], 1), (&words[3], 1)];
        assert_eq!(counts, expected.map(|(word, count)| (word.clone(), count)).into());
        assert!(counted("").is_empty());
        assert_eq!(counted("one"), [("one".to_owned(), 1)].into());
    }

    #[test]
    fn sorts_records_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in"), dir.path().join("out"));
        let mut records: Vec<Vec<u8>> = (0..5000u32)
            .map(|n| {
                let mut record = vec![0; RECORD];
                record[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
                record[9] = (n % 7) as u8;
                record[96..].copy_from_slice(&n.to_be_bytes());
                record
            })
            .collect();
        std::fs::write(&input, records.concat()).unwrap();
        key_sort(&input, &output).unwrap();
        records.sort();
        assert!(std::fs::read(&output).unwrap() == records.concat());
        std::fs::write(&input, b"short").unwrap();
        assert!(key_sort(&input, &output).is_err());
    }
}
