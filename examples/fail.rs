//! A job whose mapper misbehaves on purpose, to see what a cluster makes of it:
//!
//! ```text
//! cargo run --release --example fail -- --mode panic /in /out
//! cargo run --release --example fail -- -D mapreduce.map.memory.mb=200 --mode memory /in /out
//! cargo run --release --example fail -- -D mapreduce.task.timeout=5000 --mode loop /in /out
//! ```
//!
//! With `--at` it misbehaves only in lines that hold a given text; with `-D mapreduce.map.skip.maxrecords=1` such lines
//! are left out once two attempts have failed. Each map first writes to its log that it began.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};
use hfs_mapreduce::{Context, Emit, Job, Line, Mapper, Result, Sum, Text, TextInput};

/// What goes wrong.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// The mapper panics
    Panic,
    /// The mapper returns an error
    Error,
    /// The process ends, with code 0, before the task has
    Exit,
    /// The process ends by a signal, as after an invalid access to memory
    Abort,
    /// The mapper never returns; the job's task timeout ends it
    Hang,
    /// The mapper never returns and keeps a processor busy
    Loop,
    /// The mapper writes 32 MiB to its log and returns an error
    Flood,
    /// The mapper takes memory without end
    Memory,
    /// The mapper starts processes without end
    Fork,
    /// The mapper leaves two processes behind, in sessions of their own, and goes on as if nothing were
    Orphans,
}

/// Fails in the first line of every split.
#[derive(Debug, Args)]
struct Arguments {
    /// What goes wrong
    #[arg(long, value_enum, default_value = "panic")]
    mode: Mode,
    /// Only in lines that hold this text
    #[arg(long, default_value = "")]
    at: String,
    /// Text files
    input: String,
    /// The directory that will not come about
    output: String,
}

#[derive(Clone)]
struct Fail {
    mode: Mode,
    at: String,
    done: bool,
}

/// Bytes that [`Mode::Flood`] writes, and in how large pieces.
const FLOOD_BYTES: usize = 32 << 20;
const FLOOD_LINE: &[u8] = &[b'x'; 1023];
/// Bytes that [`Mode::Memory`] takes at once.
const BITE_BYTES: usize = 4 << 20;

impl Mapper for Fail {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn setup(&mut self, _: &mut Context) -> Result<()> {
        eprintln!("the fail example begins");
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        let at = self.at.as_bytes();
        let here = at.is_empty() || line.bytes.windows(at.len()).any(|part| part == at);
        if here && !(self.done && at.is_empty()) {
            self.done = true;
            misbehave(self.mode)?;
        }
        out.emit(line.bytes, 1)
    }
}

fn misbehave(mode: Mode) -> Result<()> {
    match mode {
        Mode::Panic => panic!("the fail example panics on purpose"),
        Mode::Error => anyhow::bail!("the fail example fails on purpose"),
        Mode::Exit => std::process::exit(0),
        Mode::Abort => std::process::abort(),
        Mode::Hang => loop {
            std::thread::park();
        },
        Mode::Loop => loop {
            std::hint::spin_loop();
        },
        Mode::Flood => {
            let mut log = std::io::stderr().lock();
            for _ in 0..FLOOD_BYTES / (FLOOD_LINE.len() + 1) {
                log.write_all(FLOOD_LINE)?;
                log.write_all(b"\n")?;
            }
            writeln!(log, "the last line of the flood")?;
            anyhow::bail!("the fail example has said enough")
        }
        Mode::Memory => {
            let mut taken = Vec::new();
            loop {
                taken.push(vec![1u8; BITE_BYTES]);
            }
        }
        Mode::Fork => {
            let mut children = Vec::new();
            loop {
                children.push(Command::new("sleep").arg("100000").spawn()?);
            }
        }
        Mode::Orphans => {
            for _ in 0..2 {
                let mut orphan = Command::new("setsid");
                let orphan = orphan.args(["sleep", "100000"]).stdin(Stdio::null()).spawn()?;
                eprintln!("the fail example leaves process {}", orphan.id());
            }
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(Fail { mode: arguments.mode, at: arguments.at, done: false })
            .name("fail")
            .reduce(Sum)
            .input(arguments.input)
            .output(arguments.output)
            .build()
    })
}
