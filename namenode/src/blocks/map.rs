//! The block map: for each block what should be and what was reported.

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{BlockId, GenStamp, INodeId};

/// A registered datanode, numbered by the node table in the order of first registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u32);

/// One data directory of a datanode, numbered within its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(pub u16);

/// What the namespace says a block should be. Hard state, copied here from the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockIntent {
    /// The file it belongs to.
    pub inode: INodeId,
    /// Its version: replicas of another version do not count.
    pub gen_stamp: GenStamp,
    /// Bytes once committed; while it is written, what the namespace last heard.
    pub length: u64,
    /// Wanted number of replicas.
    pub replication: u16,
    /// Whether a writer (or a recovery) may still change it.
    pub under_construction: bool,
}

/// The replica state a datanode reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaKind {
    /// Closed on disk.
    Finalized,
    /// Being written (HDFS `RBW`).
    BeingWritten,
    /// Was being written when its datanode died (HDFS `RWR`), or is under recovery (`RUR`).
    Waiting,
}

/// One observed replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Where it is.
    pub node: NodeId,
    /// In which of the node's data directories.
    pub storage: StorageId,
    /// As reported.
    pub kind: ReplicaKind,
    /// Someone read it and found bytes that do not match their checksums.
    pub corrupt: bool,
    /// Its removal was ordered. It does not count as good from then on; a later report that still
    /// lists it clears the flag, so a lost order costs nothing.
    pub leaving: bool,
    /// As reported.
    pub gen_stamp: GenStamp,
    /// As reported, in bytes.
    pub length: u64,
}

/// What a replica is worth, from intent and observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Finalised, of the right version and length.
    Good,
    /// Still being written, or ahead of the namespace by a pipeline update under way.
    Open,
    /// Of an older version, or left over from a writer that died.
    Stale,
    /// Wrong bytes or a wrong length.
    Corrupt,
    /// About to be removed.
    Leaving,
}

impl Replica {
    /// What this replica is worth to a block that should be `intent`.
    #[must_use]
    pub fn worth(&self, intent: &BlockIntent) -> Worth {
        if self.leaving {
            return Worth::Leaving;
        }
        if self.corrupt {
            return Worth::Corrupt;
        }
        if self.gen_stamp < intent.gen_stamp {
            return Worth::Stale;
        }
        if intent.under_construction {
            return match self.kind {
                ReplicaKind::Finalized if self.gen_stamp == intent.gen_stamp => Worth::Good,
                _ => Worth::Open,
            };
        }
        if self.gen_stamp > intent.gen_stamp {
            return Worth::Stale;
        }
        match self.kind {
            ReplicaKind::Finalized if self.length == intent.length => Worth::Good,
            ReplicaKind::Finalized => Worth::Corrupt,
            ReplicaKind::BeingWritten => Worth::Open,
            ReplicaKind::Waiting => Worth::Stale,
        }
    }
}

/// A block: intent and observation, two fields that never write to each other.
#[derive(Debug, Clone)]
pub struct BlockEntry {
    /// What should be.
    pub intent: BlockIntent,
    /// What was reported, ordered by node; at most one replica a node.
    pub replicas: Vec<Replica>,
    /// The repair queue it stands in, if any (see [`super::repair`]).
    pub(super) queue: Option<u8>,
    /// Whether safe mode counted it as available.
    pub(super) counted_safe: bool,
}

impl BlockEntry {
    fn new(intent: BlockIntent) -> Self {
        Self { intent, replicas: Vec::new(), queue: None, counted_safe: false }
    }

    /// Replicas of this worth.
    pub fn with(&self, worth: Worth) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.worth(&self.intent) == worth)
    }

    /// How many replicas are good.
    #[must_use]
    pub fn good(&self) -> usize {
        self.with(Worth::Good).count()
    }

    /// The replica on this node.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.binary_search_by_key(&node, |r| r.node).ok().map(|at| &self.replicas[at])
    }
}

/// All blocks, and for each node's storage the blocks it holds.
///
/// Invariant: a block is in `held[(node, storage)]` exactly when its entry has a replica there.
#[derive(Debug, Default)]
pub struct BlockMap {
    blocks: BTreeMap<BlockId, BlockEntry>,
    held: BTreeMap<(NodeId, StorageId), BTreeSet<BlockId>>,
}

impl BlockMap {
    /// The entry of a block.
    #[must_use]
    pub fn get(&self, block: BlockId) -> Option<&BlockEntry> {
        self.blocks.get(&block)
    }

    pub(super) fn get_mut(&mut self, block: BlockId) -> Option<&mut BlockEntry> {
        self.blocks.get_mut(&block)
    }

    /// Number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there are no blocks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All blocks in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (BlockId, &BlockEntry)> {
        self.blocks.iter().map(|(&id, entry)| (id, entry))
    }

    /// Adds a block or changes the intent of one; the observation stays.
    pub(super) fn set_intent(&mut self, block: BlockId, intent: BlockIntent) {
        self.blocks
            .entry(block)
            .and_modify(|entry| entry.intent = intent)
            .or_insert_with(|| BlockEntry::new(intent));
    }

    /// Takes a block out; returns its entry so that its replicas can be removed too.
    pub(super) fn remove(&mut self, block: BlockId) -> Option<BlockEntry> {
        let entry = self.blocks.remove(&block)?;
        for replica in &entry.replicas {
            self.unhold(replica.node, replica.storage, block);
        }
        Some(entry)
    }

    /// Records a replica in place of what was known of that node. False: no such block.
    pub(super) fn put_replica(&mut self, block: BlockId, replica: Replica) -> bool {
        let Some(entry) = self.blocks.get_mut(&block) else { return false };
        let moved = match entry.replicas.binary_search_by_key(&replica.node, |r| r.node) {
            Ok(at) => {
                let old = std::mem::replace(&mut entry.replicas[at], replica);
                (old.storage != replica.storage).then_some(old.storage)
            }
            Err(at) => {
                entry.replicas.insert(at, replica);
                None
            }
        };
        if let Some(storage) = moved {
            self.unhold(replica.node, storage, block);
        }
        self.held.entry((replica.node, replica.storage)).or_default().insert(block);
        true
    }

    /// Forgets the replica on this node. True: there was one.
    pub(super) fn drop_replica(&mut self, block: BlockId, node: NodeId) -> bool {
        let Some(entry) = self.blocks.get_mut(&block) else { return false };
        let Ok(at) = entry.replicas.binary_search_by_key(&node, |r| r.node) else { return false };
        let replica = entry.replicas.remove(at);
        self.unhold(node, replica.storage, block);
        true
    }

    fn unhold(&mut self, node: NodeId, storage: StorageId, block: BlockId) {
        if let Some(set) = self.held.get_mut(&(node, storage)) {
            set.remove(&block);
            if set.is_empty() {
                self.held.remove(&(node, storage));
            }
        }
    }

    /// Blocks with a replica on this storage, in order.
    pub fn held_by_storage(
        &self,
        node: NodeId,
        storage: StorageId,
    ) -> impl Iterator<Item = BlockId> + '_ {
        self.held.get(&(node, storage)).into_iter().flatten().copied()
    }

    /// Blocks with a replica on this node, in order of storage and id.
    pub fn held_by_node(&self, node: NodeId) -> impl Iterator<Item = BlockId> + '_ {
        self.held
            .range((node, StorageId(0))..=(node, StorageId(u16::MAX)))
            .flat_map(|(_, set)| set.iter().copied())
    }

    /// How many replicas this node holds.
    #[must_use]
    pub fn count_on_node(&self, node: NodeId) -> usize {
        self.held
            .range((node, StorageId(0))..=(node, StorageId(u16::MAX)))
            .map(|(_, set)| set.len())
            .sum()
    }

    /// Panics if an invariant of this structure does not hold; for tests and simulation.
    pub fn validate(&self) {
        let mut replicas = 0;
        for (block, entry) in &self.blocks {
            assert!(entry.replicas.is_sorted_by_key(|r| r.node), "replicas of {block} unordered");
            for replica in &entry.replicas {
                replicas += 1;
                let held = self.held.get(&(replica.node, replica.storage));
                assert!(held.is_some_and(|set| set.contains(block)), "{block} is not held");
            }
        }
        assert_eq!(replicas, self.held.values().map(BTreeSet::len).sum::<usize>());
    }
}
