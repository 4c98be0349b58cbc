//! Builds packets in place: data is put where it will be sent from, and checksums and header are
//! written in front of it at the end, so that one write sends the packet and nothing is copied.
//!
//! ```text
//! | 33 bytes reserved | room for checksums        | data ...      free |
//!                  | header | checksums |  data     |
//!                  ^ the packet, contiguous, once finished
//! ```

use crate::transfer::checksum::DataChecksum;
use crate::transfer::packet::{
    HEADER_BYTES_MAX, MAX_PACKET_BYTES, PREFIX_BYTES, PacketHeader, RESERVE_BYTES,
};

/// One packet under construction; reusable.
#[derive(Debug, Clone)]
pub struct PacketBuffer {
    checksum: DataChecksum,
    buffer: Vec<u8>,
    data_at: usize,
    data_len: usize,
    data_max: usize,
    packet_at: usize,
    packet_end: usize,
}

impl PacketBuffer {
    /// A packet with room for `data_max` bytes of data, and its checksums.
    ///
    /// # Panics
    /// When such a packet would exceed [`MAX_PACKET_BYTES`], or `data_max` is 0.
    #[must_use]
    pub fn new(checksum: DataChecksum, data_max: usize) -> Self {
        assert!(data_max > 0, "a packet buffer holds data");
        let sums_max = checksum.sums_len(data_max);
        assert!(4 + sums_max + data_max <= MAX_PACKET_BYTES, "{data_max} bytes of data");
        let data_at = RESERVE_BYTES + sums_max;
        Self {
            checksum,
            buffer: vec![0; data_at + data_max],
            data_at,
            data_len: 0,
            data_max,
            packet_at: data_at,
            packet_end: data_at,
        }
    }

    /// The most data, a multiple of the chunk, that fits a packet of `packet_bytes` in all (HDFS
    /// `dfs.client-write-packet-size`); at least one chunk.
    #[must_use]
    pub fn data_max_for(checksum: DataChecksum, packet_bytes: usize) -> usize {
        let payload = packet_bytes.min(MAX_PACKET_BYTES).saturating_sub(RESERVE_BYTES);
        let chunks = payload / (checksum.chunk_len() + checksum.checksum_size());
        chunks.max(1) * checksum.chunk_len()
    }

    /// Empties the packet and limits the next one's data to `limit` bytes at most: the rest of a
    /// partial chunk for the first packet of an append, or the rest of a block.
    pub fn reset(&mut self, limit: usize) {
        self.data_len = 0;
        self.data_max = limit.min(self.buffer.len() - self.data_at);
        self.packet_at = self.data_at;
        self.packet_end = self.data_at;
    }

    /// Copies as much of `data` as fits; how much that was.
    pub fn push(&mut self, data: &[u8]) -> usize {
        let taken = data.len().min(self.data_max - self.data_len);
        let at = self.data_at + self.data_len;
        self.buffer[at..at + taken].copy_from_slice(&data[..taken]);
        self.data_len += taken;
        taken
    }

    /// The free room, to read into directly; then say how much with [`advance`](Self::advance).
    pub fn spare(&mut self) -> &mut [u8] {
        let at = self.data_at + self.data_len;
        &mut self.buffer[at..self.data_at + self.data_max]
    }

    /// Counts `len` bytes that were put into the [`spare`](Self::spare) room.
    ///
    /// # Panics
    /// When there was less room.
    pub fn advance(&mut self, len: usize) {
        assert!(len <= self.data_max - self.data_len, "more bytes than the packet has room for");
        self.data_len += len;
    }

    /// The data so far.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.data_at..self.data_at + self.data_len]
    }

    /// Bytes of data so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data_len
    }

    /// Whether there is no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data_len == 0
    }

    /// Whether no more data fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.data_len == self.data_max
    }

    /// Writes checksums and header in front of the data and gives the packet's bytes.
    pub fn finish(&mut self, offset_in_block: u64, seqno: i64, last: bool, sync: bool) -> &[u8] {
        let sums_len = self.checksum.sums_len(self.data_len);
        let sums_at = self.data_at - sums_len;
        let (front, data) = self.buffer.split_at_mut(self.data_at);
        self.checksum.compute_chunks(&data[..self.data_len], &mut front[sums_at..]);
        let header = PacketHeader {
            offset_in_block,
            seqno,
            last_packet_in_block: last,
            data_len: self.data_len as u32,
            sync_block: sync,
        };
        let (bytes, used) = header.encode(sums_len);
        self.packet_at = sums_at - used;
        self.packet_end = self.data_at + self.data_len;
        self.buffer[self.packet_at..sums_at].copy_from_slice(&bytes[..used]);
        self.packet()
    }

    /// The finished packet's bytes, for sending it again; empty before
    /// [`finish`](Self::finish).
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        &self.buffer[self.packet_at..self.packet_end]
    }
}

const _: () = assert!(RESERVE_BYTES == PREFIX_BYTES + HEADER_BYTES_MAX);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::hex;
    use crate::transfer::packet::PacketLayout;

    #[test]
    fn a_packet_has_the_known_bytes() {
        let mut buffer = PacketBuffer::new(DataChecksum::default(), 64 * 1024);
        assert_eq!(buffer.push(b"hello\n"), 6);
        assert_eq!(
            buffer.finish(0, 0, false, false),
            hex("0000000e 0019 09 0000000000000000 11 0000000000000000 1800 2506000000 353dd8be \
                 68656c6c6f0a")
        );
    }

    #[test]
    fn a_buffer_is_filled_in_place_and_used_again() {
        let checksum = DataChecksum::default();
        let mut buffer = PacketBuffer::new(checksum, 2048);
        buffer.spare()[..1500].fill(7);
        buffer.advance(1500);
        assert_eq!(buffer.push(&[8; 1000]), 548);
        assert!(buffer.is_full());
        let bytes = buffer.finish(512, 3, false, true).to_vec();
        let layout = PacketLayout::parse(&bytes).unwrap().unwrap();
        assert_eq!(layout.header.data_len, 2048);
        let sums = &bytes[layout.checksums_at..layout.data_at];
        assert_eq!(checksum.verify_chunks(&bytes[layout.data_at..], sums, 512), Ok(()));
        buffer.reset(100);
        assert!(buffer.packet().is_empty());
        assert_eq!(buffer.push(&[1; 200]), 100);
        assert_eq!(buffer.finish(2560, 4, false, false).len(), 6 + 25 + 4 + 100);
    }

    #[test]
    fn the_usual_packet_size_holds_the_usual_data() {
        assert_eq!(PacketBuffer::data_max_for(DataChecksum::default(), 65536), 126 * 512);
        assert_eq!(PacketBuffer::data_max_for(DataChecksum::default(), 10), 512);
    }
}
