//! What end-to-end tests share: a cluster of real processes in a directory of its own, and the `hfs` program.
#![allow(dead_code, reason = "each test module uses its part")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hfs::cluster::{Cluster, ClusterOptions, Lifetime, Node, Role};
use tempfile::TempDir;

/// The `hfs` program of this build.
pub const HFS: &str = env!("CARGO_BIN_EXE_hfs");

/// How long anything that should happen soon may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// A cluster that dies with the test, its directory with it.
///
/// Its namenode declares a datanode dead after 2 s and its jobtracker a worker after 2 s, so that tests of
/// failures are short; everything else is as users have it.
pub struct TestCluster {
    /// The cluster itself.
    pub cluster: Cluster,
    dir: TempDir,
}

impl TestCluster {
    /// 1 namenode, 3 datanodes, 1 jobtracker, 3 workers.
    pub fn start() -> Result<Self> {
        Self::start_with(|options| options)
    }

    /// The same with changes.
    pub fn start_with(change: impl FnOnce(ClusterOptions) -> ClusterOptions) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let cluster = Cluster::start(change(test_options(dir.path())))?;
        Ok(Self { cluster, dir })
    }

    /// Only the file system: no workers.
    pub fn files(datanodes: u16) -> Result<Self> {
        Self::start_with(|options| ClusterOptions {
            datanodes: Some(datanodes),
            workers: Some(0),
            ..options
        })
    }

    /// A directory of the test's own, beside the cluster's.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// `hdfs://127.0.0.1:PORT`.
    pub fn fs_url(&self) -> String {
        self.cluster.fs_url().expect("a started cluster has a file system")
    }

    /// The jobtracker's address.
    pub fn jobtracker(&self) -> String {
        self.cluster.jobtracker().expect("a started cluster has a jobtracker").to_string()
    }

    /// An `hfs` command whose file system and jobtracker are this cluster's.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = hfs_command(args);
        command
            .env("HFS_FS", self.fs_url())
            .env("HFS_JOBTRACKER", self.jobtracker())
            .env("HFS_CLUSTER_DIR", self.cluster.dir());
        command
    }

    /// Runs an `hfs` command, whatever comes of it.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(self.command(args).output()?)
    }

    /// Runs an `hfs` command that must succeed, and gives its standard output.
    pub fn hfs(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = self.run(args)?;
        if !output.status.success() {
            bail!("hfs {}: {}: {}", args.join(" "), output.status, stderr(&output));
        }
        Ok(output.stdout)
    }

    /// Runs an `hfs` command that must fail, and gives what it said on standard error.
    pub fn hfs_fails(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        if output.status.success() {
            bail!("hfs {} succeeded and should not have", args.join(" "));
        }
        Ok(stderr(&output))
    }

    /// Stops all processes and starts them again on the same directory.
    pub fn restart(&mut self) -> Result<()> {
        self.cluster.stop()?;
        self.cluster = Cluster::start(test_options(self.dir.path()))?;
        Ok(())
    }

    /// What a process has logged so far.
    pub fn log(&self, role: Role, number: u16) -> String {
        let path = self.cluster.log_path(Node::new(role, number));
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

/// An `hfs` command that knows nothing of the user's own configuration.
pub fn hfs_command(args: &[&str]) -> Command {
    let mut command = Command::new(HFS);
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("HADOOP_CONF_DIR")
        .env_remove("HFS_FS")
        .env_remove("HFS_JOBTRACKER")
        .env_remove("HFS_CLUSTER_DIR");
    command
}

/// What the test clusters have in common. The cluster is in `dir/cluster`.
pub fn test_options(dir: &Path) -> ClusterOptions {
    ClusterOptions {
        program: Some(HFS.into()),
        lifetime: Lifetime::WithParent,
        start_deadline: PATIENCE,
        ..ClusterOptions::new(dir.join("cluster"))
    }
    .setting(Role::Namenode, "heartbeat-interval", "200ms")
    .setting(Role::Namenode, "dead-interval", "2s")
    .setting(Role::Datanode, "reserved-space", "0")
    .setting(Role::Jobtracker, "heartbeat-interval", "200ms")
    .setting(Role::Jobtracker, "worker-timeout", "2s")
}

/// Waits until `condition` gives something, at most [`PATIENCE`]; `what` names it in the error.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(anyhow::anyhow!("it never came about")).context(what.to_owned());
        }
        std::thread::sleep(POLL);
    }
}

/// What a command said on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command said on standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
