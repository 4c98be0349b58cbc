//! What a task process may use, and the watch over it.

use std::fmt;
use std::fs;
use std::sync::OnceLock;

use hfs_protocol::proto::task::Launch;
use hfs_protocol::proto::task::launch::Task as LaunchTask;
use parking_lot::Mutex;
use rustix::process::Pid;

use super::group::{Group, backstop};
use super::tree;

/// Memory of a map task, MiB (Hadoop's name).
const MAP_MEMORY_MB: &str = "mapreduce.map.memory.mb";
/// Memory of a reduce task, MiB (Hadoop's name).
const REDUCE_MEMORY_MB: &str = "mapreduce.reduce.memory.mb";
/// The part of the machine's memory that tasks may have unless configured: four of five parts, the
/// rest is for the page cache and the daemons.
const TASKS_SHARE: (u64, u64) = (4, 5);
/// A task gets at least this much unless configured.
const LEAST_BYTES: u64 = 512 << 20;

/// The memory of one attempt, with all that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// The property that changes it.
    pub property: &'static str,
}

impl MemoryLimit {
    /// What the job says, else `default`.
    ///
    /// # Errors
    /// When the job's property is not a number.
    pub fn of(launch: &Launch, default: u64) -> Result<Self, String> {
        let property = match launch.task {
            Some(LaunchTask::Reduce(_)) => REDUCE_MEMORY_MB,
            _ => MAP_MEMORY_MB,
        };
        let said = launch.job.as_ref().and_then(|job| job.conf.get(property));
        let megabytes: i64 = match said {
            Some(text) => text.trim().parse().map_err(|_| {
                format!(
                    "the property {property} is '{text}', which is not a whole number of MiB; \
                     correct it with -D {property}=MIB"
                )
            })?,
            None => -1,
        };
        // As in Hadoop -1 means that the cluster decides.
        let bytes = match u64::try_from(megabytes) {
            Ok(megabytes) if megabytes > 0 => megabytes.saturating_mul(1 << 20),
            _ => default,
        };
        Ok(Self { bytes, property })
    }
}

/// What a task may have when neither its job nor the worker's configuration says: an equal share of
/// what this machine or this worker's control group has.
#[must_use]
pub fn default_memory(slots: u32) -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let machine = total.map_or(u64::MAX, |kilobytes| kilobytes << 10);
    let share = machine.min(group_memory()) / TASKS_SHARE.1 * TASKS_SHARE.0;
    (share / u64::from(slots.max(1))).max(LEAST_BYTES)
}

/// The limit of this process's control group (version 2), if it has one.
fn group_memory() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let limit = fs::read_to_string(format!("/sys/fs/cgroup{}/memory.max", path.trim()));
    limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX)
}

/// More than a task may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Memory.
    Memory {
        /// What it had when it was seen.
        used: u64,
        /// In how many processes.
        processes: usize,
        /// What it may have.
        limit: MemoryLimit,
    },
    /// Processes.
    Processes {
        /// How many it had when it was seen.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { used, processes, limit } => {
                let (used, most, property) = (used >> 20, limit.bytes >> 20, limit.property);
                let processes = match processes {
                    1 => String::new(),
                    n => format!(" in {n} processes"),
                };
                write!(
                    f,
                    "the task was killed because it used {used} MiB of memory{processes}, more than \
                     its limit of {most} MiB; let it use less or raise the limit with -D \
                     {property}=MIB"
                )
            }
            Self::Processes { count, limit } => write!(
                f,
                "the task was killed because it had started {count} processes, more than the \
                 {limit} that a worker allows (task-processes in hfs.toml)"
            ),
        }
    }
}

/// What is watched of one task process. Its driver says what it may have; the thread that waits for
/// the process looks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Holds the task where the watch would be too late. Made at the first look: to move a process costs the kernel
    /// milliseconds, which short tasks don't pay.
    group: OnceLock<Option<Group>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    memory: Option<MemoryLimit>,
    processes: Option<usize>,
    excess: Option<Excess>,
    /// Processes that the kernel had ended in the group before this attempt.
    kills_before: u64,
}

impl Watch {
    fn group(&self) -> Option<&Group> {
        self.group.get().and_then(Option::as_ref)
    }

    /// A new attempt begins.
    pub(super) fn begin(&self, memory: MemoryLimit, processes: usize) {
        let kills_before = self.group().map_or(0, |group| {
            group.allow(backstop(memory.bytes));
            group.kills()
        });
        let (memory, processes) = (Some(memory), Some(processes));
        *self.state.lock() = State { memory, processes, excess: None, kills_before };
    }

    /// Why the process, or one that it had started, was killed, if they had too much.
    pub(super) fn excess(&self) -> Option<Excess> {
        let mut state = self.state.lock();
        if state.excess.is_none()
            && let (Some(group), Some(limit)) = (self.group(), state.memory)
            && group.kills() > state.kills_before
        {
            let used = backstop(limit.bytes);
            state.excess = Some(Excess::Memory { used, processes: 1, limit });
        }
        state.excess
    }

    /// The process and all it has started are dead.
    pub(super) fn over(&self) {
        // Its group knows why, and goes.
        self.excess();
        self.group().into_iter().for_each(Group::remove);
    }

    /// Looks at the process and all it started. True: they have too much.
    pub(super) fn look(&self, root: Pid) -> bool {
        let (memory, processes) = {
            let state = self.state.lock();
            (state.memory, state.processes)
        };
        let most = memory.map_or(u64::MAX, |limit| limit.bytes);
        self.group.get_or_init(|| {
            let group = Group::of_task()?;
            group.allow(backstop(most));
            group.take_in(root);
            Some(group)
        });
        let usage = tree::usage(root, most);
        let excess = match (memory, processes) {
            (Some(limit), _) if usage.memory > limit.bytes => {
                Excess::Memory { used: usage.memory, processes: usage.processes, limit }
            }
            (_, Some(limit)) if usage.processes > limit => {
                Excess::Processes { count: usage.processes, limit }
            }
            _ => return false,
        };
        self.state.lock().excess.get_or_insert(excess);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use hfs_protocol::proto::task::{JobSpec, MapTask, ReduceTask};

    use super::*;

    #[test]
    fn the_jobs_limit_goes_before_the_workers() {
        let conf = HashMap::from([(MAP_MEMORY_MB.to_owned(), " 300 ".to_owned())]);
        let job = JobSpec { conf, ..JobSpec::default() };
        let map = Some(LaunchTask::Map(MapTask::default()));
        let mut launch = Launch { job: Some(job), task: map, ..Launch::default() };
        assert_eq!(MemoryLimit::of(&launch, 7).unwrap().bytes, 300 << 20);
        launch.job.as_mut().unwrap().conf.insert(MAP_MEMORY_MB.into(), "-1".into());
        assert_eq!(MemoryLimit::of(&launch, 7).unwrap().bytes, 7);
        launch.job.as_mut().unwrap().conf.insert(MAP_MEMORY_MB.into(), "1g".into());
        let error = MemoryLimit::of(&launch, 7).unwrap_err();
        assert!(error.contains("mapreduce.map.memory.mb is '1g'"), "{error}");
        launch.task = Some(LaunchTask::Reduce(ReduceTask::default()));
        let limit = MemoryLimit::of(&launch, 7).unwrap();
        assert_eq!(limit, MemoryLimit { bytes: 7, property: REDUCE_MEMORY_MB });
        assert!(default_memory(2) >= LEAST_BYTES);
        assert!(default_memory(2) < u64::MAX / 4, "the machine has a size");
    }
}
