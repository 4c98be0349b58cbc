//! The benchmarks that are jobs: `hfs bench dfsio`, `nnbench`, `mrbench` and `shuffle`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use hfs_daemon::config::{parse_duration, parse_size};

use super::{GlobalArgs, Scratch};
use crate::bench::report::{Report, Show};
use crate::bench::site::Site;
use crate::bench::{dfsio, mrbench, nnbench, shuffle};
use crate::cluster::{Cluster, ClusterOptions, Lifetime};
use crate::jobs::bench::{io, names};

/// A benchmark that is a job.
#[derive(Debug, Subcommand)]
pub enum JobBench {
    /// Throughput of tasks that write, read and append to files: Hadoop's TestDFSIO
    Dfsio(Dfsio),
    /// Namespace operations of many maps at once: Hadoop's NNBench
    Nnbench(Nnbench),
    /// The time of small jobs in a row: Hadoop's MRBench
    Mrbench(Mrbench),
    /// Throughput of the shuffle between maps and reduces
    Shuffle(Shuffle),
}

/// Where the benchmark runs and what it leaves.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where it runs")]
pub struct Place {
    /// Run on this cluster, with --fs its file system [default: a cluster of its own]
    #[arg(long, value_name = "ADDR")]
    jobtracker: Option<String>,
    /// Directory on the file system
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
    /// Leave the files, for a later run with other operations; needs --jobtracker
    #[arg(long)]
    keep: bool,
    /// Local directory for samples and the cluster [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Draw what the tasks did when into this file
    #[arg(long, value_name = "FILE.svg")]
    timeline: Option<PathBuf>,
}

/// `hfs bench dfsio`.
#[derive(Debug, Args)]
pub struct Dfsio {
    /// What to do, one after the other
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "OPERATION,...",
        default_values = ["write", "append", "read", "random-read"]
    )]
    operations: Vec<io::Operation>,
    /// Files, each of a map of its own
    #[arg(long, default_value_t = 4, value_name = "N")]
    files: u32,
    /// Bytes that each map writes or reads
    #[arg(long, default_value = "64m", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// Bytes of each call
    #[arg(long, default_value = "1m", value_name = "BYTES", value_parser = parse_size)]
    buffer: u64,
    /// Bytes that skip-read leaves out each time
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = parse_size)]
    skip: u64,
    /// Replicas [default: the file system's]
    #[arg(long, value_name = "N")]
    replication: Option<u16>,
    #[command(flatten)]
    place: Place,
}

/// `hfs bench nnbench`.
#[derive(Debug, Args)]
pub struct Nnbench {
    /// What to do, one after the other
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "OPERATION,...",
        default_values = ["create_write", "open_read", "rename", "delete"]
    )]
    operations: Vec<names::Operation>,
    /// Maps
    #[arg(long, default_value_t = 4, value_name = "N")]
    maps: u32,
    /// Files of each map
    #[arg(long, default_value_t = 1000, value_name = "N")]
    files: u64,
    /// Bytes of each file
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = parse_size)]
    bytes: u64,
    /// Bytes of a block [default: the file system's]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    block_size: Option<u64>,
    /// Replicas
    #[arg(long, default_value_t = 1, value_name = "N")]
    replication: u16,
    /// open_read reads what it has opened
    #[arg(long)]
    read: bool,
    /// How long after a job was started its maps begin
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = parse_duration)]
    barrier: Duration,
    #[command(flatten)]
    place: Place,
}

/// `hfs bench mrbench`.
#[derive(Debug, Args)]
pub struct Mrbench {
    /// Jobs, one after the other
    #[arg(long, default_value_t = 10, value_name = "N")]
    runs: u32,
    /// Maps of each
    #[arg(long, default_value_t = 2, value_name = "N")]
    maps: u32,
    /// Reduces of each
    #[arg(long, default_value_t = 1, value_name = "N")]
    reduces: u32,
    /// Lines of each map
    #[arg(long, default_value_t = 1, value_name = "N")]
    lines: u32,
    /// The order in which the lines are handed in
    #[arg(long, value_enum, default_value = "ascending")]
    order: mrbench::Order,
    #[command(flatten)]
    place: Place,
}

/// `hfs bench shuffle`.
#[derive(Debug, Args)]
pub struct Shuffle {
    /// Maps
    #[arg(long, default_value_t = 4, value_name = "N")]
    maps: u32,
    /// Reduces
    #[arg(long, default_value_t = 4, value_name = "N")]
    reduces: u32,
    /// Bytes of keys and values that each map makes
    #[arg(long, default_value = "64m", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// Bytes of a key
    #[arg(long, default_value = "10", value_name = "BYTES", value_parser = parse_size)]
    key_bytes: u64,
    /// Bytes of a value
    #[arg(long, default_value = "90", value_name = "BYTES", value_parser = parse_size)]
    value_bytes: u64,
    #[command(flatten)]
    place: Place,
}

impl JobBench {
    /// Runs the benchmark and prints what it tells.
    ///
    /// # Errors
    /// Options that make no sense, a cluster that did not start, a job that failed, output that is wrong.
    pub fn run(self, global: &GlobalArgs) -> Result<()> {
        match self {
            Self::Dfsio(asked) => {
                let options = dfsio::Options {
                    operations: asked.operations,
                    files: asked.files,
                    bytes: asked.size,
                    buffer: asked.buffer,
                    skip: asked.skip,
                    replication: asked.replication,
                    dir: asked.place.dir("TestDFSIO"),
                    found: asked.place.jobtracker.is_some(),
                };
                options.check()?;
                asked
                    .place
                    .run(&options.dir, global, &|site, _, show| dfsio::run(site, &options, show))
            }
            Self::Nnbench(asked) => {
                let options = nnbench::Options {
                    operations: asked.operations,
                    maps: asked.maps,
                    files: asked.files,
                    bytes: asked.bytes,
                    block_size: asked.block_size,
                    replication: asked.replication,
                    read: asked.read,
                    barrier: asked.barrier,
                    dir: asked.place.dir("NNBench"),
                    found: asked.place.jobtracker.is_some(),
                };
                options.check()?;
                asked
                    .place
                    .run(&options.dir, global, &|site, _, show| nnbench::run(site, &options, show))
            }
            Self::Shuffle(asked) => {
                let options = shuffle::Options {
                    maps: asked.maps,
                    reduces: asked.reduces,
                    bytes: asked.size,
                    key_bytes: asked.key_bytes,
                    value_bytes: asked.value_bytes,
                    dir: asked.place.dir("Shuffle"),
                };
                options.check()?;
                asked
                    .place
                    .run(&options.dir, global, &|site, _, show| shuffle::run(site, &options, show))
            }
            Self::Mrbench(asked) => {
                let options = mrbench::Options {
                    runs: asked.runs,
                    maps: asked.maps,
                    reduces: asked.reduces,
                    lines: asked.lines,
                    order: asked.order,
                    dir: asked.place.dir("MRBench"),
                };
                options.check()?;
                asked.place.run(&options.dir, global, &|site, scratch, show| {
                    mrbench::run(site, &options, scratch, show)
                })
            }
        }
    }
}

/// What runs on a site with a local directory, shows reports, and gives the ids of its jobs.
type Work<'a> = &'a dyn Fn(&Site, &Path, Show<'_>) -> Result<Vec<String>>;

impl Place {
    fn dir(&self, name: &str) -> String {
        self.dir.clone().unwrap_or_else(|| format!("/benchmarks/{name}"))
    }

    fn check(&self, dir: &str) -> Result<()> {
        ensure!(
            dir.starts_with('/') && !dir.trim_matches('/').is_empty(),
            "--dir is {dir}, but must be a path below / on the file system"
        );
        ensure!(
            !self.keep || self.jobtracker.is_some(),
            "--keep is for a running cluster; name its --jobtracker"
        );
        if let Some(parent) = self.timeline.as_deref().and_then(|file| file.parent())
            && !parent.as_os_str().is_empty()
            && !parent.is_dir()
        {
            bail!("--timeline names a file in {}, which is no directory", parent.display());
        }
        Ok(())
    }

    /// Runs the work on the cluster that was named or on one of its own.
    fn run(&self, dir: &str, global: &GlobalArgs, work: Work<'_>) -> Result<()> {
        self.check(dir)?;
        let scratch = Scratch::new(self.scratch.as_deref())?;
        let binary = std::env::current_exe().context("cannot find the hfs program")?;
        let define = global.define.clone();
        let of = |fs_url: String, jobtracker: String| Site {
            binary: binary.clone(),
            fs_url,
            jobtracker,
            define,
        };
        if let Some(jobtracker) = &self.jobtracker {
            let site = of(global.fs_url(&global.client_config()?)?, jobtracker.clone());
            return self.measure(&site, scratch.path(), dir, global, work);
        }
        let mut cluster = Cluster::start(ClusterOptions {
            program: Some(binary.clone()),
            lifetime: Lifetime::WithParent,
            ..ClusterOptions::new(scratch.path().join("cluster"))
        })?;
        let site = of(cluster.fs_url()?, cluster.jobtracker()?.to_string());
        let measured = self.measure(&site, scratch.path(), dir, global, work);
        measured.and(cluster.stop())
    }

    fn measure(
        &self,
        site: &Site,
        scratch: &Path,
        dir: &str,
        global: &GlobalArgs,
        work: Work<'_>,
    ) -> Result<()> {
        let mut all = Vec::new();
        let mut show = |report: Report| {
            if !global.json {
                print!("{}", report.text);
            }
            all.push(report.json);
            Ok(())
        };
        let jobs = work(site, scratch, &mut show)?;
        if let Some(file) = &self.timeline {
            site.draw(&jobs, file)?;
        }
        if !self.keep {
            site.remove(dir)?;
        }
        if global.json {
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Ok(())
    }
}
