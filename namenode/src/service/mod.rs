//! The service: owns the namespace, the block manager, the node table and the journal, and is the
//! one place where a change goes check → journal → apply → durable → answer.
//!
//! Two locks, always taken in this order: the namespace, then the cluster (nodes, blocks, streams).
//! Nothing waits for a disk or a network while it holds one. Every answer, of reads and of refusals
//! too, carries the transaction up to which it saw the namespace ([`Seen`]); a front sends it only
//! once that transaction is durable, so nobody is told what a crash then undoes.

mod background;
mod checkpoint;
mod cluster;
mod files;
mod groups;
mod leases;
mod locate;
mod nodes;
mod pipeline;
mod reads;
mod status;

pub use cluster::Cluster;
pub use files::NewBlock;
pub use groups::{Groups, process_user};
pub use locate::{Located, LocatedFile, Location};
pub use nodes::{Accepted, Refusal};
pub use pipeline::{MoreNodes, PipelineUpdate};
pub use reads::LocatedListing;
pub use status::{NodeStatus, SafeModeAction, Status, Which};

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hfs_daemon::clock::Clock;
use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::TxId;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::blocks::{BlockManager, BlockSettings};
use crate::config::Config;
use crate::datanodes::NodeTable;
use crate::journal::{Journal, LocalJournal, NameDir, Recovered};
use crate::namesystem::{Caller, Ctx, Effect, Limits, Namespace, Proposal, RetryKey};

/// Result of a call on the service.
pub type Result<T> = std::result::Result<T, RemoteError>;

/// An answer and what it saw: it may leave only when the transaction `upto` is durable.
#[derive(Debug)]
pub struct Seen<A> {
    /// What the caller is told.
    pub answer: Result<A>,
    /// The last transaction that was applied when the answer was found.
    pub upto: TxId,
}

impl<A> Seen<A> {
    /// The same with another form of the answer.
    pub fn map<B>(self, form: impl FnOnce(A) -> B) -> Seen<B> {
        Seen { answer: self.answer.map(form), upto: self.upto }
    }
}

/// Who calls, from where, and which call it is.
#[derive(Debug, Clone)]
pub struct CallInfo {
    /// The user and the groups.
    pub caller: Arc<Caller>,
    /// The client's address.
    pub ip: IpAddr,
    /// Names the call for the retry cache.
    pub retry: Option<RetryKey>,
}

/// The namenode's identity, given at its format and never changed.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Datanodes of other clusters are refused.
    pub cluster_id: String,
    /// Named in every block that crosses the wire.
    pub block_pool_id: String,
}

/// The service; see the [module](self).
pub struct Service {
    /// Settings in force.
    pub config: Config,
    /// Who this is.
    pub identity: Identity,
    namespace: RwLock<Namespace>,
    cluster: RwLock<Cluster>,
    journal: LocalJournal,
    name_dir: NameDir,
    clock: Arc<dyn Clock>,
    groups: Groups,
    /// Told when replicas were reported: closes and allocations may be waiting for them.
    changed: Notify,
    /// Told when there may be work for the repair scheduler.
    work: Notify,
    /// Why the namenode must stop, once it must.
    failed: OnceLock<String>,
    shutdown: Shutdown,
    next_session: AtomicU64,
    started_ms: u64,
    started_monotonic_ms: u64,
    checkpoint: Mutex<checkpoint::Last>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Service {
    /// Takes over a recovered namespace and its journal.
    #[must_use]
    pub fn new(
        config: Config,
        recovered: Recovered,
        clock: Arc<dyn Clock>,
        seed: u64,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let Recovered { mut namespace, journal, identity, name_dir, .. } = recovered;
        namespace.set_limits(Limits {
            min_block_size: config.min_block_size,
            max_replication: config.max_replication,
            lease_soft_limit_ms: millis(config.lease_soft_limit),
            ..Limits::default()
        });
        let now_ms = millis(clock.monotonic());
        namespace.restart_leases(now_ms);
        let settings = BlockSettings {
            safemode_threshold: config.safemode_threshold,
            safemode_min_datanodes: config.safemode_min_datanodes,
            pending_timeout_ms: millis(config.transfer_timeout),
            max_streams_per_node: config.max_streams,
            ..BlockSettings::default()
        };
        let mut blocks = BlockManager::new(settings, seed);
        namespace.for_each_block(|file, block, replication, under_construction| {
            let intent = cluster::intent(file, block, replication, under_construction);
            blocks.set_intent(block.id, intent, now_ms);
        });
        blocks.set_last_block(namespace.last_block_id());
        let nodes = NodeTable::new(millis(config.dead_interval));
        let mut cluster = Cluster::new(nodes, blocks);
        cluster.check_safemode();
        let checkpoint = Mutex::new(checkpoint::Last::new(namespace.applied(), now_ms));
        let started_ms = clock.now_ms();
        Arc::new(Self {
            groups: Groups::new(&config),
            identity: Identity {
                cluster_id: identity.cluster_id,
                block_pool_id: identity.block_pool_id,
            },
            namespace: RwLock::new(namespace),
            cluster: RwLock::new(cluster),
            journal,
            name_dir,
            clock,
            changed: Notify::new(),
            work: Notify::new(),
            failed: OnceLock::new(),
            shutdown,
            next_session: AtomicU64::new(1),
            started_ms,
            started_monotonic_ms: now_ms,
            checkpoint,
            config,
        })
    }

    /// The user and groups behind a call.
    #[must_use]
    pub fn caller(&self, user: &Arc<str>) -> Arc<Caller> {
        self.groups.caller(user, self.monotonic_ms())
    }

    /// Monotonic milliseconds, the time of leases, heartbeats and deadlines.
    fn monotonic_ms(&self) -> u64 {
        millis(self.clock.monotonic())
    }

    /// Why the namenode is stopping, if something broke.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Stops the namenode: going on could tell clients what a crash would undo.
    fn fail(&self, reason: String) -> RemoteError {
        let first = self.failed.set(reason.clone()).is_ok();
        if first {
            tracing::error!("the namenode stops: {reason}");
            self.shutdown.trigger();
        }
        RemoteError::new(ErrorKind::Io, format!("the namenode is stopping: {reason}"))
    }

    /// Refuses changes while safe mode is on.
    fn writable(&self, what: &str) -> Result<()> {
        if let Some(reason) = self.failure() {
            let message = format!("the namenode is stopping: {reason}");
            return Err(RemoteError::new(ErrorKind::Io, message));
        }
        let cluster = self.cluster.read();
        match cluster.blocks.safemode().reason(cluster.nodes.live()) {
            None => Ok(()),
            Some(reason) => {
                Err(RemoteError::new(ErrorKind::SafeMode, format!("can't {what}: {reason}")))
            }
        }
    }

    /// One change, or the refusal of it: the door. `check` decides under the namespace lock, `then`
    /// runs under the cluster lock after the change was applied.
    fn change<A>(
        &self,
        call: &CallInfo,
        what: &str,
        check: impl FnOnce(&Namespace, &Ctx<'_>) -> Result<Proposal<A>>,
        then: impl FnOnce(&mut Cluster, &A),
    ) -> Seen<A> {
        let machine = call.ip.to_string();
        let mut namespace = self.namespace.write();
        let answer = self
            .writable(what)
            .and_then(|()| self.change_locked(&mut namespace, call, &machine, check, then));
        Seen { answer, upto: namespace.applied() }
    }

    /// The namenode's own changes: allowed in safe mode only where the caller checked.
    fn change_locked<A>(
        &self,
        namespace: &mut Namespace,
        call: &CallInfo,
        machine: &str,
        check: impl FnOnce(&Namespace, &Ctx<'_>) -> Result<Proposal<A>>,
        then: impl FnOnce(&mut Cluster, &A),
    ) -> Result<A> {
        namespace.tick(self.monotonic_ms());
        let ctx = Ctx {
            now_ms: self.clock.now_ms(),
            caller: &call.caller,
            retry: call.retry,
            client_machine: machine,
        };
        let Proposal { entry, answer } = check(namespace, &ctx)?;
        let Some(entry) = entry else { return Ok(answer) };
        let txid = self
            .journal
            .append(&entry.encode())
            .map_err(|error| self.fail(format!("the journal can't be written: {error}")))?;
        let mut effects = Vec::new();
        namespace
            .apply(txid, &entry, &mut effects)
            .map_err(|error| self.fail(format!("transaction {txid} can't be applied: {error}")))?;
        let now_ms = self.monotonic_ms();
        let mut cluster = self.cluster.write();
        cluster.blocks.set_applied(txid);
        self.take_effects(&mut cluster, &effects, now_ms);
        then(&mut cluster, &answer);
        Ok(answer)
    }

    fn take_effects(&self, cluster: &mut Cluster, effects: &[Effect], now_ms: u64) {
        if !effects.is_empty() {
            cluster.take_effects(effects, now_ms);
            self.work.notify_one();
        }
    }

    /// A read of the namespace.
    fn read<A>(&self, find: impl FnOnce(&Namespace) -> Result<A>) -> Seen<A> {
        let namespace = self.namespace.read();
        Seen { answer: find(&namespace), upto: namespace.applied() }
    }

    /// Whether an answer that saw this transaction may leave now.
    #[must_use]
    pub fn is_durable(&self, upto: TxId) -> bool {
        self.journal.durable() >= upto && self.failed.get().is_none()
    }

    /// Waits until an answer that saw this transaction may leave.
    ///
    /// # Errors
    /// When it never may: the journal failed.
    pub async fn durable(&self, upto: TxId) -> Result<()> {
        if self.journal.durable() < upto {
            self.journal
                .when_durable(upto)
                .await
                .map_err(|error| self.fail(format!("the journal can't be synced: {error}")))?;
        }
        match self.failure() {
            None => Ok(()),
            Some(reason) => {
                let message = format!("the namenode is stopping: {reason}");
                Err(RemoteError::new(ErrorKind::Io, message))
            }
        }
    }

    /// The answer, as soon as it may leave.
    ///
    /// # Errors
    /// The answer's own, or the journal's failure.
    pub async fn settle<A>(&self, seen: Seen<A>) -> Result<A> {
        self.durable(seen.upto).await?;
        seen.answer
    }

    /// Makes what is in line durable and takes no more. Call it when nothing serves any more.
    pub fn close_journal(&self) {
        self.journal.close();
    }

    fn new_session(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// A call that the namenode makes on itself.
    fn own_call(&self) -> CallInfo {
        CallInfo {
            caller: Arc::new(Caller::superuser(&self.groups.superuser)),
            ip: self.config.host,
            retry: None,
        }
    }
}

/// Whole milliseconds of a duration.
#[must_use]
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
