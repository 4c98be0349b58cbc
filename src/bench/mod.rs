//! `hfs bench`: what hfs does against a peer in the same run, as ratios.
//!
//! [`measure`] runs two sides in turns; [`peers`] holds the least any implementation has to do (a relay, an
//! echo). [`dfsio`], [`nnbench`] and [`mrbench`] are jobs with Hadoop's figures, [`shuffle`], [`terasort`] and
//! [`wordcount`] are some with their own: each of these is a [`Benchmark`]. Each of the other modules is a group of rows. A figure alone says
//! little on a shared machine; the ratio travels.

pub mod cluster;
pub mod dfsio;
pub mod jobs;
pub mod limit;
pub mod measure;
pub mod meta;
pub mod mrbench;
pub mod nnbench;
pub mod peers;
pub mod report;
pub mod scheduler;
pub mod shuffle;
pub mod site;
pub mod storage;
pub mod terasort;
pub mod text;
pub mod wordcount;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::de::DeserializeOwned;

use crate::jobs::bench::Operation;
use report::Show;
use site::{JobRun, Site};

/// A benchmark that runs jobs; its fields are its options.
pub trait Benchmark {
    /// Its directory below `/benchmarks`, unless somebody names another.
    const DIR: &'static str;

    /// Refuses what makes no sense. `found`: the directory may hold files of an earlier run.
    ///
    /// # Errors
    /// A sentence about the option that makes no sense.
    fn check(&self, found: bool) -> Result<()>;

    /// Whether its jobs run without a cluster, over local files.
    fn is_local(&self) -> bool {
        false
    }

    /// Runs its jobs and shows what they tell; gives their ids.
    ///
    /// # Errors
    /// A job that failed or did something wrong.
    fn run(&self, at: &At<'_>, show: Show<'_>) -> Result<Vec<String>>;
}

/// Where a benchmark's jobs run.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The program and its cluster.
    pub site: &'a Site,
    /// The benchmark's directory on the cluster's file system.
    pub dir: &'a str,
    /// A local directory for samples.
    pub scratch: &'a Path,
}

impl At<'_> {
    /// Runs a job of [`crate::jobs::bench`] whose tasks measure, and gives what they have measured. `words` say which
    /// job, `given` are its options.
    ///
    /// # Errors
    /// A job that did not succeed, or measured nothing that can be read.
    pub fn measure<T: DeserializeOwned>(
        &self,
        properties: &[String],
        words: &[&str],
        given: &[(&str, String)],
    ) -> Result<(JobRun, Vec<T>)> {
        let output = format!("{}/measured", self.dir);
        self.site.remove(&output)?;
        let given = [given, &[("--output", output.clone())]].concat();
        let run = self.site.job(properties, words, &given)?;
        let measured = self.site.measured(&output)?;
        self.site.remove(&output)?;
        Ok((run, measured))
    }
}

/// Refuses operations that can't be done one after the other: the first needs files that are not there.
fn check_operations<O: Operation>(operations: &[O], found: bool) -> Result<()> {
    let makes = O::MAKES.word();
    match operations.first() {
        None => bail!("--operations names none; name {makes} or another"),
        Some(first) if *first != O::MAKES && !found => bail!(
            "{} needs files that {makes} has made, and a cluster of its own has none; begin --operations with {makes}",
            first.word()
        ),
        Some(_) => Ok(()),
    }
}

/// What the groups of rows share.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The cluster and the program that is measured.
    pub site: Site,
    /// A local directory for samples and copies.
    pub scratch: PathBuf,
    /// Measured turns of each side.
    pub runs: usize,
    /// Size of the large file, in MiB.
    pub megabytes: u64,
    /// Namespace operations in each turn.
    pub operations: usize,
    /// Connections that share them.
    pub connections: usize,
    /// Text for the word count; `None`: generated.
    pub text: Option<PathBuf>,
}

impl Bench {
    /// As [`Site::hfs`].
    ///
    /// # Errors
    /// As there.
    pub fn hfs(&self, args: &[&str]) -> Result<Vec<u8>> {
        self.site.hfs(args)
    }

    /// As [`Site::hfs_to_null`].
    ///
    /// # Errors
    /// As there.
    pub fn hfs_to_null(&self, args: &[&str]) -> Result<()> {
        self.site.hfs_to_null(args)
    }
}
