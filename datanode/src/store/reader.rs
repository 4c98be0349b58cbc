//! A replica opened for reading: a fixed view, whatever happens to the replica meanwhile.

use std::io;
use std::sync::Arc;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::transfer::checksum::{CHECKSUM_BYTES, ChecksumType, DataChecksum};

use super::chunks::ChunkFiles;
use super::error::StoreError;
use super::volume::Volume;
use super::{Store, named};
use crate::store::replica::Replica;

/// How many bytes of data one step of a whole-replica verification reads.
const VERIFY_STEP_BYTES: u64 = 1 << 20;

/// An open replica. Bytes before `end` do not change under it: writers only append, recoveries
/// that shorten a complete replica make new files.
#[derive(Debug)]
pub struct ReplicaReader {
    /// The block.
    pub block: BlockId,
    /// The replica's generation stamp.
    pub stamp: GenStamp,
    /// Where it lies.
    pub volume: Arc<Volume>,
    /// Bytes on disk when it was opened: where the last checksum below ends.
    pub end: u64,
    /// Bytes that a reader may ask for.
    pub visible: u64,
    /// True if it is complete.
    pub finalized: bool,
    files: ChunkFiles,
    /// Checksum of the last chunk if that is partial, taken together with `end`.
    last_crc: u32,
}

impl Store {
    /// Opens a replica for reading. One whose stamp is higher than asked for is served, a lower one
    /// is not (HDFS `BlockSender`).
    ///
    /// # Errors
    /// If there is none, it is older, or its files can't be opened.
    pub fn open_reader(
        &self,
        block: BlockId,
        stamp: GenStamp,
    ) -> Result<ReplicaReader, StoreError> {
        let slot = self.slot(block)?;
        let held = slot.held()?;
        let have = held.replica.stamp();
        if have < stamp {
            return Err(StoreError::GenStamp {
                block,
                have,
                expected: format!("{stamp} or a higher one"),
            });
        }
        let visible = held.replica.visible().ok_or(StoreError::State {
            block,
            state: held.replica.state_name(),
            verb: "read",
        })?;
        let open = || {
            let files = ChunkFiles::open(held.files(block)?, false)?;
            let end = held.replica.on_disk();
            let partial = end % u64::from(files.checksum.bytes_per_checksum()) != 0;
            let last_crc = match held.replica.last_crc() {
                Some(crc) => crc,
                None if partial => files.stored(end)?,
                None => 0,
            };
            Ok((files, end, last_crc))
        };
        let (files, end, last_crc) = open().map_err(|error| {
            // Files that are gone or cut are the replica's fault, anything else may be the disk's.
            if matches!(&error, StoreError::Io { source, .. } if matches!(source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData))
            {
                self.events.bad(named(block, have, held.replica.on_disk()), &error.to_string());
            }
            self.noticed(&held.volume, error)
        })?;
        Ok(ReplicaReader {
            block,
            stamp: have,
            volume: Arc::clone(&held.volume),
            end,
            visible,
            finalized: matches!(held.replica, Replica::Finalized(_)),
            files,
            last_crc,
        })
    }

    /// Reads a whole replica against its checksums and reports it if they do not match. Answers
    /// whether they do.
    ///
    /// # Errors
    /// If there is no such replica.
    pub fn verify(&self, block: BlockId, stamp: GenStamp) -> Result<bool, StoreError> {
        let reader = self.open_reader(block, stamp)?;
        match reader.verify() {
            Ok(()) => Ok(true),
            Err(error) => {
                let error = self.noticed(&reader.volume, error);
                // A replica that was deleted meanwhile is not a bad one.
                let still_there = self
                    .slot(block)
                    .and_then(|slot| Ok(slot.held()?.replica.stamp() == reader.stamp))
                    .unwrap_or(false);
                if still_there {
                    let bad = named(block, reader.stamp, reader.end);
                    self.events.bad(bad, &error.to_string());
                }
                Ok(false)
            }
        }
    }
}

impl ReplicaReader {
    /// How it is guarded.
    #[must_use]
    pub fn checksum(&self) -> DataChecksum {
        self.files.checksum
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &ChunkFiles {
        &self.files
    }

    /// Fills `sums` with the checksums of the chunks that cover `[offset, offset + len)`; `offset`
    /// is a chunk's start.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn checksums(&self, offset: u64, len: u64, sums: &mut Vec<u8>) -> Result<(), StoreError> {
        let checksum = self.files.checksum;
        sums.resize(checksum.sums_len(usize::try_from(len).unwrap_or(usize::MAX)), 0);
        if sums.is_empty() {
            return Ok(());
        }
        let bpc = u64::from(checksum.bytes_per_checksum());
        let partial_last = offset + len == self.end && !self.end.is_multiple_of(bpc);
        let stored = if partial_last { sums.len() - CHECKSUM_BYTES } else { sums.len() };
        self.files.read_sums(offset, &mut sums[..stored])?;
        if partial_last {
            sums[stored..].copy_from_slice(&self.last_crc.to_be_bytes());
        }
        Ok(())
    }

    /// Reads everything and compares it with the checksums.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], or that it can't be read.
    pub fn verify(&self) -> Result<(), StoreError> {
        let checksum = self.files.checksum;
        if checksum.checksum_type == ChecksumType::Null {
            return Ok(());
        }
        let bpc = u64::from(checksum.bytes_per_checksum());
        let step = VERIFY_STEP_BYTES.div_ceil(bpc) * bpc;
        let mut sums = Vec::new();
        let mut offset = 0;
        while offset < self.end {
            let len = step.min(self.end - offset);
            let data = self.files.read_data(offset, len as usize)?;
            self.checksums(offset, len, &mut sums)?;
            checksum.verify_chunks(&data, &sums, offset).map_err(|error| StoreError::Corrupt {
                block: self.block,
                reason: error.to_string(),
            })?;
            offset += len;
        }
        Ok(())
    }
}
