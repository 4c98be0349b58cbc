//! `hfs cluster`: a real cluster on this machine, in the background.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::global::GlobalArgs;
use crate::cluster::{Cluster, ClusterOptions, ClusterStatus, Node, Role, default_dir};

/// How much of a log's end is looked through for its last lines.
const LOG_TAIL_BYTES: u64 = 1 << 20;

/// `hfs cluster`.
#[derive(Debug, Args)]
pub struct ClusterCommand {
    /// Where the cluster's data, logs and state are [default: $HFS_CLUSTER_DIR, else ~/.hfs/local]
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start the cluster, or what of it is not running; returns when files can be written
    Start(Start),
    /// Say what runs where
    Status,
    /// Stop the cluster; its files are there again at the next start
    Stop,
    /// Show what the processes said
    Logs(Logs),
    /// End a process as a crash does (SIGKILL), to see what happens
    Kill {
        /// Which one: datanode/2, worker/1, namenode, jobtracker
        #[arg(value_name = "ROLE/N")]
        node: Node,
    },
}

#[derive(Debug, Args)]
struct Start {
    /// Start only this process again: datanode/2, worker/1, namenode, jobtracker
    #[arg(value_name = "ROLE/N", conflicts_with_all = ["datanodes", "workers", "replication", "namenode_port", "http_port"])]
    node: Option<Node>,
    /// How many datanodes [default: as many as the directory has, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    datanodes: Option<u16>,
    /// How many workers [default: as before, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    workers: Option<u16>,
    /// Replicas of a file whose client does not say [default: as before, else 3, at most one per datanode]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u16).range(1..=512))]
    replication: Option<u16>,
    /// Port of the file system, hdfs://127.0.0.1:PORT [default: as before, else any free one]
    #[arg(long, value_name = "PORT")]
    namenode_port: Option<u16>,
    /// Port of the namenode's web pages [default: as before, else any free one]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
}

#[derive(Debug, Args)]
struct Logs {
    /// Whose log: a role (datanode) or one process (datanode/2) [default: all]
    #[arg(value_name = "ROLE[/N]", value_parser = parse_selection)]
    of: Option<Selection>,
    /// How many lines of each, from the end
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 50)]
    lines: usize,
}

#[derive(Debug, Clone, Copy)]
enum Selection {
    Role(Role),
    Node(Node),
}

fn parse_selection(text: &str) -> Result<Selection, String> {
    if text.contains('/') {
        text.parse().map(Selection::Node)
    } else {
        text.parse().map(Selection::Role)
    }
}

impl ClusterCommand {
    /// Does it.
    ///
    /// # Errors
    /// One sentence that says what to do.
    pub fn run(self, global: &GlobalArgs) -> Result<()> {
        let dir = match self.dir {
            Some(dir) => dir,
            None => default_dir()?,
        };
        match self.action {
            Action::Start(start) => start.run(dir, global.json),
            Action::Status => {
                let status = Cluster::attach(&dir)?.status()?;
                print(&status, global.json, table)
            }
            Action::Stop => {
                let mut cluster = Cluster::attach(&dir)?;
                let was_running = cluster.status()?.is_running();
                cluster.stop()?;
                let verb = if was_running { "stopped" } else { "was not running" };
                say(&format!("cluster in {} {verb}\n", cluster.dir().display()))
            }
            Action::Logs(logs) => logs.run(&dir),
            Action::Kill { node } => {
                Cluster::attach(&dir)?.kill(node.role, node.number)?;
                say(&format!("killed {node}\n"))
            }
        }
    }
}

impl Start {
    fn run(self, dir: PathBuf, json: bool) -> Result<()> {
        if let Some(node) = self.node {
            Cluster::attach(&dir)?.start_one(node.role, node.number)?;
            return say(&format!("started {node}\n"));
        }
        let began = Instant::now();
        let options = ClusterOptions {
            datanodes: self.datanodes,
            workers: self.workers,
            replication: self.replication,
            namenode_port: self.namenode_port,
            http_port: self.http_port,
            ..ClusterOptions::new(dir)
        };
        let status = Cluster::start(options)?.status()?;
        let took = began.elapsed();
        print(&status, json, |status| {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
            format!(
                "file system  {}\njobtracker   {}\nweb          {}\njobs         {}\n\
                 directory    {}\nready in     {:.2} s\n",
                or_none(&status.fs_url),
                status.jobtracker.map(|a| a.to_string()).unwrap_or_default(),
                or_none(&status.web),
                or_none(&status.jobs_web),
                status.dir.display(),
                took.as_secs_f64(),
            )
        })
    }
}

impl Logs {
    fn run(&self, dir: &Path) -> Result<()> {
        let cluster = Cluster::attach(dir)?;
        let nodes = cluster.nodes()?;
        let wanted: Vec<Node> = match self.of {
            None => nodes,
            Some(Selection::Role(role)) => nodes.into_iter().filter(|n| n.role == role).collect(),
            Some(Selection::Node(node)) => {
                cluster.ports(node)?;
                vec![node]
            }
        };
        let many = wanted.len() > 1;
        for (i, node) in wanted.into_iter().enumerate() {
            let path = cluster.log_path(node);
            let text = match last_lines(&path, self.lines) {
                Ok(text) => text,
                Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
                Err(e) => return Err(e).with_context(|| format!("can't read {}", path.display())),
            };
            if many {
                let gap = if i == 0 { "" } else { "\n" };
                say(&format!("{gap}==> {node} ({}) <==\n", path.display()))?;
            }
            say(&text)?;
        }
        Ok(())
    }
}

/// The last lines of a file, of which no more than [`LOG_TAIL_BYTES`] are read.
fn last_lines(path: &Path, count: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::new(file.take(LOG_TAIL_BYTES));
    let mut lines = std::collections::VecDeque::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        lines.push_back(String::from_utf8_lossy(&line).into_owned());
        if lines.len() > count {
            lines.pop_front();
        }
        line.clear();
    }
    Ok(lines.into_iter().collect())
}

fn table(status: &ClusterStatus) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<13}{value}\n"));
    line("directory", &status.dir.display().to_string());
    line("file system", status.fs_url.as_deref().unwrap_or("none yet"));
    line("jobtracker", &status.jobtracker.map_or("none yet".to_owned(), |a| a.to_string()));
    line("web", status.web.as_deref().unwrap_or("none yet"));
    line("jobs", status.jobs_web.as_deref().unwrap_or("none yet"));
    match &status.health {
        Some(health) => {
            let mode = if health.safe_mode { "in safe mode" } else { "writable" };
            let (datanodes, workers) = (health.live_datanodes, health.live_workers);
            line("state", &format!("{mode}, {datanodes} datanodes and {workers} workers live"));
        }
        None if status.is_running() => line("state", "the masters do not answer"),
        None => line("state", "stopped"),
    }
    text.push_str(&format!("\n{:<14}{:<9}{:>8}  ADDRESSES\n", "PROCESS", "STATE", "PID"));
    for node in &status.nodes {
        let state = if node.running { "running" } else { "stopped" };
        let pid = node.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let ports = serde_json::to_value(node.ports).unwrap_or_default();
        let addresses: Vec<String> = ports
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, address)| format!("{name} {}", address.as_str().unwrap_or_default()))
            .collect();
        let addresses = addresses.join(", ");
        text.push_str(&format!("{:<14}{state:<9}{pid:>8}  {addresses}\n", node.node));
    }
    text
}

fn print<T: serde::Serialize>(value: &T, json: bool, text: impl Fn(&T) -> String) -> Result<()> {
    if json { say(&(serde_json::to_string_pretty(value)? + "\n")) } else { say(&text(value)) }
}

fn say(text: &str) -> Result<()> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
