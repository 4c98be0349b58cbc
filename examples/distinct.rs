//! Distinct lines: every different line of the input once, as `sort -u` has it.
//!
//! Input: text. Output: text, sorted within each file; a line is in exactly one of the files.
//!
//! The line itself is the key and there is no value. Equal keys meet in one reducer, so a reducer that
//! prints each key once is all it takes. The combiner drops repetitions before they leave the map.
//!
//! ```text
//! cargo run --release --example distinct -- /in /out
//! cargo run --release --example distinct -- --local names.txt /tmp/distinct
//! ```

use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{
    Combiner, Emit, Job, Line, Mapper, Record, Reducer, Result, Text, TextInput, Values,
};

/// Prints every different line of some text once.
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
struct LineAsKey;

impl Mapper for LineAsKey {
    type Input = TextInput;
    type Key = Text;
    type Value = ();

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, ()>) -> Result<()> {
        out.emit(line.bytes, ())
    }
}

/// Keeps a key once: there is nothing to fold.
#[derive(Clone)]
struct Once;

impl<K: Record> Combiner<K, ()> for Once {
    fn combine(&self, _: &mut (), (): ()) {}
}

impl<K: Record> Reducer<K, ()> for Once {
    type OutKey = K;
    type OutValue = ();

    fn reduce(
        &mut self,
        key: K::Ref<'_>,
        _: &mut Values<'_, '_, ()>,
        out: &mut impl Emit<K, ()>,
    ) -> Result<()> {
        out.emit(key, ())
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(LineAsKey)
            .name("distinct")
            .combine(Once)
            .reduce(Once)
            .inputs(arguments.inputs)
            .output(arguments.output)
            .build()
    })
}
