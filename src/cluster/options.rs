//! What a user may say about a local cluster.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::node::Role;

/// Datanodes, workers and replicas when nothing is said.
const DEFAULT_NODES: u16 = 3;

/// How long the whole cluster may take to become usable. Journals of millions of operations replay in less.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// How long the processes of a cluster live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody stops them: sessions of their own, which outlive the terminal.
    Detached,
    /// At most as long as the process that started them, however it ends: they watch a pipe that only it holds
    /// open. For tests, benches and the quickstart.
    WithParent,
}

/// A setting of a role that the cluster passes on, as the environment would: key in kebab-case, value as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Whose.
    pub role: Role,
    /// The key of the role's `Config`.
    pub key: String,
    /// The value, written as in `hfs.toml`.
    pub value: String,
}

/// What to start. `ClusterOptions::new(dir)` is 1 namenode, 3 datanodes, 1 jobtracker and 3 workers.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where the cluster's data, logs and state are. Made when it is not there.
    pub dir: PathBuf,
    /// The hfs program; `None`: the one that runs now.
    pub program: Option<PathBuf>,
    /// How many datanodes; `None`: as many as `dir` had, or 3.
    pub datanodes: Option<u16>,
    /// How many workers; `None`: as many as `dir` had, or 3.
    pub workers: Option<u16>,
    /// Replicas of a file whose client does not say; `None`: as `dir` had, or 3, and never more than datanodes.
    pub replication: Option<u16>,
    /// The port of `hdfs://127.0.0.1:PORT`; `None`: as before, or any free one.
    pub namenode_port: Option<u16>,
    /// The port of the namenode's web pages; `None`: as before, or any free one.
    pub http_port: Option<u16>,
    /// Further settings of the roles. They are kept in `dir` and hold for later starts too.
    pub settings: Vec<Setting>,
    /// How long the processes live.
    pub lifetime: Lifetime,
    /// How long to wait until the cluster is usable.
    pub start_deadline: Duration,
}

impl ClusterOptions {
    /// The usual cluster in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            program: None,
            datanodes: None,
            workers: None,
            replication: None,
            namenode_port: None,
            http_port: None,
            settings: Vec::new(),
            lifetime: Lifetime::Detached,
            start_deadline: START_DEADLINE,
        }
    }

    /// Adds a setting of a role.
    #[must_use]
    pub fn setting(mut self, role: Role, key: &str, value: impl ToString) -> Self {
        self.settings.push(Setting { role, key: key.to_owned(), value: value.to_string() });
        self
    }

    /// What `former` (the state in `dir`, if any) leaves open is filled with the usual.
    pub(super) fn shape(&self, former: Option<&Shape>) -> Shape {
        let datanodes =
            self.datanodes.or(former.map(|f| f.datanodes)).unwrap_or(DEFAULT_NODES).max(1);
        let workers = self.workers.or(former.map(|f| f.workers)).unwrap_or(DEFAULT_NODES);
        let replication = self.replication.or(former.map(|f| f.replication));
        let replication = replication.unwrap_or(DEFAULT_NODES).clamp(1, datanodes);
        let mut settings = former.map(|f| f.settings.clone()).unwrap_or_default();
        for setting in &self.settings {
            settings.retain(|old| old.role != setting.role || old.key != setting.key);
            settings.push(setting.clone());
        }
        Shape { datanodes, workers, replication, settings }
    }
}

/// What a cluster consists of, settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// How many datanodes.
    pub datanodes: u16,
    /// How many workers.
    pub workers: u16,
    /// Replicas of a file whose client does not say.
    pub replication: u16,
    /// Further settings.
    pub settings: Vec<Setting>,
}

impl Shape {
    /// How many processes of a role.
    #[must_use]
    pub const fn count(&self, role: Role) -> u16 {
        match role {
            Role::Namenode | Role::Jobtracker => 1,
            Role::Datanode => self.datanodes,
            Role::Worker => self.workers,
        }
    }
}
