//! The way in: one writer puts packets of data and checksums into a replica's two files.
//!
//! Data is written before its checksums, and readers learn of bytes only after both are in the
//! operating system's hands. The CRC of a partial last chunk is carried along in memory, so that a
//! chunk that grows is never read back.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::transfer::checksum::{CHECKSUM_BYTES, ChecksumType, DataChecksum};

use super::chunks::ChunkFiles;
use super::error::StoreError;
use super::replica::{Place, Replica};
use super::slot::{Held, Slot, WriterControl};
use super::volume::Volume;
use super::{FsyncPolicy, Store, named};

/// What the threads of one writer share.
#[derive(Debug)]
pub struct WriteHandle {
    store: Arc<Store>,
    slot: Arc<Slot>,
    control: Arc<WriterControl>,
    volume: Arc<Volume>,
    files: ChunkFiles,
    /// True once the data was forced to the disk, and its directory with it.
    directory_synced: AtomicBool,
    /// What the volume has promised to this replica and is not written yet.
    promised: AtomicU64,
}

/// Why a packet was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The packet does not follow what is on disk, or its checksums have the wrong length.
    #[error("{0}")]
    Packet(String),
    /// The packet's data does not match its checksums.
    #[error("{0}")]
    Checksum(String),
    /// The store could not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The one writer of a replica. Dropping it leaves the replica as it is.
#[derive(Debug)]
pub struct ReplicaWriter {
    handle: Arc<WriteHandle>,
    /// How the packets that come are guarded.
    incoming: DataChecksum,
    on_disk: u64,
    /// CRC of the partial last chunk on disk, else 0.
    last_crc: u32,
    /// Reused for checksums that must be computed here.
    sums: Vec<u8>,
}

impl ReplicaWriter {
    /// The writer of the replica in `slot`, which has just been given to `control`.
    pub(super) fn new(
        store: Arc<Store>,
        slot: Arc<Slot>,
        control: Arc<WriterControl>,
        held: &Held,
        files: ChunkFiles,
        incoming: DataChecksum,
        promised: u64,
    ) -> Self {
        held.volume.promise(promised);
        Self {
            on_disk: held.replica.on_disk(),
            last_crc: held.replica.last_crc().unwrap_or(0),
            incoming,
            sums: Vec::new(),
            handle: Arc::new(WriteHandle {
                store,
                slot,
                control,
                volume: Arc::clone(&held.volume),
                files,
                directory_synced: AtomicBool::new(false),
                promised: AtomicU64::new(promised),
            }),
        }
    }

    /// What acks and the end of the block need; for another thread.
    #[must_use]
    pub fn handle(&self) -> Arc<WriteHandle> {
        Arc::clone(&self.handle)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn on_disk(&self) -> u64 {
        self.on_disk
    }

    /// Writes a packet's data and checksums. Bytes that are on disk already are skipped. The
    /// checksums are compared with the data if `verify`, or if they can't be stored as they are.
    ///
    /// # Errors
    /// [`WriteError`]; the replica is as before then, or longer by bytes that no reader sees.
    pub fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        sums: &[u8],
        verify: bool,
    ) -> Result<(), WriteError> {
        let end = offset + data.len() as u64;
        if offset > self.on_disk {
            return Err(WriteError::Packet(format!(
                "a packet begins at offset {offset} of blk_{}, but only {} bytes came before it",
                self.handle.slot.block(),
                self.on_disk
            )));
        }
        if data.is_empty() {
            return Ok(());
        }
        let disk = self.handle.files.checksum;
        let unsummed = sums.is_empty() && self.incoming.checksum_type != ChecksumType::Null;
        if !unsummed && sums.len() != self.incoming.sums_len_at(offset, data.len()) {
            return Err(WriteError::Packet(format!(
                "a packet of {} bytes at offset {offset} has {} bytes of checksums, not {}",
                data.len(),
                sums.len(),
                self.incoming.sums_len_at(offset, data.len())
            )));
        }
        let chunk_len = u64::from(disk.bytes_per_checksum());
        let from = self.on_disk;
        let as_they_are = !unsummed
            && self.incoming == disk
            && disk.checksum_type != ChecksumType::Null
            && offset == from
            && from.is_multiple_of(chunk_len);
        if !unsummed && (verify || !as_they_are) {
            self.incoming
                .verify_chunks(data, sums, offset)
                .map_err(|error| WriteError::Checksum(error.to_string()))?;
        }
        if end <= from {
            return Ok(());
        }
        let fresh = &data[(from - offset) as usize..];
        // The store must not go on for a writer that a recovery has stopped.
        if self.handle.control.is_stopped() {
            return Err(StoreError::Fenced(self.handle.slot.block()).into());
        }
        let computed = if as_they_are || disk.checksum_type == ChecksumType::Null {
            false
        } else {
            self.compute_sums(disk, from, fresh);
            true
        };
        let stored = if computed { &self.sums[..] } else { sums };
        self.handle.put(from, fresh, stored)?;
        self.on_disk = end;
        self.last_crc = match stored.last_chunk::<CHECKSUM_BYTES>() {
            Some(last) if !end.is_multiple_of(chunk_len) => u32::from_be_bytes(*last),
            _ => 0,
        };
        self.handle.wrote(from, end, self.last_crc)?;
        Ok(())
    }

    /// The checksums, as the disk wants them, of `fresh`, which follows the bytes on disk.
    fn compute_sums(&mut self, disk: DataChecksum, from: u64, fresh: &[u8]) {
        let chunk_len = u64::from(disk.bytes_per_checksum());
        let lead = from % chunk_len;
        let head_len = if lead == 0 { 0 } else { (chunk_len - lead).min(fresh.len() as u64) };
        let (head, body) = fresh.split_at(head_len as usize);
        self.sums.clear();
        if !head.is_empty() {
            let crc = disk.checksum_type.extend(self.last_crc, head);
            self.sums.extend_from_slice(&crc.to_be_bytes());
        }
        let at = self.sums.len();
        self.sums.resize(at + disk.sums_len(body.len()), 0);
        disk.compute_chunks(body, &mut self.sums[at..]);
    }

    /// A copy from another datanode has arrived whole: it becomes a complete replica, or one that
    /// a pipeline goes on with.
    ///
    /// # Errors
    /// If the writer was stopped, or the files can't be moved.
    pub fn finish_copy(self, as_rbw: bool) -> Result<(), StoreError> {
        let handle = self.handle();
        if as_rbw { handle.copy_to_rbw() } else { handle.finalize(false) }
    }

    /// Gives up: the replica is removed if it is a copy that did not arrive whole, or a new one that
    /// never got a byte.
    pub fn discard(self) {
        self.handle.discard();
        let handle = self.handle();
        drop(self);
        handle.store.drop_empty(handle.slot.block());
    }
}

impl Drop for ReplicaWriter {
    fn drop(&mut self) {
        self.handle.volume.release(self.handle.promised.swap(0, Ordering::Relaxed));
        self.handle.slot.detach(&self.handle.control);
    }
}

impl WriteHandle {
    /// The handle by which others stop this writer.
    #[must_use]
    pub fn control(&self) -> &Arc<WriterControl> {
        &self.control
    }

    /// Takes note that the rest of the pipeline has the bytes before `end`.
    pub fn acknowledge(&self, end: u64) {
        self.slot.acknowledge(end);
    }

    /// True if the whole chunks in `[start, end)` match their checksums on disk.
    #[must_use]
    pub fn matches(&self, start: u64, end: u64) -> bool {
        let checksum = self.files.checksum;
        let from = checksum.chunk_start(start);
        let to = checksum.chunk_start(end);
        if from >= to || checksum.checksum_type == ChecksumType::Null {
            return true;
        }
        let len = (to - from) as usize;
        let mut sums = vec![0; checksum.sums_len(len)];
        self.files
            .read_data(from, len)
            .and_then(|data| self.files.read_sums(from, &mut sums).map(|()| data))
            .is_ok_and(|data| checksum.verify_chunks(&data, &sums, from).is_ok())
    }

    fn put(&self, offset: u64, data: &[u8], sums: &[u8]) -> Result<(), StoreError> {
        let paths = &self.files.paths;
        let write = || {
            self.files
                .data
                .write_all_at(data, offset)
                .map_err(StoreError::io("write", &paths.data))?;
            self.files
                .meta
                .write_all_at(sums, self.files.checksum.meta_position(offset))
                .map_err(StoreError::io("write", &paths.meta))
        };
        write().map_err(|error| self.store.noticed(&self.volume, error))
    }

    fn wrote(&self, from: u64, end: u64, last_crc: u32) -> Result<(), StoreError> {
        let mut state = self.slot.lock_as_writer(&self.control)?;
        let held = state.held.as_mut().ok_or(StoreError::Fenced(self.slot.block()))?;
        held.replica.wrote(end, last_crc);
        drop(state);
        let grown = end - from;
        let sums = self.files.checksum.sums_len_at(from, grown as usize) as u64;
        self.volume.count_used(i64::try_from(grown + sums).unwrap_or(i64::MAX));
        let kept = |promised: u64| Some(promised.saturating_sub(grown));
        let before = self.promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, kept);
        self.volume.release(before.unwrap_or(0).min(grown));
        Ok(())
    }

    /// Forces everything written so far to the disk (hsync), as the policy says.
    ///
    /// # Errors
    /// If the disk refuses: then nothing may be acknowledged.
    pub fn sync(&self) -> Result<(), StoreError> {
        if self.store.fsync_policy() == FsyncPolicy::Never {
            return Ok(());
        }
        self.sync_files().map_err(|error| self.store.noticed(&self.volume, error))
    }

    fn sync_files(&self) -> Result<(), StoreError> {
        let paths = &self.files.paths;
        self.files.data.sync_data().map_err(StoreError::io("sync", &paths.data))?;
        self.files.meta.sync_data().map_err(StoreError::io("sync", &paths.meta))?;
        if !self.directory_synced.swap(true, Ordering::Relaxed)
            && let Some(dir) = paths.data.parent()
        {
            sync_dir(dir)?;
        }
        Ok(())
    }

    /// The block is complete: the files move to their final place, and the namenode is told.
    /// `durable` says that the client asked for it to be on the disk.
    ///
    /// # Errors
    /// If the writer was stopped, or the disk fails.
    pub fn finalize(&self, durable: bool) -> Result<(), StoreError> {
        let durable = match self.store.fsync_policy() {
            FsyncPolicy::Never => false,
            FsyncPolicy::OnHsync => durable,
            FsyncPolicy::OnClose => true,
        };
        if durable {
            self.sync_files().map_err(|error| self.store.noticed(&self.volume, error))?;
        }
        let block = self.slot.block();
        let mut state = self.slot.lock_as_writer(&self.control)?;
        let held = state.held.as_mut().ok_or(StoreError::Fenced(block))?;
        let complete = match &held.replica {
            Replica::Rbw(rbw) => rbw.clone().finalize(),
            Replica::Temporary(copy) => copy.clone().finalize(),
            other => {
                let state = other.state_name();
                return Err(StoreError::State { block, state, verb: "completed" });
            }
        };
        let target = move_files(held, block, Place::Finalized, complete.stamp)
            .and_then(|dir| if durable { sync_dir(&dir) } else { Ok(()) });
        target.map_err(|error| self.store.noticed(&self.volume, error))?;
        let report = named(block, complete.stamp, complete.len);
        held.replica = Replica::Finalized(complete);
        drop(state);
        self.slot.notify();
        self.store.events.changed(Kind::Received, report, self.volume.storage_uuid());
        Ok(())
    }

    fn copy_to_rbw(&self) -> Result<(), StoreError> {
        let block = self.slot.block();
        let mut state = self.slot.lock_as_writer(&self.control)?;
        let held = state.held.as_mut().ok_or(StoreError::Fenced(block))?;
        let Replica::Temporary(copy) = &held.replica else {
            let state = held.replica.state_name();
            return Err(StoreError::State { block, state, verb: "opened for writing" });
        };
        let rbw = copy.clone().into_rbw();
        move_files(held, block, Place::Rbw, rbw.stamp)
            .map_err(|error| self.store.noticed(&self.volume, error))?;
        let report = named(block, rbw.stamp, rbw.on_disk);
        held.replica = Replica::Rbw(rbw);
        drop(state);
        self.store.events.changed(Kind::Receiving, report, self.volume.storage_uuid());
        Ok(())
    }

    fn discard(&self) {
        let block = self.slot.block();
        let Ok(mut state) = self.slot.lock_as_writer(&self.control) else { return };
        let Some(held) = state.held.as_ref() else { return };
        let announced = match &held.replica {
            Replica::Temporary(_) => false,
            Replica::Rbw(rbw) if rbw.on_disk == 0 => true,
            _ => return,
        };
        if let Err(error) = super::remove_files(held, block) {
            tracing::warn!("the beginnings of blk_{block} stay until the next start: {error}");
            return;
        }
        let gone = named(block, held.replica.stamp(), 0);
        state.held = None;
        drop(state);
        if announced {
            self.store.events.changed(Kind::Deleted, gone, self.volume.storage_uuid());
        }
    }
}

/// Moves a replica's files to `place` under `stamp`: the data first, since the data's place is what
/// a restart goes by. Answers the directory.
pub(super) fn move_files(
    held: &Held,
    block: BlockId,
    place: Place,
    stamp: GenStamp,
) -> Result<PathBuf, StoreError> {
    let from = held.files(block)?;
    let to = held.volume.files(place, block, stamp)?;
    let dir = held.volume.place_dir(place, block)?;
    if from.data != to.data {
        match fs::rename(&from.data, &to.data) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !dir.exists() => {
                create_dir_durably(&dir)?;
                fs::rename(&from.data, &to.data)
            }
            other => other,
        }
        .map_err(StoreError::io("rename", &from.data))?;
    }
    if from.meta != to.meta
        && let Err(error) = fs::rename(&from.meta, &to.meta)
    {
        // Back to where the state says they are.
        if from.data != to.data {
            let _ = fs::rename(&to.data, &from.data);
        }
        return Err(StoreError::io("rename", &from.meta)(error));
    }
    Ok(dir)
}

/// Makes a directory and its parents so that they outlive a power failure: a replica that is forced
/// to the disk must be found again.
pub(super) fn create_dir_durably(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dir_durably(parent)?;
        match fs::create_dir(dir) {
            // Another block's writer was faster.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(StoreError::io("create", dir))?,
        }
        sync_dir(parent)?;
    }
    Ok(())
}

/// Forces a directory's entries to the disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))
}
