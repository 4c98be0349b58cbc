//! The file systems that jobs write to, by what their output paths name.

use futures::future::BoxFuture;
use hfs_client::{CreateOptions, FileSystem};
use hfs_protocol::proto::task::JobSpec;

#[cfg(feature = "object-store")]
use super::buckets;
use super::hdfs::{Hdfs, explain};
use super::local;
use super::place::Place;
use super::store::{NO_BUCKETS, Store, StoreError};

/// Every file system that output can be committed to.
#[derive(Debug, Default)]
pub struct Systems {
    hdfs: Hdfs,
    /// Whether jobs may write to this machine's files. The jobtracker acts there with its own rights and
    /// not with the job's user's.
    local: bool,
}

/// A path in its file system.
enum Found<'a> {
    Hdfs(FileSystem, String),
    Local(&'a str),
}

impl Systems {
    /// With `local`, this machine's files are among them.
    #[must_use]
    pub fn new(local: bool) -> Self {
        Self { hdfs: Hdfs::default(), local }
    }

    async fn find<'a>(&self, job: &JobSpec, path: &'a str) -> Result<Found<'a>, StoreError> {
        match Place::parse(path).map_err(StoreError::Other)? {
            Place::Own(path) => {
                let fs = self.hdfs.file_system(&job.fs_url, &job.user).await?;
                Ok(Found::Hdfs(fs, path.to_owned()))
            }
            Place::Hdfs(url) => {
                let fs = self.hdfs.file_system(&url.with_path("/").to_string(), &job.user).await?;
                Ok(Found::Hdfs(fs, url.path().to_owned()))
            }
            Place::Local(path) if self.local => Ok(Found::Local(path)),
            Place::Local(path) => Err(StoreError::Other(format!(
                "file://{path} is a local path, and this cluster's jobs may not write to those; if all \
                 its nodes share the directory, an operator can allow it with --local-output \
                 (local-output in hfs.toml) of the jobtracker"
            ))),
            Place::Bucket(..) => Err(StoreError::Other(NO_BUCKETS.to_owned())),
        }
    }
}

/// Runs a call on local files where it may wait for a disk.
async fn blocking<T: Send + 'static>(
    path: &str,
    call: impl FnOnce(&str) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || call(&path)).await;
    done.unwrap_or_else(|e| Err(StoreError::Unclear(e.to_string())))
}

impl Store for Systems {
    fn file_id<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            #[cfg(feature = "object-store")]
            if let Ok(Place::Bucket(url, path)) = Place::parse(path) {
                return buckets::file_id(job, url, path).await;
            }
            match self.find(job, path).await? {
                Found::Hdfs(fs, path) => match fs.status(&path).await.map_err(explain) {
                    Ok(status) => Ok(Some(status.file_id)),
                    Err(StoreError::NotFound(_)) => Ok(None),
                    Err(e) => Err(e),
                },
                Found::Local(path) => blocking(path, local::file_id).await,
            }
        })
    }

    fn mkdirs<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match self.find(job, path).await? {
                Found::Hdfs(fs, path) => fs.mkdirs(&path, None).await.map_err(explain),
                Found::Local(path) => blocking(path, local::mkdirs).await,
            }
        })
    }

    fn create_empty<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match self.find(job, path).await? {
                Found::Hdfs(fs, path) => {
                    let options = CreateOptions { overwrite: true, ..CreateOptions::default() };
                    let mut file = fs.create(&path, &options).await.map_err(explain)?;
                    file.close().await.map_err(explain)?;
                    Ok(())
                }
                Found::Local(path) => blocking(path, local::create_empty).await,
            }
        })
    }

    fn rename<'a>(
        &'a self,
        job: &'a JobSpec,
        from: &'a str,
        to: &'a str,
        overwrite: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match (self.find(job, from).await?, Place::parse(to).map_err(StoreError::Other)?) {
                (Found::Hdfs(fs, from), to) => {
                    fs.rename2(&from, to.path(), overwrite).await.map_err(explain)
                }
                (Found::Local(from), to) => {
                    let to = to.path().to_owned();
                    blocking(from, move |from| local::rename(from, &to, overwrite)).await
                }
            }
        })
    }

    #[cfg(feature = "object-store")]
    fn publish<'a>(
        &'a self,
        job: &'a JobSpec,
        dir: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let fs = self.hdfs.file_system(&job.fs_url, &job.user).await?;
            buckets::publish(fs, job, dir).await
        })
    }

    #[cfg(feature = "object-store")]
    fn withdraw<'a>(
        &'a self,
        job: &'a JobSpec,
        dir: &'a str,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let fs = self.hdfs.file_system(&job.fs_url, &job.user).await?;
            buckets::withdraw(fs, job, dir).await
        })
    }

    fn delete<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match self.find(job, path).await? {
                Found::Hdfs(fs, path) => {
                    fs.delete(&path, true).await.map_err(explain)?;
                    Ok(())
                }
                Found::Local(path) => blocking(path, local::delete).await,
            }
        })
    }
}
