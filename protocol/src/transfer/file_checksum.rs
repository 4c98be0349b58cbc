//! Checksums of whole blocks and files, folded from chunk checksums (HDFS `FileChecksumHelper`).
//!
//! A datanode folds a replica's chunk checksums into one block checksum; the client folds block
//! checksums into the file's.

use md5::{Digest, Md5};

use crate::transfer::checksum::{ChecksumType, DataChecksum};

/// Bytes of an MD5.
pub const MD5_BYTES: usize = 16;

/// The capacity HDFS's buffer of block MD5s starts with; it doubles.
const FIRST_BUFFER_BYTES: usize = 32;

/// MD5 of a replica's chunk checksums: what a datanode answers to a block checksum request.
#[must_use]
pub fn block_md5(sums: &[u8]) -> [u8; MD5_BYTES] {
    Md5::digest(sums).into()
}

/// MD5 of a replica's chunk checksums, fed in pieces.
#[derive(Debug, Clone, Default)]
pub struct BlockMd5(Md5);

impl BlockMd5 {
    /// Adds the next checksums.
    pub fn update(&mut self, sums: &[u8]) {
        self.0.update(sums);
    }

    /// The MD5 of all that was added.
    #[must_use]
    pub fn finish(self) -> [u8; MD5_BYTES] {
        self.0.finalize().into()
    }
}

/// The checksum of a file, as `hdfs dfs -checksum` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChecksum {
    /// Its algorithm, such as `MD5-of-0MD5-of-512CRC32C`.
    pub algorithm: String,
    /// Its bytes: 28 for MD5-of-MD5-of-CRC, 4 for a composite CRC.
    pub bytes: Vec<u8>,
}

impl FileChecksum {
    /// The bytes in hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        self.bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Folds block MD5s into the file's MD5-of-MD5-of-CRC (HDFS `MD5MD5CRC32FileChecksum`).
#[derive(Debug, Clone, Default)]
pub struct Md5Md5Crc {
    md5s: Vec<u8>,
    crc_per_block: u64,
    checksum: Option<DataChecksum>,
}

/// Blocks of one file that are guarded in different ways have no common checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file's blocks carry checksums of different kinds ({} of {} bytes and {} of {} bytes), so \
     the file has no checksum",
    .0.checksum_type.name(), .0.bytes_per_checksum(), .1.checksum_type.name(), .1.bytes_per_checksum()
)]
pub struct MixedChecksums(pub DataChecksum, pub DataChecksum);

impl Md5Md5Crc {
    /// Adds the next block: its MD5, how many chunk checksums it has, and how it is guarded.
    ///
    /// # Errors
    /// [`MixedChecksums`] when the block is guarded in another way than the ones before.
    pub fn add_block(
        &mut self,
        md5: &[u8; MD5_BYTES],
        crc_per_block: u64,
        checksum: DataChecksum,
    ) -> Result<(), MixedChecksums> {
        match self.checksum {
            None => {
                self.checksum = Some(checksum);
                self.crc_per_block = crc_per_block;
            }
            Some(first) if first != checksum => return Err(MixedChecksums(first, checksum)),
            Some(_) => {}
        }
        self.md5s.extend_from_slice(md5);
        Ok(())
    }

    /// The file's checksum. HDFS takes the MD5 of its whole buffer, whose capacity starts at 32
    /// bytes and doubles, so zeros beyond the blocks' MD5s belong to it. The number of checksums
    /// per block is 0 for a file of one block.
    #[must_use]
    pub fn finish(mut self) -> FileChecksum {
        let blocks = self.md5s.len() / MD5_BYTES;
        self.md5s.resize(self.md5s.len().next_power_of_two().max(FIRST_BUFFER_BYTES), 0);
        let md5 = block_md5(&self.md5s);
        let crc_per_block = if blocks > 1 { self.crc_per_block } else { 0 };
        let (bytes_per_crc, kind) = match self.checksum {
            Some(checksum) => (checksum.bytes_per_checksum(), checksum.checksum_type),
            None => (0, ChecksumType::Crc32),
        };
        let mut bytes = bytes_per_crc.to_be_bytes().to_vec();
        bytes.extend_from_slice(&crc_per_block.to_be_bytes());
        bytes.extend_from_slice(&md5);
        FileChecksum {
            algorithm: format!("MD5-of-{crc_per_block}MD5-of-{bytes_per_crc}{}", kind.name()),
            bytes,
        }
    }
}

/// Folds blocks' composite CRCs into the file's, which is the CRC of all its bytes.
#[derive(Debug, Clone, Default)]
pub struct CompositeCrc {
    crc: u32,
    kind: Option<ChecksumType>,
}

impl CompositeCrc {
    /// Adds the next block's CRC; `len` is the block's length, bytes. All blocks of a file have the
    /// type of the first; the caller has checked it.
    pub fn add_block(&mut self, crc: u32, len: u64, kind: ChecksumType) {
        self.crc = self.kind.get_or_insert(kind).combine(self.crc, crc, len);
    }

    /// The file's checksum.
    #[must_use]
    pub fn finish(self) -> FileChecksum {
        let kind = self.kind.unwrap_or_default();
        FileChecksum {
            algorithm: format!("COMPOSITE-{}", kind.name()),
            bytes: self.crc.to_be_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::hex;

    fn one_block(data: &[u8]) -> FileChecksum {
        let checksum = DataChecksum::default();
        let sums = checksum.chunks(data);
        let mut file = Md5Md5Crc::default();
        file.add_block(&block_md5(&sums), (sums.len() / 4) as u64, checksum).unwrap();
        file.finish()
    }

    #[test]
    fn known_files() {
        assert_eq!(
            block_md5(&DataChecksum::default().chunks(b"hello\n")).to_vec(),
            hex("0631cc594ec0589d7bbe76dce1a7953b")
        );
        let hello = one_block(b"hello\n");
        assert_eq!(hello.algorithm, "MD5-of-0MD5-of-512CRC32C");
        assert_eq!(hello.hex(), "0000020000000000000000002b559725e23eb93541b0675b41e25ab3");
        let patterned: Vec<u8> = (0..1300).map(|index| (index % 251) as u8).collect();
        assert_eq!(one_block(&patterned).bytes[12..], hex("72e73fd123fde53f75a39db2263be28d"));
        let empty = Md5Md5Crc::default().finish();
        assert_eq!(empty.algorithm, "MD5-of-0MD5-of-0CRC32");
        assert_eq!(empty.bytes[12..], hex("70bc8f4b72a86921468bf8e8441dce51"));
    }

    #[test]
    fn several_blocks_count_their_checksums_and_pad_to_the_buffer() {
        let checksum = DataChecksum::default();
        let mut file = Md5Md5Crc::default();
        let mut buffer = Vec::new();
        for block in 0..3u8 {
            let md5 = block_md5(&[block]);
            buffer.extend_from_slice(&md5);
            file.add_block(&md5, 2048, checksum).unwrap();
        }
        buffer.resize(64, 0);
        let file = file.finish();
        assert_eq!(file.algorithm, "MD5-of-2048MD5-of-512CRC32C");
        assert_eq!(file.bytes[12..], block_md5(&buffer));
    }

    #[test]
    fn mixed_blocks_have_no_checksum() {
        let mut file = Md5Md5Crc::default();
        let crc32 = DataChecksum::new(ChecksumType::Crc32, 512).unwrap();
        file.add_block(&[0; 16], 1, DataChecksum::default()).unwrap();
        let error = file.add_block(&[0; 16], 1, crc32).unwrap_err();
        assert!(error.to_string().contains("CRC32C of 512 bytes and CRC32 of 512"), "{error}");
    }

    #[test]
    fn composite_crcs_of_blocks_are_the_crc_of_the_file() {
        let data: Vec<u8> = (0..5000u32).map(|index| (index * 7) as u8).collect();
        let mut file = CompositeCrc::default();
        for block in data.chunks(2048) {
            let kind = ChecksumType::Crc32c;
            file.add_block(kind.compute(block), block.len() as u64, kind);
        }
        let file = file.finish();
        assert_eq!(file.algorithm, "COMPOSITE-CRC32C");
        assert_eq!(file.bytes, ChecksumType::Crc32c.compute(&data).to_be_bytes());
    }
}
