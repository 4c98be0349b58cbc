//! The life of a replica, as a pure state machine. The states are HDFS's `ReplicaState`.
//!
//! ```text
//!   create ───────────► Rbw ◄──────────── append ──┐
//!                       │ │ ▲                      │
//!                       │ │ └─ pipeline recovery   │
//!                       │ └──── last packet ───► Finalized ◄─────────────┐
//!                       │                          │ ▲                   │
//!   copy arrives ─► Temporary ── whole ────────────┼─┘                   │
//!                       └─ copy of an Rbw ─► Rbw   │                     │
//!                                                  │                     │
//!   restart: an Rbw on disk ► WaitingToBeRecovered │                     │
//!                                     │            │                     │
//!                Rbw ─────────────────┴──────┬─────┘                     │
//!                                            ▼ init recovery             │
//!                                      UnderRecovery ── finish recovery ─┘
//! ```
//!
//! Each state is a struct with only the fields that state has; a transition consumes the old one.
//! `check_*` functions say beforehand whether a transition is allowed, so that the store can do the
//! disk work in between and leave the old state in place when the disk says no.

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::datanode::ReplicaState;

use super::error::StoreError;

/// A copy that is arriving from another datanode. Readers and reports don't see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    /// Its generation stamp.
    pub stamp: GenStamp,
    /// Bytes in the data file.
    pub on_disk: u64,
    /// CRC of the last chunk if that chunk is partial, else 0.
    pub last_crc: u32,
}

/// A replica being written by a client's pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rbw {
    /// Its generation stamp.
    pub stamp: GenStamp,
    /// Bytes in the data file.
    pub on_disk: u64,
    /// CRC of the last chunk if that chunk is partial, else 0. The checksum file is written after
    /// the data file; readers take the last CRC from here, so they never see one without the other.
    pub last_crc: u32,
    /// Bytes that the whole rest of the pipeline has acknowledged: what a new reader may see.
    /// `acked <= on_disk` always.
    pub acked: u64,
}

/// A complete replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalized {
    /// Its generation stamp.
    pub stamp: GenStamp,
    /// Its bytes.
    pub len: u64,
}

/// Was being written when the datanode stopped. Its length is what the last good chunk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingToBeRecovered {
    /// Its generation stamp.
    pub stamp: GenStamp,
    /// Bytes that match their checksums.
    pub len: u64,
}

/// What a recovery started from: nothing on disk changes until it finishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovering {
    /// The pipeline died.
    Rbw(Rbw),
    /// This node had finished, others maybe not.
    Finalized(Finalized),
    /// The datanode was restarted.
    WaitingToBeRecovered(WaitingToBeRecovered),
}

/// The namenode is agreeing on a length with every holder of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderRecovery {
    /// Which recovery: also the generation stamp the block will have.
    pub recovery_id: GenStamp,
    /// What it was before, and still is on disk.
    pub original: Recovering,
}

/// A replica in one of its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replica {
    /// See [`Temporary`].
    Temporary(Temporary),
    /// See [`Rbw`].
    Rbw(Rbw),
    /// See [`Finalized`].
    Finalized(Finalized),
    /// See [`UnderRecovery`].
    UnderRecovery(UnderRecovery),
    /// See [`WaitingToBeRecovered`].
    WaitingToBeRecovered(WaitingToBeRecovered),
}

/// Which of the block pool's directories a replica's files lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `tmp`.
    Tmp,
    /// `current/rbw`.
    Rbw,
    /// `current/finalized/subdirN/subdirM`.
    Finalized,
}

impl Temporary {
    /// An empty copy.
    #[must_use]
    pub fn new(stamp: GenStamp) -> Self {
        Self { stamp, on_disk: 0, last_crc: 0 }
    }

    /// The copy of a complete replica is complete.
    #[must_use]
    pub fn finalize(self) -> Finalized {
        Finalized { stamp: self.stamp, len: self.on_disk }
    }

    /// The copy of a replica being written has arrived: a pipeline will go on with it. All its
    /// bytes count as acked, as the client asked for at most what every survivor had.
    #[must_use]
    pub fn into_rbw(self) -> Rbw {
        Rbw {
            stamp: self.stamp,
            on_disk: self.on_disk,
            last_crc: self.last_crc,
            acked: self.on_disk,
        }
    }
}

impl Rbw {
    /// An empty replica.
    #[must_use]
    pub fn new(stamp: GenStamp) -> Self {
        Self { stamp, on_disk: 0, last_crc: 0, acked: 0 }
    }

    /// The pipeline acknowledged everything before `end`.
    pub fn acknowledge(&mut self, end: u64) {
        self.acked = self.acked.max(end.min(self.on_disk));
    }

    /// The last packet was acknowledged.
    #[must_use]
    pub fn finalize(self) -> Finalized {
        Finalized { stamp: self.stamp, len: self.on_disk }
    }

    /// May a new pipeline with `asked` go on with this replica? Answers the length to cut to (HDFS
    /// `FsDatasetImpl.recoverRbw`).
    ///
    /// # Errors
    /// If the stamp or the length is out of the range that the client names.
    pub fn check_recover(&self, asked: &PipelineRecovery) -> Result<u64, StoreError> {
        asked.check_stamp(self.stamp)?;
        if self.acked < asked.min_bytes || self.acked > asked.max_bytes {
            return Err(StoreError::Length {
                block: asked.block,
                have: self.acked,
                expected: format!("{} to {} acked bytes", asked.min_bytes, asked.max_bytes),
            });
        }
        Ok(self.acked)
    }

    /// Goes on in a new pipeline: the unacked tail is cut, the client sends it again.
    #[must_use]
    pub fn recover(self, stamp: GenStamp, last_crc: u32) -> Self {
        Self { stamp, on_disk: self.acked, last_crc, acked: self.acked }
    }
}

impl Finalized {
    /// May a client append to this replica, of which it believes that it has `expected_len` bytes?
    ///
    /// # Errors
    /// If the stamp is out of range or the length another.
    pub fn check_append(&self, asked: &PipelineRecovery) -> Result<(), StoreError> {
        asked.check_stamp(self.stamp)?;
        if self.len < asked.min_bytes || self.len > asked.max_bytes {
            return Err(StoreError::Length {
                block: asked.block,
                have: self.len,
                expected: asked.range(),
            });
        }
        Ok(())
    }

    /// Opens the replica for more bytes. What it has is acked.
    #[must_use]
    pub fn append(self, stamp: GenStamp, last_crc: u32) -> Rbw {
        Rbw { stamp, on_disk: self.len, last_crc, acked: self.len }
    }
}

/// What a client says when it sets up a pipeline on replicas that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineRecovery {
    /// The block.
    pub block: BlockId,
    /// The stamp the client knows: the replica's may not be lower.
    pub stamp: GenStamp,
    /// The stamp the replica will have: the replica's may not be higher.
    pub new_stamp: GenStamp,
    /// Bytes that were acknowledged to the client: no replica may have fewer.
    pub min_bytes: u64,
    /// Bytes that the client sent: no replica can have more.
    pub max_bytes: u64,
}

impl PipelineRecovery {
    fn check_stamp(&self, have: GenStamp) -> Result<(), StoreError> {
        if have < self.stamp || have > self.new_stamp {
            return Err(StoreError::GenStamp {
                block: self.block,
                have,
                expected: format!("one from {} to {}", self.stamp, self.new_stamp),
            });
        }
        Ok(())
    }

    fn range(&self) -> String {
        if self.min_bytes == self.max_bytes {
            self.min_bytes.to_string()
        } else {
            format!("{} to {}", self.min_bytes, self.max_bytes)
        }
    }
}

impl Recovering {
    fn stamp(&self) -> GenStamp {
        match self {
            Self::Rbw(rbw) => rbw.stamp,
            Self::Finalized(finalized) => finalized.stamp,
            Self::WaitingToBeRecovered(waiting) => waiting.stamp,
        }
    }

    fn on_disk(&self) -> u64 {
        match self {
            Self::Rbw(rbw) => rbw.on_disk,
            Self::Finalized(finalized) => finalized.len,
            Self::WaitingToBeRecovered(waiting) => waiting.len,
        }
    }
}

impl UnderRecovery {
    /// May this recovery end with `length` bytes?
    ///
    /// # Errors
    /// If another recovery has taken over, or the replica is shorter.
    pub fn check_finish(
        &self,
        block: BlockId,
        recovery_id: GenStamp,
        length: u64,
    ) -> Result<(), StoreError> {
        if self.recovery_id != recovery_id {
            return Err(StoreError::RecoverySuperseded {
                block,
                have: self.recovery_id,
                asked: recovery_id,
            });
        }
        let have = self.original.on_disk();
        if length > have {
            return Err(StoreError::Length { block, have, expected: format!("at least {length}") });
        }
        Ok(())
    }

    /// Ends the recovery: complete, with the recovery's stamp.
    #[must_use]
    pub fn finish(self, length: u64) -> Finalized {
        Finalized { stamp: self.recovery_id, len: length }
    }
}

impl Replica {
    /// Its generation stamp; of a recovery, that of the files on disk.
    #[must_use]
    pub fn stamp(&self) -> GenStamp {
        match self {
            Self::Temporary(temporary) => temporary.stamp,
            Self::Rbw(rbw) => rbw.stamp,
            Self::Finalized(finalized) => finalized.stamp,
            Self::UnderRecovery(recovery) => recovery.original.stamp(),
            Self::WaitingToBeRecovered(waiting) => waiting.stamp,
        }
    }

    /// Bytes in the data file.
    #[must_use]
    pub fn on_disk(&self) -> u64 {
        match self {
            Self::Temporary(temporary) => temporary.on_disk,
            Self::Rbw(rbw) => rbw.on_disk,
            Self::Finalized(finalized) => finalized.len,
            Self::UnderRecovery(recovery) => recovery.original.on_disk(),
            Self::WaitingToBeRecovered(waiting) => waiting.len,
        }
    }

    /// Bytes that a reader may be told about; `None` for a state that is not read from.
    #[must_use]
    pub fn visible(&self) -> Option<u64> {
        match self {
            Self::Temporary(_) => None,
            Self::Rbw(rbw) => Some(rbw.acked),
            Self::Finalized(finalized) => Some(finalized.len),
            Self::UnderRecovery(recovery) => match &recovery.original {
                Recovering::Rbw(rbw) => Some(rbw.acked),
                Recovering::Finalized(finalized) => Some(finalized.len),
                Recovering::WaitingToBeRecovered(_) => None,
            },
            Self::WaitingToBeRecovered(_) => None,
        }
    }

    /// CRC of a partial last chunk, for states that know it better than the checksum file.
    #[must_use]
    pub fn last_crc(&self) -> Option<u32> {
        match self {
            Self::Temporary(temporary) => Some(temporary.last_crc),
            Self::Rbw(rbw) => Some(rbw.last_crc),
            Self::UnderRecovery(UnderRecovery { original: Recovering::Rbw(rbw), .. }) => {
                Some(rbw.last_crc)
            }
            _ => None,
        }
    }

    /// HDFS's name of the state.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self {
            Self::Temporary(_) => "TEMPORARY",
            Self::Rbw(_) => "RBW",
            Self::Finalized(_) => "FINALIZED",
            Self::UnderRecovery(_) => "RUR",
            Self::WaitingToBeRecovered(_) => "RWR",
        }
    }

    /// How a block report names the state; a temporary replica is not reported.
    #[must_use]
    pub fn reported(&self) -> Option<ReplicaState> {
        match self {
            Self::Temporary(_) => None,
            Self::Rbw(_) => Some(ReplicaState::Rbw),
            Self::Finalized(_) => Some(ReplicaState::Finalized),
            Self::UnderRecovery(_) => Some(ReplicaState::Rur),
            Self::WaitingToBeRecovered(_) => Some(ReplicaState::Rwr),
        }
    }

    /// Where its files lie.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Temporary(_) => Place::Tmp,
            Self::Rbw(_) | Self::WaitingToBeRecovered(_) => Place::Rbw,
            Self::Finalized(_) => Place::Finalized,
            Self::UnderRecovery(recovery) => match recovery.original {
                Recovering::Finalized(_) => Place::Finalized,
                Recovering::Rbw(_) | Recovering::WaitingToBeRecovered(_) => Place::Rbw,
            },
        }
    }

    /// Takes note of bytes that a writer put on disk: the data file now ends at `end`.
    pub fn wrote(&mut self, end: u64, crc: u32) {
        match self {
            Self::Temporary(temporary) => {
                temporary.on_disk = end;
                temporary.last_crc = crc;
            }
            Self::Rbw(rbw) => {
                rbw.on_disk = end;
                rbw.last_crc = crc;
            }
            Self::Finalized(_) | Self::UnderRecovery(_) | Self::WaitingToBeRecovered(_) => {}
        }
    }

    /// May recovery `recovery_id` of the block start on this replica (HDFS
    /// `FsDatasetImpl.initReplicaRecovery`)?
    ///
    /// # Errors
    /// If the replica is older than the block, newer than the recovery, or a newer recovery runs.
    pub fn check_init_recovery(
        &self,
        block: BlockId,
        stamp: GenStamp,
        recovery_id: GenStamp,
    ) -> Result<(), StoreError> {
        if matches!(self, Self::Temporary(_)) {
            return Err(StoreError::State {
                block,
                state: self.state_name(),
                verb: "recovered: the copy is incomplete",
            });
        }
        if let Self::UnderRecovery(recovery) = self
            && recovery.recovery_id > recovery_id
        {
            return Err(StoreError::RecoverySuperseded {
                block,
                have: recovery.recovery_id,
                asked: recovery_id,
            });
        }
        let have = self.stamp();
        if have < stamp {
            return Err(StoreError::GenStamp {
                block,
                have,
                expected: format!("{stamp} or a higher one"),
            });
        }
        if have >= recovery_id {
            return Err(StoreError::GenStamp {
                block,
                have,
                expected: format!("one below recovery {recovery_id}"),
            });
        }
        Ok(())
    }

    /// Starts a recovery; a running one is taken over. A temporary replica stays as it is:
    /// [`Self::check_init_recovery`] refuses it.
    #[must_use]
    pub fn init_recovery(self, recovery_id: GenStamp) -> Self {
        let original = match self {
            Self::Temporary(_) => return self,
            Self::Rbw(rbw) => Recovering::Rbw(rbw),
            Self::Finalized(finalized) => Recovering::Finalized(finalized),
            Self::WaitingToBeRecovered(waiting) => Recovering::WaitingToBeRecovered(waiting),
            Self::UnderRecovery(recovery) => recovery.original,
        };
        Self::UnderRecovery(UnderRecovery { recovery_id, original })
    }
}

#[cfg(test)]
mod tests;
