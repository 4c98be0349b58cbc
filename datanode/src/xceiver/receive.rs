//! The receiving thread of a write: each packet is read into one buffer, forwarded from there,
//! written from there, and handed on to be acknowledged.
//!
//! ```text
//!            packets                     packets
//!  upstream ────────► this thread ─────────────────► downstream
//!     ▲                   │ written                      │
//!     │ acks, in order    ▼                              │ acks
//!     └───────────── responder thread ◄──────────────────┘
//! ```
//!
//! The last node has nobody to wait for and acknowledges on this thread. Only it compares data with
//! checksums; a node in the middle trusts it to, and checks when the last one complains.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Instant;

use hfs_protocol::proto::hadoop::hdfs::Status;
use hfs_protocol::transfer::ack::PipelineAck;
use hfs_protocol::transfer::op;
use hfs_protocol::transfer::packet::PacketHeader;
use hfs_protocol::transfer::packet_reader::{Packet, PacketReader};

use super::Xceiver;
use super::respond::{Pending, Responder};
use super::socket::{linger, send_message};
use crate::store::writer::{ReplicaWriter, WriteError, WriteHandle};

/// Packets that are written here and not acknowledged by the rest of the pipeline yet. A client has
/// some 80 in flight; more make the receiver wait.
const PENDING_MAX: usize = 1024;

/// The node downstream.
#[derive(Debug)]
pub struct Mirror {
    /// The connection to it.
    pub stream: TcpStream,
    /// Its `ip:port`.
    pub address: String,
    /// Nodes from it to the end of the pipeline.
    pub nodes: usize,
}

/// How a write ended.
#[derive(Debug)]
pub enum Outcome {
    /// The replica is complete and its last packet acknowledged.
    Complete,
    /// The replica stays as it is, for a recovery. Why it ended, for the log.
    Broken(String),
}

/// Why this node can't go on with a packet: the status it acknowledges with, and the reason.
struct Refusal {
    status: Status,
    reason: String,
}

/// Receives the packets of a pipeline until the last one, or until something breaks.
pub fn receive_pipeline(
    xceiver: &Arc<Xceiver>,
    writer: ReplicaWriter,
    mirror: Option<Mirror>,
    stream: &TcpStream,
    leftover: &[u8],
) -> Outcome {
    let handle = writer.handle();
    let sockets = [Some(stream), mirror.as_ref().map(|mirror| &mirror.stream)];
    for socket in sockets.into_iter().flatten() {
        match socket.try_clone() {
            Ok(clone) => handle.control().add_socket(clone),
            Err(error) => return Outcome::Broken(format!("a socket can't be shared: {error}")),
        }
    }
    let outcome = match mirror {
        None => receive_as_last(xceiver, writer, &handle, stream, leftover),
        Some(mirror) => receive_in_middle(xceiver, writer, &handle, mirror, stream, leftover),
    };
    if matches!(outcome, Outcome::Broken(_)) && !handle.control().is_stopped() {
        linger(stream);
    }
    outcome
}

fn receive_as_last(
    xceiver: &Xceiver,
    mut writer: ReplicaWriter,
    handle: &WriteHandle,
    stream: &TcpStream,
    leftover: &[u8],
) -> Outcome {
    let mut packets = PacketReader::with_leftover(stream, leftover);
    let acknowledge = |seqno: i64, status: Status| -> io::Result<()> {
        let mut stream = stream;
        stream.write_all(&PipelineAck::new(seqno, vec![status]).encode())
    };
    loop {
        let packet = match next(&mut packets) {
            Ok(packet) => packet,
            Err(reason) => return Outcome::Broken(reason),
        };
        let header = packet.header();
        let stored = store(xceiver, &mut writer, handle, &packet, true).and_then(|()| {
            if !header.is_heartbeat() {
                handle.acknowledge(end_of(&header));
            }
            if !header.last_packet_in_block {
                return Ok(());
            }
            handle
                .finalize(header.sync_block)
                .map_err(|error| Refusal::new(Status::Error, error.to_string()))
        });
        let status = stored.as_ref().map_or_else(|refusal| refusal.status, |()| Status::Success);
        let told = acknowledge(header.seqno, status);
        if let Err(refusal) = stored {
            return Outcome::Broken(refusal.reason);
        }
        if header.last_packet_in_block {
            // The replica is complete whether or not the client still hears it.
            return Outcome::Complete;
        }
        if let Err(error) = told {
            return Outcome::Broken(format!("the ack of packet {} failed: {error}", header.seqno));
        }
    }
}

fn receive_in_middle(
    xceiver: &Arc<Xceiver>,
    mut writer: ReplicaWriter,
    handle: &Arc<WriteHandle>,
    mirror: Mirror,
    stream: &TcpStream,
    leftover: &[u8],
) -> Outcome {
    let failed = Arc::new(AtomicBool::new(false));
    let (queue, pending) = mpsc::sync_channel(PENDING_MAX);
    let responder = match start_responder(xceiver, handle, &mirror, stream, pending, &failed) {
        Ok(responder) => responder,
        Err(error) => return Outcome::Broken(format!("the acks have no thread: {error}")),
    };
    let mut packets = PacketReader::with_leftover(stream, leftover);
    let received =
        forward_and_store(xceiver, &mut writer, handle, &mirror, &mut packets, &queue, &failed);
    drop(queue);
    if received.is_err() {
        // The node downstream acknowledges what it has and hangs up, which ends the responder.
        let _ = mirror.stream.shutdown(Shutdown::Write);
    }
    // The replica must not be given to another writer while the responder still acts for this one.
    let answered = responder.recv();
    drop(writer);
    match (received, answered) {
        (Ok(()), Ok(Ok(()))) => Outcome::Complete,
        (_, Ok(Err(reason))) | (Err(reason), _) => Outcome::Broken(reason),
        (Ok(()), Err(_)) => Outcome::Broken("the thread of the acks is gone".to_owned()),
    }
}

fn start_responder(
    xceiver: &Arc<Xceiver>,
    handle: &Arc<WriteHandle>,
    mirror: &Mirror,
    stream: &TcpStream,
    pending: Receiver<Pending>,
    failed: &Arc<AtomicBool>,
) -> io::Result<Receiver<Result<(), String>>> {
    let responder = Responder {
        xceiver: Arc::clone(xceiver),
        handle: Arc::clone(handle),
        upstream: stream.try_clone()?,
        downstream: mirror.stream.try_clone()?,
        downstream_address: mirror.address.clone(),
        downstream_nodes: mirror.nodes,
    };
    let failed = Arc::clone(failed);
    let (tell, told) = mpsc::sync_channel(1);
    xceiver.threads.run(move || {
        let result = responder.run(&pending);
        if result.is_err() {
            failed.store(true, Ordering::Release);
            // Wakes the receiver out of forwarding to a node that takes nothing.
            responder.hang_up();
        }
        // The receiver waits for this, unless it is gone with the daemon.
        let _ = tell.send(result);
    })?;
    Ok(told)
}

/// Goes on until the last packet is handed to the responder. The error is the reason of the end.
fn forward_and_store(
    xceiver: &Xceiver,
    writer: &mut ReplicaWriter,
    handle: &WriteHandle,
    mirror: &Mirror,
    packets: &mut PacketReader<&TcpStream>,
    queue: &SyncSender<Pending>,
    failed: &AtomicBool,
) -> Result<(), String> {
    let gone = |_| "the thread of the acks has ended".to_owned();
    let mut forwarding = true;
    loop {
        let packet = next(packets)?;
        if failed.load(Ordering::Acquire) {
            return Err("the pipeline downstream has failed".to_owned());
        }
        let header = packet.header();
        if forwarding {
            let mut downstream = &mirror.stream;
            // The responder will say so upstream when it finds no ack for the packet; until then
            // this node's copy is as good as ever.
            forwarding = downstream.write_all(packet.bytes()).is_ok();
            if !forwarding {
                let _ = mirror.stream.shutdown(Shutdown::Both);
            }
        }
        if let Err(refusal) = store(xceiver, writer, handle, &packet, false) {
            let Refusal { status, reason } = refusal;
            let refused = Pending::Refused { seqno: header.seqno, status, reason: reason.clone() };
            queue.send(refused).map_err(gone)?;
            return Err(reason);
        }
        queue.send(Pending::Packet { header, end: end_of(&header) }).map_err(gone)?;
        if header.last_packet_in_block {
            return Ok(());
        }
    }
}

/// Receives a copy from another datanode and answers once.
///
/// # Errors
/// If the sender can't be answered.
pub fn receive_copy(
    xceiver: &Xceiver,
    mut writer: ReplicaWriter,
    as_rbw: bool,
    stream: &TcpStream,
    leftover: &[u8],
    peer: SocketAddr,
) -> io::Result<()> {
    let handle = writer.handle();
    let received = stream
        .try_clone()
        .map_err(|error| Refusal::new(Status::Error, format!("a socket can't be shared: {error}")))
        .and_then(|clone| {
            handle.control().add_socket(clone);
            let mut packets = PacketReader::with_leftover(stream, leftover);
            loop {
                let packet =
                    next(&mut packets).map_err(|reason| Refusal::new(Status::Error, reason))?;
                store(xceiver, &mut writer, &handle, &packet, true)?;
                if packet.header().last_packet_in_block {
                    return Ok(());
                }
            }
        });
    let finished = match received {
        Ok(()) => writer
            .finish_copy(as_rbw)
            .map_err(|error| Refusal::new(Status::Error, error.to_string())),
        Err(refusal) => {
            writer.discard();
            Err(refusal)
        }
    };
    match finished {
        Ok(()) => {
            xceiver.metrics.writes.inc();
            send_message(stream, &op::plain(Status::Success))
        }
        Err(refusal) => {
            xceiver.metrics.writes_failed.inc();
            tracing::info!("a copy from {peer} did not arrive: {}", refusal.reason);
            send_message(stream, &op::refused(refusal.status, refusal.reason))?;
            linger(stream);
            Ok(())
        }
    }
}

/// The next packet; the error says how the stream ended.
fn next<'a>(packets: &'a mut PacketReader<&TcpStream>) -> Result<Packet<'a>, String> {
    match packets.next_packet() {
        Ok(Some(packet)) => Ok(packet),
        Ok(None) => Err("the sender closed the connection before the last packet".to_owned()),
        Err(error) => Err(format!("receiving failed: {error}")),
    }
}

fn end_of(header: &PacketHeader) -> u64 {
    header.offset_in_block.saturating_add(u64::from(header.data_len))
}

/// Writes one packet, and forces it to the disk if it asks for that.
fn store(
    xceiver: &Xceiver,
    writer: &mut ReplicaWriter,
    handle: &WriteHandle,
    packet: &Packet<'_>,
    verify: bool,
) -> Result<(), Refusal> {
    let header = packet.header();
    if header.is_heartbeat() {
        return Ok(());
    }
    if header.offset_in_block.checked_add(u64::from(header.data_len)).is_none() {
        let reason = format!("a packet begins at offset {}", header.offset_in_block);
        return Err(Refusal::new(Status::Error, reason));
    }
    let written = writer.write(header.offset_in_block, packet.data(), packet.checksums(), verify);
    match written {
        Ok(()) => xceiver.metrics.bytes_written.inc_by(u64::from(header.data_len)),
        Err(WriteError::Checksum(reason)) => {
            xceiver.metrics.checksum_errors.inc();
            return Err(Refusal::new(Status::ErrorChecksum, reason));
        }
        Err(error) => {
            // A disk that is full or ill: somebody should look at it.
            tracing::warn!("a packet could not be stored: {error}");
            return Err(Refusal::new(Status::Error, error.to_string()));
        }
    };
    // The last packet's sync is part of completing the replica.
    if header.sync_block && !header.last_packet_in_block {
        let began = Instant::now();
        handle.sync().map_err(|error| Refusal::new(Status::Error, error.to_string()))?;
        hfs_daemon::metrics::observe(&xceiver.metrics.sync_seconds, began.elapsed());
    }
    Ok(())
}

impl Refusal {
    fn new(status: Status, reason: String) -> Self {
        Self { status, reason }
    }
}
