//! Readers of packets, blocking for datanodes and async for clients.
//!
//! The blocking one keeps every packet in one reusable buffer, so that a datanode receives,
//! verifies, writes and forwards the very same bytes. Both read what the packet still lacks and
//! the next packet's header in one go: a stream of large packets costs one or two reads each.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::transfer::packet::{PacketHeader, PacketLayout, RESERVE_BYTES};

/// What a reader asks the stream for when it knows nothing of the next packet.
const FIRST_READ_BYTES: usize = 64 * 1024;

/// A packet in its reader's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    layout: PacketLayout,
}

impl<'a> Packet<'a> {
    /// The decoded header.
    #[must_use]
    pub fn header(&self) -> PacketHeader {
        self.layout.header
    }

    /// The checksums, 4 bytes each.
    #[must_use]
    pub fn checksums(&self) -> &'a [u8] {
        &self.bytes[self.layout.checksums_at..self.layout.data_at]
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        &self.bytes[self.layout.data_at..]
    }

    /// The packet as it came, lengths and header included: what is forwarded.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Reads packets from a blocking stream into one reusable buffer.
#[derive(Debug)]
pub struct PacketReader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Where the next packet begins.
    start: usize,
    /// Where the bytes read so far end.
    filled: usize,
}

impl<R: Read> PacketReader<R> {
    /// A reader of `stream`.
    pub fn new(stream: R) -> Self {
        Self::with_leftover(stream, &[])
    }

    /// A reader of a stream from which `leftover` has already been read.
    pub fn with_leftover(stream: R, leftover: &[u8]) -> Self {
        Self { stream, buffer: leftover.to_vec(), start: 0, filled: leftover.len() }
    }

    /// The next packet, valid until the next call; `None` when the peer closed between packets.
    ///
    /// # Errors
    /// `UnexpectedEof` inside a packet; `InvalidData` with a
    /// [`PacketError`](crate::transfer::packet::PacketError) inside; what the stream fails with.
    pub fn next_packet(&mut self) -> io::Result<Option<Packet<'_>>> {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        let mut layout = None;
        loop {
            if layout.is_none() {
                layout = PacketLayout::parse(&self.buffer[..self.filled])?;
            }
            if let Some(layout) = layout
                && self.filled >= layout.total
            {
                self.start = layout.total;
                return Ok(Some(Packet { bytes: &self.buffer[..layout.total], layout }));
            }
            let wanted = layout
                .map_or(self.filled + FIRST_READ_BYTES, |layout| layout.total + RESERVE_BYTES);
            if !self.fill(wanted)? {
                if self.filled == 0 {
                    return Ok(None);
                }
                return Err(inside_a_packet(self.filled));
            }
        }
    }

    /// Reads once, up to the position `wanted`. The buffer doubles as bytes arrive rather than
    /// jumping to a claimed length. `false` at the stream's end.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.filled == self.buffer.len() {
            let doubled = (self.buffer.len() * 2).max(FIRST_READ_BYTES);
            self.buffer.resize(doubled.min(wanted), 0);
        }
        let end = self.buffer.len().min(wanted);
        loop {
            match self.stream.read(&mut self.buffer[self.filled..end]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.filled += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The stream, to set its timeouts or to answer on it.
    pub fn stream(&self) -> &R {
        &self.stream
    }

    /// The stream, mutably.
    pub fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The stream, and what was read from it beyond the last packet.
    pub fn into_parts(self) -> (R, Vec<u8>) {
        let Self { stream, mut buffer, start, filled } = self;
        buffer.truncate(filled);
        buffer.drain(..start);
        (stream, buffer)
    }
}

/// A packet that owns its bytes without having copied them.
#[derive(Debug, Clone)]
pub struct OwnedPacket {
    /// The decoded header.
    pub header: PacketHeader,
    /// The checksums, 4 bytes each.
    pub checksums: Bytes,
    /// The data.
    pub data: Bytes,
}

/// Reads packets from an async stream; each owns its bytes.
#[derive(Debug)]
pub struct AsyncPacketReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> AsyncPacketReader<R> {
    /// A reader of `stream`.
    pub fn new(stream: R) -> Self {
        Self::with_leftover(stream, BytesMut::new())
    }

    /// A reader of a stream from which `leftover` has already been read.
    pub fn with_leftover(stream: R, leftover: BytesMut) -> Self {
        Self { stream, buffer: leftover }
    }

    /// The next packet; `None` when the peer closed between packets. Cancel safe: what has been
    /// read stays in the buffer.
    ///
    /// # Errors
    /// As [`PacketReader::next_packet`].
    pub async fn next_packet(&mut self) -> io::Result<Option<OwnedPacket>> {
        let mut layout = None;
        loop {
            if layout.is_none() {
                layout = PacketLayout::parse(&self.buffer)?;
            }
            if let Some(layout) = layout
                && self.buffer.len() >= layout.total
            {
                let mut bytes = self.buffer.split_to(layout.total).freeze();
                let data = bytes.split_off(layout.data_at);
                let checksums = bytes.split_off(layout.checksums_at);
                return Ok(Some(OwnedPacket { header: layout.header, checksums, data }));
            }
            let lacking = layout.map_or(FIRST_READ_BYTES, |layout| {
                layout.total + RESERVE_BYTES - self.buffer.len()
            });
            // The packet's allocation grows with what has arrived, at most doubling.
            let step = lacking.min(self.buffer.len().max(FIRST_READ_BYTES));
            self.buffer.reserve(step);
            let mut window = (&mut self.stream).take(lacking as u64);
            if window.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(inside_a_packet(self.buffer.len()));
            }
        }
    }

    /// The stream, mutably.
    pub fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The stream, and what was read from it beyond the last packet.
    pub fn into_parts(self) -> (R, BytesMut) {
        (self.stream, self.buffer)
    }
}

fn inside_a_packet(bytes: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the stream ended {bytes} bytes into a packet"),
    )
}

#[cfg(test)]
mod tests;
