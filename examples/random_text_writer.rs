//! Random text writer: makes text to try other jobs on.
//!
//! Input: none. Output: as many text files as maps, each of about the bytes that were asked for: lines of a few words
//! as key, a tab, and more words. The same seed gives the same files, on a cluster and locally.
//!
//! It is a job without reducers: what a map emits is the output. Its input is a range of numbers, one for each map.
//!
//! ```text
//! cargo run --release --example random_text_writer -- --maps 10 --megabytes-per-map 100 /text
//! cargo run --release --example random_text_writer -- --local --maps 2 --megabytes-per-map 1 /tmp/text
//! ```

use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{Emit, Job, Mapper, RangeInput, Result, Text};

/// Writes random text.
#[derive(Debug, Args)]
struct Arguments {
    /// Maps, and so files
    #[arg(long, default_value_t = 10)]
    maps: u32,
    /// Size of each file, in MB
    #[arg(long, default_value_t = 100.0)]
    megabytes_per_map: f64,
    /// Words of a key, at least and at most
    #[arg(long, num_args = 2, default_values_t = [5, 10], value_names = ["MIN", "MAX"])]
    key_words: Vec<u64>,
    /// Words of a value, at least and at most
    #[arg(long, num_args = 2, default_values_t = [20, 100], value_names = ["MIN", "MAX"])]
    value_words: Vec<u64>,
    /// Another seed gives another text
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The directory to make
    output: String,
}

/// Random numbers by Steele, Lea and Flood's SplitMix64: each step adds a constant and mixes the sum.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `range[0]` to `range[1]`, both included.
    fn between(&mut self, [least, most]: [u64; 2]) -> u64 {
        least + self.next() % (most - least + 1)
    }
}

/// Syllables that make up the words.
const SYLLABLES: [&[u8]; 16] = [
    b"an", b"bel", b"cor", b"da", b"en", b"fi", b"gor", b"hu", b"il", b"jo", b"ka", b"lun", b"mi",
    b"nor", b"os", b"ta",
];

/// Puts some words into `text`, which may be anything before.
fn write_words(random: &mut Random, count: u64, text: &mut Vec<u8>) {
    text.clear();
    for word in 0..count {
        if word > 0 {
            text.push(b' ');
        }
        // The product of two draws makes words of few syllables frequent, as in real text.
        let bits = random.next();
        for syllable in 0..1 + (bits & 3) * (bits >> 2 & 3) / 3 {
            text.extend_from_slice(SYLLABLES[(bits >> (8 + 4 * syllable) & 15) as usize]);
        }
    }
}

#[derive(Clone)]
struct WriteText {
    bytes: u64,
    key_words: [u64; 2],
    value_words: [u64; 2],
    seed: u64,
}

impl Mapper for WriteText {
    type Input = RangeInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, map: u64, out: &mut impl Emit<Text, Text>) -> Result<()> {
        // Seeds that follow one another would give sequences that overlap; the mixing keeps them apart.
        let mut random = Random(Random(self.seed).next() ^ Random(!map).next());
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let (mut written, mut lines) = (0, 0);
        while written < self.bytes {
            let (in_key, in_value) =
                (random.between(self.key_words), random.between(self.value_words));
            write_words(&mut random, in_key, &mut key);
            write_words(&mut random, in_value, &mut value);
            out.emit(&key, &value)?;
            written += (key.len() + value.len() + 2) as u64;
            lines += 1;
            if lines % 1024 == 0 {
                out.context().progress();
            }
        }
        out.context().increment("Random text writer", "bytes written", written as i64);
        out.context().increment("Random text writer", "records written", lines);
        Ok(())
    }
}

/// A least and a most that are in order.
fn range(name: &str, values: &[u64]) -> Result<[u64; 2]> {
    match *values {
        [least, most] if least <= most && most < u64::MAX => Ok([least, most]),
        _ => anyhow::bail!("--{name} needs two numbers, the smaller one first"),
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        let mapper = WriteText {
            bytes: (arguments.megabytes_per_map * 1e6) as u64,
            key_words: range("key-words", &arguments.key_words)?,
            value_words: range("value-words", &arguments.value_words)?,
            seed: arguments.seed,
        };
        Job::map(mapper)
            .name("random text writer")
            .input_format(RangeInput::new(u64::from(arguments.maps), arguments.maps))
            .map_only()
            .output(arguments.output)
            .build()
    })
}
