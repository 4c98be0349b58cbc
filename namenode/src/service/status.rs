//! What the namenode tells of itself: for pages, metrics and `dfsadmin`.

use std::sync::Arc;

use hfs_protocol::error::{ErrorKind, RemoteError};
use serde::Serialize;

use super::{CallInfo, Seen, Service};
use crate::blocks::Totals;
use crate::datanodes::{Datanode, Liveness, Space};
use crate::journal::Journal;

/// The state of the file system in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The software's version.
    pub version: &'static str,
    /// This cluster.
    pub cluster_id: String,
    /// Its block pool.
    pub block_pool_id: String,
    /// When this process started, milliseconds since the epoch.
    pub started_ms: u64,
    /// Why the namespace can't change now; absent when it can.
    pub safe_mode: Option<String>,
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Files open for writing.
    pub open_files: u64,
    /// Blocks.
    pub blocks: u64,
    /// Blocks with fewer good replicas than wanted.
    pub under_replicated: u64,
    /// Blocks without a good replica.
    pub missing: u64,
    /// Blocks with a corrupt replica.
    pub corrupt: u64,
    /// Copies under way.
    pub pending_transfers: u64,
    /// Replicas waiting to be removed.
    pub pending_invalidations: u64,
    /// Reported blocks that this namespace never gave out.
    pub future_blocks: u64,
    /// Bytes datanodes may hold.
    pub capacity: u64,
    /// Bytes replicas use.
    pub used: u64,
    /// Bytes free.
    pub remaining: u64,
    /// Live datanodes.
    pub live: usize,
    /// Datanodes whose stream broke.
    pub suspected: usize,
    /// Dead datanodes.
    pub dead: usize,
    /// Last applied transaction.
    pub applied_txid: u64,
    /// Last durable transaction.
    pub durable_txid: u64,
    /// Each datanode.
    pub nodes: Vec<NodeStatus>,
}

/// A datanode in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// Its identity.
    pub uuid: String,
    /// `ip:port` of the data transfer protocol.
    pub address: String,
    /// Its name.
    pub host: String,
    /// Where its web pages are.
    pub http_port: u16,
    /// Where it stands.
    pub rack: String,
    /// `live`, `suspected` or `dead`.
    pub state: &'static str,
    /// When it was last heard of, milliseconds since the epoch.
    pub last_heard_ms: u64,
    /// Bytes it may hold.
    pub capacity: u64,
    /// Bytes its replicas use.
    pub used: u64,
    /// Bytes free.
    pub remaining: u64,
    /// Replicas known of it.
    pub replicas: usize,
    /// Transfers it serves.
    pub active_transfers: u32,
}

/// Which datanodes a report shall list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those not dead.
    Live,
    /// The dead.
    Dead,
}

/// What an operator wants of safe mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafeModeAction {
    /// On.
    Enter,
    /// Off.
    Leave,
    /// Just ask.
    Get,
}

impl Service {
    /// Everything in numbers.
    #[must_use]
    pub fn status(&self) -> Status {
        let (counts, applied) = {
            let namespace = self.namespace.read();
            (namespace.counts(), namespace.applied())
        };
        let cluster = self.cluster.read();
        let totals = cluster.blocks.totals();
        let space = cluster.nodes.space();
        let count = |state| cluster.nodes.all().iter().filter(|n| n.liveness == state).count();
        let nodes = cluster
            .nodes
            .all()
            .iter()
            .map(|node| node_status(node, cluster.blocks.map().count_on_node(node.id)))
            .collect();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            cluster_id: self.identity.cluster_id.clone(),
            block_pool_id: self.identity.block_pool_id.clone(),
            started_ms: self.started_ms,
            safe_mode: cluster.blocks.safemode().reason(cluster.nodes.live()),
            files: counts.files,
            directories: counts.directories,
            open_files: counts.open_files,
            blocks: counts.blocks,
            under_replicated: totals.under_replicated,
            missing: totals.missing,
            corrupt: totals.corrupt,
            pending_transfers: totals.pending_transfers,
            pending_invalidations: totals.pending_invalidations,
            future_blocks: totals.future,
            capacity: space.capacity,
            used: space.used,
            remaining: space.remaining,
            live: count(Liveness::Live),
            suspected: count(Liveness::Suspected),
            dead: count(Liveness::Dead),
            applied_txid: applied.0,
            durable_txid: self.journal.durable().0,
            nodes,
        }
    }

    /// Space and block totals (HDFS `getFsStats`).
    #[must_use]
    pub fn fs_stats(&self) -> (Space, Totals) {
        let cluster = self.cluster.read();
        (cluster.nodes.space(), cluster.blocks.totals())
    }

    /// Datanodes and the number of their replicas (HDFS `getDatanodeReport`).
    #[must_use]
    pub fn datanodes(&self, which: Which) -> Vec<(Arc<Datanode>, usize)> {
        let cluster = self.cluster.read();
        cluster
            .nodes
            .all()
            .iter()
            .filter(|n| match which {
                Which::All => true,
                Which::Live => n.liveness != Liveness::Dead,
                Which::Dead => n.liveness == Liveness::Dead,
            })
            .map(|n| (Arc::clone(n), cluster.blocks.map().count_on_node(n.id)))
            .collect()
    }

    /// Asks for or changes safe mode (HDFS `setSafeMode`). True: it is on (afterwards). Only the
    /// superuser may change it.
    pub fn set_safe_mode(&self, call: &CallInfo, action: SafeModeAction) -> Seen<bool> {
        self.read(|_| self.safe_mode(call, action))
    }

    fn safe_mode(&self, call: &CallInfo, action: SafeModeAction) -> Result<bool, RemoteError> {
        if action != SafeModeAction::Get {
            self.require_superuser(call, "change safe mode")?;
        }
        let mut cluster = self.cluster.write();
        match action {
            SafeModeAction::Enter => cluster.blocks.safemode_mut().enter(),
            SafeModeAction::Leave => cluster.blocks.safemode_mut().leave(),
            SafeModeAction::Get => {}
        }
        if action != SafeModeAction::Get {
            tracing::info!("safe mode: {action:?} by {}", call.caller.user);
            self.work.notify_one();
        }
        Ok(cluster.blocks.safemode().is_on())
    }

    /// Replicas that a client found corrupt, by block and datanode uuid (HDFS `reportBadBlocks`).
    pub fn report_bad_blocks(
        &self,
        call: &CallInfo,
        bad: &[(hfs_protocol::ids::BlockId, hfs_protocol::ids::GenStamp, String)],
    ) -> Seen<()> {
        {
            let mut cluster = self.cluster.write();
            for (block, gen_stamp, uuid) in bad {
                let Some(node) = cluster.nodes.by_uuid(uuid).map(|n| n.id) else { continue };
                if cluster.blocks.replica_corrupt(node, *block, *gen_stamp) {
                    tracing::warn!(
                        "replica of block {block} on datanode {uuid} is corrupt, says {} from {}",
                        call.caller.user,
                        call.ip
                    );
                }
            }
        }
        self.work.notify_one();
        self.read(|_| Ok(()))
    }

    /// Whether the namenode serves, for `/healthz`: `Ok`, or why not.
    ///
    /// # Errors
    /// The reason.
    pub fn health(&self) -> Result<(), String> {
        if let Some(reason) = self.failure() {
            return Err(format!("stopping: {reason}"));
        }
        if self.shutdown.is_triggered() {
            return Err("stopping".to_owned());
        }
        let cluster = self.cluster.read();
        cluster.blocks.safemode().reason(cluster.nodes.live()).map_or(Ok(()), Err)
    }

    pub(super) fn require_superuser(&self, call: &CallInfo, what: &str) -> Result<(), RemoteError> {
        if call.caller.superuser {
            return Ok(());
        }
        Err(RemoteError::new(
            ErrorKind::AccessDenied,
            format!(
                "user {} may not {what}: only {} and members of {} may",
                call.caller.user, self.groups.superuser, self.config.supergroup
            ),
        ))
    }
}

fn node_status(node: &Datanode, replicas: usize) -> NodeStatus {
    let space = node.space();
    NodeStatus {
        uuid: node.uuid.clone(),
        address: node.transfer_address(),
        host: node.address.host.clone(),
        http_port: node.address.http_port,
        rack: node.rack.clone(),
        state: match node.liveness {
            Liveness::Live => "live",
            Liveness::Suspected => "suspected",
            Liveness::Dead => "dead",
        },
        last_heard_ms: node.last_heard_wall_ms,
        capacity: space.capacity,
        used: space.used,
        remaining: space.remaining,
        replicas,
        active_transfers: node.active_transfers,
    }
}
