//! The map side of a job.

use anyhow::Result;

use crate::context::Context;
use crate::input::InputFormat;
use crate::record::Record;

/// Takes what a mapper or a reducer has to say. Every emitted record is copied (or counted) before
/// the call returns, so keys and values may be borrowed from anywhere.
pub trait Emit<K: Record, V: Record> {
    /// Emits one record.
    ///
    /// # Errors
    /// When the record can't be kept (the disk is full, say): return the error from `map`.
    fn emit(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()>;

    /// Counters, status and configuration.
    fn context(&mut self) -> &mut Context;
}

/// Turns input records into keys and values. One clone works on one split, on one thread.
///
/// ```
/// use hfs_mapreduce::{Emit, Line, Mapper, Result, Text, TextInput, words};
///
/// #[derive(Clone)]
/// struct WordCount;
///
/// impl Mapper for WordCount {
///     type Input = TextInput;
///     type Key = Text;
///     type Value = u64;
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
///         for word in words(line.bytes) {
///             out.emit(word, 1)?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Mapper: Clone + Send + Sync + 'static {
    /// Where records come from: [`TextInput`](crate::TextInput) for lines of text.
    type Input: InputFormat;
    /// The key it emits.
    type Key: Record;
    /// The value it emits.
    type Value: Record;

    /// The input format with its settings, unless the job names another
    /// ([`Builder::input_format`](crate::Builder::input_format)).
    fn input(&self) -> Self::Input {
        Self::Input::default()
    }

    /// Called once before the first record.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn setup(&mut self, _context: &mut Context) -> Result<()> {
        Ok(())
    }

    /// Called for every record of the split.
    ///
    /// # Errors
    /// An error fails the attempt; its text is what the job's owner sees.
    fn map(
        &mut self,
        record: <Self::Input as InputFormat>::Record<'_>,
        out: &mut impl Emit<Self::Key, Self::Value>,
    ) -> Result<()>;

    /// Called for every batch of records that the input has at hand (for text: a block of whole
    /// lines). Override it where records need not be told apart.
    ///
    /// # Errors
    /// As [`Mapper::map`].
    fn map_batch(
        &mut self,
        batch: <Self::Input as InputFormat>::Batch<'_>,
        out: &mut impl Emit<Self::Key, Self::Value>,
    ) -> Result<()> {
        for record in batch {
            out.context().tick();
            self.map(record, out)?;
        }
        Ok(())
    }

    /// Called once after the last record; may still emit.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn cleanup(&mut self, _out: &mut impl Emit<Self::Key, Self::Value>) -> Result<()> {
        Ok(())
    }
}
