//! A job that sorts a few lines, to be run many times in a row: Hadoop's `MRBench`.

use hfs_mapreduce::{Emit, Identity, Job, Line, Mapper, Result, Text, TextInput};

/// What the job is asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files of lines
    input: String,
    /// The directory to make
    output: String,
}

#[derive(Debug, Clone, Copy)]
struct KeepLines;

impl Mapper for KeepLines {
    type Input = TextInput;
    type Key = Text;
    type Value = ();

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, ()>) -> Result<()> {
        out.emit(line.bytes, ())
    }
}

/// The job.
///
/// # Errors
/// When an argument is empty.
pub fn job(arguments: Arguments) -> Result<Job> {
    Job::map(KeepLines)
        .reduce(Identity)
        .name("mrbench")
        .input(arguments.input)
        .output(arguments.output)
        .build()
}
