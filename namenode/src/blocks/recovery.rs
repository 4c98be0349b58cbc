//! Block recovery: a writer is gone and its last block must become one length everywhere.
//!
//! Pure. The namenode leads (in HDFS a datanode does): it asks every node that may hold the block
//! to stop the writer and say what it has, decides, and tells the chosen ones to cut to one length
//! and finalise.
//!
//! ```text
//!   start ─▶ Asking ──all answered, or time up──▶ Finishing ──one done (all, or time up)─▶ Done
//!              │  nobody has bytes and all answered ─▶ Empty
//!              └──nothing usable, time up──▶ (asked again after a pause)
//! ```
//!
//! What a writer was told is safe stays: an acknowledged byte is on every replica of its pipeline
//! that is still being written, so the shortest of those has it; and a finalised replica has all.

use std::collections::BTreeMap;

use hfs_protocol::ids::{BlockId, GenStamp, INodeId};

use super::map::{NodeId, ReplicaKind};

/// A node's answer to the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The version on disk.
    pub gen_stamp: GenStamp,
    /// Bytes on disk.
    pub length: u64,
    /// The replica's state before it was stopped.
    pub kind: ReplicaKind,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask this node to stop the writer and answer.
    Init {
        /// Whom.
        node: NodeId,
    },
    /// Tell this node to cut to `length`, take the new version and finalise.
    Finish {
        /// Whom.
        node: NodeId,
        /// The agreed length in bytes.
        length: u64,
    },
    /// The block is whole on `holders`; close it in the namespace.
    Done {
        /// The agreed length in bytes.
        length: u64,
        /// Who has it, ordered.
        holders: Vec<NodeId>,
    },
    /// No node has a byte of it: the block leaves the file.
    Empty,
}

#[derive(Debug)]
enum Phase {
    Asking { answers: BTreeMap<NodeId, Option<Found>> },
    Finishing { length: u64, waiting: Vec<NodeId>, holders: Vec<NodeId> },
}

/// One recovery under way.
#[derive(Debug)]
pub struct Recovery {
    /// The file.
    pub inode: INodeId,
    /// The block.
    pub block: BlockId,
    /// The version it had.
    pub old: GenStamp,
    /// The version it gets; stale writers and older recoveries are told apart by it.
    pub recovery_id: GenStamp,
    asked: Vec<NodeId>,
    phase: Phase,
    deadline_ms: u64,
}

/// How long nodes have to answer or to finish before the others go on without them.
pub const STEP_TIMEOUT_MS: u64 = 3_000;

impl Recovery {
    /// Begins: asks `nodes`.
    #[must_use]
    pub fn start(
        inode: INodeId,
        block: BlockId,
        old: GenStamp,
        recovery_id: GenStamp,
        nodes: Vec<NodeId>,
        now_ms: u64,
    ) -> (Self, Vec<Step>) {
        let steps = nodes.iter().map(|&node| Step::Init { node }).collect();
        let phase = Phase::Asking { answers: BTreeMap::new() };
        let deadline_ms = now_ms + STEP_TIMEOUT_MS;
        (Self { inode, block, old, recovery_id, asked: nodes, phase, deadline_ms }, steps)
    }

    /// A node answered; `None`: it has no replica or can't recover it.
    pub fn answered(&mut self, node: NodeId, found: Option<Found>, now_ms: u64) -> Vec<Step> {
        let Phase::Asking { answers } = &mut self.phase else { return Vec::new() };
        if self.asked.contains(&node) {
            answers.insert(node, found);
        }
        if answers.len() == self.asked.len() { self.decide(now_ms) } else { Vec::new() }
    }

    /// A node finished (or failed to).
    pub fn finished(&mut self, node: NodeId, ok: bool) -> Vec<Step> {
        let Phase::Finishing { length, waiting, holders } = &mut self.phase else {
            return Vec::new();
        };
        let before = waiting.len();
        waiting.retain(|n| *n != node);
        if ok && waiting.len() < before {
            holders.push(node);
            holders.sort_unstable();
        }
        if waiting.is_empty() && !holders.is_empty() {
            return vec![Step::Done { length: *length, holders: holders.clone() }];
        }
        Vec::new()
    }

    /// The time. Returns steps, and whether this attempt is over without a result (then another
    /// one begins, with a new version).
    pub fn tick(&mut self, now_ms: u64) -> (Vec<Step>, bool) {
        match &self.phase {
            Phase::Finishing { waiting, holders, .. }
                if waiting.is_empty() && holders.is_empty() =>
            {
                (Vec::new(), true)
            }
            _ if now_ms < self.deadline_ms => (Vec::new(), false),
            Phase::Asking { .. } => {
                let steps = self.decide(now_ms);
                let over = steps.is_empty();
                (steps, over)
            }
            Phase::Finishing { length, holders, .. } if !holders.is_empty() => {
                (vec![Step::Done { length: *length, holders: holders.clone() }], false)
            }
            Phase::Finishing { .. } => (Vec::new(), true),
        }
    }

    /// Chooses the length and those who take part (HDFS `BlockRecoveryWorker.syncBlock`):
    /// finalised replicas win, with those being written that reached the same length; else the
    /// shortest of those being written; else the shortest of those whose writer died with the node.
    fn decide(&mut self, now_ms: u64) -> Vec<Step> {
        let Phase::Asking { answers } = &self.phase else { return Vec::new() };
        let usable: Vec<(NodeId, &Found)> = answers
            .iter()
            .filter_map(|(&node, found)| Some((node, found.as_ref()?)))
            .filter(|(_, found)| found.gen_stamp >= self.old && found.length > 0)
            .collect();
        let of = |kind: ReplicaKind| usable.iter().filter(move |(_, f)| f.kind == kind);
        let shortest = |kind| of(kind).map(|(_, f)| f.length).min();
        let (length, nodes): (u64, Vec<NodeId>) =
            if let Some(length) = of(ReplicaKind::Finalized).map(|(_, f)| f.length).max() {
                let fits = |f: &Found| f.kind != ReplicaKind::Waiting && f.length == length;
                (length, usable.iter().filter(|(_, f)| fits(f)).map(|(n, _)| *n).collect())
            } else if let Some(length) = shortest(ReplicaKind::BeingWritten) {
                (length, of(ReplicaKind::BeingWritten).map(|(n, _)| *n).collect())
            } else if let Some(length) = shortest(ReplicaKind::Waiting) {
                (length, of(ReplicaKind::Waiting).map(|(n, _)| *n).collect())
            } else if answers.len() == self.asked.len() && !self.asked.is_empty() {
                return vec![Step::Empty];
            } else {
                return Vec::new();
            };
        self.deadline_ms = now_ms + STEP_TIMEOUT_MS;
        let steps = nodes.iter().map(|&node| Step::Finish { node, length }).collect();
        self.phase = Phase::Finishing { length, waiting: nodes, holders: Vec::new() };
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);
    const C: NodeId = NodeId(2);

    fn found(length: u64, kind: ReplicaKind) -> Option<Found> {
        Some(Found { gen_stamp: GenStamp(1001), length, kind })
    }

    fn start(nodes: &[NodeId]) -> Recovery {
        let (recovery, steps) = Recovery::start(
            INodeId(20000),
            BlockId(5),
            GenStamp(1001),
            GenStamp(1002),
            nodes.to_vec(),
            0,
        );
        assert_eq!(steps.len(), nodes.len());
        recovery
    }

    #[test]
    fn the_shortest_of_those_being_written_is_the_length() {
        let mut r = start(&[A, B, C]);
        assert!(r.answered(A, found(300, ReplicaKind::BeingWritten), 1).is_empty());
        assert!(r.answered(B, found(200, ReplicaKind::BeingWritten), 1).is_empty());
        let steps = r.answered(C, found(100, ReplicaKind::Waiting), 1);
        assert_eq!(
            steps,
            [Step::Finish { node: A, length: 200 }, Step::Finish { node: B, length: 200 }]
        );
        assert!(r.finished(A, true).is_empty());
        assert_eq!(r.finished(B, true), [Step::Done { length: 200, holders: vec![A, B] }]);
    }

    #[test]
    fn a_finalised_replica_decides() {
        let mut r = start(&[A, B, C]);
        r.answered(A, found(300, ReplicaKind::Finalized), 1);
        r.answered(B, found(200, ReplicaKind::BeingWritten), 1);
        let steps = r.answered(C, found(300, ReplicaKind::BeingWritten), 1);
        assert_eq!(
            steps,
            [Step::Finish { node: A, length: 300 }, Step::Finish { node: C, length: 300 }]
        );
    }

    #[test]
    fn a_silent_node_is_not_waited_for_beyond_the_deadline() {
        let mut r = start(&[A, B]);
        r.answered(A, found(7, ReplicaKind::BeingWritten), 1);
        assert_eq!(r.tick(STEP_TIMEOUT_MS - 1), (vec![], false));
        assert_eq!(r.tick(STEP_TIMEOUT_MS), (vec![Step::Finish { node: A, length: 7 }], false));
        assert_eq!(r.finished(A, true), [Step::Done { length: 7, holders: vec![A] }]);
    }

    #[test]
    fn nobody_having_bytes_empties_the_block_only_when_all_have_said_so() {
        let mut r = start(&[A, B]);
        r.answered(A, None, 1);
        assert_eq!(r.tick(STEP_TIMEOUT_MS), (vec![], true), "B may have them: try again later");
        let mut r = start(&[A, B]);
        r.answered(A, None, 1);
        assert_eq!(r.answered(B, found(0, ReplicaKind::BeingWritten), 1), [Step::Empty]);
    }

    #[test]
    fn older_versions_do_not_count() {
        let mut r = start(&[A, B]);
        let old = Found { gen_stamp: GenStamp(1000), length: 9, kind: ReplicaKind::Finalized };
        r.answered(A, Some(old), 1);
        assert_eq!(
            r.answered(B, found(4, ReplicaKind::Waiting), 1),
            [Step::Finish { node: B, length: 4 }]
        );
    }

    #[test]
    fn failing_to_finish_everywhere_ends_the_attempt() {
        let mut r = start(&[A]);
        r.answered(A, found(4, ReplicaKind::BeingWritten), 1);
        assert!(r.finished(A, false).is_empty());
        assert_eq!(r.tick(2), (vec![], true));
    }
}
