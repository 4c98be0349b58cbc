//! Average: the mean of the numbers of each key.
//!
//! Input: text lines `key<TAB>number`; numbers may have up to six decimals. Output: text lines
//! `key<TAB>mean`, sorted by key within each file. Lines without a number at their end are skipped and
//! counted (`Average: lines without a number`).
//!
//! A mean of means is not the mean, so the combiner must not compute means: it adds up sums and counts, and only
//! the reducer divides. The sums are whole millionths, because floating-point sums depend on the order in which
//! the numbers come, and that order is different in every run.
//!
//! ```text
//! cargo run --release --example average -- /temperatures /means
//! cargo run --release --example average -- --local temperatures.txt /tmp/means
//! ```

use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{Combiner, Emit, Job, Line, Mapper, Reducer, Result, Text, TextInput, Values};

/// Prints the mean of the numbers of each key.
#[derive(Debug, Args)]
struct Arguments {
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// The directory to make
    #[arg(required = true)]
    output: String,
}

/// Decimals that are kept.
const DECIMALS: usize = 6;
const MILLION: i64 = 1_000_000;

/// A number like `-12.5` in millionths.
fn millionths(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) || decimals.len() > DECIMALS
    {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let part: i64 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
    let value = whole.checked_mul(MILLION)?.checked_add(part)?;
    Some(if negative { -value } else { value })
}

#[derive(Clone)]
struct Numbers;

impl Mapper for Numbers {
    type Input = TextInput;
    type Key = Text;
    type Value = (i64, u64);

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, (i64, u64)>) -> Result<()> {
        let tab = line.bytes.iter().rposition(|byte| *byte == b'\t');
        let parsed = tab.and_then(|tab| {
            let number = std::str::from_utf8(&line.bytes[tab + 1..]).ok()?;
            Some((&line.bytes[..tab], millionths(number.trim())?))
        });
        match parsed {
            Some((key, number)) => out.emit(key, (number, 1)),
            None => {
                out.context().increment("Average", "lines without a number", 1);
                Ok(())
            }
        }
    }
}

/// Adds sums and counts up.
#[derive(Clone)]
struct SumAndCount;

impl Combiner<Text, (i64, u64)> for SumAndCount {
    fn combine(&self, total: &mut (i64, u64), (sum, count): (i64, u64)) {
        total.0 = total.0.saturating_add(sum);
        total.1 += count;
    }
}

#[derive(Clone)]
struct Mean;

impl Reducer<Text, (i64, u64)> for Mean {
    type OutKey = Text;
    type OutValue = f64;

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, (i64, u64)>,
        out: &mut impl Emit<Text, f64>,
    ) -> Result<()> {
        let mut total = (0, 0);
        for value in values {
            SumAndCount.combine(&mut total, value);
        }
        let (sum, count) = total;
        out.emit(key, sum as f64 / MILLION as f64 / count as f64)
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(Numbers)
            .name("average")
            .combine(SumAndCount)
            .reduce(Mean)
            .inputs(arguments.inputs)
            .output(arguments.output)
            .build()
    })
}
