//! Word count by a program that does nothing else: two threads over a mapped file, a table each, merged and
//! written. No splits, no sort, no shuffle, no checksums, no recovery: the limit a framework is held against.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use hfs_mapreduce::words;
use memmap2::Mmap;

/// A word of the text: where it begins, how long it is, how often it was seen.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    start: u64,
    length: u32,
    count: u32,
}

/// Words by open addressing; at most half of the slots are taken.
struct Table<'a> {
    text: &'a [u8],
    slots: Vec<Slot>,
    taken: usize,
}

const FIRST_SLOTS: usize = 1 << 16;

/// Multiplies and folds eight bytes at a time.
fn hash(word: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = word.len() as u64 ^ K;
    let mut chunks = word.chunks_exact(8);
    for chunk in &mut chunks {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(bytes)).wrapping_mul(K).rotate_left(29);
    }
    let mut last = [0; 8];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    let folded = u128::from(state ^ u64::from_le_bytes(last)) * u128::from(K);
    (folded as u64) ^ (folded >> 64) as u64
}

impl<'a> Table<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, slots: vec![Slot::default(); FIRST_SLOTS], taken: 0 }
    }

    fn word(&self, slot: Slot) -> &'a [u8] {
        &self.text[slot.start as usize..][..slot.length as usize]
    }

    fn add(&mut self, new: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = new.hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.count == 0 {
                break;
            }
            if slot.hash == new.hash
                && slot.length == new.length
                && self.word(slot) == self.word(new)
            {
                self.slots[at].count += new.count;
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
        let old = std::mem::replace(&mut self.slots, doubled);
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| slot.count > 0) {
            let mut at = slot.hash as usize & mask;
            while self.slots[at].count > 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }

    fn count(&mut self, from: usize, to: usize) {
        let base = self.text.as_ptr() as usize;
        for word in words(&self.text[from..to]) {
            let start = (word.as_ptr() as usize - base) as u64;
            self.add(Slot { hash: hash(word), start, length: word.len() as u32, count: 1 });
        }
    }
}

/// Counts the words of a file of at most 4 Gi occurrences of a word and writes `word<TAB>count` lines, in no
/// order.
///
/// # Errors
/// The files' I/O errors.
pub fn word_count(text: &Path, out: &Path) -> io::Result<()> {
    let file = File::open(text)?;
    // SAFETY: the benchmark wrote this file and nobody changes it while it is counted.
    let map = unsafe { Mmap::map(&file) }?;
    let text: &[u8] = &map;
    let half = text.len() / 2;
    let cut =
        half + text[half..].iter().position(u8::is_ascii_whitespace).unwrap_or(text.len() - half);
    let (mut first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            let mut table = Table::new(text);
            table.count(cut, text.len());
            table
        });
        let mut table = Table::new(text);
        table.count(0, cut);
        (table, other.join())
    });
    let second = second.map_err(|_| io::Error::other("a counting thread panicked"))?;
    second.slots.iter().filter(|slot| slot.count > 0).for_each(|slot| first.add(*slot));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(out)?);
    for slot in first.slots.iter().filter(|slot| slot.count > 0) {
        out.write_all(first.word(*slot))?;
        writeln!(out, "\t{}", slot.count)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (text, out) = (dir.path().join("text"), dir.path().join("out"));
        let words: Vec<String> = (0..100_000).map(|i| format!("w{}", i % 40_000)).collect();
        std::fs::write(&text, words.join(" ")).unwrap();
        word_count(&text, &out).unwrap();
        let counted = std::fs::read_to_string(&out).unwrap();
        assert_eq!(counted.lines().count(), 40_000);
        assert!(counted.lines().any(|line| line == "w1\t3"));
        assert!(counted.lines().any(|line| line == "w39999\t2"));
    }
}
