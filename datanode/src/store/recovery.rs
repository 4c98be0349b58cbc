//! Lease recovery: the namenode agrees with the holders of a replica on its length after the
//! client that wrote it has gone.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::proto::datanode::{Block, ReplicaState};

use super::chunks::ChunkFiles;
use super::error::StoreError;
use super::layout::ReplicaFiles;
use super::pipeline::drop_unfinished;
use super::replica::{Place, Recovering, Replica};
use super::slot::Held;
use super::writer::{move_files, sync_dir};
use super::{FsyncPolicy, Store, named};

/// Data is copied in steps of this size when a complete replica must become shorter.
const COPY_STEP_BYTES: u64 = 1 << 20;

/// What a replica has to offer to a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoverableReplica {
    /// Its stamp and length on disk.
    pub block: Block,
    /// The state it was in.
    pub state: ReplicaState,
}

impl Store {
    /// First step: stops the writer and answers what is here. Nothing on disk changes (HDFS
    /// `initReplicaRecovery`).
    ///
    /// # Errors
    /// If there is no replica, it is older than `stamp`, or a newer recovery runs.
    pub fn init_recovery(
        &self,
        block: BlockId,
        stamp: GenStamp,
        recovery_id: GenStamp,
    ) -> Result<RecoverableReplica, StoreError> {
        let slot = self.slot(block)?;
        slot.held()?.replica.check_init_recovery(block, stamp, recovery_id)?;
        let mut state = slot.lock_without_writer()?;
        let held = state.held.as_mut().ok_or(StoreError::NotFound(block))?;
        held.replica.check_init_recovery(block, stamp, recovery_id)?;
        let offered = named(block, held.replica.stamp(), held.replica.on_disk());
        let original = match &held.replica {
            Replica::UnderRecovery(recovery) => match recovery.original {
                Recovering::Rbw(_) => ReplicaState::Rbw,
                Recovering::Finalized(_) => ReplicaState::Finalized,
                Recovering::WaitingToBeRecovered(_) => ReplicaState::Rwr,
            },
            other => other.reported().unwrap_or(ReplicaState::Rur),
        };
        held.replica = held.replica.clone().init_recovery(recovery_id);
        drop(state);
        slot.notify();
        Ok(RecoverableReplica { block: offered, state: original })
    }

    /// Second step: the replica gets the agreed length and the recovery's stamp, and is complete
    /// (HDFS `updateReplicaUnderRecovery`). Doing it twice is fine. Answers the storage it lies on.
    ///
    /// # Errors
    /// If another recovery has taken over, the replica is shorter, or the disk fails.
    pub fn finish_recovery(
        &self,
        block: BlockId,
        recovery_id: GenStamp,
        length: u64,
    ) -> Result<String, StoreError> {
        let slot = self.slot(block)?;
        let mut state = slot.lock();
        let held = state.held.as_mut().ok_or(StoreError::NotFound(block))?;
        let storage = held.volume.storage_uuid().to_owned();
        let recovery = match &held.replica {
            Replica::Finalized(done) if done.stamp == recovery_id && done.len == length => {
                return Ok(storage);
            }
            Replica::UnderRecovery(recovery) => recovery.clone(),
            other => {
                let state = other.state_name();
                return Err(StoreError::State { block, state, verb: "recovered: not begun" });
            }
        };
        recovery.check_finish(block, recovery_id, length)?;
        let durable = self.fsync_policy() == FsyncPolicy::OnClose;
        complete(held, block, recovery_id, length, durable)
            .map_err(|error| self.noticed(&held.volume, error))?;
        held.replica = Replica::Finalized(recovery.finish(length));
        drop(state);
        slot.notify();
        self.events.changed(Kind::Received, named(block, recovery_id, length), &storage);
        Ok(storage)
    }
}

/// Brings the files to `length` and `stamp` in the place of complete replicas.
fn complete(
    held: &mut Held,
    block: BlockId,
    stamp: GenStamp,
    length: u64,
    durable: bool,
) -> Result<(), StoreError> {
    let have = held.replica.on_disk();
    drop_unfinished(held, block)?;
    let dir = if length < have && held.replica.place() == Place::Finalized {
        replace_by_shorter(held, block, stamp, length)?
    } else {
        if length < have {
            let files = ChunkFiles::open(held.files(block)?, true)?;
            files.cut(have, length)?;
            held.volume.count_used(-i64::try_from(have - length).unwrap_or(i64::MAX));
        }
        move_files(held, block, Place::Finalized, stamp)?
    };
    if durable { sync_dir(&dir) } else { Ok(()) }
}

/// A complete replica may be mapped by clients, for whom bytes that vanish are fatal: it is not
/// cut, a shorter copy takes its place.
fn replace_by_shorter(
    held: &Held,
    block: BlockId,
    stamp: GenStamp,
    length: u64,
) -> Result<std::path::PathBuf, StoreError> {
    let old = ChunkFiles::open(held.files(block)?, false)?;
    let copy_at = held.volume.files(Place::Tmp, block, stamp)?;
    fs::copy(&old.paths.meta, &copy_at.meta).map_err(StoreError::io("copy", &old.paths.meta))?;
    copy_data(&old, &copy_at.data)?;
    let have = held.replica.on_disk();
    ChunkFiles::open(copy_at.clone(), true)?.cut(have, length)?;
    let to: ReplicaFiles = held.volume.files(Place::Finalized, block, stamp)?;
    let dir = held.volume.place_dir(Place::Finalized, block)?;
    fs::rename(&copy_at.meta, &to.meta).map_err(StoreError::io("rename", &copy_at.meta))?;
    fs::rename(&copy_at.data, &to.data).map_err(StoreError::io("rename", &copy_at.data))?;
    fs::remove_file(&old.paths.meta).map_err(StoreError::io("delete", &old.paths.meta))?;
    held.volume.count_used(-i64::try_from(have - length).unwrap_or(i64::MAX));
    Ok(dir)
}

fn copy_data(old: &ChunkFiles, to: &Path) -> Result<(), StoreError> {
    let out = fs::File::create(to).map_err(StoreError::io("create", to))?;
    let len = old.data_len()?;
    let mut offset = 0;
    while offset < len {
        let step = COPY_STEP_BYTES.min(len - offset);
        let bytes = old.read_data(offset, step as usize)?;
        out.write_all_at(&bytes, offset).map_err(StoreError::io("write", to))?;
        offset += step;
    }
    Ok(())
}
