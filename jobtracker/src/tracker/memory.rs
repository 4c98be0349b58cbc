//! A file system that is a set of names, for tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use futures::future::{BoxFuture, ready};
use hfs_protocol::proto::task::JobSpec;
use parking_lot::Mutex;

use super::store::{Store, StoreError};

/// Names of files; a directory is what lies above one.
#[derive(Debug, Default)]
pub struct MemoryStore {
    files: Mutex<BTreeSet<String>>,
}

impl MemoryStore {
    /// Makes a file.
    pub fn put(&self, path: &str) {
        self.files.lock().insert(path.to_owned());
    }

    /// All files.
    pub fn files(&self) -> Vec<String> {
        self.files.lock().iter().cloned().collect()
    }

    fn below(&self, path: &str) -> Vec<String> {
        let inside = format!("{path}/");
        let files = self.files.lock();
        files.iter().filter(|f| *f == path || f.starts_with(&inside)).cloned().collect()
    }

    fn rename_now(&self, from: &str, to: &str, overwrite: bool) -> Result<(), StoreError> {
        let moving = self.below(from);
        if moving.is_empty() {
            return Err(StoreError::NotFound(format!("{from} does not exist")));
        }
        if !overwrite && !self.below(to).is_empty() {
            return Err(StoreError::Exists(format!("{to} exists")));
        }
        let mut files = self.files.lock();
        for path in moving {
            files.remove(&path);
            files.insert(format!("{to}{}", path.strip_prefix(from).unwrap()));
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn exists<'a>(
        &'a self,
        _: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(ready(Ok(!self.below(path).is_empty())))
    }

    fn mkdirs<'a>(&'a self, _: &'a JobSpec, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    fn create_empty<'a>(
        &'a self,
        _: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.put(path);
        Box::pin(ready(Ok(())))
    }

    fn rename<'a>(
        &'a self,
        _: &'a JobSpec,
        from: &'a str,
        to: &'a str,
        overwrite: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(ready(self.rename_now(from, to, overwrite)))
    }

    fn delete<'a>(
        &'a self,
        _: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        for path in self.below(path) {
            self.files.lock().remove(&path);
        }
        Box::pin(ready(Ok(())))
    }
}
