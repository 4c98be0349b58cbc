//! The block manager's state, and the events that the namespace and the node table send it.

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{BlockId, TxId};

use super::map::{BlockEntry, BlockIntent, BlockMap, NodeId, StorageId, Worth};
use super::placement::{PlacementPolicy, SplitMix, SpreadPolicy};
use super::report::{OpenReport, Recent};
use super::safemode::SafeMode;

/// Bounds and grace periods of the block manager. Times are milliseconds of the monotonic clock
/// that the caller passes in.
#[derive(Debug, Clone)]
pub struct BlockSettings {
    /// Share of complete blocks that need a replica before start-up safe mode ends.
    pub safemode_threshold: f64,
    /// Live datanodes that start-up safe mode waits for.
    pub safemode_min_datanodes: usize,
    /// A copy that was ordered and not reported in this time is ordered again.
    pub pending_timeout_ms: u64,
    /// How long a pipeline's members have to report a block after its writer finished it.
    pub commit_grace_ms: u64,
    /// How long a replica of an unknown block stays before it is removed.
    pub unknown_grace_ms: u64,
    /// How long an incremental report outweighs a full report that may have been taken earlier.
    pub report_overlap_ms: u64,
    /// Copies one datanode sends at a time.
    pub max_streams_per_node: u32,
    /// Blocks looked at for repair, and for removals, in one tick.
    pub work_per_tick: usize,
    /// Blocks in one removal order.
    pub invalidate_batch: usize,
}

impl Default for BlockSettings {
    fn default() -> Self {
        Self {
            safemode_threshold: 0.999,
            safemode_min_datanodes: 0,
            pending_timeout_ms: 60_000,
            commit_grace_ms: 10_000,
            unknown_grace_ms: 5_000,
            report_overlap_ms: 30_000,
            max_streams_per_node: 4,
            work_per_tick: 2_000,
            invalidate_batch: 1_000,
        }
    }
}

/// Work for a datanode. A decision may be lost on its way: the difference between intent and
/// observation stays, so the decision is taken again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// `source` copies its replica to `targets`.
    Transfer {
        /// Holds a good replica.
        source: NodeId,
        /// What to copy.
        block: BlockId,
        /// The block's version and length, as the replica must have them.
        intent: BlockIntent,
        /// Where to, with the storage that has room.
        targets: Vec<NodeId>,
    },
    /// `node` removes its replicas of these blocks.
    Invalidate {
        /// Holds them.
        node: NodeId,
        /// Block and the newest version that may be removed; ordered.
        blocks: Vec<(BlockId, u64)>,
    },
}

/// Numbers for status pages and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks of the namespace.
    pub blocks: u64,
    /// Blocks with fewer good replicas than wanted (missing ones not included).
    pub under_replicated: u64,
    /// Complete blocks without a good replica.
    pub missing: u64,
    /// Missing blocks that were only ever meant to have one replica.
    pub missing_single: u64,
    /// Blocks with a corrupt replica.
    pub corrupt: u64,
    /// Copies ordered and not reported.
    pub pending_transfers: u64,
    /// Replicas waiting to be removed.
    pub pending_invalidations: u64,
    /// Reported blocks with ids this namespace never gave out: signs of lost metadata.
    pub future: u64,
}

/// A copy that was ordered, or a pipeline member that has yet to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub node: NodeId,
    /// Who copies; none for a pipeline member.
    pub source: Option<NodeId>,
    pub deadline_ms: u64,
}

/// A replica to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doomed {
    pub gen_stamp: u64,
    pub not_before_ms: u64,
    /// The last change of the namespace that this may follow from: it must be durable first.
    pub after: TxId,
}

/// The block manager; see the [module](super).
#[derive(Debug)]
pub struct BlockManager {
    pub(super) settings: BlockSettings,
    pub(super) map: BlockMap,
    /// Blocks to copy: one replica left, a third of the wanted number or less, fewer than wanted;
    /// and last those without any, which only a report can help.
    pub(super) queues: [BTreeSet<BlockId>; 4],
    /// Where the next look into each queue begins, so that blocks nothing can be done for do not
    /// starve those behind them.
    pub(super) cursors: [BlockId; 5],
    /// Blocks with a replica too many, stale or corrupt.
    pub(super) surplus: BTreeSet<BlockId>,
    pub(super) pending: BTreeMap<BlockId, Vec<Pending>>,
    /// Deadlines of `pending`, in order.
    pub(super) deadlines: BTreeSet<(u64, BlockId)>,
    /// Copies each node is sending.
    pub(super) streams: BTreeMap<NodeId, u32>,
    pub(super) doomed: BTreeMap<NodeId, BTreeMap<BlockId, Doomed>>,
    /// Members of each open block's pipeline.
    pub(super) pipelines: BTreeMap<BlockId, Vec<(NodeId, StorageId)>>,
    pub(super) open_reports: BTreeMap<(NodeId, StorageId), OpenReport>,
    pub(super) recent: BTreeMap<NodeId, Recent>,
    /// Nodes declared dead whose replicas are still being taken out of the map.
    pub(super) lost: BTreeSet<NodeId>,
    /// Nodes that may be dead: their replicas are readable but prove nothing when one is removed.
    pub(super) suspected: BTreeSet<NodeId>,
    pub(super) last_block: BlockId,
    /// The last change of the namespace that was taken in, and the last one that is durable.
    pub(super) applied: TxId,
    pub(super) durable: TxId,
    pub(super) future: BTreeSet<BlockId>,
    pub(super) corrupt: BTreeSet<BlockId>,
    pub(super) safemode: SafeMode,
    pub(super) policy: Box<dyn PlacementPolicy>,
    pub(super) random: SplitMix,
}

impl BlockManager {
    /// An empty manager in start-up safe mode. `seed` fixes its random choices.
    #[must_use]
    pub fn new(settings: BlockSettings, seed: u64) -> Self {
        Self::with_policy(settings, seed, Box::new(SpreadPolicy))
    }

    /// As [`BlockManager::new`], with another placement policy.
    #[must_use]
    pub fn with_policy(
        settings: BlockSettings,
        seed: u64,
        policy: Box<dyn PlacementPolicy>,
    ) -> Self {
        let safemode =
            SafeMode::at_startup(settings.safemode_threshold, settings.safemode_min_datanodes);
        Self {
            settings,
            map: BlockMap::default(),
            queues: Default::default(),
            cursors: [BlockId(0); 5],
            surplus: BTreeSet::new(),
            pending: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            streams: BTreeMap::new(),
            doomed: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            open_reports: BTreeMap::new(),
            recent: BTreeMap::new(),
            lost: BTreeSet::new(),
            suspected: BTreeSet::new(),
            last_block: BlockId(0),
            applied: TxId(0),
            durable: TxId(0),
            future: BTreeSet::new(),
            corrupt: BTreeSet::new(),
            safemode,
            policy,
            random: SplitMix::new(seed),
        }
    }

    /// The block map.
    #[must_use]
    pub fn map(&self) -> &BlockMap {
        &self.map
    }

    /// Safe mode.
    #[must_use]
    pub fn safemode(&self) -> &SafeMode {
        &self.safemode
    }

    /// Safe mode, to turn it on or off.
    pub fn safemode_mut(&mut self) -> &mut SafeMode {
        &mut self.safemode
    }

    /// The highest block id the namespace has given out; blocks above it are never removed.
    pub fn set_last_block(&mut self, block: BlockId) {
        self.last_block = self.last_block.max(block);
    }

    /// What follows is the work of changes up to this one. A removal that may follow from a change
    /// waits until that is durable: a crash undoes the change, and would not bring the bytes back.
    pub fn set_applied(&mut self, upto: TxId) {
        self.applied = self.applied.max(upto);
    }

    /// A crash does not undo changes up to this one any more.
    pub fn set_durable(&mut self, upto: TxId) {
        self.durable = self.durable.max(upto);
    }

    // ---- what the namespace says -------------------------------------------------------------

    /// A block exists or its intent changed: it was added, committed, reopened, given another
    /// version or another wanted number of replicas. Members of its pipeline that have not
    /// reported when it is committed get a grace period before a copy replaces them.
    pub fn set_intent(&mut self, block: BlockId, intent: BlockIntent, now_ms: u64) {
        self.set_last_block(block);
        let was_open = self.map.get(block).is_some_and(|entry| entry.intent.under_construction);
        let known = self.map.get(block).map(|entry| entry.intent.under_construction);
        // Totals for safe mode count complete blocks only.
        let counted_before = i64::from(known == Some(false));
        let counted_after = i64::from(!intent.under_construction);
        self.safemode.adjust(counted_after - counted_before, 0);
        self.map.set_intent(block, intent);
        if was_open && !intent.under_construction {
            let members = self.pipelines.remove(&block).unwrap_or_default();
            let deadline_ms = now_ms + self.settings.commit_grace_ms;
            for (node, _) in members {
                let good = self
                    .map
                    .get(block)
                    .and_then(|entry| entry.on(node))
                    .is_some_and(|r| r.worth(&intent) == Worth::Good);
                if !good && !self.lost.contains(&node) {
                    self.add_pending(block, Pending { node, source: None, deadline_ms });
                }
            }
        }
        if intent.under_construction {
            self.clear_pending(block);
        }
        self.evaluate(block);
    }

    /// The nodes a writer was told to write an open block to.
    pub fn set_pipeline(&mut self, block: BlockId, members: Vec<(NodeId, StorageId)>) {
        if self.map.get(block).is_some_and(|entry| entry.intent.under_construction) {
            self.pipelines.insert(block, members);
        }
    }

    /// The nodes a writer was told to write an open block to; empty when not known.
    #[must_use]
    pub fn pipeline(&self, block: BlockId) -> &[(NodeId, StorageId)] {
        self.pipelines.get(&block).map_or(&[], Vec::as_slice)
    }

    /// The namespace no longer has this block: all its replicas go.
    pub fn remove_block(&mut self, block: BlockId, now_ms: u64) {
        self.clear_pending(block);
        let members = self.pipelines.remove(&block).unwrap_or_default();
        for queue in &mut self.queues {
            queue.remove(&block);
        }
        self.surplus.remove(&block);
        self.corrupt.remove(&block);
        let Some(entry) = self.map.remove(block) else { return };
        let complete = !entry.intent.under_construction;
        self.safemode.adjust(-i64::from(complete), -i64::from(entry.counted_safe));
        let gen_stamp = entry.intent.gen_stamp.0;
        for replica in &entry.replicas {
            self.doom(replica.node, block, gen_stamp.max(replica.gen_stamp.0), now_ms);
        }
        // A member that was just being dialled may create the replica a moment later: its report
        // of an unknown block leads to the removal then.
        for (node, _) in members {
            if entry.on(node).is_none() {
                self.doom(node, block, gen_stamp, now_ms + self.settings.unknown_grace_ms);
            }
        }
    }

    pub(super) fn doom(&mut self, node: NodeId, block: BlockId, gen_stamp: u64, at_ms: u64) {
        if !self.lost.contains(&node) {
            let doomed = Doomed { gen_stamp, not_before_ms: at_ms, after: self.applied };
            self.doomed.entry(node).or_default().insert(block, doomed);
        }
    }

    // ---- what the node table says ------------------------------------------------------------

    /// A node is dead: its replicas stop counting now; they leave the map in
    /// [`BlockManager::drain_lost`], in slices, so that a full node does not stall others.
    pub fn node_lost(&mut self, node: NodeId) {
        self.lost.insert(node);
        self.suspected.remove(&node);
        self.doomed.remove(&node);
        self.recent.remove(&node);
        self.open_reports.retain(|(of, _), _| *of != node);
        self.streams.remove(&node);
        let waiting: Vec<BlockId> = self
            .pending
            .iter()
            .filter(|(_, list)| list.iter().any(|p| p.node == node || p.source == Some(node)))
            .map(|(&block, _)| block)
            .collect();
        for block in waiting {
            self.retain_pending(block, |p| p.node != node && p.source != Some(node));
            self.evaluate(block);
        }
    }

    /// Takes up to `limit` replicas of dead nodes out of the map. True: there are more.
    pub fn drain_lost(&mut self, limit: usize) -> bool {
        let mut left = limit;
        while let Some(&node) = self.lost.first() {
            let blocks: Vec<BlockId> = self.map.held_by_node(node).take(left).collect();
            for &block in &blocks {
                self.map.drop_replica(block, node);
                self.evaluate(block);
            }
            left -= blocks.len();
            if self.map.count_on_node(node) > 0 {
                return true;
            }
            self.lost.remove(&node);
            for members in self.pipelines.values_mut() {
                members.retain(|(member, _)| *member != node);
            }
            if left == 0 {
                return !self.lost.is_empty();
            }
        }
        false
    }

    /// A node registered (again): what was known of it is forgotten, its reports begin anew.
    /// Replicas it still has are not forgotten, so that a reconnect does not start repairs; the
    /// full report that follows removes what is gone.
    pub fn node_registered(&mut self, node: NodeId) {
        if self.lost.contains(&node) {
            while self.drain_lost(usize::MAX) {}
        }
        self.suspected.remove(&node);
        self.recent.remove(&node);
        self.open_reports.retain(|(of, _), _| *of != node);
    }

    /// A node's stream broke; it may be dead.
    pub fn node_suspected(&mut self, node: NodeId) {
        self.suspected.insert(node);
    }

    // ---- pending copies ----------------------------------------------------------------------

    pub(super) fn add_pending(&mut self, block: BlockId, pending: Pending) {
        let list = self.pending.entry(block).or_default();
        if list.iter().any(|p| p.node == pending.node) {
            return;
        }
        list.push(pending);
        self.deadlines.insert((pending.deadline_ms, block));
        if let Some(source) = pending.source {
            *self.streams.entry(source).or_default() += 1;
        }
    }

    pub(super) fn retain_pending(&mut self, block: BlockId, keep: impl Fn(&Pending) -> bool) {
        let Some(list) = self.pending.get_mut(&block) else { return };
        let mut freed = Vec::new();
        list.retain(|p| {
            let stays = keep(p);
            if !stays {
                freed.push(*p);
            }
            stays
        });
        let deadlines: Vec<u64> = list.iter().map(|p| p.deadline_ms).collect();
        if list.is_empty() {
            self.pending.remove(&block);
        }
        for gone in freed {
            if !deadlines.contains(&gone.deadline_ms) {
                self.deadlines.remove(&(gone.deadline_ms, block));
            }
            if let Some(source) = gone.source
                && let Some(streams) = self.streams.get_mut(&source)
            {
                *streams -= 1;
                if *streams == 0 {
                    self.streams.remove(&source);
                }
            }
        }
    }

    fn clear_pending(&mut self, block: BlockId) {
        self.retain_pending(block, |_| false);
    }

    // ---- the difference ----------------------------------------------------------------------

    /// Good replicas on nodes that are not known to be dead.
    pub(super) fn good_nodes<'a>(
        &'a self,
        entry: &'a BlockEntry,
    ) -> impl Iterator<Item = NodeId> + 'a {
        entry.with(Worth::Good).map(|r| r.node).filter(|node| !self.lost.contains(node))
    }

    /// Whether the block has its minimum replication (one) now.
    #[must_use]
    pub fn is_available(&self, block: BlockId) -> bool {
        self.map.get(block).is_some_and(|entry| self.good_nodes(entry).next().is_some())
    }

    /// Puts the block into the queues its state calls for, and no others. Called after every
    /// change of its intent or observation.
    pub(super) fn evaluate(&mut self, block: BlockId) {
        let Some(entry) = self.map.get(block) else { return };
        let intent = entry.intent;
        let good = self.good_nodes(entry).count();
        let wanted = usize::from(intent.replication);
        let pending = self.pending.get(&block).map_or(0, |list| {
            list.iter()
                .filter(|p| entry.on(p.node).is_none_or(|r| r.worth(&intent) != Worth::Good))
                .count()
        });
        let spoiled = entry
            .replicas
            .iter()
            .any(|r| matches!(r.worth(&intent), Worth::Stale | Worth::Corrupt));
        let corrupt = entry.with(Worth::Corrupt).next().is_some();
        let closed = !intent.under_construction;
        let queue = match good {
            _ if !closed => None,
            0 => Some(3),
            _ if good + pending >= wanted => None,
            1 => Some(0),
            _ if good * 3 < wanted => Some(1),
            _ => Some(2),
        };
        let surplus = closed && (good > wanted || spoiled);
        let safe = closed && good > 0;
        let (old_queue, was_safe) = (entry.queue, entry.counted_safe);
        if let Some(entry) = self.map.get_mut(block) {
            entry.queue = queue;
            entry.counted_safe = safe;
        }
        if old_queue != queue {
            if let Some(old) = old_queue {
                self.queues[usize::from(old)].remove(&block);
            }
            if let Some(new) = queue {
                self.queues[usize::from(new)].insert(block);
            }
        }
        set_member(&mut self.surplus, block, surplus);
        set_member(&mut self.corrupt, block, corrupt);
        self.safemode.adjust(0, i64::from(safe) - i64::from(was_safe));
    }

    /// Numbers for status pages.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let count = |n: usize| n as u64;
        Totals {
            blocks: count(self.map.len()),
            under_replicated: self.queues[..3].iter().map(|q| count(q.len())).sum(),
            missing: count(self.queues[3].len()),
            missing_single: count(
                self.queues[3]
                    .iter()
                    .filter(|b| self.map.get(**b).is_some_and(|e| e.intent.replication == 1))
                    .count(),
            ),
            corrupt: count(self.corrupt.len()),
            pending_transfers: self
                .pending
                .values()
                .map(|list| count(list.iter().filter(|p| p.source.is_some()).count()))
                .sum(),
            pending_invalidations: self.doomed.values().map(|d| count(d.len())).sum(),
            future: count(self.future.len()),
        }
    }

    /// Panics if an invariant does not hold; for tests and simulation.
    pub fn validate(&self) {
        self.map.validate();
        let mut total = 0;
        let mut safe = 0;
        for (block, entry) in self.map.iter() {
            total += u64::from(!entry.intent.under_construction);
            safe += u64::from(entry.counted_safe);
            for (at, queue) in self.queues.iter().enumerate() {
                assert_eq!(
                    queue.contains(&block),
                    entry.queue.map(usize::from) == Some(at),
                    "queue {at} of block {block}"
                );
            }
        }
        assert_eq!(self.safemode.counts(), (safe, total));
        let streams: u32 = self.streams.values().sum();
        let copies: usize = self.pending.values().flatten().filter(|p| p.source.is_some()).count();
        assert_eq!(streams as usize, copies, "streams are the pending copies");
    }
}

fn set_member(set: &mut BTreeSet<BlockId>, block: BlockId, member: bool) {
    if member {
        set.insert(block);
    } else {
        set.remove(&block);
    }
}
