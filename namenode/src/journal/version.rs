//! The `VERSION` file of a name directory: whose it is.

use std::fmt::Write as _;

use super::files::{self, Files};
use super::segment::MAX_CLUSTER_ID_BYTES;

/// The file's name, as in HDFS.
pub const FILE_NAME: &str = "VERSION";
/// The layout of a name directory: 1 is the first, since 0.1.
pub const LAYOUT: u32 = 1;
/// The file is a few lines.
const MAX_BYTES: u64 = 4096;

/// What makes a file system this one and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Given once, when the file system is made. Datanodes and journals of another cluster are refused.
    pub cluster_id: String,
    /// Names the blocks of this file system on datanodes (HDFS block pool), `BP-<random>-<ip>-<ms>`.
    pub block_pool_id: String,
    /// When the file system was made, milliseconds since the epoch.
    pub created_ms: u64,
}

impl Identity {
    /// Draws a new identity. `ip` is this machine's address, for people.
    #[must_use]
    pub fn draw(cluster_id: Option<&str>, ip: &str, now_ms: u64) -> Self {
        let random = uuid::Uuid::new_v4();
        let cluster_id = cluster_id.map_or_else(|| format!("CID-{random}"), str::to_owned);
        let number = random.as_u128() as u32;
        Self { cluster_id, block_pool_id: format!("BP-{number}-{ip}-{now_ms}"), created_ms: now_ms }
    }

    /// Whether the ids can be kept: not empty, not too long, one line.
    ///
    /// # Errors
    /// A sentence that names the id.
    pub fn check(&self) -> Result<(), String> {
        for (what, id) in [("cluster", &self.cluster_id), ("block pool", &self.block_pool_id)] {
            let plain = id.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != '\\');
            if id.is_empty() || id.len() > MAX_CLUSTER_ID_BYTES || !plain {
                return Err(format!(
                    "the {what} id '{}' is not 1 to {MAX_CLUSTER_ID_BYTES} printable ASCII characters without slashes",
                    id.escape_debug()
                ));
            }
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "layoutVersion={LAYOUT}\nclusterID={}\nblockpoolID={}\ncTime={}\n",
            self.cluster_id, self.block_pool_id, self.created_ms
        );
        let crc = crc32fast::hash(text.as_bytes());
        // Writing to a String can't fail.
        let _ = writeln!(text, "crc32={crc:08x}");
        text
    }

    /// Writes the file, last of all: a directory that has it is complete.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, files: &dyn Files) -> std::io::Result<()> {
        files::replace(files, FILE_NAME, self.text().as_bytes())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// A sentence with the file's path.
    pub fn read(files: &dyn Files) -> Result<Self, String> {
        let path = files.path(FILE_NAME);
        let bytes = files::read(files, FILE_NAME, MAX_BYTES)
            .map_err(|e| format!("can't read {path}: {e}"))?;
        let damaged = || format!("{path} is damaged; restore it from a copy of the name directory");
        let text = String::from_utf8(bytes).map_err(|_| damaged())?;
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .ok_or_else(damaged)
        };
        let layout: u32 = value("layoutVersion")?.parse().map_err(|_| damaged())?;
        if layout != LAYOUT {
            return Err(format!(
                "{path} has layout {layout}, and this hfs knows layouts up to {LAYOUT}; start the version of hfs that wrote it"
            ));
        }
        let identity = Self {
            cluster_id: value("clusterID")?.to_owned(),
            block_pool_id: value("blockpoolID")?.to_owned(),
            created_ms: value("cTime")?.parse().map_err(|_| damaged())?,
        };
        if text != identity.text() || identity.check().is_err() {
            return Err(damaged());
        }
        Ok(identity)
    }
}
