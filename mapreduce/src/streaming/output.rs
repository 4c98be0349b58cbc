//! What streaming jobs write.

use anyhow::{Result, bail};
use hfs_protocol::ids::TaskKind;

use crate::conf::Conf;
use crate::files::{Files, OutputFile};
use crate::output::{LazyOutput, LazyWriter, OutputFormat, RecordWriter, TextOutput, TextWriter};
use crate::record::Text;

/// The output formats of `-outputformat` and `-lazyOutput`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum StreamOutput {
    /// Lines (`TextOutputFormat`).
    #[default]
    Text,
    /// Lines, in a file that is made for the first of them (`LazyOutputFormat`).
    LazyText,
    /// Nothing (`NullOutputFormat`).
    Null,
}

impl StreamOutput {
    /// Reads a class name, with its package or without.
    pub(super) fn read(name: &str, lazy: bool) -> Result<Self> {
        match name.rsplit('.').next().unwrap_or_default() {
            "" | "TextOutputFormat" if lazy => Ok(Self::LazyText),
            "" | "TextOutputFormat" => Ok(Self::Text),
            "NullOutputFormat" => Ok(Self::Null),
            _ => bail!(
                "there is no output format {name}; there are TextOutputFormat and NullOutputFormat"
            ),
        }
    }
}

/// Writes one file, or none.
pub(super) enum StreamWriter {
    Open(TextWriter<Text, Text>),
    Lazy(LazyWriter<Text, Text, TextOutput>),
    Null,
}

impl OutputFormat<Text, Text> for StreamOutput {
    type Writer = StreamWriter;

    fn extension(&self, conf: &Conf) -> Result<&'static str> {
        match self {
            Self::Null => Ok(""),
            Self::Text | Self::LazyText => OutputFormat::<Text, Text>::extension(&TextOutput, conf),
        }
    }

    fn writer(&self, file: OutputFile, conf: &Conf) -> Result<StreamWriter> {
        TextOutput.writer(file, conf).map(StreamWriter::Open)
    }

    /// Without the letter for map or reduce, as Hadoop Streaming's are.
    fn file_name(&self, _: TaskKind, index: u32) -> String {
        format!("part-{index:05}")
    }

    fn begin(&self, files: &Files, path: &str, conf: &Conf) -> Result<StreamWriter> {
        match self {
            Self::Text => TextOutput.begin(files, path, conf).map(StreamWriter::Open),
            Self::LazyText => {
                LazyOutput(TextOutput).begin(files, path, conf).map(StreamWriter::Lazy)
            }
            Self::Null => Ok(StreamWriter::Null),
        }
    }
}

impl RecordWriter<Text, Text> for StreamWriter {
    #[inline]
    fn write(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(writer) => writer.write(key, value),
            Self::Lazy(writer) => writer.write(key, value),
            Self::Null => Ok(()),
        }
    }

    fn has_file(&self) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Lazy(writer) => writer.has_file(),
            Self::Null => false,
        }
    }

    fn close(self) -> Result<u64> {
        match self {
            Self::Open(writer) => writer.close(),
            Self::Lazy(writer) => writer.close(),
            Self::Null => Ok(0),
        }
    }
}
