//! Sort: the lines of some text in the order of their keys.
//!
//! Input: text lines `key<TAB>value`; a line without a tab is a key. Output: the same lines, sorted within each
//! file by key, then by what follows it, byte by byte. All lines of a key are in one file.
//!
//! Sorting is what MapReduce does anyway between map and reduce, so this job has next to no code: the mapper
//! makes the line the key, and the reducer puts it together again. The only decision is the partitioner's:
//! it looks at the key alone, so that the lines of a key stay together.
//!
//! ```text
//! cargo run --release --example sort -- --reduces 4 /in /out
//! cargo run --release --example sort -- --local people.tsv /tmp/sorted
//! ```

use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{
    Emit, HashPartitioner, Job, Line, Mapper, Partitioner, Reducer, Result, Text, TextInput, Values,
};

/// Sorts lines by key.
#[derive(Debug, Args)]
struct Arguments {
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// The directory to make
    #[arg(required = true)]
    output: String,
}

/// A line cut before its first tab. A pair is compared part by part.
type KeyAndRest = (Text, Text);

#[derive(Clone)]
struct CutAtTab;

impl Mapper for CutAtTab {
    type Input = TextInput;
    type Key = KeyAndRest;
    type Value = ();

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<KeyAndRest, ()>) -> Result<()> {
        let tab = line.bytes.iter().position(|byte| *byte == b'\t').unwrap_or(line.bytes.len());
        out.emit(line.bytes.split_at(tab), ())
    }
}

/// Sends all lines of a key to the same reducer.
#[derive(Clone)]
struct ByKey;

impl Partitioner<KeyAndRest> for ByKey {
    fn partition(&self, (key, _): (&[u8], &[u8]), _: &[u8], partitions: u32) -> u32 {
        Partitioner::<Text>::partition(&HashPartitioner, key, key, partitions)
    }
}

/// Makes lines again, one for each time that it occurred.
#[derive(Clone, Default)]
struct Join {
    line: Vec<u8>,
}

impl Reducer<KeyAndRest, ()> for Join {
    type OutKey = Text;
    type OutValue = ();

    fn reduce(
        &mut self,
        (key, rest): (&[u8], &[u8]),
        values: &mut Values<'_, '_, ()>,
        out: &mut impl Emit<Text, ()>,
    ) -> Result<()> {
        self.line.clear();
        self.line.extend_from_slice(key);
        self.line.extend_from_slice(rest);
        for () in values {
            out.emit(&self.line, ())?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(CutAtTab)
            .name("sort")
            .partition(ByKey)
            .reduce(Join::default())
            .inputs(arguments.inputs)
            .output(arguments.output)
            .build()
    })
}
