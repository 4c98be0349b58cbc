//! The connection to the first datanode of a pipeline: packets out, acks in.

use std::collections::VecDeque;
use std::io;

use bytes::BytesMut;
use hfs_protocol::transfer::ack::PipelineAck;
use hfs_protocol::transfer::packet::{HEARTBEAT_SEQNO, PacketHeader};
use hfs_protocol::transfer::packet_buffer::PacketBuffer;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::pipeline::state::PacketInfo;

/// A packet that is not acked yet.
pub(super) struct Item {
    pub(super) info: PacketInfo,
    pub(super) body: Body,
}

/// What a packet consists of.
pub(super) enum Body {
    Data(PacketBuffer),
    Empty(Vec<u8>),
}

impl Item {
    fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Data(buffer) => buffer.packet(),
            Body::Empty(bytes) => bytes,
        }
    }
}

/// The connection to the first datanode of a pipeline.
pub(super) struct Connection {
    stream: TcpStream,
    /// Packets to be written, by number; the first may be written in part.
    out: VecDeque<i64>,
    written: usize,
    acks: BytesMut,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, out: VecDeque::new(), written: 0, acks: BytesMut::new() }
    }

    /// Has a packet written after those before it.
    pub(super) fn send(&mut self, seqno: i64) {
        self.out.push_back(seqno);
    }

    /// Whether a packet is still to be written, in whole or in part.
    pub(super) fn is_due(&self, seqno: i64) -> bool {
        self.out.contains(&seqno)
    }

    /// Writes and reads until an ack has come. Safe to drop at any await and to call again.
    pub(super) async fn progress(&mut self, window: &VecDeque<Item>) -> io::Result<PipelineAck> {
        loop {
            if let Some(ack) = PipelineAck::decode(&mut self.acks)? {
                return Ok(ack);
            }
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let ready = self.stream.ready(interest).await?;
            if ready.is_readable() {
                match self.stream.try_read_buf(&mut self.acks) {
                    Ok(0) => {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "the first datanode closed the connection",
                        ));
                    }
                    Ok(_) => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            if ready.is_writable() && !self.out.is_empty() {
                self.write_some(window)?;
            }
        }
    }

    /// Writes as much of the first packet due as the socket takes.
    fn write_some(&mut self, window: &VecDeque<Item>) -> io::Result<()> {
        let Some(&seqno) = self.out.front() else { return Ok(()) };
        let heartbeat;
        let bytes = if seqno == HEARTBEAT_SEQNO {
            heartbeat = PacketHeader::HEARTBEAT.encode_empty();
            &heartbeat[..]
        } else {
            let first = window.front().map_or(seqno, |item| item.info.seqno);
            let index = usize::try_from(seqno - first).unwrap_or(usize::MAX);
            match window.get(index) {
                Some(item) => item.bytes(),
                None => return Err(io::Error::other(format!("packet {seqno} is not held"))),
            }
        };
        match self.stream.try_write(&bytes[self.written..]) {
            Ok(count) => self.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.written == bytes.len() {
            self.out.pop_front();
            self.written = 0;
        }
        Ok(())
    }
}
