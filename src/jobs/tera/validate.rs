//! TeraValidate: whether rows are in order within their files and from file to file, and their checksum.
//!
//! The report has a line `checksum<TAB>SUM` and a line `error<TAB>...` for every pair of rows out of order:
//! Hadoop's lines.

use anyhow::{Context as _, Result};
use hfs_mapreduce::{Emit, Job, Mapper, Reducer, Text, Values};

use super::files::{Row, RowInput, Rows};
use super::row::{KEY_BYTES, checksum};

const CHECKSUM: &[u8] = b"checksum";
const ERROR: &[u8] = b"error";

/// What is checked, and where the report goes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The directory that terasort made
    #[arg(value_name = "INPUT")]
    input: String,
    /// The directory to make for the report
    #[arg(value_name = "REPORT")]
    report: String,
}

/// Checks one file; emits its first and its last key, its checksum and what is wrong.
#[derive(Debug, Clone, Default)]
struct CheckFile {
    name: String,
    last: Option<[u8; KEY_BYTES]>,
    sum: u128,
}

impl CheckFile {
    fn check(&mut self, row: &[u8], out: &mut impl Emit<Text, Text>) -> Result<()> {
        let key = row.first_chunk::<KEY_BYTES>().context("a row is shorter than its key")?;
        match &self.last {
            None => out.emit(format!("{}:begin", self.name).as_bytes(), key)?,
            Some(last) if key < last => {
                let (last, key) = (hex(last), hex(key));
                let wrong = format!("misorder in {} between {last} and {key}", self.name);
                out.emit(ERROR, wrong.as_bytes())?;
            }
            Some(_) => {}
        }
        self.last = Some(*key);
        self.sum = self.sum.wrapping_add(checksum(row));
        Ok(())
    }
}

impl Mapper for CheckFile {
    type Input = RowInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, Row(row): Row<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        self.check(row, out)
    }

    fn map_batch(&mut self, rows: Rows<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        if self.last.is_none() {
            let name = rows.path().rsplit('/').next().unwrap_or_default();
            name.clone_into(&mut self.name);
        }
        rows.into_iter().try_for_each(|Row(row)| self.check(row, out))
    }

    fn cleanup(&mut self, out: &mut impl Emit<Text, Text>) -> Result<()> {
        if let Some(last) = &self.last {
            out.emit(format!("{}:end", self.name).as_bytes(), last)?;
            out.emit(CHECKSUM, format!("{:x}", self.sum).as_bytes())?;
        }
        Ok(())
    }
}

/// Sees the first and last keys of all files in the order of their names.
#[derive(Debug, Clone, Default)]
struct CheckFiles {
    last: Option<(Vec<u8>, Vec<u8>)>,
}

impl Reducer<Text, Text> for CheckFiles {
    type OutKey = Text;
    type OutValue = Text;

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, Text>,
        out: &mut impl Emit<Text, Text>,
    ) -> Result<()> {
        if key == ERROR {
            return values.into_iter().try_for_each(|error| out.emit(key, error));
        }
        if key == CHECKSUM {
            let mut sum = 0_u128;
            for value in values {
                let text = std::str::from_utf8(value).context("a checksum is no text")?;
                let part = u128::from_str_radix(text, 16).context("a checksum is no number")?;
                sum = sum.wrapping_add(part);
            }
            return out.emit(key, format!("{sum:x}").as_bytes());
        }
        let Some(value) = values.next() else { return Ok(()) };
        if let Some((last_key, last_value)) = &self.last
            && value < &last_value[..]
        {
            let wrong = format!(
                "bad key partitioning:\n  file {} key {}\n  file {} key {}",
                String::from_utf8_lossy(last_key),
                hex(last_value),
                String::from_utf8_lossy(key),
                hex(value),
            );
            out.emit(ERROR, wrong.as_bytes())?;
        }
        self.last = Some((key.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// Bytes as pairs of digits with spaces between.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The job that checks.
///
/// # Errors
/// When the report is empty.
pub fn validate(arguments: Arguments) -> Result<Job> {
    Job::map(CheckFile::default())
        .input_format(RowInput::whole_files())
        .reduce(CheckFiles::default())
        .name("TeraValidate")
        .set(hfs_mapreduce::conf::REDUCES, "1")
        .input(arguments.input)
        .output(arguments.report)
        .build()
}
