//! The server's side of a Hadoop RPC connection on a socket.
//!
//! One task owns a connection. It reads what has come, hands every whole call to the [`Handler`],
//! collects the answers that are ready and writes them in one go; calls whose answers take time
//! are answered in the order they finish. Nothing is spawned per call.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::error::{ErrorKind, RemoteError};
use crate::hadoop::frame::MAX_FRAME_BYTES;
use crate::hadoop::handshake::{Call, Caller, Event, Session};
use crate::hadoop::header::{self, CLIENT_ID_BYTES, CallKey, PROTOCOL_VERSION};

/// How much room a read gets, bytes.
const READ_BYTES: usize = 32 * 1024;

/// How much output collects before it is sent although more calls have come, bytes.
const WRITE_BATCH_BYTES: usize = 1 << 20;

/// What an answer may hold beside its body: room for the headers, bytes.
const HEADER_ROOM_BYTES: usize = 4096;

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// The largest frame accepted, bytes (HDFS `ipc.maximum.data.length`).
    pub max_frame_bytes: usize,
    /// How many calls of one connection may wait for their answers; reading stops at this.
    pub max_calls_in_flight: usize,
    /// How long a client may take from connecting to its context.
    pub handshake_timeout: Duration,
    /// How long a connection may be silent with no call in flight.
    pub idle_timeout: Duration,
    /// How long a client may read nothing of what it was sent.
    pub write_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: MAX_FRAME_BYTES,
            max_calls_in_flight: 256,
            handshake_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(60),
        }
    }
}

/// Who calls, and which call it is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The user the call is made as.
    pub user: Arc<str>,
    /// Who impersonates that user, where someone does.
    pub real_user: Option<Arc<str>>,
    /// The client's address.
    pub client_ip: IpAddr,
    /// The client's id. With `call_id` it names the call for good: a retry repeats both.
    pub client_id: [u8; CLIENT_ID_BYTES],
    /// The number the client gave the call.
    pub call_id: i32,
    /// How often the client has sent this call before.
    pub retry_count: i32,
}

/// An answer that takes time.
pub type LaterReply = Pin<Box<dyn Future<Output = Result<Vec<u8>, RemoteError>> + Send>>;

/// The answer to a call: the encoded response message (without its length), or an error.
pub enum Reply {
    /// Ready.
    Now(Result<Vec<u8>, RemoteError>),
    /// Ready once the future is. It runs on the connection's task: it may wait, not compute.
    Later(LaterReply),
}

impl Reply {
    /// An answer that is ready: this message.
    pub fn message(message: &impl prost::Message) -> Self {
        Self::Now(Ok(message.encode_to_vec()))
    }

    /// An error that is ready.
    pub fn error(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Now(Err(RemoteError::new(kind, message)))
    }

    /// The answer to a protocol this port does not serve, as HDFS words it.
    #[must_use]
    pub fn no_such_protocol(protocol: &str) -> Self {
        Self::error(ErrorKind::NoSuchProtocol, format!("Unknown protocol: {protocol}"))
    }

    /// The answer to a method the protocol does not have, as HDFS words it.
    #[must_use]
    pub fn no_such_method(protocol: &str, method: &str) -> Self {
        Self::error(
            ErrorKind::NoSuchMethod,
            format!("Unknown method {method} called on {protocol} protocol."),
        )
    }
}

/// Answers calls.
pub trait Handler: Send + Sync + 'static {
    /// Answers one call. `protocol` is the Java name of the protocol, `body` the encoded request.
    fn call(&self, context: &CallContext, protocol: &str, method: &str, body: Bytes) -> Reply;
}

/// Serves one accepted connection until either side ends it. Calls in flight at `shutdown` are
/// answered before it closes. What goes wrong is logged once, here.
pub async fn serve_connection<H: Handler>(
    stream: TcpStream,
    handler: Arc<H>,
    limits: ServerLimits,
    shutdown: CancellationToken,
) {
    let peer = match stream.peer_addr() {
        Ok(peer) => peer,
        Err(error) => {
            debug!("an RPC connection was gone before it was served: {error}");
            return;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, "TCP_NODELAY can't be set: {error}");
    }
    serve_stream(stream, peer, handler, limits, shutdown).await;
}

/// Serves one connection over any stream; see [`serve_connection`].
pub async fn serve_stream<S, H>(
    stream: S,
    peer: SocketAddr,
    handler: Arc<H>,
    limits: ServerLimits,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let fallback_client_id = *uuid::Uuid::new_v4().as_bytes();
    let connection = Connection {
        stream,
        handler,
        session: Session::new(limits.max_frame_bytes, fallback_client_id),
        caller: None,
        client_ip: peer.ip(),
        pending: FuturesUnordered::new(),
        input: BytesMut::new(),
        output: BytesMut::new(),
        limits,
    };
    match connection.run(shutdown).await {
        Ok(()) => debug!(%peer, "RPC connection closed"),
        Err(End::Refused(reason)) => info!(%peer, "closed an RPC connection: {reason}"),
        Err(End::Io(error)) => debug!(%peer, "RPC connection lost: {error}"),
    }
}

/// Why a connection ended otherwise than by a clean close.
enum End {
    Refused(String),
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An answer that arrived later, with what it belongs to.
type Answered = (CallKey, Result<Vec<u8>, RemoteError>);

struct Connection<S, H> {
    stream: S,
    handler: Arc<H>,
    session: Session,
    caller: Option<Caller>,
    client_ip: IpAddr,
    limits: ServerLimits,
    /// Calls whose answers take time. Never more than `limits.max_calls_in_flight`.
    pending: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    input: BytesMut,
    output: BytesMut,
}

/// What a pass over the input left.
#[derive(PartialEq, Eq)]
enum Parsed {
    /// Every whole frame has been taken.
    All,
    /// A bound was reached: send the answers first.
    Some,
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> Connection<S, H> {
    async fn run(mut self, shutdown: CancellationToken) -> Result<(), End> {
        let mut stopping = std::pin::pin!(shutdown.cancelled());
        let mut last_read = Instant::now();
        let mut timer: Pin<Box<Sleep>> =
            Box::pin(sleep_until(last_read + self.limits.handshake_timeout));
        loop {
            let parsed = match self.take_calls() {
                Ok(parsed) => parsed,
                Err(refused) => {
                    self.flush().await?;
                    self.stream.shutdown().await?;
                    return Err(refused);
                }
            };
            while let Some(Some(answered)) = self.pending.next().now_or_never() {
                self.answer(answered);
            }
            self.flush().await?;
            if parsed == Parsed::Some && self.has_room() {
                continue;
            }
            self.input.reserve(READ_BYTES);
            let reading = self.has_room();
            tokio::select! {
                biased;
                Some(answered) = self.pending.next(), if !self.pending.is_empty() => {
                    self.answer(answered);
                }
                read = self.stream.read_buf(&mut self.input), if reading => {
                    if read? == 0 {
                        return self.closed_by_peer();
                    }
                    last_read = Instant::now();
                }
                () = &mut timer => self.rewind(timer.as_mut(), last_read)?,
                () = &mut stopping => return self.finish().await,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.pending.len() < self.limits.max_calls_in_flight
    }

    /// Hands every whole call that has come to the handler, as far as the bounds allow.
    fn take_calls(&mut self) -> Result<Parsed, End> {
        loop {
            if !self.has_room() || self.output.len() >= WRITE_BATCH_BYTES {
                return Ok(Parsed::Some);
            }
            match self.session.next(&mut self.input, &mut self.output) {
                Ok(Some(Event::Call(call))) => self.dispatch(call),
                Ok(Some(Event::Opened(caller))) => self.caller = Some(caller),
                Ok(Some(Event::Ping)) => {}
                Ok(None) => return Ok(Parsed::All),
                Err(refusal) => return Err(End::Refused(refusal.0)),
            }
        }
    }

    fn dispatch(&mut self, call: Call) {
        let Some(caller) = &self.caller else {
            debug_assert!(false, "the session gives no call before the context");
            return;
        };
        let context = CallContext {
            user: Arc::clone(&caller.user),
            real_user: caller.real_user.clone(),
            client_ip: self.client_ip,
            client_id: call.client_id,
            call_id: call.key.call_id,
            retry_count: call.key.retry_count,
        };
        let reply = if call.protocol_version == PROTOCOL_VERSION {
            self.handler.call(&context, &call.protocol, &call.method, call.body)
        } else {
            Reply::error(
                ErrorKind::VersionMismatch,
                format!(
                    "Protocol {} version mismatch. (client = {}, server = {PROTOCOL_VERSION})",
                    call.protocol, call.protocol_version
                ),
            )
        };
        match reply {
            Reply::Now(result) => self.answer((call.key, result)),
            Reply::Later(future) => {
                let key = call.key;
                self.pending.push(Box::pin(async move { (key, future.await) }));
            }
        }
    }

    fn answer(&mut self, (key, result): Answered) {
        match result {
            Ok(body) if body.len() <= MAX_FRAME_BYTES - HEADER_ROOM_BYTES => {
                header::put_success(&mut self.output, &key, &body);
            }
            Ok(body) => {
                let message = format!(
                    "the answer has {} bytes, more than the {MAX_FRAME_BYTES} a client accepts; \
                     ask for less at a time",
                    body.len()
                );
                let error = RemoteError::new(ErrorKind::Io, message);
                header::put_error(&mut self.output, &key, &error);
            }
            Err(error) => header::put_error(&mut self.output, &key, &error),
        }
    }

    /// Sends all output with as few writes as the socket takes. The deadline is for progress, not
    /// for the whole: a large answer may take its time on a slow line.
    async fn flush(&mut self) -> Result<(), End> {
        let limit = self.limits.write_timeout;
        while !self.output.is_empty() {
            match timeout(limit, self.stream.write_buf(&mut self.output)).await {
                Ok(Ok(0)) => return Err(End::Io(io::ErrorKind::WriteZero.into())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(End::Io(error)),
                Err(_) => {
                    return Err(End::Refused(format!(
                        "the client did not read its answers for {} s",
                        limit.as_secs()
                    )));
                }
            }
        }
        Ok(())
    }

    /// The timer has run out: refuses a late handshake or a silent client, or sets it anew.
    fn rewind(&self, timer: Pin<&mut Sleep>, last_read: Instant) -> Result<(), End> {
        if !self.session.is_open() {
            return Err(End::Refused(format!(
                "the client did not say who it is within {} s",
                self.limits.handshake_timeout.as_secs()
            )));
        }
        let now = Instant::now();
        let silent = now.duration_since(last_read) >= self.limits.idle_timeout;
        if silent && self.pending.is_empty() {
            return Err(End::Refused(format!(
                "the client was silent for {} s",
                self.limits.idle_timeout.as_secs()
            )));
        }
        let from = if silent { now } else { last_read };
        timer.reset(from + self.limits.idle_timeout);
        Ok(())
    }

    fn closed_by_peer(&self) -> Result<(), End> {
        if self.input.is_empty() {
            return Ok(());
        }
        Err(End::Refused(format!("the client closed {} bytes into a request", self.input.len())))
    }

    /// Answers the calls in flight, then closes.
    async fn finish(mut self) -> Result<(), End> {
        let limit = self.limits.write_timeout;
        let drain = async {
            while let Some(answered) = self.pending.next().await {
                self.answer(answered);
            }
        };
        let drained = timeout(limit, drain).await;
        self.flush().await?;
        self.stream.shutdown().await?;
        match drained {
            Ok(()) => Ok(()),
            Err(_) => Err(End::Refused(format!(
                "{} calls were unanswered {} s after the shutdown began",
                self.pending.len(),
                limit.as_secs()
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
