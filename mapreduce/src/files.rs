//! The file systems of a job. A plain path is one of its default file system; `hdfs://host:port/path`
//! and `file:///path` name another one, so that a job can read from one and write to another; with the
//! cargo feature `object-store`, `s3a://bucket/key` as well.

mod behind;
#[cfg(feature = "object-store")]
mod bucket;
mod glob;
mod local;
mod open;
mod system;
mod uploads;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hfs_client::{Authority, ClientConfig, FsUrl, blocking};
use parking_lot::Mutex;

use crate::conf::Conf;
use crate::counters::TaskCounter;
use system::System;
use uploads::Redirect;
use url::Url;

pub(crate) use behind::WriteBehind;
pub use open::{InputFile, MappedPart, OutputFile};
pub(crate) use uploads::Staging;
pub(crate) use url::{is_bucket, is_url};

/// Where a job reads and writes: its default file system, and every other that its paths name, which
/// is connected to when it is first used. Cheap to clone; clones share the connections.
///
/// Paths that come back from here ([`FileInfo::path`]) can be given to it again: they are plain
/// for the default file system and URLs for others.
#[derive(Clone)]
pub struct Files {
    default: System,
    others: Arc<Others>,
    /// Where output goes instead, when that is an object store.
    redirect: Option<Arc<Redirect>>,
    /// Output to this machine's disk is more than its memory takes.
    write_behind: bool,
}

/// The file systems beside the default one.
struct Others {
    /// How to connect; `None`: as the environment says.
    config: Option<ClientConfig>,
    connected: Mutex<BTreeMap<String, System>>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.default).finish()
    }
}

/// A path, in the file system that has it.
struct Found<'a> {
    system: System,
    path: &'a str,
    /// What makes a path of this file system one of [`Files`]; empty for the default one's.
    prefix: String,
}

impl Found<'_> {
    fn info(&self, info: FileInfo) -> FileInfo {
        FileInfo { path: format!("{}{}", self.prefix, info.path), ..info }
    }
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The absolute path, with its file system in front unless that is the default one.
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
    /// Plain paths are this machine's files.
    #[must_use]
    pub fn local() -> Self {
        Self::new(System::Local, None)
    }

    /// As [`Files::local`]; other file systems are reached with these settings.
    #[must_use]
    pub fn local_with(config: ClientConfig) -> Self {
        Self::new(System::Local, Some(config))
    }

    /// Plain paths are those of a connected HDFS, whose settings and user are also those for other file
    /// systems.
    #[must_use]
    pub fn of_hdfs(fs: blocking::FileSystem) -> Self {
        let config = fs.inner().config().clone();
        Self::new(System::Hdfs(fs), Some(config))
    }

    fn new(default: System, config: Option<ClientConfig>) -> Self {
        let others = Arc::new(Others { config, connected: Mutex::default() });
        Self { default, others, redirect: None, write_behind: false }
    }

    /// Sends output to this machine's disk on while more is made.
    pub(crate) fn writing_behind(self, write_behind: bool) -> Self {
        Self { write_behind, ..self }
    }

    /// Sends files that are created in `dir` to `output`, if that is in a bucket: what `dir` gets are
    /// small files that say how to complete the uploads.
    pub(crate) fn uploading(self, dir: &str, output: &str) -> Self {
        let redirect = is_bucket(output).then(|| Arc::new(Redirect::new(dir, output)));
        Self { redirect, ..self }
    }

    /// The bucket of a path, and the path in it.
    #[cfg(feature = "object-store")]
    fn bucket<'a>(&self, path: &'a str) -> Result<(hfs_client::objects::Bucket, &'a str)> {
        let found = self.find(path)?;
        match found.system {
            System::Bucket(bucket) => Ok((bucket, found.path)),
            other => bail!("{path} is in {other:?}, which is no bucket"),
        }
    }

    /// The default file system, if it is an HDFS.
    #[must_use]
    pub fn hdfs(&self) -> Option<&blocking::FileSystem> {
        match &self.default {
            System::Hdfs(fs) => Some(fs),
            _ => None,
        }
    }

    /// The file system that has `path`.
    fn find<'a>(&self, path: &'a str) -> Result<Found<'a>> {
        let default =
            |path| Ok(Found { system: self.default.clone(), path, prefix: String::new() });
        let Some(url) = Url::parse(path) else { return default(path) };
        if self.is_default(&url)? {
            return default(url.path);
        }
        let prefix = prefix(&url)?;
        if url.is("file") {
            return Ok(Found { system: System::Local, path: url.path, prefix });
        }
        let mut connected = self.others.connected.lock();
        let system = match connected.get(&prefix) {
            Some(system) => system.clone(),
            None => {
                let system = self.connect(&prefix)?;
                connected.insert(prefix.clone(), system.clone());
                system
            }
        };
        Ok(Found { system, path: url.path, prefix })
    }

    fn connect(&self, prefix: &str) -> Result<System> {
        let config = match &self.others.config {
            Some(config) => config.clone(),
            None => ClientConfig::load()?,
        };
        #[cfg(feature = "object-store")]
        if is_bucket(&format!("{prefix}/")) {
            return Ok(System::Bucket(hfs_client::objects::Bucket::new(prefix, &config)?));
        }
        // A URL needs a path where it has no authority.
        let fs = blocking::FileSystem::connect(format!("{prefix}/").as_str(), config)
            .with_context(|| format!("the file system {prefix} can't be used"))?;
        Ok(System::Hdfs(fs))
    }

    /// Whether a URL means the default file system.
    fn is_default(&self, url: &Url<'_>) -> Result<bool> {
        Ok(match &self.default {
            System::Local => url.is("file"),
            System::Hdfs(fs) if url.is("hdfs") => {
                url.authority.is_empty()
                    || fs.url().authority().is_some_and(|own| {
                        Authority::parse(url.authority).is_ok_and(|named| same(own, &named))
                    })
            }
            _ => false,
        })
    }

    /// What is at `path`, if anything.
    ///
    /// # Errors
    /// When the file system can't say.
    pub fn status(&self, path: &str) -> Result<Option<FileInfo>> {
        let found = self.find(path)?;
        Ok(found.system.status(found.path)?.map(|info| found.info(info)))
    }

    /// The entries of a directory, by name.
    ///
    /// # Errors
    /// When `path` is not a directory that can be read.
    pub fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        let found = self.find(path)?;
        let entries = found.system.list(found.path)?;
        Ok(entries.into_iter().map(|info| found.info(info)).collect())
    }

    /// What a pattern with `*`, `?`, `[...]` or `{a,b}` matches; a path without these is itself.
    ///
    /// # Errors
    /// When nothing matches.
    pub fn glob(&self, pattern: &str) -> Result<Vec<FileInfo>> {
        let matching = self.matching(pattern)?;
        if matching.is_empty() {
            bail!("the input {pattern} does not exist; check the path and the file system");
        }
        Ok(matching)
    }

    /// As [`Files::glob`]; nothing is no error.
    ///
    /// # Errors
    /// When the file system can't say, or the pattern is too large.
    pub fn matching(&self, pattern: &str) -> Result<Vec<FileInfo>> {
        let pattern = &self.resolve(pattern)?;
        let found = self.find(pattern)?;
        let matching = match found.system.status(found.path)? {
            Some(info) => vec![info],
            None => glob::expand(&found.system, found.path)?,
        };
        Ok(matching.into_iter().map(|info| found.info(info)).collect())
    }

    /// Who holds the blocks of a file.
    ///
    /// # Errors
    /// When the file system can't say.
    pub fn block_hosts(&self, file: &FileInfo) -> Result<Vec<BlockHosts>> {
        let found = self.find(&file.path)?;
        found.system.block_hosts(found.path, file.length)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it does not exist or may not be read.
    pub fn open(&self, path: &str) -> Result<InputFile> {
        let found = self.find(path)?;
        found.system.open(found.path)
    }

    /// Creates a file with its missing parents, replacing what an earlier try has left.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn create(&self, path: &str) -> Result<OutputFile> {
        #[cfg(feature = "object-store")]
        if let Some(upload) = self.create_upload(path)? {
            return Ok(upload);
        }
        let found = self.find(path)?;
        let file = found.system.create(found.path)?;
        Ok(if self.write_behind { file.writing_behind() } else { file })
    }

    /// Makes a directory and its missing parents.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn mkdirs(&self, path: &str) -> Result<()> {
        let found = self.find(path)?;
        found.system.mkdirs(found.path)
    }

    /// Renames within a file system; the target must not exist.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.find(from)?, self.find(to)?);
        if from.prefix != to.prefix {
            bail!(
                "{}{} and {}{} are in different file systems; a rename can't move between them",
                from.prefix,
                from.path,
                to.prefix,
                to.path
            );
        }
        from.system.rename(from.path, to.path)
    }

    /// Removes a file or a whole directory, if it is there.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, path: &str) -> Result<()> {
        let found = self.find(path)?;
        found.system.remove(found.path)
    }

    /// Where the default file system is, without a path: `hdfs://host:port`, or `file://`.
    #[must_use]
    pub fn url(&self) -> String {
        self.default.url()
    }

    /// A path with its file system in front, as Hadoop writes it: local files have no authority, not
    /// even an empty one.
    #[must_use]
    pub fn qualified(&self, path: &str) -> String {
        let (url, path) = match path.strip_prefix("file://") {
            Some(path) => ("file://".to_owned(), path),
            None if is_url(path) => return path.to_owned(),
            None => (self.default.url(), path),
        };
        format!("{}{path}", url.trim_end_matches("//"))
    }

    /// A path as [`FileInfo::path`] has it: a URL of the default file system becomes a plain path, one of
    /// another file system is written in one way, and a path that is not absolute is one in the
    /// user's home directory of an HDFS.
    ///
    /// # Errors
    /// When there is no file system of this kind.
    pub fn resolve(&self, path: &str) -> Result<String> {
        match (Url::parse(path), &self.default) {
            (Some(url), _) if self.is_default(&url)? => Ok(url.path.to_owned()),
            (Some(url), _) => Ok(format!("{}{}", prefix(&url)?, url.path)),
            (None, System::Hdfs(fs)) if !path.starts_with('/') && !path.is_empty() => {
                Ok(format!("/user/{}/{path}", fs.inner().config().user))
            }
            (None, _) => Ok(path.to_owned()),
        }
    }

    /// The counter of bytes written to files in this directory, wherever they really go.
    pub(crate) fn output_counter(&self, dir: &str) -> TaskCounter {
        let uploads = self.redirect.as_ref().is_some_and(|redirect| redirect.is_of(dir));
        if uploads { TaskCounter::S3aBytesWritten } else { self.counters(dir).1 }
    }

    /// The counters of bytes read from and written to the file system of a path.
    pub(crate) fn counters(&self, path: &str) -> (TaskCounter, TaskCounter) {
        match Url::parse(path) {
            None => self.default.counters(),
            Some(url) if url.is("file") => System::Local.counters(),
            Some(url) if url.is_bucket() => {
                (TaskCounter::S3aBytesRead, TaskCounter::S3aBytesWritten)
            }
            Some(_) => (TaskCounter::HdfsBytesRead, TaskCounter::HdfsBytesWritten),
        }
    }
}

/// The settings of a client for a job: those of the environment, then the job's own `dfs.` and `fs.`
/// properties.
///
/// # Errors
/// When one can't be used.
pub(crate) fn client_config<'a>(
    properties: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<ClientConfig> {
    let mut config = ClientConfig::load()?;
    for (name, value) in properties {
        if name.starts_with("dfs.") || name.starts_with("fs.") {
            config.set(name, value)?;
        }
    }
    Ok(config)
}

/// The settings of a client for a job with this configuration; see [`client_config`].
pub(crate) fn client_config_of(conf: &Conf) -> Result<ClientConfig> {
    client_config(conf.iter())
}

/// What stands in front of the paths of a URL's file system.
fn prefix(url: &Url<'_>) -> Result<String> {
    if url.is("file") {
        return Ok("file://".to_owned());
    }
    if url.is_bucket() {
        return bucket_prefix(url);
    }
    if !url.is("hdfs") {
        bail!(
            "{}://{}{} is in no file system that this program knows; it knows hdfs:// and file://",
            url.scheme,
            url.authority,
            url.path
        );
    }
    if url.authority.is_empty() {
        // `fs.defaultFS` of the configuration, when the job's own default is another one.
        return Ok("hdfs://".to_owned());
    }
    let url = FsUrl::new(Some(Authority::parse(url.authority)?), "/");
    Ok(url.to_string().trim_end_matches('/').to_owned())
}

fn bucket_prefix(url: &Url<'_>) -> Result<String> {
    let Url { scheme, authority, path } = url;
    if cfg!(not(feature = "object-store")) {
        bail!(
            "{scheme}://{authority}{path} is in an object store, which this program is built without; \
             build it with the cargo feature object-store"
        );
    }
    if authority.is_empty() {
        bail!("{scheme}:{path} names no bucket; write {scheme}://BUCKET/KEY");
    }
    Ok(format!("{}://{authority}", scheme.to_ascii_lowercase()))
}

/// Whether two authorities are one: a port that is not written is the default one.
fn same(a: &Authority, b: &Authority) -> bool {
    (&a.host, a.port_or_default()) == (&b.host, b.port_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_of_local_files_is_a_plain_path_where_those_are_the_default() {
        let files = Files::local();
        for (path, resolved) in [
            ("/a", "/a"),
            ("a/b", "a/b"),
            ("file:///a/b", "/a/b"),
            ("file:/a", "/a"),
            ("FILE:///a", "/a"),
            ("HDFS://NN:9000/x", "hdfs://NN:9000/x"),
            ("hdfs://nn", "hdfs://nn/"),
            ("hdfs:///x", "hdfs:///x"),
        ] {
            assert_eq!(files.resolve(path).unwrap(), resolved, "{path}");
        }
        let error = files.resolve("gopher://h/x").unwrap_err().to_string();
        assert!(error.contains("gopher://h/x") && error.contains("hdfs://"), "{error}");
        assert!(files.resolve("hdfs://h:port/x").is_err());
    }

    #[test]
    fn local_files_are_found_by_path_and_by_url() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().to_str().unwrap();
        let url = format!("file://{plain}");
        let files = Files::local();
        let mut file = files.create(&format!("{url}/x/a")).unwrap();
        file.write_all(b"abc").unwrap();
        file.close().unwrap();
        files.rename(&format!("{url}/x"), &format!("{plain}/y")).unwrap();
        let found = files.glob(&format!("{url}/*/a")).unwrap();
        assert_eq!(found[0].path, format!("{plain}/y/a"));
        assert_eq!(found, files.list(&format!("{plain}/y")).unwrap());
        assert_eq!(files.qualified(&found[0].path), format!("file:{plain}/y/a"));
        let error = files.rename(&format!("{plain}/y"), "hdfs://127.0.0.1:1/y").unwrap_err();
        assert!(format!("{error:#}").contains("127.0.0.1:1"), "{error:#}");
    }

    #[test]
    fn bytes_are_counted_by_the_file_system_of_their_path() {
        let files = Files::local();
        assert_eq!(files.counters("/x").0, TaskCounter::FileBytesRead);
        assert_eq!(files.counters("file:///x").1, TaskCounter::FileBytesWritten);
        assert_eq!(files.counters("hdfs://nn/x").0, TaskCounter::HdfsBytesRead);
    }
}
