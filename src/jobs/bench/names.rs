//! Many small operations on names in each map, all begun at the same moment: Hadoop's `NNBench`.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hfs_client::{CreateOptions, blocking};
use hfs_mapreduce::{Context, Emit, Job, Mapper, RangeInput, Text};
use serde::{Deserialize, Serialize};

use super::{Operation as _, Stopwatch, emit_measured, epoch_us, measured_fs, measuring};

/// Operations of one map that may fail before it gives up (`NNBench`'s number).
const ERRORS_MAX: u64 = 1000;
/// How long a map sleeps between signs of life while it waits for the beginning.
const NAP: Duration = Duration::from_millis(200);
/// Between two signs of life of a map at work.
const ALIVE: Duration = Duration::from_secs(1);
/// What a file's new name ends with.
const RENAMED: &str = ".renamed";

/// What is done with the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Make files, write to them and close them
    #[value(name = "create_write", alias = "create-write")]
    CreateWrite,
    /// Open files, and read them if asked to
    #[value(name = "open_read", alias = "open-read")]
    OpenRead,
    /// Rename files
    Rename,
    /// Delete files
    Delete,
}

impl super::Operation for Operation {
    const MAKES: Self = Self::CreateWrite;

    /// Hadoop's word.
    fn word(self) -> &'static str {
        match self {
            Self::CreateWrite => "create_write",
            Self::OpenRead => "open_read",
            Self::Rename => "rename",
            Self::Delete => "delete",
        }
    }
}

/// What the job is asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to do
    operation: Operation,
    /// Maps
    #[arg(long)]
    maps: u32,
    /// Files of each map
    #[arg(long)]
    files: u64,
    /// Bytes of each file
    #[arg(long)]
    bytes: usize,
    /// Bytes of a block, if not the configured number
    #[arg(long)]
    block_size: Option<u64>,
    /// Replicas, if not the configured number
    #[arg(long)]
    replication: Option<u16>,
    /// open_read reads what it has opened
    #[arg(long)]
    read: bool,
    /// The files have their new names
    #[arg(long)]
    renamed: bool,
    /// When to begin, microseconds since the epoch
    #[arg(long)]
    start_us: u64,
    /// Where the files are
    #[arg(long)]
    dir: String,
    /// Where the measurements go
    #[arg(long)]
    output: String,
}

/// What a map has measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapNames {
    /// Files with which the operation was done.
    pub succeeded: u64,
    /// Operations that failed and were tried again.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// Whether the map came too late for the common beginning.
    pub late: bool,
    /// When the map began, microseconds since the epoch.
    pub start_us: u64,
    /// When it had done.
    pub end_us: u64,
    /// Time of the first part of each operation: create and write, open, rename, delete.
    pub first_nanos: u64,
    /// Time of the second part: close, read.
    pub second_nanos: u64,
}

#[derive(Debug, Clone)]
struct DoNames {
    operation: Operation,
    files: u64,
    bytes: usize,
    options: CreateOptions,
    read: bool,
    renamed: bool,
    start_us: u64,
    dir: String,
}

impl Mapper for DoNames {
    type Input = RangeInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, number: u64, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let context = out.context();
        let fs = measured_fs(context)?;
        let late = !self.wait(context);
        let mut measured = MapNames { late, start_us: epoch_us(), ..MapNames::default() };
        self.run(number, &fs, context, &mut measured);
        measured.end_us = epoch_us();
        emit_measured(out, &format!("map {number}"), &measured)
    }
}

impl DoNames {
    /// Waits for the common beginning; says whether there was time left.
    fn wait(&self, context: &mut Context) -> bool {
        let mut in_time = false;
        loop {
            let left = Duration::from_micros(self.start_us.saturating_sub(epoch_us()));
            if left.is_zero() {
                return in_time;
            }
            in_time = true;
            std::thread::sleep(left.min(NAP));
            context.progress();
        }
    }

    fn run(
        &self,
        map: u64,
        fs: &blocking::FileSystem,
        context: &mut Context,
        measured: &mut MapNames,
    ) {
        let content = vec![b'x'; self.bytes];
        let mut last_sign = Instant::now();
        let (mut first, mut second) = (Stopwatch::default(), Stopwatch::default());
        for number in 0..self.files {
            let path = format!("{}/file_{map}_{number}", self.dir);
            while measured.errors < ERRORS_MAX {
                // What a failed try took counts for no operation.
                let (mut one, mut two) = (Stopwatch::default(), Stopwatch::default());
                match self.operate(fs, &path, &content, &mut one, &mut two) {
                    Ok(()) => {
                        measured.succeeded += 1;
                        first.0 += one.0;
                        second.0 += two.0;
                        break;
                    }
                    Err(error) => {
                        measured.errors += 1;
                        measured.first_error.get_or_insert_with(|| error.to_string());
                    }
                }
            }
            if last_sign.elapsed() > ALIVE {
                context.progress();
                last_sign = Instant::now();
            }
        }
        measured.first_nanos = first.nanos();
        measured.second_nanos = second.nanos();
    }

    fn operate(
        &self,
        fs: &blocking::FileSystem,
        path: &str,
        content: &[u8],
        first: &mut Stopwatch,
        second: &mut Stopwatch,
    ) -> Result<()> {
        let there = |path: &str| match self.renamed {
            true => format!("{path}{RENAMED}"),
            false => path.to_owned(),
        };
        match self.operation {
            Operation::CreateWrite => {
                let writer = first.time(|| -> hfs_client::Result<_> {
                    let mut writer = fs.create(path, &self.options)?;
                    writer.write_all(content)?;
                    Ok(writer)
                })?;
                second.time(|| writer.close())?;
            }
            Operation::OpenRead => {
                let mut reader = first.time(|| fs.open(&there(path)))?;
                if self.read {
                    let got = second.time(|| reader.read_all())?;
                    if got != content {
                        bail!(
                            "{} has {} bytes, not the {} that were written",
                            there(path),
                            got.len(),
                            content.len()
                        );
                    }
                }
            }
            Operation::Rename => {
                let done = first.time(|| fs.rename(path, &format!("{path}{RENAMED}")))?;
                must(done, path, "renamed")?;
            }
            Operation::Delete => {
                let path = there(path);
                let done = first.time(|| fs.delete(&path, false))?;
                must(done, &path, "deleted")?;
            }
        }
        Ok(())
    }
}

/// HDFS answers "no" instead of an error where there was nothing to do.
fn must(done: bool, path: impl Display, word: &str) -> Result<()> {
    if !done {
        bail!("{path} could not be {word}: it is not there");
    }
    Ok(())
}

/// The job: no reduces, a line for each map.
///
/// # Errors
/// When an argument is empty.
pub fn job(arguments: Arguments) -> Result<Job> {
    let Arguments { operation, maps, files, bytes, block_size, replication, .. } = arguments;
    let Arguments { read, renamed, start_us, dir, output, .. } = arguments;
    let options = CreateOptions { replication, block_size, ..CreateOptions::overwrite() };
    let mapper = DoNames { operation, files, bytes, options, read, renamed, start_us, dir };
    measuring(mapper, maps, format!("nnbench {}", operation.word()), output)
        // A second attempt would find the names as the first has left them.
        .set(hfs_mapreduce::conf::MAX_ATTEMPTS, "1")
        .build()
}
