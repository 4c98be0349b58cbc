//! From paths, and from what clients say, to inodes.

use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::{BlockId, INodeId};

use super::Namespace;
use super::access::{self, Access};
use super::inode::{File, Tail};
use super::path::FsPath;
use super::retry_cache::Done;
use super::types::{Block, Caller, Ctx, FileStatus, Replicas, Result, fail};

/// How far a path exists.
pub(crate) struct Found<'a> {
    /// The existing inodes from the root down. Never empty.
    pub(crate) chain: Vec<u32>,
    /// The names after them.
    pub(crate) missing: Vec<&'a str>,
}

impl Found<'_> {
    /// The last inode that exists.
    pub(crate) fn deepest(&self) -> u32 {
        *self.chain.last().expect("invariant: the root is there")
    }

    /// The path's own inode.
    pub(crate) fn slot(&self) -> Option<u32> {
        self.missing.is_empty().then(|| self.deepest())
    }
}

impl Namespace {
    /// Reads a path and replaces `/.reserved/.inodes/<id>` by the path of that inode.
    ///
    /// # Errors
    /// `InvalidPath` as [`FsPath::parse`]; `NotFound` for an id that does not exist.
    pub fn path(&self, text: &str) -> Result<FsPath> {
        let path = FsPath::parse(text)?;
        match path.inode_reference()? {
            None => Ok(path),
            Some((id, rest)) => {
                let Some(slot) = self.tree.slot_of(INodeId(id)) else {
                    return fail(ErrorKind::NotFound, format!("File does not exist: {text}"));
                };
                let top = FsPath::parse(&self.tree.path_of_slot(slot))?;
                Ok(rest.iter().fold(top, |path, name| path.join(name)))
            }
        }
    }

    /// Follows a path as far as it exists.
    ///
    /// # Errors
    /// `AccessDenied` when the caller may not enter one of the directories.
    pub(crate) fn resolve<'a>(&self, path: &'a FsPath, caller: &Caller) -> Result<Found<'a>> {
        let mut chain = Vec::with_capacity(8);
        let mut slot = super::tree::ROOT;
        chain.push(slot);
        let mut names = path.components();
        while let Some(name) = names.next() {
            if self.tree.get(slot).is_dir() {
                access::require(&self.tree, slot, caller, Access::EXECUTE)?;
            }
            match self.tree.child(slot, name) {
                Some(child) => {
                    slot = child;
                    chain.push(slot);
                }
                None => {
                    let missing = std::iter::once(name).chain(names).collect();
                    return Ok(Found { chain, missing });
                }
            }
        }
        Ok(Found { chain, missing: Vec::new() })
    }

    /// Refuses a path whose deepest existing part is a file and not the path itself.
    ///
    /// # Errors
    /// `ParentNotDirectory` with the file's path.
    pub(crate) fn require_dir_above(&self, found: &Found<'_>) -> Result<()> {
        if found.missing.is_empty() || self.tree.get(found.deepest()).is_dir() {
            return Ok(());
        }
        let file = self.tree.path_of_slot(found.deepest());
        fail(
            ErrorKind::ParentNotDirectory,
            format!("{file} (is not a directory): a path can't lead through a file"),
        )
    }

    /// Applies the limits on names that are about to be made in the directory in `dir`.
    ///
    /// # Errors
    /// `Io` when a name is too long or the directory is full (HDFS `FSLimitException`).
    pub(crate) fn require_room(&self, dir: u32, names: &[&str]) -> Result<()> {
        let limit = self.limits.max_component_bytes;
        if let Some(name) = names.iter().find(|name| name.len() > limit) {
            let path = self.tree.path_of_slot(dir);
            return fail(
                ErrorKind::Io,
                format!(
                    "The maximum path component name limit of a name in directory {path} is exceeded: limit={limit} \
                     length={}",
                    name.len()
                ),
            );
        }
        let limit = self.limits.max_directory_items;
        let items = self.tree.get(dir).children().map_or(0, super::children::Children::len);
        if items >= limit {
            let path = self.tree.path_of_slot(dir);
            return fail(
                ErrorKind::Io,
                format!(
                    "The directory item limit of {path} is exceeded: limit={limit} items={items}"
                ),
            );
        }
        Ok(())
    }

    /// The file that `client_name` writes, by id when the client sent one, so that a writer survives a rename.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, `LeaseExpired` when it is not open or another client holds it.
    pub(crate) fn held(&self, path: &str, file: Option<INodeId>, client_name: &str) -> Result<u32> {
        let slot = self.written(path, file, client_name)?;
        let inode = self.tree.get(slot);
        let path = || self.tree.path_of_slot(slot);
        match &self.file_in(slot).writing {
            None => fail(
                ErrorKind::LeaseExpired,
                format!(
                    "File is not open for writing: {} (inode {}) [Lease.  Holder: {client_name}, pending creates: {}]",
                    path(),
                    inode.id,
                    self.leases.count_of(client_name)
                ),
            ),
            Some(writing) if *writing.client_name != *client_name => fail(
                ErrorKind::LeaseExpired,
                format!(
                    "Client (={client_name}) is not the lease owner (={}): {} (inode {})",
                    writing.client_name,
                    path(),
                    inode.id
                ),
            ),
            Some(_) => Ok(slot),
        }
    }

    /// The file that a writer means, open or not.
    ///
    /// # Errors
    /// `NotFound` when there is no such file; `LeaseExpired` when it is a directory.
    pub(crate) fn written(
        &self,
        path: &str,
        file: Option<INodeId>,
        client_name: &str,
    ) -> Result<u32> {
        let slot = match file {
            Some(id) => self.tree.slot_of(id),
            None => {
                let path = self.path(path)?;
                // The lease is the right to write: no permission is asked for again.
                path.components()
                    .try_fold(super::tree::ROOT, |slot, name| self.tree.child(slot, name))
            }
        };
        match slot {
            Some(slot) if self.tree.get(slot).is_dir() => fail(
                ErrorKind::LeaseExpired,
                format!("INode is not a regular file: {}", self.tree.path_of_slot(slot)),
            ),
            Some(slot) => Ok(slot),
            None => {
                let id = file.map_or(String::new(), |id| format!(" (inode {id})"));
                fail(
                    ErrorKind::NotFound,
                    format!(
                        "File does not exist: {path}{id} [Lease.  Holder: {client_name}, pending creates: {}]",
                        self.leases.count_of(client_name)
                    ),
                )
            }
        }
    }

    /// The last block, which must be the one that `block` names and be written by a client.
    ///
    /// # Errors
    /// `Io` when it is another block or its length is final.
    pub(crate) fn require_pipeline(&self, slot: u32, block: BlockId) -> Result<&Block> {
        let file = self.file_in(slot);
        let written = file.writing.as_ref().is_some_and(|writing| writing.tail == Tail::Pipeline);
        match file.blocks.as_slice().last() {
            Some(last) if last.id == block && written => Ok(last),
            _ => fail(
                ErrorKind::Io,
                format!(
                    "Block blk_{block} is not the block under construction of {}",
                    self.tree.path_of_slot(slot)
                ),
            ),
        }
    }

    /// Whether the block that `commit` names may become final with that length.
    ///
    /// # Errors
    /// `Io` when the generation stamp differs, or the length is not between what was vouched for and the block size.
    pub(crate) fn require_commit(&self, slot: u32, stored: &Block, commit: &Block) -> Result<()> {
        if stored.gen_stamp != commit.gen_stamp {
            return fail(
                ErrorKind::Io,
                format!(
                    "Commit block with mismatching GS. NN has blk_{}_{}, client submits blk_{}_{}",
                    stored.id, stored.gen_stamp, commit.id, commit.gen_stamp
                ),
            );
        }
        let limit = self.file_in(slot).block_size().max(stored.len);
        if commit.len < stored.len || commit.len > limit {
            return fail(
                ErrorKind::Io,
                format!(
                    "Block blk_{} of {} can't be committed with {} bytes: {} were vouched for and the block size is {limit}",
                    stored.id,
                    self.tree.path_of_slot(slot),
                    commit.len,
                    stored.len
                ),
            );
        }
        Ok(())
    }

    /// Refuses a file that somebody writes, in the words of HDFS's `recoverLeaseInternal`.
    ///
    /// # Errors
    /// `AlreadyBeingCreated` while the holder's lease is good; `RecoveryInProgress` once its soft limit has passed
    /// or a recovery runs.
    pub(crate) fn require_closed(
        &self,
        slot: u32,
        what: &str,
        client_name: &str,
        machine: &str,
    ) -> Result<()> {
        let Some(writing) = &self.file_in(slot).writing else { return Ok(()) };
        let path = self.tree.path_of_slot(slot);
        let holder = &writing.client_name;
        let (kind, why) = if matches!(writing.tail, Tail::Recovering { .. }) {
            (
                ErrorKind::RecoveryInProgress,
                "lease recovery is in progress. Try again later.".to_owned(),
            )
        } else if **holder == *client_name {
            (
                ErrorKind::AlreadyBeingCreated,
                format!("{client_name} is already the current lease holder."),
            )
        } else if self.leases.is_expired(holder, self.limits.lease_soft_limit_ms) {
            (
                ErrorKind::RecoveryInProgress,
                format!(
                    "the lease of {holder} has expired and its recovery is due. Try again later."
                ),
            )
        } else {
            (
                ErrorKind::AlreadyBeingCreated,
                format!(
                    "this file lease is currently owned by {holder} on {}",
                    writing.client_machine
                ),
            )
        };
        fail(kind, format!("Failed to {what} {path} for {client_name} on {machine} because {why}"))
    }

    /// Whether the last two blocks have enough replicas for the file to be closed. Those before were asked for when the blocks
    /// after them were added.
    pub(crate) fn is_replicated(file: &File, replicas: &dyn Replicas) -> bool {
        file.blocks.as_slice().iter().rev().take(2).all(|block| replicas.at_minimum(block.id))
    }

    /// Whether this very call was done already by the operation numbered `code`.
    pub(crate) fn done_before(&self, ctx: &Ctx<'_>, code: u8) -> Option<&Done> {
        ctx.retry.as_ref().and_then(|key| self.retry.get(key, code))
    }

    /// The status that a repeated call is answered with.
    ///
    /// # Errors
    /// `NotFound` when the file was deleted since.
    pub(crate) fn status_again(&self, id: INodeId, path: &str) -> Result<FileStatus> {
        self.status(id).ok_or_else(|| {
            RemoteError::new(
                ErrorKind::NotFound,
                format!("File does not exist: {path}: it was deleted meanwhile"),
            )
        })
    }

    /// Refuses new owners and groups when no number is left for them.
    ///
    /// # Errors
    /// `Io`, which a hostile superuser could provoke and nobody else.
    pub(crate) fn require_names(&self) -> Result<()> {
        if self.tree.names().has_room() {
            return Ok(());
        }
        fail(
            ErrorKind::Io,
            "There are too many different owner and group names in this file system",
        )
    }
}
