//! What can be asked of a namespace without changing it.

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use super::Namespace;
use super::access::{self, Access};
use super::inode::{Inode, Kind};
use super::types::{
    Block, Caller, ContentSummary, Counts, FileBlocks, FileKind, FileStatus, FileView, Listing,
    OpenFile, Result, fail,
};

/// The most entries of a page of a listing (`dfs.ls.limit`).
pub const LIST_LIMIT: usize = 1_000;

impl Namespace {
    /// The status of a path; `None` when nothing is there (HDFS `getFileInfo`).
    ///
    /// # Errors
    /// `InvalidPath`, and `AccessDenied` when the caller may not enter a directory on the way.
    pub fn stat(&self, path: &str, caller: &Caller) -> Result<Option<FileStatus>> {
        let path = match self.path(path) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(self.resolve(&path, caller)?.slot().map(|slot| self.status_of(self.tree.get(slot), "")))
    }

    /// The status of an inode.
    #[must_use]
    pub fn status(&self, id: INodeId) -> Option<FileStatus> {
        Some(self.status_of(self.tree.get(self.tree.slot_of(id)?), ""))
    }

    pub(crate) fn status_of(&self, inode: &Inode, name: &str) -> FileStatus {
        let names = self.tree.names();
        let mut status = FileStatus {
            kind: FileKind::Directory,
            name: name.into(),
            inode: inode.id,
            len: 0,
            mode: inode.perm.mode(),
            owner: names.get(inode.perm.user()).clone(),
            group: names.get(inode.perm.group()).clone(),
            mtime_ms: inode.mtime_ms,
            atime_ms: 0,
            replication: 0,
            block_size: 0,
            children: 0,
            under_construction: false,
        };
        match &inode.kind {
            Kind::Directory(children) => {
                status.children = u32::try_from(children.len()).unwrap_or(u32::MAX);
            }
            Kind::File(file) => {
                status.kind = FileKind::File;
                status.len = file.len();
                status.atime_ms = file.atime_ms;
                status.replication = file.replication();
                status.block_size = file.block_size();
                status.under_construction = file.writing.is_some();
            }
        }
        status
    }

    /// A page of a directory, or the one entry that a file is; `None` when nothing is there (HDFS `getListing`).
    /// The page has the entries whose names are bytewise above `start_after`, at most `limit` of them (at least one).
    ///
    /// # Errors
    /// `InvalidPath`; `AccessDenied` when the caller may not list the directory.
    pub fn list(
        &self,
        path: &str,
        start_after: &str,
        limit: usize,
        caller: &Caller,
    ) -> Result<Option<Listing>> {
        let path = match self.path(path) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let Some(slot) = self.resolve(&path, caller)?.slot() else { return Ok(None) };
        let inode = self.tree.get(slot);
        let Kind::Directory(children) = &inode.kind else {
            return Ok(Some(Listing { entries: vec![self.status_of(inode, "")], remaining: 0 }));
        };
        access::require(&self.tree, slot, caller, Access::READ_EXECUTE)?;
        let name_of = |slot: u32| self.tree.get(slot).name.as_bytes();
        let (slots, count) = children.after(start_after.as_bytes(), name_of);
        let entries: Vec<_> = slots
            .take(limit.max(1))
            .map(|slot| {
                let inode = self.tree.get(slot);
                self.status_of(inode, inode.name.as_str())
            })
            .collect();
        let remaining = count - entries.len();
        Ok(Some(Listing { entries, remaining }))
    }

    /// The file in a path that must exist.
    fn file_slot(&self, path: &str, caller: &Caller) -> Result<u32> {
        let path = self.path(path)?;
        match self.resolve(&path, caller)?.slot() {
            None => fail(ErrorKind::NotFound, format!("File does not exist: {path}")),
            Some(slot) if self.tree.get(slot).is_dir() => {
                fail(ErrorKind::NotFound, format!("Path is not a file: {path}"))
            }
            Some(slot) => Ok(slot),
        }
    }

    /// The blocks that overlap `len` bytes from `offset` (HDFS `getBlockLocations`).
    ///
    /// # Errors
    /// `NotFound` for a missing path and for a directory; `AccessDenied` when the caller may not read the file.
    pub fn blocks(&self, path: &str, offset: u64, len: u64, caller: &Caller) -> Result<FileBlocks> {
        let slot = self.file_slot(path, caller)?;
        access::require(&self.tree, slot, caller, Access::READ)?;
        let file = self.file_in(slot);
        let blocks = file.blocks.as_slice();
        let last_committed = file.last_committed();
        let end = offset.saturating_add(len);
        let mut found = FileBlocks {
            file: self.tree.get(slot).id,
            file_len: 0,
            blocks: Vec::new(),
            last: None,
            last_committed,
            under_construction: file.writing.is_some(),
            replication: file.replication(),
            block_size: file.block_size(),
        };
        let mut start = 0_u64;
        for (number, &block) in blocks.iter().enumerate() {
            let unfinished = !last_committed && number + 1 == blocks.len();
            let next = start.saturating_add(block.len);
            // An unfinished block may have more bytes than anybody vouched for yet.
            if start < end && (next > offset || unfinished) {
                found.blocks.push((block, start));
            }
            found.last = Some((block, start));
            if !unfinished {
                found.file_len = next;
            }
            start = next;
        }
        Ok(found)
    }

    /// Sums up a subtree (HDFS `getContentSummary`).
    ///
    /// # Errors
    /// `NotFound` when nothing is there; `AccessDenied` when the caller may not list one of the directories.
    pub fn content_summary(&self, path: &str, caller: &Caller) -> Result<ContentSummary> {
        let path = self.path(path)?;
        let Some(top) = self.resolve(&path, caller)?.slot() else {
            return fail(ErrorKind::NotFound, format!("File does not exist: {path}"));
        };
        let mut summary = ContentSummary::default();
        for slot in self.tree.walk(top) {
            match &self.tree.get(slot).kind {
                Kind::Directory(_) => {
                    access::require(&self.tree, slot, caller, Access::READ_EXECUTE)?;
                    summary.directories += 1;
                }
                Kind::File(file) => {
                    summary.files += 1;
                    let len = file.len();
                    summary.len = summary.len.saturating_add(len);
                    let space = len.saturating_mul(file.replication().into());
                    summary.space = summary.space.saturating_add(space);
                }
            }
        }
        Ok(summary)
    }

    /// Whether the caller has these rights on a path (HDFS `checkAccess`).
    ///
    /// # Errors
    /// `AccessDenied` when not; `NotFound` when nothing is there.
    pub fn check_access(&self, path: &str, want: Access, caller: &Caller) -> Result<()> {
        let path = self.path(path)?;
        match self.resolve(&path, caller)?.slot() {
            None => fail(ErrorKind::NotFound, format!("File does not exist: {path}")),
            Some(slot) => access::require(&self.tree, slot, caller, want),
        }
    }

    /// Whether nobody writes the file.
    ///
    /// # Errors
    /// `NotFound` for a missing path and for a directory.
    pub fn is_file_closed(&self, path: &str, caller: &Caller) -> Result<bool> {
        Ok(self.file_in(self.file_slot(path, caller)?).writing.is_none())
    }

    /// The size at which a new block of the file begins.
    ///
    /// # Errors
    /// `NotFound` for a missing path and for a directory.
    pub fn preferred_block_size(&self, path: &str, caller: &Caller) -> Result<u64> {
        Ok(self.file_in(self.file_slot(path, caller)?).block_size())
    }

    /// A page of the open files in the order of their ids, those above `after` (HDFS `listOpenFiles`).
    #[must_use]
    pub fn open_files(&self, after: INodeId, limit: usize) -> Vec<OpenFile> {
        let mut ids: Vec<INodeId> =
            self.leases.iter().map(|(_, file)| file).filter(|&file| file > after).collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|id| {
                let slot = self.tree.slot_of(id)?;
                let writing = self.tree.get(slot).file()?.writing.as_ref()?;
                Some(OpenFile {
                    inode: id,
                    path: self.tree.path_of_slot(slot),
                    client_name: writing.client_name.clone(),
                    client_machine: writing.client_machine.clone(),
                })
            })
            .take(limit)
            .collect()
    }

    /// The file whose lease has to be recovered before `client_name` may create or append to `path`: it is open, and its
    /// holder was silent for longer than the soft limit.
    #[must_use]
    pub fn needs_recovery(&self, path: &str, client_name: &str) -> Option<INodeId> {
        let path = self.path(path).ok()?;
        let slot = path
            .components()
            .try_fold(super::tree::ROOT, |slot, name| self.tree.child(slot, name))?;
        let inode = self.tree.get(slot);
        let writing = inode.file()?.writing.as_ref()?;
        let due = *writing.client_name != *client_name
            && !matches!(writing.tail, super::inode::Tail::Recovering { .. })
            && self.leases.is_expired(&writing.client_name, self.limits.lease_soft_limit_ms);
        due.then_some(inode.id)
    }

    /// The files whose holder was silent for longer than `limit_ms`, each with its holder.
    #[must_use]
    pub fn expired_leases(&self, limit_ms: u64) -> Vec<(String, INodeId)> {
        self.leases
            .expired(limit_ms)
            .filter(|&(_, file)| self.tree.slot_of(file).is_some())
            .map(|(holder, file)| (holder.to_owned(), file))
            .collect()
    }

    /// The path of an inode now.
    #[must_use]
    pub fn path_of(&self, id: INodeId) -> Option<String> {
        Some(self.tree.path_of_slot(self.tree.slot_of(id)?))
    }

    /// A file by its id; `None` for a directory.
    #[must_use]
    pub fn file(&self, id: INodeId) -> Option<FileView> {
        let file = self.tree.get(self.tree.slot_of(id)?).file()?;
        Some(FileView {
            replication: file.replication(),
            block_size: file.block_size(),
            holder: file.writing.as_ref().map(|writing| writing.client_name.clone()),
            blocks: file.blocks.as_slice().to_vec(),
            last_committed: file.last_committed(),
        })
    }

    /// Shows every block once: its file, itself, how many replicas it should have, and whether its length may still change. What
    /// the block manager starts from.
    pub fn for_each_block(&self, mut see: impl FnMut(INodeId, Block, u16, bool)) {
        for slot in self.tree.walk(super::tree::ROOT) {
            let inode = self.tree.get(slot);
            let Some(file) = inode.file() else { continue };
            let blocks = file.blocks.as_slice();
            for (number, &block) in blocks.iter().enumerate() {
                let unfinished = number + 1 == blocks.len() && !file.last_committed();
                see(inode.id, block, file.replication(), unfinished);
            }
        }
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
