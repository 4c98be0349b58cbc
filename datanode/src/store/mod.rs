//! Replicas on disk: HDFS's block and `.meta` files in one or more data directories.
//!
//! In reading order: [`replica`] is the life of a replica, pure; [`slot`] its place in memory;
//! [`volume`] a data directory; [`layout`] and [`version`] the files' names and the directory's
//! owner; [`scan`] the start; [`writer`] and [`pipeline`] the way in; [`reader`] the way out;
//! [`recovery`] lease recovery.
//!
//! What the store promises: a byte that was acknowledged is never cut by it but on the namenode's
//! word; a finalized data file is never shortened in place (a client may have it mapped); nothing
//! is deleted in a directory that is not this datanode's.

pub mod chunks;
pub mod error;
pub mod layout;
pub mod pipeline;
pub mod reader;
pub mod recovery;
pub mod replica;
pub mod scan;
pub mod slot;
pub mod version;
pub mod volume;
pub mod writer;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::proto::datanode::{Block, ReportedReplica, Storage};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

pub use error::StoreError;
use slot::{Held, Slot};
use volume::Volume;

/// A volume must have this many bytes free for a replica whose final size nobody knows.
const ROOM_FOR_UNKNOWN_BYTES: u64 = 1 << 20;

/// When data is forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FsyncPolicy {
    /// Never, not even when a client asks: for scratch clusters and tests.
    Never,
    /// When a client asks (hsync, or a create with SYNC_BLOCK). HDFS's default.
    #[default]
    OnHsync,
    /// Also at the end of every block (HDFS `dfs.datanode.synconclose`).
    OnClose,
}

/// What the store tells the rest of the datanode.
pub trait ReplicaEvents: Send + Sync {
    /// A replica appeared, was completed or is gone. Called after the change.
    fn changed(&self, kind: Kind, block: Block, storage_uuid: &str);
    /// A replica's bytes or files are bad.
    fn bad(&self, block: Block, reason: &str);
    /// A disk error was seen: [`Store::check_suspects`] should run soon.
    fn volume_suspect(&self);
    /// A data directory was given up.
    fn volume_failed(&self, dir: &Path, reason: &str);
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directories.
    pub dirs: Vec<PathBuf>,
    /// Bytes of each directory's file system that replicas leave free.
    pub reserve_bytes: u64,
    /// How many directories may fail before the datanode gives up (HDFS
    /// `dfs.datanode.failed.volumes.tolerated`).
    pub failed_tolerated: usize,
    /// When data is forced to the disk.
    pub fsync: FsyncPolicy,
}

/// The cluster and pool that the store's replicas belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The cluster's id.
    pub cluster_id: String,
    /// The block pool's id.
    pub pool_id: String,
}

/// All replicas of this datanode.
pub struct Store {
    datanode_uuid: String,
    volumes: Vec<Arc<Volume>>,
    /// Directories that could not even be opened, with the reason.
    unusable: Vec<(PathBuf, String)>,
    failed_tolerated: usize,
    fsync: FsyncPolicy,
    /// Set at start, or at the first registration.
    pool: OnceLock<Pool>,
    /// Every replica. The lock is held for a look-up only, never for disk work.
    slots: RwLock<HashMap<BlockId, Arc<Slot>>>,
    next_volume: AtomicUsize,
    events: Arc<dyn ReplicaEvents>,
    /// Replicas found bad at start, until somebody takes them.
    bad_at_start: Mutex<Vec<(Block, String)>>,
    /// Volumes that a disk error came from, until they are tried.
    suspects: Mutex<Vec<Arc<Volume>>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("datanode_uuid", &self.datanode_uuid)
            .field("volumes", &self.volumes)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// A block as messages to the namenode name it.
#[must_use]
pub fn named(block: BlockId, stamp: GenStamp, length: u64) -> Block {
    Block { block_id: block.0, generation_stamp: stamp.0, length }
}

impl Store {
    /// Opens the data directories and finds the replicas in them.
    ///
    /// # Errors
    /// If a directory belongs to somebody else, or more of them fail than are tolerated.
    pub fn open(
        options: &StoreOptions,
        events: Arc<dyn ReplicaEvents>,
    ) -> Result<Self, StoreError> {
        if options.dirs.is_empty() {
            return Err(StoreError::Directory(
                "no data directory is configured: set data-dirs".to_owned(),
            ));
        }
        let mut volumes = Vec::new();
        let mut unusable = Vec::new();
        let mut identities = Vec::new();
        for dir in &options.dirs {
            match Volume::open(dir, options.reserve_bytes) {
                Ok((volume, identity)) => {
                    identities.extend(identity.map(|identity| (dir.clone(), identity)));
                    volumes.push(Arc::new(volume));
                }
                Err(error @ StoreError::Io { .. }) => {
                    tracing::error!("data directory {} can't be used: {error}", dir.display());
                    unusable.push((dir.clone(), error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        let owner = same_owner(&identities)?;
        let store = Self {
            datanode_uuid: owner
                .as_ref()
                .map_or_else(|| uuid::Uuid::new_v4().to_string(), |owner| owner.1.clone()),
            volumes,
            unusable,
            failed_tolerated: options.failed_tolerated,
            fsync: options.fsync,
            pool: OnceLock::new(),
            slots: RwLock::new(HashMap::new()),
            next_volume: AtomicUsize::new(0),
            events,
            bad_at_start: Mutex::new(Vec::new()),
            suspects: Mutex::new(Vec::new()),
        };
        store.check_tolerated()?;
        if let Some((cluster_id, _)) = owner
            && let Some(pool_id) = store.pool_on_disk()?
        {
            for volume in &store.volumes {
                volume.adopt(&cluster_id, &store.datanode_uuid, &pool_id)?;
            }
            let found = scan::scan(&store.volumes)?;
            store.take_over(found);
            let _ = store.pool.set(Pool { cluster_id, pool_id });
        }
        Ok(store)
    }

    /// The pool whose directories exist; several are refused.
    fn pool_on_disk(&self) -> Result<Option<String>, StoreError> {
        let mut found: Option<(String, PathBuf)> = None;
        for volume in &self.volumes {
            if version::Identity::read(volume.dir())?.is_none() {
                continue;
            }
            for pool in volume.pools()? {
                match &found {
                    Some((first, dir)) if *first != pool => {
                        return Err(StoreError::Directory(format!(
                            "{} holds block pool {first} and {} holds block pool {pool}; a \
                             datanode serves one pool: move the directories of the other pool \
                             away; nothing was changed",
                            dir.display(),
                            volume.dir().display()
                        )));
                    }
                    Some(_) => {}
                    None => found = Some((pool, volume.dir().to_owned())),
                }
            }
        }
        Ok(found.map(|(pool, _)| pool))
    }

    /// Makes the store part of a cluster, at the first registration; later it checks that the
    /// cluster is still the same.
    ///
    /// # Errors
    /// If the directories belong to another cluster: nothing is changed then.
    pub fn adopt(&self, pool: &Pool) -> Result<(), StoreError> {
        if let Some(have) = self.pool.get() {
            if have == pool {
                return Ok(());
            }
            let dirs: Vec<_> = self.volumes.iter().map(|v| v.dir().display().to_string()).collect();
            return Err(StoreError::Directory(format!(
                "the data directories ({}) belong to cluster {} (block pool {}), but the namenode \
                 serves cluster {} (block pool {}); nothing was changed: point this datanode at \
                 its own namenode, or give it empty data directories",
                dirs.join(", "),
                have.cluster_id,
                have.pool_id,
                pool.cluster_id,
                pool.pool_id
            )));
        }
        for volume in &self.volumes {
            volume.adopt(&pool.cluster_id, &self.datanode_uuid, &pool.pool_id)?;
        }
        let _ = self.pool.set(pool.clone());
        Ok(())
    }

    /// This datanode's id for life.
    #[must_use]
    pub fn datanode_uuid(&self) -> &str {
        &self.datanode_uuid
    }

    /// The cluster and pool, once known.
    #[must_use]
    pub fn pool(&self) -> Option<&Pool> {
        self.pool.get()
    }

    /// When data is forced to the disk.
    #[must_use]
    pub fn fsync_policy(&self) -> FsyncPolicy {
        self.fsync
    }

    /// The data directories that could be opened.
    #[must_use]
    pub fn volumes(&self) -> &[Arc<Volume>] {
        &self.volumes
    }

    /// How many replicas there are, in whatever state.
    #[must_use]
    pub fn replica_count(&self) -> usize {
        self.slots.read().len()
    }

    /// Checks that a request means this datanode's pool.
    ///
    /// # Errors
    /// [`StoreError::NoBlockPool`] or [`StoreError::BlockPool`].
    pub fn check_pool(&self, pool_id: &str) -> Result<(), StoreError> {
        let have = self.pool.get().ok_or(StoreError::NoBlockPool)?;
        if have.pool_id != pool_id {
            return Err(StoreError::BlockPool {
                have: have.pool_id.clone(),
                asked: pool_id.to_owned(),
            });
        }
        Ok(())
    }

    /// The slot of a block.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn slot(&self, block: BlockId) -> Result<Arc<Slot>, StoreError> {
        self.slots.read().get(&block).cloned().ok_or(StoreError::NotFound(block))
    }

    /// The slot of a block, made if there is none.
    fn slot_or_new(&self, block: BlockId) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().get(&block) {
            return Arc::clone(slot);
        }
        let mut slots = self.slots.write();
        Arc::clone(slots.entry(block).or_insert_with(|| Arc::new(Slot::new(block))))
    }

    /// Forgets a slot that holds nothing. The caller holds no slot.
    fn drop_empty(&self, block: BlockId) {
        let mut slots = self.slots.write();
        // Somebody who holds the lock is about to fill it.
        let empty = slots.get(&block).and_then(|slot| slot.try_lock()).is_some_and(|mut state| {
            state.forgotten = state.held.is_none() && state.writer.is_none();
            state.forgotten
        });
        if empty {
            slots.remove(&block);
        }
    }

    fn take_over(&self, found: scan::Found) {
        let mut slots = self.slots.write();
        for (block, held) in found.replicas {
            slots.insert(block, Arc::new(Slot::holding(block, held)));
        }
        drop(slots);
        self.bad_at_start.lock().extend(found.bad);
    }

    /// The replicas that the start found bad: to be reported once.
    #[must_use]
    pub fn take_bad_at_start(&self) -> Vec<(Block, String)> {
        std::mem::take(&mut *self.bad_at_start.lock())
    }

    /// Everything on one volume, ordered by block id: its block report.
    #[must_use]
    pub fn report(&self, volume: &Volume) -> Vec<ReportedReplica> {
        let slots: Vec<Arc<Slot>> = self.slots.read().values().cloned().collect();
        let mut replicas: Vec<ReportedReplica> = slots
            .iter()
            .filter_map(|slot| {
                let state = slot.lock();
                let held = state.held.as_ref()?;
                if held.volume.storage_uuid() != volume.storage_uuid() {
                    return None;
                }
                let reported = held.replica.reported()?;
                let block = named(slot.block(), held.replica.stamp(), held.replica.on_disk());
                Some(ReportedReplica { block: Some(block), state: reported as i32 })
            })
            .collect();
        replicas.sort_unstable_by_key(|replica| replica.block.map(|block| block.block_id));
        replicas
    }

    /// Every volume with its room, for heartbeats.
    #[must_use]
    pub fn storages(&self) -> Vec<Storage> {
        self.volumes
            .iter()
            .map(|volume| {
                let room = if volume.is_failed() { None } else { volume.room().ok() };
                Storage {
                    storage_uuid: volume.storage_uuid().to_owned(),
                    capacity_bytes: room.map_or(0, |room| room.capacity),
                    used_bytes: room.map_or(0, |room| room.used),
                    remaining_bytes: room.map_or(0, |room| room.remaining),
                    failed: room.is_none(),
                }
            })
            .collect()
    }

    /// A volume with room for `bytes` (0: unknown), the one asked for if it will do, else in turn.
    fn choose_volume(&self, bytes: u64, wanted: Option<&str>) -> Result<Arc<Volume>, StoreError> {
        let needed = bytes.max(ROOM_FOR_UNKNOWN_BYTES);
        let fits = |volume: &&Arc<Volume>| {
            !volume.is_failed() && volume.room().is_ok_and(|room| room.remaining >= needed)
        };
        let asked_for = self.volumes.iter().find(|volume| Some(volume.storage_uuid()) == wanted);
        if let Some(volume) = asked_for.filter(fits) {
            return Ok(Arc::clone(volume));
        }
        let start = self.next_volume.fetch_add(1, Ordering::Relaxed) % self.volumes.len();
        let (before, after) = self.volumes.split_at(start);
        if let Some(volume) = after.iter().chain(before).find(fits) {
            return Ok(Arc::clone(volume));
        }
        let details: Vec<String> = self
            .volumes
            .iter()
            .map(|volume| match volume.room() {
                _ if volume.is_failed() => format!("{} has failed", volume.dir().display()),
                Ok(room) => format!("{} has {}", volume.dir().display(), room.remaining),
                Err(error) => error.to_string(),
            })
            .collect();
        Err(StoreError::NoSpace { needed, details: details.join(", ") })
    }

    /// Passes an error on; if it came from the disk, its volume will be tried and maybe given up.
    /// That happens on another thread, since the caller may hold a slot.
    pub fn noticed(&self, volume: &Arc<Volume>, error: StoreError) -> StoreError {
        if error.is_disk_fault() && !volume.is_failed() {
            self.suspects.lock().push(Arc::clone(volume));
            self.events.volume_suspect();
        }
        error
    }

    /// Tries the volumes that disk errors came from. The caller holds no slot.
    pub fn check_suspects(&self) {
        let mut suspects = std::mem::take(&mut *self.suspects.lock());
        suspects.sort_unstable_by_key(Arc::as_ptr);
        suspects.dedup_by_key(|volume| Arc::as_ptr(volume));
        suspects.iter().for_each(|volume| self.check_volume(volume));
    }

    /// Tries one volume and gives it up if it does not work. The caller holds no slot.
    pub fn check_volume(&self, volume: &Arc<Volume>) {
        match volume.check() {
            Err(error) if volume.set_failed() => {
                self.forget_volume(volume);
                self.events.volume_failed(volume.dir(), &error.to_string());
            }
            _ => {}
        }
    }

    /// Takes a failed volume back if it works again, with the replicas that it still has. True if
    /// it was taken back: then a block report is due.
    ///
    /// # Errors
    /// If it still does not work.
    pub fn retry_volume(&self, volume: &Arc<Volume>) -> Result<bool, StoreError> {
        if !volume.is_failed() {
            return Ok(false);
        }
        volume.check()?;
        volume.reset_used();
        let mut found = scan::scan(std::slice::from_ref(volume))?;
        let known = self.slots.read();
        found.replicas.retain(|(block, _)| !known.contains_key(block));
        drop(known);
        self.take_over(found);
        volume.set_healthy();
        Ok(true)
    }

    /// Forgets every replica of a volume that was given up. Their files stay.
    fn forget_volume(&self, volume: &Arc<Volume>) {
        let slots: Vec<Arc<Slot>> = self.slots.read().values().cloned().collect();
        let mut gone = Vec::new();
        for slot in slots {
            let mut state = slot.lock();
            if state.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.volume, volume)) {
                state.held = None;
                gone.push(slot.block());
            }
            drop(state);
            slot.notify();
        }
        gone.into_iter().for_each(|block| self.drop_empty(block));
    }

    /// Are there still enough working directories?
    ///
    /// # Errors
    /// A sentence that names every failed one.
    pub fn check_tolerated(&self) -> Result<(), StoreError> {
        let mut failed: Vec<String> =
            self.unusable.iter().map(|(dir, why)| format!("{} ({why})", dir.display())).collect();
        let given_up = self.volumes.iter().filter(|volume| volume.is_failed());
        failed.extend(given_up.map(|volume| volume.dir().display().to_string()));
        let all = self.volumes.len() + self.unusable.len();
        if failed.is_empty() || (failed.len() <= self.failed_tolerated && failed.len() < all) {
            return Ok(());
        }
        Err(StoreError::Directory(format!(
            "{} of {all} data directories have failed, and {} may: {}; repair or replace the disk, \
             or take the directory out of data-dirs",
            failed.len(),
            self.failed_tolerated,
            failed.join(", ")
        )))
    }

    /// Stops every writer: the datanode ends. What was acknowledged is found at the next start.
    pub fn stop_writers(&self) {
        let slots: Vec<Arc<Slot>> = self.slots.read().values().cloned().collect();
        for slot in slots {
            if let Some(writer) = &slot.lock().writer {
                writer.stop();
            }
        }
    }

    /// Deletes replicas on the namenode's word. One whose generation stamp is higher than the named
    /// one stays: the word was about an older replica. Answers how many are gone.
    pub fn invalidate(&self, blocks: &[Block]) -> usize {
        let gone = blocks.iter().filter(|block| match self.delete(block) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("blk_{} was not deleted: {error}", block.block_id);
                false
            }
        });
        gone.count()
    }

    fn delete(&self, named_block: &Block) -> Result<(), StoreError> {
        let block = BlockId(named_block.block_id);
        let slot = self.slot(block)?;
        let mut state = slot.lock_without_writer()?;
        let held = state.held.as_ref().ok_or(StoreError::NotFound(block))?;
        let have = held.replica.stamp();
        if have > GenStamp(named_block.generation_stamp) {
            return Err(StoreError::GenStamp {
                block,
                have,
                expected: format!("at most {}", named_block.generation_stamp),
            });
        }
        remove_files(held, block).map_err(|error| self.noticed(&held.volume, error))?;
        let removed = named(block, have, held.replica.on_disk());
        let volume = Arc::clone(&held.volume);
        state.held = None;
        drop(state);
        drop(slot);
        self.drop_empty(block);
        self.events.changed(Kind::Deleted, removed, volume.storage_uuid());
        Ok(())
    }
}

/// Removes a replica's files: the data first, since checksums without data are nothing.
fn remove_files(held: &Held, block: BlockId) -> Result<(), StoreError> {
    let files = held.files(block)?;
    let mut freed = 0;
    for path in [&files.data, &files.meta] {
        let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
        match fs::remove_file(path) {
            Ok(()) => freed += length,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("delete", path)(error)),
        }
    }
    held.volume.count_used(-i64::try_from(freed).unwrap_or(i64::MAX));
    Ok(())
}

type Owner = (String, String);

/// The cluster id and datanode uuid that all directories agree on.
fn same_owner(identities: &[(PathBuf, version::Identity)]) -> Result<Option<Owner>, StoreError> {
    let Some((first_dir, first)) = identities.first() else { return Ok(None) };
    for (index, (dir, identity)) in identities.iter().enumerate().skip(1) {
        let differs = |what: &str, one: &str, other: &str| {
            StoreError::Directory(format!(
                "{} has {what} {one}, but {} has {what} {other}: they don't belong together; \
                 nothing was changed: list only the directories of one datanode in data-dirs",
                first_dir.display(),
                dir.display()
            ))
        };
        if identity.cluster_id != first.cluster_id {
            return Err(differs("cluster id", &first.cluster_id, &identity.cluster_id));
        }
        if identity.datanode_uuid != first.datanode_uuid {
            return Err(differs("datanode uuid", &first.datanode_uuid, &identity.datanode_uuid));
        }
        let twin = identities[..index]
            .iter()
            .find(|(_, earlier)| earlier.storage_uuid == identity.storage_uuid);
        if let Some((twin_dir, _)) = twin {
            return Err(StoreError::Directory(format!(
                "{} and {} have the same storage id {}: one is a copy of the other; nothing was \
                 changed: take the copy out of data-dirs",
                twin_dir.display(),
                dir.display(),
                identity.storage_uuid
            )));
        }
    }
    Ok(Some((first.cluster_id.clone(), first.datanode_uuid.clone())))
}

#[cfg(test)]
mod tests;
