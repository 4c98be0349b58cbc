//! Reading Parquet files.

use std::sync::atomic::Ordering;

use ::parquet::file::reader::FileReader;
use ::parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use anyhow::{Context as _, Result, anyhow, bail};
use hfs_protocol::proto::task::InputSplit;

use super::chunks::Chunks;
use crate::conf::Conf;
use crate::files::Files;
use crate::input::{
    BatchReader, CurrentSplit, Cut, FileSplit, InputFormat, ReadCounts, SplitContext, file_splits,
    pieces,
};

/// The most rows that are read before a mapper gets them.
const BATCH_ROWS: usize = 1024;
/// Bytes of rows that are read before a mapper gets them, as far as the file's footer tells how large its rows are.
const BATCH_BYTES: u64 = 8 << 20;

/// Reads Parquet files (`ParquetInputFormat`): a record is a row. A row group belongs to the split in
/// which its middle lies, as in parquet-mr, so that files are cut at their blocks and each row
/// is read once.
///
/// ```
/// use hfs_mapreduce::{Emit, Job, Mapper, ParquetInput, ParquetRow, Result, Sum, Text};
///
/// /// Sales of each shop.
/// #[derive(Clone)]
/// struct Sales;
///
/// impl Mapper for Sales {
///     type Input = ParquetInput;
///     type Key = Text;
///     type Value = i64;
///
///     fn map(&mut self, row: ParquetRow<'_>, out: &mut impl Emit<Text, i64>) -> Result<()> {
///         match (row.text("shop")?, row.long("cents")?) {
///             (Some(shop), Some(cents)) => out.emit(shop.as_bytes(), cents),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// let job = Job::map(Sales)
///     // The other columns are not even read.
///     .input_format(ParquetInput::columns(["shop", "cents"]))
///     .reduce(Sum)
///     .input("/sales")
///     .output("/by-shop")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParquetInput {
    /// Empty: all.
    columns: Vec<String>,
}

impl ParquetInput {
    /// Reads only these columns of the top level, each with all that is in it.
    #[must_use]
    pub fn columns<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        Self { columns: names.into_iter().map(Into::into).collect() }
    }
}

impl InputFormat for ParquetInput {
    type Record<'a> = ParquetRow<'a>;
    type Batch<'a> = ParquetRows<'a>;
    type Reader = ParquetReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        file_splits(context, |_| Ok(Cut::Anywhere))
    }

    fn open(&self, split: &InputSplit, files: &Files, _: &Conf) -> Result<ParquetReader> {
        let pieces = pieces(split)?;
        let at = CurrentSplit::default();
        if let Some(first) = pieces.first() {
            at.set(first.clone());
        }
        Ok(ParquetReader {
            files: files.clone(),
            columns: self.columns.clone(),
            pieces,
            next_piece: 0,
            current: None,
            rows: Vec::with_capacity(BATCH_ROWS),
            row: 0,
            split_bytes: split.length_bytes.max(1),
            done_bytes: 0,
            counts: ReadCounts::default(),
            at,
        })
    }
}

/// One row. Columns are asked for by name; one that is null is `None`, one that the file does not have, or of
/// another type, is an error.
#[derive(Debug, Clone, Copy)]
pub struct ParquetRow<'a>(&'a Row);

impl<'a> ParquetRow<'a> {
    /// The column of this name, whatever it holds.
    ///
    /// # Errors
    /// When there is none: it is not in the file, or was not asked for.
    pub fn get(&self, column: &str) -> Result<&'a Field> {
        let found = self.0.get_column_iter().find(|(name, _)| *name == column);
        found.map(|(_, field)| field).ok_or_else(|| {
            let names: Vec<_> = self.0.get_column_iter().map(|(name, _)| name.as_str()).collect();
            anyhow!("the row has no column '{column}'; it has {}", names.join(", "))
        })
    }

    fn typed<T>(
        &self,
        column: &str,
        wanted: &str,
        of: impl FnOnce(&'a Field) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.get(column)? {
            Field::Null => Ok(None),
            field => match of(field) {
                Some(value) => Ok(Some(value)),
                None => bail!("the column '{column}' holds {field}, which is no {wanted}"),
            },
        }
    }

    /// Text.
    ///
    /// # Errors
    /// As [`ParquetRow::get`], and when it is of another type.
    pub fn text(&self, column: &str) -> Result<Option<&'a str>> {
        self.typed(column, "text", |field| match field {
            Field::Str(text) => Some(text.as_str()),
            Field::Bytes(bytes) => bytes.as_utf8().ok(),
            _ => None,
        })
    }

    /// A whole number of any size; of dates the days, of times and points in time the milliseconds or
    /// microseconds that the column has.
    ///
    /// # Errors
    /// As [`ParquetRow::text`], and when it is larger than an `i64`.
    pub fn long(&self, column: &str) -> Result<Option<i64>> {
        self.typed(column, "whole number", |field| {
            Some(match *field {
                Field::Byte(n) => n.into(),
                Field::Short(n) => n.into(),
                Field::Int(n) | Field::Date(n) | Field::TimeMillis(n) => n.into(),
                Field::Long(n)
                | Field::TimeMicros(n)
                | Field::TimestampMillis(n)
                | Field::TimestampMicros(n) => n,
                Field::UByte(n) => n.into(),
                Field::UShort(n) => n.into(),
                Field::UInt(n) => n.into(),
                Field::ULong(n) => n.try_into().ok()?,
                _ => return None,
            })
        })
    }

    /// A number with a fraction; whole numbers of up to 32 bits as well.
    ///
    /// # Errors
    /// As [`ParquetRow::text`].
    pub fn double(&self, column: &str) -> Result<Option<f64>> {
        self.typed(column, "number", |field| {
            Some(match *field {
                Field::Float(n) => n.into(),
                Field::Double(n) => n,
                Field::Byte(n) => n.into(),
                Field::Short(n) => n.into(),
                Field::UByte(n) => n.into(),
                Field::UShort(n) => n.into(),
                Field::Int(n) => n.into(),
                Field::UInt(n) => n.into(),
                _ => return None,
            })
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// As [`ParquetRow::text`].
    pub fn boolean(&self, column: &str) -> Result<Option<bool>> {
        self.typed(column, "truth value", |field| match field {
            Field::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// Bytes; text as well.
    ///
    /// # Errors
    /// As [`ParquetRow::text`].
    pub fn bytes(&self, column: &str) -> Result<Option<&'a [u8]>> {
        self.typed(column, "bytes", |field| match field {
            Field::Bytes(bytes) => Some(bytes.data()),
            Field::Str(text) => Some(text.as_bytes()),
            _ => None,
        })
    }

    /// All columns, those within columns too, as a JSON object: for programs that look at lines.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.0.to_json_value()
    }
}

/// Rows of one file that follow one another.
pub struct ParquetRows<'a>(std::slice::Iter<'a, Row>);

impl<'a> Iterator for ParquetRows<'a> {
    type Item = ParquetRow<'a>;

    fn next(&mut self) -> Option<ParquetRow<'a>> {
        self.0.next().map(ParquetRow)
    }
}

/// Reads the rows of one split.
pub struct ParquetReader {
    files: Files,
    columns: Vec<String>,
    pieces: Vec<FileSplit>,
    next_piece: usize,
    current: Option<Open>,
    rows: Vec<Row>,
    /// The number of the first of `rows` in its file range.
    row: u64,
    split_bytes: u64,
    /// Bytes of the pieces before the current one.
    done_bytes: u64,
    counts: ReadCounts,
    at: CurrentSplit,
}

/// A file range that is being read.
struct Open {
    rows: RowIter<'static>,
    chunks: Chunks,
    /// Rows that are read at once.
    batch: usize,
    /// Rows of the range, and of them those given out.
    all: u64,
    given: u64,
}

impl ParquetReader {
    fn open_piece(&self, piece: &FileSplit) -> Result<Open> {
        let FileSplit { path, start, length } = piece;
        let chunks = Chunks::new(self.files.open(path)?);
        let bound = |at: u64| i64::try_from(at).context("the file is too large");
        let end = bound(start.saturating_add((*length).max(1)))?;
        let options = ReadOptionsBuilder::new().with_range(bound(*start)?, end).build();
        let reader = SerializedFileReader::new_with_options(chunks.clone(), options)
            .with_context(|| format!("{path} can't be read as a Parquet file"))?;
        let groups = reader.metadata().row_groups();
        let all = groups.iter().map(|group| group.num_rows().max(0) as u64).sum();
        let bytes: u64 = groups.iter().map(|group| group.total_byte_size().max(0) as u64).sum();
        let batch = (BATCH_BYTES / (bytes / u64::max(all, 1)).max(1)).clamp(1, BATCH_ROWS as u64);
        let batch = batch as usize;
        let schema = reader.metadata().file_metadata().schema();
        let wanted = projection(schema, &self.columns).with_context(|| path.clone())?;
        let rows = RowIter::from_file_into(Box::new(reader)).project(wanted)?;
        Ok(Open { rows: rows.with_batch_size(batch), chunks, batch, all, given: 0 })
    }
}

/// The schema with the wanted columns only, in the file's order; `None` for all.
fn projection(schema: &Type, columns: &[String]) -> Result<Option<Type>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let fields = schema.get_fields();
    if let Some(missing) = columns.iter().find(|name| !fields.iter().any(|f| f.name() == *name)) {
        let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
        bail!("the file has no column '{missing}'; it has {}", names.join(", "));
    }
    let kept = fields.iter().filter(|field| columns.iter().any(|name| name == field.name()));
    let kept = Type::group_type_builder(schema.name()).with_fields(kept.cloned().collect());
    Ok(Some(kept.build()?))
}

impl BatchReader<ParquetInput> for ParquetReader {
    fn next_batch(&mut self) -> Result<Option<ParquetRows<'_>>> {
        self.rows.clear();
        while self.rows.is_empty() {
            let Some(open) = &mut self.current else {
                let Some(piece) = self.pieces.get(self.next_piece).cloned() else {
                    return Ok(None);
                };
                self.at.set(piece.clone());
                self.next_piece += 1;
                self.current = Some(self.open_piece(&piece)?);
                continue;
            };
            self.row = open.given;
            for row in open.rows.by_ref().take(open.batch) {
                self.rows.push(row.context("its data is damaged or of an unknown kind")?);
            }
            open.given += self.rows.len() as u64;
            self.counts.bytes += open.chunks.read.swap(0, Ordering::Relaxed);
            if self.rows.is_empty() {
                if open.given != open.all {
                    bail!(
                        "only {} of the {} rows that its footer names are there",
                        open.given,
                        open.all
                    );
                }
                self.done_bytes += self.pieces[self.next_piece - 1].length;
                self.current = None;
            }
        }
        self.counts.records += self.rows.len() as u64;
        Ok(Some(ParquetRows(self.rows.iter())))
    }

    fn fraction(&self) -> f64 {
        let current = self.current.as_ref().zip(self.pieces.get(self.next_piece.wrapping_sub(1)));
        let current = current.map_or(0.0, |(open, piece)| {
            piece.length as f64 * open.given as f64 / open.all.max(1) as f64
        });
        ((self.done_bytes as f64 + current) / self.split_bytes as f64).min(1.0)
    }

    fn position(&self) -> String {
        match self.at.get() {
            Some(split) => format!(
                "{}, in the rows from number {} on behind byte {}",
                split.path, self.row, split.start
            ),
            None => "the start of the split".to_owned(),
        }
    }

    fn take_counts(&mut self) -> ReadCounts {
        std::mem::take(&mut self.counts)
    }

    fn current_split(&self) -> CurrentSplit {
        self.at.clone()
    }
}
