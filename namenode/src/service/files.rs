//! Changes of files and directories.

use std::time::Duration;

use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::{BlockId, INodeId};
use tokio::time::{Instant, timeout_at};

use super::{CallInfo, Cluster, Located, Seen, Service};
use crate::blocks::placement::Request;
use crate::blocks::{NodeId, StorageId};
use crate::namesystem::{Block, Ctx, FileStatus, Namespace, ops};

/// How long `complete` waits for the last block's first finished replica before it answers false,
/// and `addBlock` for that of the block before it refuses. HDFS answers at once and lets the client
/// sleep 400 ms and more; a report comes within milliseconds.
const REPLICA_WAIT: Duration = Duration::from_secs(2);

/// What a client asks when it wants room for the next block.
#[derive(Debug, Clone)]
pub struct NewBlock {
    /// The file's path, used when there is no id.
    pub path: String,
    /// The file's id, which also finds a renamed file.
    pub file: Option<INodeId>,
    /// The lease's holder.
    pub client_name: String,
    /// The block before, with its final length.
    pub previous: Option<Block>,
    /// UUIDs of nodes that must not be chosen.
    pub excluded: Vec<String>,
    /// Nodes that the client would like, `host:port`, `ip:port` or bare.
    pub favoured: Vec<String>,
    /// Whether the writer's own node is not to be preferred.
    pub not_local: bool,
}

impl Service {
    /// Makes a directory (HDFS `mkdirs`).
    pub fn mkdirs(&self, call: &CallInfo, request: &ops::mkdirs::Request<'_>) -> Seen<bool> {
        let what = format!("create directory {}", request.path);
        self.change(call, &what, |ns, ctx| ops::mkdirs::check(ns, request, ctx), |_, _| {})
    }

    /// Makes a file and opens it for writing (HDFS `create`).
    pub fn create(&self, call: &CallInfo, request: &ops::create::Request<'_>) -> Seen<FileStatus> {
        self.recover_for(call, request.path, request.client_name);
        let what = format!("create file {}", request.path);
        self.change(call, &what, |ns, ctx| ops::create::check(ns, request, ctx), |_, _| {})
    }

    /// Opens a file for writing at its end (HDFS `append`); with a partial last block, its place.
    pub fn append(
        &self,
        call: &CallInfo,
        request: &ops::append::Request<'_>,
    ) -> Seen<(FileStatus, Option<Located>)> {
        self.recover_for(call, request.path, request.client_name);
        let what = format!("append to file {}", request.path);
        let check = |ns: &Namespace, ctx: &Ctx<'_>| {
            let cluster = self.cluster.read();
            ops::append::check(ns, request, ctx, &*cluster)
        };
        let reopen = |cluster: &mut Cluster, answer: &ops::append::Answer| {
            if let Some((block, _)) = answer.last_block {
                let members = cluster.good_holders(block.id);
                cluster.blocks.set_pipeline(block.id, members);
            }
        };
        let seen = self.change(call, &what, check, reopen);
        let located = |answer: ops::append::Answer| {
            let cluster = self.cluster.read();
            let block = answer
                .last_block
                .map(|(block, offset)| cluster.locate_open(block, offset, call.ip));
            (answer.status, block)
        };
        seen.map(located)
    }

    /// Gives a file its next block and chooses the nodes to write it to (HDFS `addBlock`).
    pub async fn add_block(&self, call: &CallInfo, new: &NewBlock) -> Seen<Located> {
        let deadline = Instant::now() + REPLICA_WAIT;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let seen = self.try_add_block(call, new);
            let early = matches!(&seen.answer, Err(e) if e.kind == ErrorKind::NotReplicatedYet);
            if !early || timeout_at(deadline, changed).await.is_err() {
                return seen;
            }
        }
    }

    fn try_add_block(&self, call: &CallInfo, new: &NewBlock) -> Seen<Located> {
        let request = ops::add_block::Request {
            path: &new.path,
            file: new.file,
            client_name: &new.client_name,
            previous: new.previous,
        };
        let what = format!("add a block to {}", new.path);
        let mut chosen: Vec<(NodeId, StorageId)> = Vec::new();
        let mut placed = false;
        let check = |ns: &Namespace, ctx: &Ctx<'_>| {
            let mut cluster = self.cluster.write();
            let proposal = ops::add_block::check(ns, &request, ctx, &*cluster)?;
            let answer = &proposal.answer;
            if answer.repeated {
                let usable = cluster.blocks.pipeline(answer.block.id).to_vec();
                chosen = usable.into_iter().filter(|(n, _)| cluster.is_usable(*n)).collect();
            }
            if chosen.is_empty() {
                let place = Place {
                    path: &new.path,
                    block_size: answer.block_size,
                    replication: answer.replication,
                };
                chosen = cluster.place(&place, new, call)?;
                placed = true;
            }
            Ok(proposal)
        };
        let seen = self.change(call, &what, check, |_, _| {});
        seen.map(|answer| {
            let mut cluster = self.cluster.write();
            cluster.blocks.set_pipeline(answer.block.id, chosen.clone());
            for (node, _) in chosen.iter().filter(|_| placed) {
                cluster.nodes.assign(*node);
            }
            cluster.locate_at(answer.block, answer.offset, &chosen)
        })
    }

    /// Gives a block back that could not be written (HDFS `abandonBlock`).
    pub fn abandon_block(
        &self,
        call: &CallInfo,
        request: &ops::abandon_block::Request<'_>,
    ) -> Seen<()> {
        let what = format!("abandon a block of {}", request.path);
        self.change(call, &what, |ns, ctx| ops::abandon_block::check(ns, request, ctx), |_, _| {})
    }

    /// Closes a file (HDFS `complete`). False: its last block has no finished replica even after
    /// a short wait; the client asks again.
    pub async fn complete(
        &self,
        call: &CallInfo,
        request: &ops::complete::Request<'_>,
    ) -> Seen<bool> {
        let what = format!("close file {}", request.path);
        let deadline = Instant::now() + REPLICA_WAIT;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let check = |ns: &Namespace, ctx: &Ctx<'_>| {
                let cluster = self.cluster.read();
                ops::complete::check(ns, request, ctx, &*cluster)
            };
            let seen = self
                .change(call, &what, check, |_, _| {})
                .map(|answer| answer == ops::complete::Answer::Closed);
            let waiting = matches!(seen.answer, Ok(false));
            if !waiting || timeout_at(deadline, changed).await.is_err() {
                return seen;
            }
        }
    }

    /// Notes how far a writer has got (HDFS `fsync`).
    pub fn fsync(&self, call: &CallInfo, request: &ops::fsync::Request<'_>) -> Seen<()> {
        let what = format!("sync file {}", request.path);
        self.change(call, &what, |ns, ctx| ops::fsync::check(ns, request, ctx), |_, _| {})
    }

    /// Deletes a file or tree (HDFS `delete`).
    pub fn delete(&self, call: &CallInfo, request: &ops::delete::Request<'_>) -> Seen<bool> {
        let what = format!("delete {}", request.path);
        self.change(call, &what, |ns, ctx| ops::delete::check(ns, request, ctx), |_, _| {})
    }

    /// Renames by the old rules (HDFS `rename`): false where it can't be.
    pub fn rename(&self, call: &CallInfo, request: &ops::rename::Request<'_>) -> Seen<bool> {
        let what = format!("rename {}", request.src);
        self.change(call, &what, |ns, ctx| ops::rename::check(ns, request, ctx), |_, _| {})
    }

    /// Renames by the new rules (HDFS `rename2`): an error says why it can't be.
    pub fn rename2(&self, call: &CallInfo, request: &ops::rename2::Request<'_>) -> Seen<()> {
        let what = format!("rename {}", request.src);
        self.change(call, &what, |ns, ctx| ops::rename2::check(ns, request, ctx), |_, _| {})
    }

    /// Moves the blocks of files to the end of another (HDFS `concat`).
    pub fn concat(&self, call: &CallInfo, request: &ops::concat::Request<'_>) -> Seen<()> {
        let what = format!("concatenate to {}", request.target);
        self.change(call, &what, |ns, ctx| ops::concat::check(ns, request, ctx), |_, _| {})
    }

    /// Changes the wanted number of replicas (HDFS `setReplication`); false for directories.
    pub fn set_replication(
        &self,
        call: &CallInfo,
        request: &ops::set_replication::Request<'_>,
    ) -> Seen<bool> {
        let what = format!("set the replication of {}", request.path);
        self.change(call, &what, |ns, ctx| ops::set_replication::check(ns, request, ctx), |_, _| {})
    }

    /// Changes mode bits (HDFS `setPermission`).
    pub fn set_permission(
        &self,
        call: &CallInfo,
        request: &ops::set_permission::Request<'_>,
    ) -> Seen<()> {
        let what = format!("set the permission of {}", request.path);
        self.change(call, &what, |ns, ctx| ops::set_permission::check(ns, request, ctx), |_, _| {})
    }

    /// Changes owner and group (HDFS `setOwner`).
    pub fn set_owner(&self, call: &CallInfo, request: &ops::set_owner::Request<'_>) -> Seen<()> {
        let what = format!("set the owner of {}", request.path);
        self.change(call, &what, |ns, ctx| ops::set_owner::check(ns, request, ctx), |_, _| {})
    }

    /// Changes times (HDFS `setTimes`).
    pub fn set_times(&self, call: &CallInfo, request: &ops::set_times::Request<'_>) -> Seen<()> {
        let what = format!("set the times of {}", request.path);
        self.change(call, &what, |ns, ctx| ops::set_times::check(ns, request, ctx), |_, _| {})
    }
}

/// What a new block needs of its nodes.
struct Place<'a> {
    path: &'a str,
    block_size: u64,
    replication: u16,
}

impl Cluster {
    /// Chooses the nodes of a new block.
    fn place(
        &mut self,
        place: &Place<'_>,
        new: &NewBlock,
        call: &CallInfo,
    ) -> super::Result<Vec<(NodeId, StorageId)>> {
        let excluded: Vec<NodeId> =
            new.excluded.iter().filter_map(|u| self.nodes.by_uuid(u)).map(|n| n.id).collect();
        let favoured: Vec<NodeId> =
            new.favoured.iter().filter_map(|wish| self.named(wish)).collect();
        let writer =
            if new.not_local { None } else { self.nodes.on_machine(call.ip).map(|n| n.id) };
        let ask = Request {
            writer,
            holders: &[],
            excluded: &excluded,
            favoured: &favoured,
            count: usize::from(place.replication),
            needed_bytes: place.block_size,
        };
        let nodes = self.choose(place.block_size, &ask);
        if nodes.is_empty() {
            let live = self.nodes.live();
            return Err(RemoteError::new(
                ErrorKind::Io,
                format!(
                    "File {} could only be written to 0 of the 1 minReplication nodes. There are \
                     {live} datanode(s) running and {} node(s) are excluded in this operation; \
                     start datanodes, or free space on them (hfs cluster status shows both)",
                    place.path,
                    excluded.len()
                ),
            ));
        }
        Ok(self.with_storage(&nodes))
    }

    /// Chooses nodes for replicas of a block of at most `block_size` bytes.
    pub(super) fn choose(&mut self, block_size: u64, ask: &Request<'_>) -> Vec<NodeId> {
        let nodes = self.blocks.choose(&self.nodes.candidates(block_size), ask);
        if !nodes.is_empty() {
            return nodes;
        }
        // A nearly full cluster still takes small files, also while many are under way: a block needs what
        // it holds, not its full size, and a datanode refuses what does not fit.
        let small = Request { needed_bytes: 1, ..*ask };
        self.blocks.choose(&self.nodes.candidates(0), &small)
    }

    /// A node by `ip:port`, `host:port`, `ip` or `host`.
    fn named(&self, wish: &str) -> Option<NodeId> {
        let (name, port) = match wish.rsplit_once(':') {
            Some((name, port)) => (name, port.parse::<u16>().ok()),
            None => (wish, None),
        };
        self.nodes
            .all()
            .iter()
            .find(|n| {
                (n.address.ip == name || n.address.host == name)
                    && port.is_none_or(|p| p == n.address.transfer_port)
            })
            .map(|n| n.id)
    }

    pub(super) fn with_storage(&self, nodes: &[NodeId]) -> Vec<(NodeId, StorageId)> {
        nodes.iter().filter_map(|&node| Some((node, self.nodes.get(node)?.roomiest()?.0))).collect()
    }

    pub(super) fn good_holders(&self, block: BlockId) -> Vec<(NodeId, StorageId)> {
        let Some(entry) = self.blocks.map().get(block) else { return Vec::new() };
        entry
            .with(crate::blocks::map::Worth::Good)
            .filter(|r| self.is_usable(r.node))
            .map(|r| (r.node, r.storage))
            .collect()
    }
}

/// The file a block belongs to, as far as the block manager knows.
impl Service {
    pub(super) fn file_of(&self, block: Block) -> super::Result<INodeId> {
        self.cluster.read().blocks.map().get(block.id).map(|entry| entry.intent.inode).ok_or_else(
            || {
                RemoteError::new(
                    ErrorKind::Io,
                    format!("block {} belongs to no file: it was abandoned or deleted", block.id),
                )
            },
        )
    }
}
