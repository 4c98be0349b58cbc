//! Random writer: makes random bytes, to try how fast a cluster writes.
//!
//! Input: none. Output: as many files as maps, each of about the bytes that were asked for: records of a key and a
//! value, both random bytes, each after its length in four bytes, the highest first. The same seed gives the same
//! files, on a cluster and locally.
//!
//! Bytes like these are no lines of text. So the job brings an output format of its own: it says how a record
//! looks in a file, and the engine does the rest.
//!
//! ```text
//! cargo run --release --example random_writer -- --maps 10 --megabytes-per-map 1000 /random
//! cargo run --release --example random_writer -- --local --maps 2 --megabytes-per-map 1 /tmp/random
//! ```

use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::files::OutputFile;
use hfs_mapreduce::{
    Conf, Emit, Job, Mapper, OutputFormat, RangeInput, RecordWriter, Result, Text,
};

/// Writes random bytes.
#[derive(Debug, Args)]
struct Arguments {
    /// Maps, and so files
    #[arg(long, default_value_t = 10)]
    maps: u32,
    /// Size of each file, in MB
    #[arg(long, default_value_t = 1000.0)]
    megabytes_per_map: f64,
    /// Bytes of a key, at least and at most
    #[arg(long, num_args = 2, default_values_t = [10, 1000], value_names = ["MIN", "MAX"])]
    key_bytes: Vec<u32>,
    /// Bytes of a value, at least and at most
    #[arg(long, num_args = 2, default_values_t = [0, 20_000], value_names = ["MIN", "MAX"])]
    value_bytes: Vec<u32>,
    /// Another seed gives other bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The directory to make
    output: String,
}

/// Bytes that stand before a key or a value.
const LENGTH_BYTES: usize = 4;

/// Writes keys and values with their lengths.
#[derive(Debug, Clone, Copy, Default)]
struct LengthPrefixed;

/// Writes one file.
struct LengthPrefixedWriter {
    file: OutputFile,
    buffer: Vec<u8>,
    written: u64,
}

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

impl OutputFormat<Text, Text> for LengthPrefixed {
    type Writer = LengthPrefixedWriter;

    fn writer(&self, file: OutputFile, _: &Conf) -> Result<LengthPrefixedWriter> {
        Ok(LengthPrefixedWriter { file, buffer: Vec::new(), written: 0 })
    }
}

impl LengthPrefixedWriter {
    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl RecordWriter<Text, Text> for LengthPrefixedWriter {
    fn write(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        for bytes in [key, value] {
            self.buffer.extend_from_slice(&u32::try_from(bytes.len())?.to_be_bytes());
            self.buffer.extend_from_slice(bytes);
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<u64> {
        self.flush()?;
        self.file.close()?;
        Ok(self.written)
    }
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

    /// Puts from `least` to `most` random bytes into `bytes`, which may be anything before.
    fn fill(&mut self, [least, most]: [u32; 2], bytes: &mut Vec<u8>) {
        let length = u64::from(least) + self.next() % (u64::from(most - least) + 1);
        bytes.clear();
        while (bytes.len() as u64) < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length as usize);
    }
}

#[derive(Clone)]
struct WriteBytes {
    bytes: u64,
    key_bytes: [u32; 2],
    value_bytes: [u32; 2],
    seed: u64,
}

impl Mapper for WriteBytes {
    type Input = RangeInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, map: u64, out: &mut impl Emit<Text, Text>) -> Result<()> {
        // Seeds that follow one another would give sequences that overlap; the mixing keeps them apart.
        let mut random = Random(Random(self.seed).next() ^ Random(!map).next());
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let (mut written, mut records) = (0, 0);
        while written < self.bytes {
            random.fill(self.key_bytes, &mut key);
            random.fill(self.value_bytes, &mut value);
            out.emit(&key, &value)?;
            written += (key.len() + value.len() + 2 * LENGTH_BYTES) as u64;
            records += 1;
            if records % 1024 == 0 {
                out.context().progress();
            }
        }
        out.context().increment("Random writer", "bytes written", written as i64);
        out.context().increment("Random writer", "records written", records);
        Ok(())
    }
}

/// A least and a most that are in order.
fn range(name: &str, values: &[u32]) -> Result<[u32; 2]> {
    match *values {
        [least, most] if least <= most => Ok([least, most]),
        _ => anyhow::bail!("--{name} needs two numbers, the smaller one first"),
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        let mapper = WriteBytes {
            bytes: (arguments.megabytes_per_map * 1e6) as u64,
            key_bytes: range("key-bytes", &arguments.key_bytes)?,
            value_bytes: range("value-bytes", &arguments.value_bytes)?,
            seed: arguments.seed,
        };
        Job::map(mapper)
            .name("random writer")
            .input_format(RangeInput::new(u64::from(arguments.maps), arguments.maps))
            .map_only()
            .output_format(LengthPrefixed)
            .output(arguments.output)
            .build()
    })
}
