//! Where things lie in a data directory. HDFS's layout, version -57:
//!
//! ```text
//! <data dir>/
//!   in_use.lock                       held by the running datanode
//!   current/
//!     VERSION                         cluster id, datanode uuid, storage uuid
//!     BP-…/                           the block pool
//!       current/
//!         VERSION
//!         finalized/subdirN/subdirM/  blk_<id>, blk_<id>_<gen stamp>.meta
//!         rbw/                        replicas being written
//!       tmp/                          copies under way; emptied at start
//! ```

use std::path::{Path, PathBuf};

use hfs_protocol::ids::{BlockId, GenStamp};

/// HDFS `DataNodeLayoutVersion`: block files lie in 32 x 32 subdirectories named by their id.
pub const LAYOUT_VERSION: i32 = -57;
/// The file that tells whose directory this is.
pub const VERSION_FILE: &str = "VERSION";

const PREFIX: &str = "blk_";
const META_SUFFIX: &str = ".meta";
/// Bits of a block id that name one level of subdirectories.
const SUBDIR_MASK: u64 = 0x1F;

/// The name of a replica's data file.
#[must_use]
pub fn data_name(block: BlockId) -> String {
    format!("{PREFIX}{block}")
}

/// The name of a replica's checksum file.
#[must_use]
pub fn meta_name(block: BlockId, stamp: GenStamp) -> String {
    format!("{PREFIX}{block}_{stamp}{META_SUFFIX}")
}

/// What a file name in a replica directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName {
    /// The bytes of a replica.
    Data(BlockId),
    /// Its checksums, with the generation stamp.
    Meta(BlockId, GenStamp),
}

impl FileName {
    /// Reads a file name; `None` for a file that is none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(PREFIX)?;
        if let Some(stem) = rest.strip_suffix(META_SUFFIX) {
            let (block, stamp) = stem.split_once('_')?;
            return Some(Self::Meta(BlockId(block.parse().ok()?), GenStamp(stamp.parse().ok()?)));
        }
        Some(Self::Data(BlockId(rest.parse().ok()?)))
    }
}

/// The directories of one block pool in one data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolDirs {
    /// `current/<pool>`.
    pub root: PathBuf,
    /// Complete replicas.
    pub finalized: PathBuf,
    /// Replicas being written.
    pub rbw: PathBuf,
    /// Copies under way.
    pub tmp: PathBuf,
}

impl PoolDirs {
    /// The directories of `pool` below `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path, pool: &str) -> Self {
        let root = data_dir.join("current").join(pool);
        let current = root.join("current");
        Self {
            finalized: current.join("finalized"),
            rbw: current.join("rbw"),
            tmp: root.join("tmp"),
            root,
        }
    }

    /// The subdirectory that a complete replica of `block` lies in (HDFS
    /// `DatanodeUtil.idToBlockDir`).
    #[must_use]
    pub fn finalized_dir(&self, block: BlockId) -> PathBuf {
        let first = (block.0 >> 16) & SUBDIR_MASK;
        let second = (block.0 >> 8) & SUBDIR_MASK;
        self.finalized.join(format!("subdir{first}")).join(format!("subdir{second}"))
    }
}

/// The two files of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaFiles {
    /// The bytes.
    pub data: PathBuf,
    /// Their checksums.
    pub meta: PathBuf,
}

impl ReplicaFiles {
    /// The files of a replica that lies in `dir`.
    #[must_use]
    pub fn new(dir: &Path, block: BlockId, stamp: GenStamp) -> Self {
        Self { data: dir.join(data_name(block)), meta: dir.join(meta_name(block, stamp)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let block = BlockId(1_073_741_825);
        assert_eq!(data_name(block), "blk_1073741825");
        assert_eq!(meta_name(block, GenStamp(1001)), "blk_1073741825_1001.meta");
        assert_eq!(FileName::parse("blk_1073741825"), Some(FileName::Data(block)));
        assert_eq!(
            FileName::parse("blk_1073741825_1001.meta"),
            Some(FileName::Meta(block, GenStamp(1001)))
        );
        for other in ["", "blk_", "blk_x", "blk_1_2", "blk_1.meta", "VERSION", "blk_1_2.meta.tmp"] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn subdirectories_follow_the_block_id() {
        let dirs = PoolDirs::new(Path::new("/d"), "BP-1");
        assert_eq!(
            dirs.finalized_dir(BlockId(1_073_741_825)),
            Path::new("/d/current/BP-1/current/finalized/subdir0/subdir0")
        );
        assert_eq!(
            dirs.finalized_dir(BlockId(0x4003_2A01)),
            Path::new("/d/current/BP-1/current/finalized/subdir3/subdir10")
        );
    }
}
