//! Reading a compressed file, whatever its format.

use anyhow::Result;

use super::bzip2::Bzip2;
use super::gzip::Gzip;
use super::lz4::Lz4;
use super::zstd::Zstd;
use super::{Codec, Source};
use crate::files::InputFile;

/// Bytes that one step decodes, about: small enough that they stay in the cache.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// Decodes a file, or the part of it that a split owns, from front to back.
pub(crate) struct Decoder {
    source: Source,
    format: Format,
}

enum Format {
    Gzip(Box<Gzip>),
    Bzip2(Bzip2),
    Zstd(Box<Zstd>),
    Lz4(Lz4),
}

impl Format {
    fn new(codec: Codec, start: u64, end: u64) -> Self {
        match codec {
            Codec::Gzip => Self::Gzip(Box::new(Gzip::new(true))),
            Codec::Deflate => Self::Gzip(Box::new(Gzip::new(false))),
            Codec::Bzip2 => Self::Bzip2(Bzip2::new(start, end)),
            Codec::Zstd => Self::Zstd(Box::new(Zstd::new())),
            Codec::Lz4 => Self::Lz4(Lz4::new()),
        }
    }
}

impl Decoder {
    /// Decodes the bytes `start` to `end` of a file and, since a line may go on there, what follows. A
    /// format that can't be split must be read from its first byte.
    pub(crate) fn new(codec: Codec, path: &str, file: InputFile, start: u64, end: u64) -> Self {
        let format = Format::new(codec, start, end);
        Self { source: Source::new(path, file, start), format }
    }

    /// Decodes bytes that were taken from a file at the byte `at`.
    pub(crate) fn of_bytes(codec: Codec, path: &str, bytes: Vec<u8>, at: u64) -> Self {
        let format = Format::new(codec, 0, u64::MAX);
        Self { source: Source::of_bytes(path, bytes, at), format }
    }

    /// Appends decoded bytes; false at the end of the file. Some bytes may be appended even then, and
    /// none even if there are more.
    pub(crate) fn decode(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        match &mut self.format {
            Format::Gzip(gzip) => gzip.decode(&mut self.source, out),
            Format::Bzip2(bzip2) => bzip2.decode(&mut self.source, out),
            Format::Zstd(zstd) => zstd.decode(&mut self.source, out),
            Format::Lz4(lz4) => lz4.decode(&mut self.source, out),
        }
    }

    /// How many of the decoded bytes belong to the split; `None` while all of them do.
    pub(crate) fn owned(&self) -> Option<u64> {
        match &self.format {
            Format::Bzip2(bzip2) => bzip2.owned(),
            _ => None,
        }
    }

    /// Where the next compressed byte lies in the file.
    pub(crate) fn position(&self) -> u64 {
        self.source.position()
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &str {
        self.source.path()
    }
}
