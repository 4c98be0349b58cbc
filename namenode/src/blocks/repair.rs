//! Repair: the difference of intent and observation becomes copies and removals.
//!
//! Everything here follows from the map as it is now; nothing depends on what was ordered before
//! except the bounds on work in flight.

use std::collections::BTreeSet;
use std::ops::Bound;

use hfs_protocol::ids::BlockId;

use super::manager::{BlockManager, Decision, Doomed, Pending};
use super::map::{BlockEntry, NodeId, Worth};
use super::placement::{Candidate, Request};

/// Queues whose blocks can be copied; the fourth holds those without any good replica.
const COPYABLE: usize = 3;
/// Index of the surplus cursor.
const SURPLUS: usize = 4;

impl BlockManager {
    /// Decides what to do now. `candidates` are the live nodes. Nothing is decided in safe mode:
    /// too little is known then.
    pub fn tick(&mut self, candidates: &[Candidate<'_>], now_ms: u64) -> Vec<Decision> {
        self.expire_pending(now_ms);
        self.drain_lost(self.settings.work_per_tick * 10);
        if self.safemode.is_on() {
            return Vec::new();
        }
        let mut decisions = Vec::new();
        self.trim(candidates, now_ms);
        self.copy(candidates, now_ms, &mut decisions);
        self.invalidate(now_ms, &mut decisions);
        decisions
    }

    /// Chooses nodes for a new block's pipeline.
    pub fn choose(&mut self, candidates: &[Candidate<'_>], request: &Request<'_>) -> Vec<NodeId> {
        self.policy.choose(candidates, request, &mut self.random)
    }

    fn expire_pending(&mut self, now_ms: u64) {
        while let Some(&(deadline_ms, block)) = self.deadlines.first() {
            if deadline_ms > now_ms {
                break;
            }
            self.deadlines.pop_first();
            self.retain_pending(block, |p| p.deadline_ms > now_ms);
            self.evaluate(block);
        }
    }

    /// Up to `limit` members of a set from its cursor on, then from the start.
    fn slice(set: &BTreeSet<BlockId>, cursor: &mut BlockId, limit: usize) -> Vec<BlockId> {
        let from = *cursor;
        let mut blocks: Vec<BlockId> = set
            .range((Bound::Excluded(from), Bound::Unbounded))
            .chain(set.range((Bound::Unbounded, Bound::Included(from))))
            .take(limit)
            .copied()
            .collect();
        if blocks.len() == set.len() {
            blocks.sort_unstable();
        }
        *cursor = blocks.last().copied().unwrap_or(BlockId(0));
        blocks
    }

    fn copy(&mut self, candidates: &[Candidate<'_>], now_ms: u64, out: &mut Vec<Decision>) {
        let mut given: Vec<Candidate<'_>> = candidates.to_vec();
        let capacity = u64::from(self.settings.max_streams_per_node) * candidates.len() as u64;
        let mut busy: u64 = self.streams.values().map(|n| u64::from(*n)).sum();
        for queue in 0..COPYABLE {
            let limit = self.settings.work_per_tick;
            let mut cursor = self.cursors[queue];
            let blocks = Self::slice(&self.queues[queue], &mut cursor, limit);
            self.cursors[queue] = cursor;
            for block in blocks {
                if busy >= capacity {
                    return;
                }
                let Some(decision) = self.copy_one(block, &given, now_ms) else { continue };
                if let Decision::Transfer { targets, intent, source, .. } = &decision {
                    busy += targets.len() as u64;
                    for candidate in &mut given {
                        if targets.contains(&candidate.node) || candidate.node == *source {
                            candidate.active_transfers += 1;
                        }
                        if targets.contains(&candidate.node) {
                            candidate.remaining_bytes =
                                candidate.remaining_bytes.saturating_sub(intent.length);
                        }
                    }
                }
                out.push(decision);
            }
        }
    }

    fn copy_one(
        &mut self,
        block: BlockId,
        candidates: &[Candidate<'_>],
        now_ms: u64,
    ) -> Option<Decision> {
        let entry = self.map.get(block)?;
        let intent = entry.intent;
        let good: Vec<NodeId> = self.good_nodes(entry).collect();
        let mut holders: Vec<NodeId> = good.clone();
        let mut excluded: Vec<NodeId> = Vec::new();
        let mut arriving = 0;
        for pending in self.pending.get(&block).into_iter().flatten() {
            if !holders.contains(&pending.node) {
                holders.push(pending.node);
                arriving += 1;
            }
        }
        for replica in &entry.replicas {
            if !holders.contains(&replica.node) {
                excluded.push(replica.node);
            }
        }
        // A node that will be told to remove this very block is no target for it.
        excluded.extend(
            self.doomed.iter().filter(|(_, blocks)| blocks.contains_key(&block)).map(|(n, _)| *n),
        );
        let missing = usize::from(intent.replication).saturating_sub(good.len() + arriving);
        let room = |node: &NodeId| {
            let streams = self.streams.get(node).copied().unwrap_or(0);
            self.settings.max_streams_per_node.saturating_sub(streams)
        };
        let source = good
            .iter()
            .filter(|node| !self.suspected.contains(node) && room(node) > 0)
            .filter(|node| candidates.iter().any(|c| c.node == **node))
            .max_by_key(|node| (room(node), std::cmp::Reverse(**node)))
            .copied()?;
        let count = missing.min(room(&source) as usize);
        if count == 0 {
            return None;
        }
        let request = Request {
            writer: None,
            holders: &holders,
            excluded: &excluded,
            favoured: &[],
            count,
            needed_bytes: intent.length,
        };
        let targets = self.policy.choose(candidates, &request, &mut self.random);
        if targets.is_empty() {
            return None;
        }
        let deadline_ms = now_ms + self.settings.pending_timeout_ms;
        for &node in &targets {
            self.add_pending(block, Pending { node, source: Some(source), deadline_ms });
        }
        self.evaluate(block);
        Some(Decision::Transfer { source, block, intent, targets })
    }

    /// Marks replicas that are too many, stale or corrupt, as far as that is safe.
    fn trim(&mut self, candidates: &[Candidate<'_>], now_ms: u64) {
        let mut cursor = self.cursors[SURPLUS];
        let blocks = Self::slice(&self.surplus, &mut cursor, self.settings.work_per_tick);
        self.cursors[SURPLUS] = cursor;
        for block in blocks {
            while let Some(node) = self.removable(block, candidates) {
                let Some(entry) = self.map.get(block) else { break };
                let Some(mut replica) = entry.on(node).copied() else { break };
                let gen_stamp = replica.gen_stamp.0;
                replica.leaving = true;
                self.map.put_replica(block, replica);
                self.doom(node, block, gen_stamp, now_ms);
                self.evaluate(block);
            }
        }
    }

    /// The replica of this block to remove next, if one may go.
    ///
    /// 1. Only replicas that are certainly good (not on a suspected node) vouch for a removal,
    ///    and at least one does.
    /// 2. A spoiled replica goes when the good ones are as many as wanted, or when it stands in
    ///    the way of the only copy that could be made: no other node could take a new replica.
    ///    In that second case one goes at a time.
    /// 3. A good replica goes only when more than the wanted number remain certain without it.
    fn removable(&self, block: BlockId, candidates: &[Candidate<'_>]) -> Option<NodeId> {
        let entry = self.map.get(block)?;
        let intent = entry.intent;
        if intent.under_construction {
            return None;
        }
        let wanted = usize::from(intent.replication).max(1);
        let certain: Vec<NodeId> =
            self.good_nodes(entry).filter(|node| !self.suspected.contains(node)).collect();
        if certain.is_empty() {
            return None;
        }
        let spoiled = entry.replicas.iter().find(|r| {
            matches!(r.worth(&intent), Worth::Stale | Worth::Corrupt)
                && !self.lost.contains(&r.node)
        });
        if let Some(spoiled) = spoiled {
            if certain.len() >= wanted {
                return Some(spoiled.node);
            }
            let under_way =
                entry.with(Worth::Leaving).next().is_some() || self.pending.contains_key(&block);
            let elsewhere = candidates
                .iter()
                .any(|c| entry.on(c.node).is_none() && c.remaining_bytes >= intent.length);
            if !under_way && !elsewhere {
                return Some(spoiled.node);
            }
            return None;
        }
        if certain.len() <= wanted {
            return None;
        }
        Some(least_useful(entry, &certain, candidates))
    }

    fn invalidate(&mut self, now_ms: u64, out: &mut Vec<Decision>) {
        let batch = self.settings.invalidate_batch;
        let map = &self.map;
        let mut ordered = Vec::new();
        for (&node, doomed) in &mut self.doomed {
            let due: Vec<BlockId> = doomed
                .iter()
                .filter(|(_, d)| d.not_before_ms <= now_ms && d.after <= self.durable)
                .map(|(&block, _)| block)
                .take(batch)
                .collect();
            let mut blocks = Vec::with_capacity(due.len());
            for block in due {
                let Some(gone) = doomed.remove(&block) else { continue };
                // The facts may have changed since: the block came back (it can't, ids are never
                // reused) or the replica was reported anew and counts again.
                let known = map.get(block);
                let still =
                    known.is_none_or(|entry| entry.on(node).is_some_and(|replica| replica.leaving));
                if still {
                    if known.is_some() {
                        ordered.push((node, block));
                    }
                    blocks.push((block, gone.gen_stamp));
                }
            }
            if !blocks.is_empty() {
                out.push(Decision::Invalidate { node, blocks });
            }
        }
        self.doomed.retain(|_, doomed| !doomed.is_empty());
        for (node, block) in ordered {
            // A full report that was taken before the order and arrives after it would make the
            // replica count again, and vouch for the removal of another one.
            self.remember(node, block, false, now_ms);
        }
    }

    /// Whether removals are due that wait for the journal.
    #[must_use]
    pub fn awaits_journal(&self, now_ms: u64) -> bool {
        let waits = |d: &Doomed| d.not_before_ms <= now_ms && d.after > self.durable;
        !self.safemode.is_on()
            && self.applied > self.durable
            && self.doomed.values().any(|doomed| doomed.values().any(waits))
    }
}

/// The good replica whose removal costs the least spread: one of the rack with the most of them,
/// and there the one on the fullest node (HDFS `chooseReplicasToDelete`).
fn least_useful(entry: &BlockEntry, certain: &[NodeId], candidates: &[Candidate<'_>]) -> NodeId {
    let of = |node: NodeId| candidates.iter().find(|c| c.node == node);
    let rack = |node: NodeId| of(node).map_or("", |c| c.rack);
    let peers =
        |node: NodeId| entry.with(Worth::Good).filter(|r| rack(r.node) == rack(node)).count();
    certain
        .iter()
        .copied()
        .max_by_key(|&node| {
            let free = of(node).map_or(0, |c| c.remaining_bytes);
            (peers(node), std::cmp::Reverse(free), node)
        })
        .expect("invariant: called with at least one certain replica")
}
