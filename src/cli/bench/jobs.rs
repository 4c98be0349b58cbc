//! The benchmarks that are jobs: `hfs bench dfsio`, `nnbench`, `mrbench`, `shuffle`, `terasort` and `wordcount`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};

use super::{GlobalArgs, Scratch};
use crate::bench::report::Report;
use crate::bench::site::Site;
use crate::bench::{At, Benchmark, dfsio, mrbench, nnbench, shuffle, terasort, wordcount};
use crate::cluster::{Cluster, ClusterOptions, Lifetime};

/// A benchmark that is a job.
#[derive(Debug, Subcommand)]
pub enum JobBench {
    /// Throughput of tasks that write, read and append to files: Hadoop's TestDFSIO
    Dfsio(Asked<dfsio::Options>),
    /// Namespace operations of many maps at once: Hadoop's NNBench
    Nnbench(Asked<nnbench::Options>),
    /// The time of small jobs in a row: Hadoop's MRBench
    Mrbench(Asked<mrbench::Options>),
    /// Throughput of the shuffle between maps and reduces
    Shuffle(Asked<shuffle::Options>),
    /// Rows made, sorted and checked, against a sort in memory: Hadoop's TeraSort
    Terasort(Asked<terasort::Options>),
    /// Words counted, against a program that does nothing else: Hadoop's WordCount
    Wordcount(Asked<wordcount::Options>),
}

/// A benchmark with its options, and where it runs.
#[derive(Debug, Args)]
pub struct Asked<O: Args> {
    #[command(flatten)]
    options: O,
    #[command(flatten)]
    place: Place,
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

impl JobBench {
    /// Runs the benchmark and prints what it tells.
    ///
    /// # Errors
    /// Options that make no sense, a cluster that did not start, a job that failed, output that is wrong.
    pub fn run(self, global: &GlobalArgs) -> Result<()> {
        match self {
            Self::Dfsio(asked) => asked.run(global),
            Self::Nnbench(asked) => asked.run(global),
            Self::Mrbench(asked) => asked.run(global),
            Self::Shuffle(asked) => asked.run(global),
            Self::Terasort(asked) => asked.run(global),
            Self::Wordcount(asked) => asked.run(global),
        }
    }
}

impl<O: Args + Benchmark> Asked<O> {
    /// Runs it on the cluster that was named, on one of its own, or on none.
    fn run(&self, global: &GlobalArgs) -> Result<()> {
        let Self { options, place } = self;
        options.check(place.jobtracker.is_some())?;
        place.check(options.is_local())?;
        let scratch = Scratch::new(place.scratch.as_deref())?;
        let binary = std::env::current_exe().context("cannot find the hfs program")?;
        let define = global.define.clone();
        let of = |fs_url: String, jobtracker: Option<String>| Site {
            binary: binary.clone(),
            fs_url,
            jobtracker,
            define,
        };
        if options.is_local() {
            let dir = scratch.path().join(O::DIR);
            let site = of("file:///".to_owned(), None);
            return self.measure(&site, scratch.path(), &dir.to_string_lossy(), global);
        }
        let dir = place.dir.clone().unwrap_or_else(|| format!("/benchmarks/{}", O::DIR));
        if let Some(jobtracker) = &place.jobtracker {
            let site = of(global.fs_url(&global.client_config()?)?, Some(jobtracker.clone()));
            return self.measure(&site, scratch.path(), &dir, global);
        }
        let mut cluster = Cluster::start(ClusterOptions {
            program: Some(binary.clone()),
            lifetime: Lifetime::WithParent,
            ..ClusterOptions::new(scratch.path().join("cluster"))
        })?;
        let site = of(cluster.fs_url()?, Some(cluster.jobtracker()?.to_string()));
        let measured = self.measure(&site, scratch.path(), &dir, global);
        measured.and(cluster.stop())
    }

    fn measure(&self, site: &Site, scratch: &Path, dir: &str, global: &GlobalArgs) -> Result<()> {
        let mut all = Vec::new();
        let mut show = |report: Report| {
            if !global.json {
                print!("{}", report.text);
            }
            all.push(report.json);
            Ok(())
        };
        let jobs = self.options.run(&At { site, dir, scratch }, &mut show)?;
        if let Some(file) = &self.place.timeline {
            site.draw(&jobs, file)?;
        }
        if !self.place.keep {
            site.remove(dir)?;
        }
        if global.json {
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Ok(())
    }
}

impl Place {
    /// Refuses what makes no sense. `local`: there is no cluster.
    fn check(&self, local: bool) -> Result<()> {
        if let Some(dir) = &self.dir {
            ensure!(
                dir.starts_with('/') && !dir.trim_matches('/').is_empty(),
                "--dir is {dir}, but must be a path below / on the file system"
            );
        }
        ensure!(
            !self.keep || self.jobtracker.is_some(),
            "--keep is for a running cluster; name its --jobtracker"
        );
        ensure!(
            !local || (self.jobtracker.is_none() && self.dir.is_none()),
            "--local runs without a cluster; leave out --jobtracker and --dir"
        );
        ensure!(
            !local || self.timeline.is_none(),
            "--timeline draws what a cluster's tasks did; leave out --local"
        );
        if let Some(parent) = self.timeline.as_deref().and_then(|file| file.parent())
            && !parent.as_os_str().is_empty()
            && !parent.is_dir()
        {
            bail!("--timeline names a file in {}, which is no directory", parent.display());
        }
        Ok(())
    }
}
