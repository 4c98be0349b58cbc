//! The datanodes' door: one long-lived gRPC stream in each direction per datanode.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::proto::datanode::datanode_service_server::{
    DatanodeService, DatanodeServiceServer,
};
use hfs_protocol::proto::datanode::{
    DatanodeMessage, NamenodeMessage, Refused, Register, datanode_message, namenode_message,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::service::{Refusal, Service};

/// How long a datanode may take from opening its stream to saying who it is.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest message accepted, bytes. A report of 100 000 replicas has about 3 MB.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Connections that have not yet shown that they speak HTTP/2.
const MAX_HANDSHAKES: usize = 256;
/// How long such a connection may take to show it.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait after a failed accept (out of descriptors, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Serves datanodes until shutdown.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let (accepted, incoming) = mpsc::channel(MAX_HANDSHAKES);
    shutdown.spawn(accept(listener, accepted, shutdown.clone()));
    let front = DatanodeFront { service, shutdown: shutdown.clone() };
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(DatanodeServiceServer::new(front).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), shutdown.triggered_owned())
        .await
}

/// Accepts connections and passes on those that begin as HTTP/2 does; others are closed with a
/// log line, before anything is allocated for them.
async fn accept(
    listener: TcpListener,
    accepted: mpsc::Sender<io::Result<TcpStream>>,
    shutdown: Shutdown,
) {
    let slots = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let next = tokio::select! {
            next = listener.accept() => next,
            () = shutdown.triggered() => return,
        };
        let (stream, peer) = match next {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!("can't accept datanode connections: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!("closed a connection from {peer}: too many are in their handshake");
            continue;
        };
        let accepted = accepted.clone();
        let told = shutdown.clone();
        tokio::spawn(async move {
            let greeting = tokio::select! {
                greeting = timeout(PREFACE_TIMEOUT, has_preface(&stream)) => greeting,
                () = told.triggered() => return,
            };
            match greeting {
                Ok(Ok(true)) => {
                    let nodelay = stream.set_nodelay(true);
                    if let Err(error) = nodelay {
                        tracing::debug!(%peer, "TCP_NODELAY can't be set: {error}");
                    }
                    // A closed channel means that the server is gone, and so is this connection.
                    let _ = accepted.send(Ok(stream)).await;
                }
                Ok(Ok(false)) => {
                    tracing::info!("closed a connection from {peer}: it does not speak gRPC");
                }
                Ok(Err(error)) => tracing::debug!("lost a connection from {peer}: {error}"),
                Err(_) => tracing::info!(
                    "closed a connection from {peer}: it said nothing for {} s",
                    PREFACE_TIMEOUT.as_secs()
                ),
            }
            drop(slot);
        });
    }
}

/// Whether the connection begins with the HTTP/2 preface, without taking it.
async fn has_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0_u8; PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 {
            return Ok(false);
        }
        if seen[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // The rest is under way; peek does not wait for more than there is.
        sleep(Duration::from_millis(5)).await;
    }
}

struct DatanodeFront {
    service: Arc<Service>,
    shutdown: Shutdown,
}

type Commands = Pin<Box<dyn Stream<Item = Result<NamenodeMessage, Status>> + Send>>;

#[tonic::async_trait]
impl DatanodeService for DatanodeFront {
    type ConnectStream = Commands;

    async fn connect(
        &self,
        request: Request<Streaming<DatanodeMessage>>,
    ) -> Result<Response<Commands>, Status> {
        let peer = request
            .remote_addr()
            .ok_or_else(|| Status::failed_precondition("the connection has no peer address"))?;
        let mut inbound = request.into_inner();
        let register = first_word(&mut inbound).await?;
        let uuid = register.datanode_uuid.clone();
        match self.service.register(register, peer).await {
            Ok(accepted) => {
                let (node, session) = (accepted.node, accepted.session);
                let service = Arc::clone(&self.service);
                let told = self.shutdown.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = listen(&service, &mut inbound, node, session) => {}
                        () = told.triggered() => return,
                    }
                    service.stream_ended(node, session);
                });
                let told = self.shutdown.clone();
                let commands = ReceiverStream::new(accepted.commands);
                let commands = futures::StreamExt::map(commands, Ok);
                let until = futures::StreamExt::take_until(commands, told.triggered_owned());
                Ok(Response::new(Box::pin(until)))
            }
            Err(Refusal { reason, last_word }) => {
                tracing::warn!("refused datanode {uuid} from {peer}: {reason}");
                let refused =
                    namenode_message::Message::Refused(Refused { reason, r#final: last_word });
                let message = NamenodeMessage { message: Some(refused) };
                Ok(Response::new(Box::pin(futures::stream::iter([Ok(message)]))))
            }
        }
    }
}

async fn first_word(inbound: &mut Streaming<DatanodeMessage>) -> Result<Register, Status> {
    let message = timeout(REGISTER_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the datanode did not register in time"))??;
    match message.and_then(|m| m.message) {
        Some(datanode_message::Message::Register(register)) => Ok(register),
        _ => Err(Status::failed_precondition("the first message must be Register")),
    }
}

async fn listen(
    service: &Arc<Service>,
    inbound: &mut Streaming<DatanodeMessage>,
    node: crate::blocks::NodeId,
    session: u64,
) {
    loop {
        match inbound.message().await {
            Ok(Some(DatanodeMessage { message: Some(message) })) => {
                if !service.heard(node, session, message) {
                    return;
                }
            }
            // A message of a kind this version does not know says nothing.
            Ok(Some(DatanodeMessage { message: None })) => {}
            Ok(None) => return,
            Err(status) => {
                tracing::debug!("a datanode's stream ended: {status}");
                return;
            }
        }
    }
}
