//! Counters, named as Hadoop names them.

use std::collections::BTreeMap;

use hfs_protocol::proto::task;

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
}

/// A user's counter, to be had once and then increased at the price of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterId(usize);

/// A task's counters.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    engine: [i64; TaskCounter::ALL.len()],
    user_names: BTreeMap<(String, String), usize>,
    user: Vec<i64>,
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

    /// The user's counter of this group and name; 0 when new.
    pub fn user(&mut self, group: &str, name: &str) -> CounterId {
        let key = (group.to_owned(), name.to_owned());
        let next = self.user.len();
        let index = *self.user_names.entry(key).or_insert(next);
        if index == next {
            self.user.push(0);
        }
        CounterId(index)
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
        let user = self.user_names.iter().map(|((group, name), &index)| task::Counter {
            group: group.clone(),
            name: name.clone(),
            value: self.user[index],
        });
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
}
