//! Pipeline recovery: a datanode failed under a writer.

use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::INodeId;

use super::{CallInfo, Cluster, Located, Seen, Service};
use crate::blocks::placement::Request;
use crate::blocks::{NodeId, StorageId};
use crate::namesystem::{Block, Ctx, Namespace, ops};

/// What a writer asks when it wants another node for its pipeline.
#[derive(Debug, Clone)]
pub struct MoreNodes {
    /// The file's path, for messages.
    pub path: String,
    /// The file, where the client says it.
    pub file: Option<INodeId>,
    /// The writer.
    pub client_name: String,
    /// The block it writes.
    pub block: Block,
    /// UUIDs of the nodes it has, in pipeline order.
    pub existing: Vec<String>,
    /// UUIDs of nodes it does not want.
    pub excluded: Vec<String>,
    /// How many more.
    pub count: usize,
}

/// A rebuilt pipeline: from now on the block is `new`, on `nodes`.
#[derive(Debug, Clone)]
pub struct PipelineUpdate {
    /// The writer.
    pub client_name: String,
    /// The block with the version before.
    pub old: Block,
    /// The block with the version it was given for this, and the bytes its nodes have.
    pub new: Block,
    /// UUIDs of the nodes, in pipeline order.
    pub nodes: Vec<String>,
    /// Parallel to `nodes`; where one is missing, the node's roomiest storage is assumed.
    pub storages: Vec<String>,
}

/// The most nodes one call may ask for.
const MAX_MORE_NODES: usize = 512;

impl Service {
    /// A new version for a block whose pipeline is rebuilt (HDFS `updateBlockForPipeline`).
    pub fn update_block_for_pipeline(
        &self,
        call: &CallInfo,
        client_name: &str,
        block: Block,
    ) -> Seen<Located> {
        let file = match self.file_of(block) {
            Ok(file) => file,
            Err(error) => return self.refuse(error),
        };
        let request = ops::update_block_for_pipeline::Request { file, client_name, block };
        let what = format!("rebuild the pipeline of block {}", block.id);
        let check = |ns: &Namespace, ctx: &Ctx<'_>| {
            ops::update_block_for_pipeline::check(ns, &request, ctx)
        };
        self.change(call, &what, check, |_, _| {}).map(|block| {
            let cluster = self.cluster.read();
            let members = cluster.blocks.pipeline(block.id).to_vec();
            cluster.locate_at(block, 0, &members)
        })
    }

    /// The rebuilt pipeline stands (HDFS `updatePipeline`).
    pub fn update_pipeline(&self, call: &CallInfo, update: &PipelineUpdate) -> Seen<()> {
        let PipelineUpdate { client_name, old, new, nodes, storages } = update;
        let (old, new) = (*old, *new);
        let file = match self.file_of(old) {
            Ok(file) => file,
            Err(error) => return self.refuse(error),
        };
        let request = ops::update_pipeline::Request { file, client_name, old, new };
        let what = format!("rebuild the pipeline of block {}", old.id);
        let check = |ns: &Namespace, ctx: &Ctx<'_>| ops::update_pipeline::check(ns, &request, ctx);
        self.change(call, &what, check, |cluster, ()| {
            let members = cluster.members(nodes, storages);
            cluster.blocks.set_pipeline(new.id, members);
        })
    }

    /// More nodes for a pipeline that lost some (HDFS `getAdditionalDatanode`): the existing ones
    /// and exactly `count` new ones.
    pub fn additional_datanodes(&self, call: &CallInfo, ask: &MoreNodes) -> Seen<Located> {
        let file = match ask.file.map_or_else(|| self.file_of(ask.block), Ok) {
            Ok(file) => file,
            Err(error) => return self.refuse(error),
        };
        let seen = self.read(|ns| {
            let view = ns.file(file).ok_or_else(|| {
                let message = format!("{} does not exist any more", ask.path);
                RemoteError::new(ErrorKind::NotFound, message)
            })?;
            if view.holder.as_deref() != Some(ask.client_name.as_str()) {
                let message = format!("{} is not being written by {}", ask.path, ask.client_name);
                return Err(RemoteError::new(ErrorKind::LeaseExpired, message));
            }
            Ok(view.block_size)
        });
        let place = |block_size: u64| {
            let mut cluster = self.cluster.write();
            let existing = cluster.members(&ask.existing, &[]);
            let holders: Vec<NodeId> = existing.iter().map(|(node, _)| *node).collect();
            let excluded: Vec<NodeId> = ask
                .excluded
                .iter()
                .filter_map(|uuid| cluster.nodes.by_uuid(uuid))
                .map(|node| node.id)
                .collect();
            let request = Request {
                writer: cluster.nodes.on_machine(call.ip).map(|n| n.id),
                holders: &holders,
                excluded: &excluded,
                favoured: &[],
                count: ask.count.min(MAX_MORE_NODES),
                needed_bytes: ask.block.len.max(1),
            };
            let new = cluster.choose(block_size, &request);
            if new.len() < ask.count {
                return Err(RemoteError::new(
                    ErrorKind::Io,
                    format!(
                        "no more datanodes for block {} of {}: {} wanted, {} found among {} live",
                        ask.block.id,
                        ask.path,
                        ask.count,
                        new.len(),
                        cluster.nodes.live()
                    ),
                ));
            }
            let mut members = existing;
            members.extend(cluster.with_storage(&new));
            Ok(cluster.locate_at(ask.block, 0, &members))
        };
        Seen { answer: seen.answer.and_then(place), upto: seen.upto }
    }

    fn refuse<A>(&self, error: RemoteError) -> Seen<A> {
        self.read(|_| Err(error))
    }
}

impl Cluster {
    fn members(&self, nodes: &[String], storages: &[String]) -> Vec<(NodeId, StorageId)> {
        let mut members = Vec::with_capacity(nodes.len());
        for (at, uuid) in nodes.iter().enumerate() {
            let Some(node) = self.nodes.by_uuid(uuid) else { continue };
            let named = storages
                .get(at)
                .and_then(|s| node.storages.iter().position(|known| known.uuid == *s))
                .and_then(|at| u16::try_from(at).ok())
                .map(StorageId);
            if let Some(storage) = named.or_else(|| Some(node.roomiest()?.0)) {
                members.push((node.id, storage));
            }
        }
        members
    }
}
