//! The lines of a compressed text file, or of a range of one that can be split.

use anyhow::Result;
use memchr::{memchr, memrchr};

use super::file_splits::Piece;
use super::plain_lines::BATCH_BYTES;
use super::text::LineLimit;
use crate::compress::{Codec, Decoder};
use crate::files::InputFile;

/// Finds the lines that one range of a file owns. Offsets count decompressed bytes, from the first byte
/// that the range owns.
pub(super) struct CompressedLines {
    decoder: Decoder,
    start: u64,
    length: u64,
    /// Decompressed bytes, the front of which may have been given out.
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been given out.
    used: usize,
    /// No line ends before this byte of the buffer.
    searched: usize,
    /// The offset of the buffer's first byte.
    base: u64,
    at_end: bool,
    /// Where the decoder was when it was last asked.
    counted: u64,
}

impl CompressedLines {
    pub(super) fn open(codec: Codec, path: &str, file: InputFile, piece: &Piece) -> Result<Self> {
        let end = piece.start + piece.length;
        let mut lines = Self {
            decoder: Decoder::new(codec, path, file, piece.start, end),
            start: piece.start,
            length: piece.length,
            buffer: Vec::new(),
            used: 0,
            searched: 0,
            base: 0,
            at_end: false,
            counted: piece.start,
        };
        // The range before this one owns the line that goes on here, or begins here.
        if piece.start > 0 {
            lines.skip_line()?;
        }
        Ok(lines)
    }

    /// The offset of the next byte to give out.
    fn at(&self) -> u64 {
        self.base + self.used as u64
    }

    /// Whether all lines have been given out that begin in the range or right behind it.
    fn is_done(&self) -> bool {
        self.decoder.owned().is_some_and(|owned| self.at() > owned)
    }

    fn decode_more(&mut self) -> Result<()> {
        // What was given out makes room; what is left is less than a line.
        self.buffer.drain(..self.used);
        self.base += self.used as u64;
        self.searched = self.searched.saturating_sub(self.used);
        self.used = 0;
        self.at_end = !self.decoder.decode(&mut self.buffer)?;
        Ok(())
    }

    /// Goes behind the next line end. Takes no memory for the line.
    fn skip_line(&mut self) -> Result<()> {
        while self.decoder.owned() != Some(0) {
            if let Some(end) = memchr(b'\n', &self.buffer[self.used..]) {
                self.used += end + 1;
                self.searched = self.used;
                return Ok(());
            }
            self.used = self.buffer.len();
            self.searched = self.used;
            if self.at_end {
                return Ok(());
            }
            self.decode_more()?;
        }
        // There is no block in the range.
        self.at_end = true;
        Ok(())
    }

    /// Finds the next whole lines: where they begin and end.
    pub(super) fn find(&mut self, limit: LineLimit<'_>) -> Result<Option<(u64, u64)>> {
        while !self.is_done() {
            if let Some(end) = self.lines_at_hand() {
                let from = self.at();
                self.used = end;
                self.searched = end;
                return Ok(Some((from, self.at())));
            }
            let rest = self.buffer.len() - self.used;
            if self.at_end {
                let from = self.at();
                self.used = self.buffer.len();
                return Ok((rest > 0).then(|| (from, self.at())));
            }
            self.searched = self.buffer.len();
            if rest as u64 > limit.bytes {
                limit.exceeded(self.decoder.path(), self.at())?;
                self.skip_line()?;
            } else {
                self.decode_more()?;
            }
        }
        Ok(None)
    }

    /// The end, in the buffer, of whole lines that begin in the range or right behind it.
    fn lines_at_hand(&self) -> Option<usize> {
        let until = match self.decoder.owned() {
            None => self.buffer.len(),
            Some(owned) => {
                let owned = usize::try_from(owned.saturating_sub(self.base)).unwrap_or(usize::MAX);
                if owned <= self.used
                    || memrchr(b'\n', self.buffer.get(self.used..owned)?).is_none()
                {
                    // One more line, the last: it begins before the range's end or at it.
                    let from = self.searched.max(owned).min(self.buffer.len());
                    return memchr(b'\n', &self.buffer[from..]).map(|end| from + end + 1);
                }
                owned
            }
        };
        let batch = self.buffer.len().min(until).min(self.used + BATCH_BYTES);
        if let Some(last) = memrchr(b'\n', &self.buffer[self.used..batch]) {
            return Some(self.used + last + 1);
        }
        // A line that is longer than a batch.
        let from = self.searched.max(batch);
        memchr(b'\n', &self.buffer[from..]).map(|end| from + end + 1)
    }

    /// Bytes that [`CompressedLines::find`] has found last.
    pub(super) fn slice(&self, from: u64, to: u64) -> &[u8] {
        &self.buffer[(from - self.base) as usize..(to - self.base) as usize]
    }

    /// Compressed bytes of the range that have been read.
    pub(super) fn done(&self) -> u64 {
        self.decoder.position().saturating_sub(self.start).min(self.length)
    }

    /// Compressed bytes of the range.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Compressed bytes read since the last call.
    pub(super) fn take_read(&mut self) -> u64 {
        let position = self.decoder.position();
        position - std::mem::replace(&mut self.counted, position)
    }
}
