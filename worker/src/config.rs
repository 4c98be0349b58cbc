//! What can be chosen about a worker.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hfs_daemon::config::{duration, parse_duration, parse_size, size};
use serde::{Deserialize, Serialize};

/// Where local files go when nothing is said.
const DIR_DEFAULT: &str = "hfs-data/worker";

/// The configuration of a worker: section `[worker]` of `hfs.toml`, variables `HFS_WORKER_*`,
/// flags of `hfs worker`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The jobtracker's address, host:port.
    #[arg(long, default_value_t = Config::default().jobtracker)]
    pub jobtracker: String,
    /// The address to listen on. Tasks on this node dial out from it.
    #[arg(long, default_value_t = Config::default().bind)]
    pub bind: IpAddr,
    /// The name or address reducers and web browsers reach this node under, and that the hosts of
    /// splits are compared with. Default: the bound address.
    #[arg(long)]
    pub host: Option<String>,
    /// The node's rack, /rack1 say. Default: /default-rack.
    #[arg(long, default_value_t = Config::default().rack)]
    pub rack: String,
    /// The port of the shuffle server. 0: any free one.
    #[arg(long, default_value_t = Config::default().shuffle_port)]
    pub shuffle_port: u16,
    /// The port for web pages, /metrics and /healthz. 0: any free one.
    #[arg(long, default_value_t = Config::default().http_port)]
    pub http_port: u16,
    /// Where programs, map output and logs are kept.
    #[arg(long, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,
    /// How many attempts run at once. 0: one for each processor, at least 2.
    #[arg(long, default_value_t = Config::default().slots)]
    pub slots: u32,
    /// How many processors (vcores) its attempts may ask for together. 0: as many as slots.
    #[arg(long, default_value_t = Config::default().vcores)]
    pub vcores: u32,
    /// How much memory its attempts may ask for together. 0: a task's (task-memory) for each slot.
    #[arg(long, value_parser = parse_size, default_value = "0")]
    #[serde(with = "size")]
    pub memory: u64,
    /// Where to say which ports were bound.
    #[arg(long)]
    pub port_file: Option<PathBuf>,
    /// How long a program has to say hello before it counts as none of ours.
    #[arg(long, value_parser = parse_duration, default_value = "30s")]
    #[serde(with = "duration")]
    pub hello_timeout: Duration,
    /// How long a task process waits for another attempt of its job.
    #[arg(long, value_parser = parse_duration, default_value = "1s")]
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How much of what an attempt prints is kept.
    #[arg(long, value_parser = parse_size, default_value = "8MiB")]
    #[serde(with = "size")]
    pub log_limit: u64,
    /// The memory of a task, with all that it starts, when its job does not say
    /// (mapreduce.map.memory.mb, mapreduce.reduce.memory.mb). 0: an equal share of four fifths of the
    /// machine's.
    #[arg(long, value_parser = parse_size, default_value = "0")]
    #[serde(with = "size")]
    pub task_memory: u64,
    /// How many processes a task may have at once, itself included.
    #[arg(long, default_value_t = Config::default().task_processes)]
    pub task_processes: usize,
    /// Of how many jobs the logs are kept.
    #[arg(long, default_value_t = Config::default().keep_logs)]
    pub keep_logs: usize,
    /// How many programs are kept.
    #[arg(long, default_value_t = Config::default().keep_programs)]
    pub keep_programs: usize,
    /// How many reducers may fetch at once.
    #[arg(long, default_value_t = Config::default().shuffle_connections)]
    pub shuffle_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            jobtracker: "127.0.0.1:8032".to_owned(),
            bind: IpAddr::from([127, 0, 0, 1]),
            host: None,
            rack: "/default-rack".to_owned(),
            shuffle_port: 13562,
            http_port: 50060,
            dir: PathBuf::from(DIR_DEFAULT),
            slots: 0,
            vcores: 0,
            memory: 0,
            port_file: None,
            hello_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(1),
            log_limit: 8 << 20,
            task_memory: 0,
            task_processes: 1024,
            keep_logs: 100,
            keep_programs: 32,
            shuffle_connections: 256,
        }
    }
}

impl Config {
    /// The slots in force.
    #[must_use]
    pub fn slots_in_force(&self) -> u32 {
        if self.slots > 0 {
            return self.slots;
        }
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u32::try_from(processors).unwrap_or(u32::MAX).max(2)
    }

    /// The name others know this node by.
    #[must_use]
    pub fn host_in_force(&self) -> String {
        self.host.clone().unwrap_or_else(|| self.bind.to_string())
    }
}
