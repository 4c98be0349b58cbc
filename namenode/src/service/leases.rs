//! Leases and block recovery: a file whose writer is gone is closed at an agreed length.

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::{BlockId, GenStamp, INodeId};
use hfs_protocol::proto::datanode::{self as wire, namenode_message::Message};

use super::{CallInfo, Cluster, Seen, Service};
use crate::blocks::recovery::{Found, Recovery, Step};
use crate::blocks::{NodeId, StorageId};
use crate::namesystem::{Access, Block, Ctx, NAMENODE_HOLDER, Namespace, Replicas, ops};

/// Files whose recovery is looked after in one tick.
const RECOVERIES_PER_TICK: usize = 64;

impl Service {
    /// A writer lives (HDFS `renewLease`). Volatile; nothing to wait for.
    pub fn renew_lease(&self, client_name: &str) -> Seen<()> {
        let mut namespace = self.namespace.write();
        namespace.tick(self.monotonic_ms());
        namespace.renew_lease(client_name);
        Seen { answer: Ok(()), upto: namespace.applied() }
    }

    /// Closes a file whose writer is thought gone (HDFS `recoverLease`). True: it is closed.
    pub fn recover_lease(&self, call: &CallInfo, path: &str, client_name: &str) -> Seen<bool> {
        let request = ops::recover_lease::Request { path, client_name };
        let what = format!("recover the lease of {path}");
        let check = |ns: &Namespace, ctx: &Ctx<'_>| {
            let cluster = self.cluster.read();
            ops::recover_lease::check(ns, &request, ctx, &*cluster)
        };
        let mut seen = self.change(call, &what, check, |_, _| {});
        // An empty last block that nobody has was dropped: now the file can be closed.
        if matches!(seen.answer, Ok(ops::recover_lease::Answer::Dropped)) {
            seen = self.change(call, &what, check, |_, _| {});
        }
        seen.map(|answer| self.begin_recovery(&answer))
    }

    /// Before a create or an append: if the file's writer has been silent beyond the soft limit,
    /// its recovery starts now; the caller's own check then says whether to come back.
    pub(super) fn recover_for(&self, call: &CallInfo, path: &str, client_name: &str) {
        let stale = {
            let namespace = self.namespace.read();
            let stale = namespace.needs_recovery(path, client_name);
            stale.filter(|_| namespace.check_access(path, Access::WRITE, &call.caller).is_ok())
        };
        if let Some(file) = stale {
            self.recover_file(file, false, call);
        }
    }

    /// Starts the recovery of an open file whose holder lost it; with `restart`, anew.
    fn recover_file(&self, file: INodeId, restart: bool, call: &CallInfo) {
        let check = |ns: &Namespace, ctx: &Ctx<'_>| {
            let cluster = self.cluster.read();
            ops::recover_lease::check_expired(ns, file, restart, ctx, &*cluster)
        };
        let mut seen = self.change(call, "recover a lease", check, |_, _| {});
        if matches!(seen.answer, Ok(ops::recover_lease::Answer::Dropped)) {
            seen = self.change(call, "recover a lease", check, |_, _| {});
        }
        match seen.answer {
            Ok(answer) => {
                self.begin_recovery(&answer);
            }
            Err(error) if error.kind == ErrorKind::SafeMode => {}
            Err(error) => tracing::warn!("file {file} can't be recovered: {error}"),
        }
    }

    /// True: the file is closed already.
    fn begin_recovery(&self, answer: &ops::recover_lease::Answer) -> bool {
        let ops::recover_lease::Answer::Recovering { file, block, recovery_id } = *answer else {
            return *answer == ops::recover_lease::Answer::Closed;
        };
        let now_ms = self.monotonic_ms();
        let mut cluster = self.cluster.write();
        let known = cluster.recoveries.get(&block.id).map(|recovery| recovery.recovery_id);
        if known == Some(recovery_id) {
            return false;
        }
        let nodes: Vec<NodeId> = cluster
            .writers_of(block.id)
            .into_iter()
            .map(|(node, _)| node)
            .filter(|node| cluster.streams.contains_key(node))
            .collect();
        if nodes.is_empty() && block.len == 0 && !cluster.any(block.id) {
            // A recovery of before a restart, and it is known by now that nobody has the block.
            let now = Recovery::start(file, block.id, block.gen_stamp, recovery_id, nodes, now_ms);
            cluster.recoveries.insert(block.id, now.0);
            self.take_steps(&mut cluster, block.id, vec![Step::Empty]);
            return false;
        }
        if nodes.is_empty() {
            tracing::warn!(
                "block {} of file {file} can't be recovered yet: no datanode that holds it is \
                 connected",
                block.id
            );
            return false;
        }
        tracing::info!(
            "recovering block {} of file {file} as version {recovery_id} on {} node(s)",
            block.id,
            nodes.len()
        );
        let (recovery, steps) =
            Recovery::start(file, block.id, block.gen_stamp, recovery_id, nodes, now_ms);
        cluster.recoveries.insert(block.id, recovery);
        self.take_steps(&mut cluster, block.id, steps);
        false
    }

    /// Sends what a recovery asks for, and closes the file where it is done.
    fn take_steps(&self, cluster: &mut Cluster, block: BlockId, steps: Vec<Step>) {
        let Some(recovery) = cluster.recoveries.get(&block) else { return };
        let (old, id) = (recovery.old, recovery.recovery_id);
        let wire_block = wire::Block { block_id: block.0, generation_stamp: old.0, length: 0 };
        for step in steps {
            match step {
                Step::Init { node } => {
                    let message = Message::InitRecovery(wire::InitRecovery {
                        recovery_id: id.0,
                        block: Some(wire_block),
                    });
                    cluster.send(node, message);
                }
                Step::Finish { node, length } => {
                    let message = Message::FinishRecovery(wire::FinishRecovery {
                        recovery_id: id.0,
                        block: Some(wire_block),
                        length,
                    });
                    cluster.send(node, message);
                }
                Step::Done { length, holders } => {
                    cluster.finished.push(Outcome { block, length: Some(length), holders });
                    self.work.notify_one();
                }
                Step::Empty => {
                    cluster.finished.push(Outcome { block, length: None, holders: Vec::new() });
                    self.work.notify_one();
                }
            }
        }
    }

    /// A datanode answered what it has of a block under recovery.
    pub(super) fn recovery_answered(
        &self,
        cluster: &mut Cluster,
        node: NodeId,
        recovery_id: u64,
        block: BlockId,
        found: Option<Found>,
        now_ms: u64,
    ) {
        let Some(recovery) = cluster.recoveries.get_mut(&block) else { return };
        if recovery.recovery_id.0 != recovery_id {
            return;
        }
        let steps = recovery.answered(node, found, now_ms);
        self.take_steps(cluster, block, steps);
    }

    /// A datanode finished its part of a recovery, or could not.
    pub(super) fn recovery_finished(
        &self,
        cluster: &mut Cluster,
        node: NodeId,
        recovery_id: u64,
        block: BlockId,
        ok: bool,
    ) {
        let Some(recovery) = cluster.recoveries.get_mut(&block) else { return };
        if recovery.recovery_id.0 != recovery_id {
            return;
        }
        let steps = recovery.finished(node, ok);
        self.take_steps(cluster, block, steps);
    }

    /// Lets time pass for recoveries and closes the files of finished ones.
    pub(super) fn tick_recoveries(&self) {
        let now_ms = self.monotonic_ms();
        let outcomes = {
            let mut cluster = self.cluster.write();
            let blocks: Vec<BlockId> = cluster.recoveries.keys().copied().collect();
            for block in blocks {
                let Some(recovery) = cluster.recoveries.get_mut(&block) else { continue };
                let (steps, over) = recovery.tick(now_ms);
                if over {
                    tracing::warn!("the recovery of block {block} had no result; trying again");
                    cluster.recoveries.remove(&block);
                } else {
                    self.take_steps(&mut cluster, block, steps);
                }
            }
            std::mem::take(&mut cluster.finished)
        };
        for outcome in outcomes {
            self.close_recovered(&outcome);
        }
    }

    fn close_recovered(&self, outcome: &Outcome) {
        let Some((file, old, recovery_id)) = ({
            let cluster = self.cluster.read();
            cluster.recoveries.get(&outcome.block).map(|r| (r.inode, r.old, r.recovery_id))
        }) else {
            return;
        };
        let request = ops::commit_block_synchronization::Request {
            file,
            block: Block { id: outcome.block, gen_stamp: old, len: 0 },
            new_gen_stamp: recovery_id,
            new_len: outcome.length.unwrap_or(0),
            close_file: true,
            delete_block: outcome.length.is_none(),
        };
        let call = self.own_call();
        let check = |ns: &Namespace, ctx: &Ctx<'_>| {
            ops::commit_block_synchronization::check(ns, &request, ctx)
        };
        let members: Vec<(NodeId, StorageId)> = self.cluster.read().with_storage(&outcome.holders);
        {
            let mut cluster = self.cluster.write();
            cluster.blocks.set_pipeline(outcome.block, members);
        }
        let seen = self.change(&call, "close a recovered file", check, |_, ()| {});
        let mut cluster = self.cluster.write();
        cluster.recoveries.remove(&outcome.block);
        match (seen.answer, outcome.length) {
            (Ok(()), Some(length)) => tracing::info!(
                "recovered block {} of file {file}: {length} bytes, version {recovery_id}",
                outcome.block
            ),
            (Ok(()), None) => tracing::info!(
                "block {} of file {file} had no bytes anywhere and left the file",
                outcome.block
            ),
            (Err(error), _) => {
                tracing::warn!("file {file} can't be closed after its recovery: {error}");
            }
        }
    }

    /// Takes files away from writers not heard of beyond the hard limit, and looks after those
    /// whose recovery is not under way.
    pub(super) fn tick_leases(&self) {
        let limit_ms = super::millis(self.config.lease_hard_limit);
        let files: Vec<INodeId> = {
            let mut namespace = self.namespace.write();
            namespace.tick(self.monotonic_ms());
            let expired = namespace.leases().expired(limit_ms).map(|(_, file)| file);
            let own = namespace
                .leases()
                .iter()
                .filter(|(holder, _)| *holder == NAMENODE_HOLDER)
                .map(|(_, file)| file);
            own.chain(expired).take(RECOVERIES_PER_TICK).collect()
        };
        let call = self.own_call();
        for file in files {
            let under_way = {
                let cluster = self.cluster.read();
                cluster.recoveries.values().any(|recovery| recovery.inode == file)
            };
            if !under_way {
                self.recover_file(file, true, &call);
            }
        }
    }
}

/// A recovery that came to its end.
#[derive(Debug)]
pub struct Outcome {
    block: BlockId,
    /// `None`: nobody had bytes.
    length: Option<u64>,
    holders: Vec<NodeId>,
}

/// A version as it stands on the wire.
pub(super) fn stamp(value: u64) -> GenStamp {
    GenStamp(value)
}
