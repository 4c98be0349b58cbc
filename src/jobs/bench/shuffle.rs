//! Records of given sizes from every map to every reduce, where they are counted and thrown away.

use anyhow::Result;
use hfs_mapreduce::{Context, Emit, Job, Mapper, RangeInput, Reducer, Text, Values, hash};
use serde::{Deserialize, Serialize};

use super::pattern::Draws;
use super::{emit_measured, epoch_us};

/// The counters' group.
pub const GROUP: &str = "Shuffle bench";
/// Counter: records that maps made.
pub const MADE: &str = "records made";
/// Counter: the sum of their checksums.
pub const MADE_SUM: &str = "checksum made";
/// Counter: records that reduces saw.
pub const SEEN: &str = "records seen";
/// Counter: the sum of their checksums.
pub const SEEN_SUM: &str = "checksum seen";

/// Bytes beyond a value from which values are cut at random.
const SPARE: usize = 64 << 10;

/// What the job is asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Maps
    #[arg(long)]
    maps: u32,
    /// Records of each map
    #[arg(long)]
    records: u64,
    /// Bytes of a key
    #[arg(long)]
    key_bytes: usize,
    /// Bytes of a value
    #[arg(long)]
    value_bytes: usize,
    /// Where the measurements go
    #[arg(long)]
    output: String,
}

/// What a reduce has measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number.
    pub partition: u32,
    /// Records it saw.
    pub records: u64,
    /// When all its input was there and merged far enough to begin with the first key, microseconds since the epoch.
    pub shuffled_us: u64,
}

/// Half of a hash of a record: sums of 2^31 of them fit into a counter.
fn checksum(key: &[u8], value: &[u8]) -> i64 {
    ((hash(key).rotate_left(1) ^ hash(value)) >> 32) as i64
}

#[derive(Debug, Clone, Copy)]
struct MakeRecords {
    records: u64,
    key_bytes: usize,
    value_bytes: usize,
}

impl Mapper for MakeRecords {
    type Input = RangeInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, number: u64, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let mut draws = Draws::new(number);
        let mut key = vec![0; self.key_bytes];
        let mut values = vec![0; SPARE + self.value_bytes];
        draws.fill(&mut values);
        let mut sum = 0i64;
        for _ in 0..self.records {
            draws.fill(&mut key);
            let from = (draws.next_number() % SPARE as u64) as usize;
            let value = &values[from..from + self.value_bytes];
            sum += checksum(&key, value);
            out.emit(&key, value)?;
        }
        let context = out.context();
        context.increment(GROUP, MADE, self.records as i64);
        context.increment(GROUP, MADE_SUM, sum);
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
struct CountRecords {
    seen: Partition,
    sum: i64,
}

impl Reducer<Text, Text> for CountRecords {
    type OutKey = Text;
    type OutValue = Text;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.seen.partition = context.index();
        self.seen.shuffled_us = epoch_us();
        Ok(())
    }

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, Text>,
        _: &mut impl Emit<Text, Text>,
    ) -> Result<()> {
        for value in values {
            self.seen.records += 1;
            self.sum += checksum(key, value);
        }
        Ok(())
    }

    fn cleanup(&mut self, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let context = out.context();
        context.increment(GROUP, SEEN, self.seen.records as i64);
        context.increment(GROUP, SEEN_SUM, self.sum);
        emit_measured(out, &format!("reduce {}", self.seen.partition), &self.seen)
    }
}

/// The job.
///
/// # Errors
/// When an argument is empty.
pub fn job(arguments: Arguments) -> Result<Job> {
    let Arguments { maps, records, key_bytes, value_bytes, output } = arguments;
    Job::map(MakeRecords { records, key_bytes, value_bytes })
        .input_format(RangeInput::new(u64::from(maps), maps))
        .reduce(CountRecords::default())
        .name("shuffle")
        .output(output)
        .build()
}
