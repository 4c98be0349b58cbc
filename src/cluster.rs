//! A whole cluster of real processes on this machine: one type for users, tests and benches.
//!
//! [`Cluster::start`] starts a namenode, datanodes, a jobtracker and workers, each a process of the `hfs`
//! program, and returns when a file can be written and a job submitted. Everything is in one directory:
//!
//! ```text
//! DIR/cluster.json          what belongs to it, process ids, ports
//! DIR/logs/datanode-1.log   what a process said
//! DIR/run/datanode-1.json   where it listens
//! DIR/datanode-1/           its data
//! ```
//!
//! The same directory started again is the same cluster: same files, and the same ports where nobody else has taken
//! them since. Processes die by [`Cluster::kill`] as they do in a crash and come back by [`Cluster::start_one`].

mod launch;
mod node;
mod options;
mod process;
mod ready;
mod state;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{PipeReader, PipeWriter};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hfs_daemon::lock_dir::{DirLock, LockError};
use hfs_daemon::port_file::Ports;
use rustix::process::Signal;
use serde::Serialize;

pub use node::{Node, Role};
pub use options::{ClusterOptions, Lifetime, Setting, Shape};
pub use process::ProcessId;
pub use ready::{Health, connect_jobs};

use launch::{Launch, Masters, Started};
use ready::Goal;
use state::{Member, State};

/// How long an orderly stop may take before the process is killed. Nothing is lost by the killing: what was
/// acknowledged is on disk.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// How long the system may take to end a killed process.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait for another hfs command that works on the same directory.
const LOCK_DEADLINE: Duration = Duration::from_secs(60);

/// Between two tries at the lock.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// A local cluster.
///
/// Dropping it leaves a detached cluster running, and kills one that lives with its parent.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    program: PathBuf,
    start_deadline: Duration,
    /// Held open for as long as processes with [`Lifetime::WithParent`] may live.
    parent: Option<(PipeReader, PipeWriter)>,
    /// Processes started through this value, to be collected when they end.
    children: BTreeMap<Node, Child>,
}

/// What is known about one process.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// Its name, `datanode/2`.
    pub node: String,
    /// Whether it runs.
    pub running: bool,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Where it listens, or did.
    #[serde(flatten)]
    pub ports: Ports,
    /// Where its log is.
    pub log: PathBuf,
}

/// What is known about a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterStatus {
    /// Where it is.
    pub dir: PathBuf,
    /// `hdfs://127.0.0.1:PORT`.
    pub fs_url: Option<String>,
    /// The jobtracker's address for jobs.
    pub jobtracker: Option<SocketAddr>,
    /// The namenode's web pages.
    pub web: Option<String>,
    /// The jobtracker's web pages.
    pub jobs_web: Option<String>,
    /// What the masters say, when both run and answer.
    pub health: Option<Health>,
    /// All processes.
    pub nodes: Vec<NodeStatus>,
}

impl ClusterStatus {
    /// Whether every process runs.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.nodes.iter().all(|node| node.running)
    }

    /// Whether any process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.nodes.iter().any(|node| node.running)
    }
}

impl Cluster {
    /// Starts what is not running yet and returns when files can be written and jobs run.
    ///
    /// # Errors
    /// When the directory is not a cluster's, when a process does not come up (with its own reason), or when
    /// the cluster is not usable before the deadline. What was started by this call is stopped again.
    pub fn start(options: ClusterOptions) -> Result<Self> {
        let dir = std::path::absolute(&options.dir)
            .with_context(|| format!("{} is no path", options.dir.display()))?;
        let former = State::read(&dir)?;
        let shape = options.shape(former.as_ref().map(|f| &f.shape));
        if let Some(former) = &former
            && shape.datanodes < former.shape.datanodes
        {
            bail!(
                "the cluster in {} has {} datanodes with data on them; start it with --datanodes {} or more",
                dir.display(),
                former.shape.datanodes,
                former.shape.datanodes
            );
        }
        fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
        let parent = match options.lifetime {
            Lifetime::Detached => None,
            Lifetime::WithParent => Some(std::io::pipe().context("can't make a pipe")?),
        };
        let program = match options.program.clone() {
            Some(program) => program,
            None => std::env::current_exe().context("can't find the hfs program")?,
        };
        let start_deadline = options.start_deadline;
        let mut cluster = Self { dir, program, start_deadline, parent, children: BTreeMap::new() };
        cluster.bring_up(&options, shape)?;
        Ok(cluster)
    }

    /// A handle on the cluster in `dir`, whether it runs or not.
    ///
    /// # Errors
    /// When there is no cluster in `dir`.
    pub fn attach(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = std::path::absolute(dir.as_ref())?;
        if State::read(&dir)?.is_none() {
            bail!("there is no local cluster in {}; `hfs cluster start` makes one", dir.display());
        }
        let program = std::env::current_exe().context("can't find the hfs program")?;
        let start_deadline = ClusterOptions::new(&dir).start_deadline;
        Ok(Self { dir, program, start_deadline, parent: None, children: BTreeMap::new() })
    }

    /// Where the cluster is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `hdfs://127.0.0.1:PORT`, whether the namenode runs or not.
    ///
    /// # Errors
    /// When the cluster has never been up.
    pub fn fs_url(&self) -> Result<String> {
        let rpc = self.ports(Node::new(Role::Namenode, 1))?.rpc;
        Ok(format!("hdfs://{}", rpc.context("the namenode has never been up")?))
    }

    /// The jobtracker's address for jobs, whether it runs or not.
    ///
    /// # Errors
    /// When the cluster has never been up.
    pub fn jobtracker(&self) -> Result<SocketAddr> {
        self.ports(Node::new(Role::Jobtracker, 1))?.grpc.context("the jobtracker has never been up")
    }

    /// Where a process listens, or did when it ran.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn ports(&self, node: Node) -> Result<Ports> {
        let state = self.state()?;
        self.check_member(&state, node)?;
        Ok(state.member(node).map(|member| member.ports).unwrap_or_default())
    }

    /// The number of a running process; `None` when it does not run.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn pid(&self, node: Node) -> Result<Option<u32>> {
        let state = self.state()?;
        self.check_member(&state, node)?;
        Ok(state.running(node).map(|process| process.pid))
    }

    /// Where a process keeps its data.
    #[must_use]
    pub fn data_dir(&self, node: Node) -> PathBuf {
        role_dir(&self.dir, node)
    }

    /// Where a process writes its log.
    #[must_use]
    pub fn log_path(&self, node: Node) -> PathBuf {
        log_path(&self.dir, node)
    }

    /// All processes of the cluster, in the order of their roles.
    ///
    /// # Errors
    /// When the state can't be read.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self.state()?.members())
    }

    /// What runs where, and what the masters say.
    ///
    /// # Errors
    /// When the state can't be read.
    pub fn status(&self) -> Result<ClusterStatus> {
        let state = self.state()?;
        let describe = |node: Node| {
            let process = state.running(node);
            NodeStatus {
                node: node.to_string(),
                running: process.is_some(),
                pid: process.map(|p| p.pid),
                ports: state.member(node).map(|m| m.ports).unwrap_or_default(),
                log: self.log_path(node),
            }
        };
        let nodes: Vec<NodeStatus> = state.members().into_iter().map(describe).collect();
        let of = |role| state.member(Node::new(role, 1)).map(|m| m.ports).unwrap_or_default();
        let (namenode, jobtracker) = (of(Role::Namenode), of(Role::Jobtracker));
        let runs = |role| state.running(Node::new(role, 1)).is_some();
        let health = match (namenode.rpc, jobtracker.grpc) {
            (Some(rpc), Some(grpc)) if runs(Role::Namenode) && runs(Role::Jobtracker) => {
                ready::health(rpc, grpc).ok()
            }
            _ => None,
        };
        Ok(ClusterStatus {
            dir: self.dir.clone(),
            fs_url: namenode.rpc.map(|a| format!("hdfs://{a}")),
            jobtracker: jobtracker.grpc,
            web: namenode.http.map(|a| format!("http://{a}/")),
            jobs_web: jobtracker.http.map(|a| format!("http://{a}/")),
            health,
            nodes,
        })
    }

    /// Stops all processes in an orderly way, and those that don't stop in time the other way. No data is lost.
    ///
    /// # Errors
    /// When a process can't be signalled or does not end even when killed.
    pub fn stop(&mut self) -> Result<()> {
        let _lock = self.lock()?;
        let mut state = self.state()?;
        // Workers first, so that running jobs see an orderly end and not a vanished file system.
        for roles in [[Role::Worker, Role::Jobtracker], [Role::Datanode, Role::Namenode]] {
            let nodes: Vec<Node> =
                state.members().into_iter().filter(|node| roles.contains(&node.role)).collect();
            end(&state, &nodes, Signal::TERM, STOP_DEADLINE)?;
            nodes.iter().for_each(|node| state.clear(*node));
        }
        self.collect();
        state.write(&self.dir)
    }

    /// Ends a process as a crash does: SIGKILL, now.
    ///
    /// # Errors
    /// When it does not run or can't be signalled.
    pub fn kill(&mut self, role: Role, number: u16) -> Result<()> {
        let _lock = self.lock()?;
        let node = Node::new(role, number);
        let mut state = self.state()?;
        self.check_member(&state, node)?;
        if state.running(node).is_none() {
            bail!("{node} is not running; `hfs cluster start {node}` starts it");
        }
        end(&state, &[node], Signal::KILL, KILL_DEADLINE)?;
        state.clear(node);
        self.collect();
        state.write(&self.dir)
    }

    /// Starts one process again, on its former ports, and returns when it listens.
    ///
    /// # Errors
    /// When it runs already or does not come up, with its own reason.
    pub fn start_one(&mut self, role: Role, number: u16) -> Result<()> {
        let _lock = self.lock()?;
        let node = Node::new(role, number);
        let mut state = self.state()?;
        self.check_member(&state, node)?;
        if state.running(node).is_some() {
            bail!("{node} is already running; `hfs cluster kill {node}` ends it");
        }
        let deadline = Instant::now() + self.start_deadline;
        let masters = masters(&state);
        let started = self.launch(&mut state, node, masters, &Ports::default())?;
        let ports = started.ports(deadline);
        let outcome = ports.and_then(|ports| self.note(&mut state, &started, ports));
        self.children.insert(node, started.child);
        outcome
    }

    /// Waits until a process has ended by itself, at most `patience`; says whether it has.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn wait_gone(&self, node: Node, patience: Duration) -> Result<bool> {
        let state = self.state()?;
        self.check_member(&state, node)?;
        Ok(state.running(node).is_none_or(|process| process.wait(patience)))
    }

    /// Waits until every datanode and worker that runs is known to its master and files can be written.
    ///
    /// # Errors
    /// When that is not so within `patience`: what is missing.
    pub fn wait_ready(&self, patience: Duration) -> Result<()> {
        let state = self.state()?;
        let masters = masters(&state);
        let running = |role| {
            let is_up = |node: &Node| node.role == role && state.running(*node).is_some();
            state.members().into_iter().filter(is_up).count()
        };
        let goal = Goal {
            namenode: masters.namenode_rpc.context("the namenode has never been up")?,
            jobtracker: masters.jobtracker.context("the jobtracker has never been up")?,
            datanodes: running(Role::Datanode),
            workers: running(Role::Worker),
        };
        goal.wait(Instant::now() + patience, || Ok(()))
    }

    /// Starts what does not run. On failure, what was started here is stopped again.
    fn bring_up(&mut self, options: &ClusterOptions, shape: Shape) -> Result<()> {
        let _lock = self.lock()?;
        let former = State::read(&self.dir)?;
        let mut state = former.unwrap_or_else(|| State::new(shape.clone()));
        state.shape = shape;
        // First of all the file that makes the directory ours, so that a crash from here on leaves a cluster.
        state.write(&self.dir)?;
        for sub in ["logs", "run"] {
            let path = self.dir.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        }
        let mut started = Vec::new();
        let outcome = self.bring_up_all(options, &mut state, &mut started);
        let nodes: Vec<Node> = started.iter().map(|s| s.node).collect();
        if outcome.is_err() {
            for started in &started {
                // The first error is the one to report.
                let _ = started.process.signal(Signal::TERM);
            }
            for started in &started {
                if !started.process.wait(STOP_DEADLINE) {
                    let _ = started.process.signal(Signal::KILL);
                }
            }
            nodes.iter().for_each(|node| state.clear(*node));
        }
        self.children.extend(started.into_iter().map(|s| (s.node, s.child)));
        self.collect();
        let written = state.write(&self.dir);
        outcome.and(written)
    }

    fn bring_up_all(
        &mut self,
        options: &ClusterOptions,
        state: &mut State,
        started: &mut Vec<Started>,
    ) -> Result<()> {
        let deadline = Instant::now() + self.start_deadline;
        let localhost = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let asked = Ports {
            rpc: options.namenode_port.map(localhost),
            http: options.http_port.map(localhost),
            ..Ports::default()
        };
        let missing: Vec<Node> =
            state.members().into_iter().filter(|n| state.running(*n).is_none()).collect();
        // The masters say where they are, then everybody else starts at once.
        for role in [Role::Namenode, Role::Jobtracker] {
            for node in missing.iter().filter(|node| node.role == role) {
                let wanted = if role == Role::Namenode { asked } else { Ports::default() };
                let process = self.launch(state, *node, masters(state), &wanted)?;
                started.push(process);
                let process = started.last().expect("invariant: just pushed");
                let ports = process.ports(deadline)?;
                self.note(state, process, ports)?;
            }
            // Datanodes need nothing of the jobtracker.
            let follower = if role == Role::Namenode { Role::Datanode } else { Role::Worker };
            for node in missing.iter().filter(|node| node.role == follower) {
                started.push(self.launch(state, *node, masters(state), &Ports::default())?);
            }
        }
        for process in started.iter().filter(|s| !s.node.role.is_single()) {
            let ports = process.ports(deadline)?;
            self.note(state, process, ports)?;
        }
        let masters = masters(state);
        let goal = Goal {
            namenode: masters.namenode_rpc.context("the namenode did not say where it listens")?,
            jobtracker: masters
                .jobtracker
                .context("the jobtracker did not say where it listens")?,
            datanodes: state.shape.datanodes.into(),
            workers: state.shape.workers.into(),
        };
        let started: &[Started] = started;
        goal.wait(deadline, || started.iter().try_for_each(Started::check_alive))
    }

    /// Starts one process and notes it in the state at once, so that it can be found whatever happens next.
    fn launch(
        &self,
        state: &mut State,
        node: Node,
        masters: Masters,
        wanted: &Ports,
    ) -> Result<Started> {
        let former = state.member(node).map(|m| m.ports).unwrap_or_default();
        let ports = ask_for(node, former, *wanted);
        let launch = Launch {
            dir: &self.dir,
            program: &self.program,
            node,
            shape: &state.shape,
            masters,
            ports,
            parent: self.parent.as_ref().map(|(reader, _)| reader),
        };
        let started = launch.spawn()?;
        let process = Some(started.process.clone());
        state.set(node, Member { process, ports, program: self.program.clone() });
        state.write(&self.dir)?;
        Ok(started)
    }

    fn note(&self, state: &mut State, started: &Started, ports: Ports) -> Result<()> {
        let process = Some(started.process.clone());
        state.set(started.node, Member { process, ports, program: self.program.clone() });
        state.write(&self.dir)
    }

    fn state(&self) -> Result<State> {
        State::read(&self.dir)?
            .with_context(|| format!("the local cluster in {} is gone", self.dir.display()))
    }

    fn check_member(&self, state: &State, node: Node) -> Result<()> {
        let count = state.shape.count(node.role);
        if (1..=count).contains(&node.number) {
            return Ok(());
        }
        bail!(
            "there is no {node}: the cluster in {} has {count} {}s",
            self.dir.display(),
            node.role
        );
    }

    /// One command at a time works on a directory.
    fn lock(&self) -> Result<DirLock> {
        let deadline = Instant::now() + LOCK_DEADLINE;
        loop {
            match DirLock::acquire(&self.dir, "hfs cluster command") {
                Err(LockError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_POLL);
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Collects children that have ended.
    fn collect(&mut self) {
        self.children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.parent.is_none() {
            return;
        }
        for child in self.children.values_mut() {
            // One that is gone already can't be killed again, and that is all that can go wrong here.
            let _ = child.kill();
        }
        for child in self.children.values_mut() {
            let _ = child.wait();
        }
    }
}

/// The masters' addresses as far as they are known.
fn masters(state: &State) -> Masters {
    let of = |role| state.member(Node::new(role, 1)).map(|m| m.ports).unwrap_or_default();
    let (namenode, jobtracker) = (of(Role::Namenode), of(Role::Jobtracker));
    Masters {
        namenode_rpc: namenode.rpc,
        namenode_grpc: namenode.grpc,
        jobtracker: jobtracker.grpc,
    }
}

/// Ports to ask for: those the user wants, else the former ones unless somebody else has taken them since, else
/// free ones.
fn ask_for(node: Node, former: Ports, wanted: Ports) -> Ports {
    let again = |address: Option<SocketAddr>| {
        let free = |address: &SocketAddr| std::net::TcpListener::bind(address).is_ok();
        address.filter(free).or_else(|| lasting_port(node.host()))
    };
    let (file_system, data) = (node.role == Role::Namenode, node.role == Role::Datanode);
    let of = |has: bool, former| if has { again(former) } else { None };
    Ports {
        rpc: wanted.rpc.or_else(|| of(file_system, former.rpc)),
        grpc: of(file_system || node.role == Role::Jobtracker, former.grpc),
        http: wanted.http.or_else(|| again(former.http)),
        transfer: of(data, former.transfer),
        ipc: of(data, former.ipc),
        shuffle: of(node.role == Role::Worker, former.shuffle),
    }
}

/// Ports from here on are given out to outgoing connections by the system (Linux's default range).
const EPHEMERAL_PORTS: u16 = 32_768;
/// Ports below this one are known for something too often.
const FIRST_PORT: u16 = 10_240;
/// Ports tried before the choice is left to the system.
const PORT_TRIES: usize = 50;

/// A free port that stays free while its process is down: one the system gives to nobody by itself, unlike the
/// one it would choose for port 0. So a process that starts again finds its former port.
fn lasting_port(host: IpAddr) -> Option<SocketAddr> {
    let random = || RandomState::new().build_hasher().finish();
    (0..PORT_TRIES)
        .map(|_| FIRST_PORT + (random() % u64::from(EPHEMERAL_PORTS - FIRST_PORT)) as u16)
        .map(|port| SocketAddr::new(host, port))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
}

/// Signals the nodes that run, waits, and kills those that are still there when `patience` ends.
fn end(state: &State, nodes: &[Node], signal: Signal, patience: Duration) -> Result<()> {
    let running: Vec<(Node, &ProcessId)> =
        nodes.iter().filter_map(|node| Some((*node, state.running(*node)?))).collect();
    for (node, process) in &running {
        process.signal(signal).with_context(|| format!("can't stop {node}"))?;
    }
    let deadline = Instant::now() + patience;
    for (node, process) in &running {
        if process.wait(deadline.saturating_duration_since(Instant::now())) {
            continue;
        }
        process.signal(Signal::KILL).with_context(|| format!("can't kill {node}"))?;
        if !process.wait(KILL_DEADLINE) {
            bail!("{node} (process {}) does not end even when killed", process.pid);
        }
    }
    Ok(())
}

fn role_dir(dir: &Path, node: Node) -> PathBuf {
    dir.join(node.file_stem())
}

fn log_path(dir: &Path, node: Node) -> PathBuf {
    dir.join("logs").join(format!("{}.log", node.file_stem()))
}

/// The directory of the local cluster when nothing is said: `$HFS_CLUSTER_DIR`, else `~/.hfs/local`.
///
/// # Errors
/// When neither the variable nor a home directory is set.
pub fn default_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("HFS_CLUSTER_DIR").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.context("there is no home directory: set HFS_CLUSTER_DIR, or use --dir")?;
    Ok(home.join(".hfs").join("local"))
}

/// `hdfs://127.0.0.1:PORT` of the cluster in `dir`; `None` when its namenode does not run.
///
/// # Errors
/// When the state in `dir` is damaged, or `dir` is somebody else's.
pub fn running_fs_url(dir: &Path) -> Result<Option<String>> {
    let rpc = running(dir, Role::Namenode)?.and_then(|ports| ports.rpc);
    Ok(rpc.map(|address| format!("hdfs://{address}")))
}

/// The jobtracker's address of the cluster in `dir`; `None` when it does not run.
///
/// # Errors
/// When the state in `dir` is damaged, or `dir` is somebody else's.
pub fn running_jobtracker(dir: &Path) -> Result<Option<SocketAddr>> {
    Ok(running(dir, Role::Jobtracker)?.and_then(|ports| ports.grpc))
}

/// Where a master listens; `None` when it does not run.
fn running(dir: &Path, master: Role) -> Result<Option<Ports>> {
    let Some(state) = State::read(dir)? else { return Ok(None) };
    let node = Node::new(master, 1);
    Ok(state.running(node).and(state.member(node)).map(|member| member.ports))
}
