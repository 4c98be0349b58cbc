//! What the namenode tells about files, directories, datanodes and the whole file system.

use std::net::IpAddr;

use hfs_protocol::proto::hadoop::hdfs::{
    ContentSummaryProto, DatanodeInfoProto, FsServerDefaultsProto, GetFsStatsResponseProto,
    HdfsFileStatusProto, LocatedBlockProto, datanode_info_proto::AdminState,
    hdfs_file_status_proto::FileType,
};

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and where it points.
    Symlink(String),
}

/// One file or directory (HDFS `HdfsFileStatus`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// The absolute path.
    pub path: String,
    /// File, directory or link.
    pub kind: FileKind,
    /// Bytes; 0 for a directory.
    pub length: u64,
    /// Permission bits, up to 0o1777.
    pub permission: u16,
    /// The owner's name.
    pub owner: String,
    /// The group's name.
    pub group: String,
    /// When the content last changed, milliseconds since the epoch.
    pub modification_time_ms: u64,
    /// When it was last read (only if the namenode keeps it), milliseconds since the epoch.
    pub access_time_ms: u64,
    /// Replicas wanted; 0 for a directory.
    pub replication: u16,
    /// Bytes of a full block; 0 for a directory.
    pub block_size: u64,
    /// The inode's number: never reused, survives renames.
    pub file_id: u64,
    /// Entries of a directory, if the namenode says.
    pub children: Option<u32>,
    /// Whether it has an ACL beyond its permission bits.
    pub has_acl: bool,
    /// Whether its content is encrypted or erasure coded: this client can't read those.
    pub special_content: bool,
}

impl FileStatus {
    pub(crate) fn from_proto(path: String, proto: &HdfsFileStatusProto) -> Self {
        let kind = match proto.file_type() {
            FileType::IsDir => FileKind::Directory,
            FileType::IsFile => FileKind::File,
            FileType::IsSymlink => FileKind::Symlink(
                String::from_utf8_lossy(proto.symlink.as_deref().unwrap_or_default()).into_owned(),
            ),
        };
        const HAS_ACL: u32 = 1;
        Self {
            path,
            kind,
            length: proto.length,
            permission: (proto.permission.perm & 0o1777) as u16,
            owner: proto.owner.clone(),
            group: proto.group.clone(),
            modification_time_ms: proto.modification_time,
            access_time_ms: proto.access_time,
            replication: u16::try_from(proto.block_replication()).unwrap_or(u16::MAX),
            block_size: proto.blocksize(),
            file_id: proto.file_id(),
            children: u32::try_from(proto.children_num()).ok(),
            has_acl: proto.flags() & HAS_ACL != 0,
            special_content: proto.file_encryption_info.is_some() || proto.ec_policy.is_some(),
        }
    }

    /// The last component of the path; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Whether it is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }
}

/// How a file is created. The defaults come from the [`crate::ClientConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Replace a file that is there already, instead of failing.
    pub overwrite: bool,
    /// Fail when the parent directory is missing, instead of making it.
    pub no_parents: bool,
    /// Replicas, if not the configured number.
    pub replication: Option<u16>,
    /// Bytes of a block, if not the configured number. A multiple of the checksum chunk (512).
    pub block_size: Option<u64>,
    /// Permission bits before the umask, if not 0o666.
    pub permission: Option<u16>,
    /// Every block is on the disks before it counts as closed (HDFS `SYNC_BLOCK`): slower, and
    /// [`crate::FileWriter::close`] then survives the loss of power.
    pub sync_blocks: bool,
    /// Ask for no replica on the writer's own node (HDFS `NO_LOCAL_WRITE`).
    pub no_local_write: bool,
}

impl CreateOptions {
    /// The defaults, replacing what is there.
    #[must_use]
    pub fn overwrite() -> Self {
        Self { overwrite: true, ..Self::default() }
    }
}

/// What is below a path (HDFS `ContentSummary`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentSummary {
    /// Bytes of all files.
    pub length: u64,
    /// Files.
    pub file_count: u64,
    /// Directories, the path itself among them.
    pub directory_count: u64,
    /// Names allowed below, if limited.
    pub quota: Option<u64>,
    /// Bytes of all replicas.
    pub space_consumed: u64,
    /// Bytes of replicas allowed, if limited.
    pub space_quota: Option<u64>,
}

impl From<ContentSummaryProto> for ContentSummary {
    fn from(proto: ContentSummaryProto) -> Self {
        // "No quota" is -1 in Java, and all ones on the wire.
        let limit = |quota: u64| (quota != u64::MAX).then_some(quota);
        Self {
            length: proto.length,
            file_count: proto.file_count,
            directory_count: proto.directory_count,
            quota: limit(proto.quota),
            space_consumed: proto.space_consumed,
            space_quota: limit(proto.space_quota),
        }
    }
}

/// The whole file system's space and health (HDFS `getFsStats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsStatus {
    /// Bytes of all live datanodes' volumes.
    pub capacity: u64,
    /// Bytes of replicas.
    pub used: u64,
    /// Bytes that can still be written.
    pub remaining: u64,
    /// Blocks with fewer replicas than wanted.
    pub under_replicated: u64,
    /// Blocks with a corrupt replica.
    pub corrupt_blocks: u64,
    /// Blocks without any good replica.
    pub missing_blocks: u64,
    /// Blocks waiting to be deleted, if the namenode says.
    pub pending_deletion_blocks: Option<u64>,
}

impl From<GetFsStatsResponseProto> for FsStatus {
    fn from(proto: GetFsStatsResponseProto) -> Self {
        Self {
            capacity: proto.capacity,
            used: proto.used,
            remaining: proto.remaining,
            under_replicated: proto.under_replicated,
            corrupt_blocks: proto.corrupt_blocks,
            missing_blocks: proto.missing_blocks,
            pending_deletion_blocks: proto.pending_deletion_blocks,
        }
    }
}

/// What the server would use for a new file (HDFS `FsServerDefaults`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerDefaults {
    /// Bytes of a block.
    pub block_size: u64,
    /// Bytes under one checksum.
    pub bytes_per_checksum: u32,
    /// Bytes of a packet, all in.
    pub write_packet_size: u32,
    /// Replicas.
    pub replication: u16,
    /// Bytes of a client's buffer.
    pub file_buffer_size: u32,
    /// Whether datanodes want encrypted transfers: this client can't do those.
    pub encrypt_data_transfer: bool,
    /// How long the trash keeps files, minutes; 0 leaves it to the client.
    pub trash_interval_min: u64,
}

impl From<FsServerDefaultsProto> for ServerDefaults {
    fn from(proto: FsServerDefaultsProto) -> Self {
        Self {
            block_size: proto.block_size,
            bytes_per_checksum: proto.bytes_per_checksum,
            write_packet_size: proto.write_packet_size,
            replication: u16::try_from(proto.replication).unwrap_or(u16::MAX),
            file_buffer_size: proto.file_buffer_size,
            encrypt_data_transfer: proto.encrypt_data_transfer(),
            trash_interval_min: proto.trash_interval(),
        }
    }
}

/// Where a range of a file lies (HDFS `BlockLocation`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLocation {
    /// Where the block begins in the file, bytes.
    pub offset: u64,
    /// The block's bytes.
    pub length: u64,
    /// The host names of its replicas' datanodes, in the namenode's order (nearest first).
    pub hosts: Vec<String>,
    /// The same nodes as `address:port` of their data transfer ports.
    pub names: Vec<String>,
    /// The same nodes' racks, such as `/default-rack`.
    pub racks: Vec<String>,
    /// The block's number.
    pub block_id: u64,
    /// Every replica is corrupt.
    pub corrupt: bool,
}

impl From<&LocatedBlockProto> for BlockLocation {
    fn from(proto: &LocatedBlockProto) -> Self {
        Self {
            offset: proto.offset,
            length: proto.b.num_bytes(),
            hosts: proto.locs.iter().map(|node| node.id.host_name.clone()).collect(),
            names: proto
                .locs
                .iter()
                .map(|node| format!("{}:{}", node.id.ip_addr, node.id.xfer_port))
                .collect(),
            racks: proto.locs.iter().map(|node| node.location().to_owned()).collect(),
            block_id: proto.b.block_id,
            corrupt: proto.corrupt,
        }
    }
}

/// What the administrator has decided about a datanode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatanodeAdminState {
    /// In service.
    Normal,
    /// Its blocks are being copied elsewhere before it leaves.
    Decommissioning,
    /// It may be switched off.
    Decommissioned,
    /// It will be away for a while: blocks are being made safe.
    EnteringMaintenance,
    /// It is away for a while.
    InMaintenance,
}

/// Which datanodes a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatanodeFilter {
    /// Every one the namenode knows.
    All,
    /// Those heard from lately.
    Live,
    /// Those not heard from for too long.
    Dead,
}

/// One datanode (HDFS `DatanodeInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatanodeStatus {
    /// Its identity, kept in its data directories.
    pub uuid: String,
    /// Its address.
    pub ip: String,
    /// Its host name.
    pub host: String,
    /// The port of the data transfer protocol.
    pub transfer_port: u16,
    /// The port of its HTTP server.
    pub http_port: u16,
    /// The port of its RPC server.
    pub ipc_port: u16,
    /// Its rack.
    pub rack: String,
    /// Bytes of its volumes.
    pub capacity: u64,
    /// Bytes of its replicas.
    pub used: u64,
    /// Bytes of its volumes that others use.
    pub non_dfs_used: u64,
    /// Bytes it can still take.
    pub remaining: u64,
    /// Its replicas.
    pub blocks: u32,
    /// Transfers it is serving now.
    pub transfers: u32,
    /// When it was last heard from, milliseconds since the epoch.
    pub last_contact_ms: u64,
    /// In service or leaving.
    pub admin_state: DatanodeAdminState,
}

impl From<DatanodeInfoProto> for DatanodeStatus {
    fn from(proto: DatanodeInfoProto) -> Self {
        let admin_state = match proto.admin_state() {
            AdminState::Normal => DatanodeAdminState::Normal,
            AdminState::DecommissionInprogress => DatanodeAdminState::Decommissioning,
            AdminState::Decommissioned => DatanodeAdminState::Decommissioned,
            AdminState::EnteringMaintenance => DatanodeAdminState::EnteringMaintenance,
            AdminState::InMaintenance => DatanodeAdminState::InMaintenance,
        };
        let port = |port: u32| u16::try_from(port).unwrap_or_default();
        Self {
            transfer_port: port(proto.id.xfer_port),
            http_port: port(proto.id.info_port),
            ipc_port: port(proto.id.ipc_port),
            rack: proto.location().to_owned(),
            capacity: proto.capacity(),
            used: proto.dfs_used(),
            non_dfs_used: proto.non_dfs_used(),
            remaining: proto.remaining(),
            blocks: proto.num_blocks(),
            transfers: proto.xceiver_count(),
            last_contact_ms: proto.last_update(),
            admin_state,
            uuid: proto.id.datanode_uuid,
            ip: proto.id.ip_addr,
            host: proto.id.host_name,
        }
    }
}

/// A way to use a path (HDFS `FsAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read a file, list a directory.
    Read,
    /// Write a file, change a directory's entries.
    Write,
    /// Go through a directory.
    Execute,
}

/// What to do about safe mode (HDFS `SafeModeAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafeModeAction {
    /// Allow changes.
    Leave,
    /// Refuse changes.
    Enter,
    /// Only ask.
    Get,
    /// Allow changes although blocks are missing.
    ForceExit,
}

/// Whether an address is one of this machine's, so that a replica behind it may be read from
/// its file. An address can be bound to exactly when an interface has it.
pub(crate) fn is_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok()
}
