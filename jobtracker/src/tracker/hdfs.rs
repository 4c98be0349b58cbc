//! HDFS file systems that jobs name, through the client.

use std::collections::HashMap;

use hfs_client::{ClientConfig, ErrorKind, FileSystem};
use tokio::sync::Mutex;

use super::store::StoreError;

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
    /// The file system at `url`, as `user`; as this process's own user if that is empty.
    pub(super) async fn file_system(
        &self,
        url: &str,
        user: &str,
    ) -> Result<FileSystem, StoreError> {
        let key = (url.to_owned(), user.to_owned());
        if let Some(fs) = self.connected.lock().await.get(&key) {
            return Ok(fs.clone());
        }
        let mut config = ClientConfig::load().map_err(|e| StoreError::Other(e.to_string()))?;
        if !user.is_empty() {
            user.clone_into(&mut config.user);
        }
        let fs = FileSystem::connect(url, config).await.map_err(explain)?;
        let mut connected = self.connected.lock().await;
        if connected.len() >= CONNECTED_MAX {
            connected.clear();
        }
        connected.insert(key, fs.clone());
        Ok(fs)
    }
}

/// What an error of the client means for a commit.
pub(super) fn explain(error: hfs_client::Error) -> StoreError {
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
