//! How soon a local cluster takes a file, and what its processes weigh while nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use super::measure::{Row, Samples, Work};
use super::site::Site;
use crate::cluster::{Cluster, ClusterOptions, Lifetime};

/// How long the processes settle before they are weighed.
const SETTLE: Duration = Duration::from_secs(2);

/// The rows "cold start" and "idle memory".
///
/// # Errors
/// A cluster that did not start.
pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for run in 0..bench.runs {
        let dir = bench.scratch.join(format!("cold-{run}"));
        let start = Instant::now();
        let mut cluster = Cluster::start(ClusterOptions {
            program: Some(bench.site.binary.clone()),
            lifetime: Lifetime::WithParent,
            ..ClusterOptions::new(&dir)
        })?;
        let site = Site { fs_url: cluster.fs_url()?, ..bench.site.clone() };
        let fresh = Bench { site, ..bench.clone() };
        fresh.hfs(&["touchz", "/first"])?;
        times.push(start.elapsed().as_secs_f64());
        std::thread::sleep(SETTLE);
        let mut total = 0;
        for node in cluster.nodes()? {
            let pid = cluster.pid(node)?.with_context(|| format!("{node} has died"))?;
            total += proportional_memory(pid)?;
        }
        memory.push(total as f64);
        cluster.stop()?;
        std::fs::remove_dir_all(&dir).ok();
    }
    Ok(vec![
        Row {
            goal: None,
            ..Row::figure(
                "cold start of 8 processes to the first file (goal 0.5 s)",
                Work::Once,
                times,
            )
        },
        Row {
            ours: Samples(memory),
            ..Row::figure("idle memory of 8 processes (goal 150 MB)", Work::Memory, vec![])
        },
    ])
}

/// A process's share of memory in bytes: pages that several processes map count by their share (PSS).
fn proportional_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|n| n.parse().ok());
    kib.map(|kib: u64| kib << 10).with_context(|| format!("{path} has no line 'Pss:'"))
}
