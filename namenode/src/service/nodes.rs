//! What datanodes say: registration, heartbeats, reports.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hfs_protocol::ids::BlockId;
use hfs_protocol::proto::datanode::{
    self as wire, NamenodeMessage, datanode_message::Message, namenode_message,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cluster::COMMAND_QUEUE;
use super::leases::stamp;
use super::{Cluster, Service};
use crate::blocks::recovery::Found;
use crate::blocks::report::Reported;
use crate::blocks::{NodeId, ReplicaKind};
use crate::datanodes::{Address, Registration, StorageReport};

/// How long a datanode's advertised address may take to accept a connection.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a suspected datanode's port is tried.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// How long one such try may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// The most blocks one message may carry; the datanode sends more in chunks.
pub const MAX_BLOCKS_PER_MESSAGE: usize = 1_000_000;

/// Why a datanode is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A sentence for its operator.
    pub reason: String,
    /// Trying again won't help.
    pub last_word: bool,
}

/// A datanode that was taken.
#[derive(Debug)]
pub struct Accepted {
    /// Its number.
    pub node: NodeId,
    /// Names this stream.
    pub session: u64,
    /// What to send it.
    pub commands: mpsc::Receiver<NamenodeMessage>,
}

impl Service {
    /// Takes a datanode in, after checks of its identity and its address.
    ///
    /// # Errors
    /// A sentence for the datanode's operator.
    pub async fn register(
        &self,
        register: wire::Register,
        peer: SocketAddr,
    ) -> Result<Accepted, Refusal> {
        self.check_cluster(&register)?;
        let ip = advertised_ip(&register.ip, peer.ip())?;
        let port = |value: u32, what: &str| {
            u16::try_from(value).map_err(|_| final_refusal(format!("{what} {value} is no port")))
        };
        let address = Address {
            ip: ip.to_string(),
            host: if register.host.is_empty() { ip.to_string() } else { register.host.clone() },
            transfer_port: port(register.transfer_port, "transfer-port")?,
            ipc_port: port(register.ipc_port, "ipc-port")?,
            http_port: port(register.http_port, "http-port")?,
        };
        self.reach(SocketAddr::new(ip, address.transfer_port)).await?;
        let session = self.new_session();
        let (now_ms, wall_ms) = (self.monotonic_ms(), self.clock.now_ms());
        let registration = Registration {
            uuid: register.datanode_uuid,
            address,
            rack: register.rack,
            version: register.version,
            storages: register.storages.into_iter().map(storage).collect(),
            session,
        };
        let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let mut cluster = self.cluster.write();
        let registered = cluster
            .nodes
            .register(registration, now_ms, wall_ms)
            .map_err(|reason| Refusal { reason, last_word: false })?;
        if let Some(old) = registered.displaced
            && cluster.nodes.displace(old)
        {
            self.bury(&mut cluster, old, "another datanode took its address");
        }
        let node = registered.id;
        cluster.blocks.node_registered(node);
        let welcome = namenode_message::Message::Registered(wire::Registered {
            cluster_id: self.identity.cluster_id.clone(),
            block_pool_id: self.identity.block_pool_id.clone(),
            heartbeat_interval_ms: super::millis(self.config.heartbeat_interval),
        });
        // The queue is new and empty: there is room for one.
        let _ = sender.try_send(NamenodeMessage { message: Some(welcome) });
        cluster.streams.insert(node, sender);
        cluster.check_safemode();
        if let Some(known) = cluster.nodes.get(node) {
            tracing::info!(
                "datanode {} at {} registered ({} live)",
                known.uuid,
                known.transfer_address(),
                cluster.nodes.live()
            );
        }
        self.work.notify_one();
        Ok(Accepted { node, session, commands })
    }

    fn check_cluster(&self, register: &wire::Register) -> Result<(), Refusal> {
        let ours = &self.identity;
        if !register.cluster_id.is_empty() && register.cluster_id != ours.cluster_id {
            return Err(final_refusal(format!(
                "datanode {} holds data of cluster {}, but this namenode, with its directory {}, \
                 is of cluster {}. Nothing was deleted. Either point the datanode at its own namenode, or give it \
                 an empty data directory; if the namenode was formatted anew by mistake, restore \
                 its former directory",
                register.datanode_uuid,
                register.cluster_id,
                self.config.dir.display(),
                ours.cluster_id
            )));
        }
        if !register.block_pool_id.is_empty() && register.block_pool_id != ours.block_pool_id {
            return Err(final_refusal(format!(
                "datanode {} holds data of block pool {}, but this namenode's, with its \
                 directory {}, is {}. Nothing was deleted. Point the datanode at its own namenode or give it an empty data \
                 directory",
                register.datanode_uuid,
                register.block_pool_id,
                self.config.dir.display(),
                ours.block_pool_id
            )));
        }
        Ok(())
    }

    async fn reach(&self, address: SocketAddr) -> Result<(), Refusal> {
        let why = match timeout(REACH_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", REACH_TIMEOUT.as_secs()),
        };
        Err(Refusal {
            reason: format!(
                "the advertised data transfer address {address} can't be reached from the \
                 namenode at {}: {why}. Clients would fail in the same way; change the \
                 datanode's advertised-host or host (and transfer-port), or the firewall between",
                self.config.host
            ),
            last_word: false,
        })
    }

    /// A message of a registered datanode. False: the stream no longer speaks for the node.
    pub fn heard(&self, node: NodeId, session: u64, message: Message) -> bool {
        let (now_ms, wall_ms) = (self.monotonic_ms(), self.clock.now_ms());
        let mut cluster = self.cluster.write();
        if !cluster.nodes.heard(node, session, now_ms, wall_ms) {
            return false;
        }
        let cluster = &mut *cluster;
        match message {
            Message::Register(_) => {
                tracing::warn!("datanode {node:?} registered twice on one stream; ignored");
            }
            Message::Heartbeat(beat) => {
                let storages = beat.storages.into_iter().map(storage).collect();
                cluster.nodes.heartbeat(node, storages, beat.active_transfers);
                for storage in cluster.nodes.failed_storages(node) {
                    if cluster.blocks.storage_failed(node, storage) {
                        tracing::warn!("a data directory of {} failed", name(cluster, node));
                        self.work.notify_one();
                    }
                }
            }
            Message::BlockReport(report) => self.full_report(cluster, node, &report, now_ms),
            Message::Incremental(report) => self.incremental(cluster, node, &report, now_ms),
            Message::BadReplicas(bad) => {
                for block in bad.blocks {
                    let id = BlockId(block.block_id);
                    if cluster.blocks.replica_corrupt(node, id, stamp(block.generation_stamp)) {
                        tracing::warn!(
                            "replica of block {id} on {} is corrupt: {}",
                            name(cluster, node),
                            bad.reason
                        );
                    }
                }
                self.work.notify_one();
            }
            Message::TransferDone(done) => {
                let block = BlockId(done.block.unwrap_or_default().block_id);
                if done.error.is_empty() {
                    return true;
                }
                tracing::warn!(
                    "copy of block {block} from {} to {} failed: {}",
                    name(cluster, node),
                    done.target_uuid,
                    done.error
                );
                if let Some(target) = cluster.nodes.by_uuid(&done.target_uuid).map(|n| n.id) {
                    cluster.blocks.transfer_failed(block, target);
                    self.work.notify_one();
                }
            }
            Message::RecoveryReplica(answer) => {
                let block = answer.block.unwrap_or_default();
                let found = answer.error.is_empty().then(|| Found {
                    gen_stamp: stamp(block.generation_stamp),
                    length: block.length,
                    kind: kind(answer.state),
                });
                let id = BlockId(block.block_id);
                let has = cluster.blocks.map().get(id).is_some_and(|e| e.on(node).is_some());
                if found.is_none() && has {
                    // It reported a replica and can't offer it now: that is not "no bytes".
                    tracing::warn!(
                        "{} can't recover its replica of block {id}: {}",
                        name(cluster, node),
                        answer.error
                    );
                } else {
                    self.recovery_answered(cluster, node, answer.recovery_id, id, found, now_ms);
                }
            }
            Message::RecoveryDone(done) => {
                let block = done.block.unwrap_or_default();
                let id = BlockId(block.block_id);
                let ok = done.error.is_empty();
                if ok {
                    if let Some(storage) = cluster.nodes.storage_id(node, &done.storage_uuid) {
                        let reported = Reported {
                            block: id,
                            gen_stamp: stamp(block.generation_stamp),
                            length: block.length,
                            kind: ReplicaKind::Finalized,
                        };
                        cluster.blocks.replica_changed(node, storage, reported, now_ms);
                    }
                } else {
                    tracing::warn!(
                        "block {id} can't be recovered on {}: {}",
                        name(cluster, node),
                        done.error
                    );
                }
                self.recovery_finished(cluster, node, done.recovery_id, id, ok);
            }
        }
        true
    }

    fn full_report(
        &self,
        cluster: &mut Cluster,
        node: NodeId,
        report: &wire::BlockReport,
        now_ms: u64,
    ) {
        let Some(storage) = cluster.nodes.storage_id(node, &report.storage_uuid) else { return };
        let replicas: Vec<Reported> = report
            .replicas
            .iter()
            .take(MAX_BLOCKS_PER_MESSAGE)
            .map(|replica| {
                let block = replica.block.unwrap_or_default();
                Reported {
                    block: BlockId(block.block_id),
                    gen_stamp: stamp(block.generation_stamp),
                    length: block.length,
                    kind: kind(replica.state),
                }
            })
            .collect();
        let id = report.report_id;
        if cluster.blocks.full_report(node, storage, id, &replicas, report.last, now_ms) {
            cluster.nodes.reported(node, storage, self.clock.now_ms());
            let accepted = wire::ReportAccepted {
                report_id: report.report_id,
                storage_uuid: report.storage_uuid.clone(),
            };
            cluster.send(node, namenode_message::Message::ReportAccepted(accepted));
            tracing::debug!("{} reported storage {}", name(cluster, node), report.storage_uuid);
        }
        cluster.check_safemode();
        self.changed.notify_waiters();
        self.work.notify_one();
    }

    fn incremental(
        &self,
        cluster: &mut Cluster,
        node: NodeId,
        report: &wire::IncrementalReport,
        now_ms: u64,
    ) {
        let mut received = false;
        for change in report.changes.iter().take(MAX_BLOCKS_PER_MESSAGE) {
            let block = change.block.unwrap_or_default();
            let id = BlockId(block.block_id);
            let gen_stamp = stamp(block.generation_stamp);
            let kind = match change.kind() {
                wire::replica_change::Kind::Receiving => ReplicaKind::BeingWritten,
                wire::replica_change::Kind::Received => ReplicaKind::Finalized,
                wire::replica_change::Kind::Deleted => {
                    cluster.blocks.replica_deleted(node, id, gen_stamp, now_ms);
                    self.work.notify_one();
                    continue;
                }
            };
            let Some(storage) = cluster.nodes.storage_id(node, &change.storage_uuid) else {
                continue;
            };
            let reported = Reported { block: id, gen_stamp, length: block.length, kind };
            cluster.blocks.replica_changed(node, storage, reported, now_ms);
            if kind == ReplicaKind::Finalized {
                cluster.nodes.received(node, block.length);
                received = true;
            }
        }
        if received {
            cluster.check_safemode();
            self.changed.notify_waiters();
        }
    }

    /// A datanode's stream ended. It may be dead: its port is tried until it refuses, the node
    /// registers again, or the interval without a word is over.
    pub fn stream_ended(self: &Arc<Self>, node: NodeId, session: u64) {
        let address = {
            let mut cluster = self.cluster.write();
            if !cluster.nodes.disconnected(node, session) {
                return;
            }
            cluster.blocks.node_suspected(node);
            cluster.streams.remove(&node);
            let Some(known) = cluster.nodes.get(node) else { return };
            tracing::warn!("lost the stream of datanode {}", known.transfer_address());
            known.address.ip.parse::<IpAddr>().map(|ip| (ip, known.address.transfer_port))
        };
        let Ok((ip, port)) = address else { return };
        let service = Arc::clone(self);
        let give_up = self.config.dead_interval;
        tokio::spawn(async move {
            let address = SocketAddr::new(ip, port);
            let probing = service.probe(node, session, address);
            tokio::select! {
                _ = timeout(give_up, probing) => {}
                () = service.shutdown.triggered() => {}
            }
        });
    }

    async fn probe(&self, node: NodeId, session: u64, address: SocketAddr) {
        loop {
            let refused = matches!(
                timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused
            );
            {
                let mut cluster = self.cluster.write();
                if !cluster.nodes.is_suspect(node, session) {
                    return;
                }
                if refused && cluster.nodes.refused(node, session) {
                    self.bury(&mut cluster, node, "its port refuses connections");
                    return;
                }
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// A node is dead: its replicas no longer count.
    pub(super) fn bury(&self, cluster: &mut Cluster, node: NodeId, why: &str) {
        cluster.streams.remove(&node);
        cluster.blocks.node_lost(node);
        tracing::warn!(
            "datanode {} is dead: {why}; {} live",
            name(cluster, node),
            cluster.nodes.live()
        );
        self.work.notify_one();
    }
}

/// The node's address, for a log line.
fn name(cluster: &Cluster, node: NodeId) -> String {
    cluster.nodes.get(node).map_or_else(|| format!("{node:?}"), |n| n.transfer_address())
}

fn final_refusal(reason: String) -> Refusal {
    Refusal { reason, last_word: true }
}

/// The address clients shall dial: what the datanode says, or where it comes from.
fn advertised_ip(text: &str, peer: IpAddr) -> Result<IpAddr, Refusal> {
    if text.is_empty() {
        return Ok(peer.to_canonical());
    }
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Ok(peer.to_canonical()),
        Ok(ip) => Ok(ip),
        Err(_) => Err(final_refusal(format!(
            "the datanode advertises {text:?}, which is not an IP address; set its \
             advertised-host or host to one that clients can dial"
        ))),
    }
}

fn storage(wire: wire::Storage) -> StorageReport {
    StorageReport {
        uuid: wire.storage_uuid,
        capacity: wire.capacity_bytes,
        used: wire.used_bytes,
        remaining: wire.remaining_bytes,
        failed: wire.failed,
    }
}

fn kind(state: i32) -> ReplicaKind {
    match wire::ReplicaState::try_from(state) {
        Ok(wire::ReplicaState::Finalized) => ReplicaKind::Finalized,
        Ok(wire::ReplicaState::Rbw) => ReplicaKind::BeingWritten,
        // An unknown state is one that proves nothing.
        Ok(wire::ReplicaState::Rwr | wire::ReplicaState::Rur) | Err(_) => ReplicaKind::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_means_where_the_datanode_comes_from() {
        let peer = IpAddr::from([10, 0, 0, 7]);
        assert_eq!(advertised_ip("", peer), Ok(peer));
        assert_eq!(advertised_ip("0.0.0.0", peer), Ok(peer));
        assert_eq!(advertised_ip("10.0.0.8", peer), Ok(IpAddr::from([10, 0, 0, 8])));
        let refusal = advertised_ip("node8", peer).expect_err("no address");
        assert!(refusal.last_word && refusal.reason.contains("node8"));
    }
}
