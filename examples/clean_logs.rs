//! Two logs of different make into one sum for each host: `host status bytes` lines and
//! `host;bytes` lines, each with a mapper of its own. Hosts without a name go to a named output,
//! `nameless-r-00000`. With `--check` nothing is written, and the counters say how good the logs are.

use std::process::ExitCode;

use hfs_mapreduce::{
    Both, Emit, Job, Line, Mapper, NamedOutput, NullOutput, Reducer, Result, Source, Sum, Text,
    TextInput, Values, job_counters, run,
};

job_counters! {
    /// What became of the lines.
    enum Lines: "lines" {
        /// Lines that could be read.
        Good = "good",
        /// All others.
        Bad = "bad",
    }
}

fn number(text: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(text?).ok()?.parse().ok()
}

/// Emits what a line says, and counts whether it says anything.
fn emit(said: Option<(&[u8], u64)>, out: &mut impl Emit<Text, u64>) -> Result<()> {
    let Some((host, bytes)) = said else {
        out.context().count_in(Lines::Bad, 1);
        return Ok(());
    };
    out.context().count_in(Lines::Good, 1);
    out.emit(host, bytes)
}

/// `host status bytes`.
#[derive(Clone)]
struct New;

impl Mapper for New {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        let mut fields = line.bytes.split(|&byte| byte == b' ');
        let host = fields.next().unwrap_or_default();
        emit(number(fields.nth(1)).map(|bytes| (host, bytes)), out)
    }
}

/// `host;bytes`.
#[derive(Clone)]
struct Old;

impl Mapper for Old {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        let mut fields = line.bytes.split(|&byte| byte == b';');
        let host = fields.next().unwrap_or_default();
        emit(number(fields.next()).map(|bytes| (host, bytes)), out)
    }
}

/// Sums up, and sets addresses apart from names.
#[derive(Clone)]
struct SumUp {
    nameless: NamedOutput<Text, u64>,
}

impl Reducer<Text, u64> for SumUp {
    type OutKey = Text;
    type OutValue = u64;

    fn reduce(
        &mut self,
        host: &[u8],
        bytes: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, u64>,
    ) -> Result<()> {
        let bytes = bytes.sum();
        if host.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
            return self.nameless.emit(out.context(), host, bytes);
        }
        out.emit(host, bytes)
    }
}

/// Bytes by host from two kinds of logs.
#[derive(clap::Args)]
struct Arguments {
    /// Logs of `host status bytes`
    new: String,
    /// Logs of `host;bytes`
    old: String,
    /// The output directory
    #[arg(required_unless_present = "check")]
    output: Option<String>,
    /// Write nothing, only count
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    run(|arguments: Arguments| {
        let sources =
            Both::new(Source::new(New).input(arguments.new), Source::new(Old).input(arguments.old));
        let job = Job::map(sources).name("clean logs");
        if arguments.check {
            return job.map_only().output_format(NullOutput).build();
        }
        job.combine(Sum)
            .reduce(SumUp { nameless: NamedOutput::new("nameless") })
            .output(arguments.output.unwrap_or_default())
            .build()
    })
}
