//! A replica's two files seen as chunks with checksums: what is there, what of it is good, and how
//! to cut it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hfs_protocol::transfer::checksum::{
    CHECKSUM_BYTES, ChecksumType, DataChecksum, META_HEADER_BYTES,
};

use super::error::StoreError;
use super::layout::ReplicaFiles;

/// Both files of a replica, open, and how it is guarded.
#[derive(Debug)]
pub struct ChunkFiles {
    /// The bytes.
    pub data: File,
    /// Their checksums.
    pub meta: File,
    /// Type and chunk size, from the checksum file's header.
    pub checksum: DataChecksum,
    /// Where they are, for errors.
    pub paths: ReplicaFiles,
}

impl ChunkFiles {
    /// Opens a replica's files.
    ///
    /// # Errors
    /// If one is missing or the checksum file's header is bad.
    pub fn open(paths: ReplicaFiles, writable: bool) -> Result<Self, StoreError> {
        let open = |path: &Path| {
            let file = File::options().read(true).write(writable).open(path);
            file.map_err(StoreError::io("open", path))
        };
        let data = open(&paths.data)?;
        let meta = open(&paths.meta)?;
        let checksum = read_header(&meta, &paths.meta)?;
        Ok(Self { data, meta, checksum, paths })
    }

    /// Bytes of data in the file.
    ///
    /// # Errors
    /// If the operating system can't tell.
    pub fn data_len(&self) -> Result<u64, StoreError> {
        file_len(&self.data, &self.paths.data)
    }

    /// Reads `len` bytes of data from `offset`.
    ///
    /// # Errors
    /// If they are not there.
    pub fn read_data(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; len];
        self.data
            .read_exact_at(&mut bytes, offset)
            .map_err(StoreError::io("read", &self.paths.data))?;
        Ok(bytes)
    }

    /// Reads the stored checksums of the chunks from the one that holds `offset` on into `sums`.
    ///
    /// # Errors
    /// If they are not there.
    pub fn read_sums(&self, offset: u64, sums: &mut [u8]) -> Result<(), StoreError> {
        self.meta
            .read_exact_at(sums, self.checksum.meta_position(offset))
            .map_err(StoreError::io("read", &self.paths.meta))
    }

    /// The stored checksum of the chunk that holds `offset`; 0 without checksums.
    ///
    /// # Errors
    /// If it is not there.
    pub fn stored(&self, offset: u64) -> Result<u32, StoreError> {
        if self.checksum.checksum_type == ChecksumType::Null {
            return Ok(0);
        }
        let mut sum = [0; CHECKSUM_BYTES];
        self.read_sums(offset, &mut sum)?;
        Ok(u32::from_be_bytes(sum))
    }

    /// The CRC of the partial chunk that ends at `end`, computed from the data; 0 if `end` is a
    /// chunk's end.
    ///
    /// # Errors
    /// If the data can't be read.
    pub fn last_crc(&self, end: u64) -> Result<u32, StoreError> {
        let start = self.checksum.chunk_start(end);
        let partial = self.read_data(start, (end - start) as usize)?;
        Ok(self.checksum.checksum_type.compute(&partial))
    }

    /// As [`Self::last_crc`], and compares it with the stored one: `None` if they differ.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn checked_last_crc(&self, end: u64) -> Result<Option<u32>, StoreError> {
        if end.is_multiple_of(u64::from(self.checksum.bytes_per_checksum())) {
            return Ok(Some(0));
        }
        let computed = self.last_crc(end)?;
        Ok((computed == self.stored(end)?).then_some(computed))
    }

    /// Cuts both files to `end` and corrects the last checksum, which it returns. The chunk that is
    /// cut through is checked first, so that damage does not get a fresh checksum.
    ///
    /// # Errors
    /// If that chunk is damaged, or the disk fails.
    pub fn cut(&self, from: u64, end: u64) -> Result<u32, StoreError> {
        let chunk_len = u64::from(self.checksum.bytes_per_checksum());
        let start = self.checksum.chunk_start(end);
        let last_crc = if end == start {
            0
        } else {
            let chunk_end = from.min(start + chunk_len);
            let chunk = self.read_data(start, (chunk_end - start) as usize)?;
            let kind = self.checksum.checksum_type;
            if kind.compute(&chunk) != self.stored(start)? {
                let path = self.paths.data.display();
                let reason = format!("the chunk at {start} of {path} does not match its checksum");
                return Err(StoreError::Io {
                    verb: "verify",
                    path: self.paths.data.clone(),
                    source: io::Error::new(io::ErrorKind::InvalidData, reason),
                });
            }
            kind.compute(&chunk[..(end - start) as usize])
        };
        self.end_at(end, last_crc)?;
        Ok(last_crc)
    }

    /// Cuts off what lies beyond `end`: a packet whose write was stopped or failed half way. It may
    /// have replaced the checksum of the partial last chunk too, which is `last_crc` again then.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn drop_unfinished(&self, end: u64, last_crc: u32) -> Result<(), StoreError> {
        if self.data_len()? > end { self.end_at(end, last_crc) } else { Ok(()) }
    }

    fn end_at(&self, end: u64, last_crc: u32) -> Result<(), StoreError> {
        self.data.set_len(end).map_err(StoreError::io("cut", &self.paths.data))?;
        let meta = |result: io::Result<()>| result.map_err(StoreError::io("cut", &self.paths.meta));
        meta(self.meta.set_len(meta_len(self.checksum, end)))?;
        let start = self.checksum.chunk_start(end);
        if end != start && self.checksum.checksum_type != ChecksumType::Null {
            let at = self.checksum.meta_position(start);
            meta(self.meta.write_all_at(&last_crc.to_be_bytes(), at))?;
        }
        Ok(())
    }

    /// How many bytes of a replica that was being written when the datanode stopped are good: the
    /// last chunks are checked until one matches. A partial last chunk may have grown without its
    /// checksum, since data is written first; then the longest part that matches counts, so that
    /// nothing that was acknowledged is lost to a killed process.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn valid_len(&self) -> Result<u64, StoreError> {
        let data_len = self.data_len()?;
        let kind = self.checksum.checksum_type;
        if kind == ChecksumType::Null {
            return Ok(data_len);
        }
        let chunk_len = u64::from(self.checksum.bytes_per_checksum());
        let stored_bytes = file_len(&self.meta, &self.paths.meta)? - META_HEADER_BYTES as u64;
        let chunks = data_len.div_ceil(chunk_len).min(stored_bytes / CHECKSUM_BYTES as u64);
        for chunk in (0..chunks).rev() {
            let start = chunk * chunk_len;
            let end = data_len.min(start + chunk_len);
            let bytes = self.read_data(start, (end - start) as usize)?;
            let stored = self.stored(start)?;
            if kind.compute(&bytes) == stored {
                return Ok(end);
            }
            if let Some(matching) = longest_match(kind, &bytes, stored) {
                return Ok(start + matching as u64);
            }
        }
        Ok(0)
    }
}

/// The length of the longest beginning of `bytes` whose checksum is `stored`.
fn longest_match(kind: ChecksumType, bytes: &[u8], stored: u32) -> Option<usize> {
    let mut crc = 0;
    let mut longest = None;
    for (index, byte) in bytes.iter().enumerate() {
        crc = kind.extend(crc, std::slice::from_ref(byte));
        if crc == stored {
            longest = Some(index + 1);
        }
    }
    longest
}

/// The bytes a checksum file has for `data_len` bytes of data.
#[must_use]
pub fn meta_len(checksum: DataChecksum, data_len: u64) -> u64 {
    let chunks = data_len.div_ceil(u64::from(checksum.bytes_per_checksum()));
    META_HEADER_BYTES as u64 + chunks * checksum.checksum_size() as u64
}

/// Reads a checksum file's header.
///
/// # Errors
/// If it is too short or says something that can't be.
pub fn read_header(meta: &File, path: &Path) -> Result<DataChecksum, StoreError> {
    let mut header = [0; META_HEADER_BYTES];
    meta.read_exact_at(&mut header, 0).map_err(StoreError::io("read", path))?;
    DataChecksum::decode_meta_header(&header).map_err(|error| {
        StoreError::io("read", path)(io::Error::new(io::ErrorKind::InvalidData, error))
    })
}

fn file_len(file: &File, path: &Path) -> Result<u64, StoreError> {
    Ok(file.metadata().map_err(StoreError::io("stat", path))?.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hfs_protocol::ids::{BlockId, GenStamp};
    use std::fs;

    fn files(dir: &Path, data: &[u8], sums: &[u8], checksum: DataChecksum) -> ChunkFiles {
        let paths = ReplicaFiles::new(dir, BlockId(1), GenStamp(2));
        fs::write(&paths.data, data).unwrap();
        let meta = [&checksum.encode_meta_header()[..], sums].concat();
        fs::write(&paths.meta, meta).unwrap();
        ChunkFiles::open(paths, true).unwrap()
    }

    #[test]
    fn a_cut_keeps_the_rest_readable() {
        let dir = tempfile::tempdir().unwrap();
        let checksum = DataChecksum::default();
        let data: Vec<u8> = (0..1300u32).map(|i| (i % 251) as u8).collect();
        let files = files(dir.path(), &data, &checksum.chunks(&data), checksum);
        for end in [1299, 1025, 1024, 600, 1] {
            let from = files.data_len().unwrap();
            files.cut(from, end).unwrap();
            assert_eq!(files.valid_len().unwrap(), end);
            assert_eq!(fs::metadata(&files.paths.meta).unwrap().len(), meta_len(checksum, end));
            assert!(files.checked_last_crc(end).unwrap().is_some());
        }
    }

    #[test]
    fn a_partial_chunk_that_outgrew_its_checksum_keeps_its_old_length() {
        let dir = tempfile::tempdir().unwrap();
        let checksum = DataChecksum::default();
        let data: Vec<u8> = (0..700u32).map(|i| (i % 13) as u8).collect();
        let sums = checksum.chunks(&data[..600]);
        let files = files(dir.path(), &data, &sums, checksum);
        assert_eq!(files.valid_len().unwrap(), 600);
    }

    #[test]
    fn a_torn_tail_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let checksum = DataChecksum::default();
        let mut data = vec![7u8; 2048];
        let sums = checksum.chunks(&data);
        data[1024..].fill(0);
        let files = files(dir.path(), &data, &sums, checksum);
        assert_eq!(files.valid_len().unwrap(), 1024);
    }
}
