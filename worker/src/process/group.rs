//! A control group for each task process, where this worker may make one: a backstop behind the watch ([`super::limits`]).
//!
//! The watch is exact about what a task's memory is, but looks ten times a second; whoever takes memory with many
//! threads has taken the node's by then. A control group is never late, but counts the page cache of the task's files,
//! too, and would slow down whoever spills and shuffles if its limit were the task's own. So the group gets
//! twice as much and some ([`backstop`]), and the kernel ends a task that fills it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Pid;

use super::tree;

/// Names of groups: `hfs-task-<worker's pid>-<number>`.
const PREFIX: &str = "hfs-task-";
/// The group that a worker goes into where groups that have children may have no processes (version 2).
const WORKER_PREFIX: &str = "hfs-worker-";

/// A group's files in the two versions.
#[derive(Debug, Clone, Copy)]
struct Names {
    limit: &'static str,
    /// Has a line `oom_kill N`: so many processes were ended for want of memory.
    events: &'static str,
}

const FIRST: Names = Names { limit: "memory.limit_in_bytes", events: "memory.oom_control" };
const SECOND: Names = Names { limit: "memory.max", events: "memory.events" };

/// Where the groups of this worker's tasks are made.
#[derive(Debug)]
pub(super) struct Groups {
    parent: PathBuf,
    names: Names,
    made: AtomicU64,
}

/// None where this worker may not make groups.
static GROUPS: LazyLock<Option<Groups>> = LazyLock::new(|| {
    let groups = Groups::find();
    match &groups {
        Some(groups) => {
            groups.remove_stale();
            tracing::info!("tasks get control groups in {}", groups.parent.display());
        }
        None => tracing::info!("tasks get no control groups: this worker may not make any"),
    }
    groups
});

/// Bytes that a group may have whose task may have `limit`.
pub(super) fn backstop(limit: u64) -> u64 {
    limit.saturating_mul(2).saturating_add(256 << 20)
}

impl Groups {
    /// Where this process's own group is, if it may make others there.
    fn find() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let first = own.lines().find_map(|line| Some(line.split_once(":memory:")?.1.trim()));
        if let Some(path) = first {
            let root = Path::new("/sys/fs/cgroup/memory");
            let own = root.join(path.trim_start_matches('/'));
            // A container often sees its own group as the root of all.
            let parent = if own.is_dir() { own } else { root.to_owned() };
            return Self::try_in(parent, FIRST);
        }
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim();
        let parent = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
        hand_down_memory(&parent)?;
        Self::try_in(parent, SECOND)
    }

    fn try_in(parent: PathBuf, names: Names) -> Option<Self> {
        let groups = Self { parent, names, made: AtomicU64::new(0) };
        // Only a group that was made and has a limit shows that others can be.
        groups.make().map(|group| {
            group.remove();
            groups
        })
    }

    fn make(&self) -> Option<Group> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let dir = self.parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let group = Group { dir, names: self.names };
        let counts = group.dir.join(self.names.limit).exists();
        if !counts {
            group.remove();
        }
        counts.then_some(group)
    }

    /// Removes the groups of workers that were killed.
    fn remove_stale(&self) {
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = pid_of(&name) else { continue };
            if pid != std::process::id() && !Path::new(&format!("/proc/{pid}")).exists() {
                // One with processes stays.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Whose worker's group this is.
fn pid_of(name: &OsStr) -> Option<u32> {
    let name = name.to_str()?;
    let rest = name.strip_prefix(PREFIX).or_else(|| name.strip_prefix(WORKER_PREFIX))?;
    rest.split('-').next()?.parse().ok()
}

/// Makes groups below this one (of version 2) count memory. They can only when it has no processes of its own: this
/// one goes into a group below.
fn hand_down_memory(parent: &Path) -> Option<()> {
    let control = parent.join("cgroup.subtree_control");
    let counts = |text: String| text.split_whitespace().any(|word| word == "memory");
    if fs::read_to_string(&control).is_ok_and(counts) || fs::write(&control, "+memory").is_ok() {
        return Some(());
    }
    let pid = std::process::id();
    let leaf = parent.join(format!("{WORKER_PREFIX}{pid}"));
    fs::create_dir(&leaf).ok()?;
    let moved = fs::write(leaf.join("cgroup.procs"), pid.to_string());
    if moved.is_ok() && fs::write(&control, "+memory").is_ok() {
        return Some(());
    }
    // Others are in it, too: it stays as it was.
    let _ = fs::write(parent.join("cgroup.procs"), pid.to_string());
    let _ = fs::remove_dir(&leaf);
    None
}

/// The control group of one task process and all it starts.
#[derive(Debug)]
pub(super) struct Group {
    dir: PathBuf,
    names: Names,
}

impl Group {
    /// A new one; `None` where there can't be any.
    pub(super) fn of_task() -> Option<Self> {
        GROUPS.as_ref()?.make()
    }

    /// Takes in a process and all it has started. What it starts from now on is in the group, too.
    pub(super) fn take_in(&self, root: Pid) {
        // Twice: what is started while the first ones are moved may be outside.
        for _ in 0..2 {
            for pid in std::iter::once(root).chain(tree::descendants(root)) {
                // One that has ended is nobody's affair; outside its group a task is still watched.
                let _ = fs::write(self.dir.join("cgroup.procs"), pid.to_string());
            }
        }
    }

    /// Its processes may have so many bytes together.
    pub(super) fn allow(&self, bytes: u64) {
        // The watch is there all the same.
        if let Err(e) = fs::write(self.dir.join(self.names.limit), bytes.to_string()) {
            tracing::warn!("the control group {} has no limit: {e}", self.dir.display());
        }
    }

    /// Removes it: all its processes are dead, and leave it in a moment.
    pub(super) fn remove(&self) {
        tree::patiently(|| match fs::remove_dir(&self.dir) {
            Err(e) => e.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        });
    }

    /// How many of its processes the kernel has ended because they had more.
    pub(super) fn kills(&self) -> u64 {
        let events = fs::read_to_string(self.dir.join(self.names.events)).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn groups_know_their_worker() {
        for (name, pid) in [
            ("hfs-task-17-3", Some(17)),
            ("hfs-worker-18", Some(18)),
            ("hfs-task-x", None),
            ("user.slice", None),
        ] {
            assert_eq!(pid_of(OsStr::new(name)), pid, "{name}");
        }
    }

    #[test]
    fn a_group_has_a_limit_until_it_is_removed() {
        // Where no group can be made there is nothing to see.
        let Some(group) = Group::of_task() else { return };
        group.allow(backstop(64 << 20));
        let limit = fs::read_to_string(group.dir.join(group.names.limit)).unwrap();
        assert_eq!(limit.trim().parse::<u64>().unwrap(), 384 << 20);
        assert_eq!(group.kills(), 0);
        group.remove();
        assert!(!group.dir.exists());
    }

    #[test]
    fn who_fills_its_group_is_ended_and_that_is_known() {
        let Some(group) = Group::of_task() else { return };
        group.allow(64 << 20);
        // tail holds all that it may have to print.
        let script = "read go && head -c 300m /dev/zero | tail -c 300m > /dev/null";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::null());
        // Other tests kill what is not known to have been started here.
        let mut started = tree::STARTED.lock();
        let mut shell = shell.spawn().unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        started.insert(pid);
        drop(started);
        group.take_in(Pid::from_child(&shell));
        let inside = fs::read_to_string(group.dir.join("cgroup.procs")).unwrap();
        assert_eq!(inside.trim(), pid.to_string());
        shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let status = shell.wait();
        tree::STARTED.lock().remove(&pid);
        assert!(!status.unwrap().success());
        assert!(group.kills() > 0);
        group.remove();
        assert!(!group.dir.exists());
    }
}
