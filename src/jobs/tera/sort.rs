//! TeraSort: rows in the order of their keys, over all output files in the order of their names.

use anyhow::Result;
use hfs_mapreduce::{Emit, Identity, Job, Mapper, Text, TotalOrderPartitioner};

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

/// The job that sorts. Partitions are ranges of keys that a sample of them decides, so keys need not be as even as
/// those of TeraGen.
///
/// # Errors
/// When the output is empty.
pub fn sort(arguments: Arguments) -> Result<Job> {
    Job::map(CutRows)
        .partition(TotalOrderPartitioner::sampled())
        .reduce(Identity)
        .output_format(RowOutput)
        .name("TeraSort")
        .input(arguments.input)
        .output(arguments.output)
        .build()
}
