//! The start: which replicas lie in the data directories.
//!
//! A complete replica is trusted if its two files have lengths that fit each other; its bytes are
//! checked by whoever reads them. A replica that was being written is checked from its end and cut
//! to what is good.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::datanode::Block;
use hfs_protocol::transfer::checksum::{DataChecksum, META_HEADER_BYTES};
use parking_lot::Mutex;

use super::chunks::{ChunkFiles, meta_len};
use super::error::StoreError;
use super::layout::{FileName, ReplicaFiles};
use super::named;
use super::replica::{Finalized, Replica, WaitingToBeRecovered};
use super::slot::Held;
use super::volume::Volume;

/// Threads that list and stat directories. More than the processors: a cold directory waits for
/// the disk.
const SCAN_THREADS: usize = 8;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Found {
    /// The replicas.
    pub replicas: Vec<(BlockId, Held)>,
    /// Those whose files do not fit each other, with the reason.
    pub bad: Vec<(Block, String)>,
}

/// The files of one block that were seen, in whatever directory.
#[derive(Debug, Default)]
struct Seen {
    data: Option<PathBuf>,
    data_len: u64,
    meta: Option<(GenStamp, PathBuf, u64)>,
}

type SeenBlocks = HashMap<BlockId, Seen>;

/// Scans the volumes, all directories in parallel.
///
/// # Errors
/// If a directory can't be read.
pub fn scan(volumes: &[Arc<Volume>]) -> Result<Found, StoreError> {
    let mut work: Vec<(usize, PathBuf)> = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let dirs = volume.pool_dirs()?;
        work.push((index, dirs.rbw.clone()));
        for entry in
            fs::read_dir(&dirs.finalized).map_err(StoreError::io("list", &dirs.finalized))?
        {
            work.push((index, entry.map_err(StoreError::io("list", &dirs.finalized))?.path()));
        }
    }
    let seen: Vec<Mutex<SeenBlocks>> = volumes.iter().map(|_| Mutex::default()).collect();
    let failure: Mutex<Option<StoreError>> = Mutex::new(None);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SCAN_THREADS.min(work.len()) {
            scope.spawn(|| {
                while let Some((volume, dir)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut found = Vec::new();
                    if let Err(error) = list(dir, &mut found) {
                        *failure.lock() = Some(error);
                        return;
                    }
                    let mut blocks = seen[*volume].lock();
                    found.into_iter().for_each(|file| note(&mut blocks, file));
                }
            });
        }
    });
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    let mut result = Found::default();
    let mut homes: HashMap<BlockId, usize> = HashMap::new();
    for (volume, blocks) in volumes.iter().zip(seen) {
        for (block, files) in blocks.into_inner() {
            let Some((held, reason)) = judge(volume, block, files)? else { continue };
            if let Some(reason) = reason {
                let bad = named(block, held.replica.stamp(), held.replica.on_disk());
                result.bad.push((bad, reason));
            }
            keep_better(&mut result.replicas, &mut homes, block, held);
        }
    }
    Ok(result)
}

/// A file name with what stat says.
struct SeenFile {
    name: FileName,
    path: PathBuf,
    len: u64,
}

fn list(dir: &Path, found: &mut Vec<SeenFile>) -> Result<(), StoreError> {
    let entries = match fs::read_dir(dir) {
        // Not a directory of ours: a stray file beside the subdirectories.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        other => other.map_err(StoreError::io("list", dir))?,
    };
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        let path = entry.path();
        match entry.file_name().to_str().and_then(FileName::parse) {
            Some(name) => {
                let len = entry.metadata().map_err(StoreError::io("stat", &path))?.len();
                found.push(SeenFile { name, path, len });
            }
            None if entry.file_type().is_ok_and(|kind| kind.is_dir()) => list(&path, found)?,
            None => {}
        }
    }
    Ok(())
}

fn note(blocks: &mut SeenBlocks, file: SeenFile) {
    match file.name {
        FileName::Data(block) => {
            let seen = blocks.entry(block).or_default();
            // A crash between copying and deleting can leave two; the complete one is the truth.
            if seen.data.is_none() || !in_rbw(&file.path) {
                seen.data = Some(file.path);
                seen.data_len = file.len;
            }
        }
        FileName::Meta(block, stamp) => {
            let seen = blocks.entry(block).or_default();
            if seen.meta.as_ref().is_none_or(|(other, ..)| *other < stamp) {
                seen.meta = Some((stamp, file.path, file.len));
            }
        }
    }
}

fn in_rbw(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|dir| dir == "rbw")
}

/// Decides what the files of one block are. With a reason: a replica that is bad.
fn judge(
    volume: &Arc<Volume>,
    block: BlockId,
    seen: Seen,
) -> Result<Option<(Held, Option<String>)>, StoreError> {
    let Some(data) = seen.data else {
        if let Some((_, path, _)) = seen.meta {
            tracing::warn!("{} has checksums of no data; left as it is", path.display());
        }
        return Ok(None);
    };
    let Some((stamp, meta, meta_bytes)) = seen.meta else {
        tracing::warn!("{} has no checksum file; left as it is, not served", data.display());
        return Ok(None);
    };
    volume.count_used(i64::try_from(seen.data_len + meta_bytes).unwrap_or(i64::MAX));
    let dir = data.parent().unwrap_or(volume.dir());
    let files = ReplicaFiles::new(dir, block, stamp);
    if files.meta != meta {
        // The process died between the two renames of a transition: finish it.
        fs::rename(&meta, &files.meta).map_err(StoreError::io("rename", &meta))?;
    }
    if in_rbw(&data) {
        return judge_unfinished(volume, stamp, files);
    }
    let replica = Replica::Finalized(Finalized { stamp, len: seen.data_len });
    let held = Held { replica, volume: Arc::clone(volume) };
    let reason = misfit(&files, seen.data_len, meta_bytes);
    Ok(Some((held, reason)))
}

fn judge_unfinished(
    volume: &Arc<Volume>,
    stamp: GenStamp,
    files: ReplicaFiles,
) -> Result<Option<(Held, Option<String>)>, StoreError> {
    let waiting = |len| {
        let replica = Replica::WaitingToBeRecovered(WaitingToBeRecovered { stamp, len });
        Held { replica, volume: Arc::clone(volume) }
    };
    let opened = ChunkFiles::open(files, true).and_then(|files| {
        let (have, good) = (files.data_len()?, files.valid_len()?);
        let path = files.paths.data.display();
        if good < have {
            tracing::warn!("{path} was being written: {good} of its {have} bytes are good");
        }
        // Also when all is good: checksums may reach beyond the data.
        files.data.set_len(good).map_err(StoreError::io("cut", &files.paths.data))?;
        files
            .meta
            .set_len(meta_len(files.checksum, good))
            .map_err(StoreError::io("cut", &files.paths.meta))?;
        Ok(good)
    });
    match opened {
        Ok(good) => Ok(Some((waiting(good), None))),
        // A checksum file that was cut before its header was written: nothing was ever acked.
        Err(StoreError::Io { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            Ok(Some((waiting(0), None)))
        }
        Err(error) => Err(error),
    }
}

/// Why a complete replica's two lengths can't both be right.
fn misfit(files: &ReplicaFiles, data_len: u64, meta_bytes: u64) -> Option<String> {
    // Nearly every replica has the default checksum: then its header need not be read.
    if meta_bytes == meta_len(DataChecksum::default(), data_len) && data_len > 0 {
        return None;
    }
    if meta_bytes < META_HEADER_BYTES as u64 {
        return Some(format!("{} has {meta_bytes} bytes, too few", files.meta.display()));
    }
    match ChunkFiles::open(files.clone(), false) {
        Ok(opened) => {
            let expected = meta_len(opened.checksum, data_len);
            (expected != meta_bytes).then(|| {
                format!(
                    "{} has {data_len} bytes, which need {expected} bytes of checksums, but {} has \
                     {meta_bytes}",
                    files.data.display(),
                    files.meta.display()
                )
            })
        }
        Err(error) => Some(error.to_string()),
    }
}

/// Two volumes can hold the same block after a disk came back: the newer, then the complete, then
/// the longer one is the replica. The other's files stay.
fn keep_better(
    replicas: &mut Vec<(BlockId, Held)>,
    homes: &mut HashMap<BlockId, usize>,
    block: BlockId,
    held: Held,
) {
    let rank = |held: &Held| {
        let complete = matches!(held.replica, Replica::Finalized(_));
        (held.replica.stamp(), complete, held.replica.on_disk())
    };
    match homes.get(&block) {
        None => {
            homes.insert(block, replicas.len());
            replicas.push((block, held));
        }
        Some(&index) => {
            let (_, other) = &mut replicas[index];
            let (keep, leave) = if rank(other) >= rank(&held) {
                (other.volume.dir().to_owned(), held.volume.dir().to_owned())
            } else {
                let dirs = (held.volume.dir().to_owned(), other.volume.dir().to_owned());
                *other = held;
                dirs
            };
            tracing::warn!(
                "blk_{block} lies in {} and in {}: the first one is served, the other left as it is",
                keep.display(),
                leave.display()
            );
        }
    }
}
