//! Lines of text files.
//!
//! A split is a list of file ranges. A range owns the lines that begin after its first byte, up to
//! and including one that begins exactly at its end; the first range of a file also owns the file's
//! first line. So every line belongs to one range wherever the cuts fall, and a reader only ever
//! looks ahead, never back (Hadoop's `LineRecordReader` has the same rule). A line ends with a line
//! feed; a carriage return before it is not part of the line. A carriage return alone is not a line
//! end, other than in Hadoop.

use std::cell::Cell;

use anyhow::{Context as _, Result, bail};
use hfs_protocol::proto::task::InputSplit;
use memchr::{memchr, memchr_iter, memrchr};
use prost::Message;

use super::pack::{Piece, pack};
use super::{BatchReader, InputFormat, ReadCounts, SplitContext};
use crate::conf::{self, Conf};
use crate::files::{FileInfo, Files, InputFile, MappedPart};

/// Bytes of a batch: small enough that a mapper finds it in the cache.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of one read where a file can't be mapped.
const READ_BYTES: u64 = 4 << 20;
/// Bytes of the first look ahead for the end of a line.
const LOOK_AHEAD_BYTES: usize = 64 << 10;
/// The longest line, unless configured.
const LINE_MAX_BYTES: u64 = 1 << 30;
/// Bytes of a split where files have no blocks.
const DEFAULT_SPLIT_BYTES: u64 = 128 << 20;
/// Bytes of a local run's split: larger than a cluster's, as nothing is gained by retrying less.
const LOCAL_SPLIT_BYTES: u64 = 512 << 20;
/// A local run cuts no smaller than this: below it a task costs more than it computes.
const LEAST_LOCAL_SPLIT_BYTES: u64 = 1 << 20;
/// The most file ranges that a split message may name.
const MAX_PIECES_IN_MESSAGE: usize = 1 << 20;

/// Reads text files line by line. Small files are packed into common splits.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextInput;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it begins in its file, bytes.
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

#[derive(Clone, PartialEq, Message)]
struct PieceMessage {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    length: u64,
    #[prost(bool, tag = "4")]
    at_line: bool,
}

#[derive(Clone, PartialEq, Message)]
struct SplitMessage {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceMessage>,
}

impl InputFormat for TextInput {
    type Record<'a> = Line<'a>;
    type Batch<'a> = Lines<'a>;
    type Reader = TextReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        let files = input_files(context)?;
        let least: u64 = context.conf.parsed_or(conf::SPLIT_MIN_BYTES, 1)?;
        let most: u64 = context.conf.parsed_or(conf::SPLIT_MAX_BYTES, u64::MAX)?;
        let total: u64 = files.iter().map(|file| file.length).sum();
        let unblocked = match context.parallelism {
            Some(tasks) => share(total, tasks.max(1) as u64),
            None => DEFAULT_SPLIT_BYTES,
        };
        let located = files
            .into_iter()
            .map(|file| {
                let hosts = context.files.block_hosts(&file)?;
                Ok((file, hosts))
            })
            .collect::<Result<Vec<_>>>()?;
        let split_bytes = |file: &FileInfo| {
            let natural = if file.block_bytes > 0 { file.block_bytes } else { unblocked };
            natural.min(most).max(least)
        };
        Ok(pack(&located, split_bytes).into_iter().map(|packed| message(&packed)).collect())
    }

    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<TextReader> {
        let message = SplitMessage::decode(&split.payload[..])
            .context("the split is not one of text files")?;
        if message.pieces.len() > MAX_PIECES_IN_MESSAGE {
            bail!("the split names {} file ranges, too many for one task", message.pieces.len());
        }
        let pieces = message.pieces.into_iter().map(|piece| Piece {
            path: piece.path,
            offset: piece.offset,
            length: piece.length,
            at_line: piece.at_line,
        });
        Ok(TextReader {
            files: files.clone(),
            line_max_bytes: conf.parsed_or(conf::LINE_MAX_BYTES, LINE_MAX_BYTES)?,
            pieces: pieces.collect(),
            next_piece: 0,
            current: None,
            split_bytes: split.length_bytes.max(1),
            done_bytes: 0,
            counts: ReadCounts::default(),
            position: Cell::new(0),
        })
    }
}

/// Equal shares for tasks that run at once, each between [`LEAST_LOCAL_SPLIT_BYTES`] and
/// [`LOCAL_SPLIT_BYTES`].
fn share(total: u64, tasks: u64) -> u64 {
    let rounds = total.div_ceil(LOCAL_SPLIT_BYTES * tasks).max(1);
    total.div_ceil(rounds * tasks).max(LEAST_LOCAL_SPLIT_BYTES)
}

/// Splits of text files with a number of lines each, the last one of a file with fewer (Hadoop's
/// `NLineInputFormat`). All files are read for it.
pub(crate) fn splits_by_lines(context: &SplitContext<'_>, lines: u64) -> Result<Vec<InputSplit>> {
    let mut splits = Vec::new();
    for file in input_files(context)? {
        let hosts = context.files.block_hosts(&file)?;
        let hosts: Vec<String> =
            hosts.into_iter().next().map(|block| block.hosts).unwrap_or_default();
        let open = context.files.open(&file.path)?;
        let mut cut = |from: u64, to: u64| {
            // A range owns a line that begins exactly at its end.
            let length = to - 1 - from;
            let piece = Piece { path: file.path.clone(), offset: from, length, at_line: true };
            splits
                .push(message(&super::pack::Packed { pieces: vec![piece], hosts: hosts.clone() }));
        };
        let (mut at, mut from, mut seen) = (0, 0, 0);
        let mut bytes = vec![0; READ_BYTES as usize];
        loop {
            let got = open.read_at(at, &mut bytes)?;
            if got == 0 {
                break;
            }
            for end in memchr_iter(b'\n', &bytes[..got]) {
                seen += 1;
                if seen == lines {
                    let next = at + end as u64 + 1;
                    cut(from, next);
                    (from, seen) = (next, 0);
                }
            }
            at += got as u64;
        }
        if from < at {
            cut(from, at);
        }
    }
    Ok(splits)
}

fn message(packed: &super::pack::Packed) -> InputSplit {
    let pieces = packed.pieces.iter().map(|piece| PieceMessage {
        path: piece.path.clone(),
        offset: piece.offset,
        length: piece.length,
        at_line: piece.at_line,
    });
    let description = match packed.pieces.as_slice() {
        [piece] => format!("{}:{}+{}", piece.path, piece.offset, piece.length),
        pieces => format!("{} files, the first {}", pieces.len(), pieces[0].path),
    };
    InputSplit {
        payload: SplitMessage { pieces: pieces.collect() }.encode_to_vec().into(),
        length_bytes: packed.bytes(),
        hosts: packed.hosts.clone(),
        description,
    }
}

/// The files that the input paths mean. Names that begin with `_` or `.` inside directories are
/// not input, as in Hadoop.
fn input_files(context: &SplitContext<'_>) -> Result<Vec<FileInfo>> {
    if context.inputs.is_empty() {
        bail!("the job has no input; give it a file or a directory");
    }
    let recursive: bool = context.conf.parsed_or(conf::INPUT_RECURSIVE, true)?;
    let mut found = Vec::new();
    for input in context.inputs {
        let mut open = context.files.glob(input)?;
        open.reverse();
        let mut depth_first = true;
        while let Some(info) = open.pop() {
            if !info.is_dir {
                found.push(info);
                continue;
            }
            if !recursive && !depth_first {
                bail!(
                    "the input {} is a directory inside a directory; allow that with -D {}=true",
                    info.path,
                    conf::INPUT_RECURSIVE
                );
            }
            depth_first = recursive;
            let mut entries = context.files.list(&info.path)?;
            entries.retain(|entry| !entry.name().starts_with(['_', '.']));
            open.extend(entries.into_iter().rev());
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    Ok(found)
}

/// Reads the lines of one split.
pub struct TextReader {
    files: Files,
    line_max_bytes: u64,
    pieces: Vec<Piece>,
    next_piece: usize,
    current: Option<PieceReader>,
    split_bytes: u64,
    /// Bytes of the pieces before the current one.
    done_bytes: u64,
    counts: ReadCounts,
    position: Cell<u64>,
}

/// Where a reader is in one file range.
struct PieceReader {
    path: String,
    file: InputFile,
    start: u64,
    end: u64,
    /// The next byte to give out.
    at: u64,
    window: Window,
}

/// Bytes of the file that are at hand.
enum Window {
    Empty,
    Mapped { from: u64, part: MappedPart },
    Read { from: u64, bytes: Vec<u8> },
}

impl Window {
    /// Where it ends in the file; `None` if it does not hold the byte `at`.
    fn end_if_holds(&self, at: u64) -> Option<u64> {
        let (from, bytes) = match self {
            Self::Empty => return None,
            Self::Mapped { from, part } => (*from, part.len()),
            Self::Read { from, bytes } => (*from, bytes.len()),
        };
        let end = from + bytes as u64;
        (from..end).contains(&at).then_some(end)
    }

    fn slice(&self, from: u64, to: u64) -> Result<&[u8]> {
        match self {
            Self::Empty => Ok(&[]),
            Self::Mapped { from: start, part } => {
                part.slice((from - start) as usize..(to - start) as usize)
            }
            Self::Read { from: start, bytes } => {
                Ok(&bytes[(from - start) as usize..(to - start) as usize])
            }
        }
    }
}

impl PieceReader {
    fn open(files: &Files, piece: &Piece, line_max_bytes: u64) -> Result<Self> {
        let file = files.open(&piece.path)?;
        let mut reader = Self {
            path: piece.path.clone(),
            start: piece.offset,
            end: (piece.offset + piece.length).min(file.len()),
            at: piece.offset,
            file,
            window: Window::Empty,
        };
        if reader.start > 0 && !piece.at_line {
            reader.at = reader.after_line(reader.start, line_max_bytes)?;
        }
        Ok(reader)
    }

    /// Where the line that holds the byte `at` ends, its line end included.
    fn after_line(&mut self, at: u64, line_max_bytes: u64) -> Result<u64> {
        let bytes = self.read_line(at, line_max_bytes)?;
        Ok(at + bytes.len() as u64)
    }

    /// The bytes from `at` to the end of their line, its line end included, wherever they lie.
    fn read_line(&self, at: u64, line_max_bytes: u64) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut step = LOOK_AHEAD_BYTES;
        loop {
            let have = line.len();
            line.resize(have + step, 0);
            let got = self.file.read_at(at + have as u64, &mut line[have..])?;
            line.truncate(have + got);
            if let Some(end) = memchr(b'\n', &line[have..]) {
                line.truncate(have + end + 1);
                return Ok(line);
            }
            if got < step {
                return Ok(line);
            }
            if line.len() as u64 > line_max_bytes {
                bail!(
                    "{} has a line of more than {line_max_bytes} bytes at byte {at}; allow longer \
                     ones with -D {}=BYTES",
                    self.path,
                    conf::LINE_MAX_BYTES
                );
            }
            step = line.len();
        }
    }

    /// Makes the byte at `self.at` and what follows it up to the range's end available.
    fn fill(&mut self) -> Result<u64> {
        if let Some(end) = self.window.end_if_holds(self.at) {
            return Ok(end);
        }
        let rest = self.end - self.at;
        if let Some(part) = self.file.map(self.at, rest)?
            && !part.is_empty()
        {
            self.window = Window::Mapped { from: self.at, part };
        } else {
            self.read(self.at, rest)?;
        }
        self.window
            .end_if_holds(self.at)
            .with_context(|| format!("{} has become shorter while it was read", self.path))
    }

    fn read(&mut self, at: u64, rest: u64) -> Result<()> {
        let mut bytes = match std::mem::replace(&mut self.window, Window::Empty) {
            Window::Read { bytes, .. } => bytes,
            _ => Vec::new(),
        };
        bytes.resize(rest.min(READ_BYTES) as usize, 0);
        let got = self.file.read_at(at, &mut bytes)?;
        bytes.truncate(got);
        self.window = Window::Read { from: at, bytes };
        Ok(())
    }

    /// Finds whole lines that are at hand from `self.at` on; says where they end. A line that goes
    /// beyond what is at hand is fetched whole.
    fn find_lines(&mut self, line_max_bytes: u64) -> Result<Option<u64>> {
        if self.at > self.end || self.at >= self.file.len() {
            return Ok(None);
        }
        if self.at < self.end {
            let window_end = self.fill()?;
            if let Some(end) = self.lines_in_window(window_end)? {
                return Ok(Some(end));
            }
        }
        let bytes = self.read_line(self.at, line_max_bytes)?;
        let end = self.at + bytes.len() as u64;
        self.window = Window::Read { from: self.at, bytes };
        Ok(Some(end))
    }

    fn lines_in_window(&mut self, window_end: u64) -> Result<Option<u64>> {
        let at = self.at;
        let target = (at + BATCH_BYTES as u64).min(window_end);
        let bytes = match self.window.slice(at, target) {
            Ok(bytes) => bytes,
            // The mapped replica is damaged here: read the bytes, from another one if need be.
            Err(_) if matches!(self.window, Window::Mapped { .. }) => {
                self.read(at, (target - at).max(1))?;
                let read_end = self.window.end_if_holds(at).unwrap_or(at);
                return self.lines_in_window(read_end);
            }
            Err(error) => return Err(error),
        };
        if target == self.file.len() {
            return Ok(Some(target));
        }
        Ok(memrchr(b'\n', bytes).map(|last| at + last as u64 + 1))
    }
}

impl TextReader {
    /// Finds the next lines: where they begin and end in the current file.
    fn find(&mut self) -> Result<Option<(u64, u64)>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(end) = current.find_lines(self.line_max_bytes)? {
                    return Ok(Some((std::mem::replace(&mut current.at, end), end)));
                }
                self.done_bytes += current.end - current.start;
                self.current = None;
            }
            let Some(piece) = self.pieces.get(self.next_piece) else { return Ok(None) };
            self.next_piece += 1;
            self.position.set(piece.offset);
            self.current = Some(PieceReader::open(&self.files, piece, self.line_max_bytes)?);
        }
    }
}

impl BatchReader<TextInput> for TextReader {
    fn next_batch(&mut self) -> Result<Option<Lines<'_>>> {
        let Some((from, to)) = self.find()? else { return Ok(None) };
        let Some(current) = &self.current else { return Ok(None) };
        let bytes = current.window.slice(from, to)?;
        let unended = bytes.last().is_some_and(|&byte| byte != b'\n');
        self.counts.records += memchr_iter(b'\n', bytes).count() as u64 + u64::from(unended);
        self.counts.bytes += bytes.len() as u64;
        self.position.set(from);
        let file = FileRange {
            path: &current.path,
            start: current.start,
            length: current.end - current.start,
        };
        Ok(Some(Lines { file, offset: from, bytes, position: &self.position }))
    }

    fn fraction(&self) -> f64 {
        let current = self.current.as_ref().map_or(0, |c| c.at.saturating_sub(c.start));
        ((self.done_bytes + current) as f64 / self.split_bytes as f64).min(1.0)
    }

    fn position(&self) -> String {
        match (&self.current, self.pieces.get(self.next_piece.saturating_sub(1))) {
            (Some(current), _) => format!("{}, at byte {}", current.path, self.position.get()),
            (None, Some(piece)) => format!("{}, at byte {}", piece.path, self.position.get()),
            (None, None) => "the start of the split".to_owned(),
        }
    }

    fn take_counts(&mut self) -> ReadCounts {
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
