//! Buffers that are used again: a fresh megabyte costs a page fault for every 4 KiB of it, which
//! is more than the checksum of the same bytes.

use std::sync::Arc;

use parking_lot::Mutex;

/// Buffers kept for the next packet.
const FREE_MAX: usize = 8;
/// A buffer larger than this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Free packet buffers of a file system's readers.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    pub(crate) fn take(&self) -> Vec<u8> {
        self.free.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock();
        if free.len() < FREE_MAX && buffer.len() <= KEPT_BYTES_MAX {
            free.push(buffer);
        }
    }
}

/// A buffer that goes back to its pool when the last reference to its bytes is dropped.
pub(crate) struct Pooled {
    buffer: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl Pooled {
    pub(crate) fn new(buffer: Vec<u8>, pool: Arc<BufferPool>) -> Self {
        Self { buffer, pool }
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}
