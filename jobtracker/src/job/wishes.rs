//! What a job's properties ask of the scheduler: where it queues, how urgent it is, what a task
//! needs of a worker, how its slow tasks are raced, how many counters it may have.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use hfs_protocol::ids::TaskKind;
use hfs_protocol::proto::task::JobSpec;

/// The queue of a job that names none (Hadoop's `YarnConfiguration.DEFAULT_QUEUE_NAME`).
pub const DEFAULT_QUEUE: &str = "default";

/// The queue (`mapreduce.job.queuename`).
pub const QUEUE_NAME: &str = "mapreduce.job.queuename";
/// The priority (`mapreduce.job.priority`).
pub const PRIORITY: &str = "mapreduce.job.priority";
/// Processors of a map (`mapreduce.map.cpu.vcores`).
pub const MAP_VCORES: &str = "mapreduce.map.cpu.vcores";
/// Processors of a reduce (`mapreduce.reduce.cpu.vcores`).
pub const REDUCE_VCORES: &str = "mapreduce.reduce.cpu.vcores";
/// Memory of a map, MiB; -1: the worker's share for one slot (`mapreduce.map.memory.mb`).
pub const MAP_MEMORY_MB: &str = "mapreduce.map.memory.mb";
/// Memory of a reduce, MiB; -1: the worker's share for one slot (`mapreduce.reduce.memory.mb`).
pub const REDUCE_MEMORY_MB: &str = "mapreduce.reduce.memory.mb";
/// Whether slow maps are raced (`mapreduce.map.speculative`).
pub const MAP_SPECULATIVE: &str = "mapreduce.map.speculative";
/// Whether slow reduces are raced (`mapreduce.reduce.speculative`).
pub const REDUCE_SPECULATIVE: &str = "mapreduce.reduce.speculative";
/// Of the running tasks, the part that may be raced at once.
pub const CAP_RUNNING: &str = "mapreduce.job.speculative.speculative-cap-running-tasks";
/// Of all tasks, the part that may be raced at once.
pub const CAP_TOTAL: &str = "mapreduce.job.speculative.speculative-cap-total-tasks";
/// So many tasks may be raced at once however small the parts are.
pub const ALLOWED_MIN: &str = "mapreduce.job.speculative.minimum-allowed-tasks";
/// The pause after a look that found nothing to race, ms.
pub const RETRY_AFTER_NONE: &str = "mapreduce.job.speculative.retry-after-no-speculate";
/// The pause after a look that raced a task, ms.
pub const RETRY_AFTER_SOME: &str = "mapreduce.job.speculative.retry-after-speculate";
/// A task is slow when it is so many standard deviations slower than the mean.
pub const SLOW_TASK: &str = "mapreduce.job.speculative.slowtaskthreshold";
/// A node is slow when it is so many standard deviations slower than the mean.
pub const SLOW_NODE: &str = "mapreduce.job.speculative.slownodethreshold";
/// The most counters of user code (`mapreduce.job.counters.max`).
pub const COUNTERS_MAX: &str = "mapreduce.job.counters.max";
/// The most groups of them (`mapreduce.job.counters.groups.max`).
pub const GROUPS_MAX: &str = "mapreduce.job.counters.groups.max";

/// Not 0: records that kill a map's attempts may be left out (`mapreduce.map.skip.maxrecords`). Hadoop narrows a range
/// of so many down; here it is always the one record.
pub const MAP_SKIP_MAX_RECORDS: &str = "mapreduce.map.skip.maxrecords";
/// Not 0: groups that kill a reduce's attempts may be left out (`mapreduce.reduce.skip.maxgroups`).
pub const REDUCE_SKIP_MAX_GROUPS: &str = "mapreduce.reduce.skip.maxgroups";
/// After so many failed attempts a task is in skip mode (`mapreduce.task.skip.start.attempts`).
pub const SKIP_START_ATTEMPTS: &str = "mapreduce.task.skip.start.attempts";

/// How urgent a job is (Hadoop's `JobPriority`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// The least.
    VeryLow,
    /// Below the usual.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Above the usual.
    High,
    /// The most.
    VeryHigh,
}

impl Priority {
    /// All, least urgent first.
    pub const ALL: [Self; 5] = [Self::VeryLow, Self::Low, Self::Normal, Self::High, Self::VeryHigh];

    /// Hadoop's name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::VeryLow => "VERY_LOW",
            Self::Low => "LOW",
            Self::Normal => "NORMAL",
            Self::High => "HIGH",
            Self::VeryHigh => "VERY_HIGH",
        }
    }

    /// The share of a job against others of its queue when shares are fair: each step doubles it.
    #[must_use]
    pub const fn weight(self) -> u64 {
        1 << self as u64
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Priority {
    type Err = String;

    /// Reads Hadoop's names in any case; `DEFAULT` is the usual one.
    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim().to_ascii_uppercase().replace('-', "_");
        if word == "DEFAULT" {
            return Ok(Self::Normal);
        }
        Self::ALL.into_iter().find(|priority| priority.word() == word).ok_or_else(|| {
            format!("'{text}' is not a priority: VERY_HIGH, HIGH, NORMAL, LOW or VERY_LOW")
        })
    }
}

/// What one attempt needs of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Processors, at least 1.
    pub vcores: u32,
    /// Memory, MiB. `None`: whatever the worker gives to one slot.
    pub memory_mb: Option<u64>,
}

impl Default for Ask {
    fn default() -> Self {
        Self { vcores: 1, memory_mb: None }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} vcores", self.vcores)?;
        self.memory_mb.map_or(Ok(()), |mb| write!(f, " and {mb} MiB of memory"))
    }
}

/// How slow tasks are raced. The names are those of Hadoop's `DefaultSpeculator`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Race maps.
    pub maps: bool,
    /// Race reduces.
    pub reduces: bool,
    /// [`CAP_RUNNING`], 0.0 to 1.0.
    pub cap_running: f64,
    /// [`CAP_TOTAL`], 0.0 to 1.0.
    pub cap_total: f64,
    /// [`ALLOWED_MIN`].
    pub allowed_min: u32,
    /// [`RETRY_AFTER_NONE`], ms.
    pub retry_after_none_ms: u64,
    /// [`RETRY_AFTER_SOME`], ms.
    pub retry_after_some_ms: u64,
    /// [`SLOW_TASK`], standard deviations.
    pub slow_task: f64,
    /// [`SLOW_NODE`], standard deviations.
    pub slow_node: f64,
}

/// What a job asks of the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    /// Its queue.
    pub queue: String,
    /// Its priority at its submission.
    pub priority: Priority,
    /// What a map needs.
    pub map: Ask,
    /// What a reduce needs.
    pub reduce: Ask,
    /// How its slow tasks are raced.
    pub speculation: Speculation,
    /// The most counters of its own code.
    pub counters_max: usize,
    /// The most groups of them.
    pub groups_max: usize,
    /// After so many failures a map, or a reduce, is in skip mode. `None`: never.
    pub skip_after: [Option<u32>; 2],
}

impl Default for Wishes {
    /// Hadoop's defaults.
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE.to_owned(),
            priority: Priority::Normal,
            map: Ask::default(),
            reduce: Ask::default(),
            speculation: Speculation {
                maps: true,
                reduces: true,
                cap_running: 0.1,
                cap_total: 0.01,
                allowed_min: 10,
                retry_after_none_ms: 1_000,
                retry_after_some_ms: 15_000,
                slow_task: 1.0,
                slow_node: 1.0,
            },
            counters_max: 120,
            groups_max: 50,
            skip_after: [None; 2],
        }
    }
}

impl Wishes {
    /// Reads a job's properties.
    ///
    /// # Errors
    /// A sentence that names the property that can't be used.
    pub fn read(spec: &JobSpec) -> Result<Self, String> {
        let conf = Properties(&spec.conf);
        let usual = Self::default();
        let speculation = usual.speculation;
        let queue = conf.text(QUEUE_NAME).unwrap_or(DEFAULT_QUEUE);
        // Hadoop's own tools write the whole path of a queue; all of ours are children of the root.
        let queue = queue.strip_prefix("root.").unwrap_or(queue).to_owned();
        let ask = |vcores: &str, memory: &str| -> Result<Ask, String> {
            let count = conf.parsed(vcores, 1_u32, "whole number of at least 1")?;
            if count == 0 {
                return Err(wrong(vcores, "0", "whole number of at least 1"));
            }
            let megabytes = conf.parsed(memory, -1_i64, "whole number of MiB")?;
            let memory_mb = u64::try_from(megabytes).ok().filter(|mb| *mb > 0);
            Ok(Ask { vcores: count, memory_mb })
        };
        let skip_start = conf.whole(SKIP_START_ATTEMPTS, 2)?;
        let skip_after = |most: &str| -> Result<Option<u32>, String> {
            Ok((conf.whole(most, 0_u64)? > 0).then_some(skip_start))
        };
        Ok(Self {
            queue,
            priority: match conf.text(PRIORITY) {
                Some(text) => text.parse().map_err(|e| format!("the property {PRIORITY}: {e}"))?,
                None => Priority::Normal,
            },
            map: ask(MAP_VCORES, MAP_MEMORY_MB)?,
            reduce: ask(REDUCE_VCORES, REDUCE_MEMORY_MB)?,
            speculation: Speculation {
                maps: conf.parsed(MAP_SPECULATIVE, true, "true or false")?,
                reduces: conf.parsed(REDUCE_SPECULATIVE, true, "true or false")?,
                cap_running: conf.part(CAP_RUNNING, speculation.cap_running)?,
                cap_total: conf.part(CAP_TOTAL, speculation.cap_total)?,
                allowed_min: conf.whole(ALLOWED_MIN, speculation.allowed_min)?,
                retry_after_none_ms: conf
                    .whole(RETRY_AFTER_NONE, speculation.retry_after_none_ms)?
                    .max(10),
                retry_after_some_ms: conf
                    .whole(RETRY_AFTER_SOME, speculation.retry_after_some_ms)?
                    .max(10),
                slow_task: conf.number(SLOW_TASK, speculation.slow_task)?,
                slow_node: conf.number(SLOW_NODE, speculation.slow_node)?,
            },
            counters_max: conf.whole(COUNTERS_MAX, usual.counters_max)?,
            groups_max: conf.whole(GROUPS_MAX, usual.groups_max)?,
            skip_after: [skip_after(MAP_SKIP_MAX_RECORDS)?, skip_after(REDUCE_SKIP_MAX_GROUPS)?],
        })
    }

    /// After so many failures a task of this kind is in skip mode. `None`: never.
    #[must_use]
    pub fn skip_after(&self, kind: TaskKind) -> Option<u32> {
        self.skip_after[kind as usize]
    }

    /// What an attempt of this kind needs.
    #[must_use]
    pub fn ask(&self, kind: TaskKind) -> Ask {
        match kind {
            TaskKind::Map => self.map,
            TaskKind::Reduce => self.reduce,
        }
    }

    /// The properties that decide what an attempt of this kind needs.
    #[must_use]
    pub fn ask_properties(kind: TaskKind) -> (&'static str, &'static str) {
        match kind {
            TaskKind::Map => (MAP_VCORES, MAP_MEMORY_MB),
            TaskKind::Reduce => (REDUCE_VCORES, REDUCE_MEMORY_MB),
        }
    }
}

impl Speculation {
    /// Whether tasks of this kind are raced.
    #[must_use]
    pub fn wanted(&self, kind: TaskKind) -> bool {
        match kind {
            TaskKind::Map => self.maps,
            TaskKind::Reduce => self.reduces,
        }
    }

    /// How many tasks may be raced at once when so many run of so many.
    #[must_use]
    pub fn allowed(&self, running: u32, total: usize) -> u32 {
        let part = (self.cap_running * f64::from(running)).max(self.cap_total * total as f64);
        (part as u32).max(self.allowed_min)
    }
}

struct Properties<'a>(&'a HashMap<String, String>);

impl Properties<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn parsed<T: FromStr>(&self, name: &str, usual: T, kind: &str) -> Result<T, String> {
        match self.text(name) {
            Some(text) => text.parse().map_err(|_| wrong(name, text, kind)),
            None => Ok(usual),
        }
    }

    fn whole<T: FromStr>(&self, name: &str, usual: T) -> Result<T, String> {
        self.parsed(name, usual, "whole number of at least 0")
    }

    fn number(&self, name: &str, usual: f64) -> Result<f64, String> {
        let kind = "number of at least 0";
        let number = self.parsed(name, usual, kind)?;
        if number >= 0.0 && number.is_finite() {
            return Ok(number);
        }
        Err(wrong(name, &number.to_string(), kind))
    }

    fn part(&self, name: &str, usual: f64) -> Result<f64, String> {
        let part = self.number(name, usual)?;
        if part <= 1.0 {
            return Ok(part);
        }
        Err(wrong(name, &part.to_string(), "number from 0 to 1"))
    }
}

fn wrong(name: &str, text: &str, kind: &str) -> String {
    format!("the property {name} is '{text}', which is not a {kind}; correct it with -D {name}=...")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(properties: &[(&str, &str)]) -> JobSpec {
        let conf = properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        JobSpec { conf, ..JobSpec::default() }
    }

    #[test]
    fn what_is_not_said_is_hadoops_default() {
        assert_eq!(Wishes::read(&spec(&[])).unwrap(), Wishes::default());
        let said = [(MAP_MEMORY_MB, "-1"), (QUEUE_NAME, "root.default"), (PRIORITY, "default")];
        assert_eq!(Wishes::read(&spec(&said)).unwrap(), Wishes::default());
    }

    #[test]
    fn properties_are_read_and_wrong_ones_named() {
        let wishes = Wishes::read(&spec(&[
            (QUEUE_NAME, "etl"),
            (PRIORITY, "very_high"),
            (REDUCE_VCORES, "4"),
            (REDUCE_MEMORY_MB, "2048"),
            (MAP_SPECULATIVE, "false"),
        ]))
        .unwrap();
        assert_eq!((wishes.queue.as_str(), wishes.priority), ("etl", Priority::VeryHigh));
        assert_eq!(wishes.reduce, Ask { vcores: 4, memory_mb: Some(2048) });
        assert!(!wishes.speculation.maps && wishes.speculation.reduces);
        for (name, text) in [
            (PRIORITY, "urgent"),
            (MAP_VCORES, "0"),
            (MAP_MEMORY_MB, "much"),
            (CAP_RUNNING, "1.5"),
            (SLOW_TASK, "-1"),
            (MAP_SPECULATIVE, "perhaps"),
        ] {
            let why = Wishes::read(&spec(&[(name, text)])).unwrap_err();
            assert!(why.contains(name) && why.contains(text), "{why}");
        }
    }

    #[test]
    fn each_step_of_priority_doubles_the_share() {
        let weights: Vec<u64> = Priority::ALL.iter().map(|priority| priority.weight()).collect();
        assert_eq!(weights, [1, 2, 4, 8, 16]);
    }
}
