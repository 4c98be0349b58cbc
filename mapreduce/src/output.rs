//! Where a job's results go.

mod lazy;

use std::marker::PhantomData;

use anyhow::Result;
use hfs_protocol::ids::TaskKind;

use crate::compress::Codec;
use crate::conf::{self, Conf};
use crate::files::{Files, OutputFile};
use crate::record::Record;

pub use lazy::{LazyOutput, LazyWriter};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A kind of output file.
pub trait OutputFormat<K: Record, V: Record>: Clone + Default + Send + Sync + 'static {
    /// Whether there are files at all; false only for [`NullOutput`].
    const WRITES: bool = true;

    /// Writes one file.
    type Writer: RecordWriter<K, V>;

    /// What the names of its files end with: `.gz`, say.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    fn extension(&self, _conf: &Conf) -> Result<&'static str> {
        Ok("")
    }

    /// Begins a file.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    fn writer(&self, file: OutputFile, conf: &Conf) -> Result<Self::Writer>;

    /// The name of a task's file.
    fn file_name(&self, kind: TaskKind, index: u32) -> String {
        part_name(kind, index)
    }

    /// Creates the file `path` and begins it.
    ///
    /// # Errors
    /// When it can't be created or the configuration makes no sense.
    fn begin(&self, files: &Files, path: &str, conf: &Conf) -> Result<Self::Writer> {
        self.writer(files.create(path)?, conf)
    }
}

/// Writes records to one file.
pub trait RecordWriter<K: Record, V: Record> {
    /// Appends a record.
    ///
    /// # Errors
    /// When it can't be written.
    fn write(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()>;

    /// Whether there is a file: false for a writer that makes one for its first record only.
    fn has_file(&self) -> bool {
        true
    }

    /// Writes what is left and closes the file; says how many bytes it has.
    ///
    /// # Errors
    /// When the last bytes can't be written.
    fn close(self) -> Result<u64>;
}

/// Writes lines: key, tab, value. Nothing is written for a `()`, nor its tab. Compressed if the job says
/// so ([`Builder::compress_output`](crate::Builder::compress_output)).
#[derive(Debug, Clone, Copy, Default)]
pub struct TextOutput;

/// Writes one text file.
pub struct TextWriter<K, V> {
    file: OutputFile,
    separator: Vec<u8>,
    buffer: Vec<u8>,
    types: PhantomData<fn(K, V)>,
}

impl<K: Record, V: Record> OutputFormat<K, V> for TextOutput {
    type Writer = TextWriter<K, V>;

    fn extension(&self, conf: &Conf) -> Result<&'static str> {
        Ok(Codec::of_output(conf)?.map_or("", Codec::extension))
    }

    fn writer(&self, file: OutputFile, conf: &Conf) -> Result<TextWriter<K, V>> {
        Ok(TextWriter {
            file: match Codec::of_output(conf)? {
                Some(codec) => file.compressed(codec),
                None => file,
            },
            separator: conf.get(conf::TEXT_SEPARATOR).unwrap_or("\t").into(),
            buffer: Vec::with_capacity(BUFFER_BYTES + (64 << 10)),
            types: PhantomData,
        })
    }
}

impl<K: Record, V: Record> TextWriter<K, V> {
    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl<K: Record, V: Record> RecordWriter<K, V> for TextWriter<K, V> {
    #[inline]
    fn write(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        if K::print(key, &mut self.buffer) {
            let after_key = self.buffer.len();
            self.buffer.extend_from_slice(&self.separator);
            if !V::print(value, &mut self.buffer) {
                self.buffer.truncate(after_key);
            }
        } else {
            V::print(value, &mut self.buffer);
        }
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<u64> {
        self.flush()?;
        self.file.close()
    }
}

/// Writes nothing (Hadoop's `NullOutputFormat`): for a job whose counters or side effects are all it
/// is run for. Such a job has no output directory.
///
/// ```
/// use hfs_mapreduce::{Emit, Job, Line, Mapper, NullOutput, Result, TextInput};
///
/// #[derive(Clone)]
/// struct Check;
///
/// impl Mapper for Check {
///     type Input = TextInput;
///     type Key = ();
///     type Value = ();
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<(), ()>) -> Result<()> {
///         if std::str::from_utf8(line.bytes).is_err() {
///             out.context().increment("lines", "not UTF-8", 1);
///         }
///         Ok(())
///     }
/// }
///
/// let job = Job::map(Check).map_only().output_format(NullOutput).input("/in").build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NullOutput;

/// Takes records to nowhere.
pub struct NullWriter(Option<OutputFile>);

impl<K: Record, V: Record> OutputFormat<K, V> for NullOutput {
    const WRITES: bool = false;

    type Writer = NullWriter;

    fn writer(&self, file: OutputFile, _: &Conf) -> Result<NullWriter> {
        Ok(NullWriter(Some(file)))
    }

    fn begin(&self, _: &Files, _: &str, _: &Conf) -> Result<NullWriter> {
        Ok(NullWriter(None))
    }
}

impl<K: Record, V: Record> RecordWriter<K, V> for NullWriter {
    #[inline]
    fn write(&mut self, _: K::Ref<'_>, _: V::Ref<'_>) -> Result<()> {
        Ok(())
    }

    fn close(self) -> Result<u64> {
        self.0.map_or(Ok(0), OutputFile::close)
    }
}

/// The name of a task's output file, as Hadoop gives it: `part-m-00000`, `part-r-00000`.
#[must_use]
pub fn part_name(kind: TaskKind, index: u32) -> String {
    task_file_name("part", kind, index)
}

/// The name of a task's file of the output `name`: `name-m-00000`, `name-r-00000`.
pub(crate) fn task_file_name(name: &str, kind: TaskKind, index: u32) -> String {
    let letter = match kind {
        TaskKind::Map => 'm',
        TaskKind::Reduce => 'r',
    };
    format!("{name}-{letter}-{index:05}")
}
