//! The client's settings: HDFS key names in, one plain struct out.
//!
//! Layers, the later one wins: the defaults below, `core-site.xml` and `hdfs-site.xml` in
//! `$HADOOP_CONF_DIR`, then `-D key=value` ([`ClientConfig::set`]). Keys the client does not
//! know are kept as they are ([`ClientConfig::get`]), because Hadoop's files are shared by many programs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::url::{Authority, FsUrl};

pub(crate) mod value;
mod xml;

#[cfg(test)]
mod tests;

/// Bytes of data in a packet by default: 1 MiB. HDFS sends 64 KiB; larger packets cost fewer
/// system calls and wake-ups on every hop, and every HDFS datanode takes up to 16 MiB.
pub const PACKET_DATA_BYTES_DEFAULT: usize = 1 << 20;
/// The largest packet a datanode takes, all in (HDFS `dfs.data.transfer.max.packet.size`).
pub const PACKET_BYTES_MAX: usize = 16 << 20;
/// What a packet carries beside chunks: two lengths and the largest header (HDFS `PacketHeader`).
const PACKET_OVERHEAD_BYTES: usize = 33;
/// A checksum's size on the wire.
const CHECKSUM_BYTES: usize = 4;

/// When a failed datanode of a write pipeline is replaced
/// (`dfs.client.block.write.replace-datanode-on-failure.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplacePolicy {
    /// When the file wants three replicas or more, and half or fewer are left, or the file was
    /// appended or flushed and any is missing (HDFS `DEFAULT`).
    Default,
    /// Whenever a replica is missing (HDFS `ALWAYS`).
    Always,
    /// Never: the namenode makes the missing replicas later (HDFS `NEVER`).
    Never,
}

/// How file checksums of several blocks are put together (`dfs.checksum.combine.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumCombine {
    /// The MD5 of the blocks' MD5s of chunk checksums: depends on block and chunk size.
    Md5Md5Crc,
    /// The CRC of the bytes: the same for the same bytes.
    CompositeCrc,
}

/// Settings of one [`crate::FileSystem`]. Start from [`ClientConfig::load`] (files and
/// environment) or [`ClientConfig::default`], then change fields or [`ClientConfig::set`] keys.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The file system that `hdfs:///path` means (`fs.defaultFS`).
    pub default_fs: Option<FsUrl>,
    /// Who the calls are made as: `$HADOOP_USER_NAME`, else the user of this process.
    pub user: String,
    /// Replicas of a new file (`dfs.replication`, default 3).
    pub replication: u16,
    /// Bytes of a new file's blocks (`dfs.blocksize`, default 128 MiB).
    pub block_size: u64,
    /// Bytes under one checksum in new files (`dfs.bytes-per-checksum`, default 512).
    pub bytes_per_checksum: u32,
    /// Bytes of data in a full packet, a multiple of `bytes_per_checksum`
    /// (`dfs.client-write-packet-size` counts the packet with its header and checksums; default
    /// 1 MiB of data).
    pub packet_data_bytes: usize,
    /// Packets a writer has filled and not yet seen acknowledged, at most
    /// (`dfs.client.write.max-packets-in-flight`). Bounds a writer's memory: the default is 8
    /// packets of 1 MiB, and HDFS's 80 of 64 KiB come to about the same.
    pub packets_in_flight_max: usize,
    /// The longest silence of a datanode before it counts as dead
    /// (`dfs.client.socket-timeout`, default 60 s; writing adds 5 s for each node).
    pub socket_timeout: Duration,
    /// The longest a TCP connection may take to open (`ipc.client.connect.timeout`, default 20 s).
    pub connect_timeout: Duration,
    /// How long the first connection to a namenode is tried for before it is called unreachable
    /// (`hfs.client.connect-budget`, default 3 s).
    pub connect_budget: Duration,
    /// How long a call is tried again after the namenode went away, is in safe mode or is not
    /// active (`hfs.client.retry-budget`, default 30 s: a namenode that restarts is not noticed).
    pub retry_budget: Duration,
    /// The longest one call may take to be answered (`ipc.client.rpc-timeout.ms`, default 120 s).
    pub rpc_timeout: Duration,
    /// Where connections are made from, when this process stands for a certain node
    /// (`hfs.client.local-address`).
    pub local_address: Option<IpAddr>,
    /// Whether replicas on this machine are read directly from their files
    /// (`dfs.client.read.shortcircuit`, default true here; a datanode may still refuse).
    pub short_circuit: bool,
    /// Bits taken away from new files' and directories' permissions
    /// (`fs.permissions.umask-mode`, default 022).
    pub umask: u16,
    /// When a failed datanode in a pipeline is replaced.
    pub replace_policy: ReplacePolicy,
    /// Whether writing goes on with fewer nodes when no replacement is to be had
    /// (`…replace-datanode-on-failure.best-effort`, default true here, so that a small cluster
    /// keeps writing).
    pub replace_best_effort: bool,
    /// Datanodes are dialled by host name instead of address
    /// (`dfs.client.use.datanode.hostname`, default false).
    pub use_datanode_hostname: bool,
    /// New blocks asked for in place of one whose pipeline could not be set up
    /// (`dfs.client.block.write.retries`, default 3).
    pub block_write_retries: u32,
    /// Rounds of fetching locations again when no replica of a block could be read
    /// (`dfs.client.max.block.acquire.failures`, default 3).
    pub block_acquire_failures_max: u32,
    /// How file checksums are put together (`dfs.checksum.combine.mode`).
    pub checksum_combine: ChecksumCombine,
    /// Every property that was set, by its key: see [`ClientConfig::get`].
    pub properties: BTreeMap<String, String>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            default_fs: None,
            user: user_name(),
            replication: 3,
            block_size: 128 << 20,
            bytes_per_checksum: 512,
            packet_data_bytes: PACKET_DATA_BYTES_DEFAULT,
            packets_in_flight_max: 8,
            socket_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(20),
            connect_budget: Duration::from_secs(3),
            retry_budget: Duration::from_secs(30),
            rpc_timeout: Duration::from_secs(120),
            local_address: None,
            short_circuit: true,
            umask: 0o022,
            replace_policy: ReplacePolicy::Default,
            replace_best_effort: true,
            use_datanode_hostname: false,
            block_write_retries: 3,
            block_acquire_failures_max: 3,
            checksum_combine: ChecksumCombine::Md5Md5Crc,
            properties: BTreeMap::new(),
        }
    }
}

/// The name calls are made under: `$HADOOP_USER_NAME`, else the owner of this process.
fn user_name() -> String {
    let named = |key: &str| std::env::var(key).ok().filter(|name| !name.is_empty());
    named("HADOOP_USER_NAME")
        .or_else(|| {
            let uid = rustix::process::geteuid().as_raw();
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            name_of_uid(&passwd, uid)
        })
        .or_else(|| named("USER"))
        .unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string())
}

/// The login name of a user id in the text of `/etc/passwd`.
fn name_of_uid(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

impl ClientConfig {
    /// The settings of this environment: `$HADOOP_CONF_DIR/core-site.xml` and `hdfs-site.xml` if
    /// the variable is set and they exist. A file that can't be read or parsed is an error that
    /// names it: going on with defaults could write to another cluster.
    pub fn load() -> Result<Self> {
        match std::env::var_os("HADOOP_CONF_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => Self::from_dir(Path::new(&dir)),
            None => Ok(Self::default()),
        }
    }

    /// The settings of `core-site.xml` and `hdfs-site.xml` in a directory.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let mut config = Self::default();
        for file in ["core-site.xml", "hdfs-site.xml"] {
            let path = dir.join(file);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!("{} can't be read: {error}", path.display()),
                    ));
                }
            };
            let properties = xml::parse(&text).map_err(|error| {
                Error::new(ErrorKind::Config, format!("{}: {error}", path.display()))
            })?;
            for (key, value) in properties {
                let value = value::expand(&value, &|name| config.lookup(name));
                config.set(&key, &value).map_err(|error| {
                    Error::new(ErrorKind::Config, format!("{}: {error}", path.display()))
                })?;
            }
        }
        Ok(config)
    }

    fn lookup(&self, name: &str) -> Option<String> {
        if let Some(name) = name.strip_prefix("env.") {
            return std::env::var(name).ok();
        }
        match name {
            "user.name" => Some(self.user.clone()),
            "user.home" => std::env::var("HOME").ok(),
            _ => self.get(name).map(str::to_owned),
        }
    }

    /// A property as it was set by a file or [`ClientConfig::set`], of any key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// Sets a property by its HDFS name, as `-D key=value` does. A key the client knows must have
    /// a value that makes sense; any other is kept for [`ClientConfig::get`].
    pub fn set(&mut self, key: &str, text: &str) -> Result<()> {
        let text = text.trim();
        self.apply(key, text).map_err(|what| {
            Error::new(ErrorKind::Config, format!("{key}={text} can't be used: {what}"))
        })?;
        self.properties.insert(key.to_owned(), text.to_owned());
        Ok(())
    }

    fn apply(&mut self, key: &str, text: &str) -> Result<(), String> {
        use value::{boolean, count, millis, octal, one_of, size};
        match key {
            "fs.defaultFS" | "fs.default.name" => {
                self.default_fs = if FsUrl::is_url(text) {
                    Some(text.parse().map_err(|error: Error| error.to_string())?)
                } else {
                    // Another file system (file:///, s3a://...) is the default: ours has none.
                    None
                };
            }
            "dfs.replication" => self.replication = count(text, 1..=32_767)?,
            "dfs.blocksize" | "dfs.block.size" => {
                self.block_size = size(text)?;
                self.check_block()?;
            }
            "dfs.bytes-per-checksum" | "io.bytes.per.checksum" => {
                let bytes: u32 = count(text, 1..=1 << 20)?;
                let packet = self.packet_data_bytes;
                self.bytes_per_checksum = bytes;
                let chunk = bytes as usize;
                self.packet_data_bytes = (packet / chunk * chunk).max(chunk);
            }
            "dfs.client-write-packet-size" => {
                let all = usize::try_from(size(text)?).unwrap_or(usize::MAX);
                if all > PACKET_BYTES_MAX {
                    return Err(format!("a packet may have {PACKET_BYTES_MAX} bytes at most"));
                }
                let chunk = self.bytes_per_checksum as usize;
                let chunks = all.saturating_sub(PACKET_OVERHEAD_BYTES) / (chunk + CHECKSUM_BYTES);
                self.packet_data_bytes = chunks.max(1) * chunk;
            }
            "dfs.client.write.max-packets-in-flight" => {
                self.packets_in_flight_max = count(text, 2..=65_536)?;
            }
            "dfs.client.socket-timeout" | "dfs.socket.timeout" => {
                self.socket_timeout = millis(text)?;
            }
            "ipc.client.connect.timeout" => self.connect_timeout = millis(text)?,
            "ipc.client.rpc-timeout.ms" => {
                let timeout = millis(text)?;
                // Zero means "no limit" to Hadoop; a wait without a deadline is not offered here.
                if !timeout.is_zero() {
                    self.rpc_timeout = timeout;
                }
            }
            "hfs.client.connect-budget" => self.connect_budget = millis(text)?,
            "hfs.client.retry-budget" => self.retry_budget = millis(text)?,
            "hfs.client.local-address" => {
                let address = text.parse().map_err(|_| "it is not an IP address".to_owned())?;
                self.local_address = Some(address);
            }
            "dfs.client.read.shortcircuit" => self.short_circuit = boolean(text)?,
            "fs.permissions.umask-mode" => self.umask = octal(text)?,
            "dfs.client.block.write.replace-datanode-on-failure.policy" => {
                self.replace_policy = one_of(
                    text,
                    &[
                        ("DEFAULT", ReplacePolicy::Default),
                        ("ALWAYS", ReplacePolicy::Always),
                        ("NEVER", ReplacePolicy::Never),
                    ],
                )?;
            }
            "dfs.client.block.write.replace-datanode-on-failure.enable" => {
                let enabled = boolean(text)?;
                self.replace_policy =
                    if enabled { self.replace_policy } else { ReplacePolicy::Never };
            }
            "dfs.client.block.write.replace-datanode-on-failure.best-effort" => {
                self.replace_best_effort = boolean(text)?;
            }
            "dfs.client.use.datanode.hostname" => self.use_datanode_hostname = boolean(text)?,
            "dfs.client.block.write.retries" => self.block_write_retries = count(text, 0..=1000)?,
            "dfs.client.max.block.acquire.failures" => {
                self.block_acquire_failures_max = count(text, 0..=1000)?;
            }
            "dfs.checksum.combine.mode" => {
                self.checksum_combine = one_of(
                    text,
                    &[
                        ("MD5MD5CRC", ChecksumCombine::Md5Md5Crc),
                        ("COMPOSITE_CRC", ChecksumCombine::CompositeCrc),
                    ],
                )?;
            }
            "dfs.checksum.type" => {
                // Written data is always CRC32C here: it is HDFS's default and the one type every
                // client can read.
                one_of(text, &[("CRC32C", ())])?;
            }
            _ => {}
        }
        Ok(())
    }

    fn check_block(&self) -> Result<(), String> {
        if self.block_size == 0 {
            return Err("a block needs at least one byte".to_owned());
        }
        if !self.block_size.is_multiple_of(u64::from(self.bytes_per_checksum)) {
            return Err(format!(
                "the block size must be a multiple of dfs.bytes-per-checksum, which is {}",
                self.bytes_per_checksum
            ));
        }
        Ok(())
    }

    /// The addresses (`host:port`) of the namenodes behind an authority: itself, or all namenodes
    /// of the nameservice it names (`dfs.nameservices`, `dfs.ha.namenodes.*`,
    /// `dfs.namenode.rpc-address.*`).
    pub(crate) fn namenodes(&self, authority: &Authority) -> Result<Vec<String>> {
        let listed = |key: &str| {
            self.get(key)
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let service = &authority.host;
        if authority.port.is_some() || !listed("dfs.nameservices").contains(service) {
            let plain =
                Authority { host: service.clone(), port: Some(authority.port_or_default()) };
            return Ok(vec![plain.to_string()]);
        }
        let mut addresses = Vec::new();
        let members = listed(&format!("dfs.ha.namenodes.{service}"));
        let keys = if members.is_empty() {
            vec![format!("dfs.namenode.rpc-address.{service}")]
        } else {
            members.iter().map(|nn| format!("dfs.namenode.rpc-address.{service}.{nn}")).collect()
        };
        for key in keys {
            let text = self.get(&key).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("nameservice {service} has no address: {key} is not set"),
                )
            })?;
            let address = Authority::parse(text)?;
            let port = Some(address.port_or_default());
            addresses.push(Authority { host: address.host, port }.to_string());
        }
        Ok(addresses)
    }
}
