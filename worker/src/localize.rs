//! Brings job programs onto this node: once each, whole, and only if they are what they should be.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use hfs_client::{ClientConfig, FileSystem};
use hfs_protocol::proto::task::JobSpec;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::dirs::Dirs;

/// How long the whole download of a program may take.
const DOWNLOAD_WAIT: Duration = Duration::from_secs(300);

/// Where programs come from. A seam: tests serve them from memory.
pub trait Source: Send + Sync + 'static {
    /// Opens the program of a job.
    fn open<'a>(&'a self, job: &'a JobSpec) -> BoxFuture<'a, Result<Box<dyn Chunks>, String>>;
}

/// A program, piece by piece.
pub trait Chunks: Send {
    /// The next piece; empty at the end.
    fn next(&mut self) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// The file system that the job names, read as the job's user.
#[derive(Debug)]
pub struct Hdfs {
    /// The address to dial out from, so that a replica on this node is known to be near.
    pub local_address: Option<std::net::IpAddr>,
}

impl Source for Hdfs {
    fn open<'a>(&'a self, job: &'a JobSpec) -> BoxFuture<'a, Result<Box<dyn Chunks>, String>> {
        Box::pin(async move {
            let mut config = ClientConfig::load().map_err(|e| e.to_string())?;
            config.local_address = self.local_address;
            if !job.user.is_empty() {
                config.user.clone_from(&job.user);
            }
            let fs = FileSystem::connect(job.fs_url.as_str(), config)
                .await
                .map_err(|e| e.to_string())?;
            let reader = fs.open(&job.program_path).await.map_err(|e| e.to_string())?;
            Ok(Box::new(HdfsChunks(reader)) as Box<dyn Chunks>)
        })
    }
}

struct HdfsChunks(hfs_client::FileReader);

impl Chunks for HdfsChunks {
    fn next(&mut self) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { self.0.read_chunk().await.map_err(|e| e.to_string()) })
    }
}

/// One lock for each program that is being brought.
type Turns = HashMap<String, Arc<tokio::sync::Mutex<()>>>;

/// The programs on this node.
pub struct Programs {
    dirs: Dirs,
    source: Arc<dyn Source>,
    turns: Mutex<Turns>,
}

impl Programs {
    /// The programs in a worker's directory, and where missing ones come from.
    #[must_use]
    pub fn new(dirs: Dirs, source: Arc<dyn Source>) -> Self {
        Self { dirs, source, turns: Mutex::default() }
    }

    /// The path of the job's program on this node. Attempts that want the same one wait for one
    /// download.
    ///
    /// # Errors
    /// A sentence: the program can't be had, or is not what the job says it is.
    pub async fn bring(&self, job: &JobSpec) -> Result<PathBuf, String> {
        let sha = job.program_sha256.to_ascii_lowercase();
        if sha.len() != 64 || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("the job names its program by '{sha}', which is no SHA-256"));
        }
        let path = self.dirs.program(&sha);
        if present(&path) {
            return Ok(path);
        }
        let turn = Arc::clone(self.turns.lock().entry(sha.clone()).or_default());
        let result = {
            let _turn = turn.lock().await;
            if present(&path) {
                Ok(path.clone())
            } else {
                timeout(DOWNLOAD_WAIT, self.download(job, &sha, &path))
                    .await
                    .unwrap_or_else(|_| Err(format!("no end after {} s", DOWNLOAD_WAIT.as_secs())))
                    .map(|()| path)
            }
        };
        self.turns.lock().remove(&sha);
        result.map_err(|why| {
            format!("the program {} of {} can't be had: {why}", job.program_path, job.fs_url)
        })
    }

    async fn download(&self, job: &JobSpec, sha: &str, path: &Path) -> Result<(), String> {
        let mut chunks = self.source.open(job).await?;
        let half_made = path.with_extension("part");
        let disk = |e: io::Error| format!("can't write {}: {e}", half_made.display());
        let mut file = File::create(&half_made).map_err(disk)?;
        let mut hash = Sha256::new();
        let mut first = Vec::new();
        loop {
            let chunk = chunks.next().await?;
            if chunk.is_empty() {
                break;
            }
            if first.len() < 4 {
                first.extend_from_slice(&chunk[..chunk.len().min(4)]);
            }
            hash.update(&chunk);
            file.write_all(&chunk).map_err(disk)?;
        }
        let found = hex(&hash.finalize());
        if found != sha {
            let _ = fs::remove_file(&half_made);
            return Err(format!(
                "its SHA-256 is {found} and should be {sha}; submit the job again"
            ));
        }
        if !first.starts_with(b"\x7fELF") && !first.starts_with(b"#!") {
            let _ = fs::remove_file(&half_made);
            return Err("it is not an executable (neither an ELF file nor a #! script)".to_owned());
        }
        file.set_permissions(Permissions::from_mode(0o755)).map_err(disk)?;
        drop(file);
        fs::rename(&half_made, path).map_err(disk)
    }
}

/// Whether a program is here. Using it makes it young again, so that it is not the next to go.
fn present(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    // Only the order of deletion depends on it.
    let _ = file.set_modified(SystemTime::now());
    true
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Fixed {
        bytes: &'static [u8],
        opened: AtomicUsize,
    }

    struct Once(Option<Bytes>);

    impl Chunks for Once {
        fn next(&mut self) -> BoxFuture<'_, Result<Bytes, String>> {
            Box::pin(futures::future::ready(Ok(self.0.take().unwrap_or_default())))
        }
    }

    impl Source for Fixed {
        fn open<'a>(&'a self, _: &'a JobSpec) -> BoxFuture<'a, Result<Box<dyn Chunks>, String>> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            let chunks = Once(Some(Bytes::from_static(self.bytes)));
            Box::pin(futures::future::ready(Ok(Box::new(chunks) as Box<dyn Chunks>)))
        }
    }

    fn job(bytes: &[u8]) -> JobSpec {
        let program_sha256 = hex(&Sha256::digest(bytes));
        JobSpec { program_sha256, program_path: "/p".into(), ..JobSpec::default() }
    }

    async fn bring(bytes: &'static [u8], job: &JobSpec) -> (Result<PathBuf, String>, usize) {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::prepare(root.path()).unwrap();
        let source = Arc::new(Fixed { bytes, opened: AtomicUsize::new(0) });
        let programs = Programs::new(dirs, source.clone());
        let (a, b) = futures::join!(programs.bring(job), programs.bring(job));
        if let Ok(path) = &a {
            assert_eq!(fs::read(path).unwrap(), bytes);
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o755);
            assert!(b.is_ok());
        }
        (a, source.opened.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_program_is_brought_once() {
        let bytes = b"#!/bin/sh\n";
        let (path, opened) = bring(bytes, &job(bytes)).await;
        assert!(path.is_ok());
        assert_eq!(opened, 1);
    }

    #[tokio::test]
    async fn other_bytes_and_other_files_are_refused() {
        let (result, _) = bring(b"#!/bin/sh\nevil", &job(b"#!/bin/sh\n")).await;
        assert!(result.unwrap_err().contains("SHA-256"));
        let (result, _) = bring(b"just a text", &job(b"just a text")).await;
        assert!(result.unwrap_err().contains("not an executable"));
        let (result, _) = bring(b"", &JobSpec::default()).await;
        assert!(result.is_err());
    }
}
