//! One file or directory, kept small: a namespace has millions.

use hfs_protocol::ids::{BlockId, GenStamp, INodeId};

use super::children::Children;
use super::types::Block;

/// The longest name that is kept inside the inode.
const INLINE_NAME_BYTES: usize = 22;
/// No slot: the parent of the root and of a detached subtree.
pub(crate) const NO_SLOT: u32 = u32::MAX;
/// Block sizes are below this: they share a word with the replication (as in HDFS).
pub const MAX_BLOCK_SIZE: u64 = 1 << 48;

/// A file name of 1 to 8000 bytes of UTF-8. Most are short and cost no allocation.
#[derive(Debug, Clone)]
pub(crate) enum Name {
    Short { len: u8, bytes: [u8; INLINE_NAME_BYTES] },
    Long(Box<[u8]>),
}

const _: () = assert!(size_of::<Name>() == 24);

impl Name {
    pub(crate) fn new(name: &str) -> Self {
        let source = name.as_bytes();
        if source.len() <= INLINE_NAME_BYTES {
            let mut bytes = [0; INLINE_NAME_BYTES];
            bytes[..source.len()].copy_from_slice(source);
            // At most 22.
            Self::Short { len: source.len() as u8, bytes }
        } else {
            Self::Long(source.into())
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("invariant: made from a str")
    }
}

/// Owner, group and mode in one word: 24 bits, 24 bits, 16 bits (HDFS `PermissionStatusFormat`). Owner and group are
/// numbers of [`Interner`](super::interner::Interner).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Perm(u64);

impl Perm {
    pub(crate) fn new(user: u32, group: u32, mode: u16) -> Self {
        Self(
            u64::from(user & 0xff_ffff) << 40
                | u64::from(group & 0xff_ffff) << 16
                | u64::from(mode),
        )
    }

    pub(crate) fn user(self) -> u32 {
        (self.0 >> 40) as u32
    }

    pub(crate) fn group(self) -> u32 {
        (self.0 >> 16) as u32 & 0xff_ffff
    }

    pub(crate) fn mode(self) -> u16 {
        self.0 as u16
    }

    pub(crate) fn with_mode(self, mode: u16) -> Self {
        Self::new(self.user(), self.group(), mode)
    }
}

/// A file's blocks. Nearly every file has none or one, which need no allocation.
#[derive(Debug, Clone, Default)]
pub(crate) enum Blocks {
    #[default]
    None,
    One(Block),
    // Boxed so that the rare long file does not make every inode larger.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<Block>>),
}

impl Blocks {
    pub(crate) fn from_vec(mut blocks: Vec<Block>) -> Self {
        match blocks.len() {
            0 => Self::None,
            1 => Self::One(blocks[0]),
            _ => {
                blocks.shrink_to_fit();
                Self::Many(Box::new(blocks))
            }
        }
    }

    pub(crate) fn as_slice(&self) -> &[Block] {
        match self {
            Self::None => &[],
            Self::One(block) => std::slice::from_ref(block),
            Self::Many(blocks) => blocks,
        }
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Block> {
        match self {
            Self::None => None,
            Self::One(block) => Some(block),
            Self::Many(blocks) => blocks.last_mut(),
        }
    }

    pub(crate) fn push(&mut self, block: Block) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(block),
            Self::One(first) => Self::Many(Box::new(vec![first, block])),
            Self::Many(mut blocks) => {
                blocks.push(block);
                Self::Many(blocks)
            }
        };
    }

    pub(crate) fn pop(&mut self) -> Option<Block> {
        let (rest, last) = match std::mem::take(self) {
            Self::None => (Self::None, None),
            Self::One(block) => (Self::None, Some(block)),
            Self::Many(mut blocks) => {
                let last = blocks.pop();
                (Self::from_vec(*blocks), last)
            }
        };
        *self = rest;
        last
    }
}

/// The state of an open file's last block.
///
/// ```text
///            add_block, append            start recovery
/// Committed ────────────────► Pipeline ────────────────► Recovering ─┐ start again,
///     ▲                          │                           │  ▲    │ with a new id
///     │  add_block, complete     │                           │  └────┘
///     └──────────────────────────┴───────────────────────────┘
///                                   commit block synchronization
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// There is no block, or the last one's length is final.
    Committed,
    /// A client writes the last block.
    Pipeline,
    /// The client is gone; a datanode brings the replicas to one length.
    Recovering {
        /// The stamp that the block has when the recovery succeeds. An older recovery can't finish any more.
        recovery_id: GenStamp,
    },
}

/// What an open file has beyond a closed one (HDFS `FileUnderConstructionFeature`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// Who holds the lease.
    pub client_name: Box<str>,
    /// Where the holder runs.
    pub client_machine: Box<str>,
    /// How far the last block is.
    pub tail: Tail,
}

/// What only files have.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) atime_ms: u64,
    /// Replication in the upper 16 bits, block size in the lower 48.
    header: u64,
    pub(crate) blocks: Blocks,
    /// `None`: closed.
    pub(crate) writing: Option<Box<Writing>>,
}

impl File {
    pub(crate) fn new(replication: u16, block_size: u64, atime_ms: u64) -> Self {
        let mut file = Self { atime_ms, header: 0, blocks: Blocks::None, writing: None };
        file.header = block_size & (MAX_BLOCK_SIZE - 1);
        file.set_replication(replication);
        file
    }

    pub(crate) fn replication(&self) -> u16 {
        (self.header >> 48) as u16
    }

    pub(crate) fn set_replication(&mut self, replication: u16) {
        self.header = self.header & (MAX_BLOCK_SIZE - 1) | u64::from(replication) << 48;
    }

    pub(crate) fn block_size(&self) -> u64 {
        self.header & (MAX_BLOCK_SIZE - 1)
    }

    /// Bytes of all blocks, what is vouched for of the last one included.
    pub(crate) fn len(&self) -> u64 {
        self.blocks.as_slice().iter().fold(0, |sum, block| sum.saturating_add(block.len))
    }

    /// Whether the last block's length is final.
    pub(crate) fn last_committed(&self) -> bool {
        self.writing.as_ref().is_none_or(|writing| writing.tail == Tail::Committed)
    }

    pub(crate) fn block(&self, id: BlockId) -> Option<&Block> {
        self.blocks.as_slice().iter().rev().find(|block| block.id == id)
    }
}

/// What an inode is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Directory(Children),
    File(File),
}

/// A file or directory.
#[derive(Debug, Clone)]
pub struct Inode {
    pub(crate) id: INodeId,
    /// The directory's slot, or [`NO_SLOT`].
    pub(crate) parent: u32,
    pub(crate) name: Name,
    pub(crate) perm: Perm,
    pub(crate) mtime_ms: u64,
    pub(crate) kind: Kind,
}

impl Inode {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    pub(crate) fn parent(&self) -> u32 {
        self.parent
    }

    pub(crate) fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Directory(_) => None,
        }
    }

    pub(crate) fn file_mut(&mut self) -> Option<&mut File> {
        match &mut self.kind {
            Kind::File(file) => Some(file),
            Kind::Directory(_) => None,
        }
    }

    pub(crate) fn children(&self) -> Option<&Children> {
        match &self.kind {
            Kind::Directory(children) => Some(children),
            Kind::File(_) => None,
        }
    }
}
