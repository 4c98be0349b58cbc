//! TeraGen: rows in the order of their numbers.

use std::ops::Range;

use anyhow::{Context as _, Result};
use hfs_mapreduce::{Context, CounterId, Emit, Job, Mapper, RangeInput, Text};

use super::files::RowOutput;
use super::row::{KEY_BYTES, ROW_BYTES, Random, checksum, write_row};

/// What the generator is asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many rows of 100 bytes; k, m, b and t stand for thousands, millions, billions, trillions
    #[arg(value_name = "ROWS", value_parser = rows)]
    rows: u64,
    /// The directory to make
    #[arg(value_name = "OUTPUT")]
    output: String,
    /// How many maps, and so files
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    maps: u32,
}

/// Reads a number with one of Hadoop's four letters behind it.
///
/// # Errors
/// When it is none, or more than 64 bits hold.
pub fn rows(text: &str) -> Result<u64> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1_000),
        Some((at, 'm')) => (&text[..at], 1_000_000),
        Some((at, 'b')) => (&text[..at], 1_000_000_000),
        Some((at, 't')) => (&text[..at], 1_000_000_000_000),
        _ => (text, 1),
    };
    let number: u64 =
        digits.parse().ok().with_context(|| format!("'{text}' is no number of rows"))?;
    number.checked_mul(unit).with_context(|| format!("'{text}' is more rows than can be counted"))
}

#[derive(Debug, Clone, Default)]
struct MakeRows {
    checksum: u128,
    counter: Option<CounterId>,
}

impl Mapper for MakeRows {
    type Input = RangeInput;
    type Key = Text;
    type Value = Text;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.counter = Some(context.counter("TeraGen", "CHECKSUM"));
        Ok(())
    }

    fn map(&mut self, number: u64, out: &mut impl Emit<Text, Text>) -> Result<()> {
        self.map_batch(number..number + 1, out)
    }

    fn map_batch(&mut self, numbers: Range<u64>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let mut random = Random::after(numbers.start);
        let mut row = [0; ROW_BYTES];
        for number in numbers {
            write_row(&mut row, number, random.next_number());
            self.checksum = self.checksum.wrapping_add(checksum(&row));
            out.emit(&row[..KEY_BYTES], &row[KEY_BYTES..])?;
        }
        Ok(())
    }

    /// Counts the low half of the sum, as Hadoop's counter does.
    fn cleanup(&mut self, out: &mut impl Emit<Text, Text>) -> Result<()> {
        if let Some(counter) = self.counter {
            out.context().add(counter, self.checksum as i64);
        }
        Ok(())
    }
}

/// The job that writes rows 0 to `rows`.
///
/// # Errors
/// When the output is empty.
pub fn generate(arguments: Arguments) -> Result<Job> {
    Job::map(MakeRows::default())
        .input_format(RangeInput::new(arguments.rows, arguments.maps))
        .map_only()
        .output_format(RowOutput)
        .name("TeraGen")
        .output(arguments.output)
        .build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn letters_multiply() {
        assert_eq!(rows("17").unwrap(), 17);
        assert_eq!(rows("10m").unwrap(), 10_000_000);
        assert_eq!(rows("2b").unwrap(), 2_000_000_000);
        for wrong in ["", "k", "1.5m", "-3", "99999999999t"] {
            assert!(rows(wrong).is_err(), "{wrong}");
        }
    }
}
