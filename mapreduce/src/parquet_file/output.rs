//! Writing Parquet files.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::TypePtr;
use anyhow::{Context as _, Result, bail};

use super::columns::{ColumnSink, ParquetColumns};
use super::{BLOCK_SIZE, COMPRESSION};
use crate::conf::Conf;
use crate::files::OutputFile;
use crate::output::{OutputFormat, RecordWriter};

/// Bytes of a row group before compression, unless configured.
const BLOCK_BYTES: usize = 64 << 20;

/// Writes Parquet files (`ParquetOutputFormat`): a record is a row, whose columns are those of the key and
/// then those of the value ([`ParquetColumns`]), in the schema's order. Files end with `.parquet`; pages are
/// compressed with Snappy unless `parquet.compression` says otherwise.
///
/// ```
/// use hfs_mapreduce::{
///     Emit, Job, Line, Mapper, ParquetOutput, Result, Sum, Text, TextInput, words,
/// };
/// # #[derive(Clone)]
/// # struct Words;
/// # impl Mapper for Words {
/// #     type Input = TextInput;
/// #     type Key = Text;
/// #     type Value = u64;
/// #     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
/// #         words(line.bytes).try_for_each(|word| out.emit(word, 1))
/// #     }
/// # }
/// let schema = "message counts { required binary word; required int64 count; }";
/// let job = Job::map(Words)
///     .combine(Sum)
///     .reduce(Sum)
///     .output_format(ParquetOutput::new(schema)?)
///     .input("/in")
///     .output("/counts")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ParquetOutput {
    schema: Option<TypePtr>,
}

impl ParquetOutput {
    /// Writes by a schema in Parquet's own words: `required` or `optional` columns of the types `boolean`,
    /// `int32`, `int64`, `float`, `double` and `binary`, with their annotations, `(STRING)` say.
    ///
    /// # Errors
    /// When it can't be read, or has groups or lists.
    pub fn new(schema: &str) -> Result<Self> {
        let parsed = parse_message_type(schema)
            .with_context(|| format!("'{schema}' is no schema of a Parquet file"))?;
        ColumnSink::new(&parsed)?;
        Ok(Self { schema: Some(Arc::new(parsed)) })
    }
}

impl<K: ParquetColumns, V: ParquetColumns> OutputFormat<K, V> for ParquetOutput {
    type Writer = ParquetWriter<K, V>;

    fn extension(&self, _: &Conf) -> Result<&'static str> {
        Ok(".parquet")
    }

    fn writer(&self, file: OutputFile, conf: &Conf) -> Result<ParquetWriter<K, V>> {
        let Some(schema) = &self.schema else {
            bail!("the Parquet output has no schema; make it with ParquetOutput::new");
        };
        let properties = WriterProperties::builder()
            .set_compression(compression(conf)?)
            .set_created_by(concat!("hfs version ", env!("CARGO_PKG_VERSION")).to_owned())
            // Row groups are ended by their bytes.
            .set_max_row_group_row_count(None)
            .build();
        let writer = SerializedFileWriter::new(Sink(file), schema.clone(), Arc::new(properties))?;
        Ok(ParquetWriter {
            writer,
            columns: ColumnSink::new(schema)?,
            block_bytes: conf.parsed_or(BLOCK_SIZE, BLOCK_BYTES)?.max(1),
            types: PhantomData,
        })
    }
}

fn compression(conf: &Conf) -> Result<Compression> {
    Ok(match conf.get(COMPRESSION).unwrap_or("SNAPPY").to_ascii_uppercase().as_str() {
        "UNCOMPRESSED" | "NONE" => Compression::UNCOMPRESSED,
        "SNAPPY" => Compression::SNAPPY,
        "GZIP" => Compression::GZIP(<_>::default()),
        "LZ4_RAW" => Compression::LZ4_RAW,
        #[cfg(feature = "parquet-zstd")]
        "ZSTD" => Compression::ZSTD(<_>::default()),
        other => bail!(
            "the property {COMPRESSION} is '{other}'; it can be UNCOMPRESSED, SNAPPY, GZIP, LZ4_RAW, and \
             ZSTD in programs built with the cargo feature parquet-zstd"
        ),
    })
}

/// Writes one Parquet file.
pub struct ParquetWriter<K, V> {
    writer: SerializedFileWriter<Sink>,
    columns: ColumnSink,
    block_bytes: usize,
    types: PhantomData<fn(K, V)>,
}

/// A job's file as the Parquet library writes it.
struct Sink(OutputFile);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<K, V> ParquetWriter<K, V> {
    fn end_block(&mut self) -> Result<()> {
        if self.columns.rows() == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            self.columns.write(number, &mut column)?;
            column.close()?;
            number += 1;
        }
        group.close()?;
        self.columns.written();
        Ok(())
    }
}

impl<K: ParquetColumns, V: ParquetColumns> RecordWriter<K, V> for ParquetWriter<K, V> {
    fn write(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        K::put(key, &mut self.columns)?;
        V::put(value, &mut self.columns)?;
        self.columns.end_row()?;
        if self.columns.bytes() >= self.block_bytes {
            self.end_block()?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<u64> {
        self.end_block()?;
        self.writer.into_inner()?.0.close()
    }
}
