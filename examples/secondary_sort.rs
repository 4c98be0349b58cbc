//! Secondary sort: pairs of whole numbers, grouped by the first and sorted by the second (Hadoop's
//! example of the same name).
//!
//! Input: text lines of two numbers. Output: for each first number a line of dashes, then its pairs in order.
//!
//! Keys are whole pairs, which the shuffle sorts anyway; `group_by(First)` alone makes one group of all pairs
//! with the same first number. Nobody collects the second numbers to sort them, so a group may be larger than
//! memory. With `--ordered` the files, one after another, are sorted, too: the split points between the reducers
//! are sampled from the input, and never lie inside a group.
//!
//! ```text
//! cargo run --release --example secondary_sort -- --reduces 4 --ordered /pairs /sorted
//! cargo run --release --example secondary_sort -- --local pairs.txt /tmp/sorted
//! ```

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use hfs_mapreduce::{
    Emit, First, Job, Line, Mapper, Reducer, Result, Text, TextInput, TotalOrderPartitioner,
    Values, run, words,
};

/// Sorts pairs of numbers.
#[derive(Debug, Args)]
struct Arguments {
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// The directory to make
    #[arg(required = true)]
    output: String,
    /// Sort over all files, not only within each
    #[arg(long)]
    ordered: bool,
}

#[derive(Clone)]
struct Pairs;

fn number(word: Option<&[u8]>) -> Result<i64> {
    let word = word.context("the line has fewer than two numbers")?;
    let text = std::str::from_utf8(word)?;
    text.parse().with_context(|| format!("'{text}' is no whole number"))
}

impl Mapper for Pairs {
    type Input = TextInput;
    type Key = (i64, i64);
    type Value = ();

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<(i64, i64), ()>) -> Result<()> {
        let mut words = words(line.bytes);
        out.emit((number(words.next())?, number(words.next())?), ())
    }
}

#[derive(Clone)]
struct Groups;

impl Reducer<(i64, i64), ()> for Groups {
    type OutKey = Text;
    type OutValue = Option<i64>;

    fn reduce(
        &mut self,
        (first, _): (i64, i64),
        pairs: &mut Values<'_, '_, ()>,
        out: &mut impl Emit<Text, Option<i64>>,
    ) -> Result<()> {
        out.emit(b"------------------------------------------------", None)?;
        let first = first.to_string();
        while let Some(((_, second), ())) = pairs.next_with_key::<(i64, i64)>() {
            out.emit(first.as_bytes(), Some(second))?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    run(|arguments: Arguments| {
        let job = Job::map(Pairs).name("secondary sort").group_by(First);
        let job = job.inputs(arguments.inputs).output(arguments.output);
        if arguments.ordered {
            job.partition(TotalOrderPartitioner::by_groups(First)).reduce(Groups).build()
        } else {
            job.reduce(Groups).build()
        }
    })
}
