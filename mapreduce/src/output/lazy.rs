//! Output files that are made for their first record.

use anyhow::Result;
use hfs_protocol::ids::TaskKind;

use super::{OutputFormat, RecordWriter};
use crate::conf::Conf;
use crate::files::{Files, OutputFile};
use crate::record::Record;

/// Files as another output format writes them, but none for a task that emits nothing (Hadoop's
/// `LazyOutputFormat`): for a job whose records go to [named outputs](crate::NamedOutput), or of whose
/// tasks most find nothing.
///
/// ```
/// use hfs_mapreduce::{Emit, Job, LazyOutput, Line, Mapper, Result, Text, TextInput, TextOutput};
///
/// #[derive(Clone)]
/// struct Errors;
///
/// impl Mapper for Errors {
///     type Input = TextInput;
///     type Key = Text;
///     type Value = ();
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, ()>) -> Result<()> {
///         if line.bytes.starts_with(b"ERROR") { out.emit(line.bytes, ()) } else { Ok(()) }
///     }
/// }
///
/// let job = Job::map(Errors)
///     .map_only()
///     .output_format(LazyOutput(TextOutput))
///     .input("/logs")
///     .output("/errors")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LazyOutput<O>(pub O);

/// Writes one file, if there is a record for it.
pub struct LazyWriter<K: Record, V: Record, O: OutputFormat<K, V>>(State<O, O::Writer>);

enum State<O, W> {
    Open(W),
    Waiting(Box<Waiting<O>>),
}

/// What making the file takes.
struct Waiting<O> {
    format: O,
    files: Files,
    path: String,
    conf: Conf,
}

impl<K: Record, V: Record, O: OutputFormat<K, V>> OutputFormat<K, V> for LazyOutput<O> {
    const WRITES: bool = O::WRITES;

    type Writer = LazyWriter<K, V, O>;

    fn extension(&self, conf: &Conf) -> Result<&'static str> {
        self.0.extension(conf)
    }

    fn writer(&self, file: OutputFile, conf: &Conf) -> Result<Self::Writer> {
        Ok(LazyWriter(State::Open(self.0.writer(file, conf)?)))
    }

    fn file_name(&self, kind: TaskKind, index: u32) -> String {
        self.0.file_name(kind, index)
    }

    fn begin(&self, files: &Files, path: &str, conf: &Conf) -> Result<Self::Writer> {
        Ok(LazyWriter(State::Waiting(Box::new(Waiting {
            format: self.0.clone(),
            files: files.clone(),
            path: path.to_owned(),
            conf: conf.clone(),
        }))))
    }
}

impl<K: Record, V: Record, O: OutputFormat<K, V>> RecordWriter<K, V> for LazyWriter<K, V, O> {
    #[inline]
    fn write(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        match &mut self.0 {
            State::Open(writer) => writer.write(key, value),
            State::Waiting(waiting) => {
                let Waiting { format, files, path, conf } = &**waiting;
                let mut writer = format.begin(files, path, conf)?;
                writer.write(key, value)?;
                self.0 = State::Open(writer);
                Ok(())
            }
        }
    }

    fn has_file(&self) -> bool {
        match &self.0 {
            State::Open(writer) => writer.has_file(),
            State::Waiting(_) => false,
        }
    }

    fn close(self) -> Result<u64> {
        match self.0 {
            State::Open(writer) => writer.close(),
            State::Waiting(_) => Ok(0),
        }
    }
}
