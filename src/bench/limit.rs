//! Word count by a program that does nothing else: two threads over a mapped file, a table each, then a half
//! of the words each to merge and write. No splits, no sort, no shuffle, no checksums, no recovery: the limit a
//! framework is held against.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use hfs_mapreduce::{hash, words};
use memmap2::Mmap;

/// Threads that count, and files that are written.
const THREADS: usize = 2;
const FIRST_SLOTS: usize = 1 << 16;

/// Half a cache line: the first 16 bytes of a word of the text, where it begins, how long it is (0: the slot is
/// free), how often it was seen.
#[derive(Clone, Copy, Default)]
struct Slot {
    head: u128,
    start: u64,
    length: u32,
    count: u32,
}

/// Words by linear probing; at most half of the slots are taken. Only words of more than 16 bytes are compared
/// in the text.
struct Table<'a> {
    text: &'a [u8],
    slots: Vec<Slot>,
    taken: usize,
}

impl<'a> Table<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, slots: vec![Slot::default(); FIRST_SLOTS], taken: 0 }
    }

    /// The slot of a word, which is a slice of the text. The head is one load whatever the length, where the
    /// text goes on for sixteen bytes.
    fn slot(&self, word: &[u8]) -> Slot {
        let start = word.as_ptr() as usize - self.text.as_ptr() as usize;
        let bytes = match self.text[start..].first_chunk::<16>() {
            Some(bytes) => u128::from_le_bytes(*bytes),
            None => word.iter().take(16).rev().fold(0, |n, &byte| n << 8 | u128::from(byte)),
        };
        let head = if word.len() < 16 { bytes & ((1 << (8 * word.len())) - 1) } else { bytes };
        Slot { head, start: start as u64, length: word.len() as u32, count: 1 }
    }

    fn word(&self, slot: &Slot) -> &'a [u8] {
        &self.text[slot.start as usize..][..slot.length as usize]
    }

    fn hash(&self, slot: &Slot) -> u64 {
        let product = u128::from(slot.head as u64 ^ 0xa076_1d64_78bd_642f)
            * u128::from((slot.head >> 64) as u64 ^ 0xe703_7ed1_a0b4_28db);
        let tail = if slot.length > 16 { hash(&self.word(slot)[16..]) } else { 0 };
        (product >> 64) as u64 ^ product as u64 ^ tail
    }

    fn add(&mut self, new: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = self.hash(&new) as usize & mask;
        loop {
            let old = self.slots[at];
            if old.length == new.length
                && old.head == new.head
                && (new.length <= 16 || self.word(&old) == self.word(&new))
            {
                self.slots[at].count += new.count;
                return;
            }
            if old.length == 0 {
                break;
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

    fn words(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.length > 0)
    }

    /// Which thread merges and writes a word: by bits of the hash that don't decide its place in a table.
    fn part(&self, slot: &Slot) -> usize {
        (self.hash(slot) >> 40) as usize % THREADS
    }
}

/// Counts the words of a part of the text.
fn count<'a>(text: &'a [u8], part: &'a [u8]) -> Table<'a> {
    let mut table = Table::new(text);
    for word in words(part) {
        table.add(table.slot(word));
    }
    table
}

/// Merges one thread's share of the words of all tables and writes it.
fn write(text: &[u8], counted: &[Table<'_>], part: usize, path: &Path) -> io::Result<()> {
    let mut merged = Table::new(text);
    for slot in counted.iter().flat_map(Table::words) {
        if merged.part(slot) == part {
            merged.add(*slot);
        }
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for slot in merged.words() {
        out.write_all(merged.word(slot))?;
        writeln!(out, "\t{}", slot.count)?;
    }
    out.flush()
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
            [&text[..cut], &text[cut..]].map(|part| scope.spawn(move || count(text, part)));
        counting
            .into_iter()
            .map(|thread| thread.join().map_err(panicked))
            .collect::<io::Result<Vec<_>>>()
    })?;
    std::thread::scope(|scope| {
        let counted = &counted;
        let writing = std::array::from_fn::<_, THREADS, _>(|part| {
            let path = out.join(format!("part-{part}"));
            scope.spawn(move || write(text, counted, part, &path))
        });
        writing.into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
    })
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
}
