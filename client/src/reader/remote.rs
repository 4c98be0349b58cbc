//! A range of a block read from a datanode (OP_READ_BLOCK): packets in, verified bytes out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hfs_protocol::delimited;
use hfs_protocol::proto::hadoop::hdfs as proto;
use hfs_protocol::transfer::checksum::DataChecksum;
use hfs_protocol::transfer::op::{self, Op};
use hfs_protocol::transfer::packet::{PacketLayout, RESERVE_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::file_system::Inner;
use crate::reader::pool::{BufferPool, Pooled};

/// What a reader asks the socket for when it knows nothing of the next packet.
const FIRST_READ_BYTES: usize = 64 * 1024;

/// Why a replica could not be read further.
#[derive(Debug, Clone)]
pub(crate) enum ReadFailure {
    /// Bytes did not match their checksums.
    Corrupt(String),
    /// The datanode refused, broke off or fell silent.
    Broken(String),
}

impl ReadFailure {
    pub(crate) fn cause(&self) -> &str {
        match self {
            Self::Corrupt(cause) | Self::Broken(cause) => cause,
        }
    }
}

fn broken(error: impl std::fmt::Display) -> ReadFailure {
    ReadFailure::Broken(error.to_string())
}

/// A datanode sending a range of a block.
pub(crate) struct RemoteBlock {
    fs: Arc<Inner>,
    node: proto::DatanodeIdProto,
    packets: PacketStream,
    checksum: DataChecksum,
    /// Where the next packet must begin.
    expected: u64,
    next_seqno: i64,
    /// The range asked for, bytes of the block.
    start: u64,
    end: u64,
}

impl RemoteBlock {
    /// Asks a datanode for `length` bytes of a block from `offset` on.
    pub(crate) async fn open(
        fs: &Arc<Inner>,
        node: &proto::DatanodeIdProto,
        located: &proto::LocatedBlockProto,
        offset: u64,
        length: u64,
    ) -> Result<Self, ReadFailure> {
        let request = Op::ReadBlock(Box::new(proto::OpReadBlockProto {
            header: proto::ClientOperationHeaderProto {
                base_header: proto::BaseHeaderProto {
                    block: located.b.clone(),
                    token: Some(located.block_token.clone()),
                    trace_info: None,
                },
                client_name: fs.client_name.clone(),
            },
            offset,
            len: length,
            send_checksums: Some(true),
            caching_strategy: None,
        }))
        .encode();
        let timeout = fs.config.socket_timeout;
        // An idle connection may have been closed meanwhile: that says nothing of the datanode.
        let mut answered = None;
        while let Some(mut stream) = fs.datanodes.take_idle(node) {
            if let Ok(response) = ask(&mut stream, &request, timeout).await {
                answered = Some((stream, response));
                break;
            }
        }
        let (stream, response) = match answered {
            Some(answered) => answered,
            None => {
                let mut stream = fs.datanodes.dial(node).await.map_err(broken)?;
                let response = ask(&mut stream, &request, timeout).await.map_err(broken)?;
                (stream, response)
            }
        };
        if response.status() != proto::Status::Success {
            let status = response.status().as_str_name();
            return Err(ReadFailure::Broken(format!("{status} {}", response.message())));
        }
        let info = response
            .read_op_checksum_info
            .ok_or_else(|| broken("the answer has no checksum information"))?;
        let checksum = DataChecksum::from_proto(&info.checksum).map_err(broken)?;
        if info.chunk_offset > offset
            || offset - info.chunk_offset >= u64::from(checksum.bytes_per_checksum())
        {
            return Err(ReadFailure::Broken(format!(
                "bytes from {offset} on were asked for, but {} was answered",
                info.chunk_offset
            )));
        }
        Ok(Self {
            packets: PacketStream::new(stream, fs.buffers.clone(), timeout),
            fs: fs.clone(),
            node: node.clone(),
            checksum,
            expected: info.chunk_offset,
            next_seqno: 0,
            start: offset,
            end: offset + length,
        })
    }

    /// The next bytes of the range, verified; nothing after its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ReadFailure> {
        let (layout, packet) = self.packets.next().await.map_err(broken)?;
        let header = layout.header;
        if header.seqno != self.next_seqno || header.offset_in_block != self.expected {
            return Err(ReadFailure::Broken(format!(
                "packet {} at {} came where packet {} at {} was due",
                header.seqno, header.offset_in_block, self.next_seqno, self.expected
            )));
        }
        self.next_seqno += 1;
        let data = &packet[layout.data_at..layout.total];
        if header.last_packet_in_block || data.is_empty() {
            if self.expected < self.end {
                return Err(ReadFailure::Broken(format!(
                    "the datanode sent bytes up to {} of {}",
                    self.expected, self.end
                )));
            }
            return Ok(None);
        }
        let sums = &packet[layout.checksums_at..layout.data_at];
        self.checksum
            .verify_chunks(data, sums, self.expected)
            .map_err(|error| ReadFailure::Corrupt(error.to_string()))?;
        let from = self.expected;
        self.expected += u64::from(header.data_len);
        let skip = self.start.saturating_sub(from).min(u64::from(header.data_len)) as usize;
        let keep = self.end.saturating_sub(from).min(u64::from(header.data_len)) as usize;
        let bytes = self.packets.share(packet);
        if skip >= keep {
            return Err(broken("the datanode sent bytes that were not asked for"));
        }
        Ok(Some(bytes.slice(layout.data_at + skip..layout.data_at + keep)))
    }

    /// Tells the datanode that all was well, and keeps the connection for the next read.
    pub(crate) async fn finish(mut self) {
        let status = proto::ClientReadStatusProto { status: proto::Status::ChecksumOk as i32 };
        let message = delimited::encode(&status);
        if self.packets.filled == 0 && self.packets.stream.write_all(&message).await.is_ok() {
            self.fs.datanodes.give_back(&self.node, self.packets.stream);
        }
    }
}

/// Sends an operation and reads the answer, within the deadline.
pub(crate) async fn ask(
    stream: &mut TcpStream,
    request: &[u8],
    timeout: Duration,
) -> io::Result<proto::BlockOpResponseProto> {
    let exchange = async {
        stream.write_all(request).await?;
        op::read_response_async(stream).await
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(response) => response,
        Err(_) => Err(silence(timeout)),
    }
}

pub(crate) fn silence(timeout: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the datanode was silent for {timeout:?}"))
}

/// Packets off a socket, each in a buffer of its own that is used again later.
struct PacketStream {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    pool: Arc<BufferPool>,
    timeout: Duration,
}

impl PacketStream {
    fn new(stream: TcpStream, pool: Arc<BufferPool>, timeout: Duration) -> Self {
        Self { stream, buffer: pool.take(), filled: 0, pool, timeout }
    }

    /// The next packet and the buffer that holds it.
    async fn next(&mut self) -> io::Result<(PacketLayout, Vec<u8>)> {
        loop {
            let layout = PacketLayout::parse(&self.buffer[..self.filled])?;
            let wanted = match layout {
                Some(layout) if self.filled >= layout.total => {
                    let mut next = self.pool.take();
                    let extra = &self.buffer[layout.total..self.filled];
                    if next.len() < extra.len() {
                        next.resize(extra.len().max(FIRST_READ_BYTES), 0);
                    }
                    next[..extra.len()].copy_from_slice(extra);
                    self.filled = extra.len();
                    return Ok((layout, std::mem::replace(&mut self.buffer, next)));
                }
                // The packet and the header of the next one: two reads would be one too many.
                Some(layout) => layout.total + RESERVE_BYTES,
                None => self.filled + FIRST_READ_BYTES,
            };
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
            let read = self.stream.read(&mut self.buffer[self.filled..wanted]);
            let read = match tokio::time::timeout(self.timeout, read).await {
                Ok(read) => read?,
                Err(_) => return Err(silence(self.timeout)),
            };
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the datanode closed the connection before the end",
                ));
            }
            self.filled += read;
        }
    }

    fn share(&self, packet: Vec<u8>) -> Bytes {
        Bytes::from_owner(Pooled::new(packet, self.pool.clone()))
    }
}
