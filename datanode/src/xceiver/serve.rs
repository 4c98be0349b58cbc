//! Takes connections and runs one operation after the other on each.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::proto::hadoop::hdfs::data_transfer_encryptor_message_proto::DataTransferEncryptorStatus;
use hfs_protocol::proto::hadoop::hdfs::{
    DataTransferEncryptorMessageProto, ReleaseShortCircuitAccessResponseProto,
    ShortCircuitShmResponseProto, Status,
};
use hfs_protocol::transfer::op::{self, Op, OpError};
use prost::Message;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::Xceiver;
use super::socket::{linger, prepare, send_message};

/// How long a new connection may take to say what it wants.
const FIRST_OP: Duration = Duration::from_secs(30);

/// How long a connection is kept between operations. Clients keep theirs for 3 s and trust that
/// the server keeps it longer (HDFS `dfs.datanode.socket.reuse.keepalive`: 4 s).
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a thread waits for a connection's next operation before the runtime does.
const BUSY_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// How long to wait after a failed accept (out of descriptors, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What becomes of the connection after an operation.
#[derive(Debug)]
pub enum After {
    /// It waits for the next one. The bytes were read ahead and belong to it.
    KeepAlive(BlockingStream, Vec<u8>),
    /// It is closed.
    Close,
}

/// Serves until `shutdown`.
pub async fn serve(xceiver: Arc<Xceiver>, listener: TcpListener, shutdown: Shutdown) {
    loop {
        let accepted = async {
            // Never closed; if it were, there would be nobody to serve.
            let permit = Arc::clone(&xceiver.connections).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.triggered() => return,
        };
        match accepted {
            Some((permit, Ok((stream, peer)))) => {
                let xceiver = Arc::clone(&xceiver);
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection(&xceiver, stream, peer) => {}
                        () = shutdown.triggered() => {}
                    }
                    drop(permit);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!("can't accept data transfer connections: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn connection(xceiver: &Arc<Xceiver>, mut stream: TcpStream, peer: SocketAddr) {
    let mut buffer = BytesMut::new();
    let mut patience = FIRST_OP;
    loop {
        let read = Op::read_async(&mut stream, &mut buffer);
        let op = match tokio::time::timeout(patience, read).await {
            Ok(Ok(Some(op))) => op,
            // The peer is done, or idle for too long: both are the normal end.
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                refuse_garbage(xceiver, &mut stream, peer, &error).await;
                return;
            }
        };
        let name = op.name();
        let Ok(permit) = Arc::clone(&xceiver.slots).try_acquire_owned() else {
            xceiver.metrics.refused.inc();
            let sentence = format!(
                "datanode {} runs {} transfers already (max-transfers); try another replica or \
                 try later",
                local(&stream),
                xceiver.slots_max
            );
            tracing::warn!("refused {name} from {peer}: {sentence}");
            let refusal = op::refused(Status::Error, sentence).encode_length_delimited_to_vec();
            if stream.write_all(&refusal).await.is_ok() {
                close_gently(stream).await;
            }
            return;
        };
        let Ok(blocking) = stream.into_std() else { return };
        let leftover = std::mem::take(&mut buffer).to_vec();
        let (tell, told) = oneshot::channel();
        let runner = Arc::clone(xceiver);
        let started = xceiver.threads.run(move || {
            let after = run_while_busy(&runner, op, blocking, leftover, peer);
            drop(permit);
            // The connection's task may have ended with the daemon.
            let _ = tell.send(after);
        });
        if let Err(error) = started {
            tracing::warn!("{name} from {peer} dropped: no thread: {error}");
            return;
        }
        match told.await {
            Ok(After::KeepAlive(blocking, leftover)) => {
                if blocking.set_nonblocking(true).is_err() {
                    return;
                }
                let Ok(kept) = TcpStream::from_std(blocking) else { return };
                stream = kept;
                buffer.extend_from_slice(&leftover);
                patience = KEEP_ALIVE;
            }
            Ok(After::Close) | Err(_) => return,
        }
    }
}

fn local(stream: &TcpStream) -> String {
    stream.local_addr().map_or_else(|_| "here".to_owned(), |address| address.to_string())
}

/// One log line, an answer where the protocol has one, and the end of the connection.
async fn refuse_garbage(
    xceiver: &Xceiver,
    stream: &mut TcpStream,
    peer: SocketAddr,
    error: &io::Error,
) {
    if error.kind() != io::ErrorKind::InvalidData {
        tracing::debug!("{peer} went away inside an operation's header: {error}");
        return;
    }
    xceiver.metrics.garbage.inc();
    tracing::warn!("closed a data transfer connection from {peer}: {error}");
    let sasl = error.get_ref().and_then(|inner| inner.downcast_ref::<OpError>());
    if matches!(sasl, Some(OpError::Sasl)) {
        let answer = DataTransferEncryptorMessageProto {
            status: DataTransferEncryptorStatus::Error as i32,
            message: Some(
                "this datanode does not speak SASL: set dfs.encrypt.data.transfer to false and \
                 leave dfs.data.transfer.protection unset"
                    .to_owned(),
            ),
            ..DataTransferEncryptorMessageProto::default()
        };
        // The peer may be gone; the log line says it all the same.
        let _ = stream.write_all(&answer.encode_length_delimited_to_vec()).await;
        let _ = stream.shutdown().await;
    }
}

async fn close_gently(stream: TcpStream) {
    let Ok(blocking) = stream.into_std() else { return };
    if blocking.set_nonblocking(false).is_ok() {
        // At most the linger time, and only for a peer that is in the middle of sending.
        let _ = tokio::task::spawn_blocking(move || linger(&blocking)).await;
    }
}

/// Runs an operation on the calling thread, and those that follow it at once: handing a busy
/// connection to the runtime and back costs more than a small read does.
fn run_while_busy(
    xceiver: &Arc<Xceiver>,
    op: Op,
    stream: BlockingStream,
    leftover: Vec<u8>,
    peer: SocketAddr,
) -> After {
    let mut after = run(xceiver, op, stream, leftover, peer);
    loop {
        let After::KeepAlive(stream, leftover) = after else { return after };
        if !readable_soon(&stream) {
            return After::KeepAlive(stream, leftover);
        }
        let mut buffer = BytesMut::from(&leftover[..]);
        let filled = read_some(&stream, &mut buffer);
        let mut rest = buffer.clone();
        after = match (filled, Op::decode(&mut rest)) {
            (Ok(1..), Ok(Some(op))) => run(xceiver, op, stream, rest.to_vec(), peer),
            // Cut in the middle, or garbage: the runtime waits for the rest, or refuses it.
            (Ok(1..), _) => return After::KeepAlive(stream, buffer.to_vec()),
            (Ok(0) | Err(_), _) => return After::Close,
        };
    }
}

fn read_some(mut stream: &BlockingStream, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes)?;
    buffer.extend_from_slice(&bytes[..read]);
    Ok(read)
}

/// True if the next operation begins to arrive within a moment.
fn readable_soon(stream: &BlockingStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&BUSY_WAIT)), Ok(1..))
}

/// Runs one operation on the calling thread.
fn run(
    xceiver: &Arc<Xceiver>,
    op: Op,
    stream: BlockingStream,
    leftover: Vec<u8>,
    peer: SocketAddr,
) -> After {
    let name = op.name();
    let result = prepare(&stream, xceiver.patience).and_then(|()| match op {
        Op::ReadBlock(op) => super::read::read_block(xceiver, &op, stream, leftover),
        Op::WriteBlock(op) => super::write::write_block(xceiver, &op, stream, &leftover, peer),
        Op::TransferBlock(op) => super::copy::transfer_block(xceiver, &op, &stream),
        Op::BlockChecksum(op) => {
            super::block_checksum::block_checksum(xceiver, &op, stream, leftover)
        }
        other => refuse(&other, &stream),
    });
    result.unwrap_or_else(|error| {
        tracing::debug!("{name} from {peer} ended: {error}");
        After::Close
    })
}

/// Operations that are not served: each is told so in its own kind of answer.
fn refuse(op: &Op, stream: &BlockingStream) -> io::Result<After> {
    let sentence = match op {
        Op::RequestShortCircuitFds(_) | Op::ReleaseShortCircuitFds(_) => {
            "file descriptors can't be passed over TCP"
        }
        Op::RequestShortCircuitShm(_) => "shared memory can't be passed over TCP",
        Op::CopyBlock(_) | Op::ReplaceBlock(_) => "this datanode takes no part in balancing",
        Op::BlockGroupChecksum(_) => "this datanode holds no striped blocks",
        _ => "this datanode does not know the operation",
    };
    tracing::info!("refused {}: {sentence}", op.name());
    match op {
        Op::RequestShortCircuitShm(_) => send_message(
            stream,
            &ShortCircuitShmResponseProto {
                status: Status::ErrorInvalid as i32,
                error: Some(sentence.to_owned()),
                id: None,
            },
        ),
        Op::ReleaseShortCircuitFds(_) => send_message(
            stream,
            &ReleaseShortCircuitAccessResponseProto {
                status: Status::ErrorInvalid as i32,
                error: Some(sentence.to_owned()),
            },
        ),
        Op::RequestShortCircuitFds(_) => {
            send_message(stream, &op::refused(Status::Error, sentence))
        }
        _ => send_message(stream, &op::refused(Status::ErrorUnsupported, sentence)),
    }?;
    linger(stream);
    Ok(After::Close)
}

/// Refuses an operation with a sentence; the connection ends.
///
/// # Errors
/// If the peer can't be told.
pub(super) fn refuse_with(stream: &BlockingStream, sentence: &str) -> io::Result<After> {
    send_message(stream, &op::refused(Status::Error, sentence))?;
    linger(stream);
    Ok(After::Close)
}
