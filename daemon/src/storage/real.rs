//! A file of the operating system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Storage, closed};

/// A file. Errors carry its path.
#[derive(Debug)]
pub struct Real {
    /// `None` after close. Operations clone the handle, so that a sync never holds up the writes beside it.
    file: RwLock<Option<Arc<File>>>,
    path: PathBuf,
}

impl Real {
    /// Opens `path` for reading and writing, making it when it is not there.
    ///
    /// A new file's *name* is durable only after [`sync_dir`](Self::sync_dir) on its directory.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| named(&e, path))?;
        Ok(Self { file: RwLock::new(Some(Arc::new(file))), path: path.to_owned() })
    }

    /// Makes the names in `dir` (files made, renamed, removed) survive a loss of power.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn sync_dir(dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| named(&e, dir))
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn with<T>(&self, operation: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let file = self.file.read().clone().ok_or_else(closed)?;
        operation(&file).map_err(|e| named(&e, &self.path))
    }
}

fn named(e: &io::Error, path: &Path) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

impl Storage for Real {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.metadata()?.len()))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|file| {
            loop {
                match file.read_at(into, offset) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            }
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|file| file.write_all_at(data, offset))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(|file| file.set_len(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(File::sync_data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.write().take().map(drop).ok_or_else(closed)
    }
}
