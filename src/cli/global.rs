//! What every command line shares: which file system, which settings, which form of output.

use anyhow::{Context, Result, bail};
use hfs_client::ClientConfig;

use crate::cluster::{self, Cluster};

/// Options that every verb takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct GlobalArgs {
    /// The file system, hdfs://HOST:PORT; else fs.defaultFS of $HADOOP_CONF_DIR, else the running
    /// local cluster
    #[arg(
        long,
        value_name = "URL",
        env = "HFS_FS",
        global = true,
        help_heading = "Global options"
    )]
    pub fs: Option<String>,

    /// A setting by its HDFS name, such as dfs.replication=2 or dfs.blocksize=64m; may be repeated
    #[arg(
        short = 'D',
        value_name = "KEY=VALUE",
        global = true,
        action = clap::ArgAction::Append,
        help_heading = "Global options"
    )]
    pub define: Vec<String>,

    /// Print JSON where the verb has something to say to scripts
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
}

impl GlobalArgs {
    /// The client's settings: configuration files, then `-D`.
    ///
    /// # Errors
    /// A configuration file that can't be read, or a `-D` that is not `key=value` or whose value is
    /// not of the key's kind.
    pub fn client_config(&self) -> Result<ClientConfig> {
        let mut config = ClientConfig::load()?;
        for define in &self.define {
            let (key, value) = define.split_once('=').with_context(|| {
                format!("-D {define} has no '='; write -D key=value, such as -D dfs.replication=2")
            })?;
            config.set(key.trim(), value.trim())?;
        }
        Ok(config)
    }

    /// The file system that paths without a scheme are on: `--fs`, else `HFS_FS`, else
    /// `fs.defaultFS`, else the local cluster that is running.
    ///
    /// # Errors
    /// None of them names one.
    pub fn fs_url(&self, config: &ClientConfig) -> Result<String> {
        if let Some(url) = self.fs.as_ref().filter(|url| !url.is_empty()) {
            let scheme = url.contains("://");
            return Ok(if scheme { url.clone() } else { format!("hdfs://{url}") });
        }
        if let Some(url) = &config.default_fs {
            return Ok(url.to_string());
        }
        let dir = cluster::default_dir()?;
        if let Some(url) = cluster::running_fs_url(&dir)? {
            return Ok(url);
        }
        let dir_name = dir.display();
        if Cluster::attach(&dir).is_ok() {
            bail!(
                "the namenode of the local cluster in {dir_name} does not run; start it with `hfs \
                 cluster start`, or name another file system with --fs"
            );
        }
        bail!(
            "no file system: no --fs, no HFS_FS, no fs.defaultFS, and no local cluster in \
             {dir_name}; start one with `hfs cluster start`"
        )
    }
}
