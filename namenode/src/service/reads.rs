//! Reads of the namespace.

use hfs_protocol::ids::INodeId;

use super::locate::no_such_file;
use super::{CallInfo, LocatedFile, Seen, Service};
use crate::namesystem::{
    Access, ContentSummary, FileBlocks, FileKind, FileStatus, Listing, Namespace, OpenFile,
};

/// A page of a listing, with the places of its files where they were asked for.
#[derive(Debug)]
pub struct LocatedListing {
    /// The page.
    pub listing: Listing,
    /// Parallel to its entries; `None` for directories, or where places were not asked for.
    pub places: Vec<Option<LocatedFile>>,
}

impl Service {
    /// The status of a path; `None` when there is nothing (HDFS `getFileInfo`).
    pub fn stat(&self, call: &CallInfo, path: &str) -> Seen<Option<FileStatus>> {
        self.read(|ns| ns.stat(path, &call.caller))
    }

    /// The status of a path and, of a file, where all of it is (HDFS `getLocatedFileInfo`).
    pub fn located_stat(
        &self,
        call: &CallInfo,
        path: &str,
    ) -> Seen<Option<(FileStatus, Option<LocatedFile>)>> {
        self.read(|ns| {
            let Some(status) = ns.stat(path, &call.caller)? else { return Ok(None) };
            let located = match status.kind {
                FileKind::Directory => None,
                FileKind::File => {
                    let blocks = ns.blocks(path, 0, u64::MAX, &call.caller)?;
                    Some(self.cluster.read().locate_file(&blocks, call.ip))
                }
            };
            Ok(Some((status, located)))
        })
    }

    /// A page of a directory after the entry `start_after` (HDFS `getListing`). With places, the
    /// page also ends once about as many replicas as its limit of entries have been located.
    pub fn list(
        &self,
        call: &CallInfo,
        path: &str,
        start_after: &str,
        with_places: bool,
    ) -> Seen<Option<LocatedListing>> {
        let limit = self.config.list_limit;
        self.read(|ns| {
            let Some(mut listing) = ns.list(path, start_after, limit, &call.caller)? else {
                return Ok(None);
            };
            if !with_places {
                return Ok(Some(LocatedListing { listing, places: Vec::new() }));
            }
            let cluster = self.cluster.read();
            let mut places = Vec::with_capacity(listing.entries.len());
            let mut located = 0;
            for entry in &listing.entries {
                if located >= limit {
                    break;
                }
                places.push(match entry.kind {
                    FileKind::Directory => None,
                    FileKind::File => all_blocks(ns, entry.inode).map(|blocks| {
                        let file = cluster.locate_file(&blocks, call.ip);
                        located += file.blocks.iter().map(|b| b.places.len()).sum::<usize>();
                        file
                    }),
                });
            }
            let cut = listing.entries.len() - places.len();
            listing.entries.truncate(places.len());
            listing.remaining += cut;
            Ok(Some(LocatedListing { listing, places }))
        })
    }

    /// Sums of a subtree (HDFS `getContentSummary`).
    pub fn content_summary(&self, call: &CallInfo, path: &str) -> Seen<ContentSummary> {
        self.read(|ns| ns.content_summary(path, &call.caller))
    }

    /// Whether the caller may do this (HDFS `checkAccess`).
    pub fn check_access(&self, call: &CallInfo, path: &str, access: Access) -> Seen<()> {
        self.read(|ns| ns.check_access(path, access, &call.caller))
    }

    /// Whether nobody writes the file (HDFS `isFileClosed`).
    pub fn is_file_closed(&self, call: &CallInfo, path: &str) -> Seen<bool> {
        self.read(|ns| ns.is_file_closed(path, &call.caller))
    }

    /// The block size of a file (HDFS `getPreferredBlockSize`).
    pub fn preferred_block_size(&self, call: &CallInfo, path: &str) -> Seen<u64> {
        self.read(|ns| ns.preferred_block_size(path, &call.caller))
    }

    /// The status of a path that must exist.
    pub fn existing(&self, call: &CallInfo, path: &str) -> Seen<FileStatus> {
        self.read(|ns| ns.stat(path, &call.caller)?.ok_or_else(|| no_such_file(path)))
    }

    /// Open files with ids after `after` (HDFS `listOpenFiles`), for the superuser.
    pub fn open_files(&self, call: &CallInfo, after: INodeId, limit: usize) -> Seen<Vec<OpenFile>> {
        self.read(|ns| {
            self.require_superuser(call, "list the open files")?;
            Ok(ns.open_files(after, limit))
        })
    }
}

/// All blocks of a file, for a caller who may list it.
fn all_blocks(ns: &Namespace, file: INodeId) -> Option<FileBlocks> {
    let view = ns.file(file)?;
    let mut offset = 0;
    let mut blocks = Vec::with_capacity(view.blocks.len());
    for block in view.blocks {
        blocks.push((block, offset));
        offset += block.len;
    }
    let last = blocks.last().copied();
    let unfinished = if view.last_committed { 0 } else { last.map_or(0, |(block, _)| block.len) };
    Some(FileBlocks {
        file,
        file_len: offset - unfinished,
        blocks,
        last,
        last_committed: view.last_committed,
        under_construction: view.holder.is_some(),
        replication: view.replication,
        block_size: view.block_size,
    })
}
