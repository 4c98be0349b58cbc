//! `put` and `get` of one large file through the command line, against `cp` and a plain relay.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::measure::{Row, Work, in_turns, timed};
use super::{Bench, peers};

/// Writes `bytes` bytes that do not compress and do not repeat, the same at every call.
///
/// # Errors
/// The file's I/O errors.
pub fn write_sample(path: &Path, bytes: u64) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = bytes;
    while left > 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = state.to_le_bytes();
        let n = left.min(8) as usize;
        out.write_all(&word[..n])?;
        left -= n as u64;
    }
    out.flush().with_context(|| format!("cannot write the sample {}", path.display()))
}

/// The rows `put`, `get` to a file and `get` to nowhere.
///
/// # Errors
/// A command that failed, or output that differs from the input.
pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let bytes = bench.megabytes << 20;
    let work = Work::Bytes(bytes);
    let source = bench.scratch.join("put-source");
    write_sample(&source, bytes)?;
    let copies: Vec<PathBuf> = (0..3).map(|i| bench.scratch.join(format!("copy-{i}"))).collect();
    let hops: Vec<&Path> = copies.iter().map(PathBuf::as_path).collect();
    let got = bench.scratch.join("got");
    let source_text = source.to_string_lossy();
    let got_text = got.to_string_lossy();

    let put = |target: &str| {
        bench.hfs(&["rm", "-f", "-skipTrash", target])?;
        timed(|| bench.hfs(&["put", &source_text, target]).map(drop))
    };
    let clear = |paths: &[&Path]| paths.iter().for_each(|path| drop(std::fs::remove_file(path)));

    let (ours, relay) = in_turns(
        bench.runs,
        || put("/bench-put"),
        || {
            clear(&hops);
            timed(|| peers::relay(&source, &hops).context("the relay failed"))
        },
    )?;
    clear(&hops);
    let mut rows = vec![Row {
        name: format!("put {} MiB, 3 replicas", bench.megabytes),
        work,
        ours: ours.clone(),
        peer: Some(("three-hop relay".into(), relay)),
        goal: Some(0.8),
    }];
    let cp = |from: &Path| {
        clear(&[&got]);
        timed(|| std::process::Command::new("cp").arg(from).arg(&got).status().map(drop))
            .context("cannot run cp")
    };
    let (_, copied) = in_turns(bench.runs, || cp(&source), || cp(&source))?;
    rows.push(Row {
        name: format!("put {} MiB, 3 replicas", bench.megabytes),
        work,
        ours,
        peer: Some(("one cp".into(), copied)),
        goal: None,
    });

    let get = || {
        clear(&[&got]);
        timed(|| bench.hfs(&["get", "/bench-put", &got_text]).map(drop))
    };
    let (ours, peer) = in_turns(bench.runs, get, || cp(&source))?;
    get()?;
    ensure!(
        same_bytes(&source, &got)?,
        "what `hfs get` wrote to {got_text} differs from {source_text}"
    );
    rows.push(Row {
        name: format!("get {} MiB to a file", bench.megabytes),
        work,
        ours,
        peer: Some(("cp".into(), peer)),
        goal: Some(0.85),
    });
    let (ours, peer) = in_turns(
        bench.runs,
        || timed(|| bench.hfs_to_null(&["cat", "/bench-put"])),
        || {
            timed(|| {
                let null = File::options().write(true).open("/dev/null")?;
                std::process::Command::new("cat").arg(&source).stdout(null).status().map(drop)
            })
            .context("cannot run cat")
        },
    )?;
    rows.push(Row {
        name: format!("cat {} MiB to nowhere", bench.megabytes),
        work,
        ours,
        peer: Some(("cat".into(), peer)),
        goal: None,
    });
    clear(&[&got, &source]);
    Ok(rows)
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool> {
    Ok(std::process::Command::new("cmp").arg("-s").arg(a).arg(b).status()?.success())
}
