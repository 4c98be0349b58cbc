//! Bringing files, directories and archives of a file system to this machine, for programs that want
//! them as local files: what YARN's localizer does for Hadoop's distributed cache.

mod archive;

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::FileSystem;

pub use archive::{is_archive, unpack};

/// How long the next piece of a file may take: a transfer may be long, but it must go on.
const PIECE_WAIT: Duration = Duration::from_secs(120);
/// What was brought may be read and run, by everybody, and not changed: several may use it.
const FILE_MODE: u32 = 0o555;

/// What is to be brought.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its absolute path.
    pub path: &'a str,
    /// Its bytes, for a file. Ignored for a directory.
    pub length: u64,
    /// When it was last changed, milliseconds since the epoch. Ignored for a directory.
    pub modified_ms: u64,
}

/// Copies a file, or a directory with all below it, to `target`, which must not exist. Files become
/// executable and read-only.
///
/// # Errors
/// When it can't be read or written, or is not what was wanted: it was changed meanwhile.
pub async fn bring(fs: &FileSystem, wanted: Wanted<'_>, target: &Path) -> Result<()> {
    let status = fs.status(wanted.path).await?;
    if status.is_dir() {
        return bring_tree(fs, wanted.path, target).await;
    }
    if status.length != wanted.length || status.modification_time_ms != wanted.modified_ms {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{} has changed since it was asked for: it had {} bytes and has {}; ask again",
                wanted.path, wanted.length, status.length
            ),
        ));
    }
    bring_file(fs, wanted.path, target).await
}

async fn bring_tree(fs: &FileSystem, path: &str, target: &Path) -> Result<()> {
    let mut waiting = vec![(path.to_owned(), target.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        fs::create_dir(&to).map_err(|error| unwritable(&to, &error))?;
        for entry in fs.list(&from).await? {
            let name = entry.name();
            // A namenode that gives other names would make us write elsewhere.
            if name.is_empty() || name == "." || name == ".." || name.contains('/') {
                let message = format!("{from} has an entry with the name '{name}'");
                return Err(Error::new(ErrorKind::InvalidPath, message));
            }
            let to = to.join(name);
            if entry.is_dir() {
                waiting.push((entry.path.clone(), to));
            } else {
                bring_file(fs, &entry.path, &to).await?;
            }
        }
    }
    Ok(())
}

async fn bring_file(fs: &FileSystem, path: &str, target: &Path) -> Result<()> {
    let mut reader = fs.open(path).await?;
    let mut file = File::create_new(target).map_err(|error| unwritable(target, &error))?;
    loop {
        let piece = timeout(PIECE_WAIT, reader.read_chunk()).await.map_err(|_| {
            let seconds = PIECE_WAIT.as_secs();
            Error::new(ErrorKind::TimedOut, format!("{path} did not come on for {seconds} s"))
        })??;
        if piece.is_empty() {
            break;
        }
        file.write_all(&piece).map_err(|error| unwritable(target, &error))?;
    }
    file.set_permissions(Permissions::from_mode(FILE_MODE))
        .map_err(|error| unwritable(target, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("can't write {}: {error}", path.display()))
}
