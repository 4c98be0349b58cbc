//! One file system, by plain paths of its own.

use std::fmt;

use anyhow::{Context as _, Result};
#[cfg(feature = "object-store")]
use hfs_client::objects::Bucket;
use hfs_client::{CreateOptions, blocking};

#[cfg(feature = "object-store")]
use super::bucket;
use super::open::{InputFile, InputKind, OutputFile, OutputKind};
use super::{BlockHosts, FileInfo, local};
use crate::counters::TaskCounter;

/// A file system that a job can reach. Cheap to clone.
#[derive(Clone)]
pub(super) enum System {
    /// This machine's files.
    Local,
    /// A connected HDFS.
    Hdfs(blocking::FileSystem),
    /// A bucket of an object store.
    #[cfg(feature = "object-store")]
    Bucket(Bucket),
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

impl System {
    pub(super) fn status(&self, path: &str) -> Result<Option<FileInfo>> {
        match self {
            Self::Local => local::status(path),
            Self::Hdfs(fs) => Ok(fs.try_status(path)?.map(FileInfo::from)),
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket::status(bucket, path),
        }
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        let mut entries = match self {
            Self::Local => local::list(path)?,
            Self::Hdfs(fs) => fs.list(path)?.into_iter().map(FileInfo::from).collect(),
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket::list(bucket, path)?,
        };
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    pub(super) fn block_hosts(&self, path: &str, length: u64) -> Result<Vec<BlockHosts>> {
        match self {
            Self::Local => Ok(Vec::new()),
            #[cfg(feature = "object-store")]
            Self::Bucket(_) => Ok(Vec::new()),
            Self::Hdfs(fs) => Ok(fs
                .block_locations(path, 0, length)?
                .into_iter()
                .map(|block| BlockHosts {
                    offset: block.offset,
                    length: block.length,
                    hosts: block.hosts,
                    racks: block.racks,
                })
                .collect()),
        }
    }

    pub(super) fn open(&self, path: &str) -> Result<InputFile> {
        match self {
            Self::Local => local::open(path),
            Self::Hdfs(fs) => {
                let reader = fs.open(path)?;
                Ok(InputFile { length: reader.len(), kind: InputKind::Hdfs(Box::new(reader)) })
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket::open(bucket, path),
        }
    }

    pub(super) fn create(&self, path: &str) -> Result<OutputFile> {
        match self {
            Self::Local => local::create(path),
            Self::Hdfs(fs) => {
                let writer = fs.create(path, &CreateOptions::overwrite())?;
                Ok(OutputFile::new(OutputKind::Hdfs(Box::new(writer))))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => {
                let upload = blocking::wait(bucket.upload(path))??;
                Ok(OutputFile::new(OutputKind::Object(Box::new(upload), None)))
            }
        }
    }

    pub(super) fn mkdirs(&self, path: &str) -> Result<()> {
        match self {
            Self::Local => std::fs::create_dir_all(path)
                .with_context(|| format!("the directory {path} can't be made")),
            Self::Hdfs(fs) => Ok(fs.mkdirs(path, None)?),
            // There are none but in keys.
            #[cfg(feature = "object-store")]
            Self::Bucket(_) => Ok(()),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        match self {
            Self::Local => std::fs::rename(from, to)
                .with_context(|| format!("{from} can't be renamed to {to}")),
            Self::Hdfs(fs) => Ok(fs.rename2(from, to, false)?),
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => anyhow::bail!(
                "{bucket:?}{from} can't be renamed to {to}: an object store has no rename"
            ),
        }
    }

    pub(super) fn remove(&self, path: &str) -> Result<()> {
        match self {
            Self::Local => local::remove(path),
            Self::Hdfs(fs) => {
                fs.delete(path, true)?;
                Ok(())
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => Ok(blocking::wait(bucket.delete(path))??),
        }
    }

    /// Where it is, without a path: `hdfs://host:port`, or `file://`.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Local => "file://".to_owned(),
            Self::Hdfs(fs) => fs.url().with_path("/").to_string().trim_end_matches('/').to_owned(),
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.url().to_owned(),
        }
    }

    /// The counters of bytes read from it and written to it.
    pub(super) fn counters(&self) -> (TaskCounter, TaskCounter) {
        match self {
            Self::Local => (TaskCounter::FileBytesRead, TaskCounter::FileBytesWritten),
            Self::Hdfs(_) => (TaskCounter::HdfsBytesRead, TaskCounter::HdfsBytesWritten),
            #[cfg(feature = "object-store")]
            Self::Bucket(_) => (TaskCounter::S3aBytesRead, TaskCounter::S3aBytesWritten),
        }
    }
}
