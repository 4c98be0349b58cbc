//! Puts the text into the file system.
//!
//! Thousands of small files would make thousands of maps of a few kilobytes each, which measures process starts and
//! not counting. So small files are written one after the other into a few larger ones, as anybody who keeps text
//! in HDFS does; large ones are put as they are.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};
use hfs_client::{CreateOptions, FileSystem};
use indicatif::ProgressBar;

use super::sources::Source;

/// Files from this size on are put as they are.
const LARGE_BYTES: u64 = 16 << 20;

/// Small files are put together up to this size.
const PACK_BYTES: u64 = 32 << 20;

/// The block size of what is put, and so the input of a map: small enough that a hundred megabytes keep
/// three workers busy.
pub(super) const BLOCK_BYTES: u64 = 16 << 20;

/// Files written at a time.
const WRITERS: usize = 3;

/// How much is read of a local file at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What was put.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loaded {
    /// Local files.
    pub(super) sources: usize,
    /// Files in the file system.
    pub(super) files: usize,
    /// Bytes in the file system, each counted once.
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

/// One file to be: its name and what goes into it.
#[derive(Debug, PartialEq, Eq)]
struct Pack {
    name: String,
    sources: Vec<Source>,
}

/// Puts `sources` into `dir`.
pub(super) async fn load(fs: &FileSystem, dir: &str, sources: Vec<Source>) -> Result<Loaded> {
    let began = Instant::now();
    let (count, total) = (sources.len(), sources.iter().map(|s| s.bytes).sum());
    let bar = ProgressBar::new(total).with_style(super::bar_style());
    fs.mkdirs(dir, None).await?;
    let packs = pack(sources);
    let files = packs.len();
    let bytes: u64 = stream::iter(packs)
        .map(|pack| put(fs, dir, pack, bar.clone()))
        .buffer_unordered(WRITERS)
        .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
        .await?;
    bar.finish_and_clear();
    Ok(Loaded { sources: count, files, bytes, took: began.elapsed() })
}

fn pack(sources: Vec<Source>) -> Vec<Pack> {
    let mut packs: Vec<Pack> = Vec::new();
    let (mut open, mut open_bytes): (Vec<Source>, u64) = (Vec::new(), 0);
    let mut close = |sources: Vec<Source>| {
        if !sources.is_empty() {
            let name = format!("text-{:03}.txt", packs.len());
            packs.push(Pack { name, sources });
        }
    };
    for source in sources {
        if source.bytes >= LARGE_BYTES {
            close(vec![source]);
            continue;
        }
        if open_bytes + source.bytes > PACK_BYTES {
            close(std::mem::take(&mut open));
            open_bytes = 0;
        }
        open_bytes += source.bytes;
        open.push(source);
    }
    close(open);
    packs
}

async fn put(fs: &FileSystem, dir: &str, pack: Pack, bar: ProgressBar) -> Result<u64> {
    let path = format!("{dir}/{}", pack.name);
    let options = CreateOptions { block_size: Some(BLOCK_BYTES), ..CreateOptions::default() };
    let mut writer = fs.create(&path, &options).await?;
    // Local files are read on a thread of their own, a few chunks ahead.
    let (send, mut chunks) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(4);
    let reader = tokio::task::spawn_blocking(move || {
        for source in pack.sources {
            if let Err(e) = read(&source, &send) {
                let sentence = format!("can't read {}: {e}", source.path.display());
                // Nobody listens any more when the writer failed first.
                let _ = send.blocking_send(Err(std::io::Error::new(e.kind(), sentence)));
                return;
            }
        }
    });
    let mut bytes = 0;
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk?;
        writer.write_all(&chunk).await?;
        bytes += chunk.len() as u64;
        bar.inc(chunk.len() as u64);
    }
    reader.await.context("the reading thread failed")?;
    writer.close().await?;
    Ok(bytes)
}

/// Sends a file's bytes, with an end of line at its end, so that no word grows across two files.
fn read(
    source: &Source,
    to: &tokio::sync::mpsc::Sender<std::io::Result<Vec<u8>>>,
) -> std::io::Result<()> {
    let mut file = std::fs::File::open(&source.path)?;
    let mut last = b'\n';
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        if file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)? == 0 {
            break;
        }
        last = chunk.last().copied().unwrap_or(last);
        if to.blocking_send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
    if last != b'\n' {
        // The same as above: a writer that failed says so itself.
        let _ = to.blocking_send(Ok(vec![b'\n']));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_share_and_large_ones_do_not() {
        let source = |bytes| Source { path: "x".into(), bytes };
        let packs = pack(vec![
            source(10 << 20),
            source(10 << 20),
            source(100 << 20),
            source(10 << 20),
            source(10 << 20),
        ]);
        let shape: Vec<(&str, usize)> =
            packs.iter().map(|p| (p.name.as_str(), p.sources.len())).collect();
        assert_eq!(shape, [("text-000.txt", 1), ("text-001.txt", 3), ("text-002.txt", 1)]);
    }
}
