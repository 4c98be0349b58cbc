//! Keys and values as columns.

use ::parquet::basic::{ConvertedType, Repetition, Type as Physical};
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type,
};
use ::parquet::file::writer::SerializedColumnWriter;
use ::parquet::schema::types::Type;
use anyhow::{Result, bail};

use crate::record::{Record, Text};

/// A record type that fills columns of a row: one, or for tuples one for each part. `()` fills none.
/// `Option` fills a column that may be null.
pub trait ParquetColumns: Record {
    /// Puts the value into the next columns of the row.
    ///
    /// # Errors
    /// When the schema has another type there, or no more columns.
    fn put(value: Self::Ref<'_>, row: &mut ColumnSink) -> Result<()>;
}

/// What a row's next column gets.
enum Value<'a> {
    Null,
    Bool(bool),
    Long(i64),
    Double(f64),
    Bytes(&'a [u8], bool),
}

impl Value<'_> {
    fn what(&self) -> &'static str {
        match self {
            Self::Null => "a null",
            Self::Bool(_) => "a truth value",
            Self::Long(_) => "a whole number",
            Self::Double(_) => "a number",
            Self::Bytes(..) => "text or bytes",
        }
    }
}

enum Values {
    Bool(Vec<bool>),
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

/// A column of the row group that is being gathered.
struct Column {
    name: String,
    values: Values,
    /// For a column that may be null: 1 for each value that is there, 0 for each null.
    present: Option<Vec<i16>>,
    is_text: bool,
}

/// The columns of the rows that are being gathered.
pub struct ColumnSink {
    columns: Vec<Column>,
    /// The column that comes next in the row.
    next: usize,
    rows: usize,
    /// What is gathered, about.
    bytes: usize,
}

impl ColumnSink {
    /// Columns by a schema without groups and lists.
    pub(super) fn new(schema: &Type) -> Result<Self> {
        let columns = schema.get_fields().iter().map(|field| {
            let name = field.name().to_owned();
            let info = field.get_basic_info();
            if field.is_group() || info.repetition() == Repetition::REPEATED {
                bail!("the column '{name}' is a group or a list, and only plain columns can be written");
            }
            let values = match field.get_physical_type() {
                Physical::BOOLEAN => Values::Bool(Vec::new()),
                Physical::INT32 => Values::Int(Vec::new()),
                Physical::INT64 => Values::Long(Vec::new()),
                Physical::FLOAT => Values::Float(Vec::new()),
                Physical::DOUBLE => Values::Double(Vec::new()),
                Physical::BYTE_ARRAY => Values::Bytes(Vec::new()),
                other => bail!("the column '{name}' is of the type {other}, which can't be written"),
            };
            let small = [
                ConvertedType::INT_8,
                ConvertedType::INT_16,
                ConvertedType::UINT_8,
                ConvertedType::UINT_16,
                ConvertedType::UINT_32,
                ConvertedType::UINT_64,
            ];
            if small.contains(&info.converted_type()) {
                bail!(
                    "the column '{name}' is of whole numbers that are small or without sign, which can't be \
                     written; make it a plain int32 or int64"
                );
            }
            let optional = info.repetition() == Repetition::OPTIONAL;
            let text = [ConvertedType::UTF8, ConvertedType::JSON, ConvertedType::ENUM];
            let is_text = text.contains(&info.converted_type());
            Ok(Column { name, values, present: optional.then(Vec::new), is_text })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        if columns.is_empty() {
            bail!("the schema has no columns");
        }
        Ok(Self { columns, next: 0, rows: 0, bytes: 0 })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Ends a row.
    pub(super) fn end_row(&mut self) -> Result<()> {
        if self.next != self.columns.len() {
            bail!(
                "a record has {} columns and the schema {}; the next one would be '{}'",
                self.next,
                self.columns.len(),
                self.columns[self.next].name
            );
        }
        self.next = 0;
        self.rows += 1;
        Ok(())
    }

    fn put(&mut self, value: &Value<'_>) -> Result<()> {
        let columns = self.columns.len();
        let Some(column) = self.columns.get_mut(self.next) else {
            bail!("a record has more columns than the schema, which has {columns}");
        };
        self.next += 1;
        if let Some(present) = &mut column.present {
            present.push(i16::from(!matches!(value, Value::Null)));
        }
        let size = match (&mut column.values, value) {
            (_, Value::Null) if column.present.is_some() => 1,
            (Values::Bool(values), Value::Bool(value)) => {
                values.push(*value);
                1
            }
            (Values::Int(values), Value::Long(value)) => {
                let Ok(value) = i32::try_from(*value) else {
                    bail!(
                        "the column '{}' is an int32, which {value} is too large for",
                        column.name
                    )
                };
                values.push(value);
                4
            }
            (Values::Long(values), Value::Long(value)) => {
                values.push(*value);
                8
            }
            (Values::Float(values), Value::Double(value)) => {
                values.push(*value as f32);
                4
            }
            (Values::Double(values), Value::Double(value)) => {
                values.push(*value);
                8
            }
            (Values::Bytes(values), Value::Bytes(bytes, known)) => {
                if column.is_text && !known && std::str::from_utf8(bytes).is_err() {
                    bail!(
                        "the column '{}' is a STRING, which bytes that are not UTF-8 are not; leave \
                         (STRING) out of the schema",
                        column.name
                    );
                }
                values.push(ByteArray::from(bytes.to_vec()));
                bytes.len() + size_of::<ByteArray>()
            }
            (_, value) => {
                bail!("the column '{}' of the schema can't hold {}", column.name, value.what())
            }
        };
        self.bytes += size;
        Ok(())
    }

    /// Writes the column of this number and forgets it.
    pub(super) fn write(
        &mut self,
        column: usize,
        writer: &mut SerializedColumnWriter<'_>,
    ) -> Result<()> {
        let Column { values, present, .. } = &mut self.columns[column];
        let levels = present.as_deref();
        match values {
            Values::Bool(v) => writer.typed::<BoolType>().write_batch(v, levels, None),
            Values::Int(v) => writer.typed::<Int32Type>().write_batch(v, levels, None),
            Values::Long(v) => writer.typed::<Int64Type>().write_batch(v, levels, None),
            Values::Float(v) => writer.typed::<FloatType>().write_batch(v, levels, None),
            Values::Double(v) => writer.typed::<DoubleType>().write_batch(v, levels, None),
            Values::Bytes(v) => writer.typed::<ByteArrayType>().write_batch(v, levels, None),
        }?;
        match values {
            Values::Bool(v) => v.clear(),
            Values::Int(v) => v.clear(),
            Values::Long(v) => v.clear(),
            Values::Float(v) => v.clear(),
            Values::Double(v) => v.clear(),
            Values::Bytes(v) => v.clear(),
        }
        if let Some(present) = present {
            present.clear();
        }
        Ok(())
    }

    /// All columns have been written.
    pub(super) fn written(&mut self) {
        self.rows = 0;
        self.bytes = 0;
    }
}

impl ParquetColumns for () {
    fn put((): (), _: &mut ColumnSink) -> Result<()> {
        Ok(())
    }
}

impl ParquetColumns for Text {
    fn put(value: &[u8], row: &mut ColumnSink) -> Result<()> {
        row.put(&Value::Bytes(value, false))
    }
}

impl ParquetColumns for String {
    fn put(value: &str, row: &mut ColumnSink) -> Result<()> {
        row.put(&Value::Bytes(value.as_bytes(), true))
    }
}

impl ParquetColumns for bool {
    fn put(value: bool, row: &mut ColumnSink) -> Result<()> {
        row.put(&Value::Bool(value))
    }
}

impl ParquetColumns for u64 {
    fn put(value: u64, row: &mut ColumnSink) -> Result<()> {
        match i64::try_from(value) {
            Ok(value) => row.put(&Value::Long(value)),
            Err(_) => bail!("{value} is too large for an int64 column"),
        }
    }
}

macro_rules! columns {
    ($($type:ty, $variant:ident;)+) => {
        $(impl ParquetColumns for $type {
            fn put(value: $type, row: &mut ColumnSink) -> Result<()> {
                row.put(&Value::$variant(value.into()))
            }
        })+
    };
}

columns! {
    i64, Long;
    i32, Long;
    i16, Long;
    i8, Long;
    u32, Long;
    u16, Long;
    u8, Long;
    f64, Double;
    f32, Double;
}

impl<T: ParquetColumns> ParquetColumns for Option<T> {
    fn put(value: Self::Ref<'_>, row: &mut ColumnSink) -> Result<()> {
        match value {
            Some(value) => T::put(value, row),
            None => row.put(&Value::Null),
        }
    }
}

impl<A: ParquetColumns, B: ParquetColumns> ParquetColumns for (A, B) {
    fn put((a, b): Self::Ref<'_>, row: &mut ColumnSink) -> Result<()> {
        A::put(a, row)?;
        B::put(b, row)
    }
}

impl<A: ParquetColumns, B: ParquetColumns, C: ParquetColumns> ParquetColumns for (A, B, C) {
    fn put((a, b, c): Self::Ref<'_>, row: &mut ColumnSink) -> Result<()> {
        A::put(a, row)?;
        B::put(b, row)?;
        C::put(c, row)
    }
}
