//! A replica read from its own files, without its datanode: mapped, and verified by the window.
//!
//! Only finalised replicas come this way (a datanode refuses others), and their bytes are never cut or
//! changed in place, so the mapping stays valid even when the replica is deleted.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hfs_protocol::error::ErrorKind as RemoteKind;
use hfs_protocol::hadoop::client::RpcError;
use hfs_protocol::proto::hadoop::hdfs as proto;
use hfs_protocol::transfer::checksum::{DataChecksum, META_HEADER_BYTES};
use memmap2::{Advice, Mmap};

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::Inner;

/// How much is verified at a time: large enough that the cost per window vanishes, small enough
/// that the bytes are still in the processor's cache when the caller uses them.
pub const WINDOW_BYTES: usize = 1 << 20;
/// The longest wait for a datanode on this machine to say where a replica is.
const PATH_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// A mapped replica of one block.
pub(crate) struct LocalReplica {
    map: Mmap,
    meta: File,
    checksum: DataChecksum,
    /// One bit for each window that has passed its checksums.
    verified: Vec<AtomicU64>,
    name: String,
}

impl LocalReplica {
    /// Asks a datanode on this machine for the files of a replica and maps them. `None` when it
    /// does not permit it, or they can't be used: the datanode then serves the bytes itself.
    pub(crate) async fn open(
        fs: &Inner,
        node: &proto::DatanodeInfoProto,
        located: &proto::LocatedBlockProto,
    ) -> Option<Arc<Self>> {
        if !fs.datanodes.may_short_circuit(&node.id) {
            return None;
        }
        let path = match Self::path(fs, node, located).await {
            Ok(path) => path,
            Err(cause) => {
                tracing::debug!(node = %node.id.ip_addr, %cause, "no direct read of a replica");
                return None;
            }
        };
        let wanted = located.b.num_bytes();
        let stamp = located.b.generation_stamp;
        if path.block.block_id != located.b.block_id || path.block.generation_stamp < stamp {
            return None;
        }
        let opened = tokio::task::spawn_blocking(move || Self::map(&path, wanted)).await;
        match opened {
            Ok(Ok(replica)) => Some(Arc::new(replica)),
            Ok(Err(cause)) => {
                tracing::debug!(node = %node.id.ip_addr, %cause, "a replica can't be mapped");
                // Files this process may not open will not open next time either.
                if cause.kind() == std::io::ErrorKind::PermissionDenied {
                    fs.datanodes.refuse_short_circuit(&node.id);
                }
                None
            }
            Err(_) => None,
        }
    }

    async fn path(
        fs: &Inner,
        node: &proto::DatanodeInfoProto,
        located: &proto::LocatedBlockProto,
    ) -> Result<proto::GetBlockLocalPathInfoResponseProto, String> {
        let request = proto::GetBlockLocalPathInfoRequestProto {
            block: located.b.clone(),
            token: located.block_token.clone(),
        };
        let ask = async {
            let connection = fs.datanodes.ipc(&node.id).await?;
            connection.call("getBlockLocalPathInfo", &request).await
        };
        match tokio::time::timeout(PATH_DEADLINE, ask).await {
            Ok(Ok(path)) => Ok(path),
            Ok(Err(RpcError::Remote(error))) => {
                if matches!(
                    error.kind,
                    RemoteKind::AccessDenied
                        | RemoteKind::Unsupported
                        | RemoteKind::NoSuchMethod
                        | RemoteKind::NoSuchProtocol
                ) {
                    fs.datanodes.refuse_short_circuit(&node.id);
                }
                Err(error.message)
            }
            Ok(Err(error)) => {
                fs.datanodes.drop_ipc(&node.id);
                Err(error.to_string())
            }
            Err(_) => {
                fs.datanodes.drop_ipc(&node.id);
                Err(format!("no answer within {PATH_DEADLINE:?}"))
            }
        }
    }

    fn map(path: &proto::GetBlockLocalPathInfoResponseProto, wanted: u64) -> std::io::Result<Self> {
        let bad = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
        let data = File::open(&path.local_path)?;
        let meta = File::open(&path.local_meta_path)?;
        let mut header = [0; META_HEADER_BYTES];
        meta.read_exact_at(&mut header, 0)?;
        let checksum =
            DataChecksum::decode_meta_header(&header).map_err(|error| bad(error.to_string()))?;
        if !WINDOW_BYTES.is_multiple_of(checksum.chunk_len()) {
            return Err(bad(format!(
                "chunks of {} bytes do not fill a window",
                checksum.chunk_len()
            )));
        }
        let length = data.metadata()?.len();
        if length < wanted {
            return Err(bad(format!("the replica has {length} of {wanted} bytes")));
        }
        // SAFETY: a finalised replica's bytes are never changed or cut while its file exists, and
        // deleting the file leaves the mapping whole; an append adds bytes beyond the mapped ones.
        let map = unsafe { Mmap::map(&data)? };
        let _ = map.advise(Advice::Sequential);
        let words = map.len().div_ceil(WINDOW_BYTES).div_ceil(64);
        let verified = (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { map, meta, checksum, verified, name: path.local_path.clone() })
    }

    /// Bytes of the replica.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// A range of the replica, after every window it touches has passed its checksums.
    ///
    /// # Errors
    /// `Corrupt` when one did not; the bytes are then not given out.
    pub(crate) fn slice(&self, range: Range<usize>) -> Result<&[u8]> {
        if range.start > range.end || range.end > self.map.len() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{range:?} is not a range of the {} bytes mapped", self.map.len()),
            ));
        }
        if !range.is_empty() {
            for window in range.start / WINDOW_BYTES..=(range.end - 1) / WINDOW_BYTES {
                self.verify(window)?;
            }
        }
        Ok(&self.map[range])
    }

    fn verify(&self, window: usize) -> Result<()> {
        let (word, bit) = (&self.verified[window / 64], 1u64 << (window % 64));
        if word.load(Ordering::Acquire) & bit != 0 {
            return Ok(());
        }
        let start = window * WINDOW_BYTES;
        let end = (start + WINDOW_BYTES).min(self.map.len());
        // One call maps the whole window; without it every 64 KiB costs a page fault.
        let _ = self.map.advise_range(Advice::PopulateRead, start, end - start);
        let corrupt = |what: String| {
            Error::new(ErrorKind::Corrupt, format!("the local replica {} {what}", self.name))
        };
        let mut sums = vec![0; self.checksum.sums_len(end - start)];
        self.meta
            .read_exact_at(&mut sums, self.checksum.meta_position(start as u64))
            .map_err(|error| corrupt(format!("has no readable checksums: {error}")))?;
        self.checksum
            .verify_chunks(&self.map[start..end], &sums, start as u64)
            .map_err(|error| corrupt(format!("fails its checksum: {error}")))?;
        word.fetch_or(bit, Ordering::Release);
        Ok(())
    }
}

/// Verified bytes that keep their mapping alive.
struct MappedBytes {
    replica: Arc<LocalReplica>,
    range: Range<usize>,
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.replica.map[self.range.clone()]
    }
}

impl LocalReplica {
    /// A verified range as [`Bytes`] that share the mapping.
    pub(crate) fn bytes(self: &Arc<Self>, range: Range<usize>) -> Result<Bytes> {
        self.slice(range.clone())?;
        Ok(Bytes::from_owner(MappedBytes { replica: self.clone(), range }))
    }
}

/// A part of a file that lies in one block, mapped from a replica on this machine.
///
/// Nothing is copied. Windows of 1 MiB are verified when they are first touched.
#[derive(Clone)]
pub struct MappedRange {
    replica: Arc<LocalReplica>,
    start: usize,
    length: usize,
}

impl MappedRange {
    pub(crate) fn new(replica: Arc<LocalReplica>, start: usize, length: usize) -> Self {
        Self { replica, start, length }
    }

    /// Bytes in the range.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether the range is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// A part of the range, counted from its start, after it has passed its checksums.
    ///
    /// # Errors
    /// `Corrupt` when it has not: read the bytes with [`crate::FileReader::read_at`] instead, which
    /// takes another replica. `InvalidArgument` when it goes beyond the range.
    pub fn slice(&self, part: Range<usize>) -> Result<&[u8]> {
        if part.start > part.end || part.end > self.length {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{part:?} is not a part of the {} bytes mapped", self.length),
            ));
        }
        self.replica.slice(self.start + part.start..self.start + part.end)
    }

    /// The whole range, verified.
    ///
    /// # Errors
    /// As [`MappedRange::slice`].
    pub fn bytes(&self) -> Result<&[u8]> {
        self.slice(0..self.length)
    }

    /// A verified part as [`Bytes`] that keep the mapping alive; nothing is copied.
    ///
    /// # Errors
    /// As [`MappedRange::slice`].
    pub fn share(&self, part: Range<usize>) -> Result<Bytes> {
        self.slice(part.clone())?;
        self.replica.bytes(self.start + part.start..self.start + part.end)
    }
}

impl std::fmt::Debug for MappedRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MappedRange")
            .field("replica", &self.replica.name)
            .field("start", &self.start)
            .field("length", &self.length)
            .finish()
    }
}
