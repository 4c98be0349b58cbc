//! Packets: the unit in which block bytes stream, in both directions (HDFS `PacketHeader`).
//!
//! ```text
//! 0      4      6          6+HLEN         6+HLEN+c            6+HLEN+c+d
//! | PLEN | HLEN | header   | checksums    | data              |
//!   u32    u16    protobuf   4 bytes/chunk  header.dataLen bytes
//!
//! PLEN = 4 + c + d   (counts itself, not HLEN nor the header)
//! ```
//! All integers outside the header are big-endian. The header's fields have fixed width, so it is
//! 25 bytes long, or 27 with `syncBlock`; a reader goes by HLEN.

use std::io;

/// PLEN and HLEN.
pub const PREFIX_BYTES: usize = 6;

/// The longest header this side writes: with `syncBlock`.
pub const HEADER_BYTES_MAX: usize = 27;

/// What a packet's builder leaves free before the checksums (HDFS `PKT_MAX_HEADER_LEN`).
pub const RESERVE_BYTES: usize = PREFIX_BYTES + HEADER_BYTES_MAX;

/// The longest header accepted from a peer, bytes. Unknown fields may make it longer than ours.
pub const HEADER_BYTES_ACCEPTED: usize = 1024;

/// The largest PLEN accepted or sent (HDFS `dfs.data.transfer.max.packet.size`), bytes.
pub const MAX_PACKET_BYTES: usize = 16 * 1024 * 1024;

/// The sequence number of a packet that only keeps the connection alive.
pub const HEARTBEAT_SEQNO: i64 = -1;

/// What a packet is: where its data belongs and what the receiver should do after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHeader {
    /// Where the data begins, bytes from the start of the block.
    pub offset_in_block: u64,
    /// Counts the packets of a stream; [`HEARTBEAT_SEQNO`] for a heartbeat.
    pub seqno: i64,
    /// No packet follows; this one carries no data.
    pub last_packet_in_block: bool,
    /// Bytes of data.
    pub data_len: u32,
    /// The data must be on the disk before the ack.
    pub sync_block: bool,
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// PLEN is out of bounds.
    #[error("a packet of {0} bytes was announced; it must have between 4 and {MAX_PACKET_BYTES}")]
    Length(u32),
    /// HLEN is out of bounds.
    #[error("a packet header of {0} bytes was announced; at most {HEADER_BYTES_ACCEPTED} can be")]
    HeaderLength(u16),
    /// The header does not decode.
    #[error("a packet's header is bad: {0}")]
    Header(&'static str),
    /// PLEN has no room for the data the header announces.
    #[error("a packet of {packet} bytes can't hold the {data} bytes of data its header announces")]
    DataLength {
        /// PLEN.
        packet: u32,
        /// The header's `dataLen`.
        data: u32,
    },
}

impl From<PacketError> for io::Error {
    fn from(error: PacketError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl PacketHeader {
    /// The packet that keeps an idle write's connection alive.
    pub const HEARTBEAT: Self = Self {
        offset_in_block: 0,
        seqno: HEARTBEAT_SEQNO,
        last_packet_in_block: false,
        data_len: 0,
        sync_block: false,
    };

    /// Whether this packet only keeps the connection alive.
    #[must_use]
    pub const fn is_heartbeat(&self) -> bool {
        self.seqno == HEARTBEAT_SEQNO
    }

    /// The bytes of the encoded header: 25, or 27 with `syncBlock`.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        if self.sync_block { HEADER_BYTES_MAX } else { HEADER_BYTES_MAX - 2 }
    }

    /// PLEN, HLEN and the header: what precedes the checksums. The used length is
    /// `6 + encoded_len()`; the rest of the array is zero.
    ///
    /// # Panics
    /// When checksums and data together exceed [`MAX_PACKET_BYTES`]: no receiver would take it.
    #[must_use]
    pub fn encode(&self, checksum_bytes: usize) -> ([u8; RESERVE_BYTES], usize) {
        let packet_len = 4 + checksum_bytes + self.data_len as usize;
        assert!(packet_len <= MAX_PACKET_BYTES, "a packet of {packet_len} bytes was built");
        let mut out = [0u8; RESERVE_BYTES];
        out[..4].copy_from_slice(&(packet_len as u32).to_be_bytes());
        out[4..6].copy_from_slice(&(self.encoded_len() as u16).to_be_bytes());
        out[6] = 0x09;
        out[7..15].copy_from_slice(&self.offset_in_block.to_le_bytes());
        out[15] = 0x11;
        out[16..24].copy_from_slice(&self.seqno.to_le_bytes());
        out[24] = 0x18;
        out[25] = u8::from(self.last_packet_in_block);
        out[26] = 0x25;
        out[27..31].copy_from_slice(&self.data_len.to_le_bytes());
        if self.sync_block {
            out[31] = 0x28;
            out[32] = 1;
        }
        (out, PREFIX_BYTES + self.encoded_len())
    }

    /// A whole packet without checksums and data: a heartbeat, a sync or the last one of a block.
    ///
    /// # Panics
    /// When the header announces data.
    #[must_use]
    pub fn encode_empty(&self) -> Vec<u8> {
        assert_eq!(self.data_len, 0, "an empty packet announces no data");
        let (bytes, used) = self.encode(0);
        bytes[..used].to_vec()
    }

    /// Decodes a header (without PLEN and HLEN), its fields in any order; unknown ones are skipped.
    ///
    /// # Errors
    /// [`PacketError::Header`] when it is cut short, or a field is missing or of another type.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        const CUT: PacketError = PacketError::Header("it is cut short");
        let (mut offset, mut seqno, mut last, mut data_len) = (None, None, None, None);
        let mut sync_block = false;
        let mut rest = bytes;
        while let Some((&tag, after)) = rest.split_first() {
            rest = match tag {
                0x09 => {
                    let (value, after) = after.split_first_chunk::<8>().ok_or(CUT)?;
                    offset = Some(u64::from_le_bytes(*value));
                    after
                }
                0x11 => {
                    let (value, after) = after.split_first_chunk::<8>().ok_or(CUT)?;
                    seqno = Some(i64::from_le_bytes(*value));
                    after
                }
                0x18 => {
                    let (value, after) = after.split_first().ok_or(CUT)?;
                    last = Some(*value != 0);
                    after
                }
                0x25 => {
                    let (value, after) = after.split_first_chunk::<4>().ok_or(CUT)?;
                    data_len = Some(u32::from_le_bytes(*value));
                    after
                }
                0x28 => {
                    let (value, after) = after.split_first().ok_or(CUT)?;
                    sync_block = *value != 0;
                    after
                }
                _ => skip_field(rest)?,
            };
        }
        Ok(Self {
            offset_in_block: offset.ok_or(PacketError::Header("offsetInBlock is missing"))?,
            seqno: seqno.ok_or(PacketError::Header("seqno is missing"))?,
            last_packet_in_block: last
                .ok_or(PacketError::Header("lastPacketInBlock is missing"))?,
            data_len: data_len.ok_or(PacketError::Header("dataLen is missing"))?,
            sync_block,
        })
    }
}

/// Skips one protobuf field of a number this version does not know.
fn skip_field(bytes: &[u8]) -> Result<&[u8], PacketError> {
    const BAD: PacketError = PacketError::Header("a field is bad");
    let mut rest = bytes;
    let key = prost::encoding::decode_varint(&mut rest).map_err(|_| BAD)?;
    let length = match key & 7 {
        0 => {
            prost::encoding::decode_varint(&mut rest).map_err(|_| BAD)?;
            0
        }
        1 => 8,
        2 => prost::encoding::decode_varint(&mut rest).map_err(|_| BAD)?,
        5 => 4,
        _ => return Err(BAD),
    };
    usize::try_from(length).ok().and_then(|length| rest.get(length..)).ok_or(BAD)
}

/// Where a packet's parts lie, from its first bytes. Positions count from the packet's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketLayout {
    /// The decoded header.
    pub header: PacketHeader,
    /// Where the checksums begin.
    pub checksums_at: usize,
    /// Where the data begins.
    pub data_at: usize,
    /// The packet's whole length, PLEN and HLEN included.
    pub total: usize,
}

impl PacketLayout {
    /// Reads the layout of the packet that begins `bytes`, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`PacketError`] when a length is out of bounds or the header is bad.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, PacketError> {
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let packet_len = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
        if packet_len < 4 || packet_len as usize > MAX_PACKET_BYTES {
            return Err(PacketError::Length(packet_len));
        }
        let header_len = u16::from_be_bytes([prefix[4], prefix[5]]);
        if usize::from(header_len) > HEADER_BYTES_ACCEPTED {
            return Err(PacketError::HeaderLength(header_len));
        }
        let Some(header) = rest.get(..usize::from(header_len)) else { return Ok(None) };
        let header = PacketHeader::decode(header)?;
        let payload = packet_len - 4;
        let checksum_bytes = payload
            .checked_sub(header.data_len)
            .ok_or(PacketError::DataLength { packet: packet_len, data: header.data_len })?;
        let checksums_at = PREFIX_BYTES + usize::from(header_len);
        Ok(Some(Self {
            header,
            checksums_at,
            data_at: checksums_at + checksum_bytes as usize,
            total: checksums_at + payload as usize,
        }))
    }
}

#[cfg(test)]
mod tests;
