//! Where a benchmark runs, and how it runs commands and jobs there: through the `hfs` program, as users do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
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
    /// The jobtracker's address; `None`: each job runs in the process of its driver, over local files.
    pub jobtracker: Option<String>,
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
        command.args(args).stdin(Stdio::null());
        if let Some(jobtracker) = &self.jobtracker {
            command.env("HFS_FS", &self.fs_url).env("HFS_JOBTRACKER", jobtracker);
        }
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
        if self.jobtracker.is_none() {
            return match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove {path}"))
                }
                _ => Ok(()),
            };
        }
        self.hfs(&["rm", "-r", "-f", "-skipTrash", path]).map(drop)
    }

    /// Gives the parts of a job's output, one after another, to `look`.
    ///
    /// # Errors
    /// An output that can't be read, or what `look` fails with.
    pub fn read_parts<T>(
        &self,
        output: &str,
        look: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        if self.jobtracker.is_none() {
            let mut parts = Vec::new();
            for entry in
                std::fs::read_dir(output).with_context(|| format!("cannot read {output}"))?
            {
                let path = entry?.path();
                if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"))
                {
                    parts.push(path);
                }
            }
            parts.sort();
            let mut all: Box<dyn Read> = Box::new(std::io::empty());
            for part in parts {
                let file =
                    File::open(&part).with_context(|| format!("cannot read {}", part.display()))?;
                all = Box::new(all.chain(file));
            }
            return look(&mut all);
        }
        let mut command = self.command(&["cat", &format!("{output}/part-*")]);
        let mut cat = command.stdout(Stdio::piped()).spawn().context("cannot run hfs")?;
        let looked = match &mut cat.stdout {
            Some(stdout) => look(stdout),
            None => bail!("`hfs cat` has no standard output"),
        };
        // What was not read is not wanted.
        drop(cat.stdout.take());
        let status = cat.wait().context("cannot wait for hfs")?;
        let looked = looked?;
        ensure!(status.success(), "`hfs cat {output}/part-*` failed");
        Ok(looked)
    }

    /// Runs a job of [`crate::jobs::bench`] to its end: `words` say which, `given` are options with their values.
    ///
    /// # Errors
    /// A job that did not succeed, with what its driver said.
    pub fn job(
        &self,
        properties: &[String],
        words: &[&str],
        given: &[(&str, String)],
    ) -> Result<JobRun> {
        let properties: Vec<String> =
            self.define.iter().chain(properties).map(|p| format!("-D{p}")).collect();
        let mut all = vec![VERB, "--json"];
        all.extend(self.jobtracker.is_none().then_some("--local"));
        all.extend(properties.iter().map(String::as_str));
        all.extend(words);
        all.extend(given.iter().flat_map(|(name, value)| [*name, value]));
        let begun = Instant::now();
        let told = self.hfs(&all)?;
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
        let mut lines = Vec::new();
        self.read_parts(output, |parts| Ok(parts.read_to_end(&mut lines)?))?;
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
