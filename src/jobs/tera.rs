//! Hadoop's TeraGen, TeraSort and TeraValidate: making, sorting and checking rows of 100 bytes whose first
//! ten are the key. The rows, the report and the checksums are those of Hadoop's programs.

mod files;
mod generate;
mod row;
mod sort;
#[cfg(test)]
mod tests;
mod validate;

pub use files::{Row, RowInput, RowOutput, RowReader, RowWriter, Rows};
pub use generate::{Arguments as GenerateArguments, generate, rows};
pub use row::{KEY_BYTES, ROW_BYTES, Random, checksum, write_row};
pub use sort::{Arguments as SortArguments, sort};
pub use validate::{Arguments as ValidateArguments, validate};
