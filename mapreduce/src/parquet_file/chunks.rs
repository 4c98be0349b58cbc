//! A job's file as the Parquet library reads it.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::files::InputFile;

/// Bytes read at once where the library does not say how many it wants.
const READ_BYTES: usize = 64 << 10;

/// A file whose ranges are read. Clones count the bytes together.
#[derive(Clone)]
pub(super) struct Chunks {
    file: Arc<Mutex<InputFile>>,
    length: u64,
    /// Bytes read so far.
    pub(super) read: Arc<AtomicU64>,
}

impl Chunks {
    pub(super) fn new(file: InputFile) -> Self {
        let length = file.len();
        Self { file: Arc::new(Mutex::new(file)), length, read: Arc::default() }
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.lock().read_at(position, buffer).map_err(io::Error::other)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<At>;

    fn get_read(&self, start: u64) -> Result<BufReader<At>> {
        let at = At { chunks: self.clone(), position: start };
        Ok(BufReader::with_capacity(READ_BYTES, at))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        // What a damaged footer says is no reason to take memory for it.
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at byte {start} of a file of {} bytes",
                self.length
            )));
        }
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let read = self.read_at(start + filled as u64, &mut bytes[filled..])?;
            if read == 0 {
                let what = format!("the file ends before byte {}", start + length as u64);
                return Err(ParquetError::EOF(what));
            }
            filled += read;
        }
        Ok(bytes.into())
    }
}

/// Reads on from a place.
pub(super) struct At {
    chunks: Chunks,
    position: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.chunks.read_at(self.position, buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}
