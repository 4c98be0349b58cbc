//! The shuffle: how map output lies on disk and how a reducer asks for its part.
//!
//! # Segment
//! A map attempt leaves one segment: the runs of all partitions in order, then an index.
//!
//! ```text
//!  0        "HFSSEG01"
//!  8        run of partition 0, run of partition 1, ...
//!           index: per partition  offset u64, length u64, records u64, crc32 u32, zero u32
//!  end-24   partitions u32, crc32 of the index u32, length of the index u64
//!  end-8    "HFSSEGIX"
//! ```
//!
//! Numbers are little-endian. The index lies at the end because a writer knows it only then, and a
//! segment that was cut short therefore has no index: it is refused as a whole. A run is a sequence
//! of records sorted by the bytes of their keys; a record is `key length, value length` (LEB128
//! varints), key, value. The CRC-32 of a run covers its bytes and is checked by whoever reads it.
//!
//! # Fetch
//! A reducer keeps at most two TCP connections open to a worker's shuffle server and sends
//! [`FetchRequest`]s, up to 64 of them ahead where runs are small. They are answered in order: a [`FetchAnswer`], and after
//! [`FetchAnswer::Found`] the bytes of the run from the requested offset on, sent from the file.
//! A broken fetch goes on at the offset it had reached.

mod fetch;
mod segment;

pub use fetch::{
    ANSWER_HEAD_BYTES, FetchAnswer, FetchError, FetchRequest, MAX_ATTEMPT_ID_BYTES,
    MAX_MESSAGE_BYTES, RefusalReason,
};
pub use segment::{
    ENTRY_BYTES, FOOTER_BYTES, HEADER, MAX_PARTITIONS, PartitionEntry, SegmentError, SegmentIndex,
};
