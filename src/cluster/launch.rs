//! Starting one process of the cluster and hearing where it listens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hfs_daemon::port_file::{self, Ports};
use hfs_daemon::shutdown::PARENT_PIPE_ENV;

use super::node::{Node, Role};
use super::options::Shape;
use super::process::ProcessId;
use super::{log_path, role_dir};

/// How often a port file is looked for. It shows up some ten milliseconds after the start.
const PORT_FILE_POLL: Duration = Duration::from_millis(1);

/// A log larger than this is moved aside (`….log.old`) before the process starts again.
const LOG_ROTATE_BYTES: u64 = 32 << 20;

/// How much of a log's end is searched for the reason of a death.
const LOG_TAIL_BYTES: u64 = 16 << 10;

/// Addresses that a process is told to find the masters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Masters {
    /// The namenode's Hadoop RPC.
    pub(super) namenode_rpc: Option<SocketAddr>,
    /// The namenode's gRPC.
    pub(super) namenode_grpc: Option<SocketAddr>,
    /// The jobtracker's gRPC.
    pub(super) jobtracker: Option<SocketAddr>,
}

/// What is needed to start a process.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) dir: &'a Path,
    pub(super) program: &'a Path,
    pub(super) node: Node,
    pub(super) shape: &'a Shape,
    pub(super) masters: Masters,
    /// The ports to ask for; absent ones are 0.
    pub(super) ports: Ports,
    /// The reading end of the pipe that tells of our end.
    pub(super) parent: Option<&'a PipeReader>,
}

/// A process that was started and has perhaps not said yet where it listens.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) node: Node,
    pub(super) child: Child,
    pub(super) process: ProcessId,
    port_file: PathBuf,
    log: PathBuf,
    /// Where in the log this process began to write.
    log_start: u64,
}

impl Launch<'_> {
    /// Starts the process.
    pub(super) fn spawn(&self) -> Result<Started> {
        let node = self.node;
        let port_file = self.dir.join("run").join(format!("{}.json", node.file_stem()));
        match fs::remove_file(&port_file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                bail!("can't remove the old port file {}: {e}", port_file.display())
            }
            _ => {}
        }
        let log_file = log_path(self.dir, node);
        let log = open_log(&log_file)?;
        let log_start = log.metadata().map_or(0, |meta| meta.len());
        let mut command = Command::new(self.program);
        command
            .arg(node.role.word())
            .args(self.arguments())
            .arg("--port-file")
            .arg(&port_file)
            .current_dir(self.dir)
            // Another cluster's configuration must not shape this one.
            .env_remove("HADOOP_CONF_DIR")
            .stdout(log.try_clone().context("can't share the log")?)
            .stderr(log);
        if node.role == Role::Jobtracker {
            // All nodes are this machine, and share its files.
            command.env("HFS_JOBTRACKER_LOCAL_OUTPUT", "true");
        }
        for setting in self.shape.settings.iter().filter(|s| s.role == node.role) {
            let key = setting.key.to_ascii_uppercase().replace('-', "_");
            let role = node.role.word().to_ascii_uppercase();
            command.env(format!("HFS_{role}_{key}"), &setting.value);
        }
        match self.parent {
            Some(pipe) => {
                let end = pipe.try_clone().context("can't share the pipe to a daemon")?;
                command.stdin(Stdio::from(end)).env(PARENT_PIPE_ENV, "0");
            }
            None => {
                command.stdin(Stdio::null()).env_remove(PARENT_PIPE_ENV);
            }
        }
        // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
        }
        let child = command
            .spawn()
            .with_context(|| format!("can't start {node} ({})", self.program.display()))?;
        // A child that has not been waited for keeps its number, so it can only be missing when it has ended.
        let Some(process) = ProcessId::of(child.id()) else {
            bail!("{}", epitaph(node, &log_file, log_start, "at once"));
        };
        Ok(Started { node, child, process, port_file, log: log_file, log_start })
    }

    /// The flags of that role.
    fn arguments(&self) -> Vec<String> {
        let port = |address: Option<SocketAddr>| address.map_or(0, |a| a.port()).to_string();
        let address = |address: Option<SocketAddr>| address.map(|a| a.to_string());
        let dir = role_dir(self.dir, self.node).display().to_string();
        let host = match self.node.role {
            Role::Namenode | Role::Datanode => "host",
            Role::Jobtracker | Role::Worker => "bind",
        };
        let mut flags =
            vec![(host, self.node.host().to_string()), ("http-port", port(self.ports.http))];
        match self.node.role {
            Role::Namenode => {
                flags.push(("dir", dir));
                flags.push(("rpc-port", port(self.ports.rpc)));
                flags.push(("grpc-port", port(self.ports.grpc)));
                flags.push(("replication", self.shape.replication.to_string()));
            }
            Role::Datanode => {
                flags.extend(address(self.masters.namenode_grpc).map(|a| ("namenodes", a)));
                flags.push(("data-dirs", dir));
                flags.push(("transfer-port", port(self.ports.transfer)));
                flags.push(("ipc-port", port(self.ports.ipc)));
            }
            Role::Jobtracker => {
                flags.push(("dir", dir));
                flags.extend(
                    address(self.masters.namenode_rpc).map(|a| ("fs-url", format!("hdfs://{a}"))),
                );
                flags.push(("port", port(self.ports.grpc)));
            }
            Role::Worker => {
                flags.push(("dir", dir));
                flags.extend(address(self.masters.jobtracker).map(|a| ("jobtracker", a)));
                flags.push(("shuffle-port", port(self.ports.shuffle)));
                // A flag would win over the setting that somebody chose.
                if !self.shape.settings.iter().any(|s| s.role == Role::Worker && s.key == "slots") {
                    flags.push(("slots", slots(self.shape.workers).to_string()));
                }
            }
        }
        flags.into_iter().flat_map(|(flag, value)| [format!("--{flag}"), value]).collect()
    }
}

/// Tasks a worker runs at a time. The workers share this machine's processors; with fewer than two slots a
/// worker could not run a map beside a reduce that waits for it.
fn slots(workers: u16) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.div_ceil(usize::from(workers.max(1))).max(2)
}

impl Started {
    /// Waits until the process has said where it listens.
    pub(super) fn ports(&self, deadline: Instant) -> Result<Ports> {
        loop {
            if let Some(ports) = port_file::read(&self.port_file)? {
                return Ok(ports);
            }
            self.check_alive()?;
            if Instant::now() >= deadline {
                bail!(
                    "{} has not begun to listen in time; its log is {}",
                    self.node,
                    self.log.display()
                );
            }
            self.process.pause(PORT_FILE_POLL);
        }
    }

    /// # Errors
    /// When the process has ended: why, in its own words.
    pub(super) fn check_alive(&self) -> Result<()> {
        if self.process.is_alive() {
            return Ok(());
        }
        bail!("{}", epitaph(self.node, &self.log, self.log_start, "while starting"));
    }
}

fn open_log(path: &Path) -> Result<File> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_ROTATE_BYTES) {
        let old = path.with_extension("log.old");
        fs::rename(path, &old).with_context(|| format!("can't move {} aside", path.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("can't open log {}", path.display()))
}

/// Why a process ended: the last error it logged, or the one about its flags, else its last line.
fn epitaph(node: Node, log: &Path, log_start: u64, when: &str) -> String {
    let tail = tail_since(log, log_start).unwrap_or_default();
    let lines = || tail.lines().rev().filter(|line| !line.trim().is_empty());
    let marker = format!("ERROR {}: ", node.role);
    let reason = lines()
        .find_map(|line| line.split_once(&marker).map(|(_, reason)| reason))
        .or_else(|| lines().find_map(|line| line.strip_prefix("error: ")))
        .or_else(|| lines().next());
    match reason {
        Some(reason) => format!("{node} ended {when}: {reason} (log: {})", log.display()),
        None => format!("{node} ended {when} without a word (log: {})", log.display()),
    }
}

fn tail_since(log: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
