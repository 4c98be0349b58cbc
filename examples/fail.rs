//! A job whose mapper misbehaves on purpose, to see what a cluster makes of it:
//!
//! ```text
//! cargo run --release --example fail -- --mode panic /in /out
//! ```

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hfs_mapreduce::{Emit, Job, Line, Mapper, Result, Sum, Text, TextInput};

/// What goes wrong.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// The mapper panics
    Panic,
    /// The mapper returns an error
    Error,
    /// The process ends, with code 0, before the task has
    Exit,
    /// The mapper never returns; the job's task timeout ends it
    Hang,
}

/// Fails in the first line of every split.
#[derive(Debug, Args)]
struct Arguments {
    /// What goes wrong
    #[arg(long, value_enum, default_value = "panic")]
    mode: Mode,
    /// Text files
    input: String,
    /// The directory that will not come about
    output: String,
}

#[derive(Clone)]
struct Fail(Mode);

impl Mapper for Fail {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, _: Line<'_>, _: &mut impl Emit<Text, u64>) -> Result<()> {
        match self.0 {
            Mode::Panic => panic!("the fail example panics on purpose"),
            Mode::Error => anyhow::bail!("the fail example fails on purpose"),
            Mode::Exit => std::process::exit(0),
            Mode::Hang => loop {
                std::thread::park();
            },
        }
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(Fail(arguments.mode))
            .name("fail")
            .reduce(Sum)
            .input(arguments.input)
            .output(arguments.output)
            .build()
    })
}
