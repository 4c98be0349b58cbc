//! The jobs of `hfs bench`: a verb of the `hfs` program with one more word for which of them.
//!
//! - [`io`]: one file a map, written, read or appended to (Hadoop's `TestDFSIO`).
//! - [`lines`]: the small job that is run many times (Hadoop's `MRBench`).
//! - [`names`]: many small operations on names in each map (Hadoop's `NNBench`).
//! - [`shuffle`]: records of given sizes from every map to every reduce.
//! - [`tera`]: rows that are made, sorted and checked (Hadoop's `TeraSort`).
//! - [`wordcount`]: text whose words are counted (Hadoop's `WordCount`).
//!
//! What a task has measured is a line of the job's output: a name, a tab, and an object as JSON.

pub mod io;
pub mod lines;
pub mod names;
mod pattern;
pub mod shuffle;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hfs_client::blocking;
use hfs_mapreduce::{
    Builder, Context, Emit, Job, MapOnly, Mapper, RangeInput, Result, Text, TextOutput,
};
use serde::Serialize;

use super::{tera, wordcount};

/// The first argument that makes the `hfs` program itself a job of a benchmark.
pub const VERB: &str = "bench-job";

/// Runs one of the jobs that `hfs bench` measures.
#[derive(Debug, clap::Args)]
struct Arguments {
    #[command(subcommand)]
    job: Jobs,
}

#[derive(Debug, clap::Subcommand)]
enum Jobs {
    /// A file a map
    Dfsio(io::Arguments),
    /// Operations on names
    Nnbench(names::Arguments),
    /// A small job
    Mrbench(lines::Arguments),
    /// Records from every map to every reduce
    Shuffle(shuffle::Arguments),
    /// Rows to sort
    Teragen(tera::GenerateArguments),
    /// Rows in order
    Terasort(tera::SortArguments),
    /// A look whether they are
    Teravalidate(tera::ValidateArguments),
    /// Words to count
    Wordcount(wordcount::Arguments),
}

fn job(arguments: Arguments) -> Result<Job> {
    match arguments.job {
        Jobs::Dfsio(arguments) => io::job(arguments),
        Jobs::Nnbench(arguments) => names::job(arguments),
        Jobs::Mrbench(arguments) => lines::job(arguments),
        Jobs::Shuffle(arguments) => shuffle::job(arguments),
        Jobs::Teragen(arguments) => tera::generate(arguments),
        Jobs::Terasort(arguments) => tera::sort(arguments),
        Jobs::Teravalidate(arguments) => tera::validate(arguments),
        Jobs::Wordcount(arguments) => wordcount::job(arguments),
    }
}

/// Runs a job out of the `hfs` program, whose first argument was [`VERB`].
pub fn main_of_verb(arguments: Vec<OsString>) -> ExitCode {
    hfs_mapreduce::run_verb(VERB, arguments, job)
}

/// One of the things that a benchmark does with many files.
pub trait Operation: Copy + PartialEq {
    /// Makes the files that all others need.
    const MAKES: Self;

    /// The word of the command line.
    fn word(self) -> &'static str;
}

/// The file system that the tasks of a job measure.
fn measured_fs(context: &Context) -> Result<blocking::FileSystem> {
    let fs = context.files().hdfs().cloned();
    fs.context("this job measures a distributed file system; run it without --local")
}

/// Emits what a task has measured.
fn emit_measured(
    out: &mut impl Emit<Text, Text>,
    name: &str,
    measured: &impl Serialize,
) -> Result<()> {
    out.emit(name.as_bytes(), serde_json::to_string(measured)?.as_bytes())
}

/// A job of so many maps, each with its number, whose only output is what they measure. No map has two attempts at
/// once: they would be in each other's way.
fn measuring<M>(
    mapper: M,
    maps: u32,
    name: String,
    output: String,
) -> Builder<MapOnly<M, TextOutput>>
where
    M: Mapper<Input = RangeInput, Key = Text, Value = Text>,
{
    Job::map(mapper)
        .input_format(RangeInput::new(u64::from(maps), maps))
        .map_only()
        .name(name)
        .set("mapreduce.map.speculative", "false")
        .output(output)
}

/// Microseconds since the epoch, to compare what tasks on one machine or on machines with synchronous clocks saw.
#[must_use]
pub fn epoch_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Adds up how long some of the things took that a task did.
#[derive(Debug, Clone, Copy, Default)]
struct Stopwatch(Duration);

impl Stopwatch {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.0 += begun.elapsed();
        done
    }

    fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}
