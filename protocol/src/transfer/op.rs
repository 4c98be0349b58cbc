//! Operations: what a client asks of a datanode at the start of an exchange (HDFS `Op`, `Sender`
//! and `Receiver`).
//!
//! A request is a 16-bit version, an opcode and a delimited message; the reply is a delimited
//! [`BlockOpResponseProto`]. What follows depends on the operation.

use std::io::{self, Read};

use bytes::{Buf, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::delimited::{self, DelimitedError};
use crate::proto::hadoop::hdfs::{
    BlockOpResponseProto, ChecksumProto, OpBlockChecksumProto, OpBlockChecksumResponseProto,
    OpBlockGroupChecksumProto, OpCopyBlockProto, OpCustomProto, OpReadBlockProto,
    OpReplaceBlockProto, OpRequestShortCircuitAccessProto, OpTransferBlockProto, OpWriteBlockProto,
    ReadOpChecksumInfoProto, ReleaseShortCircuitAccessRequestProto, ShortCircuitShmRequestProto,
    Status,
};
use crate::transfer::checksum::DataChecksum;

/// The version before every opcode (HDFS `DATA_TRANSFER_VERSION`).
pub const DATA_TRANSFER_VERSION: u16 = 28;

/// The first two bytes of a SASL client, which is not served (`0xDEADBEEF`).
pub const SASL_MAGIC_PREFIX: u16 = 0xDEAD;

/// Bytes before an operation's message: version and opcode.
pub const OP_PREFIX_BYTES: usize = 3;

/// The longest operation or reply message accepted, bytes. A write names its targets, some 200
/// bytes each.
pub const MAX_OP_MESSAGE_BYTES: usize = 1 << 20;

/// How many bytes one read asks for while an operation's header arrives.
const READ_BYTES: usize = 4096;

/// A request to a datanode.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Write a replica, or take part in its pipeline's recovery (80).
    WriteBlock(Box<OpWriteBlockProto>),
    /// Read a range of a replica (81).
    ReadBlock(Box<OpReadBlockProto>),
    /// Take a replica over from another node (83, balancer).
    ReplaceBlock(Box<OpReplaceBlockProto>),
    /// Send a replica to the node that replaces it (84, balancer).
    CopyBlock(Box<OpCopyBlockProto>),
    /// The checksum of a replica's checksums (85).
    BlockChecksum(Box<OpBlockChecksumProto>),
    /// Copy the replica to the targets (86).
    TransferBlock(Box<OpTransferBlockProto>),
    /// Open descriptors of a replica (87, on a Unix socket only).
    RequestShortCircuitFds(Box<OpRequestShortCircuitAccessProto>),
    /// Give back a shared memory slot (88).
    ReleaseShortCircuitFds(Box<ReleaseShortCircuitAccessRequestProto>),
    /// Share a memory segment (89).
    RequestShortCircuitShm(Box<ShortCircuitShmRequestProto>),
    /// The checksum of a striped block group (90).
    BlockGroupChecksum(Box<OpBlockGroupChecksumProto>),
    /// An extension (127).
    Custom(OpCustomProto),
}

/// Why bytes are not an operation. HDFS closes the connection without a reply on all of these.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The peer wants SASL, which this side does not speak.
    #[error(
        "the client asked for an encrypted or authenticated transfer (SASL), which is not served"
    )]
    Sasl,
    /// The first two bytes are not the version of this protocol.
    #[error("data transfer version {0} is not {DATA_TRANSFER_VERSION}")]
    Version(u16),
    /// The third byte names no operation.
    #[error("opcode {0} is not one of the data transfer protocol")]
    Opcode(u8),
    /// The message after the opcode is bad.
    #[error("the message of opcode {opcode} is bad: {source}")]
    Message {
        /// The opcode.
        opcode: u8,
        /// What is wrong with it.
        source: DelimitedError,
    },
}

impl From<OpError> for io::Error {
    fn from(error: OpError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl Op {
    /// The opcode on the wire.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::WriteBlock(_) => 80,
            Self::ReadBlock(_) => 81,
            Self::ReplaceBlock(_) => 83,
            Self::CopyBlock(_) => 84,
            Self::BlockChecksum(_) => 85,
            Self::TransferBlock(_) => 86,
            Self::RequestShortCircuitFds(_) => 87,
            Self::ReleaseShortCircuitFds(_) => 88,
            Self::RequestShortCircuitShm(_) => 89,
            Self::BlockGroupChecksum(_) => 90,
            Self::Custom(_) => 127,
        }
    }

    /// The operation's name as HDFS logs it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WriteBlock(_) => "WRITE_BLOCK",
            Self::ReadBlock(_) => "READ_BLOCK",
            Self::ReplaceBlock(_) => "REPLACE_BLOCK",
            Self::CopyBlock(_) => "COPY_BLOCK",
            Self::BlockChecksum(_) => "BLOCK_CHECKSUM",
            Self::TransferBlock(_) => "TRANSFER_BLOCK",
            Self::RequestShortCircuitFds(_) => "REQUEST_SHORT_CIRCUIT_FDS",
            Self::ReleaseShortCircuitFds(_) => "RELEASE_SHORT_CIRCUIT_FDS",
            Self::RequestShortCircuitShm(_) => "REQUEST_SHORT_CIRCUIT_SHM",
            Self::BlockGroupChecksum(_) => "BLOCK_GROUP_CHECKSUM",
            Self::Custom(_) => "CUSTOM",
        }
    }

    /// The whole request: version, opcode, delimited message. Send it with one write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::WriteBlock(m) => request(self.code(), m.as_ref()),
            Self::ReadBlock(m) => request(self.code(), m.as_ref()),
            Self::ReplaceBlock(m) => request(self.code(), m.as_ref()),
            Self::CopyBlock(m) => request(self.code(), m.as_ref()),
            Self::BlockChecksum(m) => request(self.code(), m.as_ref()),
            Self::TransferBlock(m) => request(self.code(), m.as_ref()),
            Self::RequestShortCircuitFds(m) => request(self.code(), m.as_ref()),
            Self::ReleaseShortCircuitFds(m) => request(self.code(), m.as_ref()),
            Self::RequestShortCircuitShm(m) => request(self.code(), m.as_ref()),
            Self::BlockGroupChecksum(m) => request(self.code(), m.as_ref()),
            Self::Custom(m) => request(self.code(), m),
        }
    }

    /// Takes one operation from the front of `buffer`, or `None` when more bytes are needed. What
    /// follows the operation (the first packets of a write) stays in the buffer.
    ///
    /// # Errors
    /// [`OpError`]; the connection must then be closed.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, OpError> {
        let Some(version) = buffer.first_chunk::<2>() else { return Ok(None) };
        check_version(*version)?;
        let Some(code) = buffer.get(2).copied() else { return Ok(None) };
        let empty = Self::empty(code)?;
        let bad = |source| OpError::Message { opcode: code, source };
        let after = &buffer[OP_PREFIX_BYTES..];
        match delimited::peek_length(after, MAX_OP_MESSAGE_BYTES).map_err(bad)? {
            Some((length, prefix)) if after.len() >= prefix + length => {}
            _ => return Ok(None),
        }
        buffer.advance(OP_PREFIX_BYTES);
        match delimited::decode_bytes(buffer, MAX_OP_MESSAGE_BYTES).map_err(bad)? {
            Some(bytes) => empty.fill(bytes).map(Some).map_err(|e| bad(e.into())),
            None => Ok(None),
        }
    }

    /// Reads exactly one operation from a blocking stream, without a byte of what follows.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closed (before the first byte: it is done with the
    /// connection), `InvalidData` with an [`OpError`] inside, or what the stream fails with.
    pub fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut prefix = [0u8; OP_PREFIX_BYTES];
        stream.read_exact(&mut prefix)?;
        check_version([prefix[0], prefix[1]])?;
        Self::empty(prefix[2])?.read_message(stream)
    }

    /// Reads one operation from an async stream by way of `buffer`, which may hold bytes already
    /// and keeps what follows the operation. `None` when the peer closed between operations.
    ///
    /// # Errors
    /// `UnexpectedEof` inside an operation, `InvalidData` with an [`OpError`] inside, or what the
    /// stream fails with.
    pub async fn read_async(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> io::Result<Option<Self>> {
        loop {
            if let Some(op) = Self::decode(buffer)? {
                return Ok(Some(op));
            }
            buffer.reserve(READ_BYTES);
            if stream.read_buf(buffer).await? == 0 {
                if buffer.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer closed the connection inside an operation's header",
                ));
            }
        }
    }

    fn empty(code: u8) -> Result<Self, OpError> {
        Ok(match code {
            80 => Self::WriteBlock(Box::default()),
            81 => Self::ReadBlock(Box::default()),
            83 => Self::ReplaceBlock(Box::default()),
            84 => Self::CopyBlock(Box::default()),
            85 => Self::BlockChecksum(Box::default()),
            86 => Self::TransferBlock(Box::default()),
            87 => Self::RequestShortCircuitFds(Box::default()),
            88 => Self::ReleaseShortCircuitFds(Box::default()),
            89 => Self::RequestShortCircuitShm(Box::default()),
            90 => Self::BlockGroupChecksum(Box::default()),
            127 => Self::Custom(OpCustomProto::default()),
            other => return Err(OpError::Opcode(other)),
        })
    }

    fn fill(mut self, bytes: bytes::Bytes) -> Result<Self, prost::DecodeError> {
        match &mut self {
            Self::WriteBlock(m) => m.merge(bytes)?,
            Self::ReadBlock(m) => m.merge(bytes)?,
            Self::ReplaceBlock(m) => m.merge(bytes)?,
            Self::CopyBlock(m) => m.merge(bytes)?,
            Self::BlockChecksum(m) => m.merge(bytes)?,
            Self::TransferBlock(m) => m.merge(bytes)?,
            Self::RequestShortCircuitFds(m) => m.merge(bytes)?,
            Self::ReleaseShortCircuitFds(m) => m.merge(bytes)?,
            Self::RequestShortCircuitShm(m) => m.merge(bytes)?,
            Self::BlockGroupChecksum(m) => m.merge(bytes)?,
            Self::Custom(m) => m.merge(bytes)?,
        }
        Ok(self)
    }

    fn read_message(self, stream: &mut impl Read) -> io::Result<Self> {
        const MAX: usize = MAX_OP_MESSAGE_BYTES;
        Ok(match self {
            Self::WriteBlock(_) => Self::WriteBlock(delimited::read(stream, MAX)?),
            Self::ReadBlock(_) => Self::ReadBlock(delimited::read(stream, MAX)?),
            Self::ReplaceBlock(_) => Self::ReplaceBlock(delimited::read(stream, MAX)?),
            Self::CopyBlock(_) => Self::CopyBlock(delimited::read(stream, MAX)?),
            Self::BlockChecksum(_) => Self::BlockChecksum(delimited::read(stream, MAX)?),
            Self::TransferBlock(_) => Self::TransferBlock(delimited::read(stream, MAX)?),
            Self::RequestShortCircuitFds(_) => {
                Self::RequestShortCircuitFds(delimited::read(stream, MAX)?)
            }
            Self::ReleaseShortCircuitFds(_) => {
                Self::ReleaseShortCircuitFds(delimited::read(stream, MAX)?)
            }
            Self::RequestShortCircuitShm(_) => {
                Self::RequestShortCircuitShm(delimited::read(stream, MAX)?)
            }
            Self::BlockGroupChecksum(_) => Self::BlockGroupChecksum(delimited::read(stream, MAX)?),
            Self::Custom(_) => Self::Custom(delimited::read(stream, MAX)?),
        })
    }
}

fn check_version(bytes: [u8; 2]) -> Result<(), OpError> {
    match u16::from_be_bytes(bytes) {
        DATA_TRANSFER_VERSION => Ok(()),
        SASL_MAGIC_PREFIX => Err(OpError::Sasl),
        other => Err(OpError::Version(other)),
    }
}

fn request(code: u8, message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut out =
        Vec::with_capacity(OP_PREFIX_BYTES + prost::length_delimiter_len(length) + length);
    out.extend_from_slice(&DATA_TRANSFER_VERSION.to_be_bytes());
    out.push(code);
    message.encode_length_delimited(&mut out).expect("a Vec grows to what a message needs");
    out
}

/// The reply to a write's setup when all nodes are ready: `firstBadLink` is set and empty.
#[must_use]
pub fn write_ready() -> BlockOpResponseProto {
    BlockOpResponseProto {
        status: Status::Success as i32,
        first_bad_link: Some(String::new()),
        ..BlockOpResponseProto::default()
    }
}

/// The reply to a write's setup when a node downstream failed; `address` is its `ip:xferPort`.
#[must_use]
pub fn write_refused(
    status: Status,
    first_bad_link: &str,
    message: impl Into<String>,
) -> BlockOpResponseProto {
    BlockOpResponseProto {
        status: status as i32,
        first_bad_link: Some(first_bad_link.to_owned()),
        message: Some(message.into()),
        ..BlockOpResponseProto::default()
    }
}

/// The reply that opens a read's stream of packets: the checksums that follow and where the first
/// chunk begins, bytes from the start of the block.
#[must_use]
pub fn read_ready(checksum: DataChecksum, chunk_offset: u64) -> BlockOpResponseProto {
    BlockOpResponseProto {
        status: Status::Success as i32,
        read_op_checksum_info: Some(ReadOpChecksumInfoProto {
            checksum: checksum.into(),
            chunk_offset,
        }),
        ..BlockOpResponseProto::default()
    }
}

/// The reply to a block checksum request.
#[must_use]
pub fn checksum_ready(response: OpBlockChecksumResponseProto) -> BlockOpResponseProto {
    BlockOpResponseProto {
        status: Status::Success as i32,
        checksum_response: Some(response),
        ..BlockOpResponseProto::default()
    }
}

/// A reply of this status with nothing else.
#[must_use]
pub fn plain(status: Status) -> BlockOpResponseProto {
    BlockOpResponseProto { status: status as i32, ..BlockOpResponseProto::default() }
}

/// A reply that refuses the operation with one sentence.
#[must_use]
pub fn refused(status: Status, message: impl Into<String>) -> BlockOpResponseProto {
    BlockOpResponseProto {
        status: status as i32,
        message: Some(message.into()),
        ..BlockOpResponseProto::default()
    }
}

/// Reads one reply from a blocking stream.
///
/// # Errors
/// As [`delimited::read`].
pub fn read_response(stream: &mut impl Read) -> io::Result<BlockOpResponseProto> {
    delimited::read(stream, MAX_OP_MESSAGE_BYTES)
}

/// Reads one reply from an async stream.
///
/// # Errors
/// As [`delimited::read_async`].
pub async fn read_response_async(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<BlockOpResponseProto> {
    delimited::read_async(stream, MAX_OP_MESSAGE_BYTES).await
}

impl From<DataChecksum> for ChecksumProto {
    fn from(checksum: DataChecksum) -> Self {
        Self {
            r#type: checksum.checksum_type.to_proto() as i32,
            bytes_per_checksum: checksum.bytes_per_checksum(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::proto::hadoop::hdfs::{
        BaseHeaderProto, ClientOperationHeaderProto, ExtendedBlockProto,
    };
    use proptest::prelude::*;

    fn read_op(offset: u64) -> Op {
        Op::ReadBlock(Box::new(OpReadBlockProto {
            header: ClientOperationHeaderProto {
                base_header: BaseHeaderProto {
                    block: ExtendedBlockProto {
                        pool_id: "BP-1-127.0.0.1-1".into(),
                        block_id: 1_073_741_825,
                        generation_stamp: 1001,
                        num_bytes: Some(10),
                    },
                    token: None,
                    trace_info: None,
                },
                client_name: "c".into(),
            },
            offset,
            len: 10,
            send_checksums: None,
            caching_strategy: None,
        }))
    }

    #[test]
    fn a_read_begins_with_its_three_known_bytes_and_reads_back() {
        let bytes = read_op(7).encode();
        assert_eq!(&bytes[..3], &[0x00, 0x1c, 0x51]);
        let mut buffer = BytesMut::from(&bytes[..]);
        buffer.extend_from_slice(b"packets");
        assert_eq!(Op::decode(&mut buffer).unwrap(), Some(read_op(7)));
        assert_eq!(&buffer[..], b"packets");
        assert_eq!(Op::read(&mut bytes.as_slice()).unwrap(), read_op(7));
    }

    #[test]
    fn what_is_not_an_operation_is_refused_by_name() {
        let sentence = |bytes: &[u8]| {
            Op::decode(&mut BytesMut::from(bytes)).map(|_| ()).map_err(|e| e.to_string())
        };
        assert!(sentence(b"GET / HTTP/1.1").unwrap_err().contains("version 18245 is not 28"));
        assert!(sentence(&[0xde, 0xad, 0xbe, 0xef]).unwrap_err().contains("SASL"));
        assert!(sentence(&[0, 28, 82]).unwrap_err().contains("opcode 82"));
        assert!(sentence(&[0, 28, 81, 0xff, 0xff, 0xff, 0xff, 1]).unwrap_err().contains("at most"));
        assert!(sentence(&[0, 28, 81, 2, 0xff, 0xff]).unwrap_err().contains("opcode 81"));
        assert_eq!(sentence(&[0]), Ok(()));
        assert_eq!(sentence(&[0, 28, 81, 5, 1]), Ok(()));
    }

    #[tokio::test]
    async fn an_async_reader_keeps_what_follows() {
        let mut bytes = read_op(1).encode();
        bytes.extend_from_slice(&read_op(2).encode());
        let mut buffer = BytesMut::new();
        let mut stream = bytes.as_slice();
        assert_eq!(Op::read_async(&mut stream, &mut buffer).await.unwrap(), Some(read_op(1)));
        assert_eq!(Op::read_async(&mut stream, &mut buffer).await.unwrap(), Some(read_op(2)));
        assert_eq!(Op::read_async(&mut stream, &mut buffer).await.unwrap(), None);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Op::decode(&mut BytesMut::from(&bytes[..]));
            let mut known = vec![0, 28, 80];
            known.extend_from_slice(&bytes);
            let _ = Op::decode(&mut BytesMut::from(&known[..]));
            let _ = Op::read(&mut known.as_slice());
        }
    }
}
