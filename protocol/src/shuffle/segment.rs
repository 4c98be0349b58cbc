//! The index of a segment file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The first eight bytes of a segment.
pub const HEADER: [u8; 8] = *b"HFSSEG01";
/// The last eight bytes of a segment.
const TRAILER: [u8; 8] = *b"HFSSEGIX";
/// Bytes of one index entry.
pub const ENTRY_BYTES: usize = 32;
/// Bytes after the index.
pub const FOOTER_BYTES: usize = 24;
/// The most partitions a segment can have. Bounds the index that a reader allocates (32 MiB).
pub const MAX_PARTITIONS: u32 = 1 << 20;

/// Where the run of one partition lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionEntry {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes of the run; 0 for a partition without records.
    pub length: u64,
    /// Records in the run.
    pub records: u64,
    /// CRC-32 (IEEE) of the run's bytes.
    pub crc32: u32,
}

/// Why a file is not a segment one can read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The file could not be read.
    #[error("the map output segment could not be read: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not those of a whole segment.
    #[error("the map output segment is damaged: {0}; its map must run again")]
    Damaged(&'static str),
}

/// The index of a segment: one entry per partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentIndex {
    /// Entries by partition number.
    pub partitions: Vec<PartitionEntry>,
}

impl SegmentIndex {
    /// Appends the index and the footer as they follow the last run in the file.
    ///
    /// # Panics
    /// With more than [`MAX_PARTITIONS`] partitions, which a job can't have.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        assert!(
            partitions <= MAX_PARTITIONS,
            "invariant: a job has at most {MAX_PARTITIONS} parts"
        );
        let start = out.len();
        for entry in &self.partitions {
            out.extend_from_slice(&entry.offset.to_le_bytes());
            out.extend_from_slice(&entry.length.to_le_bytes());
            out.extend_from_slice(&entry.records.to_le_bytes());
            out.extend_from_slice(&entry.crc32.to_le_bytes());
            out.extend_from_slice(&0u32.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[start..]);
        let index_bytes = (out.len() - start) as u64;
        out.extend_from_slice(&partitions.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&index_bytes.to_le_bytes());
        out.extend_from_slice(&TRAILER);
    }

    /// Reads the index of an open segment file and checks it against the file's length.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] when the file was cut short or its index changed.
    pub fn read(file: &File) -> Result<Self, SegmentError> {
        let file_bytes = file.metadata()?.len();
        Self::read_with(file_bytes, |buffer, offset| file.read_exact_at(buffer, offset))
    }

    /// Reads the index of a segment that lies in memory, a mapped one say.
    ///
    /// # Errors
    /// As [`SegmentIndex::read`].
    pub fn parse(segment: &[u8]) -> Result<Self, SegmentError> {
        Self::read_with(segment.len() as u64, |buffer, offset| {
            let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let bytes = from.checked_add(buffer.len()).and_then(|to| segment.get(from..to));
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn read_with(
        file_bytes: u64,
        read_at: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> Result<Self, SegmentError> {
        let smallest = (HEADER.len() + FOOTER_BYTES) as u64;
        if file_bytes < smallest {
            return Err(SegmentError::Damaged("the file is too short to have an index"));
        }
        let mut header = [0; HEADER.len()];
        read_at(&mut header, 0)?;
        if header != HEADER {
            return Err(SegmentError::Damaged("the file does not begin as a segment does"));
        }
        let mut footer = [0; FOOTER_BYTES];
        read_at(&mut footer, file_bytes - FOOTER_BYTES as u64)?;
        if footer[16..] != TRAILER {
            return Err(SegmentError::Damaged("the file does not end as a segment does"));
        }
        let (partitions, crc, index_bytes) =
            (u32_at(&footer, 0), u32_at(&footer, 4), u64_at(&footer, 8));
        if partitions > MAX_PARTITIONS || index_bytes != u64::from(partitions) * ENTRY_BYTES as u64
        {
            return Err(SegmentError::Damaged(
                "the length of the index is not that of its entries",
            ));
        }
        let Some(runs_end) = (file_bytes - FOOTER_BYTES as u64).checked_sub(index_bytes) else {
            return Err(SegmentError::Damaged("the index is longer than the file"));
        };
        let mut bytes = vec![0; partitions as usize * ENTRY_BYTES];
        read_at(&mut bytes, runs_end)?;
        if crc32fast::hash(&bytes) != crc {
            return Err(SegmentError::Damaged("the index does not match its checksum"));
        }
        let entries: Vec<PartitionEntry> = bytes
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| PartitionEntry {
                offset: u64_at(entry, 0),
                length: u64_at(entry, 8),
                records: u64_at(entry, 16),
                crc32: u32_at(entry, 24),
            })
            .collect();
        let mut at = HEADER.len() as u64;
        for entry in &entries {
            if entry.offset != at {
                return Err(SegmentError::Damaged("the runs do not follow one another"));
            }
            at = at
                .checked_add(entry.length)
                .ok_or(SegmentError::Damaged("a run is longer than any file"))?;
        }
        if at != runs_end {
            return Err(SegmentError::Damaged("the runs do not fill the file"));
        }
        Ok(Self { partitions: entries })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Vec<u8> {
        let mut file = HEADER.to_vec();
        let mut index = SegmentIndex::default();
        for run in [b"first".as_slice(), b"", b"third run"] {
            index.partitions.push(PartitionEntry {
                offset: file.len() as u64,
                length: run.len() as u64,
                records: u64::from(!run.is_empty()),
                crc32: crc32fast::hash(run),
            });
            file.extend_from_slice(run);
        }
        index.encode(&mut file);
        file
    }

    #[test]
    fn an_index_reads_back() {
        let index = SegmentIndex::parse(&sample()).unwrap();
        assert_eq!(index.partitions.len(), 3);
        assert_eq!(index.partitions[2].offset, 8 + 5);
        assert_eq!(index.partitions[2].length, 9);
    }

    #[test]
    fn every_cut_and_every_changed_index_byte_is_refused() {
        let file = sample();
        for cut in 0..file.len() {
            assert!(SegmentIndex::parse(&file[..cut]).is_err(), "cut at {cut}");
        }
        let index_start = file.len() - FOOTER_BYTES - 3 * ENTRY_BYTES;
        for at in (0..8).chain(index_start..file.len()) {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert!(SegmentIndex::parse(&changed).is_err(), "byte {at} changed");
        }
    }
}
