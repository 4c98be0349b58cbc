//! Top N: the lines with the largest numbers.
//!
//! Input: text lines `key<TAB>number`, as word count writes them. Output: one file with at most N such
//! lines, the largest number first; of equal numbers the smaller key first. Lines without a number
//! at their end are skipped and counted (`Top N: lines without a number`).
//!
//! Every map keeps only its own N best and emits them when its split ends, all under one key. So the one
//! reducer that picks the best of the best gets N records from each map, however large the input is.
//!
//! ```text
//! cargo run --release --example wordcount -- /in /counts
//! cargo run --release --example top_n -- -n 20 /counts /top
//! cargo run --release --example top_n -- --local -n 20 counts.txt /tmp/top
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{Emit, Job, Line, Mapper, Reducer, Result, Text, TextInput, Values};

/// Prints the lines with the largest numbers.
#[derive(Debug, Args)]
struct Arguments {
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    top: u32,
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// The directory to make
    #[arg(required = true)]
    output: String,
}

/// The N best so far. The worst of them is on top of the heap, to be thrown out by a better one.
#[derive(Clone)]
struct Top {
    size: usize,
    best: BinaryHeap<Reverse<(i64, Reverse<Vec<u8>>)>>,
}

impl Top {
    fn new(size: u32) -> Self {
        Self { size: size as usize, best: BinaryHeap::new() }
    }

    fn add(&mut self, number: i64, key: &[u8]) {
        let full = self.best.len() >= self.size;
        let beaten = self.best.peek().is_some_and(|Reverse((worst, Reverse(worst_key)))| {
            (number, Reverse(key)) <= (*worst, Reverse(worst_key.as_slice()))
        });
        if full && (beaten || self.size == 0) {
            return;
        }
        if full {
            self.best.pop();
        }
        self.best.push(Reverse((number, Reverse(key.to_vec()))));
    }

    /// The best first.
    fn take(&mut self) -> impl Iterator<Item = (i64, Vec<u8>)> {
        let sorted = std::mem::take(&mut self.best).into_sorted_vec();
        sorted.into_iter().map(|Reverse((number, Reverse(key)))| (number, key))
    }
}

/// A line's key and number.
fn parse(line: &[u8]) -> Option<(&[u8], i64)> {
    let tab = line.iter().rposition(|byte| *byte == b'\t')?;
    let number = std::str::from_utf8(&line[tab + 1..]).ok()?.trim().parse().ok()?;
    Some((&line[..tab], number))
}

#[derive(Clone)]
struct TopOfSplit(Top);

impl Mapper for TopOfSplit {
    type Input = TextInput;
    type Key = ();
    type Value = (i64, Text);

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<(), (i64, Text)>) -> Result<()> {
        match parse(line.bytes) {
            Some((key, number)) => self.0.add(number, key),
            None => out.context().increment("Top N", "lines without a number", 1),
        }
        Ok(())
    }

    fn cleanup(&mut self, out: &mut impl Emit<(), (i64, Text)>) -> Result<()> {
        self.0.take().try_for_each(|(number, key)| out.emit((), (number, &key)))
    }
}

#[derive(Clone)]
struct TopOfAll(Top);

impl Reducer<(), (i64, Text)> for TopOfAll {
    type OutKey = Text;
    type OutValue = i64;

    fn reduce(
        &mut self,
        (): (),
        values: &mut Values<'_, '_, (i64, Text)>,
        out: &mut impl Emit<Text, i64>,
    ) -> Result<()> {
        for (number, key) in values {
            self.0.add(number, key);
        }
        self.0.take().try_for_each(|(number, key)| out.emit(&key, number))
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(TopOfSplit(Top::new(arguments.top)))
            .name(format!("top {}", arguments.top))
            .reduce(TopOfAll(Top::new(arguments.top)))
            .reduces(1)
            .inputs(arguments.inputs)
            .output(arguments.output)
            .build()
    })
}
