//! Parquet in and out: how many rows have each value of a column, and the sum of another one.
//!
//! Input: Parquet files. Output: Parquet files with the columns `value`, `rows` and `sum`. Only the two
//! columns that matter are read; of columns without values nothing is counted.
//!
//! ```text
//! cargo run --release --features parquet --example parquet -- --by shop --sum cents /sales /by-shop
//! cargo run --release --features parquet --example parquet -- --local --by shop --sum cents sales.parquet out
//! ```

use std::process::ExitCode;

use hfs_mapreduce::{
    Combiner, Emit, Job, Mapper, ParquetInput, ParquetOutput, ParquetRow, Reducer, Result, Text,
    Values, run,
};

/// Rows and their sum.
type Totals = (i64, i64);

#[derive(Clone)]
struct Rows {
    by: String,
    sum: String,
}

impl Mapper for Rows {
    type Input = ParquetInput;
    type Key = Text;
    type Value = Totals;

    fn map(&mut self, row: ParquetRow<'_>, out: &mut impl Emit<Text, Totals>) -> Result<()> {
        let Some(value) = row.bytes(&self.by)? else { return Ok(()) };
        out.emit(value, (1, row.long(&self.sum)?.unwrap_or(0)))
    }
}

#[derive(Clone)]
struct Add;

impl Combiner<Text, Totals> for Add {
    fn combine(&self, total: &mut Totals, more: Totals) {
        total.0 += more.0;
        total.1 += more.1;
    }
}

impl Reducer<Text, Totals> for Add {
    type OutKey = Text;
    type OutValue = Totals;

    fn reduce(
        &mut self,
        value: &[u8],
        totals: &mut Values<'_, '_, Totals>,
        out: &mut impl Emit<Text, Totals>,
    ) -> Result<()> {
        let mut total = (0, 0);
        for more in totals {
            self.combine(&mut total, more);
        }
        out.emit(value, total)
    }
}

#[derive(clap::Args)]
struct Arguments {
    /// The column whose values are told apart
    #[arg(long)]
    by: String,
    /// The column that is summed up
    #[arg(long)]
    sum: String,
    /// Parquet files, or a directory of them
    input: String,
    /// The directory to make
    output: String,
}

fn main() -> ExitCode {
    run(|Arguments { by, sum, input, output }: Arguments| {
        let schema = "message totals {
            required binary value;
            required int64 rows;
            required int64 sum;
        }";
        Job::map(Rows { by: by.clone(), sum: sum.clone() })
            .input_format(ParquetInput::columns([by, sum]))
            .combine(Add)
            .reduce(Add)
            .output_format(ParquetOutput::new(schema)?)
            .name("Parquet totals")
            .input(input)
            .output(output)
            .build()
    })
}
