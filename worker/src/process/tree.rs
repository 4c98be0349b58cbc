//! The processes that a task has started, as `/proc` shows them: counted, measured, killed.
//!
//! A child can leave its process group and its session, and its parent can die. What it can't leave
//! is the line of its forebears: every task process is a child subreaper (`prctl(2)`), so what its
//! children leave behind becomes its own child; and so is the worker, which inherits all that is left
//! when a task process dies. Hence two rules. All that runs below a task process belongs to it. And
//! a child of the worker that the worker did not start belongs to a dead task and has to go.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions};

/// How long killed processes have to be gone. One that is not hangs in the kernel.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// Between two looks whether they are.
const KILL_STEP: Duration = Duration::from_millis(2);
/// How often stopped processes are looked through for ones that were forked meanwhile.
const STOP_ROUNDS: usize = 8;
/// The most processes that one walk takes in.
const WALK_MAX: usize = 1 << 16;

/// The processes that this worker has started and not buried. Whoever forks or buries holds the
/// lock, so that nobody takes a new process for one that a dead task left behind.
pub(super) static STARTED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// What a process and all below it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    /// Bytes of memory that are theirs: anonymous and shared, not mapped files.
    pub(super) memory: u64,
    /// How many they are.
    pub(super) processes: usize,
}

/// Makes this process the one that inherits what dead tasks leave behind.
pub(super) fn adopt() {
    static ADOPTS: OnceLock<()> = OnceLock::new();
    ADOPTS.get_or_init(|| {
        if let Err(e) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!("processes that tasks leave behind can't be found and killed: {e}");
        }
    });
}

/// Measures a process and all below it. `enough`: memory above it is counted with more care, because
/// processes that were forked share pages and must not be charged for them twice.
pub(super) fn usage(root: Pid, enough: u64) -> Usage {
    let mut all = descendants(root);
    all.push(root);
    let mut memory = all.iter().filter_map(|pid| resident(*pid)).sum();
    if memory > enough && all.len() > 1 {
        memory = all.iter().filter_map(|pid| proportional(*pid).or_else(|| resident(*pid))).sum();
    }
    Usage { memory, processes: all.len() }
}

/// Tries something that dead processes are in the way of until it is done or they have had their time.
pub(super) fn patiently(mut is_done: impl FnMut() -> bool) {
    let deadline = Instant::now() + KILL_WAIT;
    while !is_done() && Instant::now() < deadline {
        thread::sleep(KILL_STEP);
    }
}

/// Kills all below a process that goes on itself. False: some are still there.
pub(super) fn kill_below(root: Pid) -> bool {
    let deadline = Instant::now() + KILL_WAIT;
    loop {
        let living: Vec<Pid> = descendants(root).into_iter().filter(|pid| lives(*pid)).collect();
        if living.is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        kill_all(living, || descendants(root));
        thread::sleep(KILL_STEP);
    }
}

/// Kills what dead tasks have left to this worker. `started` is the content of [`STARTED`].
pub(super) fn kill_left_behind(started: &BTreeSet<i32>) {
    let own = rustix::process::getpid();
    let left = || -> Vec<Pid> {
        let not_ours = |pid: &Pid| !started.contains(&pid.as_raw_nonzero().get());
        children(own).into_iter().filter(not_ours).collect()
    };
    let with_all_below = || -> Vec<Pid> {
        let mut all = left();
        let below: Vec<Pid> = all.iter().flat_map(|pid| descendants(*pid)).collect();
        all.extend(below);
        all
    };
    let deadline = Instant::now() + KILL_WAIT;
    loop {
        let all = with_all_below();
        if all.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            return tracing::warn!("{} processes that tasks left behind don't die", all.len());
        }
        kill_all(all, with_all_below);
        for orphan in left() {
            // An error means that it is buried already.
            let _ = rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG);
        }
        thread::sleep(KILL_STEP);
    }
}

/// Kills all processes that have this variable in their environment: the tasks of an earlier worker,
/// which died too suddenly to end what they had started.
pub(crate) fn kill_marked(variable: &str, value: &Path) {
    let mut mark = format!("{variable}=").into_bytes();
    mark.extend_from_slice(value.as_os_str().as_bytes());
    let own = rustix::process::getpid();
    let marked = || -> Vec<Pid> {
        let has_mark = |pid: &Pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            *pid != own && environment.split(|byte| *byte == 0).any(|entry| entry == mark)
        };
        numbered("/proc").filter(has_mark).collect()
    };
    let deadline = Instant::now() + KILL_WAIT;
    while Instant::now() < deadline {
        let living: Vec<Pid> = marked().into_iter().filter(|pid| lives(*pid)).collect();
        if living.is_empty() {
            return;
        }
        tracing::warn!("killing {} processes of an earlier worker's tasks", living.len());
        kill_all(living, marked);
        thread::sleep(KILL_STEP);
    }
}

/// Stops processes, so that they can't fork faster than they are killed, and kills them.
fn kill_all(mut all: Vec<Pid>, again: impl Fn() -> Vec<Pid>) {
    for _ in 0..STOP_ROUNDS {
        send(&all, Signal::STOP);
        let now = again();
        let no_new_one = now.iter().all(|pid| all.contains(pid));
        all = now;
        if no_new_one {
            break;
        }
    }
    send(&all, Signal::KILL);
}

fn send(pids: &[Pid], signal: Signal) {
    for pid in pids {
        // An error means that it is gone.
        let _ = rustix::process::kill_process(*pid, signal);
    }
}

/// All processes below this one, without it.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
    let mut found = children(root);
    let mut next = 0;
    while next < found.len() && found.len() < WALK_MAX {
        let more = children(found[next]);
        found.extend(more);
        next += 1;
    }
    found
}

fn children(parent: Pid) -> Vec<Pid> {
    static LISTED: OnceLock<bool> = OnceLock::new();
    // A kernel can be built without the lists (CONFIG_PROC_CHILDREN).
    if !*LISTED.get_or_init(|| Path::new("/proc/thread-self/children").exists()) {
        return numbered("/proc").filter(|pid| parent_of(*pid) == Some(parent)).collect();
    }
    let mut found = Vec::new();
    for thread in numbered(&format!("/proc/{parent}/task")) {
        let list = fs::read_to_string(format!("/proc/{parent}/task/{thread}/children"));
        let list = list.unwrap_or_default();
        found.extend(list.split_ascii_whitespace().filter_map(pid));
    }
    found
}

/// The numbers among the names in a directory.
fn numbered(dir: &str) -> impl Iterator<Item = Pid> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| pid(entry.file_name().to_str()?))
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// The fields of `/proc/<pid>/stat` after the name, which may hold anything: state, parent, ...
fn stat(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

fn parent_of(child: Pid) -> Option<Pid> {
    pid(stat(child)?.split(' ').nth(1)?)
}

/// Whether it runs still, and is not merely waiting to be buried by its parent.
fn lives(pid: Pid) -> bool {
    stat(pid).is_some_and(|stat| !stat.starts_with(['Z', 'X']))
}

/// Bytes in memory that no file backs.
fn resident(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(kilobytes(&status, "RssAnon:") + kilobytes(&status, "RssShmem:"))
}

/// The same, where what is shared with n processes counts as one n-th. Costs a walk over all pages.
fn proportional(pid: Pid) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup
        .contains("Pss_Anon:")
        .then(|| kilobytes(&rollup, "Pss_Anon:") + kilobytes(&rollup, "Pss_Shmem:"))
}

/// The bytes of a line `name: 123 kB`; 0 when there is none.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured_and_knows_its_parent() {
        let own = rustix::process::getpid();
        let block = vec![1u8; 16 << 20];
        let usage = usage(own, u64::MAX);
        assert!(usage.memory >= 16 << 20, "{usage:?}");
        assert!(usage.processes >= 1 && block[4096] == 1);
        assert!(lives(own));
        assert_eq!(parent_of(own), rustix::process::getppid());
        assert_eq!(kilobytes("RssAnon:\t     12 kB\nRssShmem:\t 1 kB\n", "RssShmem:"), 1024);
    }
}
