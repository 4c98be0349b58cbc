//! The namesystem: files, directories, leases. A pure state machine.
//!
//! In reading order: [`types`] are the values at its edge; [`path`], [`access`] and [`inode`] the rules and the
//! shape of one file; [`tree`] all of them; [`lease`] who writes what; [`retry_cache`] what was answered;
//! [`op`] and [`ops`] the changes, one file each; [`image`] the whole state as bytes.
//!
//! A change has two halves. `ops::*::check` looks at the namespace and a request, and either refuses or makes an
//! [`op::Entry`] that carries every id and stamp. [`Namespace::apply`] carries an entry out. Nothing else changes a
//! namespace (renewals of leases are not part of its state), so live traffic, a start and a test all go through the same door.
//!
//! Promises: the same entries in the same order give an equal namespace, whatever the clock, the configuration and
//! the machine; an entry that does not fit the state is a [`Divergence`] and never a guess.

#![deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]

pub mod access;
mod children;
pub mod codec;
pub mod image;
pub mod inode;
mod interner;
pub mod lease;
mod mutate;
pub mod op;
pub mod ops;
pub mod path;
mod read;
mod resolve;
pub mod retry_cache;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod types;
mod validate;

pub use access::Access;
pub use lease::{HARD_LIMIT_MS, Leases, NAMENODE_HOLDER, SOFT_LIMIT_MS};
pub use mutate::Divergence;
pub use op::{Entry, Op};
pub use path::FsPath;
pub use read::LIST_LIMIT;
pub use types::{
    Block, Caller, ContentSummary, Counts, Ctx, Effect, FileBlocks, FileKind, FileStatus, FileView,
    Limits, Listing, OpenFile, Proposal, Replicas, Result, RetryKey,
};

use hfs_protocol::ids::{BlockId, GenStamp, INodeId, TxId};

use retry_cache::RetryCache;
use tree::Tree;

/// Files, directories and leases.
#[derive(Debug, Clone)]
pub struct Namespace {
    tree: Tree,
    leases: Leases,
    retry: RetryCache,
    /// Configuration, for checks alone.
    limits: Limits,
    /// The last ids given out. They only rise.
    last_inode: INodeId,
    last_block: BlockId,
    last_gen_stamp: GenStamp,
    /// The last entry that is part of this state.
    applied: TxId,
    counts: Counts,
    /// Subtrees that are deleted but not yet taken apart. No path and no id leads into them, and they are not part of
    /// the state that images and comparisons see.
    detached: Vec<u32>,
}

/// The root's mode in a new namespace (HDFS: 0755).
const ROOT_MODE: u16 = 0o755;

impl Namespace {
    /// A namespace with nothing but a root that belongs to `owner` and `group`, made at `now_ms`.
    #[must_use]
    pub fn new(owner: &str, group: &str, now_ms: u64) -> Self {
        Self::with_root(owner, group, ROOT_MODE, now_ms)
    }

    pub(crate) fn with_root(owner: &str, group: &str, mode: u16, mtime_ms: u64) -> Self {
        Self {
            tree: Tree::new(owner, group, mode, mtime_ms),
            leases: Leases::default(),
            retry: RetryCache::default(),
            limits: Limits::default(),
            last_inode: INodeId::ROOT,
            last_block: BlockId::LAST_RESERVED,
            last_gen_stamp: GenStamp::LAST_RESERVED,
            applied: TxId(0),
            counts: Counts { directories: 1, ..Counts::default() },
            detached: Vec::new(),
        }
    }

    /// The bounds that checks apply.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sets the bounds that checks apply; what exists already stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The last entry that is part of this state. Whoever answers from this state waits until the journal says that this
    /// one is durable.
    #[must_use]
    pub fn applied(&self) -> TxId {
        self.applied
    }

    /// The last block id given out; a higher one in a report is from a future this namespace never had.
    #[must_use]
    pub fn last_block_id(&self) -> BlockId {
        self.last_block
    }

    /// The last generation stamp given out.
    #[must_use]
    pub fn last_gen_stamp(&self) -> GenStamp {
        self.last_gen_stamp
    }

    /// The last inode id given out.
    #[must_use]
    pub fn last_inode_id(&self) -> INodeId {
        self.last_inode
    }

    /// The leases, to ask for expired ones.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Tells the monotonic time, in milliseconds. Leases age by it and by nothing else; call it before a check.
    pub fn tick(&mut self, monotonic_ms: u64) {
        self.leases.tick(monotonic_ms);
    }

    /// Renews a client's lease; false when the client has no file open, which is no fault.
    pub fn renew_lease(&mut self, client_name: &str) -> bool {
        self.leases.renew(client_name)
    }

    /// Gives every lease its full limit from now on: after a start, nobody could renew before.
    pub fn restart_leases(&mut self, monotonic_ms: u64) {
        self.leases.tick(monotonic_ms);
        self.leases.restart();
    }
}
