//! Hadoop's `SequenceFile`, version 6: a splittable file of typed keys and values, plain or compressed.
//!
//! A file has a header, which names the classes of keys and values, and 16 random bytes, the sync mark.
//! The mark stands between records every now and then (or before each block), behind a length of -1, so
//! that a reader can begin anywhere: it looks for the next mark. `docs/formats.md` has the bytes.

mod as_text;
mod header;
mod input;
mod output;

pub(crate) use as_text::records_as_text;
pub use input::{SequenceFileInput, SequenceFileReader, SequenceRecords};
pub use output::{SequenceFileOutput, SequenceFileWriter};

/// Bytes of the sync mark.
const SYNC_BYTES: usize = 16;
/// What stands in a record's length before a sync mark.
const SYNC_ESCAPE: i32 = -1;
/// The escape and the mark.
const MARK_BYTES: usize = 4 + SYNC_BYTES;
/// The largest record, and the largest part of a block: more is taken for damage.
const MAX_PART_BYTES: usize = 1 << 30;
