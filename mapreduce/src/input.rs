//! Where a job's records come from.

mod compressed_lines;
mod file_splits;
mod fixed_length;
mod key_value;
mod n_lines;
mod pack;
mod plain_lines;
mod range;
mod text;
mod whole_file;

use anyhow::Result;
use hfs_protocol::proto::task::InputSplit;

use crate::conf::Conf;
use crate::files::Files;

pub use file_splits::{CurrentSplit, FileSplit};
pub(crate) use file_splits::{file_splits, pieces};
pub use fixed_length::{FixedLengthInput, FixedLengthReader, FixedRecord, FixedRecords};
pub use key_value::{KeyValue, KeyValueReader, KeyValueTextInput, KeyValues};
pub use n_lines::NLineInput;
pub(crate) use pack::Cut;
pub use range::{RangeInput, RangeReader};
pub use text::{FileRange, Line, Lines, TextInput, TextReader};
pub use whole_file::{WholeFile, WholeFileInput, WholeFileReader};

/// What an input format knows when it makes splits.
#[derive(Debug)]
pub struct SplitContext<'a> {
    /// The file system.
    pub files: &'a Files,
    /// The job's configuration.
    pub conf: &'a Conf,
    /// Paths and patterns.
    pub inputs: &'a [String],
    /// Tasks that run at once, where the caller knows it (a local run): splits of files without
    /// blocks are cut so that these have equal shares.
    pub parallelism: Option<usize>,
}

/// A kind of input: how it is cut into splits and how records are read from one.
pub trait InputFormat: Clone + Default + Send + Sync + 'static {
    /// One record, borrowed from the reader's buffer.
    type Record<'a>;
    /// Records that the reader has at hand.
    type Batch<'a>: Iterator<Item = Self::Record<'a>>;
    /// Reads one split.
    type Reader: BatchReader<Self>;

    /// Cuts the input into splits.
    ///
    /// # Errors
    /// When the input does not exist or can't be looked at.
    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>>;

    /// Opens a split.
    ///
    /// # Errors
    /// When it is not a split of this format or can't be read.
    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<Self::Reader>;
}

/// What a reader has done since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Records given out.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Records left out, because they are longer than allowed.
    pub skipped: u64,
}

/// Reads the records of one split, a batch at a time.
pub trait BatchReader<F: InputFormat> {
    /// The next records; `None` at the end of the split.
    ///
    /// # Errors
    /// When the input can't be read.
    fn next_batch(&mut self) -> Result<Option<F::Batch<'_>>>;

    /// How much of the split has been given out, 0.0 to 1.0.
    fn fraction(&self) -> f64;

    /// Where the last record lies, for the sentence of a failure.
    fn position(&self) -> String;

    /// Records and bytes since the last call.
    fn take_counts(&mut self) -> ReadCounts;

    /// Shows which file range the reader is at; the task's [`Context`](crate::Context) asks it. None for
    /// an input that is not of files.
    fn current_split(&self) -> CurrentSplit {
        CurrentSplit::default()
    }
}
