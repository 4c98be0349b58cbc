//! Word count by the library against the least that two threads and no framework need: mapped
//! input, a table of 32-byte slots per thread, tables merged by hash, counts written unsorted. Prints times and the
//! ratio limit / library, on text with the word frequencies of a natural language and on source code.
//!
//! ```text
//! cargo bench -p hfs-mapreduce --bench wordcount_limit            # 1000 MB each
//! MEGABYTES=200 cargo bench -p hfs-mapreduce --bench wordcount_limit
//! ```

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hfs_mapreduce::files::Files;
use hfs_mapreduce::{Emit, Job, Line, Lines, Mapper, Sum, Text, TextInput, hash, run_local, words};

const ROUNDS: usize = 3;
const THREADS: usize = 2;

#[derive(Clone)]
struct Count;

impl Mapper for Count {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(line.bytes).try_for_each(|word| out.emit(word, 1))
    }

    fn map_batch(&mut self, lines: Lines<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(lines.bytes()).try_for_each(|word| out.emit(word, 1))
    }
}

/// A slot is half a cache line: the first 16 bytes of the word, where it is, how often it occurs.
#[derive(Clone, Copy, Default)]
struct Slot {
    head: u128,
    at: u64,
    length: u32,
    count: u32,
}

/// Counts by word, linear probing, at most half full. Longer words are compared in the text.
struct Counts<'a> {
    text: &'a [u8],
    slots: Vec<Slot>,
    used: usize,
}

impl<'a> Counts<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, slots: vec![Slot::default(); 1 << 16], used: 0 }
    }

    /// One load whatever the length, where the text goes on for sixteen bytes.
    fn slot(&self, word: &[u8]) -> Slot {
        let at = word.as_ptr() as usize - self.text.as_ptr() as usize;
        let bytes = match self.text[at..].first_chunk::<16>() {
            Some(bytes) => u128::from_le_bytes(*bytes),
            None => word.iter().take(16).rev().fold(0, |n, &byte| n << 8 | u128::from(byte)),
        };
        let head = if word.len() < 16 { bytes & ((1 << (8 * word.len())) - 1) } else { bytes };
        Slot { head, at: at as u64, length: word.len() as u32, count: 1 }
    }

    fn word(&self, slot: &Slot) -> &'a [u8] {
        &self.text[slot.at as usize..slot.at as usize + slot.length as usize]
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
        self.used += 1;
        if 2 * self.used > self.slots.len() {
            let doubled = vec![Slot::default(); 2 * self.slots.len()];
            self.used = 0;
            for slot in std::mem::replace(&mut self.slots, doubled) {
                if slot.length > 0 {
                    self.add(slot);
                }
            }
        }
    }
}

/// The hand-written word count.
fn limit(input: &Path, output: &Path) -> Result<()> {
    let file = File::open(input)?;
    // SAFETY: the benchmark made the file and nobody changes it.
    let text = unsafe { memmap2::Mmap::map(&file)? };
    let middle = text.len() / 2;
    let middle = middle + memchr::memchr(b'\n', &text[middle..]).map_or(0, |at| at + 1);
    let halves = [&text[..middle], &text[middle..]];
    let text = &text[..];
    let counted = std::thread::scope(|scope| {
        let counting = halves.map(|half| {
            scope.spawn(move || {
                let mut counts = Counts::new(text);
                for word in words(half) {
                    counts.add(counts.slot(word));
                }
                counts
            })
        });
        let mut counted = Vec::new();
        for counting in counting {
            counted.push(counting.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?);
        }
        Ok::<_, anyhow::Error>(counted)
    })?;
    std::thread::scope(|scope| {
        let counted = &counted;
        let writing: Vec<_> = (0..THREADS)
            .map(|part| {
                scope.spawn(move || -> Result<()> {
                    let mut all = Counts::new(text);
                    for slot in counted.iter().flat_map(|counts| &counts.slots) {
                        if slot.length > 0 && (all.hash(slot) >> 40) as usize % THREADS == part {
                            all.add(*slot);
                        }
                    }
                    let file = File::create(output.join(format!("part-{part}")))?;
                    let mut out = BufWriter::with_capacity(1 << 20, file);
                    for slot in all.slots.iter().filter(|slot| slot.length > 0) {
                        out.write_all(all.word(slot))?;
                        writeln!(out, "\t{}", slot.count)?;
                    }
                    out.flush()?;
                    Ok(())
                })
            })
            .collect();
        for written in writing {
            written.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

fn library(input: &Path, output: &Path) -> Result<()> {
    let job = Job::map(Count)
        .combine(Sum)
        .reduce(Sum)
        .input(input.to_str().context("UTF-8")?)
        .output(output.join("job").to_str().context("UTF-8")?)
        .build()?;
    black_box(run_local(&job, &Files::Local, &|_| {})?);
    Ok(())
}

/// Text whose words are as frequent as Zipf's law has it, 300 000 different ones.
fn natural_text(path: &Path, bytes: u64) -> Result<()> {
    const WORDS: u64 = 300_000;
    let mut state = 1u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let vocabulary: Vec<Vec<u8>> = (0..WORDS)
        .map(|rank| {
            let letters = 1 + u64::from(rank.checked_ilog2().unwrap_or(0)) * 2 / 3 + random() % 3;
            (0..letters).map(|_| b'a' + (random() % 26) as u8).collect()
        })
        .collect();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut written, mut column) = (0, 0);
    while written < bytes {
        // exp of a uniform number: rank r has a probability of about 1 / r.
        let uniform = (random() >> 11) as f64 / (1u64 << 53) as f64;
        let rank = ((WORDS as f64).powf(uniform) - 1.0) as usize;
        let word = &vocabulary[rank.min(vocabulary.len() - 1)];
        out.write_all(word)?;
        column += word.len() + 1;
        out.write_all(if column > 75 { b"\n" } else { b" " })?;
        column = if column > 75 { 0 } else { column };
        written += word.len() as u64 + 1;
    }
    out.flush()?;
    Ok(())
}

/// The sources of all crates that Cargo has unpacked on this machine, repeated up to `bytes`.
fn sources(path: &Path, bytes: u64) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut open = vec![home.context("no home directory")?.join("registry/src")];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)?.flatten() {
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut written = 0;
    while written < bytes && !files.is_empty() {
        for file in &files {
            if written >= bytes {
                break;
            }
            let text = std::fs::read(file)?;
            out.write_all(&text)?;
            written += text.len() as u64;
        }
    }
    out.flush()?;
    Ok(())
}

/// Writes a text of about so many bytes.
type Generate = fn(&Path, u64) -> Result<()>;

fn measure(dir: &Path, run: impl Fn(&Path) -> Result<()>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let output = dir.join("output");
        std::fs::create_dir(&output)?;
        let start = Instant::now();
        run(&output)?;
        best = best.min(start.elapsed());
        std::fs::remove_dir_all(&output)?;
    }
    Ok(best)
}

fn main() -> Result<()> {
    let megabytes: u64 = match std::env::var("MEGABYTES") {
        Ok(text) => text.parse().context("MEGABYTES is a number")?,
        Err(_) => 1000,
    };
    let dir = tempfile::tempdir()?;
    let input = dir.path().join("input");
    let kinds: [(&str, Generate); 2] = [("natural text", natural_text), ("crate sources", sources)];
    for (name, generate) in kinds {
        generate(&input, megabytes * 1_000_000)?;
        let bytes = std::fs::metadata(&input)?.len();
        let limit = measure(dir.path(), |output| limit(&input, output))?;
        let library = measure(dir.path(), |output| library(&input, output))?;
        println!(
            "{name}, {} MB: limit {:.2} s ({:.0} MB/s), library {:.2} s ({:.0} MB/s), ratio {:.2}",
            bytes / 1_000_000,
            limit.as_secs_f64(),
            bytes as f64 / 1e6 / limit.as_secs_f64(),
            library.as_secs_f64(),
            bytes as f64 / 1e6 / library.as_secs_f64(),
            limit.as_secs_f64() / library.as_secs_f64(),
        );
    }
    Ok(())
}
