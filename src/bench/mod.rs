//! `hfs bench`: what hfs does against a peer in the same run, as ratios.
//!
//! [`measure`] runs two sides in turns; [`peers`] holds the least any implementation has to do (a relay, an
//! echo). [`dfsio`], [`nnbench`] and [`mrbench`] are jobs with Hadoop's figures, [`shuffle`] is one with its own. Each of the other modules is a group of rows. A figure alone says little on a shared machine; the
//! ratio travels.

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

use std::path::PathBuf;

use anyhow::Result;

use site::Site;

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
