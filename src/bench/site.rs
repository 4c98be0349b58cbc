//! Where a benchmark runs, and how it runs commands and jobs there: through the `hfs` program, as users do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::jobs::bench::VERB;

/// A cluster and the program that is measured on it.
#[derive(Debug, Clone)]
pub struct Site {
    /// The `hfs` binary that is measured.
    pub binary: PathBuf,
    /// The file system the benchmark runs on.
    pub fs_url: String,
    /// The jobtracker's address.
    pub jobtracker: String,
    /// Properties of every job, `KEY=VALUE`.
    pub define: Vec<String>,
}

/// A job that has succeeded.
#[derive(Debug, Clone)]
pub struct JobRun {
    /// Its id.
    pub id: String,
    /// From the start of the driver program to its end.
    pub took: Duration,
    counters: BTreeMap<(String, String), i64>,
}

impl JobRun {
    /// A counter over all tasks; 0 for one that nobody increased.
    #[must_use]
    pub fn counter(&self, group: &str, name: &str) -> i64 {
        self.counters.get(&(group.to_owned(), name.to_owned())).copied().unwrap_or(0)
    }
}

#[derive(Deserialize)]
struct Told {
    job_id: String,
    counters: Vec<ToldCounter>,
}

#[derive(Deserialize)]
struct ToldCounter {
    group: String,
    name: String,
    value: i64,
}

impl Site {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).env("HFS_FS", &self.fs_url).env("HFS_JOBTRACKER", &self.jobtracker);
        command.stdin(Stdio::null());
        command
    }

    /// Runs an `hfs` command and gives its standard output.
    ///
    /// # Errors
    /// A command that ended with another code than 0, with what it said.
    pub fn hfs(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = self.command(args).output().context("cannot run hfs")?;
        if !output.status.success() {
            bail!("`hfs {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }

    /// Runs an `hfs` command with its output thrown away unread.
    ///
    /// # Errors
    /// A command that ended with another code than 0.
    pub fn hfs_to_null(&self, args: &[&str]) -> Result<()> {
        let status = self.command(args).stdout(Stdio::null()).status().context("cannot run hfs")?;
        if !status.success() {
            bail!("`hfs {}` failed", args.join(" "));
        }
        Ok(())
    }

    /// Removes a directory of the file system with all that is below.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.hfs(&["rm", "-r", "-f", "-skipTrash", path]).map(drop)
    }

    /// Runs a job of [`crate::jobs::bench`] to its end.
    ///
    /// # Errors
    /// A job that did not succeed, with what its driver said.
    pub fn job(&self, properties: &[String], arguments: &[String]) -> Result<JobRun> {
        let properties = self.define.iter().chain(properties).map(|p| format!("-D{p}"));
        let words: Vec<String> = [VERB.to_owned(), "--json".to_owned()]
            .into_iter()
            .chain(properties)
            .chain(arguments.iter().cloned())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let begun = Instant::now();
        let told = self.hfs(&words)?;
        let took = begun.elapsed();
        let told: Told = serde_json::from_slice(&told).context("a job's report is no JSON")?;
        let counters = told.counters.into_iter().map(|c| ((c.group, c.name), c.value)).collect();
        Ok(JobRun { id: told.job_id, took, counters })
    }

    /// What the tasks of a job have measured: the lines of its output, each a name, a tab and an object.
    ///
    /// # Errors
    /// An output that can't be read or is not such lines.
    pub fn measured<T: DeserializeOwned>(&self, output: &str) -> Result<Vec<T>> {
        let lines = self.hfs(&["cat", &format!("{output}/part-*")])?;
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let tab = line.iter().position(|byte| *byte == b'\t');
                let object = tab.map(|tab| &line[tab + 1..]).unwrap_or_default();
                serde_json::from_slice(object).with_context(|| {
                    format!(
                        "{output} has a line that is no measurement: {}",
                        String::from_utf8_lossy(line)
                    )
                })
            })
            .collect()
    }

    /// Draws jobs into an SVG file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn draw(&self, jobs: &[String], path: &Path) -> Result<()> {
        let path = path.to_string_lossy();
        let mut words = vec!["job", "timeline", "-o", &path];
        words.extend(jobs.iter().map(String::as_str));
        self.hfs(&words).map(drop)
    }
}
