//! The few calls on a file system that commits need.

use futures::future::BoxFuture;
use hfs_protocol::proto::task::JobSpec;

/// What can go wrong, by what a commit does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The source is not there.
    NotFound(String),
    /// The target is there.
    Exists(String),
    /// There was no answer, or one that promises nothing: the call may have been done, or may still be.
    Unclear(String),
    /// Anything else: a refusal.
    Other(String),
}

impl StoreError {
    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::NotFound(m) | Self::Exists(m) | Self::Unclear(m) | Self::Other(m) => m,
        }
    }
}

/// A file system as commits see it. A seam: tests put a map in memory behind it.
pub trait Store: Send + Sync + 'static {
    /// The file id of what is at the path, which stays the same when it is renamed. None: nothing is there.
    fn file_id<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>>;
    /// Makes a directory and those above it.
    fn mkdirs<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Makes an empty file, over an older one, and the directories above it.
    fn create_empty<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Renames to exactly `to`; `overwrite` replaces a file that is there.
    fn rename<'a>(
        &'a self,
        job: &'a JobSpec,
        from: &'a str,
        to: &'a str,
        overwrite: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Deletes a path and all below it. Fine when it is absent.
    fn delete<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
