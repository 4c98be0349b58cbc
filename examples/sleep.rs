//! Sleep: a job that only takes time, to see how a cluster schedules tasks.
//!
//! Input: none. Output: none. Every map and every reduce sleeps for as long as it is told, and counts the time
//! (`Sleep: map milliseconds`, `Sleep: reduce milliseconds`). `--reduces` says how many reduces there are.
//!
//! ```text
//! cargo run --release --example sleep -- --maps 20 --map-ms 5000 --reduces 2 --reduce-ms 1000
//! cargo run --release --example sleep -- --local --maps 4 --map-ms 100
//! cargo run --release --example sleep -- --maps 6 --map-ms 2000 --straggler-ms 60000
//! ```
//!
//! The last one has a straggler: the first attempt of its first map. The cluster sees that it is slow and has
//! a second attempt race it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use hfs_mapreduce::{
    Context, Emit, Job, Mapper, NullOutput, Partitioner, RangeInput, Reducer, Result, Values,
};

/// Runs tasks that only sleep.
#[derive(Debug, Args)]
struct Arguments {
    /// Maps
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    maps: u32,
    /// How long each map sleeps, ms
    #[arg(long, default_value_t = 100)]
    map_ms: u64,
    /// How long the first attempt of the first map sleeps, ms [default: as all]
    #[arg(long)]
    straggler_ms: Option<u64>,
    /// How long each reduce sleeps, ms
    #[arg(long, default_value_t = 100)]
    reduce_ms: u64,
}

/// How long a task sleeps between signs of life.
const NAP: Duration = Duration::from_secs(1);

/// Sleeps, says now and then that the task is alive, and counts the milliseconds.
fn sleep(ms: u64, counter: &str, context: &mut Context) {
    let (begun, whole) = (Instant::now(), Duration::from_millis(ms));
    loop {
        let left = whole.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(NAP));
        context.progress();
    }
    context.increment("Sleep", counter, begun.elapsed().as_millis() as i64);
}

#[derive(Clone)]
struct SleepInMap {
    ms: u64,
    straggler_ms: Option<u64>,
}

impl Mapper for SleepInMap {
    type Input = RangeInput;
    type Key = u32;
    type Value = ();

    fn map(&mut self, _: u64, out: &mut impl Emit<u32, ()>) -> Result<()> {
        let first = out.context().index() == 0 && out.context().attempt_id().ends_with("_0");
        let ms = self.straggler_ms.filter(|_| first).unwrap_or(self.ms);
        sleep(ms, "map milliseconds", out.context());
        // A record for each reduce, since reduces without records have nothing to call them.
        let reduces = out.context().reduces();
        (0..reduces).try_for_each(|reduce| out.emit(reduce, ()))
    }
}

/// Takes the key for the number of the reduce.
#[derive(Clone)]
struct ByNumber;

impl Partitioner<u32> for ByNumber {
    fn partition(&self, reduce: u32, _: &[u8], partitions: u32) -> u32 {
        reduce % partitions
    }
}

#[derive(Clone)]
struct SleepInReduce {
    ms: u64,
}

impl Reducer<u32, ()> for SleepInReduce {
    type OutKey = ();
    type OutValue = ();

    fn reduce(
        &mut self,
        _: u32,
        _: &mut Values<'_, '_, ()>,
        out: &mut impl Emit<(), ()>,
    ) -> Result<()> {
        sleep(self.ms, "reduce milliseconds", out.context());
        Ok(())
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(SleepInMap { ms: arguments.map_ms, straggler_ms: arguments.straggler_ms })
            .name("sleep")
            .input_format(RangeInput::new(u64::from(arguments.maps), arguments.maps))
            .partition(ByNumber)
            .reduce(SleepInReduce { ms: arguments.reduce_ms })
            .output_format(NullOutput)
            .build()
    })
}
