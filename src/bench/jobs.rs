//! How soon an empty job is done, and word count against a program that does nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::measure::{Row, Work, in_turns, timed};
use super::{Bench, limit};
use crate::jobs::wordcount::VERB;

/// Distinct words of the generated text.
const WORDS: u64 = 300_000;

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

    let text = match &bench.text {
        Some(text) => text.clone(),
        None => {
            let text = bench.scratch.join("text");
            write_text(&text, bench.megabytes << 20)?;
            text
        }
    };
    let bytes = text.metadata().with_context(|| format!("cannot read {}", text.display()))?.len();
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

/// What the parts of an output hold, one after another.
fn parts(dir: &Path) -> Result<Vec<u8>> {
    let mut held = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("part-") {
            held.extend(std::fs::read(entry.path())?);
        }
    }
    Ok(held)
}

/// Words with their counts, whatever the order of the lines.
fn counts(output: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    output
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let tab = line.iter().rposition(|byte| *byte == b'\t')?;
            Some((&line[..tab], &line[tab + 1..]))
        })
        .collect()
}

/// Writes text whose words are as often as in natural text: the n-th most frequent about 1/n as often as the
/// first (Zipf), longer the rarer. The same at every call.
fn write_text(path: &Path, bytes: u64) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let scale = (WORDS as f64).ln();
    let (mut written, mut column) = (0, 0);
    while written < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // exp of an even draw from [0, ln WORDS) is a rank with density 1/rank.
        let draw = (state >> 11) as f64 / (1u64 << 53) as f64;
        let rank = (draw * scale).exp() as u64;
        let word = word_of(rank);
        out.write_all(&word)?;
        column += word.len() + 1;
        let end = if column > 72 { b"\n" } else { b" " };
        if column > 72 {
            column = 0;
        }
        out.write_all(end)?;
        written += word.len() as u64 + 1;
    }
    out.flush().with_context(|| format!("cannot write {}", path.display()))
}

/// The word of a rank: letters that spell the rank, so that frequent words are short.
fn word_of(mut rank: u64) -> Vec<u8> {
    let mut word = Vec::new();
    loop {
        word.extend_from_slice(&[
            b"etaoinshrdlu"[(rank % 12) as usize],
            b"aeiouy"[(rank % 6) as usize],
        ]);
        rank /= 12;
        if rank == 0 {
            return word;
        }
    }
}
