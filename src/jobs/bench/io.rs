//! A file a map, written, appended to or read in one of four ways: Hadoop's `TestDFSIO`.
//!
//! A map's time is that of its reads or writes and of closing the file, as there. What was read is compared, beside
//! the time, with what was written.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use hfs_client::{CreateOptions, blocking};
use hfs_mapreduce::{Context, Emit, Job, Mapper, RangeInput, Text};
use serde::{Deserialize, Serialize};

use super::pattern::{Draws, Pattern};
use super::{Operation as _, Stopwatch, emit_measured, measured_fs, measuring};

/// What is done with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Make each file
    Write,
    /// Read each file from its beginning
    Read,
    /// Make each file longer
    Append,
    /// Read at random offsets
    RandomRead,
    /// Read a buffer at a time from the end to the beginning
    BackwardRead,
    /// Read a buffer, skip some bytes, and so on
    SkipRead,
}

impl super::Operation for Operation {
    const MAKES: Self = Self::Write;

    fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Append => "append",
            Self::RandomRead => "random-read",
            Self::BackwardRead => "backward-read",
            Self::SkipRead => "skip-read",
        }
    }
}

/// What the job is asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to do
    operation: Operation,
    /// Files, each of a map of its own
    #[arg(long)]
    files: u32,
    /// Bytes that each map writes or reads
    #[arg(long)]
    bytes: u64,
    /// Bytes at once
    #[arg(long)]
    buffer: usize,
    /// Bytes that skip-read leaves out each time
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// Where the files are
    #[arg(long)]
    dir: String,
    /// Where the measurements go
    #[arg(long)]
    output: String,
}

/// What a map has measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIo {
    /// The file.
    pub file: String,
    /// Bytes read or written.
    pub bytes: u64,
    /// How often.
    pub calls: u64,
    /// How long that took.
    pub nanos: u64,
}

#[derive(Debug, Clone)]
struct DoIo {
    operation: Operation,
    bytes: u64,
    buffer: usize,
    skip: u64,
    dir: String,
}

impl Mapper for DoIo {
    type Input = RangeInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, number: u64, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let context = out.context();
        let fs = measured_fs(context)?;
        let file = format!("{}/test_io_{number}", self.dir);
        let mut run = Run {
            fs: &fs,
            file: &file,
            context,
            pattern: Pattern::new(self.buffer),
            watch: Stopwatch::default(),
            bytes: 0,
            calls: 0,
        };
        match self.operation {
            Operation::Write => {
                run.write(fs.create(&file, &CreateOptions::overwrite())?, 0, self)?
            }
            Operation::Append => {
                let length = fs.status(&file)?.length;
                run.write(fs.append(&file)?, length, self)?;
            }
            Operation::Read => run.read(self)?,
            Operation::RandomRead => {
                let mut draws = Draws::new(number);
                run.read_at(self, |length, _| Some(draws.next_number() % length))?;
            }
            Operation::BackwardRead => {
                let step = self.buffer as u64;
                run.read_at(self, |length, before| match before {
                    None => Some(length.saturating_sub(step)),
                    Some(0) => None,
                    Some(at) => Some(at.saturating_sub(step)),
                })?;
            }
            Operation::SkipRead => {
                let step = self.buffer as u64 + self.skip;
                run.read_at(self, |length, before| {
                    let next = before.map_or(0, |at| at + step);
                    (next < length).then_some(next)
                })?;
            }
        }
        let (bytes, calls, nanos) = (run.bytes, run.calls, run.watch.nanos());
        let measured = FileIo { file: file.clone(), bytes, calls, nanos };
        emit_measured(out, &file, &measured)
    }
}

/// One file's work.
struct Run<'a> {
    fs: &'a blocking::FileSystem,
    file: &'a str,
    context: &'a mut Context,
    pattern: Pattern,
    watch: Stopwatch,
    bytes: u64,
    calls: u64,
}

impl Run<'_> {
    fn done(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.calls += 1;
        self.context.progress();
    }

    /// Writes what belongs behind the first `length` bytes.
    fn write(&mut self, mut to: blocking::FileWriter, length: u64, asked: &DoIo) -> Result<()> {
        while self.bytes < asked.bytes {
            let count = (asked.bytes - self.bytes).min(asked.buffer as u64) as usize;
            let part = self.pattern.at(length + self.bytes, count);
            self.watch.time(|| to.write_all(part))?;
            self.done(count);
        }
        Ok(self.watch.time(|| to.close())?)
    }

    fn read(&mut self, asked: &DoIo) -> Result<()> {
        let mut from = self.fs.open(self.file)?;
        let mut buffer = vec![0; asked.buffer];
        while self.bytes < asked.bytes {
            let count = (asked.bytes - self.bytes).min(asked.buffer as u64) as usize;
            let got = self
                .watch
                .time(|| from.read(&mut buffer[..count]))
                .with_context(|| format!("{} can't be read at byte {}", self.file, self.bytes))?;
            if got == 0 {
                break;
            }
            self.check(self.bytes, &buffer[..got])?;
            self.done(got);
        }
        Ok(())
    }

    /// Reads a buffer at each offset that `next` gives for the file's length and the offset before.
    fn read_at(
        &mut self,
        asked: &DoIo,
        mut next: impl FnMut(u64, Option<u64>) -> Option<u64>,
    ) -> Result<()> {
        let from = self.fs.open(self.file)?;
        let mut buffer = vec![0; asked.buffer];
        let mut before = None;
        while self.bytes < asked.bytes && !from.is_empty() {
            let Some(at) = next(from.len(), before) else { break };
            let left = (asked.bytes - self.bytes).min(from.len() - at);
            let count = left.min(asked.buffer as u64) as usize;
            let got = self.watch.time(|| from.read_at(at, &mut buffer[..count]))?;
            if got != count {
                bail!("{} gave {got} of {count} bytes at byte {at}", self.file);
            }
            self.check(at, &buffer[..got])?;
            self.done(got);
            before = Some(at);
        }
        Ok(())
    }

    fn check(&self, at: u64, read: &[u8]) -> Result<()> {
        if read != self.pattern.at(at, read.len()) {
            bail!(
                "the {} bytes of {} at byte {at} are not those that `hfs bench dfsio` writes; write the files again",
                read.len(),
                self.file
            );
        }
        Ok(())
    }
}

/// The job: one map a file, no reduces, a line for each file.
///
/// # Errors
/// When an argument is empty.
pub fn job(arguments: Arguments) -> Result<Job> {
    let Arguments { operation, files, bytes, buffer, skip, dir, output } = arguments;
    let name = format!("dfsio {}", operation.word());
    measuring(DoIo { operation, bytes, buffer, skip, dir }, files, name, output).build()
}
