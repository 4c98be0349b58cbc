//! What an operator can set on a datanode.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hfs_daemon::config::{XmlKey, duration, parse_duration, parse_size, size};
use serde::{Deserialize, Serialize};

use crate::store::FsyncPolicy;

/// The settings of a datanode; each is a key of `[datanode]` in `hfs.toml` and a flag.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Addresses of the namenodes' gRPC port, `host:port`. The first that answers is used
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT")]
    pub namenodes: Vec<String>,

    /// Data directories, best one per disk
    #[arg(long, value_delimiter = ',', value_name = "DIR")]
    pub data_dirs: Vec<PathBuf>,

    /// The address to listen on, for all ports
    #[arg(long, default_value_t = defaults().host, value_name = "IP")]
    pub host: IpAddr,

    /// The address that clients and other datanodes are told; by default the one listened on, or the
    /// one that faces the namenode
    #[arg(long, value_name = "IP")]
    pub advertised_ip: Option<IpAddr>,

    /// The host name that clients are told; by default the advertised address. Workers on the same
    /// machine must use the same name for tasks to run beside their data
    #[arg(long, value_name = "NAME")]
    pub advertised_host: Option<String>,

    /// Port of the data transfer protocol (0: any free one)
    #[arg(long, default_value_t = defaults().transfer_port, value_name = "PORT")]
    pub transfer_port: u16,

    /// Port of Hadoop RPC for file clients (0: any free one)
    #[arg(long, default_value_t = defaults().ipc_port, value_name = "PORT")]
    pub ipc_port: u16,

    /// Port of the web pages and metrics (0: any free one)
    #[arg(long, default_value_t = defaults().http_port, value_name = "PORT")]
    pub http_port: u16,

    /// Where this machine stands in the network
    #[arg(long, default_value = "/default-rack", value_name = "RACK")]
    pub rack: String,

    /// When data is forced to the disk
    #[arg(long, value_enum, default_value_t = defaults().fsync)]
    pub fsync: FsyncPolicy,

    /// Space that replicas leave free on each disk
    #[arg(long, default_value = "256MiB", value_parser = parse_size, value_name = "SIZE")]
    #[serde(with = "size")]
    pub reserved_space: u64,

    /// How many data directories may fail before the datanode stops
    #[arg(long, default_value_t = defaults().failed_volumes_tolerated, value_name = "N")]
    pub failed_volumes_tolerated: usize,

    /// Transfers at a time; more are refused with a sentence
    #[arg(long, default_value_t = defaults().max_transfers, value_name = "N")]
    pub max_transfers: usize,

    /// Connections at a time, idle ones included; more wait in the system's backlog
    #[arg(long, default_value_t = defaults().max_connections, value_name = "N")]
    pub max_connections: usize,

    /// How long a transfer waits for a peer that sends or takes nothing
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "TIME")]
    #[serde(with = "duration")]
    pub transfer_timeout: Duration,

    /// May clients on this machine read replica files directly
    #[arg(long, default_value_t = defaults().local_path_access, action = clap::ArgAction::Set,
          value_name = "BOOL")]
    pub local_path_access: bool,

    /// How often the data directories are tried
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "TIME")]
    #[serde(with = "duration")]
    pub volume_check_interval: Duration,

    /// A file to write the ports to once they are bound
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
}

fn defaults() -> Config {
    Config::default()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namenodes: vec!["127.0.0.1:8021".to_owned()],
            data_dirs: Vec::new(),
            host: IpAddr::from([127, 0, 0, 1]),
            advertised_ip: None,
            advertised_host: None,
            transfer_port: 9866,
            ipc_port: 9867,
            http_port: 9864,
            rack: "/default-rack".to_owned(),
            fsync: FsyncPolicy::OnHsync,
            reserved_space: 256 << 20,
            failed_volumes_tolerated: 0,
            max_transfers: 1024,
            max_connections: 8192,
            transfer_timeout: Duration::from_secs(60),
            local_path_access: true,
            volume_check_interval: Duration::from_secs(30),
            port_file: None,
        }
    }
}

impl Config {
    /// HDFS's keys that a datanode understands in `hdfs-site.xml`.
    pub const XML_KEYS: &'static [XmlKey] = &[
        XmlKey { hadoop: "dfs.datanode.data.dir", key: "data-dirs", convert: xml_dirs },
        XmlKey::same("dfs.datanode.du.reserved", "reserved-space"),
        XmlKey::same("dfs.datanode.failed.volumes.tolerated", "failed-volumes-tolerated"),
        XmlKey::same("dfs.datanode.max.transfer.threads", "max-transfers"),
        XmlKey { hadoop: "dfs.datanode.synconclose", key: "fsync", convert: xml_sync },
    ];
}

/// `[DISK]file:///a,/b` as a list of plain paths.
fn xml_dirs(value: &str) -> Result<String, String> {
    let dirs: Vec<&str> = value
        .split(',')
        .map(|dir| {
            let dir = dir.trim();
            let dir = dir.split_once(']').map_or(dir, |(_, rest)| rest);
            dir.strip_prefix("file://").unwrap_or(dir)
        })
        .collect();
    Ok(dirs.join(","))
}

fn xml_sync(value: &str) -> Result<String, String> {
    match value.trim() {
        "true" => Ok("on-close".to_owned()),
        "false" => Ok("on-hsync".to_owned()),
        other => Err(format!("'{other}' is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn flags_and_file_have_the_same_defaults() {
        let parsed = Command::parse_from(["datanode"]).config;
        let mut expected = Config::default();
        expected.namenodes.clear();
        assert_eq!(parsed, expected);
        let json = serde_json::to_value(Config::default()).unwrap();
        assert_eq!(serde_json::from_value::<Config>(json).unwrap(), Config::default());
    }

    #[test]
    fn hadoop_directories_lose_their_decoration() {
        assert_eq!(xml_dirs("[SSD]file:///a/b, /c").unwrap(), "/a/b,/c");
        assert_eq!(xml_sync("true").unwrap(), "on-close");
        assert!(xml_sync("maybe").is_err());
    }
}
