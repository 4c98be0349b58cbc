//! Listing directories, page by page.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::Stream;
use hfs_protocol::proto::hadoop::hdfs as proto;

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::{FileSystem, no_such, normalize};
use crate::status::FileStatus;

impl FileSystem {
    /// The entries of a directory, or the file itself, in the order of their bytes. Holds all of
    /// them: for directories of unknown size take [`FileSystem::list_pages`].
    ///
    /// # Errors
    /// `NotFound` when the path does not exist.
    pub async fn list(&self, path: &str) -> Result<Vec<FileStatus>> {
        let mut pages = self.list_pages(path)?;
        let mut all = Vec::new();
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// The entries of a directory page by page, as the namenode gives them (1000 by default).
    pub fn list_pages(&self, path: &str) -> Result<ListPages> {
        Ok(ListPages {
            fs: self.clone(),
            path: normalize(path)?,
            start_after: Bytes::new(),
            state: ListState::First,
        })
    }

    /// The entries of a directory one by one, fetched page by page.
    pub fn list_stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<FileStatus>> + Send + 'static> {
        let start = (self.list_pages(path)?, VecDeque::new());
        Ok(futures::stream::try_unfold(start, |(mut pages, mut ready)| async move {
            loop {
                if let Some(entry) = ready.pop_front() {
                    return Ok(Some((entry, (pages, ready))));
                }
                match pages.next().await? {
                    Some(page) => ready.extend(page),
                    None => return Ok(None),
                }
            }
        }))
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The entries of a directory, a page at a time.
pub struct ListPages {
    fs: FileSystem,
    path: String,
    start_after: Bytes,
    state: ListState,
}

#[derive(Clone, Copy, PartialEq)]
enum ListState {
    First,
    More,
    Done,
}

impl ListPages {
    /// The next page, or nothing after the last one.
    ///
    /// # Errors
    /// `NotFound` on the first page when the path does not exist.
    pub async fn next(&mut self) -> Result<Option<Vec<FileStatus>>> {
        if self.state == ListState::Done {
            return Ok(None);
        }
        let request = proto::GetListingRequestProto {
            src: self.path.clone(),
            start_after: self.start_after.clone(),
            need_location: false,
        };
        let response: proto::GetListingResponseProto =
            self.fs.call("getListing", &self.path, &request).await?;
        let Some(listing) = response.dir_list else {
            let first = self.state == ListState::First;
            self.state = ListState::Done;
            // A directory that was deleted between two pages has simply ended.
            return if first { Err(no_such(&self.path)) } else { Ok(None) };
        };
        let mut page = Vec::with_capacity(listing.partial_listing.len());
        for entry in &listing.partial_listing {
            let name = std::str::from_utf8(&entry.path).map_err(|_| {
                let name = String::from_utf8_lossy(&entry.path);
                Error::new(
                    ErrorKind::InvalidPath,
                    format!("the entry '{name}' has a name that is not UTF-8"),
                )
                .on(&self.path)
            })?;
            let path = if name.is_empty() { self.path.clone() } else { join(&self.path, name) };
            page.push(FileStatus::from_proto(path, entry));
        }
        self.state = match listing.partial_listing.last() {
            Some(last) if listing.remaining_entries > 0 => {
                self.start_after = last.path.clone();
                ListState::More
            }
            _ => ListState::Done,
        };
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_below_their_directory() {
        assert_eq!(join("/", "x"), "/x");
        assert_eq!(join("/a", "x"), "/a/x");
    }
}
