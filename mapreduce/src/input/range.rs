//! Numbers instead of files: the input of jobs that make their data, or compute without any.

use std::ops::Range;

use anyhow::{Context as _, Result, bail};
use hfs_protocol::proto::task::InputSplit;
use prost::Message;

use super::{BatchReader, InputFormat, ReadCounts, SplitContext};
use crate::conf::Conf;
use crate::files::Files;

/// Numbers of a batch. Progress is reported and a kill is noticed between batches.
const BATCH_NUMBERS: u64 = 4096;
/// The most splits: a slip of the keyboard gets a sentence, not gigabytes of splits.
const MAX_SPLITS: u32 = 1_000_000;

/// Gives the numbers from 0 up to a count to mappers, cut into equal splits. It reads nothing, so a
/// job over it needs no input path: a generator of rows, a simulation, a job that sleeps.
///
/// ```
/// use hfs_mapreduce::{Emit, Job, Mapper, RangeInput, Result, Sum};
///
/// /// How many numbers end in each digit.
/// #[derive(Clone)]
/// struct LastDigit;
///
/// impl Mapper for LastDigit {
///     type Input = RangeInput;
///     type Key = u64;
///     type Value = u64;
///
///     fn map(&mut self, number: u64, out: &mut impl Emit<u64, u64>) -> Result<()> {
///         out.emit(number % 10, 1)
///     }
/// }
///
/// let job = Job::map(LastDigit)
///     .input_format(RangeInput::new(1_000_000, 4))
///     .combine(Sum)
///     .reduce(Sum)
///     .output("/digits")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RangeInput {
    count: u64,
    splits: u32,
}

impl RangeInput {
    /// The numbers below `count` in `splits` splits, fewer if there are fewer numbers.
    #[must_use]
    pub fn new(count: u64, splits: u32) -> Self {
        Self { count, splits }
    }

    /// The numbers of a split. Sizes differ by one at most, the larger ones first.
    fn range(self, split: u64, splits: u64) -> Range<u64> {
        let (size, larger) = (self.count / splits, self.count % splits);
        let start = |split: u64| split * size + split.min(larger);
        start(split)..start(split + 1)
    }
}

#[derive(Clone, PartialEq, Message)]
struct RangeMessage {
    #[prost(uint64, tag = "1")]
    start: u64,
    #[prost(uint64, tag = "2")]
    end: u64,
}

impl InputFormat for RangeInput {
    type Record<'a> = u64;
    type Batch<'a> = Range<u64>;
    type Reader = RangeReader;

    fn splits(&self, _: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        if self.splits > MAX_SPLITS {
            bail!("a job can have at most {MAX_SPLITS} maps, not {}", self.splits);
        }
        let splits = u64::from(self.splits).min(self.count);
        Ok((0..splits)
            .map(|split| {
                let Range { start, end } = self.range(split, splits);
                InputSplit {
                    payload: RangeMessage { start, end }.encode_to_vec().into(),
                    // No bytes are read: a split's length only says which are the longer ones.
                    length_bytes: end - start,
                    hosts: Vec::new(),
                    description: format!("the numbers {start} to {}", end - 1),
                }
            })
            .collect())
    }

    fn open(&self, split: &InputSplit, _: &Files, _: &Conf) -> Result<RangeReader> {
        let message = RangeMessage::decode(&split.payload[..])
            .context("the split is not a range of numbers")?;
        if message.start > message.end {
            bail!("the split ends at {} before it begins at {}", message.end, message.start);
        }
        Ok(RangeReader { start: message.start, next: message.start, end: message.end, counted: 0 })
    }
}

/// Gives the numbers of one split.
#[derive(Debug)]
pub struct RangeReader {
    start: u64,
    next: u64,
    end: u64,
    counted: u64,
}

impl BatchReader<RangeInput> for RangeReader {
    fn next_batch(&mut self) -> Result<Option<Range<u64>>> {
        if self.next == self.end {
            return Ok(None);
        }
        let batch = self.next..self.end.min(self.next.saturating_add(BATCH_NUMBERS));
        self.next = batch.end;
        self.counted += batch.end - batch.start;
        Ok(Some(batch))
    }

    fn fraction(&self) -> f64 {
        let all = (self.end - self.start).max(1);
        (self.next - self.start) as f64 / all as f64
    }

    fn position(&self) -> String {
        format!("the numbers up to {}", self.next)
    }

    fn take_counts(&mut self) -> ReadCounts {
        ReadCounts { records: std::mem::take(&mut self.counted), ..ReadCounts::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn splits(input: RangeInput) -> Result<Vec<InputSplit>> {
        let (files, conf) = (Files::local(), Conf::default());
        input.splits(&SplitContext { files: &files, conf: &conf, inputs: &[], parallelism: None })
    }

    proptest! {
        #[test]
        fn every_number_is_given_once_and_in_order(count in 0u64..30_000, parts in 0u32..50) {
            let input = RangeInput::new(count, parts);
            let mut given = Vec::new();
            let mut sizes = Vec::new();
            for split in splits(input).unwrap() {
                let mut reader = input.open(&split, &Files::local(), &Conf::default()).unwrap();
                let before = given.len();
                while let Some(batch) = reader.next_batch().unwrap() {
                    given.extend(batch);
                }
                sizes.push(given.len() - before);
                prop_assert_eq!(reader.take_counts().records, (given.len() - before) as u64);
                prop_assert!((reader.fraction() - 1.0).abs() < f64::EPSILON);
            }
            prop_assert_eq!(sizes.len() as u64, count.min(u64::from(parts)));
            let all = if parts == 0 { 0 } else { count };
            prop_assert_eq!(given, (0..all).collect::<Vec<_>>());
            let spread = sizes.iter().max().zip(sizes.iter().min()).map_or(0, |(a, b)| a - b);
            prop_assert!(spread <= 1);
        }
    }

    #[test]
    fn the_largest_range_and_too_many_splits() {
        let input = RangeInput::new(u64::MAX, 3);
        let last = splits(input).unwrap().pop().unwrap();
        let mut reader = input.open(&last, &Files::local(), &Conf::default()).unwrap();
        assert_eq!(reader.next_batch().unwrap().unwrap().start, u64::MAX / 3 * 2);
        let error = splits(RangeInput::new(u64::MAX, MAX_SPLITS + 1)).unwrap_err();
        assert!(error.to_string().contains("1000001"), "{error}");
        let other = InputSplit { payload: vec![0xff].into(), ..InputSplit::default() };
        assert!(input.open(&other, &Files::local(), &Conf::default()).is_err());
    }
}
