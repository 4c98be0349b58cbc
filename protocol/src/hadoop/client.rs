//! The client's side of a Hadoop RPC connection.
//!
//! Many calls share one connection and are answered in any order. A call is written by its caller
//! when the socket takes it at once, by the writer task otherwise; the reader task hands answers
//! to those who wait for them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::{TcpSocket, TcpStream, ToSocketAddrs};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::delimited;
use crate::error::{ErrorKind, RemoteError};
use crate::hadoop::frame::{self, MAX_FRAME_BYTES};
use crate::hadoop::header::{self, CLIENT_ID_BYTES};
use crate::proto::hadoop::common::RpcResponseHeaderProto;
use crate::proto::hadoop::common::rpc_response_header_proto::RpcStatusProto;

/// How much room a read gets, bytes.
const READ_BYTES: usize = 32 * 1024;

/// How a connection is made and used.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How long connecting to one address may take.
    pub connect_timeout: Duration,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// How long the server may be silent before it is sent a ping (HDFS `ipc.ping.interval`).
    pub ping_interval: Duration,
    /// The largest answer accepted, bytes (HDFS `ipc.maximum.response.length`).
    pub max_response_bytes: usize,
    /// How many calls may be in flight; further ones wait.
    pub max_calls_in_flight: usize,
    /// The local address to dial from, where it matters by which address the server knows us.
    pub local_address: Option<IpAddr>,
    /// Who impersonates the user.
    pub real_user: Option<String>,
    /// The client's id; random unless given. With the call id it names a call for good, so a
    /// client that retries on a new connection gives the old one's.
    pub client_id: Option<[u8; CLIENT_ID_BYTES]>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(60),
            max_response_bytes: MAX_FRAME_BYTES,
            max_calls_in_flight: 1024,
            local_address: None,
            real_user: None,
            client_id: None,
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The server answered with an error.
    #[error("{0}")]
    Remote(RemoteError),
    /// No answer came: the connection failed, the time ran out, or the answer can't be read.
    #[error("{0}")]
    Io(io::Error),
}

impl From<RemoteError> for RpcError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<io::Error> for RpcError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One connection to an RPC server. Clones share it; it closes with the last of them.
#[derive(Debug, Clone)]
pub struct RpcClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    protocol: String,
    next_call_id: AtomicI32,
    in_flight: Semaphore,
    call_timeout: Duration,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    peer: SocketAddr,
    client_id: [u8; CLIENT_ID_BYTES],
    calls: Mutex<Calls>,
    /// Tells the writer that the socket did not take all output.
    blocked: Notify,
}

#[derive(Debug, Default)]
struct Calls {
    output: BytesMut,
    waiting: HashMap<i32, oneshot::Sender<Result<Bytes, RpcError>>>,
    /// Why the connection is of no use any more.
    closed: Option<Closed>,
}

/// Why a connection ended; given to every call it had in flight.
#[derive(Debug, Clone)]
enum Closed {
    Remote(RemoteError),
    Io(io::ErrorKind, String),
}

impl Closed {
    fn error(&self) -> RpcError {
        match self {
            Self::Remote(error) => RpcError::Remote(error.clone()),
            Self::Io(kind, message) => RpcError::Io(io::Error::new(*kind, message.clone())),
        }
    }
}

impl RpcClient {
    /// Connects to the first of `addr`'s addresses that accepts, and says that `user` calls
    /// `protocol` (a Java name such as
    /// [`CLIENT_PROTOCOL`](crate::hadoop::header::CLIENT_PROTOCOL)).
    ///
    /// # Errors
    /// [`RpcError::Io`] when the name has no address or no address accepts in time.
    pub async fn connect(
        addr: impl ToSocketAddrs,
        protocol: &str,
        user: &str,
        options: ClientOptions,
    ) -> Result<Self, RpcError> {
        let (stream, peer) = dial(addr, &options).await?;
        let client_id = options.client_id.unwrap_or_else(|| *uuid::Uuid::new_v4().as_bytes());
        let mut calls = Calls::default();
        calls.output.extend_from_slice(&header::preamble());
        header::put_context(
            &mut calls.output,
            &client_id,
            user,
            options.real_user.as_deref(),
            protocol,
        );
        let shared = Arc::new(Shared {
            stream,
            peer,
            client_id,
            calls: Mutex::new(calls),
            blocked: Notify::new(),
        });
        let reader =
            read_answers(Arc::clone(&shared), options.max_response_bytes, options.ping_interval);
        let tasks = [tokio::spawn(reader), tokio::spawn(write_calls(Arc::clone(&shared)))];
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                protocol: protocol.to_owned(),
                next_call_id: AtomicI32::new(0),
                in_flight: Semaphore::new(options.max_calls_in_flight),
                call_timeout: options.call_timeout,
                tasks,
            }),
        })
    }

    /// The server's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.inner.shared.peer
    }

    /// The address this side dialled from.
    ///
    /// # Errors
    /// What the socket fails with.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.shared.stream.local_addr()
    }

    /// The id this client gave itself.
    #[must_use]
    pub fn client_id(&self) -> [u8; CLIENT_ID_BYTES] {
        self.inner.shared.client_id
    }

    /// Whether the connection has ended: every further call fails at once.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.shared.calls.lock().closed.is_some()
    }

    /// A call id no other call of this connection has.
    #[must_use]
    pub fn next_call_id(&self) -> i32 {
        self.inner.next_call_id.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Errors
    /// [`RpcError::Remote`] when the server says so; [`RpcError::Io`] when no answer came, in
    /// which case the call may have taken effect or not.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<A, RpcError> {
        self.call_with_id(method, request, self.next_call_id(), 0).await
    }

    /// Makes a call under a given id: a retry repeats the id with a higher count, so that the
    /// server can tell it from a new call.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_with_id<Q: Message, A: Message + Default>(
        &self,
        method: &str,
        request: &Q,
        call_id: i32,
        retry_count: i32,
    ) -> Result<A, RpcError> {
        let limit = self.inner.call_timeout;
        let answer = timeout(limit, self.exchange(method, request, call_id, retry_count)).await;
        let body = answer.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{} did not answer {method} within {} s", self.peer(), limit.as_secs_f32()),
            )
        })??;
        A::decode(body).map_err(|error| {
            RpcError::Io(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the answer of {} to {method} can't be read: {error}", self.peer()),
            ))
        })
    }

    async fn exchange(
        &self,
        method: &str,
        request: &impl Message,
        call_id: i32,
        retry_count: i32,
    ) -> Result<Bytes, RpcError> {
        let permit = self.inner.in_flight.acquire().await;
        let _permit = permit.expect("invariant: the semaphore is never closed");
        let shared = &self.inner.shared;
        let (sender, receiver) = oneshot::channel();
        {
            let mut calls = shared.calls.lock();
            if let Some(closed) = &calls.closed {
                return Err(closed.error());
            }
            header::put_call(
                &mut calls.output,
                (call_id, retry_count),
                &shared.client_id,
                &self.inner.protocol,
                method,
                request,
            );
            calls.waiting.insert(call_id, sender);
            shared.send(&mut calls);
        }
        let _forget = Forget { shared, call_id };
        receiver.await.unwrap_or_else(|_| {
            Err(RpcError::Io(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("the connection to {} was given up", shared.peer),
            )))
        })
    }
}

/// Forgets a call that nobody waits for any more.
struct Forget<'a> {
    shared: &'a Shared,
    call_id: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.calls.lock().waiting.remove(&self.call_id);
    }
}

impl Shared {
    /// Writes what the socket takes at once and leaves the rest to the writer.
    fn send(&self, calls: &mut Calls) {
        while !calls.output.is_empty() {
            match self.stream.try_write(&calls.output) {
                Ok(written) => calls.output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.notify_one();
                    return;
                }
                Err(error) => {
                    let message = format!("sending to {} failed: {error}", self.peer);
                    calls.close(Closed::Io(error.kind(), message));
                    return;
                }
            }
        }
    }

    fn close(&self, reason: Closed) {
        self.calls.lock().close(reason);
    }
}

impl Calls {
    fn close(&mut self, reason: Closed) {
        self.output.clear();
        for (_, waiting) in self.waiting.drain() {
            // The caller may have gone; then nobody misses the answer.
            let _ = waiting.send(Err(reason.error()));
        }
        self.closed.get_or_insert(reason);
    }
}

async fn dial(
    addr: impl ToSocketAddrs,
    options: &ClientOptions,
) -> Result<(TcpStream, SocketAddr), io::Error> {
    let mut last = None;
    for peer in tokio::net::lookup_host(addr).await? {
        match dial_one(peer, options).await {
            Ok(stream) => return Ok((stream, peer)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "the server's name has no address")
    }))
}

async fn dial_one(peer: SocketAddr, options: &ClientOptions) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    if let Some(local) = options.local_address
        && local.is_ipv4() == peer.is_ipv4()
    {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    match timeout(options.connect_timeout, socket.connect(peer)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            Err(io::Error::new(error.kind(), format!("connecting to {peer} failed: {error}")))
        }
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{peer} did not accept within {} s", options.connect_timeout.as_secs_f32()),
        )),
    }
}

/// Sends what the callers could not.
async fn write_calls(shared: Arc<Shared>) {
    loop {
        shared.blocked.notified().await;
        if let Err(error) = shared.stream.writable().await {
            let message = format!("sending to {} failed: {error}", shared.peer);
            return shared.close(Closed::Io(error.kind(), message));
        }
        let mut calls = shared.calls.lock();
        shared.send(&mut calls);
    }
}

/// Hands answers to those who wait for them, and pings a silent server.
async fn read_answers(shared: Arc<Shared>, max: usize, ping_interval: Duration) {
    let mut input = BytesMut::new();
    let closed = loop {
        match take_answers(&shared, &mut input, max) {
            Ok(()) => {}
            Err(closed) => break closed,
        }
        match timeout(ping_interval, shared.stream.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => break lost(&shared, &error),
            Err(_) => {
                let mut calls = shared.calls.lock();
                if !calls.waiting.is_empty() {
                    header::put_ping(&mut calls.output, &shared.client_id);
                    shared.send(&mut calls);
                }
                continue;
            }
        }
        input.reserve(READ_BYTES);
        match shared.stream.try_read_buf(&mut input) {
            Ok(0) => {
                let message = format!("{} closed the connection", shared.peer);
                break Closed::Io(io::ErrorKind::UnexpectedEof, message);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => break lost(&shared, &error),
        }
    };
    shared.close(closed);
}

fn lost(shared: &Shared, error: &io::Error) -> Closed {
    Closed::Io(error.kind(), format!("the connection to {} was lost: {error}", shared.peer))
}

fn take_answers(shared: &Shared, input: &mut BytesMut, max: usize) -> Result<(), Closed> {
    let invalid = |message: String| {
        Closed::Io(
            io::ErrorKind::InvalidData,
            format!("{} does not speak Hadoop RPC: {message}", shared.peer),
        )
    };
    while let Some(mut frame) = frame::decode(input, max).map_err(|e| invalid(e.to_string()))? {
        let header: RpcResponseHeaderProto =
            delimited::take(&mut frame).map_err(|error| invalid(error.to_string()))?;
        let answer = match RpcStatusProto::try_from(header.status) {
            Ok(RpcStatusProto::Success) => {
                let body = delimited::take_bytes(&mut frame);
                Ok(body.map_err(|error| invalid(error.to_string()))?)
            }
            Ok(RpcStatusProto::Error) => Err(RpcError::Remote(remote_error(&header))),
            Ok(RpcStatusProto::Fatal) => return Err(Closed::Remote(remote_error(&header))),
            Err(_) => return Err(invalid(format!("status {} is unknown", header.status))),
        };
        let waiting = shared.calls.lock().waiting.remove(&(header.call_id as i32));
        if let Some(waiting) = waiting {
            // The caller may have gone; then nobody misses the answer.
            let _ = waiting.send(answer);
        }
    }
    Ok(())
}

/// The error a server reports. A Java server appends the stack; people want the first line. A
/// class the table does not know stays readable in the message.
fn remote_error(header: &RpcResponseHeaderProto) -> RemoteError {
    let class = header.exception_class_name();
    let kind = ErrorKind::from_java_class(class);
    let text = header.error_msg();
    let message = text.split("\n\tat ").next().unwrap_or(text).trim_end();
    let known = kind != ErrorKind::Io || class == ErrorKind::Io.java_class() || class.is_empty();
    if known && !message.is_empty() {
        RemoteError::new(kind, message)
    } else {
        RemoteError::new(kind, format!("{class}: {message}"))
    }
}
