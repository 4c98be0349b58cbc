//! Nodes, blocks and streams under one lock: what changes together.

use std::collections::BTreeMap;

use hfs_protocol::ids::{BlockId, INodeId};
use hfs_protocol::proto::datanode::{
    self as wire, NamenodeMessage, Target, namenode_message::Message,
};
use tokio::sync::mpsc;

use super::leases::Outcome;
use crate::blocks::map::Worth;
use crate::blocks::recovery::Recovery;
use crate::blocks::{BlockIntent, BlockManager, Decision, NodeId, StorageId};
use crate::datanodes::{Liveness, NodeTable};
use crate::namesystem::{Block, Effect, Replicas};

/// Messages that may wait for one datanode; more are dropped, and decided again later.
pub const COMMAND_QUEUE: usize = 256;

/// The volatile half of the namenode.
#[derive(Debug)]
pub struct Cluster {
    /// Who is there.
    pub nodes: NodeTable,
    /// Which replicas should be and are.
    pub blocks: BlockManager,
    /// Block recoveries under way.
    pub recoveries: BTreeMap<BlockId, Recovery>,
    /// Recoveries that came to their end and whose files are to be closed.
    pub finished: Vec<Outcome>,
    /// The open streams.
    pub streams: BTreeMap<NodeId, mpsc::Sender<NamenodeMessage>>,
    /// Whether the datanodes of before the start have had their time to register.
    grace_over: bool,
}

/// The intent of a block as the namespace knows it.
pub(super) fn intent(
    file: INodeId,
    block: Block,
    replication: u16,
    under_construction: bool,
) -> BlockIntent {
    BlockIntent {
        inode: file,
        gen_stamp: block.gen_stamp,
        length: block.len,
        replication,
        under_construction,
    }
}

impl Cluster {
    /// A cluster without streams.
    #[must_use]
    pub fn new(nodes: NodeTable, blocks: BlockManager) -> Self {
        Self {
            nodes,
            blocks,
            recoveries: BTreeMap::new(),
            finished: Vec::new(),
            streams: BTreeMap::new(),
            grace_over: false,
        }
    }

    /// The datanodes of before the start have had their time to register.
    pub(super) fn end_grace(&mut self) {
        self.grace_over = true;
    }

    pub(super) fn take_effects(&mut self, effects: &[Effect], now_ms: u64) {
        for effect in effects {
            match *effect {
                Effect::BlockSet { file, block, replication, under_construction } => {
                    let intent = intent(file, block, replication, under_construction);
                    self.blocks.set_intent(block.id, intent, now_ms);
                    if !under_construction {
                        self.recoveries.remove(&block.id);
                    }
                }
                Effect::BlockRemoved { block } => {
                    self.recoveries.remove(&block.id);
                    self.blocks.remove_block(block.id, now_ms);
                }
            }
        }
    }

    /// Leaves start-up safe mode if it may.
    pub(super) fn check_safemode(&mut self) {
        let live = self.nodes.live();
        if self.blocks.safemode_mut().check(live) {
            let (safe, total) = self.blocks.safemode().counts();
            tracing::info!("safe mode is off: {safe} of {total} blocks have a replica");
        }
    }

    /// Whether a node may be handed to clients.
    pub(super) fn is_usable(&self, node: NodeId) -> bool {
        self.nodes.get(node).is_some_and(|n| n.liveness != Liveness::Dead)
    }

    /// Sends a message to a node. False: its queue is full or it has no stream.
    pub(super) fn send(&self, node: NodeId, message: Message) -> bool {
        self.streams.get(&node).is_some_and(|stream| {
            stream.try_send(NamenodeMessage { message: Some(message) }).is_ok()
        })
    }

    /// Sends what the block manager decided.
    pub(super) fn perform(&mut self, decisions: Vec<Decision>, now_ms: u64) {
        for decision in decisions {
            match decision {
                Decision::Transfer { source, block, intent, targets } => {
                    let to: Vec<Target> = targets.iter().filter_map(|n| self.target(*n)).collect();
                    let message = Message::Transfer(wire::Transfer {
                        block: Some(wire_block(block, &intent)),
                        targets: to,
                    });
                    if self.send(source, message) {
                        for &target in &targets {
                            self.nodes.assign(target);
                        }
                        tracing::debug!(%block, from = ?source, to = ?targets, "replica copied");
                    } else {
                        for target in targets {
                            self.blocks.transfer_failed(block, target);
                        }
                    }
                }
                Decision::Invalidate { node, blocks } => {
                    let list = blocks
                        .iter()
                        .map(|&(block, gen_stamp)| wire::Block {
                            block_id: block.0,
                            generation_stamp: gen_stamp,
                            length: 0,
                        })
                        .collect();
                    let message = Message::Invalidate(wire::Invalidate { blocks: list });
                    if !self.send(node, message) {
                        self.blocks.invalidation_failed(node, &blocks, now_ms);
                    }
                }
            }
        }
    }

    fn target(&self, node: NodeId) -> Option<Target> {
        let node = self.nodes.get(node)?;
        let (_, storage) = node.roomiest()?;
        Some(Target {
            datanode_uuid: node.uuid.clone(),
            ip: node.address.ip.clone(),
            host: node.address.host.clone(),
            transfer_port: u32::from(node.address.transfer_port),
            storage_uuid: storage.uuid.clone(),
        })
    }

    /// Nodes that have, or may have, bytes of a block that is being written: its pipeline and
    /// whoever reported it.
    pub(super) fn writers_of(&self, block: BlockId) -> Vec<(NodeId, StorageId)> {
        let mut nodes: Vec<(NodeId, StorageId)> = self.blocks.pipeline(block).to_vec();
        if let Some(entry) = self.blocks.map().get(block) {
            for replica in &entry.replicas {
                let current = matches!(
                    replica.worth(&entry.intent),
                    Worth::Good | Worth::Open | Worth::Stale
                );
                if current && !nodes.iter().any(|(n, _)| *n == replica.node) {
                    nodes.push((replica.node, replica.storage));
                }
            }
        }
        nodes.retain(|(node, _)| self.is_usable(*node));
        nodes
    }
}

fn wire_block(block: BlockId, intent: &BlockIntent) -> wire::Block {
    wire::Block { block_id: block.0, generation_stamp: intent.gen_stamp.0, length: intent.length }
}

impl Replicas for Cluster {
    fn at_minimum(&self, block: BlockId) -> bool {
        self.blocks.is_available(block)
    }

    fn any(&self, block: BlockId) -> bool {
        !self.blocks.pipeline(block).is_empty()
            || self.blocks.map().get(block).is_some_and(|entry| !entry.replicas.is_empty())
    }

    /// A pipeline is volatile: where there is one, the block was given out, or its pipeline rebuilt,
    /// since the start, and its members are all there are. A block of before the start is known
    /// once as many nodes as it wants replicas have it, or everybody has had time to report.
    fn holders_known(&self, block: BlockId) -> bool {
        if !self.blocks.pipeline(block).is_empty() {
            return true;
        }
        let enough = self.blocks.map().get(block).is_some_and(|entry| {
            let current = entry
                .replicas
                .iter()
                .filter(|r| matches!(r.worth(&entry.intent), Worth::Good | Worth::Open))
                .count();
            current >= usize::from(entry.intent.replication)
        });
        enough
            || (self.grace_over
                && !self.blocks.safemode().is_on()
                && self.nodes.all_have_reported())
    }
}
