//! Chunk checksums: a CRC of every few hundred bytes, carried in each packet and kept beside each
//! replica (HDFS `DataChecksum` and `BlockMetadataHeader`).
//!
//! Chunk `k` of a block covers the bytes `[k * bpc, (k + 1) * bpc)` of the block. A checksum is
//! stored as 4 bytes, big-endian.

use crate::proto::hadoop::hdfs::{ChecksumProto, ChecksumTypeProto};
use crate::transfer::crc32c_lanes;

/// Bytes of one stored checksum.
pub const CHECKSUM_BYTES: usize = 4;

/// HDFS's default `dfs.bytes-per-checksum`.
pub const DEFAULT_BYTES_PER_CHECKSUM: u32 = 512;

/// The largest chunk accepted from a peer or a file: one checksum must not ask for more memory
/// than the largest packet.
pub const MAX_BYTES_PER_CHECKSUM: u32 = 16 * 1024 * 1024;

/// Bytes of the header that begins a replica's `.meta` file.
pub const META_HEADER_BYTES: usize = 7;

/// The version in that header (HDFS `BlockMetadataHeader.VERSION`).
pub const META_VERSION: u16 = 1;

/// Which checksum guards the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChecksumType {
    /// None.
    Null,
    /// CRC-32 as in zlib.
    Crc32,
    /// CRC-32C (Castagnoli), HDFS's default; some clients read nothing else.
    #[default]
    Crc32c,
}

impl ChecksumType {
    /// The number on the wire and in meta files.
    #[must_use]
    pub const fn to_proto(self) -> ChecksumTypeProto {
        match self {
            Self::Null => ChecksumTypeProto::ChecksumNull,
            Self::Crc32 => ChecksumTypeProto::ChecksumCrc32,
            Self::Crc32c => ChecksumTypeProto::ChecksumCrc32c,
        }
    }

    /// The name in `dfs.checksum.type` and in file checksums' algorithms.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
        }
    }

    /// The type that `dfs.checksum.type` names, upper or lower case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Null, Self::Crc32, Self::Crc32c]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The checksum of these bytes; 0 for [`ChecksumType::Null`].
    #[must_use]
    pub fn compute(self, data: &[u8]) -> u32 {
        self.extend(0, data)
    }

    /// The checksum of bytes whose beginning has the checksum `before` and whose rest is `data`.
    #[must_use]
    pub fn extend(self, before: u32, data: &[u8]) -> u32 {
        match self {
            Self::Null => 0,
            Self::Crc32 => {
                let mut hasher = crc32fast::Hasher::new_with_initial(before);
                hasher.update(data);
                hasher.finalize()
            }
            Self::Crc32c => crc32c::crc32c_append(before, data),
        }
    }

    /// The checksum of `a` followed by `b` from theirs and the length of `b` (HDFS `CrcUtil`).
    #[must_use]
    pub fn combine(self, a: u32, b: u32, b_len: u64) -> u32 {
        match self {
            Self::Null => 0,
            Self::Crc32 => {
                gf2_multiply(a, gf2_power(b_len, CRC32_POLYNOMIAL), CRC32_POLYNOMIAL) ^ b
            }
            Self::Crc32c => {
                gf2_multiply(a, gf2_power(b_len, CRC32C_POLYNOMIAL), CRC32C_POLYNOMIAL) ^ b
            }
        }
    }
}

impl From<ChecksumTypeProto> for ChecksumType {
    fn from(kind: ChecksumTypeProto) -> Self {
        match kind {
            ChecksumTypeProto::ChecksumNull => Self::Null,
            ChecksumTypeProto::ChecksumCrc32 => Self::Crc32,
            ChecksumTypeProto::ChecksumCrc32c => Self::Crc32c,
        }
    }
}

/// Reflected polynomials, the lowest bit being the highest power.
const CRC32_POLYNOMIAL: u32 = 0xEDB8_8320;
const CRC32C_POLYNOMIAL: u32 = 0x82F6_3B78;

/// The polynomial 1 in reflected bits.
const GF2_ONE: u32 = 0x8000_0000;

/// `a * b` modulo the polynomial.
const fn gf2_multiply(a: u32, mut b: u32, polynomial: u32) -> u32 {
    let mut product = 0;
    let mut bit = GF2_ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ polynomial };
        bit >>= 1;
    }
    product
}

/// `x` to the power of `8 * bytes`, modulo the polynomial.
const fn gf2_power(mut bytes: u64, polynomial: u32) -> u32 {
    let mut power = GF2_ONE;
    let mut square = GF2_ONE >> 8;
    while bytes != 0 {
        if bytes & 1 != 0 {
            power = gf2_multiply(power, square, polynomial);
        }
        square = gf2_multiply(square, square, polynomial);
        bytes >>= 1;
    }
    power
}

/// A checksum that does not match, and which chunk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the checksum of the chunk at offset {offset} is {found:08x}, but {expected:08x} is stored"
)]
pub struct ChunkError {
    /// Where the chunk begins, in the offsets given to [`DataChecksum::verify_chunks`].
    pub offset: u64,
    /// The stored checksum.
    pub expected: u32,
    /// The checksum of the data.
    pub found: u32,
}

/// Checksum settings no replica can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// The type's number is unknown.
    #[error("checksum type {0} is not one of NULL (0), CRC32 (1) and CRC32C (2)")]
    Type(i32),
    /// The chunk size is out of bounds.
    #[error("{0} bytes per checksum are out of bounds (1 to {MAX_BYTES_PER_CHECKSUM})")]
    BytesPerChecksum(u32),
    /// A meta file's header is too short or of another version.
    #[error("the header of the meta file has version {0}; this version reads {META_VERSION}")]
    MetaVersion(u16),
}

/// How a replica or a stream is guarded: the checksum's type and how many bytes each covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataChecksum {
    /// Which checksum.
    pub checksum_type: ChecksumType,
    bytes_per_checksum: u32,
}

impl Default for DataChecksum {
    /// CRC32C of every 512 bytes, as HDFS.
    fn default() -> Self {
        Self { checksum_type: ChecksumType::Crc32c, bytes_per_checksum: DEFAULT_BYTES_PER_CHECKSUM }
    }
}

impl DataChecksum {
    /// Chunks of `bytes_per_checksum` bytes.
    ///
    /// # Errors
    /// [`ChecksumError::BytesPerChecksum`] unless it is between 1 and [`MAX_BYTES_PER_CHECKSUM`].
    pub fn new(
        checksum_type: ChecksumType,
        bytes_per_checksum: u32,
    ) -> Result<Self, ChecksumError> {
        if bytes_per_checksum == 0 || bytes_per_checksum > MAX_BYTES_PER_CHECKSUM {
            return Err(ChecksumError::BytesPerChecksum(bytes_per_checksum));
        }
        Ok(Self { checksum_type, bytes_per_checksum })
    }

    /// From a message.
    ///
    /// # Errors
    /// [`ChecksumError`] when the type is unknown or the chunk size out of bounds.
    pub fn from_proto(proto: &ChecksumProto) -> Result<Self, ChecksumError> {
        Self::new(type_from_number(proto.r#type)?, proto.bytes_per_checksum)
    }

    /// Bytes that one checksum covers.
    #[must_use]
    pub const fn bytes_per_checksum(&self) -> u32 {
        self.bytes_per_checksum
    }

    /// The same as a `usize`, for slices.
    #[must_use]
    pub const fn chunk_len(&self) -> usize {
        self.bytes_per_checksum as usize
    }

    /// Bytes of checksum per chunk: 4, or 0 without checksums.
    #[must_use]
    pub const fn checksum_size(&self) -> usize {
        match self.checksum_type {
            ChecksumType::Null => 0,
            ChecksumType::Crc32 | ChecksumType::Crc32c => CHECKSUM_BYTES,
        }
    }

    /// Bytes of checksums for this many bytes that begin at a chunk's start.
    #[must_use]
    pub const fn sums_len(&self, data_len: usize) -> usize {
        data_len.div_ceil(self.chunk_len()) * self.checksum_size()
    }

    /// Bytes of checksums for this many bytes that begin `offset` bytes into the block.
    #[must_use]
    pub fn sums_len_at(&self, offset: u64, data_len: usize) -> usize {
        if data_len == 0 {
            return 0;
        }
        let lead = (offset % u64::from(self.bytes_per_checksum)) as usize;
        self.sums_len(lead + data_len)
    }

    /// Where the chunk that holds `offset` begins.
    #[must_use]
    pub const fn chunk_start(&self, offset: u64) -> u64 {
        offset - offset % self.bytes_per_checksum as u64
    }

    /// Where, in a meta file, the checksum of the chunk that holds `offset` is.
    #[must_use]
    pub const fn meta_position(&self, offset: u64) -> u64 {
        META_HEADER_BYTES as u64
            + offset / self.bytes_per_checksum as u64 * self.checksum_size() as u64
    }

    /// Writes the checksums of `data`, which begins at a chunk's start, to `sums`.
    ///
    /// # Panics
    /// When `sums` is not [`sums_len`](Self::sums_len) long.
    pub fn compute_chunks(&self, data: &[u8], sums: &mut [u8]) {
        assert_eq!(sums.len(), self.sums_len(data.len()), "room for every chunk's checksum");
        match self.checksum_type {
            ChecksumType::Null => {}
            ChecksumType::Crc32 => {
                let sums = sums.chunks_exact_mut(CHECKSUM_BYTES);
                for (chunk, sum) in data.chunks(self.chunk_len()).zip(sums) {
                    sum.copy_from_slice(&crc32fast::hash(chunk).to_be_bytes());
                }
            }
            ChecksumType::Crc32c => {
                let mut sums = sums.chunks_exact_mut(CHECKSUM_BYTES);
                crc32c_lanes::for_each_chunk(data, self.chunk_len(), |crc| {
                    if let Some(sum) = sums.next() {
                        sum.copy_from_slice(&crc.to_be_bytes());
                    }
                    true
                });
            }
        }
    }

    /// The checksums of `data`, which begins at a chunk's start.
    #[must_use]
    pub fn chunks(&self, data: &[u8]) -> Vec<u8> {
        let mut sums = vec![0; self.sums_len(data.len())];
        self.compute_chunks(data, &mut sums);
        sums
    }

    /// Compares the checksums of `data`, which begins `first_offset` bytes into the block, with
    /// `sums`. When it begins inside a chunk, the first checksum covers the rest of that chunk
    /// alone, as in the first packet of an append.
    ///
    /// # Errors
    /// The first [`ChunkError`]; also, as a chunk that has no checksum, when `sums` is not
    /// [`sums_len_at`](Self::sums_len_at) long.
    pub fn verify_chunks(
        &self,
        data: &[u8],
        sums: &[u8],
        first_offset: u64,
    ) -> Result<(), ChunkError> {
        if self.checksum_type == ChecksumType::Null {
            return Ok(());
        }
        let lead = (first_offset % u64::from(self.bytes_per_checksum)) as usize;
        let head_len = if lead == 0 { 0 } else { (self.chunk_len() - lead).min(data.len()) };
        let (head, body) = data.split_at(head_len);
        let mut stored = sums.chunks_exact(CHECKSUM_BYTES).map(be_u32);
        let mut offset = first_offset;
        let mut check = |found: u32, len: u64| -> Result<(), ChunkError> {
            let expected = stored.next();
            if expected == Some(found) {
                offset += len;
                return Ok(());
            }
            Err(ChunkError { offset, expected: expected.unwrap_or(!found), found })
        };
        if !head.is_empty() {
            check(self.checksum_type.compute(head), head.len() as u64)?;
        }
        let chunk_len = u64::from(self.bytes_per_checksum);
        let mut result = Ok(());
        match self.checksum_type {
            ChecksumType::Crc32c => {
                crc32c_lanes::for_each_chunk(body, self.chunk_len(), |crc| {
                    result = check(crc, chunk_len);
                    result.is_ok()
                });
            }
            ChecksumType::Crc32 | ChecksumType::Null => {
                for chunk in body.chunks(self.chunk_len()) {
                    check(self.checksum_type.compute(chunk), chunk_len)?;
                }
            }
        }
        result
    }

    /// The checksum of all the data whose chunks have the checksums `sums` (HDFS composite CRC).
    /// Every chunk is whole but the last; `data_len` is the length of all of them, bytes.
    #[must_use]
    pub fn composite(&self, sums: &[u8], data_len: u64) -> u32 {
        let polynomial = match self.checksum_type {
            ChecksumType::Null => return 0,
            ChecksumType::Crc32 => CRC32_POLYNOMIAL,
            ChecksumType::Crc32c => CRC32C_POLYNOMIAL,
        };
        let chunk_len = u64::from(self.bytes_per_checksum);
        let whole_shift = gf2_power(chunk_len, polynomial);
        let mut left = data_len;
        let mut crc = 0;
        for sum in sums.chunks_exact(CHECKSUM_BYTES).map(be_u32) {
            let shift = if left >= chunk_len { whole_shift } else { gf2_power(left, polynomial) };
            crc = gf2_multiply(crc, shift, polynomial) ^ sum;
            left = left.saturating_sub(chunk_len);
        }
        crc
    }

    /// The 7 bytes that begin a replica's `.meta` file: version, type, bytes per checksum.
    #[must_use]
    pub fn encode_meta_header(&self) -> [u8; META_HEADER_BYTES] {
        let version = META_VERSION.to_be_bytes();
        let bpc = self.bytes_per_checksum.to_be_bytes();
        let kind = self.checksum_type.to_proto() as i32 as u8;
        [version[0], version[1], kind, bpc[0], bpc[1], bpc[2], bpc[3]]
    }

    /// Reads the header of a `.meta` file.
    ///
    /// # Errors
    /// [`ChecksumError`] when the version or the type is unknown or the chunk size out of bounds.
    pub fn decode_meta_header(header: &[u8; META_HEADER_BYTES]) -> Result<Self, ChecksumError> {
        let [v0, v1, kind, b0, b1, b2, b3] = *header;
        let version = u16::from_be_bytes([v0, v1]);
        if version != META_VERSION {
            return Err(ChecksumError::MetaVersion(version));
        }
        Self::new(type_from_number(i32::from(kind))?, u32::from_be_bytes([b0, b1, b2, b3]))
    }
}

fn type_from_number(number: i32) -> Result<ChecksumType, ChecksumError> {
    ChecksumTypeProto::try_from(number)
        .map(ChecksumType::from)
        .map_err(|_| ChecksumError::Type(number))
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests;
