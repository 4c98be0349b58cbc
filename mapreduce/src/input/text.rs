//! Lines of text files.
//!
//! A split is a list of file ranges. A range owns the lines that begin after its first byte, up to
//! and including one that begins exactly at its end; the first range of a file also owns the file's
//! first line. So every line belongs to one range wherever the cuts fall, and a reader only ever
//! looks ahead, never back (Hadoop's `LineRecordReader` has the same rule). A line ends with a line
//! feed; a carriage return before it is not part of the line. A carriage return alone is not a line
//! end, other than in Hadoop.

use std::cell::Cell;

use anyhow::{Result, bail};
use hfs_protocol::proto::task::InputSplit;
use memchr::{memchr, memchr_iter};

use super::compressed_lines::CompressedLines;
use super::file_splits::{CurrentSplit, Piece, begins_at_lines, file_splits, pieces};
use super::pack::Cut;
use super::plain_lines::PlainLines;
use super::{BatchReader, InputFormat, ReadCounts, SplitContext};
use crate::compress::Codec;
use crate::conf::{self, Conf};
use crate::files::Files;

/// The longest line, unless configured.
const LINE_MAX_BYTES: u64 = 1 << 30;

/// Reads text files line by line. Small files are packed into common splits.
///
/// Compressed files are told by their names (see [`Codec`]) and read as the text they hold. Those of a
/// format that can't be split are read by one task each, whatever their size.
///
/// A line of more than 1 GiB is an error: it would be held in memory whole. With
/// `mapreduce.input.linerecordreader.line.maxlength` set, longer lines than that are left out, as in
/// Hadoop, and counted as `MAP_SKIPPED_RECORDS`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextInput;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it begins in its file, bytes. In a compressed file decompressed bytes are counted; of one
    /// that is cut into splits, from the first byte that belongs to the split.
    pub offset: u64,
    /// Its bytes, without the line end.
    pub bytes: &'a [u8],
}

/// The part of a file that a task reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange<'a> {
    /// The file.
    pub path: &'a str,
    /// Where the part begins, bytes.
    pub start: u64,
    /// Its bytes.
    pub length: u64,
}

/// Whole lines that follow one another.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    file: FileRange<'a>,
    offset: u64,
    bytes: &'a [u8],
    position: &'a Cell<u64>,
}

impl<'a> Lines<'a> {
    /// All the bytes, line ends included.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The part of a file that they belong to. A split may have several, one after the other.
    #[must_use]
    pub fn file(&self) -> FileRange<'a> {
        self.file
    }

    /// Where they begin in their file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.bytes);
        let (line, rest) = match end {
            Some(end) => (&self.bytes[..end], &self.bytes[end + 1..]),
            None => (self.bytes, &[][..]),
        };
        let line = match line.split_last() {
            Some((b'\r', shorter)) => shorter,
            _ => line,
        };
        let offset = self.offset;
        self.position.set(offset);
        self.offset += (self.bytes.len() - rest.len()) as u64;
        self.bytes = rest;
        Some(Line { offset, bytes: line })
    }
}

impl InputFormat for TextInput {
    type Record<'a> = Line<'a>;
    type Batch<'a> = Lines<'a>;
    type Reader = TextReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        file_splits(context, |file| {
            Ok(match Codec::of_path(&file.path)? {
                Some(codec) if !codec.is_splittable() => Cut::Nowhere,
                _ => Cut::Anywhere,
            })
        })
    }

    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<TextReader> {
        let mut reader = TextReader::open(pieces(split)?, split.length_bytes, files, conf)?;
        reader.at_lines = begins_at_lines(split)?;
        Ok(reader)
    }
}

/// What happens to long lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineLimit<'a> {
    /// The longest line, bytes.
    pub(super) bytes: u64,
    /// Counts longer ones, which are left out; `None`: they are an error.
    skipped: Option<&'a Cell<u64>>,
}

impl LineLimit<'_> {
    /// Notes that the line at `at` is too long. The caller leaves it out.
    pub(super) fn exceeded(self, path: &str, at: u64) -> Result<()> {
        let Some(skipped) = self.skipped else {
            bail!(
                "{path} has a line of more than {} bytes at byte {at}, which would fill the memory; is \
                 it text? Leave out lines of more than N bytes with -D {}=N",
                self.bytes,
                conf::LINE_MAX_BYTES
            );
        };
        skipped.set(skipped.get() + 1);
        Ok(())
    }
}

/// Reads the lines of one split.
pub struct TextReader {
    files: Files,
    line_max_bytes: u64,
    /// Whether longer lines are left out.
    skips_long: bool,
    skipped: Cell<u64>,
    pieces: Vec<Piece>,
    /// Whether lines are known to begin where the pieces do.
    at_lines: bool,
    next_piece: usize,
    current: Option<PieceLines>,
    /// Lines that were found and not looked at for long ones yet: where they begin and end.
    unchecked: (u64, u64),
    split_bytes: u64,
    /// Bytes of the pieces before the current one.
    done_bytes: u64,
    counts: ReadCounts,
    position: Cell<u64>,
    at: CurrentSplit,
}

/// Finds the lines of one file range.
enum PieceLines {
    Plain(Box<PlainLines>),
    Compressed(Box<CompressedLines>),
}

impl PieceLines {
    fn open(files: &Files, piece: &Piece, at_line: bool) -> Result<Self> {
        let file = files.open(&piece.path)?;
        Ok(match Codec::of_path(&piece.path)? {
            None => Self::Plain(Box::new(PlainLines::open(&piece.path, file, piece, at_line)?)),
            Some(codec) => {
                let lines = CompressedLines::open(codec, &piece.path, file, piece)?;
                Self::Compressed(Box::new(lines))
            }
        })
    }

    fn find(&mut self, limit: LineLimit<'_>) -> Result<Option<(u64, u64)>> {
        match self {
            Self::Plain(lines) => lines.find(limit),
            Self::Compressed(lines) => lines.find(limit),
        }
    }

    fn slice(&self, from: u64, to: u64) -> Result<&[u8]> {
        match self {
            Self::Plain(lines) => lines.slice(from, to),
            Self::Compressed(lines) => Ok(lines.slice(from, to)),
        }
    }

    fn done(&self) -> u64 {
        match self {
            Self::Plain(lines) => lines.done(),
            Self::Compressed(lines) => lines.done(),
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Plain(lines) => lines.length(),
            Self::Compressed(lines) => lines.length(),
        }
    }

    /// Bytes read of the file for the lines between two offsets, which were found last.
    fn take_read(&mut self, from: u64, to: u64) -> u64 {
        match self {
            Self::Plain(_) => to - from,
            Self::Compressed(lines) => lines.take_read(),
        }
    }
}

impl TextReader {
    /// Reads the lines of these file ranges.
    pub(super) fn open(
        pieces: Vec<Piece>,
        split_bytes: u64,
        files: &Files,
        conf: &Conf,
    ) -> Result<Self> {
        let line_max_bytes = conf.parsed(conf::LINE_MAX_BYTES)?;
        let at = CurrentSplit::default();
        if let Some(first) = pieces.first() {
            at.set(first.clone());
        }
        Ok(Self {
            files: files.clone(),
            line_max_bytes: line_max_bytes.unwrap_or(LINE_MAX_BYTES),
            skips_long: line_max_bytes.is_some(),
            skipped: Cell::new(0),
            pieces,
            at_lines: false,
            next_piece: 0,
            current: None,
            unchecked: (0, 0),
            split_bytes: split_bytes.max(1),
            done_bytes: 0,
            counts: ReadCounts::default(),
            position: Cell::new(0),
            at,
        })
    }

    /// Finds the next lines: where they begin and end in the current file.
    fn find(&mut self) -> Result<Option<(u64, u64)>> {
        loop {
            if let Some(current) = &mut self.current {
                let skipped = self.skips_long.then_some(&self.skipped);
                let limit = LineLimit { bytes: self.line_max_bytes, skipped };
                if let Some((from, to)) = current.find(limit)? {
                    self.counts.bytes += current.take_read(from, to);
                    return Ok(Some((from, to)));
                }
                self.counts.bytes += current.take_read(0, 0);
                self.done_bytes += current.length();
                self.current = None;
            }
            let Some(piece) = self.pieces.get(self.next_piece) else { return Ok(None) };
            self.next_piece += 1;
            self.position.set(piece.start);
            self.at.set(piece.clone());
            self.current = Some(PieceLines::open(&self.files, piece, self.at_lines)?);
        }
    }

    /// As [`TextReader::find`], without lines that are too long, if those are to be left out.
    fn find_short(&mut self) -> Result<Option<(u64, u64)>> {
        if !self.skips_long {
            return self.find();
        }
        loop {
            if self.unchecked.0 == self.unchecked.1 {
                match self.find()? {
                    Some(found) => self.unchecked = found,
                    None => return Ok(None),
                }
            }
            let (from, to) = self.unchecked;
            let Some(current) = &self.current else { return Ok(None) };
            let (mut good, mut rest) = (0, current.slice(from, to)?);
            let mut long = 0;
            while !rest.is_empty() {
                let end = memchr(b'\n', rest).unwrap_or(rest.len());
                let with_end = rest.len().min(end + 1);
                if end as u64 > self.line_max_bytes {
                    long = with_end;
                    break;
                }
                good += with_end;
                rest = &rest[with_end..];
            }
            self.unchecked.0 = from + (good + long) as u64;
            self.skipped.set(self.skipped.get() + u64::from(long > 0));
            if good > 0 {
                return Ok(Some((from, from + good as u64)));
            }
        }
    }

    /// Which file range the reader is at.
    pub(super) fn current_split(&self) -> CurrentSplit {
        self.at.clone()
    }
}

impl TextReader {
    /// The next lines; `None` at the end of the split.
    ///
    /// # Errors
    /// When the input can't be read.
    pub fn next_batch(&mut self) -> Result<Option<Lines<'_>>> {
        let Some((from, to)) = self.find_short()? else { return Ok(None) };
        let Some(current) = &self.current else { return Ok(None) };
        let bytes = current.slice(from, to)?;
        let unended = bytes.last().is_some_and(|&byte| byte != b'\n');
        self.counts.records += memchr_iter(b'\n', bytes).count() as u64 + u64::from(unended);
        self.position.set(from);
        let Some(piece) = self.pieces.get(self.next_piece.wrapping_sub(1)) else { return Ok(None) };
        let file = FileRange { path: &piece.path, start: piece.start, length: piece.length };
        Ok(Some(Lines { file, offset: from, bytes, position: &self.position }))
    }

    /// How much of the split has been given out, 0.0 to 1.0.
    pub fn fraction(&self) -> f64 {
        let current = self.current.as_ref().map_or(0, PieceLines::done);
        ((self.done_bytes + current) as f64 / self.split_bytes as f64).min(1.0)
    }

    /// Where the last line lies, for the sentence of a failure.
    pub fn position(&self) -> String {
        let Some(piece) = self.pieces.get(self.next_piece.saturating_sub(1)) else {
            return "the start of the split".to_owned();
        };
        let at = self.position.get();
        match &self.current {
            Some(PieceLines::Compressed(_)) if piece.start == 0 => {
                format!("{}, at byte {at} after decompression", piece.path)
            }
            Some(PieceLines::Compressed(_)) => format!(
                "{}, at byte {at} after decompression from byte {} on",
                piece.path, piece.start
            ),
            _ => format!("{}, at byte {at}", piece.path),
        }
    }

    /// Lines and bytes since the last call.
    pub fn take_counts(&mut self) -> ReadCounts {
        self.counts.skipped += self.skipped.take();
        std::mem::take(&mut self.counts)
    }
}

/// Formats that differ only in how they cut text into splits share this reader.
impl<F> BatchReader<F> for TextReader
where
    F: for<'a> InputFormat<Batch<'a> = Lines<'a>>,
{
    fn next_batch(&mut self) -> Result<Option<Lines<'_>>> {
        Self::next_batch(self)
    }

    fn fraction(&self) -> f64 {
        Self::fraction(self)
    }

    fn position(&self) -> String {
        Self::position(self)
    }

    fn take_counts(&mut self) -> ReadCounts {
        Self::take_counts(self)
    }

    fn current_split(&self) -> CurrentSplit {
        Self::current_split(self)
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
