//! Word count with pauses, so that there is time to kill something and watch:
//!
//! ```text
//! cargo run --release --example slow_wordcount -- --delay-ms 5000 /in /out
//! hfs cluster kill worker/1
//! ```

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hfs_mapreduce::{
    Context, Emit, Job, Line, Mapper, Reducer, Result, Sum, Text, TextInput, Values, words,
};

/// Counts words, slowly.
#[derive(Debug, Args)]
struct Arguments {
    /// How long every map waits before its first line, in milliseconds
    #[arg(long, default_value_t = 1000)]
    delay_ms: u64,
    /// How long every map but the first waits in addition
    #[arg(long, default_value_t = 0)]
    later_maps_ms: u64,
    /// How long the first reduce waits before its first key, the second twice as long, and so on
    #[arg(long, default_value_t = 0)]
    reduce_ms: u64,
    /// Text files
    input: String,
    /// The directory for the counts, which must not exist
    output: String,
}

#[derive(Clone)]
struct SlowWordCount {
    delay: Duration,
    later: Duration,
}

impl Mapper for SlowWordCount {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        std::thread::sleep(self.delay);
        if context.index() > 0 {
            std::thread::sleep(self.later);
        }
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(line.bytes).try_for_each(|word| out.emit(word, 1))
    }
}

#[derive(Clone)]
struct SlowSum {
    delay: Duration,
}

impl Reducer<Text, u64> for SlowSum {
    type OutKey = Text;
    type OutValue = u64;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        std::thread::sleep(self.delay * (context.index() + 1));
        Ok(())
    }

    fn reduce(
        &mut self,
        word: &[u8],
        counts: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, u64>,
    ) -> Result<()> {
        out.emit(word, counts.sum())
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        let ms = Duration::from_millis;
        Job::map(SlowWordCount {
            delay: ms(arguments.delay_ms),
            later: ms(arguments.later_maps_ms),
        })
        .name("slow word count")
        .combine(Sum)
        .reduce(SlowSum { delay: ms(arguments.reduce_ms) })
        .input(arguments.input)
        .output(arguments.output)
        .build()
    })
}
