//! Reports: what datanodes say they have becomes observation.

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{BlockId, GenStamp};

use super::manager::BlockManager;
use super::map::{NodeId, Replica, ReplicaKind, StorageId};

/// A full report whose last chunk has not come.
#[derive(Debug)]
pub(super) struct OpenReport {
    id: u64,
    seen: BTreeSet<BlockId>,
}

/// What a node's incremental reports said lately: block → (when, present). A full report is a
/// picture taken some time before it arrives, so for these blocks the increment is the newer word.
pub(super) type Recent = BTreeMap<BlockId, (u64, bool)>;

/// One reported replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Which block.
    pub block: BlockId,
    /// Its version on disk.
    pub gen_stamp: GenStamp,
    /// Its bytes on disk.
    pub length: u64,
    /// Its state.
    pub kind: ReplicaKind,
}

impl BlockManager {
    /// One chunk of a full report of one storage. After the last chunk the report counts as
    /// complete and what it did not list is gone. A chunk of another report id starts over.
    /// True: the report is complete.
    pub fn full_report(
        &mut self,
        node: NodeId,
        storage: StorageId,
        report_id: u64,
        replicas: &[Reported],
        last: bool,
        now_ms: u64,
    ) -> bool {
        let oldest = now_ms.saturating_sub(self.settings.report_overlap_ms);
        let mut open = match self.open_reports.remove(&(node, storage)) {
            Some(open) if open.id == report_id => open,
            _ => OpenReport { id: report_id, seen: BTreeSet::new() },
        };
        for reported in replicas {
            open.seen.insert(reported.block);
            let newer =
                self.recent.get(&node).and_then(|r| r.get(&reported.block)).map(|&(at, _)| at);
            if newer.is_none_or(|at| at < oldest) {
                self.observe(node, storage, *reported, now_ms);
            }
        }
        if !last {
            self.open_reports.insert((node, storage), open);
            return false;
        }
        let gone: Vec<BlockId> = self
            .map
            .held_by_storage(node, storage)
            .filter(|block| !open.seen.contains(block))
            .filter(|block| {
                let newer = self.recent.get(&node).and_then(|r| r.get(block));
                newer.is_none_or(|&(at, _)| at < oldest)
            })
            .collect();
        for block in gone {
            self.map.drop_replica(block, node);
            self.evaluate(block);
        }
        true
    }

    /// The node received or is receiving this replica.
    pub fn replica_changed(
        &mut self,
        node: NodeId,
        storage: StorageId,
        reported: Reported,
        now_ms: u64,
    ) {
        self.remember(node, reported.block, true, now_ms);
        self.observe(node, storage, reported, now_ms);
    }

    /// The node no longer has a replica of this block. A deletion of an older version than the
    /// one known there is an echo of the past and says nothing about the newer one.
    pub fn replica_deleted(
        &mut self,
        node: NodeId,
        block: BlockId,
        gen_stamp: GenStamp,
        now_ms: u64,
    ) {
        self.future.remove(&block);
        self.safemode.set_future(self.future.len());
        let known = self.map.get(block).and_then(|entry| entry.on(node));
        if known.is_some_and(|replica| gen_stamp.0 > 0 && replica.gen_stamp > gen_stamp) {
            return;
        }
        self.remember(node, block, false, now_ms);
        if let Some(doomed) = self.doomed.get_mut(&node) {
            doomed.remove(&block);
        }
        if self.map.drop_replica(block, node) {
            self.evaluate(block);
        }
    }

    /// Someone read this replica and its bytes do not match their checksums. True: it counted
    /// until now. Ignored for another version than the one observed.
    pub fn replica_corrupt(&mut self, node: NodeId, block: BlockId, gen_stamp: GenStamp) -> bool {
        let Some(mut replica) = self.map.get(block).and_then(|entry| entry.on(node)).copied()
        else {
            return false;
        };
        if replica.corrupt || (gen_stamp.0 > 0 && replica.gen_stamp != gen_stamp) {
            return false;
        }
        replica.corrupt = true;
        self.map.put_replica(block, replica);
        self.evaluate(block);
        true
    }

    /// A data directory failed: its replicas are gone. True: it had some.
    pub fn storage_failed(&mut self, node: NodeId, storage: StorageId) -> bool {
        let gone: Vec<BlockId> = self.map.held_by_storage(node, storage).collect();
        for &block in &gone {
            self.map.drop_replica(block, node);
            self.evaluate(block);
        }
        !gone.is_empty()
    }

    /// A copy ended without success: it may be ordered again at once, from another source.
    pub fn transfer_failed(&mut self, block: BlockId, target: NodeId) {
        self.retain_pending(block, |p| p.node != target);
        self.evaluate(block);
    }

    /// A removal order could not be sent: it is due again in a moment.
    pub fn invalidation_failed(&mut self, node: NodeId, blocks: &[(BlockId, u64)], now_ms: u64) {
        for &(block, gen_stamp) in blocks {
            self.doom(node, block, gen_stamp, now_ms + self.settings.unknown_grace_ms);
        }
    }

    pub(super) fn remember(&mut self, node: NodeId, block: BlockId, present: bool, now_ms: u64) {
        let oldest = now_ms.saturating_sub(self.settings.report_overlap_ms);
        let recent = self.recent.entry(node).or_default();
        recent.insert(block, (now_ms, present));
        // Amortised: the whole list is looked through only when it has doubled.
        if recent.len().is_power_of_two() {
            recent.retain(|_, (at, _)| *at >= oldest);
        }
    }

    fn observe(&mut self, node: NodeId, storage: StorageId, reported: Reported, now_ms: u64) {
        let Reported { block, gen_stamp, length, kind } = reported;
        let Some(entry) = self.map.get(block) else {
            if block > self.last_block {
                self.future.insert(block);
                self.safemode.set_future(self.future.len());
            } else {
                let at = now_ms + self.settings.unknown_grace_ms;
                self.doom(node, block, gen_stamp.0, at);
            }
            return;
        };
        let known = entry.on(node);
        // A mark of corruption outlives reports of the same bytes; a new version starts clean.
        let corrupt = known.is_some_and(|r| {
            r.corrupt && r.gen_stamp == gen_stamp && kind == ReplicaKind::Finalized
        });
        let replica = Replica { node, storage, kind, corrupt, leaving: false, gen_stamp, length };
        self.map.put_replica(block, replica);
        if kind == ReplicaKind::Finalized {
            self.retain_pending(block, |p| p.node != node);
        }
        self.evaluate(block);
    }
}
