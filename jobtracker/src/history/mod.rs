//! What the jobtracker promised, written down: one append-only file per job.
//!
//! ```text
//!  <dir>/tracker.json          when it first started, how often it started, the highest job number
//!  <dir>/jobs/<job id>.log     "HFSJOB02", then records (docs/formats.md)
//! ```
//!
//! A file per job rather than one for all: an ended job goes by deleting
//! its file, a damaged file costs one job, and nothing has ever to be compacted. Submissions that
//! come in together share the thread and the wait, not the fsync; at 200 µs each that is no matter.

mod log;
pub mod record;
mod writer;

pub use log::{HistoryError, JobLog, Read, read_jobs};
pub use record::Record;
pub use writer::{Start, Writer};
