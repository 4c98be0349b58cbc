//! Word statistics: how long the words of a text are, by mean, median and standard deviation.
//!
//! Input: text. Output: one file with four lines, `words<TAB>count`, `mean<TAB>bytes`, `median<TAB>bytes` and
//! `standard deviation<TAB>bytes`; lengths are in bytes. A text without words gives only the first line.
//!
//! A median can't be put together from the medians of parts. So the maps count how many words are how long, the
//! combiner adds up, and one reducer, which gets a record for each length however large the text is, computes all
//! three from the counts.
//!
//! ```text
//! cargo run --release --example word_statistics -- /text /statistics
//! cargo run --release --example word_statistics -- --local book.txt /tmp/statistics
//! ```

use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{
    Emit, Job, Line, Mapper, Reducer, Result, Sum, Text, TextInput, Values, words,
};

/// Prints mean, median and standard deviation of the lengths of words.
#[derive(Debug, Args)]
struct Arguments {
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// The directory to make
    #[arg(required = true)]
    output: String,
}

#[derive(Clone)]
struct Lengths;

impl Mapper for Lengths {
    type Input = TextInput;
    type Key = u64;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<u64, u64>) -> Result<()> {
        words(line.bytes).try_for_each(|word| out.emit(word.len() as u64, 1))
    }
}

/// Lengths with the number of words that have them, the shortest first.
#[derive(Clone, Default)]
struct Statistics {
    counts: Vec<(u64, u64)>,
}

impl Statistics {
    fn words(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    fn mean(&self) -> f64 {
        let bytes: u128 = self.counts.iter().map(|&(l, n)| u128::from(l) * u128::from(n)).sum();
        bytes as f64 / self.words() as f64
    }

    /// The length of the word with this number, from 0, when they stand sorted by length.
    fn length_at(&self, number: u64) -> u64 {
        let mut before = 0;
        for &(length, count) in &self.counts {
            before += count;
            if number < before {
                return length;
            }
        }
        0
    }

    /// The length in the middle; of an even number of words the mean of the two in the middle.
    fn median(&self) -> f64 {
        let words = self.words();
        let (below, above) = (self.length_at((words - 1) / 2), self.length_at(words / 2));
        (below + above) as f64 / 2.0
    }

    /// The standard deviation of all words, not an estimate from a sample.
    fn standard_deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 =
            self.counts.iter().map(|&(l, n)| (l as f64 - mean).powi(2) * n as f64).sum();
        (squares / self.words() as f64).sqrt()
    }
}

impl Reducer<u64, u64> for Statistics {
    type OutKey = Text;
    type OutValue = String;

    fn reduce(
        &mut self,
        length: u64,
        counts: &mut Values<'_, '_, u64>,
        _: &mut impl Emit<Text, String>,
    ) -> Result<()> {
        self.counts.push((length, counts.sum()));
        Ok(())
    }

    fn cleanup(&mut self, out: &mut impl Emit<Text, String>) -> Result<()> {
        out.emit(b"words", &self.words().to_string())?;
        if self.counts.is_empty() {
            return Ok(());
        }
        out.emit(b"mean", &self.mean().to_string())?;
        out.emit(b"median", &self.median().to_string())?;
        out.emit(b"standard deviation", &self.standard_deviation().to_string())
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(Lengths)
            .name("word statistics")
            .combine(Sum)
            .reduce(Statistics::default())
            .reduces(1)
            .inputs(arguments.inputs)
            .output(arguments.output)
            .build()
    })
}
