//! The client for programs without an async runtime, such as MapReduce tasks: the same types with
//! calls that wait. All share one small runtime, made at the first use.

use std::io;
use std::sync::OnceLock;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use crate::config::ClientConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::file_system;
use crate::reader::{self, MappedRange};
use crate::status::{
    BlockLocation, ContentSummary, CreateOptions, FileStatus, FsStatus, ServerDefaults,
};
use crate::url::FsUrl;
use crate::writer;

/// Threads of the runtime that moves bytes while callers compute.
const WORKER_THREADS: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn runtime() -> Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("hfs-client")
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Io, format!("the client's threads can't be started: {error}"))
        })?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// Waits for any call of this crate that needs its runtime.
///
/// # Errors
/// When the client's threads can't be started.
pub fn wait<F: Future>(call: F) -> Result<F::Output> {
    Ok(runtime()?.block_on(call))
}

/// Begins work of this crate that nobody waits for here.
///
/// # Errors
/// When the client's threads can't be started.
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    runtime()?.spawn(work);
    Ok(())
}

/// A connected file system. See [`crate::FileSystem`] for what each call does.
///
/// Not to be used from inside an async runtime: its calls block the thread.
#[derive(Clone, Debug)]
pub struct FileSystem {
    inner: file_system::FileSystem,
    runtime: &'static Runtime,
}

impl FileSystem {
    /// Connects; see [`crate::FileSystem::connect`].
    pub fn connect<U>(url: U, config: ClientConfig) -> Result<Self>
    where
        U: TryInto<FsUrl>,
        Error: From<U::Error>,
    {
        let runtime = runtime()?;
        let inner = runtime.block_on(file_system::FileSystem::connect(url, config))?;
        Ok(Self { inner, runtime })
    }

    /// The async file system behind this one.
    #[must_use]
    pub const fn inner(&self) -> &file_system::FileSystem {
        &self.inner
    }

    /// Where this file system is.
    #[must_use]
    pub fn url(&self) -> &FsUrl {
        self.inner.url()
    }

    /// Waits for any call of the async file system.
    pub fn wait<F: Future>(&self, call: F) -> F::Output {
        self.runtime.block_on(call)
    }

    /// See [`crate::FileSystem::status`].
    pub fn status(&self, path: &str) -> Result<FileStatus> {
        self.wait(self.inner.status(path))
    }

    /// See [`crate::FileSystem::try_status`].
    pub fn try_status(&self, path: &str) -> Result<Option<FileStatus>> {
        self.wait(self.inner.try_status(path))
    }

    /// See [`crate::FileSystem::exists`].
    pub fn exists(&self, path: &str) -> Result<bool> {
        self.wait(self.inner.exists(path))
    }

    /// See [`crate::FileSystem::list`].
    pub fn list(&self, path: &str) -> Result<Vec<FileStatus>> {
        self.wait(self.inner.list(path))
    }

    /// See [`crate::FileSystem::mkdirs`].
    pub fn mkdirs(&self, path: &str, permission: Option<u16>) -> Result<()> {
        self.wait(self.inner.mkdirs(path, permission))
    }

    /// See [`crate::FileSystem::delete`].
    pub fn delete(&self, path: &str, recursive: bool) -> Result<bool> {
        self.wait(self.inner.delete(path, recursive))
    }

    /// See [`crate::FileSystem::rename`].
    pub fn rename(&self, src: &str, dst: &str) -> Result<bool> {
        self.wait(self.inner.rename(src, dst))
    }

    /// See [`crate::FileSystem::rename2`].
    pub fn rename2(&self, src: &str, dst: &str, overwrite: bool) -> Result<()> {
        self.wait(self.inner.rename2(src, dst, overwrite))
    }

    /// See [`crate::FileSystem::set_permission`].
    pub fn set_permission(&self, path: &str, permission: u16) -> Result<()> {
        self.wait(self.inner.set_permission(path, permission))
    }

    /// See [`crate::FileSystem::content_summary`].
    pub fn content_summary(&self, path: &str) -> Result<ContentSummary> {
        self.wait(self.inner.content_summary(path))
    }

    /// See [`crate::FileSystem::fs_status`].
    pub fn fs_status(&self) -> Result<FsStatus> {
        self.wait(self.inner.fs_status())
    }

    /// See [`crate::FileSystem::server_defaults`].
    pub fn server_defaults(&self) -> Result<ServerDefaults> {
        self.wait(self.inner.server_defaults())
    }

    /// See [`crate::FileSystem::block_locations`].
    pub fn block_locations(
        &self,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<Vec<BlockLocation>> {
        self.wait(self.inner.block_locations(path, offset, length))
    }

    /// See [`crate::FileSystem::open`].
    pub fn open(&self, path: &str) -> Result<FileReader> {
        let inner = self.wait(self.inner.open(path))?;
        Ok(FileReader { inner, runtime: self.runtime })
    }

    /// See [`crate::FileSystem::create`].
    pub fn create(&self, path: &str, options: &CreateOptions) -> Result<FileWriter> {
        let inner = self.wait(self.inner.create(path, options))?;
        Ok(FileWriter { inner, runtime: self.runtime })
    }

    /// See [`crate::FileSystem::append`].
    pub fn append(&self, path: &str) -> Result<FileWriter> {
        let inner = self.wait(self.inner.append(path))?;
        Ok(FileWriter { inner, runtime: self.runtime })
    }
}

/// An open file. See [`crate::FileReader`].
pub struct FileReader {
    inner: reader::FileReader,
    runtime: &'static Runtime,
}

impl FileReader {
    /// See [`crate::FileReader::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.inner.path()
    }

    /// See [`crate::FileReader::len`].
    #[must_use]
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// See [`crate::FileReader::is_empty`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// See [`crate::FileReader::position`].
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.inner.position()
    }

    /// See [`crate::FileReader::seek`].
    pub fn seek(&mut self, position: u64) {
        self.inner.seek(position);
    }

    /// See [`crate::FileReader::read_chunk`].
    pub fn read_chunk(&mut self) -> Result<Bytes> {
        self.runtime.block_on(self.inner.read_chunk())
    }

    /// See [`crate::FileReader::read_at`].
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize> {
        self.runtime.block_on(self.inner.read_at(position, buffer))
    }

    /// See [`crate::FileReader::read_to_end`].
    pub fn read_all(&mut self) -> Result<Vec<u8>> {
        self.runtime.block_on(self.inner.read_to_end())
    }

    /// See [`crate::FileReader::map_range`].
    pub fn map_range(&self, offset: u64, length: u64) -> Result<Option<MappedRange>> {
        self.runtime.block_on(self.inner.map_range(offset, length))
    }
}

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.runtime.block_on(self.inner.read(buffer))?)
    }
}

/// A file open for writing. See [`crate::FileWriter`]; close it.
pub struct FileWriter {
    inner: writer::FileWriter,
    runtime: &'static Runtime,
}

impl FileWriter {
    /// See [`crate::FileWriter::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.inner.path()
    }

    /// See [`crate::FileWriter::len`].
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.inner.len()
    }

    /// See [`crate::FileWriter::is_empty`].
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// See [`crate::FileWriter::write_all`].
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.runtime.block_on(self.inner.write_all(bytes))
    }

    /// See [`crate::FileWriter::hflush`].
    pub fn hflush(&mut self) -> Result<()> {
        self.runtime.block_on(self.inner.hflush())
    }

    /// See [`crate::FileWriter::hsync`].
    pub fn hsync(&mut self) -> Result<()> {
        self.runtime.block_on(self.inner.hsync())
    }

    /// See [`crate::FileWriter::close`].
    pub fn close(mut self) -> Result<()> {
        self.runtime.block_on(self.inner.close())
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.runtime.block_on(self.inner.write(bytes))?)
    }

    /// Does nothing: packets are sent as they fill. To make bytes visible call
    /// [`FileWriter::hflush`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
