//! What can be chosen about a jobtracker.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hfs_daemon::config::{duration, parse_duration};
use serde::{Deserialize, Serialize};

use crate::access::{Access, Acl};
use crate::queues::Queues;
use crate::scheduler::{Policy, Settings};

/// Where histories go when nothing is said.
const DIR_DEFAULT: &str = "hfs-data/jobtracker";

/// The configuration of a jobtracker: section `[jobtracker]` of `hfs.toml`, variables
/// `HFS_JOBTRACKER_*`, flags of `hfs jobtracker`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The address to listen on.
    #[arg(long, default_value_t = Config::default().bind)]
    pub bind: IpAddr,
    /// The port for job clients and workers (gRPC). 0: any free one.
    #[arg(long, default_value_t = Config::default().port)]
    pub port: u16,
    /// The port for web pages, /metrics and /healthz. 0: any free one.
    #[arg(long, default_value_t = Config::default().http_port)]
    pub http_port: u16,
    /// The address others reach this jobtracker under, for the links it gives out. Default: the bound one.
    #[arg(long)]
    pub advertise: Option<String>,
    /// Where the histories of jobs are kept.
    #[arg(long, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,
    /// The file system that clients are told of, hdfs://host:port. A job names its own.
    #[arg(long, default_value_t = Config::default().fs_url)]
    pub fs_url: String,
    /// Where to say which ports were bound.
    #[arg(long)]
    pub port_file: Option<PathBuf>,
    /// How long a job holds out for a node that has the input of one of its waiting maps, and then as
    /// long again for such a rack.
    #[arg(long, value_parser = parse_duration, default_value = "100ms")]
    #[serde(with = "duration")]
    pub locality_wait: Duration,
    /// A worker that says nothing for so long is dead.
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    #[serde(with = "duration")]
    pub worker_timeout: Duration,
    /// How often workers say that they are there.
    #[arg(long, value_parser = parse_duration, default_value = "1s")]
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    /// How long a worker whose connection broke has to come back.
    #[arg(long, value_parser = parse_duration, default_value = "2s")]
    #[serde(with = "duration")]
    pub reconnect_grace: Duration,
    /// How long a job waits when no worker is alive, or none that is large enough for its tasks, before it
    /// fails.
    #[arg(long, value_parser = parse_duration, default_value = "60s")]
    #[serde(with = "duration")]
    pub no_worker_timeout: Duration,
    /// How the jobs of a queue take turns, where the queue does not say: fair (they share slots by
    /// their priorities) or fifo (the highest priority, then the oldest).
    #[arg(long, value_enum, default_value_t = Config::default().scheduling)]
    pub scheduling: Policy,
    /// The queues, by name. In files a section each, `[jobtracker.queues.NAME]`; as a variable JSON.
    #[arg(skip)]
    pub queues: Queues,
    /// Who may change every job and drain workers: `user,user group,group`, or * for everybody.
    #[arg(long, default_value_t = Config::default().administrators)]
    pub administrators: String,
    /// A slow attempt is not raced by another one before it has worked for so long.
    #[arg(long, value_parser = parse_duration, default_value = "5s")]
    #[serde(with = "duration")]
    pub speculative_after: Duration,
    /// Of 100 slots, how many may be taken by attempts that race slower ones.
    #[arg(long, default_value_t = Config::default().speculative_percent)]
    pub speculative_percent: u32,
    /// A worker gets no tasks for a while when tasks of so many jobs failed there and succeeded
    /// elsewhere. 0: never.
    #[arg(long, default_value_t = Config::default().blacklist_jobs)]
    pub blacklist_jobs: u32,
    /// For how long it gets none.
    #[arg(long, value_parser = parse_duration, default_value = "10m")]
    #[serde(with = "duration")]
    pub blacklist_time: Duration,
    /// How long a call to the file system may take before a commit is given up.
    #[arg(long, value_parser = parse_duration, default_value = "60s")]
    #[serde(with = "duration")]
    pub commit_timeout: Duration,
    /// Jobs may write to this machine's files (file:///). For clusters whose nodes share a directory, or are
    /// one machine: output is put in place with this process's own rights.
    #[arg(long)]
    pub local_output: bool,
    /// How many ended jobs can still be asked about.
    #[arg(long, default_value_t = Config::default().keep_jobs)]
    pub keep_jobs: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([127, 0, 0, 1]),
            port: 8032,
            http_port: 50030,
            advertise: None,
            dir: PathBuf::from(DIR_DEFAULT),
            fs_url: String::new(),
            port_file: None,
            locality_wait: Duration::from_millis(100),
            worker_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(1),
            reconnect_grace: Duration::from_secs(2),
            no_worker_timeout: Duration::from_secs(60),
            scheduling: Policy::Fair,
            queues: Queues::default(),
            administrators: "*".to_owned(),
            speculative_after: Duration::from_secs(5),
            speculative_percent: 10,
            blacklist_jobs: 3,
            blacklist_time: Duration::from_secs(600),
            commit_timeout: Duration::from_secs(60),
            local_output: false,
            keep_jobs: 200,
        }
    }
}

impl Config {
    /// What of it the scheduler is told.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Settings {
            node_wait_ms: ms(self.locality_wait),
            rack_wait_ms: ms(self.locality_wait),
            worker_silent_ms: ms(self.worker_timeout),
            reconnect_grace_ms: ms(self.reconnect_grace),
            restart_grace_ms: ms(self.worker_timeout),
            no_workers_ms: ms(self.no_worker_timeout),
            unfit_ms: ms(self.no_worker_timeout),
            race_after_ms: ms(self.speculative_after),
            race_percent: self.speculative_percent,
            blacklist_jobs: self.blacklist_jobs,
            blacklist_ms: ms(self.blacklist_time),
            ended_kept: self.keep_jobs.max(1),
            ..Settings::default()
        }
    }

    /// Who may do what.
    #[must_use]
    pub fn access(&self, superuser: String) -> Access {
        let administrators = Acl::parse(&self.administrators);
        Access { queues: self.queues.acls(), administrators, superuser }
    }
}
