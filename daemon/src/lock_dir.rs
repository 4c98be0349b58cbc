//! One process per directory. The lock is the kernel's (`flock` on `in_use.lock`, the name HDFS gives it),
//! so it is gone with its holder, however that ended; the file's text only says who it was.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// The file's name in the directory.
pub const FILE_NAME: &str = "in_use.lock";

/// Held while the process uses the directory. Dropping it gives the directory free.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
    dir: PathBuf,
}

/// Why a directory could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "directory {dir} is in use by another hfs process{}; stop that one, or give this one a directory of its own",
        holder.as_ref().map(|h| format!(" ({h})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote into the file: role and process id.
        holder: Option<String>,
    },
    /// The lock file can't be made or locked.
    #[error("can't lock directory {dir}: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DirLock {
    /// Claims `dir`, which must exist. `role` goes into the file for the next one who asks.
    ///
    /// # Errors
    /// [`LockError::InUse`] when another process holds it; [`LockError::Io`] when it can't be locked at all.
    pub fn acquire(dir: &Path, role: &str) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io { dir: dir.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE_NAME))
            .map_err(io_error)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // The text is a courtesy: an unreadable one changes nothing.
                let _ = file.take(256).read_to_string(&mut holder);
                let holder = Some(holder.trim().to_owned()).filter(|h| !h.is_empty());
                return Err(LockError::InUse { dir: dir.to_owned(), holder });
            }
            Err(errno) => return Err(io_error(errno.into())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{role}, process {}", std::process::id()))
            .map_err(io_error)?;
        Ok(Self { _file: file, dir: dir.to_owned() })
    }

    /// The directory that is held.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path(), "namenode").unwrap();
        assert_eq!(first.dir(), dir.path());
        let sentence = DirLock::acquire(dir.path(), "namenode").unwrap_err().to_string();
        assert!(sentence.contains("namenode, process"), "{sentence}");
        assert!(sentence.contains(&dir.path().display().to_string()), "{sentence}");
        drop(first);
        DirLock::acquire(dir.path(), "namenode").unwrap();
    }

    #[test]
    fn a_missing_directory_is_an_error_with_its_name() {
        let sentence = DirLock::acquire(Path::new("/nonexistent"), "x").unwrap_err().to_string();
        assert!(sentence.contains("/nonexistent"), "{sentence}");
    }
}
