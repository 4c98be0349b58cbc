//! Objects of a bucket as files. The client's calls are waited for.

use std::ops::Range;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hfs_client::blocking;
use hfs_client::objects::{Bucket, Entry};
use parking_lot::Mutex;

use super::FileInfo;
use super::open::{InputFile, InputKind};

/// Bytes asked for at once. Answers of a store take long to begin and little longer to be large.
const WINDOW_BYTES: u64 = 4 << 20;

fn info(bucket: &Bucket, entry: Entry) -> FileInfo {
    FileInfo {
        block_bytes: if entry.is_dir { 0 } else { bucket.block_bytes() },
        path: entry.path,
        is_dir: entry.is_dir,
        length: entry.length,
    }
}

pub(super) fn status(bucket: &Bucket, path: &str) -> Result<Option<FileInfo>> {
    let entry = blocking::wait(bucket.status(path))??;
    Ok(entry.map(|entry| info(bucket, entry)))
}

pub(super) fn list(bucket: &Bucket, path: &str) -> Result<Vec<FileInfo>> {
    let entries = blocking::wait(bucket.list(path))??;
    Ok(entries.into_iter().map(|entry| info(bucket, entry)).collect())
}

pub(super) fn open(bucket: &Bucket, path: &str) -> Result<InputFile> {
    let found = status(bucket, path)?.filter(|info| !info.is_dir);
    let found = found.with_context(|| format!("{bucket:?}{path}: it does not exist"))?;
    let object = Object {
        bucket: bucket.clone(),
        path: path.to_owned(),
        length: found.length,
        window: Mutex::default(),
    };
    Ok(InputFile { length: found.length, kind: InputKind::Object(Box::new(object)) })
}

/// An object that is read: mostly from front to back, so that what comes next is on its way.
pub(super) struct Object {
    bucket: Bucket,
    path: String,
    length: u64,
    window: Mutex<Window>,
}

/// What is at hand, and what is on its way.
#[derive(Default)]
struct Window {
    at: u64,
    bytes: Bytes,
    next: Option<Next>,
}

struct Next {
    at: u64,
    arrives: std::sync::mpsc::Receiver<hfs_client::Result<Bytes>>,
}

impl Window {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

impl Object {
    fn window_at(&self, at: u64) -> Range<u64> {
        at..at.saturating_add(WINDOW_BYTES).min(self.length)
    }

    /// Asks for a window, and does not wait for it.
    fn ask(&self, at: u64) -> Result<Next> {
        let (arrived, arrives) = std::sync::mpsc::channel();
        let (bucket, path, range) = (self.bucket.clone(), self.path.clone(), self.window_at(at));
        blocking::spawn(async move {
            // Nobody waits any more when the file is closed.
            let _ = arrived.send(bucket.read(&path, range).await);
        })?;
        Ok(Next { at, arrives })
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(blocking::wait(self.bucket.read(&self.path, range))??)
    }

    /// Fills `buffer` from `position` on; fewer bytes only at the end.
    pub(super) fn read_at(&self, mut position: u64, mut buffer: &mut [u8]) -> Result<usize> {
        let wanted = (self.length.saturating_sub(position)).min(buffer.len() as u64) as usize;
        buffer = &mut buffer[..wanted];
        let mut window = self.window.lock();
        while !buffer.is_empty() {
            let inside = position.checked_sub(window.at).filter(|_| position < window.end());
            let Some(from) = inside else {
                self.refill(&mut window, position)?;
                continue;
            };
            let bytes = &window.bytes[from as usize..];
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            position += count as u64;
            buffer = &mut buffer[count..];
        }
        Ok(wanted)
    }

    fn refill(&self, window: &mut Window, position: u64) -> Result<()> {
        let goes_on = position == window.end();
        let next = window.next.take().filter(|next| next.at == position);
        window.bytes = match next {
            Some(next) => next.arrives.recv().context("the client's threads are gone")??,
            None => self.read(self.window_at(position))?,
        };
        window.at = position;
        anyhow::ensure!(!window.bytes.is_empty(), "{} gave no bytes at {position}", self.path);
        if goes_on && window.end() < self.length {
            window.next = Some(self.ask(window.end())?);
        }
        Ok(())
    }
}
