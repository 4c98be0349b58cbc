//! `hfs bench`: figures, as ratios against a peer in the same run.

mod jobs;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::global::GlobalArgs;
use crate::bench::measure::Row;
use crate::bench::site::Site;
use crate::bench::{self, Bench};
use crate::cluster::{Cluster, ClusterOptions, Lifetime};

/// A group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// put, get and cat of one large file against cp and a plain relay
    Storage,
    /// Namespace operations from many connections against a TCP echo
    Meta,
    /// An empty job, and word count against a hand-written one
    Jobs,
    /// Cold start and idle memory
    Cluster,
    /// What a decision of the scheduler costs in clusters of 10 to 10,000 workers
    Scheduler,
    /// All of these but the scheduler
    All,
}

/// `hfs bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchCommand {
    #[command(subcommand)]
    job: Option<jobs::JobBench>,
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    group: Group,
    /// Measured turns of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Size of the large file, in MiB
    #[arg(long, default_value_t = 1024)]
    megabytes: u64,
    /// Namespace operations in each turn
    #[arg(long, default_value_t = 20_000)]
    operations: usize,
    /// Connections that share them
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Text for the word count [default: generated]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Directory for samples and the cluster [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

impl BenchCommand {
    /// Measures on a cluster of its own and prints a row for each comparison.
    ///
    /// # Errors
    /// A cluster that did not start, a command that failed, output that is wrong.
    pub fn run(self, global: &GlobalArgs) -> Result<()> {
        if let Some(job) = self.job {
            return job.run(global);
        }
        if self.group == Group::Scheduler {
            let lines = bench::scheduler::run();
            if global.json {
                println!("{}", serde_json::to_string_pretty(&lines)?);
            } else {
                lines.iter().for_each(|line| println!("{}", line.line()));
            }
            return Ok(());
        }
        let scratch = Scratch::new(self.scratch.as_deref())?;
        let binary = std::env::current_exe().context("cannot find the hfs program")?;
        let mut cluster = Cluster::start(ClusterOptions {
            program: Some(binary.clone()),
            lifetime: Lifetime::WithParent,
            ..ClusterOptions::new(scratch.path().join("cluster"))
        })?;
        let bench = Bench {
            site: Site {
                binary,
                fs_url: cluster.fs_url()?,
                jobtracker: Some(cluster.jobtracker()?.to_string()),
                define: Vec::new(),
            },
            scratch: scratch.path().to_owned(),
            runs: usize::from(self.runs),
            megabytes: self.megabytes.max(1),
            operations: self.operations.max(self.connections),
            connections: self.connections.max(1),
            text: self.text.clone(),
        };
        let wants = |group| self.group == group || self.group == Group::All;
        let mut rows: Vec<Row> = Vec::new();
        let mut show = |new: Vec<Row>| {
            if !global.json {
                new.iter().for_each(|row| println!("{}", row.line()));
            }
            rows.extend(new);
        };
        if wants(Group::Meta) {
            show(bench::meta::run(&bench)?);
        }
        if wants(Group::Storage) {
            show(bench::storage::run(&bench)?);
        }
        if wants(Group::Jobs) {
            show(bench::jobs::run(&bench)?);
        }
        cluster.stop()?;
        if wants(Group::Cluster) {
            show(bench::cluster::run(&bench)?);
        }
        if global.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        Ok(())
    }
}

/// Where a benchmark keeps its samples and its cluster.
enum Scratch {
    /// A directory that somebody named, and that stays.
    Named(PathBuf),
    /// A directory that goes when the benchmark ends.
    Temporary(tempfile::TempDir),
}

impl Scratch {
    fn new(named: Option<&Path>) -> Result<Self> {
        let Some(dir) = named else {
            let made = tempfile::Builder::new().prefix("hfs-bench-").tempdir();
            return Ok(Self::Temporary(made.context("cannot make a temporary directory")?));
        };
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self::Named(dir.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }
}
