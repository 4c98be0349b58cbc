//! The `VERSION` file: whose data directory this is. Java properties, as HDFS writes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::layout::{LAYOUT_VERSION, VERSION_FILE};

/// More is not a VERSION file.
const VERSION_BYTES_MAX: u64 = 64 * 1024;

/// What `current/VERSION` of a data directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that the replicas belong to.
    pub cluster_id: String,
    /// The datanode that owns the directory.
    pub datanode_uuid: String,
    /// This directory's own id (HDFS `DS-…`).
    pub storage_uuid: String,
}

impl Identity {
    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be read, lacks a field or has a layout this version does not know.
    pub fn read(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = data_dir.join("current").join(VERSION_FILE);
        let Some(fields) = read_properties(&path)? else { return Ok(None) };
        let field = |name: &str| {
            fields.get(name).cloned().filter(|value| !value.is_empty()).ok_or_else(|| {
                StoreError::Directory(format!(
                    "{} has no field {name}: it is damaged; restore it from another data \
                     directory of this datanode or give the datanode an empty directory",
                    path.display()
                ))
            })
        };
        let layout = field("layoutVersion")?;
        if layout != LAYOUT_VERSION.to_string() {
            return Err(StoreError::Directory(format!(
                "{} has layout version {layout}, but this datanode knows {LAYOUT_VERSION} only; \
                 nothing was changed: use the release that wrote it, or an empty directory",
                path.display()
            )));
        }
        Ok(Some(Self {
            cluster_id: field("clusterID")?,
            datanode_uuid: field("datanodeUuid")?,
            storage_uuid: field("storageID")?,
        }))
    }

    /// Writes the file so that a crash leaves either no file or a whole one.
    ///
    /// # Errors
    /// If the directory can't be written.
    pub fn write(&self, data_dir: &Path) -> Result<(), StoreError> {
        let text = format!(
            "storageID={}\nclusterID={}\ncTime=0\ndatanodeUuid={}\nstorageType=DATA_NODE\n\
             layoutVersion={LAYOUT_VERSION}\n",
            self.storage_uuid, self.cluster_id, self.datanode_uuid
        );
        write_whole(&data_dir.join("current"), &text)
    }
}

/// Writes the block pool's own `VERSION` below `pool_current`.
///
/// # Errors
/// If the directory can't be written.
pub fn write_pool_version(pool_current: &Path, pool: &str) -> Result<(), StoreError> {
    write_whole(
        pool_current,
        &format!("cTime=0\nblockpoolID={pool}\nlayoutVersion={LAYOUT_VERSION}\n"),
    )
}

fn write_whole(dir: &Path, text: &str) -> Result<(), StoreError> {
    let unfinished: PathBuf = dir.join(format!("{VERSION_FILE}.tmp"));
    let path = dir.join(VERSION_FILE);
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(StoreError::io("write", &path))
}

fn read_properties(path: &Path) -> Result<Option<BTreeMap<String, String>>, StoreError> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    if length > VERSION_BYTES_MAX {
        return Err(StoreError::Directory(format!(
            "{} has {length} bytes and is no VERSION file of a datanode",
            path.display()
        )));
    }
    let text = fs::read_to_string(path).map_err(StoreError::io("read", path))?;
    let fields = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    Ok(Some(fields))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_back_and_refuses_other_layouts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), None);
        fs::create_dir(dir.path().join("current")).unwrap();
        let identity = Identity {
            cluster_id: "CID-1".into(),
            datanode_uuid: "u-1".into(),
            storage_uuid: "DS-1".into(),
        };
        identity.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(identity));

        let path = dir.path().join("current/VERSION");
        fs::write(&path, "#comment\nclusterID=c\nlayoutVersion=-99\n").unwrap();
        let error = Identity::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("-99") && error.contains("nothing was changed"), "{error}");
        fs::write(&path, "clusterID=c\nlayoutVersion=-57\n").unwrap();
        let error = Identity::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("datanodeUuid"), "{error}");
    }
}
