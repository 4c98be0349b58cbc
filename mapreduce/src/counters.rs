//! Counters, named as Hadoop names them.

use std::collections::BTreeMap;

use std::fmt;

use anyhow::Result;
use hfs_protocol::proto::task;

use crate::conf::{self, Conf};

macro_rules! task_counters {
    ($($(#[$doc:meta])* $variant:ident = $group:ident . $name:literal,)+) => {
        /// The counters that the engine itself keeps.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum TaskCounter {
            $($(#[$doc])* $variant,)+
        }

        impl TaskCounter {
            /// Every counter, in the order a report lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Hadoop's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Hadoop's group.
            #[must_use]
            pub const fn group(self) -> &'static str {
                match self { $(Self::$variant => $group,)+ }
            }
        }
    };
}

/// The group of what tasks did (`org.apache.hadoop.mapreduce.TaskCounter`).
pub const TASK_GROUP: &str = "TaskCounter";
/// The group of bytes read and written (`org.apache.hadoop.mapreduce.FileSystemCounter`).
pub const FILE_SYSTEM_GROUP: &str = "FileSystemCounter";

task_counters! {
    /// Records that mappers were given.
    MapInputRecords = TASK_GROUP . "MAP_INPUT_RECORDS",
    /// Records that were left out: longer than allowed, or, in skip mode, more than the mapper can take.
    MapSkippedRecords = TASK_GROUP . "MAP_SKIPPED_RECORDS",
    /// Records that mappers emitted.
    MapOutputRecords = TASK_GROUP . "MAP_OUTPUT_RECORDS",
    /// Bytes of keys and values in map segments before they were merged.
    MapOutputBytes = TASK_GROUP . "MAP_OUTPUT_BYTES",
    /// Bytes of the finished map segments.
    MapOutputMaterializedBytes = TASK_GROUP . "MAP_OUTPUT_MATERIALIZED_BYTES",
    /// Records that went into a combiner.
    CombineInputRecords = TASK_GROUP . "COMBINE_INPUT_RECORDS",
    /// Records that came out of a combiner.
    CombineOutputRecords = TASK_GROUP . "COMBINE_OUTPUT_RECORDS",
    /// Records written to local disk, each time they were.
    SpilledRecords = TASK_GROUP . "SPILLED_RECORDS",
    /// Map outputs that reducers have fetched.
    ShuffledMaps = TASK_GROUP . "SHUFFLED_MAPS",
    /// Fetches that failed.
    FailedShuffle = TASK_GROUP . "FAILED_SHUFFLE",
    /// Runs that reducers merged.
    MergedMapOutputs = TASK_GROUP . "MERGED_MAP_OUTPUTS",
    /// Bytes that reducers took over, by network or from a local file.
    ReduceShuffleBytes = TASK_GROUP . "REDUCE_SHUFFLE_BYTES",
    /// Distinct keys that reducers saw.
    ReduceInputGroups = TASK_GROUP . "REDUCE_INPUT_GROUPS",
    /// Values that reducers saw.
    ReduceInputRecords = TASK_GROUP . "REDUCE_INPUT_RECORDS",
    /// Groups that were left out in skip mode.
    ReduceSkippedGroups = TASK_GROUP . "REDUCE_SKIPPED_GROUPS",
    /// Their values.
    ReduceSkippedRecords = TASK_GROUP . "REDUCE_SKIPPED_RECORDS",
    /// Records that reducers emitted.
    ReduceOutputRecords = TASK_GROUP . "REDUCE_OUTPUT_RECORDS",
    /// Processor time of the task's process while it worked on the task, milliseconds.
    CpuMilliseconds = TASK_GROUP . "CPU_MILLISECONDS",
    /// Bytes read from HDFS.
    HdfsBytesRead = FILE_SYSTEM_GROUP . "HDFS_BYTES_READ",
    /// Bytes written to HDFS.
    HdfsBytesWritten = FILE_SYSTEM_GROUP . "HDFS_BYTES_WRITTEN",
    /// Bytes read from local files.
    FileBytesRead = FILE_SYSTEM_GROUP . "FILE_BYTES_READ",
    /// Bytes written to local files.
    FileBytesWritten = FILE_SYSTEM_GROUP . "FILE_BYTES_WRITTEN",
    /// Bytes read from object stores.
    S3aBytesRead = FILE_SYSTEM_GROUP . "S3A_BYTES_READ",
    /// Bytes written to object stores.
    S3aBytesWritten = FILE_SYSTEM_GROUP . "S3A_BYTES_WRITTEN",
}

/// A user's counter, to be had once and then increased at the price of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterId(usize);

/// A counter with a type: an enum whose values are the counters of one group, as Hadoop's counters
/// that are Java enums. Made with [`job_counters!`](crate::job_counters).
pub trait JobCounter: Copy {
    /// The group.
    fn group(self) -> &'static str;
    /// The name in the group.
    fn name(self) -> &'static str;
}

/// Declares an enum of counters, which [`Context::count_in`](crate::Context::count_in) increases.
///
/// ```
/// use hfs_mapreduce::{Emit, JobCounter, Line, Mapper, Result, Text, TextInput, job_counters};
///
/// job_counters! {
///     /// What became of the lines.
///     pub enum Lines: "lines" {
///         /// Lines with three fields.
///         Good = "good",
///         /// All others.
///         Bad = "bad",
///     }
/// }
///
/// #[derive(Clone)]
/// struct Check;
///
/// impl Mapper for Check {
///     type Input = TextInput;
///     type Key = Text;
///     type Value = ();
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, ()>) -> Result<()> {
///         let good = line.bytes.split(|&byte| byte == b' ').count() == 3;
///         out.context().count_in(if good { Lines::Good } else { Lines::Bad }, 1);
///         Ok(())
///     }
/// }
///
/// assert_eq!((Lines::Bad.group(), Lines::Bad.name()), ("lines", "bad"));
/// ```
#[macro_export]
macro_rules! job_counters {
    ($(#[$outer:meta])* $visible:vis enum $group:ident: $group_name:literal {
        $($(#[$inner:meta])* $counter:ident = $name:literal),+ $(,)?
    }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visible enum $group {
            $($(#[$inner])* $counter,)+
        }

        impl $crate::JobCounter for $group {
            fn group(self) -> &'static str {
                $group_name
            }

            fn name(self) -> &'static str {
                match self { $(Self::$counter => $name,)+ }
            }
        }
    };
}

impl JobCounter for TaskCounter {
    fn group(self) -> &'static str {
        Self::group(self)
    }

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

/// How many counters user code may have. Every task's counters are sent, kept and shown by the
/// cluster, so a counter for each word would drown it. The engine's own do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    counters: usize,
    groups: usize,
    name_bytes: usize,
    group_name_bytes: usize,
}

impl Default for Limits {
    /// Hadoop's.
    fn default() -> Self {
        Self { counters: 120, groups: 50, name_bytes: 64, group_name_bytes: 128 }
    }
}

impl Limits {
    pub(crate) fn read(conf: &Conf) -> Result<Self> {
        let usual = Self::default();
        Ok(Self {
            counters: conf.parsed_or(conf::COUNTERS_MAX, usual.counters)?,
            groups: conf.parsed_or(conf::COUNTER_GROUPS_MAX, usual.groups)?,
            name_bytes: conf.parsed_or(conf::COUNTER_NAME_MAX, usual.name_bytes)?,
            group_name_bytes: conf
                .parsed_or(conf::COUNTER_GROUP_NAME_MAX, usual.group_name_bytes)?,
        })
    }

    /// Refuses the counters of a whole job when they are too many.
    pub(crate) fn check_job(&self, totals: &[task::Counter]) -> Result<(), LimitExceeded> {
        let own = |counter: &&task::Counter| {
            !TaskCounter::ALL.iter().any(|c| c.group() == counter.group && c.name() == counter.name)
        };
        let mut groups: Vec<&str> = Vec::new();
        for (number, counter) in totals.iter().filter(own).enumerate() {
            if !groups.contains(&counter.group.as_str()) {
                groups.push(&counter.group);
            }
            self.check(&counter.group, &counter.name, number + 1, groups.len())?;
        }
        Ok(())
    }

    fn check(
        &self,
        group: &str,
        name: &str,
        counters: usize,
        groups: usize,
    ) -> Result<(), LimitExceeded> {
        let exceeded = [
            (counters, self.counters, "counters", conf::COUNTERS_MAX),
            (groups, self.groups, "groups of counters", conf::COUNTER_GROUPS_MAX),
            (name.len(), self.name_bytes, "bytes in a counter's name", conf::COUNTER_NAME_MAX),
            (
                group.len(),
                self.group_name_bytes,
                "bytes in the name of a group of counters",
                conf::COUNTER_GROUP_NAME_MAX,
            ),
        ];
        match exceeded.into_iter().find(|(count, limit, ..)| count > limit) {
            None => Ok(()),
            Some((_, limit, what, property)) => Err(LimitExceeded(format!(
                "the job's code wants the counter '{name}' in the group '{group}', but a job may have \
                 at most {limit} {what}; use fewer, or raise it with -D {property}=..."
            ))),
        }
    }
}

/// User code wants more counters than it may have. Trying again would not help.
#[derive(Debug, Clone)]
pub(crate) struct LimitExceeded(String);

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LimitExceeded {}

/// A task's counters.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    engine: [i64; TaskCounter::ALL.len()],
    /// By group, then by name.
    user_names: BTreeMap<String, BTreeMap<String, usize>>,
    user: Vec<i64>,
    limits: Limits,
    /// Set by the first counter that was one too many; all of those share one, which nobody sees.
    exceeded: Option<(LimitExceeded, usize)>,
}

impl Counters {
    /// Increases one of the engine's counters.
    #[inline]
    pub fn add(&mut self, counter: TaskCounter, by: u64) {
        self.engine[counter as usize] += by as i64;
    }

    /// The value of one of the engine's counters.
    #[must_use]
    pub fn get(&self, counter: TaskCounter) -> i64 {
        self.engine[counter as usize]
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The user's counter of this group and name; 0 when new. When it is one too many, the task fails
    /// at its next step.
    pub fn user(&mut self, group: &str, name: &str) -> CounterId {
        if let Some(&index) = self.user_names.get(group).and_then(|names| names.get(name)) {
            return CounterId(index);
        }
        if let Some((_, index)) = self.exceeded {
            return CounterId(index);
        }
        let next = self.user.len();
        self.user.push(0);
        let groups = self.user_names.len() + usize::from(!self.user_names.contains_key(group));
        match self.limits.check(group, name, next + 1, groups) {
            Ok(()) => {
                let names = self.user_names.entry(group.to_owned()).or_default();
                names.insert(name.to_owned(), next);
            }
            Err(exceeded) => self.exceeded = Some((exceeded, next)),
        }
        CounterId(next)
    }

    /// Fails when user code wanted too many counters.
    pub(crate) fn check(&self) -> Result<(), LimitExceeded> {
        self.exceeded.as_ref().map_or(Ok(()), |(exceeded, _)| Err(exceeded.clone()))
    }

    /// Increases a user's counter.
    #[inline]
    pub fn add_user(&mut self, counter: CounterId, by: i64) {
        self.user[counter.0] += by;
    }

    /// All counters that are not zero, as messages.
    #[must_use]
    pub fn to_messages(&self) -> Vec<task::Counter> {
        let engine = TaskCounter::ALL.iter().map(|&counter| task::Counter {
            group: counter.group().into(),
            name: counter.name().into(),
            value: self.get(counter),
        });
        let named = |(group, names): (&String, &BTreeMap<String, usize>)| {
            let counters = names.iter().map(|(name, &index)| task::Counter {
                group: group.clone(),
                name: name.clone(),
                value: self.user[index],
            });
            counters.collect::<Vec<_>>()
        };
        let user = self.user_names.iter().flat_map(named);
        engine.filter(|counter| counter.value != 0).chain(user).collect()
    }
}

/// Adds counters of many tasks up, by group and name.
#[must_use]
pub fn sum<'a>(counters: impl IntoIterator<Item = &'a task::Counter>) -> Vec<task::Counter> {
    let mut totals: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for counter in counters {
        *totals.entry((&counter.group, &counter.name)).or_default() += counter.value;
    }
    totals
        .into_iter()
        .map(|((group, name), value)| task::Counter {
            group: group.into(),
            name: name.into(),
            value,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counters_add_up_over_tasks() {
        let mut one = Counters::default();
        one.add(TaskCounter::MapInputRecords, 3);
        let bad = one.user("lines", "bad");
        one.add_user(bad, 2);
        assert_eq!(one.user("lines", "bad"), bad);
        let mut two = one.clone();
        two.add(TaskCounter::MapInputRecords, 1);
        let all: Vec<_> = one.to_messages().into_iter().chain(two.to_messages()).collect();
        let total = sum(&all);
        let shown: Vec<_> = total.iter().map(|c| (c.name.as_str(), c.value)).collect();
        assert_eq!(shown, [("MAP_INPUT_RECORDS", 7), ("bad", 4)]);
    }

    #[test]
    fn too_many_counters_fail_with_the_property_that_allows_more() {
        let conf: Conf =
            [(conf::COUNTERS_MAX, "3"), (conf::COUNTER_GROUPS_MAX, "2")].into_iter().collect();
        let limits = Limits::read(&conf).unwrap();
        let mut counters = Counters::with_limits(limits);
        for name in ["a", "b", "a"] {
            let counter = counters.user("one", name);
            counters.add_user(counter, 1);
        }
        counters.user("two", "a");
        counters.check().unwrap();
        limits.check_job(&counters.to_messages()).unwrap();
        for number in 0..1000 {
            let counter = counters.user("two", &format!("word-{number}"));
            counters.add_user(counter, 1);
        }
        let error = counters.check().unwrap_err().to_string();
        assert!(error.contains("'word-0'") && error.contains("at most 3 counters"), "{error}");
        assert!(error.contains(conf::COUNTERS_MAX), "{error}");
        assert_eq!(counters.to_messages().len(), 3);

        let mut counters = Counters::with_limits(limits);
        for group in ["x", "y", "z"] {
            counters.user(group, "n");
        }
        assert!(counters.check().unwrap_err().to_string().contains("at most 2 groups"));
        let mut counters = Counters::default();
        counters.user("g", &"n".repeat(65));
        assert!(counters.check().unwrap_err().to_string().contains("at most 64 bytes"));
        let mut more = Counters::default();
        for number in 0..4 {
            more.user("one", &number.to_string());
        }
        assert!(limits.check_job(&more.to_messages()).is_err(), "too many over all tasks");
    }
}
