//! The few calls on a file system that commits need.

use futures::future::{BoxFuture, ready};
use hfs_protocol::proto::task::JobSpec;

/// Said of output in a bucket where no bucket can be reached.
pub const NO_BUCKETS: &str = "this jobtracker is built without object stores; build hfs with the cargo \
                              feature object-store";

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
    /// Completes the uploads that the files below `dir` of the job's own file system describe, and then says
    /// in its output directory, which is in a bucket, that all of it is there.
    fn publish<'a>(
        &'a self,
        _job: &'a JobSpec,
        _dir: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(ready(Err(StoreError::Other(NO_BUCKETS.to_owned()))))
    }
    /// Gives up the uploads that the files below `dir` describe, and deletes those that are completed. True:
    /// the output was published before, and stays.
    fn withdraw<'a>(
        &'a self,
        _job: &'a JobSpec,
        _dir: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(ready(Err(StoreError::Other(NO_BUCKETS.to_owned()))))
    }
    /// Deletes a path and all below it. Fine when it is absent.
    fn delete<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
