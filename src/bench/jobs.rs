//! How soon an empty job is done, and word count against a program that does nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::measure::{Row, Work, in_turns, timed};
use super::text::{self, counts, parts};
use super::{Bench, limit};
use crate::jobs::wordcount::VERB;

/// The rows "empty job" and "word count", on the cluster and in one process.
///
/// # Errors
/// A job that failed, or counts that differ from the peer's.
pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    bench.hfs(&["mkdir", "-p", "/bench-jobs/none"])?;
    bench.hfs(&["touchz", "/bench-jobs/none/empty"])?;
    let out = "/bench-jobs/out";
    let clear = || bench.hfs(&["rm", "-r", "-f", "-skipTrash", out]).map(drop);
    let mut empty = Vec::new();
    for _ in 0..=bench.runs {
        clear()?;
        empty.push(timed(|| bench.hfs(&[VERB, "/bench-jobs/none", out]).map(drop))?.as_secs_f64());
    }
    empty.remove(0);
    let mut rows =
        vec![Row::figure("empty job, program start to exit (goal 20 ms)", Work::Once, empty)];

    let named = bench.text.as_deref();
    let (text, bytes) =
        text::named_or_made(named, &bench.scratch, bench.megabytes << 20, text::WORDS)?;
    let text_name = text.to_string_lossy();
    bench.hfs(&["rm", "-f", "-skipTrash", "/bench-jobs/text"])?;
    bench.hfs(&["put", &text_name, "/bench-jobs/text"])?;
    let peer_out = bench.scratch.join("limit-counts");
    let local_out = bench.scratch.join("local-counts");
    std::fs::create_dir_all(&peer_out)
        .with_context(|| format!("cannot create {}", peer_out.display()))?;
    let peer = || -> Result<Duration> {
        timed(|| limit::word_count(&text, &peer_out).context("the peer's word count failed"))
    };
    let on_cluster = || -> Result<Duration> {
        clear()?;
        timed(|| bench.hfs(&[VERB, "--reduces", "2", "/bench-jobs/text", out]).map(drop))
    };
    let (ours, theirs) = in_turns(bench.runs, on_cluster, peer)?;
    let counted = bench.hfs(&["cat", "/bench-jobs/out/part-r-*"])?;
    ensure!(
        counts(&counted) == counts(&parts(&peer_out)?),
        "the cluster's word count differs from the peer's"
    );
    let goal = Some(0.8);
    let peer_name = "two threads, no framework".to_owned();
    rows.push(Row {
        name: format!("word count of {} MB on the cluster", bytes / 1_000_000),
        work: Work::Bytes(bytes),
        ours,
        peer: Some((peer_name.clone(), theirs)),
        goal,
    });
    let local_name = local_out.to_string_lossy();
    let in_process = || -> Result<Duration> {
        std::fs::remove_dir_all(&local_out).ok();
        timed(|| bench.hfs(&[VERB, "--local", &text_name, &local_name]).map(drop))
    };
    let (ours, theirs) = in_turns(bench.runs, in_process, peer)?;
    ensure!(
        counts(&parts(&local_out)?) == counts(&parts(&peer_out)?),
        "the local word count differs from the peer's"
    );
    rows.push(Row {
        name: format!("word count of {} MB, --local", bytes / 1_000_000),
        work: Work::Bytes(bytes),
        ours,
        peer: Some((peer_name, theirs)),
        goal,
    });
    Ok(rows)
}
