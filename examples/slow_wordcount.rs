//! Word count with a pause in every map, so that there is time to kill something and watch:
//!
//! ```text
//! cargo run --release --example slow_wordcount -- --delay-ms 5000 /in /out
//! hfs cluster kill worker/1
//! ```

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hfs_mapreduce::{Context, Emit, Job, Line, Mapper, Result, Sum, Text, TextInput, words};

/// Counts words, slowly.
#[derive(Debug, Args)]
struct Arguments {
    /// How long every map waits before its first line, in milliseconds
    #[arg(long, default_value_t = 1000)]
    delay_ms: u64,
    /// Text files
    input: String,
    /// The directory for the counts, which must not exist
    output: String,
}

#[derive(Clone)]
struct SlowWordCount {
    delay: Duration,
}

impl Mapper for SlowWordCount {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn setup(&mut self, _: &mut Context) -> Result<()> {
        std::thread::sleep(self.delay);
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(line.bytes).try_for_each(|word| out.emit(word, 1))
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(SlowWordCount { delay: Duration::from_millis(arguments.delay_ms) })
            .name("slow word count")
            .combine(Sum)
            .reduce(Sum)
            .input(arguments.input)
            .output(arguments.output)
            .build()
    })
}
