//! The values that go into and come out of the namesystem.

use std::sync::Arc;

use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::{BlockId, GenStamp, INodeId};

use super::op::{Entry, Op};

/// What a check or a read answers. The error is the one that goes to the client: its kind says what
/// to do, its text is a sentence.
pub type Result<T> = std::result::Result<T, RemoteError>;

/// An error of the given kind.
pub(crate) fn fail<T>(kind: ErrorKind, message: impl Into<String>) -> Result<T> {
    Err(RemoteError::new(kind, message))
}

/// A block as clients and datanodes name it (HDFS `Block`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// Which block.
    pub id: BlockId,
    /// Which version of it.
    pub gen_stamp: GenStamp,
    /// How many bytes; of a block that is being written, how many its writer or its recovery vouched for.
    pub len: u64,
}

/// Who calls. The service finds the groups and decides who is the superuser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's short name.
    pub user: Arc<str>,
    /// The groups the user belongs to.
    pub groups: Vec<Arc<str>>,
    /// Whether no permission check applies.
    pub superuser: bool,
}

impl Caller {
    /// A caller to whom no permission check applies.
    #[must_use]
    pub fn superuser(user: &str) -> Self {
        Self { user: user.into(), groups: Vec::new(), superuser: true }
    }

    /// An ordinary user in these groups.
    #[must_use]
    pub fn user(user: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.into()).collect();
        Self { user: user.into(), groups, superuser: false }
    }
}

/// Names one call of one client for life, also when the call is sent again (HDFS `RetryCache`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryKey {
    /// The 16 bytes that a client draws when it starts.
    pub client_id: [u8; 16],
    /// The client's number for the call.
    pub call_id: i32,
}

/// What a check may know of the world: everything that is stamped into an operation.
#[derive(Debug, Clone, Copy)]
pub struct Ctx<'a> {
    /// Wall time, milliseconds since the epoch.
    pub now_ms: u64,
    /// Who calls.
    pub caller: &'a Caller,
    /// Which call it is; `None` where the namenode itself acts.
    pub retry: Option<RetryKey>,
    /// Where the client runs, for people (HDFS `clientMachine`).
    pub client_machine: &'a str,
}

impl Ctx<'_> {
    /// An operation that does no harm when it is done twice.
    pub(crate) fn stamp(&self, op: impl Into<Op>) -> Option<Entry> {
        Some(Entry { time_ms: self.now_ms, retry: None, op: op.into() })
    }

    /// An operation whose answer is remembered, because doing it again would answer otherwise.
    pub(crate) fn stamp_once(&self, op: impl Into<Op>) -> Option<Entry> {
        Some(Entry { time_ms: self.now_ms, retry: self.retry, op: op.into() })
    }
}

/// What a check decided: the operation to journal and apply, if anything changes, and the answer to
/// give once that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal<A> {
    /// `None`: nothing changes, or this call was already done.
    pub entry: Option<Entry>,
    /// What the client is told.
    pub answer: A,
}

impl<A> Proposal<A> {
    pub(crate) fn unchanged(answer: A) -> Result<Self> {
        Ok(Self { entry: None, answer })
    }
}

/// File or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Has blocks.
    File,
    /// Has children.
    Directory,
}

/// What `stat` and `list` tell (HDFS `HdfsFileStatus`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// File or directory.
    pub kind: FileKind,
    /// The last component in a listing; empty where the caller named the path itself.
    pub name: Box<str>,
    /// The inode's id.
    pub inode: INodeId,
    /// Bytes; of an open file, those its writer vouched for. 0 for a directory.
    pub len: u64,
    /// The low nine bits `rwxrwxrwx` and the sticky bit `0o1000`.
    pub mode: u16,
    /// The owner's name.
    pub owner: Arc<str>,
    /// The group's name.
    pub group: Arc<str>,
    /// When the content last changed, milliseconds since the epoch.
    pub mtime_ms: u64,
    /// When it was last read as far as anybody said; 0 for a directory.
    pub atime_ms: u64,
    /// How many replicas each block should have; 0 for a directory.
    pub replication: u16,
    /// The size at which a new block begins; 0 for a directory.
    pub block_size: u64,
    /// How many entries a directory has; 0 for a file.
    pub children: u32,
    /// Whether somebody holds a lease on it.
    pub under_construction: bool,
}

/// A page of a directory (HDFS `DirectoryListing`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their names' bytes.
    pub entries: Vec<FileStatus>,
    /// How many entries follow this page.
    pub remaining: usize,
}

/// What a reader of a file needs to know of its blocks (HDFS `LocatedBlocks` without the locations).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileBlocks {
    /// The file.
    pub file: INodeId,
    /// The length without a last block that is still being written.
    pub file_len: u64,
    /// The blocks that overlap the asked range, each with its offset in the file. A last block that is
    /// still being written is among them when the range reaches it.
    pub blocks: Vec<(Block, u64)>,
    /// The file's last block whatever was asked for, with its offset.
    pub last: Option<(Block, u64)>,
    /// Whether the last block's length is final.
    pub last_committed: bool,
    /// Whether somebody holds a lease on the file.
    pub under_construction: bool,
    /// How many replicas each block should have.
    pub replication: u16,
    /// The size at which a new block begins.
    pub block_size: u64,
}

/// The sum of a subtree (HDFS `ContentSummary`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContentSummary {
    /// Bytes of all files, counted once.
    pub len: u64,
    /// How many files.
    pub files: u64,
    /// How many directories, the asked one included.
    pub directories: u64,
    /// Bytes times replication.
    pub space: u64,
}

/// A file that somebody writes (HDFS `OpenFileEntry`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFile {
    /// The file.
    pub inode: INodeId,
    /// Its path now.
    pub path: String,
    /// Who holds the lease.
    pub client_name: Box<str>,
    /// Where the holder runs.
    pub client_machine: Box<str>,
}

/// A file as the block manager and the service look at it by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// How many replicas each block should have.
    pub replication: u16,
    /// The size at which a new block begins.
    pub block_size: u64,
    /// The lease's holder, while the file is open.
    pub holder: Option<Box<str>>,
    /// The blocks in file order.
    pub blocks: Vec<Block>,
    /// Whether the last block's length is final (true for a file without blocks).
    pub last_committed: bool,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Files, those being reaped after a delete included.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Blocks of all files.
    pub blocks: u64,
    /// Files under construction.
    pub open_files: u64,
}

/// What a change means for the block manager. Effects are hints: at a start the same knowledge comes from
/// [`Namespace::for_each_block`](super::Namespace::for_each_block).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// This is what should be of this block from now on, be it new, longer, of another version, of another file or
    /// of another replication.
    BlockSet {
        /// The file it belongs to.
        file: INodeId,
        /// The block as it should be.
        block: Block,
        /// How many replicas it should have.
        replication: u16,
        /// Whether its length may still change.
        under_construction: bool,
    },
    /// No file has this block any more: its replicas are to be removed.
    BlockRemoved {
        /// The block as it last was.
        block: Block,
    },
}

/// What the block manager knows about replicas, as far as the namesystem's rules ask for it.
pub trait Replicas {
    /// Whether the block has as many finished replicas as a file needs before it may be closed.
    fn at_minimum(&self, block: BlockId) -> bool;

    /// Whether any datanode holds, or was chosen to hold, a replica of the block.
    fn any(&self, block: BlockId) -> bool;

    /// Whether every datanode that may hold bytes of this open block is known. After a start it takes until they have
    /// reported; before that, a block without replicas is not one without bytes.
    fn holders_known(&self, block: BlockId) -> bool;
}

/// The bounds that checks apply. Configuration: never read by `apply`, so that a replay under other bounds gives the
/// same state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The smallest block size a file may ask for (`dfs.namenode.fs-limits.min-block-size`).
    pub min_block_size: u64,
    /// The most blocks a file may have (`dfs.namenode.fs-limits.max-blocks-per-file`).
    pub max_blocks_per_file: usize,
    /// The least replication a file may ask for (`dfs.namenode.replication.min`).
    pub min_replication: u16,
    /// The most replication a file may ask for (`dfs.replication.max`).
    pub max_replication: u16,
    /// The longest name (`dfs.namenode.fs-limits.max-component-length`), in bytes of UTF-8.
    pub max_component_bytes: usize,
    /// The most entries of a directory (`dfs.namenode.fs-limits.max-directory-items`).
    pub max_directory_items: usize,
    /// How long a lease keeps others away without being renewed, in milliseconds.
    pub lease_soft_limit_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_block_size: 1 << 20,
            max_blocks_per_file: 10_000,
            min_replication: 1,
            max_replication: 512,
            max_component_bytes: 255,
            max_directory_items: 1 << 20,
            lease_soft_limit_ms: super::lease::SOFT_LIMIT_MS,
        }
    }
}
