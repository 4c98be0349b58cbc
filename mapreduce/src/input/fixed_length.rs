//! Records that all have the same length.

use std::slice::ChunksExact;

use anyhow::{Result, bail};
use hfs_protocol::proto::task::InputSplit;

use super::file_splits::{CurrentSplit, Piece, file_splits, pieces};
use super::pack::Cut;
use super::{BatchReader, InputFormat, ReadCounts, SplitContext};
use crate::compress::{Codec, Decoder};
use crate::conf::{self, Conf};
use crate::files::{Files, InputFile};

/// Bytes of a batch, about: small enough that a mapper finds it in the cache.
const BATCH_BYTES: usize = 256 << 10;
/// The longest record: a batch is at least one.
const MAX_RECORD_BYTES: u64 = 1 << 30;

/// Reads files of records that are not separated and all have the same length (Hadoop's
/// `FixedLengthInputFormat`): `fixedlengthinputformat.record.length` bytes. Large files are cut between
/// records. Compressed files are read by one task each. A file that ends within a record is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct FixedLengthInput {
    length: Option<u64>,
}

impl FixedLengthInput {
    /// Records of `length` bytes, whatever the configuration says.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self { length: Some(length) }
    }

    fn record_length(self, conf: &Conf) -> Result<u64> {
        let Some(length) = self.length.or(conf.parsed(conf::FIXED_RECORD_LENGTH)?) else {
            bail!("the length of the records is not known; say -D {}=N", conf::FIXED_RECORD_LENGTH);
        };
        if !(1..=MAX_RECORD_BYTES).contains(&length) {
            bail!("records of {length} bytes are not possible, only of 1 to {MAX_RECORD_BYTES}");
        }
        Ok(length)
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedRecord<'a> {
    /// Where it begins in its file, bytes; of a compressed file after decompression.
    pub offset: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Records that follow one another.
#[derive(Debug, Clone)]
pub struct FixedRecords<'a> {
    offset: u64,
    records: ChunksExact<'a, u8>,
}

impl<'a> Iterator for FixedRecords<'a> {
    type Item = FixedRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<FixedRecord<'a>> {
        let bytes = self.records.next()?;
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        Some(FixedRecord { offset, bytes })
    }
}

impl InputFormat for FixedLengthInput {
    type Record<'a> = FixedRecord<'a>;
    type Batch<'a> = FixedRecords<'a>;
    type Reader = FixedLengthReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        let record = self.record_length(context.conf)?;
        file_splits(context, |file| {
            if Codec::of_path(&file.path)?.is_some() {
                return Ok(Cut::Nowhere);
            }
            if file.length % record != 0 {
                bail!(
                    "{} has {} bytes, which is no number of records of {record} bytes; check the length \
                     of the records",
                    file.path,
                    file.length
                );
            }
            Ok(Cut::Every(record))
        })
    }

    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<FixedLengthReader> {
        let pieces = pieces(split)?;
        let at = CurrentSplit::default();
        if let Some(first) = pieces.first() {
            at.set(first.clone());
        }
        Ok(FixedLengthReader {
            files: files.clone(),
            record: self.record_length(conf)? as usize,
            pieces,
            next_piece: 0,
            current: None,
            buffer: Vec::new(),
            given: 0,
            offset: 0,
            split_bytes: split.length_bytes.max(1),
            done_bytes: 0,
            counts: ReadCounts::default(),
            at,
        })
    }
}

/// Reads the records of one split.
pub struct FixedLengthReader {
    files: Files,
    /// Bytes of a record.
    record: usize,
    pieces: Vec<Piece>,
    next_piece: usize,
    current: Option<Bytes>,
    /// Bytes of the current file, of which the front was given out.
    buffer: Vec<u8>,
    given: usize,
    /// Where the buffer begins in the file.
    offset: u64,
    split_bytes: u64,
    done_bytes: u64,
    counts: ReadCounts,
    at: CurrentSplit,
}

/// Gives the bytes of a file range.
enum Bytes {
    Plain { file: InputFile, at: u64, end: u64 },
    Compressed(Box<Decoder>),
}

impl Bytes {
    /// Appends bytes; false at the end of the range.
    fn read(&mut self, count: usize, out: &mut Vec<u8>) -> Result<bool> {
        match self {
            Self::Plain { file, at, end } => {
                let wanted = (*end - *at).min(count as u64) as usize;
                let have = out.len();
                out.resize(have + wanted, 0);
                let got = file.read_at(*at, &mut out[have..])?;
                out.truncate(have + got);
                *at += got as u64;
                Ok(got > 0)
            }
            Self::Compressed(decoder) => decoder.decode(out),
        }
    }
}

impl FixedLengthReader {
    /// Gets at least one record into the buffer; false at the end of the split.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.drain(..self.given);
        self.offset += self.given as u64;
        self.given = 0;
        let batch = (BATCH_BYTES / self.record).max(1) * self.record;
        loop {
            if let Some(bytes) = &mut self.current {
                let mut more = true;
                while more && self.buffer.len() < self.record {
                    let have = self.buffer.len();
                    let before = position_of(bytes);
                    more = bytes.read(batch - have, &mut self.buffer)?;
                    let read = position_of(bytes) - before;
                    self.counts.bytes += read;
                    self.done_bytes += read;
                }
                if self.buffer.len() >= self.record {
                    return Ok(true);
                }
                if !self.buffer.is_empty() {
                    bail!(
                        "{} ends within a record: {} bytes are left of {}",
                        self.path(),
                        self.buffer.len(),
                        self.record
                    );
                }
                self.current = None;
            }
            let Some(piece) = self.pieces.get(self.next_piece) else { return Ok(false) };
            self.next_piece += 1;
            self.at.set(piece.clone());
            self.offset = piece.start;
            let file = self.files.open(&piece.path)?;
            let (start, end) = (piece.start, (piece.start + piece.length).min(file.len()));
            self.current = Some(match Codec::of_path(&piece.path)? {
                None => Bytes::Plain { file, at: start, end },
                Some(codec) => {
                    Bytes::Compressed(Box::new(Decoder::new(codec, &piece.path, file, start, end)))
                }
            });
        }
    }

    fn path(&self) -> &str {
        let piece = self.pieces.get(self.next_piece.saturating_sub(1));
        piece.map_or("the split", |piece| &piece.path)
    }
}

/// Where the next byte lies in the file, before decompression.
fn position_of(bytes: &Bytes) -> u64 {
    match bytes {
        Bytes::Plain { at, .. } => *at,
        Bytes::Compressed(decoder) => decoder.position(),
    }
}

impl BatchReader<FixedLengthInput> for FixedLengthReader {
    fn next_batch(&mut self) -> Result<Option<FixedRecords<'_>>> {
        if !self.fill()? {
            return Ok(None);
        }
        let records = self.buffer.len() / self.record;
        self.given = records * self.record;
        self.counts.records += records as u64;
        let records = self.buffer[..self.given].chunks_exact(self.record);
        Ok(Some(FixedRecords { offset: self.offset, records }))
    }

    fn fraction(&self) -> f64 {
        (self.done_bytes as f64 / self.split_bytes as f64).min(1.0)
    }

    fn position(&self) -> String {
        format!("{}, behind byte {}", self.path(), self.offset)
    }

    fn take_counts(&mut self) -> ReadCounts {
        std::mem::take(&mut self.counts)
    }

    fn current_split(&self) -> CurrentSplit {
        self.at.clone()
    }
}
