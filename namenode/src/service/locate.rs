//! Where a file's bytes are, nearest first.

use std::net::IpAddr;
use std::sync::Arc;

use hfs_protocol::error::{ErrorKind, RemoteError};

use super::{CallInfo, Cluster, Seen, Service};
use crate::blocks::map::{BlockEntry, Worth};
use crate::blocks::{NodeId, StorageId};
use crate::datanodes::{Datanode, Liveness};
use crate::namesystem::{Block, FileBlocks};
use crate::topology;

/// One place of a block.
#[derive(Debug, Clone)]
pub struct Location {
    /// The node as it was when located.
    pub node: Arc<Datanode>,
    /// Its data directory.
    pub storage: StorageId,
}

impl Location {
    /// The data directory's identity.
    #[must_use]
    pub fn storage_uuid(&self) -> &str {
        self.node.storages.get(usize::from(self.storage.0)).map_or("", |s| &s.uuid)
    }
}

/// A block and its places.
#[derive(Debug, Clone)]
pub struct Located {
    /// The block; its length is that of the namespace.
    pub block: Block,
    /// Where in the file it begins.
    pub offset: u64,
    /// Where it is; for a writer in pipeline order, for a reader nearest first.
    pub places: Vec<Location>,
    /// Every known replica is corrupt.
    pub corrupt: bool,
}

/// The answer to "where is this file" (HDFS `LocatedBlocks`).
#[derive(Debug, Clone)]
pub struct LocatedFile {
    /// Length without a last block that is still being written.
    pub length: u64,
    /// The blocks of the asked range whose length is final.
    pub blocks: Vec<Located>,
    /// Whether it is open for writing.
    pub under_construction: bool,
    /// The file's last block, whatever was asked.
    pub last: Option<Located>,
    /// Whether the last block's length is final and a replica of it is finished.
    pub last_complete: bool,
}

impl Service {
    /// Where the bytes of a range are (HDFS `getBlockLocations`).
    pub fn locate(&self, call: &CallInfo, path: &str, offset: u64, len: u64) -> Seen<LocatedFile> {
        let namespace = self.namespace.read();
        let found = namespace.blocks(path, offset, len, &call.caller);
        let answer = found.map(|blocks| self.cluster.read().locate_file(&blocks, call.ip));
        Seen { answer, upto: namespace.applied() }
    }
}

impl Cluster {
    /// Locates all of a file's asked blocks for a reader at this address.
    pub(super) fn locate_file(&self, file: &FileBlocks, client: IpAddr) -> LocatedFile {
        // A last block that is still being written is told apart: its length is not known here.
        let open = |block: &Block| {
            !file.last_committed && file.last.is_some_and(|(last, _)| last.id == block.id)
        };
        let blocks = file
            .blocks
            .iter()
            .filter(|(block, _)| !open(block))
            .map(|(block, offset)| self.locate_read(*block, *offset, client))
            .collect();
        let last = file.last.map(|(block, offset)| match file.last_committed {
            true => self.locate_read(block, offset, client),
            false => self.locate_open(block, offset, client),
        });
        let last_complete = file.last_committed
            && file.last.is_some_and(|(block, _)| {
                !file.under_construction || self.blocks.is_available(block.id)
            });
        LocatedFile {
            length: file.file_len,
            blocks,
            under_construction: file.under_construction,
            last,
            last_complete,
        }
    }

    /// A finished block for a reader: good replicas, or those still being closed; corrupt ones only
    /// when there is nothing else, and marked so.
    fn locate_read(&self, block: Block, offset: u64, client: IpAddr) -> Located {
        let Some(entry) = self.blocks.map().get(block.id) else {
            return Located { block, offset, places: Vec::new(), corrupt: false };
        };
        let mut corrupt = false;
        let mut places = self.places(entry, Worth::Good);
        if places.is_empty() {
            places = self.places(entry, Worth::Open);
        }
        if places.is_empty() {
            places = self.places(entry, Worth::Leaving);
        }
        if places.is_empty() {
            places = self.places(entry, Worth::Corrupt);
            corrupt = !places.is_empty();
        }
        self.nearest_first(&mut places, block, client);
        Located { block, offset, places: self.locations(&places), corrupt }
    }

    /// A block that is being written, for a reader: whoever may have bytes of it.
    pub(super) fn locate_open(&self, block: Block, offset: u64, client: IpAddr) -> Located {
        let mut places = self.writers_of(block.id);
        let stale = |node: NodeId| {
            self.blocks.map().get(block.id).is_some_and(|entry| {
                entry.on(node).is_some_and(|r| r.worth(&entry.intent) == Worth::Stale)
            })
        };
        if places.iter().any(|(node, _)| !stale(*node)) {
            places.retain(|(node, _)| !stale(*node));
        }
        self.nearest_first(&mut places, block, client);
        Located { block, offset, places: self.locations(&places), corrupt: false }
    }

    /// A block at given nodes, in their order.
    pub(super) fn locate_at(
        &self,
        block: Block,
        offset: u64,
        places: &[(NodeId, StorageId)],
    ) -> Located {
        Located { block, offset, places: self.locations(places), corrupt: false }
    }

    fn places(&self, entry: &BlockEntry, worth: Worth) -> Vec<(NodeId, StorageId)> {
        entry.with(worth).filter(|r| self.is_usable(r.node)).map(|r| (r.node, r.storage)).collect()
    }

    /// Live before suspected, near before far; between equals a different one for each block and
    /// client, so that readers spread.
    fn nearest_first(&self, places: &mut [(NodeId, StorageId)], block: Block, client: IpAddr) {
        let rack = self.nodes.on_machine(client).map(|n| n.rack.clone());
        let spin = block.id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ match client {
                IpAddr::V4(ip) => u64::from(u32::from(ip)),
                #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
                IpAddr::V6(ip) => u128::from(ip) as u64,
            };
        places.sort_by_cached_key(|(node, _)| match self.nodes.get(*node) {
            Some(n) => {
                let far = topology::distance(client, rack.as_deref(), &n.address.ip, &n.rack);
                let tie = (u64::from(node.0) ^ spin).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
                (n.liveness != Liveness::Live, far, tie)
            }
            None => (true, u32::MAX, 0),
        });
    }

    fn locations(&self, places: &[(NodeId, StorageId)]) -> Vec<Location> {
        places
            .iter()
            .filter_map(|&(node, storage)| {
                let node = self.nodes.shared(node)?;
                node.storages.get(usize::from(storage.0))?;
                Some(Location { node: Arc::clone(node), storage })
            })
            .collect()
    }
}

/// The error for a path that names no file.
pub(super) fn no_such_file(path: &str) -> RemoteError {
    RemoteError::new(ErrorKind::NotFound, format!("File does not exist: {path}"))
}
