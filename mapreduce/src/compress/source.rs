//! The compressed bytes of a file, in order, with the place of each.

use std::io;

use anyhow::{Error, Result, anyhow};

use crate::files::InputFile;

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// A file that is read from front to back through a buffer.
pub(crate) struct Source {
    path: String,
    /// `None`: all there is lies in the buffer.
    file: Option<InputFile>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been consumed.
    used: usize,
    /// Where the buffer's first byte lies in the file.
    at: u64,
}

impl Source {
    /// Reads `file` from the byte `at` on.
    pub(crate) fn new(path: &str, file: InputFile, at: u64) -> Self {
        Self { path: path.to_owned(), file: Some(file), buffer: Vec::new(), used: 0, at }
    }

    /// Reads bytes that were taken from a file at the byte `at`.
    pub(crate) fn of_bytes(path: &str, bytes: Vec<u8>, at: u64) -> Self {
        Self { path: path.to_owned(), file: None, buffer: bytes, used: 0, at }
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where the next byte lies in the file.
    pub(crate) fn position(&self) -> u64 {
        self.at + self.used as u64
    }

    /// Bytes at hand; none only at the end of the file.
    pub(crate) fn fill(&mut self) -> Result<&[u8]> {
        self.ensure(1)
    }

    /// Bytes at hand, at least `count` of them unless the file ends before.
    pub(crate) fn ensure(&mut self, count: usize) -> Result<&[u8]> {
        while self.buffer.len() - self.used < count {
            let Some(file) = &self.file else { break };
            self.buffer.drain(..self.used);
            self.at += self.used as u64;
            self.used = 0;
            let have = self.buffer.len();
            self.buffer.resize(have + READ_BYTES.max(count - have), 0);
            let got = file.read_at(self.at + have as u64, &mut self.buffer[have..])?;
            self.buffer.truncate(have + got);
            if got == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.used..])
    }

    /// Exactly `count` bytes at hand; an error if the file ends before.
    pub(crate) fn exactly(&mut self, count: usize, what: &str) -> Result<&[u8]> {
        if self.ensure(count)?.len() < count {
            return Err(self.cut_short(what));
        }
        Ok(&self.buffer[self.used..self.used + count])
    }

    /// Goes on behind bytes that were at hand.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.buffer.len() - self.used);
        self.used += count;
    }

    /// Takes `N` bytes; an error if the file ends before.
    pub(crate) fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut taken = [0; N];
        taken.copy_from_slice(self.exactly(N, what)?);
        self.consume(N);
        Ok(taken)
    }

    /// Leaves out bytes; an error if the file ends before.
    pub(crate) fn skip(&mut self, mut count: u64, what: &str) -> Result<()> {
        while count > 0 {
            let step = count.min(READ_BYTES as u64) as usize;
            self.exactly(step, what)?;
            self.consume(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// The file ends before its data does.
    pub(crate) fn cut_short(&self, what: &str) -> Error {
        anyhow!(
            "{} ends at byte {} in the middle of its {what} data: the file was cut short; copy it again \
             from where it came from",
            self.path,
            self.file.as_ref().map_or(self.at + self.buffer.len() as u64, InputFile::len)
        )
    }

    /// The bytes at `at` are not what they should be.
    pub(crate) fn damaged(&self, at: u64, what: &str) -> Error {
        anyhow!(
            "{} is damaged at byte {at}: {what}; copy the file again from where it came from",
            self.path
        )
    }
}

impl io::Read for Source {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill().map_err(io::Error::other)?;
        let count = bytes.len().min(target.len());
        target[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
