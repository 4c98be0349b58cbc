//! Word count: how often each word occurs in some text.
//!
//! Words are what Hadoop's example counts: bytes between spaces, tabs, line ends and form feeds.
//! The output has a line for every word: the word, a tab, its number.

use std::ffi::OsString;
use std::process::ExitCode;

use hfs_mapreduce::{Emit, Job, Line, Lines, Mapper, Result, Sum, Text, TextInput, words};

/// The first argument that makes the `hfs` program itself this job program.
pub const VERB: &str = "word-count-job";

/// Counts words.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    paths: Vec<String>,
    /// The directory to make
    #[arg(required = true, value_name = "OUTPUT")]
    output: String,
}

/// Emits every word with a one.
#[derive(Debug, Clone, Copy)]
pub struct Words;

impl Mapper for Words {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(line.bytes).try_for_each(|word| out.emit(word, 1))
    }

    /// No word spans lines, so a block of lines needs no cutting into lines.
    fn map_batch(&mut self, lines: Lines<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(lines.bytes()).try_for_each(|word| out.emit(word, 1))
    }
}

/// The job.
///
/// # Errors
/// When the output is empty.
pub fn job(arguments: Arguments) -> Result<Job> {
    Job::map(Words)
        .combine(Sum)
        .reduce(Sum)
        .name("word count")
        .inputs(arguments.paths)
        .output(arguments.output)
        .build()
}

/// Runs the job program: as driver, locally or as a task.
pub fn main() -> ExitCode {
    hfs_mapreduce::run(job)
}

/// Runs the job program out of the `hfs` program, whose first argument was [`VERB`].
pub fn main_of_verb(arguments: Vec<OsString>) -> ExitCode {
    hfs_mapreduce::run_verb(VERB, arguments, job)
}
