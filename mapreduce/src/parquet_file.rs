//! Parquet files as input and output. Behind the cargo feature `parquet`; `parquet-zstd` adds that codec.
//!
//! In reading order: [`ParquetInput`] gives a mapper [`ParquetRow`]s, of the columns that it asks for;
//! [`ParquetOutput`] writes the columns of keys and values, which [`ParquetColumns`] tells, by a
//! schema in Parquet's own words.

mod chunks;
mod columns;
mod input;
mod output;
#[cfg(test)]
mod tests;

pub use columns::{ColumnSink, ParquetColumns};
pub use input::{ParquetInput, ParquetReader, ParquetRow, ParquetRows};
pub use output::{ParquetOutput, ParquetWriter};

/// Bytes of a row group before compression, about (`parquet.block.size`).
pub const BLOCK_SIZE: &str = "parquet.block.size";
/// How pages are compressed: `UNCOMPRESSED`, `SNAPPY`, `GZIP`, `LZ4_RAW`, `ZSTD` (`parquet.compression`).
pub const COMPRESSION: &str = "parquet.compression";
