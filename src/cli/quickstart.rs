//! `hfs quickstart`: the whole of hfs in one command. Starts a cluster of real processes, puts text into it,
//! counts its words as a MapReduce job, and says what happened.

mod load;
mod report;
mod sources;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use hfs_client::{ClientConfig, FileSystem};
use indicatif::ProgressStyle;

use crate::cluster::{Cluster, ClusterOptions, ClusterStatus, Lifetime};
use crate::jobs::wordcount;

/// Where the text goes in the file system, and where the counts.
const TEXT_DIR: &str = "/quickstart/text";
const COUNTS_DIR: &str = "/quickstart/counts";

/// `hfs quickstart`.
#[derive(Debug, Args)]
pub struct Quickstart {
    /// Text to count [default: this project and the crate sources that Cargo has unpacked]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Leave the cluster running
    #[arg(long)]
    keep: bool,
    /// Take at most so much text, in MB
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    limit_mb: u64,
}

/// How the words were counted.
#[derive(Debug)]
struct Counted {
    job_id: String,
    took: Duration,
}

impl Quickstart {
    /// Does all of it.
    ///
    /// # Errors
    /// One sentence; the cluster and its directory are gone then, unless `--keep` was given.
    pub fn run(self) -> Result<()> {
        let paths =
            if self.paths.is_empty() { sources::default_paths()? } else { self.paths.clone() };
        let sources = sources::collect(&paths, self.limit_mb.saturating_mul(1_000_000))?;
        let dir = fresh_dir()?;
        let lifetime = if self.keep { Lifetime::Detached } else { Lifetime::WithParent };
        say("starting 1 namenode, 3 datanodes, 1 jobtracker, 3 workers")?;
        let began = Instant::now();
        let started = Cluster::start(ClusterOptions {
            datanodes: Some(3),
            workers: Some(3),
            replication: Some(3),
            lifetime,
            ..ClusterOptions::new(&dir)
        });
        let mut cluster = match started {
            Ok(cluster) => cluster,
            Err(e) => {
                // The reason is in the error; the directory holds nothing else.
                let _ = std::fs::remove_dir_all(&dir);
                return Err(e);
            }
        };
        let up = began.elapsed();
        let shown = self.show(&cluster, &paths, sources, up);
        if self.keep {
            let tail = report::what_next_running(&cluster.status()?);
            return shown.and_then(|()| say(&tail));
        }
        let stopped = cluster.stop();
        drop(cluster);
        let removed = std::fs::remove_dir_all(&dir)
            .with_context(|| format!("can't remove {}", dir.display()));
        shown.and(stopped).and(removed)?;
        say(&report::what_next_stopped())
    }

    fn show(
        &self,
        cluster: &Cluster,
        paths: &[PathBuf],
        sources: Vec<sources::Source>,
        up: Duration,
    ) -> Result<()> {
        let status = cluster.status()?;
        say(&report::started(&status, up))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                done = demonstrate(&status, paths, sources) => done,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.context("can't handle interrupts")?;
                    bail!("interrupted")
                }
            }
        })
    }
}

async fn demonstrate(
    status: &ClusterStatus,
    paths: &[PathBuf],
    sources: Vec<sources::Source>,
) -> Result<()> {
    let fs_url = status.fs_url.as_deref().context("the cluster has no file system")?;
    let jobtracker = status.jobtracker.context("the cluster has no jobtracker")?;
    let fs = FileSystem::connect(fs_url, ClientConfig::default()).await?;
    say(&format!("putting text from {} into {fs_url}{TEXT_DIR}", sources::shown(paths)))?;
    let loaded = load::load(&fs, TEXT_DIR, sources).await?;
    say(&report::loaded(&loaded))?;
    let counted = count(fs_url, jobtracker).await?;
    let job = report::job_status(jobtracker, &counted.job_id).await?;
    say(&report::counted(&job, counted.took, loaded.bytes))?;
    say(&report::words(&fs, COUNTS_DIR).await?)
}

/// Runs the word count as anybody runs a job: as a program of its own, whose progress the user sees.
async fn count(fs_url: &str, jobtracker: SocketAddr) -> Result<Counted> {
    say("counting its words: a MapReduce job")?;
    let began = Instant::now();
    let program = std::env::current_exe().context("can't find the hfs program")?;
    let output = tokio::process::Command::new(program)
        .args([wordcount::VERB, "--json", "--fs", fs_url])
        .args(["--jobtracker", &jobtracker.to_string(), TEXT_DIR, COUNTS_DIR])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("can't start the job program")?;
    if !output.status.success() {
        bail!("the word count failed ({}); what it said is above", output.status);
    }
    let took = began.elapsed();
    let result: serde_json::Value = serde_json::from_slice(&output.stdout)
        .context("the job program's report is not what it should be")?;
    let job_id = result["job_id"].as_str().context("the job program named no job")?.to_owned();
    Ok(Counted { job_id, took })
}

/// A directory of its own for each run.
fn fresh_dir() -> Result<PathBuf> {
    let stamp = jiff::Timestamp::now().as_millisecond();
    let dir = std::env::temp_dir().join(format!("hfs-quickstart-{}-{stamp}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    Ok(dir)
}

/// How transfers are shown while they run.
fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("  {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn say(text: &str) -> Result<()> {
    let mut out = io::stdout();
    Ok(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush())?)
}
