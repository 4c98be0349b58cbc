//! `hfs bench`: what hfs does against a peer in the same run, as ratios.
//!
//! [`measure`] runs two sides in turns; [`peers`] holds the least any implementation has to do (a relay, an
//! echo). Each of the other modules is a group of rows. A figure alone says little on a shared machine; the
//! ratio travels.

pub mod cluster;
pub mod jobs;
pub mod limit;
pub mod measure;
pub mod meta;
pub mod peers;
pub mod scheduler;
pub mod storage;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What the groups of rows share.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The `hfs` binary that is measured.
    pub binary: PathBuf,
    /// The file system the benchmark runs on.
    pub fs_url: String,
    /// The jobtracker's address.
    pub jobtracker: String,
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
}
