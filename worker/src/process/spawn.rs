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
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::oneshot;

/// A file that was just written can be refused for a moment, when another thread's fork still
/// holds it open for writing.
const BUSY_RETRIES: u32 = 20;
/// The pause between such tries.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// The stack of the thread that waits for a process.
const STACK_BYTES: usize = 128 << 10;

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
    /// What it prints, both streams in one.
    pub output: Option<OwnedFd>,
    /// How it ended. Its group is gone then, too.
    pub exit: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Child {
    /// Kills the process and all it started.
    pub fn kill(&self) {
        if let Some(pid) = *self.group.lock() {
            kill_group(pid);
        }
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
    let (exited, exit) = oneshot::channel();
    let child = Child { group: Arc::clone(&group), output: Some(output), exit };
    if started.send(Ok(child)).is_err() {
        kill_group(pid);
    }
    // Wait without reaping: until it is reaped its number is nobody else's, so what it left behind
    // in its group can be killed safely.
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Err(rustix::io::Errno::INTR) => {}
            _ => break,
        }
    }
    let mut alive = group.lock();
    kill_group(pid);
    *alive = None;
    let status = process.wait();
    drop(alive);
    // The driver may have given up on the process.
    let _ = exited.send(status);
}

fn start(program: Program) -> io::Result<(std::process::Child, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(&program.path);
    command
        .args(program.args)
        .envs(program.environment)
        .current_dir(program.dir)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The worker may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            Ok(())
        });
    }
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_RETRIES => {
                tries += 1;
                thread::sleep(BUSY_PAUSE);
            }
            result => return Ok((result?, reader.into())),
        }
    }
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
