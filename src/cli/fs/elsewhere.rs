//! Files that are not in an HDFS, as the verbs that print files see them: `file:///path`, and
//! `s3a://bucket/key` with the cargo feature `object-store`. They are reached as a job reaches its files, with calls that wait, so on threads of their own.

use anyhow::Result;
use hfs_mapreduce::files::{FileInfo, Files};
use tokio::sync::mpsc;

use super::shell::{Complaint, Done, Shell};

/// Pieces of a file that wait to be printed.
const PIECES: usize = 4;
/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// A path that is there, and how the user knows it.
#[derive(Debug, Clone)]
pub struct Given {
    /// The path with its file system in front.
    pub url: String,
    /// The path as it is shown.
    pub shown: String,
    /// Bytes.
    pub length: u64,
}

/// Whether an argument names a file system that is no HDFS.
#[must_use]
pub fn is_elsewhere(argument: &str) -> bool {
    const SCHEMES: [&str; 4] = ["file:/", "s3a://", "s3://", "s3n://"];
    SCHEMES.iter().any(|scheme| argument.starts_with(scheme))
}

/// The files that an argument with globs stands for; complaints for those that are directories.
///
/// # Errors
/// Nothing matches, or it can't be found out.
pub async fn expand(shell: &Shell, argument: &str) -> Done<Vec<Done<Given>>> {
    let (files, pattern) = (shell.files.clone(), argument.to_owned());
    let found = waiting(move || files.matching(&pattern)).await?;
    if found.is_empty() {
        return Err(Complaint::path(argument, "No such file or directory"));
    }
    let given = |info: FileInfo| {
        let url = shell.files.qualified(&info.path);
        if info.is_dir {
            return Err(Complaint::path(&url, "Is a directory"));
        }
        Ok(Given { shown: url.clone(), url, length: info.length })
    };
    Ok(found.into_iter().map(given).collect())
}

/// Prints a file from `position` on, at most `length` bytes.
///
/// # Errors
/// It can't be read.
pub async fn print_range(shell: &Shell, given: &Given, position: u64, length: u64) -> Done {
    let url = given.url.clone();
    print(shell, move |files, sink| {
        let file = files.open(&url)?;
        let (mut at, end) = (position, position.saturating_add(length));
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(READ_BYTES).min(READ_BYTES);
            let mut bytes = vec![0; most];
            let read = file.read_at(at, &mut bytes)?;
            if read == 0 {
                break;
            }
            bytes.truncate(read);
            at += read as u64;
            sink(bytes)?;
        }
        Ok(())
    })
    .await
}

/// Prints what `work` gives to its sink, which it calls on a thread of its own.
///
/// # Errors
/// The work's.
pub async fn print(
    shell: &Shell,
    work: impl FnOnce(&Files, &mut dyn FnMut(Vec<u8>) -> Result<()>) -> Result<()> + Send + 'static,
) -> Done {
    let (pieces, mut printed) = mpsc::channel::<Vec<u8>>(PIECES);
    let files = shell.files.clone();
    let worker = tokio::task::spawn_blocking(move || {
        work(&files, &mut |piece| Ok(pieces.blocking_send(piece)?))
    });
    while let Some(piece) = printed.recv().await {
        shell.bytes(&piece);
    }
    worker.await.map_err(anyhow::Error::from)??;
    Ok(())
}

async fn waiting<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Done<T> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)??)
}
