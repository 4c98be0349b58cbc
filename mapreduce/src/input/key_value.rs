//! Lines that are a key and a value.

use anyhow::{Result, bail};
use hfs_protocol::proto::task::InputSplit;
use memchr::memmem;

use super::file_splits::CurrentSplit;
use super::text::{Lines, TextInput, TextReader};
use super::{BatchReader, InputFormat, ReadCounts, SplitContext};
use crate::conf::{self, Conf};
use crate::files::Files;

/// Reads text files line by line, each line a key and a value with a tab between them (Hadoop's
/// `KeyValueTextInputFormat`). `mapreduce.input.keyvaluelinerecordreader.key.value.separator` names
/// another separator, of one or more bytes. A line without it is a key with an empty value. Everything
/// else is as with [`TextInput`].
///
/// ```
/// use hfs_mapreduce::{Emit, Job, KeyValue, KeyValueTextInput, Mapper, Result, Sum, Text};
///
/// /// Adds up what an earlier word count has written.
/// #[derive(Clone)]
/// struct Counts;
///
/// impl Mapper for Counts {
///     type Input = KeyValueTextInput;
///     type Key = Text;
///     type Value = u64;
///
///     fn map(&mut self, pair: KeyValue<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
///         out.emit(pair.key, std::str::from_utf8(pair.value)?.parse()?)
///     }
/// }
///
/// let job = Job::map(Counts).combine(Sum).reduce(Sum).input("/counts").output("/sums").build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyValueTextInput;

/// One line, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// What is before the first separator.
    pub key: &'a [u8],
    /// What is behind it.
    pub value: &'a [u8],
}

/// Lines that follow one another.
#[derive(Debug, Clone)]
pub struct KeyValues<'a> {
    lines: Lines<'a>,
    separator: &'a [u8],
}

impl<'a> Iterator for KeyValues<'a> {
    type Item = KeyValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<KeyValue<'a>> {
        let line = self.lines.next()?.bytes;
        let at = match self.separator {
            [byte] => memchr::memchr(*byte, line),
            bytes => memmem::find(line, bytes),
        };
        Some(match at {
            Some(at) => KeyValue { key: &line[..at], value: &line[at + self.separator.len()..] },
            None => KeyValue { key: line, value: &[] },
        })
    }
}

impl InputFormat for KeyValueTextInput {
    type Record<'a> = KeyValue<'a>;
    type Batch<'a> = KeyValues<'a>;
    type Reader = KeyValueReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        TextInput.splits(context)
    }

    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<KeyValueReader> {
        let separator = conf.get(conf::KEY_VALUE_SEPARATOR).unwrap_or("\t");
        if separator.is_empty() {
            bail!("the property {} is empty; name a separator", conf::KEY_VALUE_SEPARATOR);
        }
        let lines = TextInput.open(split, files, conf)?;
        Ok(KeyValueReader { lines, separator: separator.into() })
    }
}

/// Reads the lines of one split as keys and values.
pub struct KeyValueReader {
    lines: TextReader,
    separator: Vec<u8>,
}

impl BatchReader<KeyValueTextInput> for KeyValueReader {
    fn next_batch(&mut self) -> Result<Option<KeyValues<'_>>> {
        let lines = self.lines.next_batch()?;
        Ok(lines.map(|lines| KeyValues { lines, separator: &self.separator }))
    }

    fn fraction(&self) -> f64 {
        self.lines.fraction()
    }

    fn position(&self) -> String {
        self.lines.position()
    }

    fn take_counts(&mut self) -> ReadCounts {
        self.lines.take_counts()
    }

    fn current_split(&self) -> CurrentSplit {
        self.lines.current_split()
    }
}
