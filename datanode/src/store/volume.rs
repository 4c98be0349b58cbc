//! One data directory: its lock, its identity, its room and its health.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hfs_daemon::lock_dir::{self, DirLock};
use hfs_protocol::ids::{BlockId, GenStamp};

use super::error::StoreError;
use super::layout::{PoolDirs, ReplicaFiles, VERSION_FILE};
use super::replica::Place;
use super::version::{Identity, write_pool_version};
use super::writer::create_dir_durably;

/// Files that may lie in a directory that is still free for a datanode.
const HARMLESS: [&str; 2] = [lock_dir::FILE_NAME, "lost+found"];

/// A data directory that this process holds.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
    storage_uuid: String,
    /// Bytes of the file system that replicas leave free.
    reserve_bytes: u64,
    /// Holds the lock as long as it lives.
    _lock: DirLock,
    /// Set when the block pool is known: at start, or at the first registration.
    pool: OnceLock<PoolDirs>,
    /// Bytes in data and checksum files. It may lag by one write; it only feeds reports.
    used_bytes: AtomicU64,
    /// Bytes promised to replicas being written that are not on disk yet.
    promised_bytes: AtomicU64,
    failed: AtomicBool,
}

/// Room on a volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What replicas could fill if nothing else used the file system.
    pub capacity: u64,
    /// What replicas do fill.
    pub used: u64,
    /// What more replicas can fill now.
    pub remaining: u64,
}

impl Volume {
    /// Locks `dir`, creating it if it is not there, and reads whose it is.
    ///
    /// # Errors
    /// If it can't be used: in use, not ours, not writable. Nothing in it is changed then.
    pub fn open(dir: &Path, reserve_bytes: u64) -> Result<(Self, Option<Identity>), StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let identity = Identity::read(dir)?;
        if identity.is_none() {
            refuse_if_occupied(dir)?;
        }
        let lock = DirLock::acquire(dir, "datanode")
            .map_err(|error| StoreError::Directory(error.to_string()))?;
        let storage_uuid = identity
            .as_ref()
            .map_or_else(|| format!("DS-{}", uuid::Uuid::new_v4()), |id| id.storage_uuid.clone());
        let volume = Self {
            dir: dir.to_owned(),
            storage_uuid,
            reserve_bytes,
            _lock: lock,
            pool: OnceLock::new(),
            used_bytes: AtomicU64::new(0),
            promised_bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        };
        Ok((volume, identity))
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory's own id.
    #[must_use]
    pub fn storage_uuid(&self) -> &str {
        &self.storage_uuid
    }

    /// The block pools that have a directory here.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub fn pools(&self) -> Result<Vec<String>, StoreError> {
        let current = self.dir.join("current");
        let mut pools = Vec::new();
        for entry in fs::read_dir(&current).map_err(StoreError::io("list", &current))? {
            let entry = entry.map_err(StoreError::io("list", &current))?;
            if let Ok(name) = entry.file_name().into_string()
                && name.starts_with("BP-")
            {
                pools.push(name);
            }
        }
        Ok(pools)
    }

    /// Makes the block pool's directories where they are missing, and empties `tmp`: what lies
    /// there was never acknowledged to anybody.
    ///
    /// # Errors
    /// If the directory can't be written.
    pub fn open_pool(&self, pool: &str) -> Result<(), StoreError> {
        let dirs = PoolDirs::new(&self.dir, pool);
        match fs::remove_dir_all(&dirs.tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("empty", &dirs.tmp)(error));
            }
            _ => {}
        }
        for dir in [&dirs.finalized, &dirs.rbw, &dirs.tmp] {
            create_dir_durably(dir)?;
        }
        let current = dirs.root.join("current");
        if !current.join(VERSION_FILE).exists() {
            write_pool_version(&current, pool)?;
        }
        let _ = self.pool.set(dirs);
        Ok(())
    }

    /// Makes a free directory this datanode's, or checks nothing if it is already.
    ///
    /// # Errors
    /// If the directory can't be written.
    pub fn adopt(
        &self,
        cluster_id: &str,
        datanode_uuid: &str,
        pool: &str,
    ) -> Result<(), StoreError> {
        if self.pool.get().is_some() {
            return Ok(());
        }
        let current = self.dir.join("current");
        create_dir_durably(&current)?;
        self.open_pool(pool)?;
        // Last: a directory without this file is still free.
        Identity {
            cluster_id: cluster_id.to_owned(),
            datanode_uuid: datanode_uuid.to_owned(),
            storage_uuid: self.storage_uuid.clone(),
        }
        .write(&self.dir)
    }

    /// The block pool's directories.
    ///
    /// # Errors
    /// Before the first registration.
    pub fn pool_dirs(&self) -> Result<&PoolDirs, StoreError> {
        self.pool.get().ok_or(StoreError::NoBlockPool)
    }

    /// The files of a replica in `place`.
    ///
    /// # Errors
    /// Before the first registration.
    pub fn files(
        &self,
        place: Place,
        block: BlockId,
        stamp: GenStamp,
    ) -> Result<ReplicaFiles, StoreError> {
        Ok(ReplicaFiles::new(&self.place_dir(place, block)?, block, stamp))
    }

    /// The directory of a replica in `place`.
    ///
    /// # Errors
    /// Before the first registration.
    pub fn place_dir(&self, place: Place, block: BlockId) -> Result<PathBuf, StoreError> {
        let dirs = self.pool_dirs()?;
        Ok(match place {
            Place::Tmp => dirs.tmp.clone(),
            Place::Rbw => dirs.rbw.clone(),
            Place::Finalized => dirs.finalized_dir(block),
        })
    }

    /// How much room there is.
    ///
    /// # Errors
    /// If the operating system can't tell.
    pub fn room(&self) -> Result<Room, StoreError> {
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|errno| StoreError::io("ask the free space of", &self.dir)(errno.into()))?;
        let capacity = (stat.f_blocks * stat.f_frsize).saturating_sub(self.reserve_bytes);
        let used = self.used_bytes.load(Ordering::Relaxed);
        let promised = self.promised_bytes.load(Ordering::Relaxed);
        let free = (stat.f_bavail * stat.f_frsize)
            .saturating_sub(self.reserve_bytes)
            .saturating_sub(promised);
        Ok(Room { capacity, used, remaining: free.min(capacity.saturating_sub(used)) })
    }

    /// Counts bytes that files grew (or, negative, shrank) by.
    pub fn count_used(&self, delta: i64) {
        let add = |used: u64| Some(used.saturating_add_signed(delta));
        let _ = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Promises `bytes` to a replica that will be written.
    pub fn promise(&self, bytes: u64) {
        self.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what was promised and is now written, or won't be.
    pub fn release(&self, bytes: u64) {
        let take = |promised: u64| Some(promised.saturating_sub(bytes));
        let _ = self.promised_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }

    /// True once the directory was given up.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Gives the directory up; true if this call did it.
    pub fn set_failed(&self) -> bool {
        !self.failed.swap(true, Ordering::AcqRel)
    }

    /// Takes the directory back into use.
    pub fn set_healthy(&self) {
        self.failed.store(false, Ordering::Release);
    }

    /// Forgets how many bytes are used, before they are counted again.
    pub fn reset_used(&self) {
        self.used_bytes.store(0, Ordering::Relaxed);
    }

    /// Tries the directory: can it be listed, written and read back? A full disk passes: it can
    /// still be read. So does what says nothing of the disk, such as too many open files.
    ///
    /// # Errors
    /// The first thing that failed.
    pub fn check(&self) -> Result<(), StoreError> {
        self.try_out().or_else(|error| if error.is_disk_fault() { Err(error) } else { Ok(()) })
    }

    fn try_out(&self) -> Result<(), StoreError> {
        let Ok(dirs) = self.pool_dirs() else { return Ok(()) };
        for dir in [&dirs.finalized, &dirs.rbw, &dirs.tmp] {
            fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
        }
        let probe = dirs.tmp.join("probe");
        File::create(&probe)
            .and_then(|mut file| file.write_all(b"probe"))
            .and_then(|()| fs::read(&probe))
            .and_then(|_| fs::remove_file(&probe))
            .map_err(StoreError::io("write and read back", &probe))
    }
}

fn refuse_if_occupied(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let name = entry.file_name();
        // A first start that was cut short leaves `current` without VERSION, and no replicas.
        let unfinished = name == "current" && !holds_replicas(&entry.path());
        if !unfinished && !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Err(StoreError::Directory(format!(
                "{} is not a datanode's directory: it has no current/{VERSION_FILE} but holds \
                 '{}'; nothing was changed: give the datanode an empty directory",
                dir.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}

/// True if `current` holds anything but empty directories and VERSION files.
fn holds_replicas(current: &Path) -> bool {
    let Ok(entries) = fs::read_dir(current) else { return true };
    entries.into_iter().any(|entry| {
        let Ok(entry) = entry else { return true };
        let name = entry.file_name();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => holds_replicas(&entry.path()),
            _ => !name.to_string_lossy().starts_with(VERSION_FILE),
        }
    })
}
