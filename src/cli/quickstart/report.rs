//! What the quickstart says.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use hfs_client::FileSystem;
use hfs_protocol::proto::job::{JobRequest, JobStatus};

use super::load::{BLOCK_BYTES, Loaded};
use super::{COUNTS_DIR, TEXT_DIR};
use crate::cluster::{ClusterStatus, connect_jobs};

/// How many words are shown.
const SHOWN_WORDS: usize = 10;

/// The largest line of counts: a word and a number.
const MAX_LINE_BYTES: usize = 16 << 20;

pub(super) fn started(status: &ClusterStatus, took: Duration) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "  {:.2} s; file system {}, web {}, jobs {}",
        took.as_secs_f64(),
        or_none(&status.fs_url),
        or_none(&status.web),
        or_none(&status.jobs_web),
    )
}

pub(super) fn loaded(loaded: &Loaded) -> String {
    format!(
        "  {} of {} files, packed into {} files with blocks of {} MiB, 3 replicas each: {:.2} s, {:.0} MB/s",
        megabytes(loaded.bytes),
        thousands(loaded.sources as u64),
        loaded.files,
        BLOCK_BYTES >> 20,
        loaded.took.as_secs_f64(),
        rate(loaded.bytes, loaded.took),
    )
}

pub(super) fn counted(job: &JobStatus, took: Duration, bytes: u64) -> String {
    let (maps, reduces) = (job.maps.unwrap_or_default(), job.reduces.unwrap_or_default());
    let locality = job.locality.unwrap_or_default();
    let mut text = format!(
        "  {}: {:.2} s from start to exit of the program, {:.0} MB/s\n  {} maps, {} of them beside their data; {} reduces",
        job.job_id,
        took.as_secs_f64(),
        rate(bytes, took),
        maps.total,
        locality.node,
        reduces.total,
    );
    let mut by_worker: BTreeMap<&str, (u32, u32, u64)> = BTreeMap::new();
    for attempt in &job.attempts {
        let entry = by_worker.entry(&attempt.worker).or_default();
        // A reduce has no locality.
        if attempt.locality.is_empty() {
            entry.1 += 1
        } else {
            entry.0 += 1
        }
        entry.2 += attempt.end_ms.saturating_sub(attempt.start_ms);
    }
    for (worker, (maps, reduces, busy_ms)) in by_worker {
        // A worker id is its address and the moment of its start; the address is what people know it by.
        let worker = worker.rsplit_once('-').map_or(worker, |(address, _)| address);
        let busy = Duration::from_millis(busy_ms).as_secs_f64();
        // Writing to a String can't fail.
        let _ = write!(text, "\n  {worker}: {maps} maps, {reduces} reduces, {busy:.1} s of work");
    }
    text
}

/// The most frequent words and how many there are.
pub(super) async fn words(fs: &FileSystem, dir: &str) -> Result<String> {
    let mut top: BinaryHeap<Reverse<(u64, String)>> = BinaryHeap::new();
    let (mut different, mut total) = (0_u64, 0_u64);
    for file in fs.list(dir).await? {
        if !file.name().starts_with("part-") {
            continue;
        }
        let mut reader = fs.open(&format!("{dir}/{}", file.name())).await?;
        let mut line: Vec<u8> = Vec::new();
        let mut buffer = vec![0_u8; 1 << 20];
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            let mut rest = &buffer[..read];
            while let Some(end) = memchr::memchr(b'\n', rest) {
                line.extend_from_slice(&rest[..end]);
                rest = &rest[end + 1..];
                let (word, count) = parse(&line)
                    .with_context(|| format!("{dir}/{} has a strange line", file.name()))?;
                line.clear();
                different += 1;
                total += count;
                top.push(Reverse((count, word)));
                if top.len() > SHOWN_WORDS {
                    top.pop();
                }
            }
            line.extend_from_slice(rest);
            anyhow::ensure!(line.len() <= MAX_LINE_BYTES, "{dir}/{} has no lines", file.name());
        }
    }
    let mut text = format!(
        "  {} words, {} different; the most frequent:\n",
        thousands(total),
        thousands(different)
    );
    for Reverse((count, word)) in top.into_sorted_vec() {
        let _ = writeln!(text, "  {:>14}  {word}", thousands(count));
    }
    Ok(text)
}

fn parse(line: &[u8]) -> Option<(String, u64)> {
    let tab = memchr::memrchr(b'\t', line)?;
    let count = std::str::from_utf8(&line[tab + 1..]).ok()?.parse().ok()?;
    Some((String::from_utf8_lossy(&line[..tab]).into_owned(), count))
}

pub(super) fn what_next_running(status: &ClusterStatus) -> String {
    let fs = status.fs_url.as_deref().unwrap_or_default();
    let dir = status.dir.display();
    format!(
        "the cluster runs on; try\n  \
         export HFS_FS={fs} HFS_CLUSTER_DIR={dir}\n  \
         hfs ls {TEXT_DIR}\n  \
         hfs cat '{COUNTS_DIR}/part-r-*' | sort -k2 -nr | head\n  \
         hfs job list\n  \
         hfs cluster kill datanode/1 && hfs cat '{TEXT_DIR}/*' | wc -w\n  \
         hfs cluster stop"
    )
}

pub(super) fn what_next_stopped() -> String {
    "stopped, and its files removed; for a cluster that stays\n  \
     hfs cluster start\n  \
     hfs put README.md /\n  \
     hfs ls /\n  \
     hfs --help"
        .to_owned()
}

/// A job with its attempts.
pub(super) async fn job_status(jobtracker: SocketAddr, job_id: &str) -> Result<JobStatus> {
    let mut client = connect_jobs(jobtracker).await?;
    Ok(client.status(JobRequest { job_id: job_id.to_owned() }).await?.into_inner())
}

fn rate(bytes: u64, took: Duration) -> f64 {
    megabytes_exact(bytes) / took.as_secs_f64().max(1e-9)
}

fn megabytes_exact(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", megabytes_exact(bytes))
}

/// `1234567` as `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(parse(b"a\tb\t12"), Some(("a\tb".to_owned(), 12)));
        assert_eq!(parse(b"no tab"), None);
    }
}
