//! Files of this machine as job output, for clusters whose nodes share a directory (or are one machine).
//!
//! A rename within one file system is atomic here as in HDFS, and keeps the inode number, which is the
//! file id. Nothing is forced to the disk: what is in place outlives every process but not a
//! power failure.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::store::StoreError;

fn explain(path: &str, error: &io::Error) -> StoreError {
    let told = format!("file://{path}: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound(format!(
            "file://{path} is not on the jobtracker's machine; output to file:// must be in a \
             directory that all nodes share"
        )),
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => StoreError::Exists(told),
        // A network file system that went away: the call may have been done.
        io::ErrorKind::StaleNetworkFileHandle | io::ErrorKind::TimedOut => {
            StoreError::Unclear(told)
        }
        _ if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => StoreError::Unclear(told),
        _ => StoreError::Other(told),
    }
}

pub(super) fn file_id(path: &str) -> Result<Option<u64>, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(explain(path, &e)),
    }
}

pub(super) fn mkdirs(path: &str) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|e| explain(path, &e))
}

pub(super) fn create_empty(path: &str) -> Result<(), StoreError> {
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent).map_err(|e| explain(path, &e))?;
    }
    fs::File::create(path).map(drop).map_err(|e| explain(path, &e))
}

pub(super) fn rename(from: &str, to: &str, overwrite: bool) -> Result<(), StoreError> {
    if overwrite {
        return fs::rename(from, to).map_err(|e| explain(from, &e));
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some network file systems can't. What a plain rename of a directory would replace after this
        // look is an empty directory at most.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match file_id(to)? {
            Some(_) => Err(StoreError::Exists(format!("file://{to} is there already"))),
            None => fs::rename(from, to).map_err(|e| explain(from, &e)),
        },
        Err(e) => Err(explain(from, &e.into())),
    }
}

pub(super) fn delete(path: &str) -> Result<(), StoreError> {
    let deleted = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match deleted {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        deleted => deleted.map_err(|e| explain(path, &e)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rename_keeps_the_id_and_replaces_only_if_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        create_empty(&at("staging/part")).unwrap();
        let id = file_id(&at("staging")).unwrap();
        assert!(id.is_some());
        rename(&at("staging"), &at("out"), false).unwrap();
        assert_eq!(file_id(&at("out")).unwrap(), id);
        assert_eq!(file_id(&at("staging")).unwrap(), None);
        let gone = rename(&at("staging"), &at("new"), false).unwrap_err();
        assert!(matches!(&gone, StoreError::NotFound(why) if why.contains("share")), "{gone:?}");

        // Not even an empty directory is replaced.
        mkdirs(&at("empty")).unwrap();
        let there = rename(&at("out"), &at("empty"), false).unwrap_err();
        assert!(matches!(there, StoreError::Exists(_)), "{there:?}");
        create_empty(&at("other")).unwrap();
        rename(&at("other"), &at("out/part"), true).unwrap();
        delete(&at("out")).unwrap();
        delete(&at("out")).unwrap();
        assert_eq!(file_id(&at("out")).unwrap(), None);
    }
}
