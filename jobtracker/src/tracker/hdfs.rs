//! The file systems that jobs name, through the client.

use std::collections::HashMap;

use futures::future::BoxFuture;
use hfs_client::{ClientConfig, CreateOptions, ErrorKind, FileSystem};
use hfs_protocol::proto::task::JobSpec;
use tokio::sync::Mutex;

use super::store::{Store, StoreError};

/// File systems that are kept connected. One for each user and namenode.
const CONNECTED_MAX: usize = 64;

/// The file systems that jobs name, reached as the jobs' users.
#[derive(Default)]
pub struct Hdfs {
    connected: Mutex<HashMap<(String, String), FileSystem>>,
}

impl std::fmt::Debug for Hdfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdfs").finish_non_exhaustive()
    }
}

impl Hdfs {
    async fn file_system(&self, job: &JobSpec) -> Result<FileSystem, StoreError> {
        let key = (job.fs_url.clone(), job.user.clone());
        if let Some(fs) = self.connected.lock().await.get(&key) {
            return Ok(fs.clone());
        }
        let mut config = ClientConfig::load().map_err(|e| StoreError::Other(e.to_string()))?;
        if !job.user.is_empty() {
            config.user.clone_from(&job.user);
        }
        let fs = FileSystem::connect(job.fs_url.as_str(), config).await.map_err(explain)?;
        let mut connected = self.connected.lock().await;
        if connected.len() >= CONNECTED_MAX {
            connected.clear();
        }
        connected.insert(key, fs.clone());
        Ok(fs)
    }
}

fn explain(error: hfs_client::Error) -> StoreError {
    let message = error.to_string();
    match error.kind() {
        ErrorKind::NotFound => StoreError::NotFound(message),
        ErrorKind::AlreadyExists => StoreError::Exists(message),
        // In safe mode nothing is done, but soon it may be.
        ErrorKind::Unreachable
        | ErrorKind::TimedOut
        | ErrorKind::Closed
        | ErrorKind::Io
        | ErrorKind::SafeMode => StoreError::Unclear(message),
        _ => StoreError::Other(message),
    }
}

impl Store for Hdfs {
    fn file_id<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            match self.file_system(job).await?.status(path).await.map_err(explain) {
                Ok(status) => Ok(Some(status.file_id)),
                Err(StoreError::NotFound(_)) => Ok(None),
                Err(e) => Err(e),
            }
        })
    }

    fn mkdirs<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(
            async move { self.file_system(job).await?.mkdirs(path, None).await.map_err(explain) },
        )
    }

    fn create_empty<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let options = CreateOptions { overwrite: true, ..CreateOptions::default() };
            let fs = self.file_system(job).await?;
            let mut file = fs.create(path, &options).await.map_err(explain)?;
            file.close().await.map_err(explain)?;
            Ok(())
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
            self.file_system(job).await?.rename2(from, to, overwrite).await.map_err(explain)
        })
    }

    fn delete<'a>(
        &'a self,
        job: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.file_system(job).await?.delete(path, true).await.map_err(explain)?;
            Ok(())
        })
    }
}
