//! The block manager against a naive world: random histories of reports, losses and deletions, in
//! which the tests themselves play the datanodes.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{BlockId, GenStamp, INodeId, TxId};
use proptest::prelude::*;

use super::placement::{Candidate, Request};
use super::report::Reported;
use super::{BlockIntent, BlockManager, BlockSettings, Decision, NodeId, ReplicaKind, StorageId};

const STORAGE: StorageId = StorageId(0);

fn intent(replication: u16) -> BlockIntent {
    BlockIntent {
        inode: INodeId(20_000),
        gen_stamp: GenStamp(1001),
        length: 100,
        replication,
        under_construction: false,
    }
}

fn finalized(block: BlockId) -> Reported {
    Reported { block, gen_stamp: GenStamp(1001), length: 100, kind: ReplicaKind::Finalized }
}

fn nodes(count: u32) -> Vec<Candidate<'static>> {
    (0..count)
        .map(|n| Candidate {
            node: NodeId(n),
            rack: if n % 2 == 0 { "/a" } else { "/b" },
            remaining_bytes: 1 << 30,
            active_transfers: 0,
        })
        .collect()
}

fn manager() -> BlockManager {
    let mut manager = BlockManager::new(BlockSettings::default(), 7);
    manager.safemode_mut().leave();
    manager
}

#[test]
fn a_lost_replica_is_copied_from_a_good_one_to_a_new_node() {
    let mut m = manager();
    m.set_intent(BlockId(1), intent(2), 0);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(1)), 0);
    m.replica_changed(NodeId(1), STORAGE, finalized(BlockId(1)), 0);
    assert!(m.tick(&nodes(3), 1).is_empty());
    m.node_lost(NodeId(0));
    let left: Vec<_> = nodes(3).into_iter().filter(|c| c.node != NodeId(0)).collect();
    let decisions = m.tick(&left, 2);
    assert_eq!(
        decisions,
        [Decision::Transfer {
            source: NodeId(1),
            block: BlockId(1),
            intent: intent(2),
            targets: vec![NodeId(2)]
        }]
    );
    assert!(m.tick(&left, 3).is_empty(), "ordered once");
    assert_eq!(m.tick(&left, 2 + m.settings.pending_timeout_ms).len(), 1, "and again if lost");
    m.validate();
}

#[test]
fn the_fewest_replicas_are_copied_first() {
    let mut m = manager();
    for block in 1..=3 {
        m.set_intent(BlockId(block), intent(3), 0);
    }
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(1)), 0);
    m.replica_changed(NodeId(1), STORAGE, finalized(BlockId(1)), 0);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(2)), 0);
    let decisions = m.tick(&nodes(4), 1);
    let order: Vec<BlockId> = decisions
        .iter()
        .filter_map(|d| match d {
            Decision::Transfer { block, .. } => Some(*block),
            Decision::Invalidate { .. } => None,
        })
        .collect();
    assert_eq!(order, [BlockId(2), BlockId(1)]);
    assert_eq!(m.totals().missing, 1);
}

#[test]
fn a_wrong_length_is_corrupt_and_goes_only_after_its_replacement() {
    let mut m = manager();
    m.set_intent(BlockId(1), intent(2), 0);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(1)), 0);
    m.replica_changed(NodeId(1), STORAGE, Reported { length: 99, ..finalized(BlockId(1)) }, 0);
    let decisions = m.tick(&nodes(3), 1);
    assert!(
        matches!(&decisions[..], [Decision::Transfer { targets, .. }] if targets == &[NodeId(2)])
    );
    m.replica_changed(NodeId(2), STORAGE, finalized(BlockId(1)), 2);
    let decisions = m.tick(&nodes(3), 3);
    assert_eq!(
        decisions,
        [Decision::Invalidate { node: NodeId(1), blocks: vec![(BlockId(1), 1001)] }]
    );
}

#[test]
fn with_no_other_node_the_corrupt_replica_makes_room_for_its_replacement() {
    let mut m = manager();
    m.set_intent(BlockId(1), intent(2), 0);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(1)), 0);
    m.replica_changed(NodeId(1), STORAGE, finalized(BlockId(1)), 0);
    assert!(m.replica_corrupt(NodeId(1), BlockId(1), GenStamp(1001)));
    let decisions = m.tick(&nodes(2), 1);
    assert!(matches!(&decisions[..], [Decision::Invalidate { node: NodeId(1), .. }]));
    m.replica_deleted(NodeId(1), BlockId(1), GenStamp(1001), 2);
    let decisions = m.tick(&nodes(2), 3);
    assert!(
        matches!(&decisions[..], [Decision::Transfer { targets, .. }] if targets == &[NodeId(1)])
    );
}

#[test]
fn the_last_corrupt_replicas_are_never_removed() {
    let mut m = manager();
    m.set_intent(BlockId(1), intent(2), 0);
    for node in [0, 1] {
        m.replica_changed(NodeId(node), STORAGE, finalized(BlockId(1)), 0);
        m.replica_corrupt(NodeId(node), BlockId(1), GenStamp(1001));
    }
    assert!(m.tick(&nodes(4), 1_000_000).is_empty());
    assert_eq!(m.totals().missing, 1);
}

#[test]
fn unknown_blocks_go_after_their_grace_and_never_in_safe_mode() {
    let mut m = BlockManager::new(BlockSettings::default(), 7);
    m.set_last_block(BlockId(10));
    m.full_report(NodeId(0), STORAGE, 1, &[finalized(BlockId(5)), finalized(BlockId(11))], true, 0);
    assert!(m.tick(&nodes(1), 100_000).is_empty(), "safe mode");
    m.safemode_mut().leave();
    let decisions = m.tick(&nodes(1), 100_001);
    assert_eq!(
        decisions,
        [Decision::Invalidate { node: NodeId(0), blocks: vec![(BlockId(5), 1001)] }],
        "block 11 was never given out by this namespace: kept"
    );
    assert_eq!(m.totals().future, 1);
}

#[test]
fn a_removal_waits_until_the_change_behind_it_is_durable() {
    let mut m = manager();
    m.set_intent(BlockId(1), intent(1), 0);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(1)), 0);
    m.set_applied(TxId(7));
    m.remove_block(BlockId(1), 1);
    m.set_durable(TxId(6));
    assert!(m.tick(&nodes(1), 2).is_empty(), "a crash now brings the file back");
    assert!(m.awaits_journal(2));
    m.set_durable(TxId(7));
    assert_eq!(
        m.tick(&nodes(1), 3),
        [Decision::Invalidate { node: NodeId(0), blocks: vec![(BlockId(1), 1001)] }]
    );
    assert!(!m.awaits_journal(3));
}

#[test]
fn a_report_taken_before_a_removal_order_does_not_vouch_for_the_next_one() {
    let mut m = manager();
    m.set_intent(BlockId(1), intent(1), 0);
    for node in 0..2 {
        m.replica_changed(NodeId(node), STORAGE, finalized(BlockId(1)), 0);
    }
    let mut live = nodes(2);
    let decisions = m.tick(&live, 1);
    let [Decision::Invalidate { node, .. }] = &decisions[..] else { panic!("{decisions:?}") };
    // The report was under way, and what is free changes with the removal.
    m.full_report(*node, STORAGE, 1, &[finalized(BlockId(1))], true, 2);
    for candidate in &mut live {
        if candidate.node != *node {
            candidate.remaining_bytes = 1;
        }
    }
    assert!(m.tick(&live, 3).is_empty(), "the other one is the last");
    // A later report tells that the order was lost.
    let later = 2 + m.settings.report_overlap_ms;
    m.full_report(*node, STORAGE, 2, &[finalized(BlockId(1))], true, later);
    assert_eq!(m.tick(&live, later + 1).len(), 1);
    m.validate();
}

#[test]
fn a_report_after_a_reconnect_tells_what_was_not_said_meanwhile() {
    let mut m = manager();
    for block in 1..=2 {
        m.set_intent(BlockId(block), intent(1), 0);
    }
    let writing = Reported { kind: ReplicaKind::BeingWritten, ..finalized(BlockId(1)) };
    m.replica_changed(NodeId(0), STORAGE, writing, 1);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(2)), 1);
    // The stream breaks; the first is finished and the second goes while nobody listens.
    m.node_suspected(NodeId(0));
    m.node_registered(NodeId(0));
    m.full_report(NodeId(0), STORAGE, 1, &[finalized(BlockId(1))], true, 2);
    assert!(m.is_available(BlockId(1)) && !m.is_available(BlockId(2)));
    m.validate();
}

#[test]
fn a_full_report_in_chunks_removes_what_it_does_not_list() {
    let mut m = manager();
    for block in 1..=3 {
        m.set_intent(BlockId(block), intent(1), 0);
        m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(block)), 0);
    }
    let later = m.settings.report_overlap_ms + 1;
    assert!(!m.full_report(NodeId(0), STORAGE, 9, &[finalized(BlockId(1))], false, later));
    assert!(m.is_available(BlockId(3)));
    assert!(m.full_report(NodeId(0), STORAGE, 9, &[finalized(BlockId(2))], true, later));
    assert!(m.is_available(BlockId(1)) && m.is_available(BlockId(2)));
    assert!(!m.is_available(BlockId(3)));
    m.validate();
}

#[test]
fn an_increment_outweighs_a_full_report_taken_before_it() {
    let mut m = manager();
    m.set_intent(BlockId(1), intent(1), 0);
    m.set_intent(BlockId(2), intent(1), 0);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(2)), 0);
    m.replica_deleted(NodeId(0), BlockId(2), GenStamp(1001), 10);
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(1)), 10);
    m.full_report(NodeId(0), STORAGE, 1, &[finalized(BlockId(2))], true, 11);
    assert!(m.is_available(BlockId(1)), "received after the picture was taken");
    assert!(!m.is_available(BlockId(2)), "deleted after the picture was taken");
}

#[test]
fn a_finished_pipeline_has_time_to_report_before_copies_start() {
    let mut m = manager();
    let open = BlockIntent { under_construction: true, length: 0, ..intent(3) };
    m.set_intent(BlockId(1), open, 0);
    m.set_pipeline(BlockId(1), (0..3).map(|n| (NodeId(n), STORAGE)).collect());
    m.replica_changed(NodeId(0), STORAGE, finalized(BlockId(1)), 1);
    m.set_intent(BlockId(1), intent(3), 2);
    assert!(m.is_available(BlockId(1)));
    assert!(m.tick(&nodes(5), 3).is_empty());
    m.replica_changed(NodeId(1), STORAGE, finalized(BlockId(1)), 4);
    let decisions = m.tick(&nodes(5), 2 + m.settings.commit_grace_ms);
    assert!(matches!(&decisions[..], [Decision::Transfer { targets, .. }] if targets.len() == 1));
}

#[test]
fn a_failed_storage_s_replicas_are_gone_and_the_other_storage_s_stay() {
    let mut m = manager();
    for block in [1, 2] {
        m.set_intent(BlockId(block), intent(1), 0);
    }
    m.replica_changed(NodeId(0), StorageId(0), finalized(BlockId(1)), 0);
    m.replica_changed(NodeId(0), StorageId(1), finalized(BlockId(2)), 0);
    assert!(m.storage_failed(NodeId(0), StorageId(1)));
    assert!(!m.storage_failed(NodeId(0), StorageId(1)), "once");
    assert!(m.is_available(BlockId(1)) && !m.is_available(BlockId(2)));
    m.validate();
}

#[test]
fn safe_mode_counts_complete_blocks_with_a_replica() {
    let mut m = BlockManager::new(BlockSettings::default(), 7);
    m.set_intent(BlockId(1), intent(3), 0);
    m.set_intent(BlockId(2), BlockIntent { under_construction: true, ..intent(3) }, 0);
    assert_eq!(m.safemode().counts(), (0, 1));
    m.full_report(NodeId(0), STORAGE, 1, &[finalized(BlockId(1))], true, 0);
    assert_eq!(m.safemode().counts(), (1, 1));
    assert!(m.safemode_mut().check(1));
    m.remove_block(BlockId(1), 5);
    assert_eq!(m.safemode().counts(), (0, 0));
    m.validate();
}

#[test]
fn a_new_block_s_pipeline_starts_at_the_writer() {
    let mut m = manager();
    let chosen = m.choose(
        &nodes(5),
        &Request {
            writer: Some(NodeId(3)),
            holders: &[],
            excluded: &[NodeId(1)],
            favoured: &[],
            count: 3,
            needed_bytes: 1,
        },
    );
    assert_eq!(chosen[0], NodeId(3));
    assert_eq!(chosen.len(), 3);
    assert!(!chosen.contains(&NodeId(1)));
}

/// What really is on the disks of the simulated nodes.
#[derive(Debug, Default)]
struct World {
    /// (node, block) → good bytes.
    disks: BTreeMap<(u32, u64), bool>,
    dead: BTreeSet<u32>,
    deleted: BTreeSet<u64>,
    /// Orders on their way.
    orders: Vec<Decision>,
}

#[derive(Debug, Clone)]
enum Event {
    AddBlock { replication: u16, on: Vec<u32> },
    DeleteBlock(usize),
    SetReplication(usize, u16),
    KillNode(u32),
    ReviveNode(u32),
    FullReport(u32),
    Corrupt(u32, usize),
    Tick,
    Deliver(usize),
    LoseOrders,
}

const NODES: u32 = 6;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_u16..4, prop::collection::vec(0..NODES, 1..4))
            .prop_map(|(replication, on)| Event::AddBlock { replication, on }),
        1 => (0_usize..20).prop_map(Event::DeleteBlock),
        2 => (0_usize..20, 1_u16..5).prop_map(|(b, r)| Event::SetReplication(b, r)),
        2 => (0..NODES).prop_map(Event::KillNode),
        2 => (0..NODES).prop_map(Event::ReviveNode),
        3 => (0..NODES).prop_map(Event::FullReport),
        2 => (0..NODES, 0_usize..20).prop_map(|(n, b)| Event::Corrupt(n, b)),
        6 => Just(Event::Tick),
        8 => (0_usize..8).prop_map(Event::Deliver),
        1 => Just(Event::LoseOrders),
    ]
}

impl World {
    fn live(&self) -> Vec<Candidate<'static>> {
        nodes(NODES).into_iter().filter(|c| !self.dead.contains(&c.node.0)).collect()
    }

    fn good_copies(&self, block: u64) -> usize {
        self.disks
            .iter()
            .filter(|((node, b), good)| *b == block && **good && !self.dead.contains(node))
            .count()
    }

    fn tick(&mut self, m: &mut BlockManager, now: u64) {
        let decisions = m.tick(&self.live(), now);
        for decision in &decisions {
            if let Decision::Invalidate { node, blocks } = decision {
                for (block, _) in blocks {
                    self.check_removal(m, *node, *block);
                }
            }
        }
        self.orders.extend(decisions);
    }

    /// The promise: what is told to go is not the last good copy the manager knows of.
    fn check_removal(&self, m: &BlockManager, node: NodeId, block: BlockId) {
        if self.deleted.contains(&block.0) {
            return;
        }
        let entry = m.map().get(block).expect("not deleted");
        let others = entry
            .with(super::map::Worth::Good)
            .filter(|r| r.node != node && !self.dead.contains(&r.node.0))
            .count();
        assert!(others >= 1, "the last good replica of {block} on {node:?} was to be removed");
    }

    fn deliver(&mut self, m: &mut BlockManager, at: usize, now: u64) {
        if self.orders.is_empty() {
            return;
        }
        let decision = self.orders.remove(at % self.orders.len());
        match decision {
            Decision::Transfer { source, block, targets, .. } => {
                for target in targets {
                    let bytes = self.disks.get(&(source.0, block.0)).copied();
                    let dead = self.dead.contains(&source.0) || self.dead.contains(&target.0);
                    let occupied = self.disks.contains_key(&(target.0, block.0));
                    if dead || occupied {
                        m.transfer_failed(block, target);
                    } else if bytes == Some(true) {
                        self.disks.insert((target.0, block.0), true);
                        m.replica_changed(target, STORAGE, finalized(block), now);
                    } else {
                        if bytes.is_some() {
                            m.replica_corrupt(source, block, GenStamp(1001));
                        }
                        m.transfer_failed(block, target);
                    }
                }
            }
            Decision::Invalidate { node, blocks } => {
                if self.dead.contains(&node.0) {
                    return;
                }
                for (block, _) in blocks {
                    self.disks.remove(&(node.0, block.0));
                    m.replica_deleted(node, block, GenStamp(1001), now);
                }
            }
        }
    }

    fn report(&self, m: &mut BlockManager, node: u32, id: u64, now: u64) {
        let held: Vec<Reported> = self
            .disks
            .keys()
            .filter(|(n, _)| *n == node)
            .map(|(_, block)| finalized(BlockId(*block)))
            .collect();
        m.full_report(NodeId(node), STORAGE, id, &held, true, now);
    }

    fn revive(&mut self, m: &mut BlockManager, node: u32, id: u64, now: u64) {
        if self.dead.remove(&node) {
            m.node_registered(NodeId(node));
            self.report(m, node, id, now);
        }
    }

    fn play(&mut self, m: &mut BlockManager, blocks: &mut Vec<u64>, event: Event, now: u64) {
        match event {
            Event::AddBlock { replication, on } => {
                let block = blocks.len() as u64 + 1;
                blocks.push(block);
                m.set_intent(BlockId(block), intent(replication), now);
                for node in on.into_iter().filter(|n| !self.dead.contains(n)) {
                    self.disks.insert((node, block), true);
                    m.replica_changed(NodeId(node), STORAGE, finalized(BlockId(block)), now);
                }
            }
            Event::DeleteBlock(at) => {
                if let Some(block) = blocks.get(at)
                    && self.deleted.insert(*block)
                {
                    m.remove_block(BlockId(*block), now);
                }
            }
            Event::SetReplication(at, replication) => {
                if let Some(block) = blocks.get(at).filter(|b| !self.deleted.contains(b)) {
                    m.set_intent(BlockId(*block), intent(replication), now);
                }
            }
            Event::KillNode(node) => {
                if self.dead.insert(node) {
                    m.node_lost(NodeId(node));
                }
            }
            Event::ReviveNode(node) => self.revive(m, node, now, now),
            Event::FullReport(node) => {
                if !self.dead.contains(&node) {
                    self.report(m, node, now, now);
                }
            }
            Event::Corrupt(node, at) => {
                let Some(&block) = blocks.get(at) else { return };
                // Bad luck strikes, but not the last good copy: the model asks for healing.
                if self.good_copies(block) > 1
                    && let Some(good) = self.disks.get_mut(&(node, block))
                    && *good
                    && !self.dead.contains(&node)
                {
                    *good = false;
                    m.replica_corrupt(NodeId(node), BlockId(block), GenStamp(1001));
                }
            }
            Event::Tick => self.tick(m, now),
            Event::Deliver(at) => self.deliver(m, at, now),
            Event::LoseOrders => self.orders.clear(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_history_is_safe_and_heals(events in prop::collection::vec(event(), 1..120)) {
        let mut m = manager();
        let mut world = World::default();
        let mut blocks = Vec::new();
        let mut now = 0;
        for event in events {
            now += 500;
            world.play(&mut m, &mut blocks, event, now);
            m.validate();
        }
        // Faults stop: every node is back and everything is delivered.
        for node in 0..NODES {
            world.revive(&mut m, node, now, now);
        }
        for round in 0..400 {
            now += 2_000;
            world.tick(&mut m, now);
            while !world.orders.is_empty() {
                world.deliver(&mut m, 0, now);
            }
            // A death forgets marks of corruption; a reader or a scan finds the bytes again.
            if round % 40 == 0 {
                now += m.settings.report_overlap_ms;
                for node in 0..NODES {
                    world.report(&mut m, node, now, now);
                }
                for ((node, block), good) in &world.disks {
                    if !good {
                        m.replica_corrupt(NodeId(*node), BlockId(*block), GenStamp(1001));
                    }
                }
            }
        }
        m.validate();
        for &block in &blocks {
            if world.deleted.contains(&block) {
                prop_assert!(!world.disks.keys().any(|(_, b)| *b == block), "{} stayed", block);
                continue;
            }
            let wanted = usize::from(m.map().get(BlockId(block)).unwrap().intent.replication);
            let good = world.good_copies(block);
            if good > 0 {
                prop_assert_eq!(good, wanted, "block {}", block);
            } else {
                // Born on dead nodes only: nothing was ever stored.
                prop_assert!(!m.is_available(BlockId(block)));
            }
        }
    }

    #[test]
    fn the_same_history_gives_the_same_decisions(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let run = |events: Vec<Event>| {
            let mut m = manager();
            let mut world = World::default();
            let mut blocks = Vec::new();
            let mut orders = Vec::new();
            for (at, event) in events.into_iter().enumerate() {
                world.play(&mut m, &mut blocks, event, at as u64 * 500);
                orders.push(world.orders.clone());
            }
            orders
        };
        prop_assert_eq!(run(events.clone()), run(events));
    }
}
