//! The file system of a job: HDFS, or this machine's files in a local run.

mod glob;
mod local;

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hfs_client::{CreateOptions, FsUrl, MappedRange, blocking};
use memmap2::Mmap;

use crate::compress::{Codec, Encoder};

/// Compressed bytes gathered before they are written.
const COMPRESSED_BUFFER_BYTES: usize = 1 << 20;

/// Where a job reads and writes.
#[derive(Debug, Clone)]
pub enum Files {
    /// This machine's files.
    Local,
    /// A connected HDFS.
    Hdfs(blocking::FileSystem),
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The absolute path.
    pub path: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes.
    pub length: u64,
    /// Bytes of a full block; 0 where files have none.
    pub block_bytes: u64,
}

impl FileInfo {
    /// The last component of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// A range of a file and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHosts {
    /// Where it begins, bytes.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// The nodes that hold it.
    pub hosts: Vec<String>,
    /// Their racks, in the same order.
    pub racks: Vec<String>,
}

impl From<hfs_client::FileStatus> for FileInfo {
    fn from(status: hfs_client::FileStatus) -> Self {
        Self {
            is_dir: status.is_dir(),
            length: status.length,
            block_bytes: status.block_size,
            path: status.path,
        }
    }
}

impl Files {
    /// What is at `path`, if anything.
    ///
    /// # Errors
    /// When the file system can't say.
    pub fn status(&self, path: &str) -> Result<Option<FileInfo>> {
        match self {
            Self::Local => local::status(path),
            Self::Hdfs(fs) => Ok(fs.try_status(path)?.map(FileInfo::from)),
        }
    }

    /// The entries of a directory, by name.
    ///
    /// # Errors
    /// When `path` is not a directory that can be read.
    pub fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        let mut entries = match self {
            Self::Local => local::list(path)?,
            Self::Hdfs(fs) => fs.list(path)?.into_iter().map(FileInfo::from).collect(),
        };
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// What a pattern with `*`, `?`, `[...]` or `{a,b}` matches; a path without these is itself.
    ///
    /// # Errors
    /// When nothing matches.
    pub fn glob(&self, pattern: &str) -> Result<Vec<FileInfo>> {
        let found = match self.status(pattern)? {
            Some(info) => vec![info],
            None => glob::expand(self, pattern)?,
        };
        if found.is_empty() {
            bail!("the input {pattern} does not exist; check the path and the file system");
        }
        Ok(found)
    }

    /// Who holds the blocks of a file.
    ///
    /// # Errors
    /// When the file system can't say.
    pub fn block_hosts(&self, file: &FileInfo) -> Result<Vec<BlockHosts>> {
        match self {
            Self::Local => Ok(Vec::new()),
            Self::Hdfs(fs) => Ok(fs
                .block_locations(&file.path, 0, file.length)?
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

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it does not exist or may not be read.
    pub fn open(&self, path: &str) -> Result<InputFile> {
        match self {
            Self::Local => local::open(path),
            Self::Hdfs(fs) => {
                let reader = fs.open(path)?;
                Ok(InputFile { length: reader.len(), kind: InputKind::Hdfs(Box::new(reader)) })
            }
        }
    }

    /// Creates a file with its missing parents, replacing what an earlier try has left.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn create(&self, path: &str) -> Result<OutputFile> {
        match self {
            Self::Local => local::create(path),
            Self::Hdfs(fs) => {
                let writer = fs.create(path, &CreateOptions::overwrite())?;
                Ok(OutputFile::new(OutputKind::Hdfs(Box::new(writer))))
            }
        }
    }

    /// Makes a directory and its missing parents.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn mkdirs(&self, path: &str) -> Result<()> {
        match self {
            Self::Local => std::fs::create_dir_all(path)
                .with_context(|| format!("the directory {path} can't be made")),
            Self::Hdfs(fs) => Ok(fs.mkdirs(path, None)?),
        }
    }

    /// Renames; the target must not exist.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        match self {
            Self::Local => std::fs::rename(from, to)
                .with_context(|| format!("{from} can't be renamed to {to}")),
            Self::Hdfs(fs) => Ok(fs.rename2(from, to, false)?),
        }
    }

    /// Removes a file or a whole directory, if it is there.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, path: &str) -> Result<()> {
        match self {
            Self::Local => local::remove(path),
            Self::Hdfs(fs) => {
                fs.delete(path, true)?;
                Ok(())
            }
        }
    }

    /// Where it is, without a path: `hdfs://host:port`, or `file://`.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Local => "file://".to_owned(),
            Self::Hdfs(fs) => fs.url().with_path("/").to_string().trim_end_matches('/').to_owned(),
        }
    }

    /// A path as this file system has it: `hdfs://host:port/x` and `file:///x` become `/x` where they
    /// mean this file system, and a path that is not absolute is one in the user's home directory of
    /// an HDFS.
    ///
    /// # Errors
    /// When it is a path of another file system.
    pub fn resolve(&self, path: &str) -> Result<String> {
        let local = path.strip_prefix("file:").map(|path| path.trim_start_matches('/'));
        match (self, local) {
            (Self::Local, Some(path)) => Ok(format!("/{path}")),
            (Self::Local, None) if FsUrl::is_url(path) => {
                bail!("{path} is in an HDFS, but this job runs over local files; name it with --fs")
            }
            (Self::Local, None) => Ok(path.to_owned()),
            (Self::Hdfs(fs), Some(path)) => {
                bail!("/{path} is a file of this machine; put it into {} first", fs.url())
            }
            (Self::Hdfs(fs), None) if FsUrl::is_url(path) => {
                let url: FsUrl = path.parse()?;
                if url.authority().is_some_and(|named| Some(named) != fs.url().authority()) {
                    bail!("{path} is not in the job's file system {}", fs.url());
                }
                Ok(url.path().to_owned())
            }
            (Self::Hdfs(_), None) if path.starts_with('/') || path.is_empty() => {
                Ok(path.to_owned())
            }
            (Self::Hdfs(fs), None) => Ok(format!("/user/{}/{path}", fs.inner().config().user)),
        }
    }

    /// Whether bytes are counted as HDFS's (`HDFS_BYTES_READ`) or as local ones.
    #[must_use]
    pub fn is_hdfs(&self) -> bool {
        matches!(self, Self::Hdfs(_))
    }
}

enum InputKind {
    Local(Arc<Mmap>),
    Hdfs(Box<blocking::FileReader>),
}

/// A file open for reading at any position.
pub struct InputFile {
    length: u64,
    kind: InputKind,
}

/// Part of a file that lies in memory without having been copied.
pub struct MappedPart(MappedKind);

enum MappedKind {
    Local { map: Arc<Mmap>, from: usize, length: usize },
    Replica(MappedRange),
}

impl InputFile {
    /// Bytes of the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Fills `buffer` from `position` on; fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// When no replica can be read.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize> {
        match &self.kind {
            InputKind::Local(map) => {
                // The map of an empty file has a byte all the same.
                let end = usize::try_from(self.length).unwrap_or(map.len()).min(map.len());
                let rest = usize::try_from(position).ok().and_then(|at| map.get(at..end));
                let rest = rest.unwrap_or_default();
                let bytes = rest.len().min(buffer.len());
                buffer[..bytes].copy_from_slice(&rest[..bytes]);
                Ok(bytes)
            }
            InputKind::Hdfs(reader) => {
                if position >= self.length {
                    return Ok(0);
                }
                Ok(reader.read_at(position, buffer)?)
            }
        }
    }

    /// Maps a range, or the front of it, if its bytes lie on this machine.
    ///
    /// # Errors
    /// When the file system can't say where the bytes lie.
    pub fn map(&self, position: u64, length: u64) -> Result<Option<MappedPart>> {
        match &self.kind {
            InputKind::Local(map) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX).min(map.len());
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(map.len() - from);
                Ok(Some(MappedPart(MappedKind::Local { map: Arc::clone(map), from, length })))
            }
            InputKind::Hdfs(reader) => {
                let mapped = reader.map_range(position, length)?;
                Ok(mapped.map(|range| MappedPart(MappedKind::Replica(range))))
            }
        }
    }
}

impl MappedPart {
    /// Bytes of the part.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            MappedKind::Local { length, .. } => *length,
            MappedKind::Replica(range) => range.len(),
        }
    }

    /// Whether the part is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of its bytes, verified.
    ///
    /// # Errors
    /// When they do not match their checksums: read them with [`InputFile::read_at`], which takes
    /// another replica.
    pub fn slice(&self, part: std::ops::Range<usize>) -> Result<&[u8]> {
        match &self.0 {
            MappedKind::Local { map, from, length } => {
                if part.start > part.end || part.end > *length {
                    bail!("{part:?} is not a part of the {length} bytes mapped");
                }
                Ok(&map[from + part.start..from + part.end])
            }
            MappedKind::Replica(range) => Ok(range.slice(part)?),
        }
    }
}

enum OutputKind {
    Local(std::fs::File, String),
    Hdfs(Box<blocking::FileWriter>),
}

/// A file open for writing. It counts only after [`OutputFile::close`].
pub struct OutputFile {
    kind: OutputKind,
    /// Bytes of the file so far.
    length: u64,
    encoder: Option<Box<Encoder>>,
}

impl OutputFile {
    fn new(kind: OutputKind) -> Self {
        Self { kind, length: 0, encoder: None }
    }

    /// The same file, compressed. Nothing may have been written before.
    #[must_use]
    pub fn compressed(self, codec: Codec) -> Self {
        Self { encoder: Some(Box::new(Encoder::new(codec))), ..self }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(encoder) = &mut self.encoder else { return self.append(bytes) };
        encoder.write(bytes)?;
        if encoder.compressed().len() < COMPRESSED_BUFFER_BYTES {
            return Ok(());
        }
        let mut compressed = std::mem::take(encoder.compressed());
        self.append(&compressed)?;
        if let Some(encoder) = &mut self.encoder {
            // The same memory for what comes.
            compressed.clear();
            *encoder.compressed() = compressed;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        match &mut self.kind {
            OutputKind::Local(file, path) => file
                .write_all(bytes)
                .with_context(|| format!("the file {path} can't be written; is the disk full?")),
            OutputKind::Hdfs(writer) => Ok(writer.write_all(bytes)?),
        }
    }

    /// Makes the file whole; says how many bytes it has.
    ///
    /// # Errors
    /// When its last bytes can't be written.
    pub fn close(mut self) -> Result<u64> {
        if let Some(encoder) = self.encoder.take() {
            let rest = encoder.finish()?;
            self.append(&rest)?;
        }
        match self.kind {
            OutputKind::Local(..) => {}
            OutputKind::Hdfs(writer) => writer.close()?,
        }
        Ok(self.length)
    }
}
