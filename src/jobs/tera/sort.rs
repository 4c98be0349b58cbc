//! TeraSort: rows in the order of their keys, over all output files in the order of their names.

use anyhow::Result;
use hfs_mapreduce::{Emit, Identity, Job, Mapper, Partitioner, Text};

use super::files::{Row, RowInput, RowOutput};
use super::row::KEY_BYTES;

/// What is sorted, and where to.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file or directory of rows
    #[arg(value_name = "INPUT")]
    input: String,
    /// The directory to make
    #[arg(value_name = "OUTPUT")]
    output: String,
}

/// Cuts a row into key and value.
#[derive(Debug, Clone, Copy)]
struct CutRows;

impl Mapper for CutRows {
    type Input = RowInput;
    type Key = Text;
    type Value = Text;

    #[inline]
    fn map(&mut self, Row(row): Row<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        out.emit(&row[..KEY_BYTES], &row[KEY_BYTES..])
    }
}

/// Gives every partition an equal share of all possible keys, in order: right for the even keys that
/// TeraGen makes (Hadoop's `SimplePartitioner`).
#[derive(Debug, Clone, Copy)]
struct EvenRanges;

impl Partitioner<Text> for EvenRanges {
    #[inline]
    fn partition(&self, _: &[u8], key: &[u8], partitions: u32) -> u32 {
        let mut front = [0; 8];
        let bytes = key.len().min(front.len());
        front[..bytes].copy_from_slice(&key[..bytes]);
        let front = u128::from(u64::from_be_bytes(front));
        ((front * u128::from(partitions)) >> u64::BITS) as u32
    }
}

/// The job that sorts.
///
/// # Errors
/// When the output is empty.
pub fn sort(arguments: Arguments) -> Result<Job> {
    Job::map(CutRows)
        .partition(EvenRanges)
        .reduce(Identity)
        .output_format(RowOutput)
        .name("TeraSort")
        .input(arguments.input)
        .output(arguments.output)
        .build()
}
