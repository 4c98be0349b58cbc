//! How a writer gets hold of a replica: a new one, an arriving copy, an append, a pipeline that was
//! rebuilt after a node died.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::transfer::checksum::DataChecksum;

use super::chunks::ChunkFiles;
use super::error::StoreError;
use super::replica::{Finalized, PipelineRecovery, Place, Rbw, Replica, Temporary};
use super::slot::{Held, Slot, SlotState, WriterControl};
use super::volume::Volume;
use super::writer::{ReplicaWriter, move_files};
use super::{Store, named};

/// A replica that is to be made.
#[derive(Debug, Clone)]
pub struct NewReplica<'a> {
    /// The block.
    pub block: BlockId,
    /// Its generation stamp.
    pub stamp: GenStamp,
    /// The size it may reach, bytes; 0 if nobody knows.
    pub expected_bytes: u64,
    /// The storage that the namenode had in mind.
    pub storage_uuid: Option<&'a str>,
    /// How the packets are guarded, and the replica will be.
    pub checksum: DataChecksum,
    /// True for a copy from another datanode, which nobody sees until it is whole.
    pub copy: bool,
}

impl Store {
    /// Makes an empty replica and its writer.
    ///
    /// # Errors
    /// If there is one already, no volume has room, or the disk fails.
    pub fn create(self: &Arc<Self>, new: &NewReplica<'_>) -> Result<ReplicaWriter, StoreError> {
        loop {
            let slot = self.slot_or_new(new.block);
            match self.create_in(&slot, new) {
                Ok(Some(writer)) => return Ok(writer),
                // The slot was forgotten between the two lines above.
                Ok(None) => {}
                Err(error) => {
                    self.drop_empty(new.block);
                    return Err(error);
                }
            }
        }
    }

    fn create_in(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        new: &NewReplica<'_>,
    ) -> Result<Option<ReplicaWriter>, StoreError> {
        let block = new.block;
        let exists = |replica: &Replica| StoreError::Exists {
            block,
            state: replica.state_name(),
            have: replica.stamp(),
        };
        let mut state = slot.lock();
        if matches!(&state.held, Some(Held { replica: Replica::Temporary(_), .. })) {
            // The source of an earlier copy may have died; a newer try takes its place.
            drop(state);
            state = slot.lock_without_writer()?;
            if let Some(held) = state.held.take_if(|h| matches!(h.replica, Replica::Temporary(_))) {
                super::remove_files(&held, block)?;
            }
        }
        if state.forgotten {
            return Ok(None);
        }
        if let Some(held) = &state.held {
            return Err(exists(&held.replica));
        }
        let volume = self.choose_volume(new.expected_bytes, new.storage_uuid)?;
        let (place, replica) = if new.copy {
            (Place::Tmp, Replica::Temporary(Temporary::new(new.stamp)))
        } else {
            (Place::Rbw, Replica::Rbw(Rbw::new(new.stamp)))
        };
        let files =
            make_files(&volume, place, new).map_err(|error| self.noticed(&volume, error))?;
        let header = hfs_protocol::transfer::checksum::META_HEADER_BYTES as i64;
        volume.count_used(header);
        let held = Held { replica, volume };
        let writer = self.attach(slot, &mut state, held, files, new.checksum, new.expected_bytes);
        let storage = state.held.as_ref().map(|held| held.volume.storage_uuid().to_owned());
        drop(state);
        if let (false, Some(storage)) = (new.copy, storage) {
            self.events.changed(Kind::Receiving, named(block, new.stamp, 0), &storage);
        }
        Ok(Some(writer))
    }

    fn attach(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        state: &mut SlotState,
        held: Held,
        files: ChunkFiles,
        incoming: DataChecksum,
        promised: u64,
    ) -> ReplicaWriter {
        let control = Arc::new(WriterControl::default());
        let writer = ReplicaWriter::new(
            Arc::clone(self),
            Arc::clone(slot),
            Arc::clone(&control),
            &held,
            files,
            incoming,
            promised,
        );
        state.held = Some(held);
        state.writer = Some(control);
        writer
    }

    /// Opens a complete replica for more bytes (stage PIPELINE_SETUP_APPEND).
    ///
    /// # Errors
    /// If the replica is not complete, not of this stamp and length, or damaged in the chunk that
    /// would grow.
    pub fn append(
        self: &Arc<Self>,
        asked: &PipelineRecovery,
        incoming: DataChecksum,
        expected_bytes: u64,
    ) -> Result<ReplicaWriter, StoreError> {
        let slot = self.slot(asked.block)?;
        let mut state = slot.lock();
        match state.held.as_ref().map(|held| &held.replica) {
            Some(Replica::Finalized(_)) => {}
            Some(other) => {
                let (block, state) = (asked.block, other.state_name());
                return Err(StoreError::State { block, state, verb: "appended to" });
            }
            None => return Err(StoreError::NotFound(asked.block)),
        }
        self.reopen(&slot, &mut state, asked, incoming, expected_bytes)
    }

    /// Goes on with a replica in a new pipeline (stages PIPELINE_SETUP_APPEND_RECOVERY and
    /// PIPELINE_SETUP_STREAMING_RECOVERY). An old writer is stopped first. A replica that this node
    /// had completed, because it acked the last packet and another node did not, is opened again.
    ///
    /// # Errors
    /// If the replica's stamp or length is out of the range, its old writer does not stop, or the
    /// disk fails.
    pub fn recover(
        self: &Arc<Self>,
        asked: &PipelineRecovery,
        incoming: DataChecksum,
        expected_bytes: u64,
    ) -> Result<ReplicaWriter, StoreError> {
        let slot = self.slot(asked.block)?;
        let mut state = slot.lock_without_writer()?;
        self.reopen(&slot, &mut state, asked, incoming, expected_bytes)
    }

    fn reopen(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        state: &mut SlotState,
        asked: &PipelineRecovery,
        incoming: DataChecksum,
        expected_bytes: u64,
    ) -> Result<ReplicaWriter, StoreError> {
        let block = asked.block;
        let held = state.held.as_ref().ok_or(StoreError::NotFound(block))?;
        let volume = Arc::clone(&held.volume);
        let rbw = match &held.replica {
            Replica::Finalized(finalized) => {
                finalized.check_append(asked)?;
                self.open_finalized(held, finalized.clone(), asked)
            }
            Replica::Rbw(rbw) => {
                let keep = rbw.check_recover(asked)?;
                open_rbw(held, rbw.clone(), keep, asked)
            }
            other => {
                let state = other.state_name();
                return Err(StoreError::State { block, state, verb: "written to" });
            }
        }
        .map_err(|error| self.noticed(&volume, error))?;
        let on_disk = rbw.on_disk;
        let files = volume
            .files(Place::Rbw, block, asked.new_stamp)
            .and_then(|paths| ChunkFiles::open(paths, true))
            .map_err(|error| self.noticed(&volume, error));
        let held = Held { replica: Replica::Rbw(rbw), volume };
        let files = match files {
            Ok(files) => files,
            Err(error) => {
                // The files have moved already: the state follows them.
                state.held = Some(held);
                return Err(error);
            }
        };
        let storage = held.volume.storage_uuid().to_owned();
        let promised = expected_bytes.saturating_sub(on_disk);
        let writer = self.attach(slot, state, held, files, incoming, promised);
        self.events.changed(Kind::Receiving, named(block, asked.new_stamp, on_disk), &storage);
        Ok(writer)
    }

    fn open_finalized(
        &self,
        held: &Held,
        finalized: Finalized,
        asked: &PipelineRecovery,
    ) -> Result<Rbw, StoreError> {
        let block = asked.block;
        let files = ChunkFiles::open(held.files(block)?, false)?;
        let Some(last_crc) = files.checked_last_crc(finalized.len)? else {
            let reason = "its last chunk does not match its checksum".to_owned();
            self.events.bad(named(block, finalized.stamp, finalized.len), &reason);
            return Err(StoreError::Corrupt { block, reason });
        };
        move_files(held, block, Place::Rbw, asked.new_stamp)?;
        Ok(finalized.append(asked.new_stamp, last_crc))
    }

    /// Completes a replica whose writer had sent everything but got no answer to the last packet
    /// (stage PIPELINE_CLOSE_RECOVERY).
    ///
    /// # Errors
    /// If the replica's stamp or length is not as the client says, or the disk fails.
    pub fn recover_close(&self, asked: &PipelineRecovery) -> Result<(), StoreError> {
        let block = asked.block;
        let slot = self.slot(block)?;
        let mut state = slot.lock_without_writer()?;
        let held = state.held.as_mut().ok_or(StoreError::NotFound(block))?;
        let complete = match &held.replica {
            Replica::Finalized(finalized) => {
                finalized.check_append(asked)?;
                Finalized { stamp: asked.new_stamp, len: finalized.len }
            }
            Replica::Rbw(rbw) => {
                // No packet follows, so what was sent but not acked counts if it is all here.
                let mut whole = rbw.clone();
                whole.acknowledge(rbw.on_disk);
                whole.check_recover(asked)?;
                if rbw.on_disk != asked.max_bytes {
                    return Err(StoreError::Length {
                        block,
                        have: rbw.on_disk,
                        expected: asked.max_bytes.to_string(),
                    });
                }
                Finalized { stamp: asked.new_stamp, len: rbw.on_disk }
            }
            other => {
                let state = other.state_name();
                return Err(StoreError::State { block, state, verb: "completed" });
            }
        };
        drop_unfinished(held, block)
            .and_then(|()| move_files(held, block, Place::Finalized, asked.new_stamp))
            .map_err(|error| self.noticed(&held.volume, error))?;
        let report = named(block, complete.stamp, complete.len);
        held.replica = Replica::Finalized(complete);
        let storage = held.volume.storage_uuid().to_owned();
        drop(state);
        slot.notify();
        self.events.changed(Kind::Received, report, &storage);
        Ok(())
    }
}

/// A writer that was stopped in the middle of a packet, or whose disk was full, leaves files that
/// are longer than the replica: a replica that is to be complete must not keep that tail.
pub(super) fn drop_unfinished(held: &Held, block: BlockId) -> Result<(), StoreError> {
    let Some(last_crc) = held.replica.last_crc() else { return Ok(()) };
    ChunkFiles::open(held.files(block)?, true)?.drop_unfinished(held.replica.on_disk(), last_crc)
}

/// Cuts a replica being written to what was acked, and gives it the new stamp.
fn open_rbw(held: &Held, rbw: Rbw, keep: u64, asked: &PipelineRecovery) -> Result<Rbw, StoreError> {
    let files = ChunkFiles::open(held.files(asked.block)?, true)?;
    files.drop_unfinished(rbw.on_disk, rbw.last_crc)?;
    let last_crc = if keep == rbw.on_disk { rbw.last_crc } else { files.cut(rbw.on_disk, keep)? };
    move_files(held, asked.block, Place::Rbw, asked.new_stamp)?;
    Ok(rbw.recover(asked.new_stamp, last_crc))
}

fn make_files(
    volume: &Arc<Volume>,
    place: Place,
    new: &NewReplica<'_>,
) -> Result<ChunkFiles, StoreError> {
    use std::io::Write as _;
    let paths = volume.files(place, new.block, new.stamp)?;
    let create = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // In rbw a file that nobody knows of may be somebody's bytes; in tmp it can't be.
        if new.copy {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        options.open(path).map_err(StoreError::io("create", path))
    };
    let data = create(&paths.data)?;
    let meta = create(&paths.meta).and_then(|mut meta| {
        let written = meta.write_all(&new.checksum.encode_meta_header());
        written.map_err(StoreError::io("write", &paths.meta)).map(|()| meta)
    });
    match meta {
        Ok(meta) => Ok(ChunkFiles { data, meta, checksum: new.checksum, paths }),
        Err(error) => {
            // Both are new and empty.
            let _ = fs::remove_file(&paths.data);
            let _ = fs::remove_file(&paths.meta);
            Err(error)
        }
    }
}
