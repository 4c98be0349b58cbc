//! One connection to the namenode.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hfs_protocol::proto::datanode::datanode_message::Message;
use hfs_protocol::proto::datanode::datanode_service_client::DatanodeServiceClient;
use hfs_protocol::proto::datanode::namenode_message::Message as Command;
use hfs_protocol::proto::datanode::{
    BadReplicas, BlockReport, DatanodeMessage, Heartbeat, NamenodeMessage, Register, Registered,
};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::{Link, LinkError, SessionEnd};
use crate::store::Pool;

/// Messages that the stream's queue holds.
const QUEUE_MESSAGES: usize = 256;

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long the namenode may take to answer a registration.
const REGISTER_PATIENCE: Duration = Duration::from_secs(20);

/// A connection on which nothing comes is tried this often, so that a namenode that vanished
/// without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Replicas in one message of a full report: some 300 kB.
const REPORT_CHUNK: usize = 10_000;

/// What waits because the stream's queue was full is tried again this often.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest heartbeat interval that a namenode may ask for.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);

type Inbound = Streaming<NamenodeMessage>;

impl Link {
    pub(super) async fn session(self: &Arc<Self>, namenode: &str) -> SessionEnd {
        let (stream, mut inbound) = match self.open(namenode).await {
            Ok(opened) => opened,
            Err(reason) => return SessionEnd::Lost(reason),
        };
        let registered = match self.register(namenode, &mut inbound).await {
            Ok(registered) => registered,
            Err(end) => return end,
        };
        tracing::info!(
            "registered with namenode {namenode} of cluster {}, {} replicas",
            registered.cluster_id,
            self.xceiver.store.replica_count()
        );
        self.registered.store(true, Ordering::Release);
        self.announcer.outbox().connect(stream.clone());
        let reason = self.attend(&stream, inbound, &registered).await;
        SessionEnd::Lost(reason)
    }

    async fn open(&self, namenode: &str) -> Result<(Sender<DatanodeMessage>, Inbound), String> {
        let endpoint = Endpoint::from_shared(format!("http://{namenode}"))
            .map_err(|_| format!("'{namenode}' is not an address such as host:8021"))?
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
        let (stream, queue) = mpsc::channel(QUEUE_MESSAGES);
        let hello = DatanodeMessage { message: Some(Message::Register(self.hello())) };
        stream.send(hello).await.map_err(|_| "the queue is closed".to_owned())?;
        let mut client = DatanodeServiceClient::new(channel);
        // The future is large: it lives on the heap for the short time it is needed.
        let connect = Box::pin(client.connect(ReceiverStream::new(queue)));
        let connecting = tokio::time::timeout(REGISTER_PATIENCE, connect);
        match connecting.await {
            Ok(Ok(response)) => Ok((stream, response.into_inner())),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("it did not answer in {} s", REGISTER_PATIENCE.as_secs())),
        }
    }

    fn hello(&self) -> Register {
        let store = &self.xceiver.store;
        let pool = store.pool();
        Register {
            datanode_uuid: store.datanode_uuid().to_owned(),
            cluster_id: pool.map(|pool| pool.cluster_id.clone()).unwrap_or_default(),
            block_pool_id: pool.map(|pool| pool.pool_id.clone()).unwrap_or_default(),
            ip: self.identity.ip.clone(),
            host: self.identity.host.clone(),
            transfer_port: self.identity.transfer_port.into(),
            ipc_port: self.identity.ipc_port.into(),
            http_port: self.identity.http_port.into(),
            rack: self.identity.rack.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            storages: store.storages(),
        }
    }

    /// The data directories, for a sentence.
    fn data_dirs(&self) -> String {
        let volumes = self.xceiver.store.volumes();
        let dirs: Vec<String> = volumes.iter().map(|v| v.dir().display().to_string()).collect();
        dirs.join(", ")
    }

    async fn register(
        self: &Arc<Self>,
        namenode: &str,
        inbound: &mut Inbound,
    ) -> Result<Registered, SessionEnd> {
        let answer = tokio::time::timeout(REGISTER_PATIENCE, inbound.message()).await;
        let registered = match answer {
            Err(_) => {
                let seconds = REGISTER_PATIENCE.as_secs();
                return Err(SessionEnd::Lost(format!("it did not register in {seconds} s")));
            }
            Ok(Err(status)) => return Err(SessionEnd::Lost(status.message().to_owned())),
            Ok(Ok(None)) => return Err(SessionEnd::Lost("it hung up".to_owned())),
            Ok(Ok(Some(NamenodeMessage { message: Some(Command::Registered(registered)) }))) => {
                registered
            }
            Ok(Ok(Some(NamenodeMessage { message: Some(Command::Refused(refused)) }))) => {
                return Err(if refused.r#final {
                    SessionEnd::Fatal(LinkError::Refused {
                        namenode: namenode.to_owned(),
                        reason: format!(
                            "{}. This datanode's data directories: {}",
                            refused.reason,
                            self.data_dirs()
                        ),
                    })
                } else {
                    SessionEnd::Lost(refused.reason)
                });
            }
            Ok(Ok(Some(other))) => {
                return Err(SessionEnd::Lost(format!(
                    "it answered the registration with something else: {other:?}"
                )));
            }
        };
        let pool = Pool {
            cluster_id: registered.cluster_id.clone(),
            pool_id: registered.block_pool_id.clone(),
        };
        let store = Arc::clone(&self.xceiver.store);
        match tokio::task::spawn_blocking(move || store.adopt(&pool)).await {
            Ok(Ok(())) => Ok(registered),
            Ok(Err(error)) => Err(SessionEnd::Fatal(LinkError::Foreign(error.to_string()))),
            Err(error) => Err(SessionEnd::Lost(format!("adopting the cluster failed: {error}"))),
        }
    }

    /// Heartbeats, reports and commands until the stream ends; answers why it did.
    async fn attend(
        self: &Arc<Self>,
        stream: &Sender<DatanodeMessage>,
        mut inbound: Inbound,
        registered: &Registered,
    ) -> String {
        let interval = Duration::from_millis(registered.heartbeat_interval_ms).max(HEARTBEAT_MIN);
        let mut heartbeat = tokio::time::interval(interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flush = tokio::time::interval(FLUSH_INTERVAL);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report = AbortOnDrop(self.start_report(stream));
        let mut report_again = false;
        loop {
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(NamenodeMessage { message: Some(Command::SendBlockReport(_)) })) => {
                        report_again = true;
                    }
                    Ok(Some(NamenodeMessage { message: Some(command) })) => self.obey(command),
                    Ok(Some(NamenodeMessage { message: None })) => {}
                    Ok(None) => return "it hung up".to_owned(),
                    Err(status) => return status.message().to_owned(),
                },
                _ = heartbeat.tick() => {
                    let Some(beat) = self.heartbeat().await else { continue };
                    // A namenode that takes nothing for this long is as good as gone.
                    let sent = stream.send_timeout(beat, REGISTER_PATIENCE).await;
                    if sent.is_err() {
                        return "it takes no more messages".to_owned();
                    }
                }
                _ = flush.tick() => report_again |= self.announcer.outbox().flush(),
            }
            if report_again && report.0.is_finished() {
                report_again = false;
                report = AbortOnDrop(self.start_report(stream));
            }
        }
    }

    async fn heartbeat(&self) -> Option<DatanodeMessage> {
        let store = Arc::clone(&self.xceiver.store);
        let active = self.xceiver.active();
        // Asking a sick disk for its free space can hang.
        let beat = tokio::task::spawn_blocking(move || Heartbeat {
            storages: store.storages(),
            active_transfers: u32::try_from(active).unwrap_or(u32::MAX),
            replicas: store.replica_count() as u64,
        });
        let beat = beat.await.ok()?;
        Some(DatanodeMessage { message: Some(Message::Heartbeat(beat)) })
    }

    fn start_report(self: &Arc<Self>, stream: &Sender<DatanodeMessage>) -> JoinHandle<()> {
        let link = Arc::clone(self);
        let stream = stream.clone();
        tokio::spawn(async move {
            if !link.announcer.outbox().begin_report() {
                return;
            }
            if link.report(&stream).await.is_some() {
                link.announcer.outbox().report_sent();
            }
        })
    }

    /// Sends a full report of every working volume. `None` when the stream has ended.
    async fn report(&self, stream: &Sender<DatanodeMessage>) -> Option<()> {
        let store = &self.xceiver.store;
        let report_id = uuid::Uuid::new_v4().as_u64_pair().0;
        for volume in store.volumes().iter().filter(|volume| !volume.is_failed()) {
            let (listed, of) = (Arc::clone(store), Arc::clone(volume));
            let replicas = tokio::task::spawn_blocking(move || listed.report(&of)).await.ok()?;
            let mut rest = &replicas[..];
            loop {
                let (chunk, after) = rest.split_at(rest.len().min(REPORT_CHUNK));
                rest = after;
                let message = Message::BlockReport(BlockReport {
                    report_id,
                    storage_uuid: volume.storage_uuid().to_owned(),
                    replicas: chunk.to_vec(),
                    last: rest.is_empty(),
                });
                stream.send(DatanodeMessage { message: Some(message) }).await.ok()?;
                if rest.is_empty() {
                    break;
                }
            }
        }
        for (block, reason) in store.take_bad_at_start() {
            tracing::error!("blk_{} is corrupt here: {reason}", block.block_id);
            let bad = BadReplicas { blocks: vec![block], reason };
            self.announcer.outbox().keep(Message::BadReplicas(bad));
        }
        Some(())
    }
}

/// A task that ends with the session it belongs to.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An error with its causes: tonic's own text says only `transport error`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
