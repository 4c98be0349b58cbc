//! Bytes in memory.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Storage, closed};

/// A file that lives as long as its clones: open, write, drop, and open a clone again to play a restart.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Outlives this opening.
    bytes: Arc<Mutex<Vec<u8>>>,
    /// This opening only.
    closed: Arc<Mutex<bool>>,
}

impl Memory {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes)), closed: Arc::default() }
    }

    /// Opens the same file again.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { bytes: Arc::clone(&self.bytes), closed: Arc::default() }
    }

    /// The file's bytes now.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().clone()
    }

    fn with<T>(&self, operation: impl FnOnce(&mut Vec<u8>) -> io::Result<T>) -> io::Result<T> {
        if *self.closed.lock() {
            return Err(closed());
        }
        operation(&mut self.bytes.lock())
    }
}

/// Offsets in memory fit a `usize` or the disk is full.
pub(super) fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull.into())
}

/// Writes `data` at `start`, filling a hole with zeros.
pub(super) fn overlay(bytes: &mut Vec<u8>, start: usize, data: &[u8]) -> io::Result<()> {
    let end = start.checked_add(data.len()).ok_or(io::ErrorKind::StorageFull)?;
    if bytes.len() < end && !data.is_empty() {
        bytes.resize(end, 0);
    }
    if !data.is_empty() {
        bytes[start..end].copy_from_slice(data);
    }
    Ok(())
}

impl Storage for Memory {
    fn len(&self) -> io::Result<u64> {
        self.with(|bytes| Ok(bytes.len() as u64))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|bytes| {
            let start = index(offset)?.min(bytes.len());
            let n = into.len().min(bytes.len() - start);
            into[..n].copy_from_slice(&bytes[start..start + n]);
            Ok(n)
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|bytes| overlay(bytes, index(offset)?, data))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(|bytes| {
            bytes.resize(index(length)?, 0);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|_| Ok(()))
    }

    fn close(&self) -> io::Result<()> {
        self.with(|_| Ok(()))?;
        *self.closed.lock() = true;
        Ok(())
    }
}
