//! The lines of a range of a plain text file.

use anyhow::{Context as _, Result};
use memchr::{memchr, memrchr};

use super::file_splits::Piece;
use super::text::LineLimit;
use crate::files::{InputFile, MappedPart};

/// Bytes of a batch: small enough that a mapper finds it in the cache.
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// Bytes of one read where a file can't be mapped.
const READ_BYTES: u64 = 4 << 20;
/// Bytes of the first look ahead for the end of a line.
pub(super) const LOOK_AHEAD_BYTES: usize = 64 << 10;
/// Bytes of one read while the end of a line is looked for that nobody wants.
const SKIP_BYTES: usize = 1 << 20;

/// Finds the lines that one range of a file owns.
pub(super) struct PlainLines {
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

impl PlainLines {
    /// Finds the lines of a range. `at_line`: a line is known to begin where it does.
    pub(super) fn open(path: &str, file: InputFile, piece: &Piece, at_line: bool) -> Result<Self> {
        let mut lines = Self {
            path: path.to_owned(),
            start: piece.start,
            end: (piece.start + piece.length).min(file.len()),
            at: piece.start,
            file,
            window: Window::Empty,
        };
        if lines.start > 0 && !at_line {
            lines.at = lines.after_line(lines.start)?;
        }
        Ok(lines)
    }

    /// Where the line that holds the byte `at` ends, its line end included. Takes no memory for it.
    fn after_line(&self, mut at: u64) -> Result<u64> {
        let mut bytes = vec![0; LOOK_AHEAD_BYTES];
        loop {
            let got = self.file.read_at(at, &mut bytes)?;
            if let Some(end) = memchr(b'\n', &bytes[..got]) {
                return Ok(at + end as u64 + 1);
            }
            at += got as u64;
            if got < bytes.len() {
                return Ok(at);
            }
            bytes.resize(SKIP_BYTES, 0);
        }
    }

    /// The bytes from `at` to the end of their line, its line end included, wherever they lie; `None`
    /// for a line that is too long.
    fn read_line(&self, at: u64, limit: LineLimit<'_>) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut step = LOOK_AHEAD_BYTES;
        loop {
            let have = line.len();
            line.resize(have + step, 0);
            let got = self.file.read_at(at + have as u64, &mut line[have..])?;
            line.truncate(have + got);
            if let Some(end) = memchr(b'\n', &line[have..]) {
                line.truncate(have + end + 1);
                return Ok(Some(line));
            }
            if got < step {
                return Ok(Some(line));
            }
            if line.len() as u64 > limit.bytes {
                return Ok(None);
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

    /// Finds the next whole lines: where they begin and end. They are those at hand, or one that goes
    /// beyond what is at hand.
    pub(super) fn find(&mut self, limit: LineLimit<'_>) -> Result<Option<(u64, u64)>> {
        while self.at <= self.end && self.at < self.file.len() {
            let from = self.at;
            if from < self.end {
                let window_end = self.fill()?;
                if let Some(end) = self.lines_in_window(window_end)? {
                    self.at = end;
                    return Ok(Some((from, end)));
                }
            }
            if let Some(bytes) = self.read_line(from, limit)? {
                self.at = from + bytes.len() as u64;
                self.window = Window::Read { from, bytes };
                return Ok(Some((from, self.at)));
            }
            limit.exceeded(&self.path, from)?;
            self.at = self.after_line(from)?;
        }
        Ok(None)
    }

    /// Bytes that [`PlainLines::find`] has found last.
    pub(super) fn slice(&self, from: u64, to: u64) -> Result<&[u8]> {
        self.window.slice(from, to)
    }

    /// Bytes of the range that have been given out.
    pub(super) fn done(&self) -> u64 {
        self.at.saturating_sub(self.start)
    }

    /// Bytes of the range.
    pub(super) fn length(&self) -> u64 {
        self.end - self.start
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
