//! Starting a program and hearing of its end.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions};
use tokio::sync::oneshot;

use super::limits::{Excess, MemoryLimit, Watch};
use super::tree;

/// A file that was just written can be refused for a moment, when another thread's fork still
/// holds it open for writing.
const BUSY_RETRIES: u32 = 20;
/// The pause between such tries.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// The stack of the thread that waits for a process.
const STACK_BYTES: usize = 128 << 10;
/// How often it is looked whether a process and what it started have more than they may. A task that
/// takes memory as fast as it can is some hundred MiB above its limit when it is seen.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How often a process is asked after where the kernel has no descriptors for processes.
const ASK_INTERVAL: Duration = Duration::from_millis(10);
/// How much rather than the worker the kernel ends a task when memory runs out (-1000 to 1000).
const OOM_SCORE: &[u8] = b"500";

/// What to start.
#[derive(Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Added to the worker's own environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub dir: PathBuf,
}

/// A process that was started, in a process group of its own.
#[derive(Debug)]
pub struct Child {
    group: Arc<Mutex<Option<Pid>>>,
    watch: Arc<Watch>,
    /// What it prints, both streams in one.
    pub output: Option<OwnedFd>,
    /// How it ended. All that it had started is gone then, too.
    pub exit: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Child {
    /// Kills the process and, when it is dead, all it started.
    pub fn kill(&self) {
        if let Some(pid) = *self.group.lock() {
            kill_group(pid);
        }
    }

    /// Says what the process may have from now on, with all that it starts.
    pub fn allow(&self, memory: MemoryLimit, processes: usize) {
        self.watch.begin(memory, processes);
    }

    /// Why it was killed, if it had more than it may.
    #[must_use]
    pub fn excess(&self) -> Option<Excess> {
        self.watch.excess()
    }

    /// Kills what the process has started and left running; it goes on itself. False: some of it
    /// does not die.
    pub async fn kill_started(&self) -> bool {
        let group = Arc::clone(&self.group);
        let kill = move || {
            // The lock keeps the process from being buried meanwhile, and so its number its own.
            let alive = group.lock();
            alive.is_none_or(tree::kill_below)
        };
        tokio::task::spawn_blocking(kill).await.unwrap_or(false)
    }
}

fn kill_group(pid: Pid) {
    // An error means that nobody is left in the group.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
}

/// Starts a program. It dies when this worker does, however that happens.
///
/// # Errors
/// What the system says: not executable, no such file, no memory.
pub async fn spawn(program: Program) -> io::Result<Child> {
    tree::adopt();
    let (started, child) = oneshot::channel();
    // A thread for each process, and not a pool's: the kernel ends the child with the thread that
    // forked it (PR_SET_PDEATHSIG), so that thread must live as long as the child.
    thread::Builder::new()
        .name("task".into())
        .stack_size(STACK_BYTES)
        .spawn(move || run(program, started))?;
    child.await.unwrap_or_else(|_| Err(io::Error::other("the thread that starts programs died")))
}

fn run(program: Program, started: oneshot::Sender<io::Result<Child>>) {
    let (mut process, output) = match start(program) {
        Ok(both) => both,
        Err(e) => {
            let _ = started.send(Err(e));
            return;
        }
    };
    let pid = Pid::from_child(&process);
    let group = Arc::new(Mutex::new(Some(pid)));
    let watch = Arc::new(Watch::default());
    let (exited, exit) = oneshot::channel();
    let child =
        Child { group: Arc::clone(&group), watch: Arc::clone(&watch), output: Some(output), exit };
    if started.send(Ok(child)).is_err() {
        kill_group(pid);
    }
    watch_until_exit(pid, &watch);
    let mut alive = group.lock();
    let mut processes = tree::STARTED.lock();
    // It is dead and not buried: its number is nobody else's, so what it left in its group can be
    // killed safely.
    kill_group(pid);
    *alive = None;
    let status = process.wait();
    processes.remove(&pid.as_raw_nonzero().get());
    tree::kill_left_behind(&processes);
    drop(processes);
    drop(alive);
    watch.over();
    // The driver may have given up on the process.
    let _ = exited.send(status);
}

/// Waits without burying the process, and kills it if it has more than it may.
fn watch_until_exit(pid: Pid, watch: &Watch) {
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    loop {
        match &descriptor {
            Ok(descriptor) => {
                let interval =
                    Timespec { tv_sec: 0, tv_nsec: i64::from(WATCH_INTERVAL.subsec_nanos()) };
                // Interrupted or timed out: whether it has ended is asked below.
                let _ = poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&interval));
            }
            Err(_) => thread::sleep(ASK_INTERVAL),
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Ok(None) => {}
            Err(rustix::io::Errno::INTR) => continue,
            _ => return,
        }
        if watch.look(pid) {
            kill_group(pid);
        }
    }
}

fn start(program: Program) -> io::Result<(std::process::Child, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(&program.path);
    command
        .args(program.args)
        // Of a worker that has it in its environment each panic would push the task's own last words out of its log's
        // excerpt; what a panic says and where it was is told anyway.
        .env_remove("RUST_BACKTRACE")
        .envs(program.environment)
        .current_dir(program.dir)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The worker may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            confine()
        });
    }
    let mut tries = 0;
    loop {
        let mut processes = tree::STARTED.lock();
        let spawned = command.spawn();
        if let Ok(child) = &spawned {
            processes.insert(Pid::from_child(child).as_raw_nonzero().get());
        }
        drop(processes);
        match spawned {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_RETRIES => {
                tries += 1;
                thread::sleep(BUSY_PAUSE);
            }
            result => return Ok((result?, reader.into())),
        }
    }
}

/// What a task process is before it runs the program: the one that adopts what its children leave
/// behind ([`tree`]), without core files that would fill the disk, and the first to go when memory
/// runs out. Called between fork and exec.
fn confine() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let most = rustix::process::getrlimit(Resource::Core).maximum;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: most })?;
    // Not every system allows it, and a task runs without it as well.
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty()) {
        let _ = rustix::io::write(&file, OOM_SCORE);
    }
    Ok(())
}

/// How a process ended, for people.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(101), _) => "exit code 101, which is a panic in Rust".to_owned(),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "signal 9 (killed, perhaps for want of memory)".to_owned(),
        (None, Some(11)) => "signal 11 (segmentation fault)".to_owned(),
        (None, Some(6)) => "signal 6 (abort)".to_owned(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}
