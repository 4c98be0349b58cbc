//! The namenode's settings. All defaults stand here, with their units.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hfs_daemon::config::{XmlKey, parse_duration, parse_size};
use serde::{Deserialize, Serialize};

/// What can be chosen when a namenode starts. Keys in `hfs.toml` are the kebab-case field names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the journal and the checkpoints. A first start on an empty one formats it
    #[arg(long, value_name = "DIR", default_value = "hfs-namenode")]
    pub dir: PathBuf,
    /// Address to listen on, for all three ports
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Address that others are told to use, where it differs from `host` (0.0.0.0, NAT)
    #[arg(long, value_name = "HOST")]
    pub advertised_host: Option<String>,
    /// Port of Hadoop RPC, for file clients; 0 takes any
    #[arg(long, default_value_t = 8020)]
    pub rpc_port: u16,
    /// Port of gRPC, for datanodes; 0 takes any
    #[arg(long, default_value_t = 8021)]
    pub grpc_port: u16,
    /// Port of the web pages, `/metrics` and `/healthz`; 0 takes any
    #[arg(long, default_value_t = 9870)]
    pub http_port: u16,
    /// File to write the bound addresses to, as JSON
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
    /// Threads of the runtime
    #[arg(long, default_value_t = 2)]
    pub worker_threads: usize,

    /// Replicas of a file whose creator names no number (dfs.replication)
    #[arg(long, default_value_t = 3)]
    pub replication: u16,
    /// Most replicas a file may ask for (dfs.replication.max)
    #[arg(long, default_value_t = 512)]
    pub max_replication: u16,
    /// Block size of a file whose creator names none (dfs.blocksize)
    #[arg(long, default_value = "128MiB", value_parser = parse_size)]
    #[serde(with = "hfs_daemon::config::size")]
    pub block_size: u64,
    /// Smallest block size a file may ask for (dfs.namenode.fs-limits.min-block-size)
    #[arg(long, default_value = "1MiB", value_parser = parse_size)]
    #[serde(with = "hfs_daemon::config::size")]
    pub min_block_size: u64,
    /// Entries of one page of a listing (dfs.ls.limit)
    #[arg(long, default_value_t = 1000)]
    pub list_limit: usize,
    /// Minutes that clients keep deleted files in the trash; 0 leaves it to them (fs.trash.interval)
    #[arg(long, default_value_t = 0)]
    pub trash_interval_min: u64,

    /// How often a datanode says that it lives
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    #[serde(with = "hfs_daemon::config::duration")]
    pub heartbeat_interval: Duration,
    /// A datanode not heard of for this long is dead
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    #[serde(with = "hfs_daemon::config::duration")]
    pub dead_interval: Duration,
    /// A writer not heard of for this long may be replaced by another (HDFS: 60 s)
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    #[serde(with = "hfs_daemon::config::duration")]
    pub lease_soft_limit: Duration,
    /// A writer not heard of for this long loses its files (dfs.namenode.lease-hard-limit-sec)
    #[arg(long, default_value = "20min", value_parser = parse_duration)]
    #[serde(with = "hfs_daemon::config::duration")]
    pub lease_hard_limit: Duration,
    /// After a start, an open file of before is not recovered for this long, unless as many datanodes
    /// as it wants replicas have reported its last block: others may still hold bytes of it
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    #[serde(with = "hfs_daemon::config::duration")]
    pub lease_recovery_grace: Duration,
    /// Share of the blocks that need a replica before start-up safe mode ends
    #[arg(long, default_value_t = 0.999)]
    pub safemode_threshold: f64,
    /// Live datanodes that start-up safe mode waits for
    #[arg(long, default_value_t = 0)]
    pub safemode_min_datanodes: usize,
    /// An ordered copy that was not reported in this time is ordered again
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    #[serde(with = "hfs_daemon::config::duration")]
    pub transfer_timeout: Duration,
    /// Copies one datanode sends at a time (dfs.namenode.replication.max-streams)
    #[arg(long, default_value_t = 4)]
    pub max_streams: u32,

    /// Operations in the journal that call for a checkpoint
    #[arg(long, default_value_t = 1_000_000)]
    pub checkpoint_transactions: u64,
    /// Time after which any new operation calls for a checkpoint
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    #[serde(with = "hfs_daemon::config::duration")]
    pub checkpoint_interval: Duration,
    /// Checkpoints kept, with the journal since the oldest of them
    #[arg(long, default_value_t = 2)]
    pub checkpoints_kept: usize,

    /// Client connections served at once
    #[arg(long, default_value_t = 4096)]
    pub max_connections: usize,
    /// Members of this group may do everything (dfs.permissions.superusergroup)
    #[arg(long, default_value = "supergroup")]
    pub supergroup: String,
    /// Groups of a user, `user=group,group`; repeatable. Others have those of this machine's /etc/group
    #[arg(long, value_name = "USER=GROUPS")]
    pub user_groups: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("hfs-namenode"),
            host: IpAddr::from([127, 0, 0, 1]),
            advertised_host: None,
            rpc_port: 8020,
            grpc_port: 8021,
            http_port: 9870,
            port_file: None,
            worker_threads: 2,
            replication: 3,
            max_replication: 512,
            block_size: 128 << 20,
            min_block_size: 1 << 20,
            list_limit: 1000,
            trash_interval_min: 0,
            heartbeat_interval: Duration::from_secs(1),
            dead_interval: Duration::from_secs(10),
            lease_soft_limit: Duration::from_secs(60),
            lease_hard_limit: Duration::from_secs(20 * 60),
            lease_recovery_grace: Duration::from_secs(30),
            safemode_threshold: 0.999,
            safemode_min_datanodes: 0,
            transfer_timeout: Duration::from_secs(60),
            max_streams: 4,
            checkpoint_transactions: 1_000_000,
            checkpoint_interval: Duration::from_secs(3600),
            checkpoints_kept: 2,
            max_connections: 4096,
            supergroup: "supergroup".to_owned(),
            user_groups: Vec::new(),
        }
    }
}

/// Hadoop's keys that this role understands, for `hdfs-site.xml` and `core-site.xml`.
pub const XML_KEYS: &[XmlKey] = &[
    XmlKey::same("dfs.replication", "replication"),
    XmlKey::same("dfs.replication.max", "max-replication"),
    XmlKey::same("dfs.blocksize", "block-size"),
    XmlKey::same("dfs.namenode.fs-limits.min-block-size", "min-block-size"),
    XmlKey::same("dfs.ls.limit", "list-limit"),
    XmlKey::same("dfs.namenode.safemode.threshold-pct", "safemode-threshold"),
    XmlKey::same("dfs.namenode.safemode.min.datanodes", "safemode-min-datanodes"),
    XmlKey::same("dfs.permissions.superusergroup", "supergroup"),
    XmlKey {
        hadoop: "dfs.namenode.lease-hard-limit-sec",
        key: "lease-hard-limit",
        convert: |value| match value.trim().parse::<u64>() {
            Ok(seconds) => Ok(format!("{seconds}s")),
            Err(_) => Err(format!("{value:?} is not a number of seconds")),
        },
    },
];

impl Config {
    /// Checks the relations between settings that no single one shows.
    ///
    /// # Errors
    /// A sentence that names the settings.
    pub fn validate(&self) -> Result<(), String> {
        if self.dead_interval < self.heartbeat_interval * 2 {
            return Err(format!(
                "dead-interval ({:?}) must be at least twice heartbeat-interval ({:?})",
                self.dead_interval, self.heartbeat_interval
            ));
        }
        if self.heartbeat_interval < Duration::from_millis(10) {
            return Err("heartbeat-interval must be at least 10ms".to_owned());
        }
        if self.replication == 0 || self.replication > self.max_replication {
            return Err(format!(
                "replication ({}) must be between 1 and max-replication ({})",
                self.replication, self.max_replication
            ));
        }
        if self.block_size < self.min_block_size || !self.block_size.is_multiple_of(512) {
            return Err(format!(
                "block-size ({}) must be a multiple of 512 and at least min-block-size ({})",
                self.block_size, self.min_block_size
            ));
        }
        if !(0.0..=1.0).contains(&self.safemode_threshold) {
            return Err("safemode-threshold must be between 0 and 1".to_owned());
        }
        if self.lease_hard_limit < self.lease_soft_limit {
            return Err("lease-hard-limit must not be shorter than lease-soft-limit".to_owned());
        }
        for (name, number) in [
            ("list-limit", self.list_limit),
            ("max-connections", self.max_connections),
            ("checkpoints-kept", self.checkpoints_kept),
            ("max-streams", self.max_streams as usize),
        ] {
            if number == 0 {
                return Err(format!("{name} must be at least 1"));
            }
        }
        for entry in &self.user_groups {
            if !entry.contains('=') {
                return Err(format!(
                    "user-groups entry {entry:?} is not of the form user=group,group"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    #[test]
    fn the_flags_defaults_are_the_defaults() {
        let command = Config::augment_args(Command::new("namenode"));
        let matches = command.get_matches_from(["namenode"]);
        assert_eq!(Config::from_arg_matches(&matches).unwrap(), Config::default());
        Config::default().validate().unwrap();
    }

    #[test]
    fn settings_survive_their_file_format_and_contradictions_are_named() {
        let config = Config { replication: 2, ..Config::default() };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
        let wrong = Config { replication: 0, ..Config::default() };
        assert!(wrong.validate().unwrap_err().contains("replication"));
        let wrong = Config { dead_interval: Duration::from_secs(1), ..Config::default() };
        assert!(wrong.validate().unwrap_err().contains("dead-interval"));
    }

    #[test]
    fn hadoop_keys_name_real_settings() {
        let known = serde_json::to_value(Config::default()).unwrap();
        for key in XML_KEYS {
            assert!(known.get(key.key).is_some(), "{}", key.key);
        }
    }
}
