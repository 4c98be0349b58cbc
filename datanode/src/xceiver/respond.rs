//! The acknowledging thread of a write, for a node that has another one downstream (HDFS
//! `PacketResponder`).

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use hfs_protocol::proto::hadoop::hdfs::Status;
use hfs_protocol::transfer::ack::PipelineAck;
use hfs_protocol::transfer::packet::PacketHeader;

use super::Xceiver;
use crate::store::writer::WriteHandle;

/// What the receiving thread hands over, in the order of the packets.
#[derive(Debug)]
pub enum Pending {
    /// A packet that is written here.
    Packet {
        /// Its header.
        header: PacketHeader,
        /// Where its data ends in the block.
        end: u64,
    },
    /// A packet that this node can't take: the last one.
    Refused {
        /// Its number.
        seqno: i64,
        /// This node's status.
        status: Status,
        /// Why.
        reason: String,
    },
}

/// Waits for the acks from downstream and passes them upstream with this node's own in front.
#[derive(Debug)]
pub struct Responder {
    /// For its counters.
    pub xceiver: Arc<Xceiver>,
    /// The replica.
    pub handle: Arc<WriteHandle>,
    /// Where acks go.
    pub upstream: TcpStream,
    /// Where acks come from.
    pub downstream: TcpStream,
    /// For the log.
    pub downstream_address: String,
    /// How many nodes answer from there.
    pub downstream_nodes: usize,
}

impl Responder {
    /// Goes on until the last packet is acknowledged. The error is the reason of an earlier end.
    ///
    /// # Errors
    /// When a node has failed; upstream has been told then, if it still listens.
    pub fn run(&self, pending: &Receiver<Pending>) -> Result<(), String> {
        let mut acks = BufReader::new(&self.downstream);
        loop {
            // The receiver ends this by hanging up, which it does when its own sender has.
            let Ok(next) = pending.recv() else {
                return Err("the sender went away before the last packet".to_owned());
            };
            let (header, end) = match next {
                Pending::Packet { header, end } => (header, end),
                Pending::Refused { seqno, status, reason } => {
                    self.send(&PipelineAck::new(seqno, self.replies(status, Status::Success)))?;
                    return Err(format!("packet {seqno} was not written here: {reason}"));
                }
            };
            let waiting = Instant::now();
            let ack = match PipelineAck::read(&mut acks) {
                Ok(ack) => ack,
                Err(error) => return Err(self.blame_downstream(&header, &error)),
            };
            if ack.seqno != header.seqno || ack.replies.is_empty() {
                let error = io::Error::other(format!("it acknowledged packet {}", ack.seqno));
                return Err(self.blame_downstream(&header, &error));
            }
            if !ack.is_success() {
                return Err(self.pass_failure_on(&header, end, ack));
            }
            let mut ack = ack.prepend(Status::Success);
            ack.downstream_ack_time_nanos =
                u64::try_from(waiting.elapsed().as_nanos()).unwrap_or(u64::MAX);
            if header.is_heartbeat() {
                self.send(&ack)?;
                continue;
            }
            self.handle.acknowledge(end);
            if !header.last_packet_in_block {
                self.send(&ack)?;
                continue;
            }
            if let Err(error) = self.handle.finalize(header.sync_block) {
                let replies = self.replies(Status::Error, Status::Success);
                self.send(&PipelineAck::new(header.seqno, replies))?;
                return Err(error.to_string());
            }
            // The replica is complete whether or not the client still hears it.
            let _ = self.send(&ack);
            return Ok(());
        }
    }

    /// Ends the connection downstream, and tells the one upstream that no more acks come. What it
    /// still sends is read and thrown away by the receiving thread, so that the last ack arrives.
    pub fn hang_up(&self) {
        // They may be closed already.
        let _ = self.downstream.shutdown(Shutdown::Both);
        let _ = self.upstream.shutdown(Shutdown::Write);
    }

    fn blame_downstream(&self, header: &PacketHeader, error: &io::Error) -> String {
        let reason = format!(
            "datanode {} did not acknowledge packet {}: {error}",
            self.downstream_address, header.seqno
        );
        if self.handle.control().is_stopped() {
            // A recovery of the block has shut the sockets: nobody downstream is to blame.
            return "the write was stopped by a recovery of the block".to_owned();
        }
        // One failed node at most: some clients can't take two.
        let mut replies = self.replies(Status::Success, Status::Success);
        if let Some(next) = replies.get_mut(1) {
            *next = Status::Error;
        }
        let told = self.send(&PipelineAck::new(header.seqno, replies));
        told.err().unwrap_or(reason)
    }

    /// A node downstream has failed and said so. If it says that the data is corrupt, this node's
    /// own bytes are looked at first: they came the same way.
    fn pass_failure_on(&self, header: &PacketHeader, end: u64, ack: PipelineAck) -> String {
        let (index, status) = ack.first_failure().unwrap_or((0, Status::Error));
        let suspect = status == Status::ErrorChecksum;
        let own = if suspect && !self.handle.matches(header.offset_in_block, end) {
            self.xceiver.metrics.checksum_errors.inc();
            Status::ErrorChecksum
        } else {
            Status::Success
        };
        let seqno = header.seqno;
        let told = if own == Status::Success {
            self.send(&ack.prepend(own))
        } else {
            self.send(&PipelineAck::new(seqno, self.replies(own, Status::Success)))
        };
        told.err().unwrap_or_else(|| {
            format!("node {} downstream answered packet {seqno} with {status:?}", index + 1)
        })
    }

    fn replies(&self, own: Status, others: Status) -> Vec<Status> {
        let mut replies = vec![others; self.downstream_nodes + 1];
        replies[0] = own;
        replies
    }

    fn send(&self, ack: &PipelineAck) -> Result<(), String> {
        let mut upstream = &self.upstream;
        upstream
            .write_all(&ack.encode())
            .map_err(|error| format!("the ack of packet {} failed: {error}", ack.seqno))
    }
}
