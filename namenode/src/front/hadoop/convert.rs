//! The service's values as HDFS's messages.

use bytes::Bytes;
use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::{BlockId, GenStamp, INodeId};
use hfs_protocol::proto::hadoop::hdfs::{
    DatanodeIdProto, DatanodeInfoProto, ExtendedBlockProto, FsPermissionProto, HdfsFileStatusProto,
    LocatedBlockProto, LocatedBlocksProto, StorageTypeProto, TokenProto, datanode_info_proto,
    hdfs_file_status_proto,
};

use crate::datanodes::Datanode;
use crate::namesystem::{Block, FileKind, FileStatus};
use crate::service::{Located, LocatedFile};

/// A file's or a directory's status; `path` is the last component in a listing and empty elsewhere.
pub(super) fn status(
    status: &FileStatus,
    locations: Option<LocatedBlocksProto>,
) -> HdfsFileStatusProto {
    let (kind, children) = match status.kind {
        FileKind::Directory => (
            hdfs_file_status_proto::FileType::IsDir,
            i32::try_from(status.children).unwrap_or(i32::MAX),
        ),
        FileKind::File => (hdfs_file_status_proto::FileType::IsFile, 0),
    };
    HdfsFileStatusProto {
        file_type: kind as i32,
        path: Bytes::copy_from_slice(status.name.as_bytes()),
        length: status.len,
        permission: FsPermissionProto { perm: u32::from(status.mode) },
        owner: status.owner.to_string(),
        group: status.group.to_string(),
        modification_time: status.mtime_ms,
        access_time: status.atime_ms,
        block_replication: Some(u32::from(status.replication)),
        blocksize: Some(status.block_size),
        locations,
        file_id: Some(status.inode.0),
        children_num: Some(children),
        storage_policy: Some(0),
        flags: Some(0),
        ..Default::default()
    }
}

/// A block with its pool.
pub(super) fn extended(pool: &str, block: Block) -> ExtendedBlockProto {
    ExtendedBlockProto {
        pool_id: pool.to_owned(),
        block_id: block.id.0,
        generation_stamp: block.gen_stamp.0,
        num_bytes: Some(block.len),
    }
}

/// A block that a client names; another pool's is refused.
pub(super) fn block(pool: &str, wire: &ExtendedBlockProto) -> Result<Block, RemoteError> {
    if wire.pool_id != pool {
        return Err(RemoteError::new(
            ErrorKind::Io,
            format!("block {} is of pool {}, but this is {pool}", wire.block_id, wire.pool_id),
        ));
    }
    Ok(Block {
        id: BlockId(wire.block_id),
        gen_stamp: GenStamp(wire.generation_stamp),
        len: wire.num_bytes.unwrap_or(0),
    })
}

/// A file id; 0 and absent mean that the client does not know it.
pub(super) fn file_id(id: Option<u64>) -> Option<INodeId> {
    id.filter(|id| *id != 0).map(INodeId)
}

/// A number of replicas as the namespace counts them.
pub(super) fn replication(value: u32) -> Result<u16, RemoteError> {
    u16::try_from(value).map_err(|_| {
        let message = format!("replication {value} is out of range");
        RemoteError::new(ErrorKind::InvalidArgument, message)
    })
}

/// Mode bits; those the namespace does not keep are ignored.
pub(super) fn mode(permission: FsPermissionProto) -> u16 {
    u16::try_from(permission.perm & 0o1777).unwrap_or(0)
}

/// The token of a cluster without block tokens.
pub(super) fn no_token() -> TokenProto {
    TokenProto::default()
}

/// A datanode as clients name it.
pub(super) fn datanode(node: &Datanode, replicas: usize) -> DatanodeInfoProto {
    let space = node.space();
    DatanodeInfoProto {
        id: DatanodeIdProto {
            ip_addr: node.address.ip.clone(),
            host_name: node.address.host.clone(),
            datanode_uuid: node.uuid.clone(),
            xfer_port: u32::from(node.address.transfer_port),
            info_port: u32::from(node.address.http_port),
            ipc_port: u32::from(node.address.ipc_port),
            info_secure_port: Some(0),
        },
        capacity: Some(space.capacity),
        dfs_used: Some(space.used),
        remaining: Some(space.remaining),
        block_pool_used: Some(space.used),
        last_update: Some(node.last_heard_wall_ms),
        xceiver_count: Some(node.active_transfers),
        location: Some(node.rack.clone()),
        non_dfs_used: Some(space.capacity.saturating_sub(space.used + space.remaining)),
        admin_state: Some(datanode_info_proto::AdminState::Normal as i32),
        last_block_report_time: Some(node.last_report_wall_ms),
        num_blocks: Some(u32::try_from(replicas).unwrap_or(u32::MAX)),
        ..Default::default()
    }
}

/// A block and its places, every list as long as `locs`.
pub(super) fn located(pool: &str, located: &Located) -> LocatedBlockProto {
    LocatedBlockProto {
        b: extended(pool, located.block),
        offset: located.offset,
        locs: located.places.iter().map(|place| datanode(&place.node, 0)).collect(),
        corrupt: located.corrupt,
        block_token: no_token(),
        is_cached: vec![false; located.places.len()],
        storage_types: vec![StorageTypeProto::Disk as i32; located.places.len()],
        storage_i_ds: located.places.iter().map(|p| p.storage_uuid().to_owned()).collect(),
        ..Default::default()
    }
}

/// A file's blocks and their places.
pub(super) fn located_file(pool: &str, file: &LocatedFile) -> LocatedBlocksProto {
    LocatedBlocksProto {
        file_length: file.length,
        blocks: file.blocks.iter().map(|block| located(pool, block)).collect(),
        under_construction: file.under_construction,
        last_block: file.last.as_ref().map(|block| located(pool, block)),
        is_last_block_complete: file.last_complete,
        ..Default::default()
    }
}

/// The uuids of datanodes that a client lists.
pub(super) fn uuids(nodes: &[DatanodeInfoProto]) -> Vec<String> {
    nodes.iter().map(|node| node.id.datanode_uuid.clone()).collect()
}
