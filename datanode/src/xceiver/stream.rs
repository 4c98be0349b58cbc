//! A replica as a stream of packets: what a read and a copy send.

use std::io::{self, Write};
use std::net::TcpStream;

use hfs_protocol::transfer::checksum::{ChecksumType, DataChecksum};
use hfs_protocol::transfer::packet::PacketHeader;

use super::socket::{send_file, send_more};
use crate::store::reader::ReplicaReader;

/// Data bytes of a packet. Large, so that the system calls of a packet are few per byte.
const PACKET_DATA_BYTES: u64 = 1 << 20;

/// Ranges up to this size are sent with one write from one buffer: two reads and a write are
/// cheaper than the calls that sending from the file takes.
const SMALL_RANGE_BYTES: u64 = 64 * 1024;

/// The largest chunk that fits into a packet with room to spare.
pub const CHUNK_BYTES_MAX: u32 = 8 << 20;

/// A range of a replica, widened to whole chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRange {
    /// A chunk's start.
    pub start: u64,
    /// A chunk's end, or the replica's.
    pub end: u64,
}

impl ChunkRange {
    /// The chunks that `[offset, offset + len)` touches in a replica of `available` bytes; `None`
    /// if the range reaches beyond `visible` bytes.
    #[must_use]
    pub fn covering(
        checksum: DataChecksum,
        offset: u64,
        len: u64,
        visible: u64,
        available: u64,
    ) -> Option<Self> {
        let end = offset.checked_add(len).filter(|end| *end <= visible)?;
        let bpc = u64::from(checksum.bytes_per_checksum());
        let whole = end.checked_next_multiple_of(bpc).unwrap_or(available);
        Some(Self { start: checksum.chunk_start(offset), end: whole.min(available) })
    }
}

/// Sends `preamble`, the packets of `range` and the empty packet that ends them. Answers how many
/// bytes of data went out.
///
/// # Errors
/// What the socket or the disk fails with; the connection must then be closed.
pub fn send_packets(
    stream: &TcpStream,
    reader: &ReplicaReader,
    range: ChunkRange,
    checksums: bool,
    preamble: Vec<u8>,
) -> io::Result<u64> {
    let checksum = reader.checksum();
    let summed = checksums && checksum.checksum_type != ChecksumType::Null;
    let bpc = u64::from(checksum.bytes_per_checksum());
    let step = (PACKET_DATA_BYTES / bpc).max(1) * bpc;
    let small = range.end - range.start <= SMALL_RANGE_BYTES;
    let mut out = preamble;
    let mut sums = Vec::new();
    let mut position = range.start;
    let mut seqno = 0;
    while position < range.end {
        let len = step.min(range.end - position);
        if summed {
            reader.checksums(position, len, &mut sums).map_err(io::Error::other)?;
        }
        let header = PacketHeader {
            offset_in_block: position,
            seqno,
            last_packet_in_block: false,
            data_len: len as u32,
            sync_block: false,
        };
        let (bytes, used) = header.encode(sums.len());
        out.extend_from_slice(&bytes[..used]);
        out.extend_from_slice(&sums);
        if small {
            let data =
                reader.files().read_data(position, len as usize).map_err(io::Error::other)?;
            out.extend_from_slice(&data);
        } else {
            send_more(stream, &out)?;
            out.clear();
            send_file(stream, &reader.files().data, position, len)?;
        }
        position += len;
        seqno += 1;
    }
    let trailer = PacketHeader {
        offset_in_block: position,
        seqno,
        last_packet_in_block: true,
        data_len: 0,
        sync_block: false,
    };
    out.extend_from_slice(&trailer.encode_empty());
    let mut stream = stream;
    stream.write_all(&out)?;
    Ok(range.end - range.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_to_chunks_but_not_beyond_the_replica() {
        let checksum = DataChecksum::default();
        let covering = |offset, len| ChunkRange::covering(checksum, offset, len, 1300, 1400);
        assert_eq!(covering(0, 1300), Some(ChunkRange { start: 0, end: 1400 }));
        assert_eq!(covering(513, 1), Some(ChunkRange { start: 512, end: 1024 }));
        assert_eq!(covering(1300, 0), Some(ChunkRange { start: 1024, end: 1400 }));
        assert_eq!(covering(0, 1301), None);
        assert_eq!(covering(u64::MAX, 2), None);
    }
}
