//! Brings what a job's attempts share onto this node, once for a job (Hadoop's distributed cache).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hfs_client::localize::{Wanted, bring, unpack};
use hfs_client::{ClientConfig, FileSystem};
use hfs_protocol::proto::task::{CacheItem, CachedItem, JobSpec};
use parking_lot::Mutex;

use crate::dirs::Dirs;

/// One lock for each job whose items are being brought.
type Turns = HashMap<String, Arc<tokio::sync::Mutex<()>>>;

/// The cache items on this node.
pub struct Cache {
    dirs: Dirs,
    local_address: Option<IpAddr>,
    turns: Mutex<Turns>,
}

impl Cache {
    /// The items in a worker's directory. `local_address`: where to dial out from, so that a replica on
    /// this node is known to be near.
    #[must_use]
    pub fn new(dirs: Dirs, local_address: Option<IpAddr>) -> Self {
        Self { dirs, local_address, turns: Mutex::default() }
    }

    /// Brings all items of a job that are not here. Attempts that want them at the same time wait for one
    /// download.
    ///
    /// # Errors
    /// A sentence: an item can't be had, has changed, or can't be unpacked.
    pub async fn bring(&self, job: &JobSpec) -> Result<(), String> {
        if job.cache.is_empty() {
            return Ok(());
        }
        let turn = Arc::clone(self.turns.lock().entry(job.job_id.clone()).or_default());
        let result = {
            let _turn = turn.lock().await;
            self.bring_missing(job).await
        };
        self.turns.lock().remove(&job.job_id);
        result
    }

    async fn bring_missing(&self, job: &JobSpec) -> Result<(), String> {
        let mut connected: HashMap<&str, FileSystem> = HashMap::new();
        for (number, item) in job.cache.iter().enumerate() {
            let dir = self.dirs.cache(&job.job_id, number);
            if dir.exists() {
                continue;
            }
            let url = if item.fs_url.is_empty() { &job.fs_url } else { &item.fs_url };
            let brought = async {
                if !connected.contains_key(url.as_str()) {
                    connected.insert(url, self.connect(url, job).await?);
                }
                let fs = &connected[url.as_str()];
                bring_item(fs, item, &dir).await
            };
            brought.await.map_err(|why| {
                format!("the job's cache item {} of {url} can't be had: {why}", item.path)
            })?;
        }
        Ok(())
    }

    async fn connect(&self, url: &str, job: &JobSpec) -> Result<FileSystem, String> {
        let mut config = ClientConfig::load().map_err(|e| e.to_string())?;
        config.local_address = self.local_address;
        if !job.user.is_empty() {
            config.user.clone_from(&job.user);
        }
        FileSystem::connect(url, config).await.map_err(|e| e.to_string())
    }
}

/// Where the items of a job lie on this node once they are brought.
#[must_use]
pub fn places(dirs: &Dirs, job: &JobSpec) -> Vec<CachedItem> {
    let place = |(number, item): (usize, &CacheItem)| CachedItem {
        link: item.link.clone(),
        path: dirs.cache(&job.job_id, number).join(&item.link).to_string_lossy().into_owned(),
    };
    job.cache.iter().enumerate().map(place).collect()
}

/// Brings an item into `dir`, which is there only when all of it is.
async fn bring_item(fs: &FileSystem, item: &CacheItem, dir: &Path) -> Result<(), String> {
    // The name comes from outside and becomes a path here.
    if item.link.is_empty() || item.link.contains('/') || item.link == "." || item.link == ".." {
        return Err(format!("'{}' can't be the name of a link", item.link));
    }
    let half_made = dir.with_extension("part");
    let disk = |e: io::Error| format!("can't write {}: {e}", half_made.display());
    clear(&half_made).map_err(disk)?;
    fs::create_dir_all(&half_made).map_err(disk)?;
    let wanted = Wanted { path: &item.path, length: item.length, modified_ms: item.modified_ms };
    let target = half_made.join(&item.link);
    if item.archive {
        let archive = half_made.join(".archive");
        bring(fs, wanted, &archive).await.map_err(|e| e.to_string())?;
        let (from, name) = (archive.clone(), item.path.clone());
        tokio::task::spawn_blocking(move || unpack(&from, &name, &target))
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        fs::remove_file(&archive).map_err(disk)?;
    } else {
        bring(fs, wanted, &target).await.map_err(|e| e.to_string())?;
    }
    fs::rename(&half_made, dir).map_err(disk)
}

/// Takes away what an earlier try has left.
fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
