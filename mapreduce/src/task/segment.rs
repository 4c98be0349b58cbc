//! Writing and opening segment files: spills and finished map output alike.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hfs_protocol::shuffle::{HEADER, PartitionEntry, SegmentIndex};
use memmap2::Mmap;

use super::packed::Packing;
use super::run::{Run, map_file, put_record};
use crate::files::WriteBehind;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Takes records in their order: those of a partition, then [`SortedWriter::end_partition`], for each partition.
pub(crate) trait SortedWriter {
    /// Appends a record to the current partition.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
    /// Ends the current partition; the next record belongs to the one after it.
    fn end_partition(&mut self) -> Result<()>;
}

/// A finished segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) index: SegmentIndex,
    pub(crate) bytes: u64,
    /// Bytes of its records before they were packed.
    pub(crate) record_bytes: u64,
    pub(crate) packing: Option<Packing>,
}

impl Segment {
    pub(crate) fn records(&self) -> u64 {
        self.index.partitions.iter().map(|entry| entry.records).sum()
    }
}

/// Writes a segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: File,
    behind: Option<WriteBehind>,
    packing: Option<Packing>,
    /// Records that are to be packed.
    records_to_pack: Vec<u8>,
    /// What goes to the file next.
    buffer: Vec<u8>,
    /// Bytes of `buffer` that `hasher` has seen.
    hashed: usize,
    hasher: crc32fast::Hasher,
    written: u64,
    record_bytes: u64,
    records: u64,
    partition_start: u64,
    index: SegmentIndex,
}

impl SegmentWriter {
    pub(crate) fn create(path: &Path, packing: Option<Packing>) -> Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("the local file {} can't be created", path.display()))?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + (64 << 10));
        buffer.extend_from_slice(&HEADER);
        Ok(Self {
            path: path.to_owned(),
            file,
            behind: None,
            packing,
            records_to_pack: Vec::new(),
            record_bytes: 0,
            hashed: buffer.len(),
            partition_start: buffer.len() as u64,
            buffer,
            hasher: crc32fast::Hasher::new(),
            written: 0,
            records: 0,
            index: SegmentIndex::default(),
        })
    }

    /// The same, sent on to the disk while more is written.
    pub(crate) fn writing_behind(self, write_behind: bool) -> Self {
        Self { behind: write_behind.then(WriteBehind::default), ..self }
    }

    fn hash(&mut self) {
        self.hasher.update(&self.buffer[self.hashed..]);
        self.hashed = self.buffer.len();
    }

    fn flush(&mut self) -> Result<()> {
        self.hash();
        self.file.write_all(&self.buffer).with_context(|| {
            format!("the local file {} can't be written; is the disk full?", self.path.display())
        })?;
        self.written += self.buffer.len() as u64;
        if let Some(behind) = &mut self.behind {
            behind.wrote(&self.file, self.written);
        }
        self.buffer.clear();
        self.hashed = 0;
        Ok(())
    }

    /// Packs the records that are at hand.
    fn pack(&mut self, packing: Packing) -> Result<()> {
        self.record_bytes += self.records_to_pack.len() as u64;
        packing.pack(&self.records_to_pack, &mut self.buffer)?;
        self.records_to_pack.clear();
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the index. Segments are not synced: after a machine's crash their maps run again.
    pub(crate) fn finish(mut self) -> Result<Segment> {
        let mut index = Vec::new();
        self.index.encode(&mut index);
        self.buffer.extend_from_slice(&index);
        self.flush()?;
        let record_bytes = match self.packing {
            Some(_) => self.record_bytes,
            None => self.index.partitions.iter().map(|entry| entry.length).sum(),
        };
        let Self { path, index, written: bytes, packing, .. } = self;
        Ok(Segment { path, index, bytes, record_bytes, packing })
    }
}

impl SortedWriter for SegmentWriter {
    #[inline]
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.records += 1;
        let buffer = match self.packing {
            None => &mut self.buffer,
            Some(_) => &mut self.records_to_pack,
        };
        put_record(key, value, buffer);
        if buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        match self.packing {
            None => self.flush(),
            Some(packing) => self.pack(packing),
        }
    }

    fn end_partition(&mut self) -> Result<()> {
        if let Some(packing) = self.packing {
            self.pack(packing)?;
        }
        self.hash();
        let end = self.written + self.buffer.len() as u64;
        let hasher = std::mem::take(&mut self.hasher);
        self.index.partitions.push(PartitionEntry {
            offset: self.partition_start,
            length: end - self.partition_start,
            records: std::mem::take(&mut self.records),
            crc32: hasher.finalize(),
        });
        self.partition_start = end;
        Ok(())
    }
}

/// A segment that is mapped for reading.
#[derive(Debug)]
pub(crate) struct MappedSegment {
    map: Arc<Mmap>,
    index: SegmentIndex,
}

impl MappedSegment {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || -> Result<Self> {
            let map = map_file(&File::open(path)?)?;
            let index = SegmentIndex::parse(&map)?;
            Ok(Self { map, index })
        };
        open().with_context(|| format!("the map output {} can't be used", path.display()))
    }

    /// The run of a partition and its number of records, its checksum verified.
    pub(crate) fn run(&self, partition: u32) -> Result<(Run, u64)> {
        let Some(entry) = self.index.partitions.get(partition as usize) else {
            bail!("the map output has no partition {partition}");
        };
        // The index was checked against the file's length when it was read.
        let range = entry.offset as usize..(entry.offset + entry.length) as usize;
        verify(&self.map, &range, entry.crc32)?;
        Ok((Run::Mapped(Arc::clone(&self.map), range), entry.records))
    }
}

fn verify(map: &Mmap, range: &Range<usize>, crc32: u32) -> Result<()> {
    if crc32fast::hash(&map[range.clone()]) == crc32 {
        Ok(())
    } else {
        bail!("the records do not match their checksum; the map must run again")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_changed_byte_of_a_segment_is_found() {
        [None, Some(Packing::Lz4)].into_iter().for_each(every_changed_byte_is_found);
    }

    fn every_changed_byte_is_found(packing: Option<Packing>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let mut writer = SegmentWriter::create(&path, packing).unwrap();
        writer.record(b"a", b"1").unwrap();
        writer.record(b"b", b"2").unwrap();
        writer.end_partition().unwrap();
        writer.end_partition().unwrap();
        writer.record(b"c", b"3").unwrap();
        writer.end_partition().unwrap();
        let segment = writer.finish().unwrap();
        assert_eq!((segment.records(), segment.record_bytes), (3, 12));

        let good = std::fs::read(&path).unwrap();
        assert_eq!(good.len() as u64, segment.bytes);
        let readable = |bytes: &[u8]| {
            let changed = dir.path().join("changed");
            let _ = std::fs::remove_file(&changed);
            std::fs::write(&changed, bytes).unwrap();
            let segment = MappedSegment::open(&changed)?;
            (0..3).try_for_each(|partition| segment.run(partition).map(drop))
        };
        readable(&good).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(readable(&bad).is_err(), "byte {at} changed");
            assert!(readable(&good[..at]).is_err(), "cut at {at}");
        }
    }
}
