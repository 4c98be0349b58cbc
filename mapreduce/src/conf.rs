//! A job's configuration: names and values, with Hadoop's names where Hadoop has one.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Result, anyhow};

mod deprecated;

pub use deprecated::current_name;

/// The file system that paths without one mean (`fs.defaultFS`).
pub const DEFAULT_FS: &str = "fs.defaultFS";
/// Memory for sorting and merging, MiB (`mapreduce.task.io.sort.mb`).
pub const SORT_MB: &str = "mapreduce.task.io.sort.mb";
/// Memory in which a local run keeps map output instead of files, MiB: by default a quarter of what the machine has
/// available, and none where [`SORT_MB`] is set.
pub const LOCAL_KEPT_MB: &str = "hfs.local.kept.mb";
/// The most runs one merge reads at once (`mapreduce.task.io.sort.factor`).
pub const SORT_FACTOR: &str = "mapreduce.task.io.sort.factor";
/// Number of reduce tasks (`mapreduce.job.reduces`).
pub const REDUCES: &str = "mapreduce.job.reduces";
/// Attempts before a task fails its job (`mapreduce.map.maxattempts`).
pub const MAX_ATTEMPTS: &str = "mapreduce.map.maxattempts";
/// An attempt silent for so many milliseconds is killed; 0: never (`mapreduce.task.timeout`).
pub const TASK_TIMEOUT_MS: &str = "mapreduce.task.timeout";
/// Not 0: a map's records that its mapper can't take may be left out (`mapreduce.map.skip.maxrecords`): on a cluster
/// once two attempts have failed (`mapreduce.task.skip.start.attempts`), in a local run at once. The mapper goes on
/// as an error or a panic has left it.
pub const MAP_SKIP_MAX_RECORDS: &str = "mapreduce.map.skip.maxrecords";
/// Not 0: a reduce's groups that its reducer can't take may be left out (`mapreduce.reduce.skip.maxgroups`).
pub const REDUCE_SKIP_MAX_GROUPS: &str = "mapreduce.reduce.skip.maxgroups";
/// The least bytes of a split (`mapreduce.input.fileinputformat.split.minsize`).
pub const SPLIT_MIN_BYTES: &str = "mapreduce.input.fileinputformat.split.minsize";
/// The most bytes of a split (`mapreduce.input.fileinputformat.split.maxsize`).
pub const SPLIT_MAX_BYTES: &str = "mapreduce.input.fileinputformat.split.maxsize";
/// Descend into directories of input directories (`...input.dir.recursive`).
pub const INPUT_RECURSIVE: &str = "mapreduce.input.fileinputformat.input.dir.recursive";
/// The file that the task reads from, with its file system in front; set by the engine
/// (`mapreduce.map.input.file`).
pub const MAP_INPUT_FILE: &str = "mapreduce.map.input.file";
/// Where the range that the task reads begins in it, bytes (`mapreduce.map.input.start`).
pub const MAP_INPUT_START: &str = "mapreduce.map.input.start";
/// The bytes of that range (`mapreduce.map.input.length`).
pub const MAP_INPUT_LENGTH: &str = "mapreduce.map.input.length";
/// Lines of more bytes are left out (`mapreduce.input.linerecordreader.line.maxlength`).
pub const LINE_MAX_BYTES: &str = "mapreduce.input.linerecordreader.line.maxlength";
/// Between key and value of a line (`mapreduce.input.keyvaluelinerecordreader.key.value.separator`).
pub const KEY_VALUE_SEPARATOR: &str =
    "mapreduce.input.keyvaluelinerecordreader.key.value.separator";
/// Lines for each map (`mapreduce.input.lineinputformat.linespermap`).
pub const LINES_PER_MAP: &str = "mapreduce.input.lineinputformat.linespermap";
/// Bytes of a record (`fixedlengthinputformat.record.length`).
pub const FIXED_RECORD_LENGTH: &str = "fixedlengthinputformat.record.length";
/// The largest file that is read as one record, bytes.
pub const WHOLE_FILE_MAX_BYTES: &str = "hfs.input.wholefile.max.bytes";
/// Whether text output is compressed (`mapreduce.output.fileoutputformat.compress`).
pub const OUTPUT_COMPRESS: &str = "mapreduce.output.fileoutputformat.compress";
/// How: a Hadoop class or a short name (`mapreduce.output.fileoutputformat.compress.codec`).
pub const OUTPUT_CODEC: &str = "mapreduce.output.fileoutputformat.compress.codec";
/// Whether map output is compressed for its way to reducers (`mapreduce.map.output.compress`).
pub const MAP_OUTPUT_COMPRESS: &str = "mapreduce.map.output.compress";
/// How: `lz4`, as when nothing is said, or `zstd`; or Hadoop's class (`mapreduce.map.output.compress.codec`).
pub const MAP_OUTPUT_CODEC: &str = "mapreduce.map.output.compress.codec";
/// What is compressed at once in sequence files, `NONE`, `RECORD` or `BLOCK`
/// (`mapreduce.output.fileoutputformat.compress.type`).
pub const OUTPUT_COMPRESS_TYPE: &str = "mapreduce.output.fileoutputformat.compress.type";
/// Bytes of a sequence file's block before compression (`io.seqfile.compress.blocksize`).
pub const SEQUENCE_BLOCK_BYTES: &str = "io.seqfile.compress.blocksize";
/// Between key and value of text output (`mapreduce.output.textoutputformat.separator`).
pub const TEXT_SEPARATOR: &str = "mapreduce.output.textoutputformat.separator";
/// Between the fields of a key (`mapreduce.map.output.key.field.separator`).
pub const KEY_FIELD_SEPARATOR: &str = "mapreduce.map.output.key.field.separator";
/// The fields that decide a key's partition (`mapreduce.partition.keypartitioner.options`).
pub const KEY_PARTITIONER_OPTIONS: &str = "mapreduce.partition.keypartitioner.options";
/// The most counters of user code in a job (`mapreduce.job.counters.max`).
pub const COUNTERS_MAX: &str = "mapreduce.job.counters.max";
/// The most groups of them (`mapreduce.job.counters.groups.max`).
pub const COUNTER_GROUPS_MAX: &str = "mapreduce.job.counters.groups.max";
/// The longest name of one, bytes (`mapreduce.job.counters.counter.name.max`).
pub const COUNTER_NAME_MAX: &str = "mapreduce.job.counters.counter.name.max";
/// The longest name of a group, bytes (`mapreduce.job.counters.group.name.max`).
pub const COUNTER_GROUP_NAME_MAX: &str = "mapreduce.job.counters.group.name.max";
/// Memory of a join for one key's values of its first source, MiB.
pub const JOIN_HELD_MB: &str = "hfs.join.held.mb";
/// Memory of a [`BroadcastTable`](crate::BroadcastTable), MiB.
pub const BROADCAST_MB: &str = "hfs.join.broadcast.mb";
/// Files of the job's file system for the tasks' working directories, `path#name`, commas between
/// them (`mapreduce.job.cache.files`).
pub const CACHE_FILES: &str = "mapreduce.job.cache.files";
/// Archives that are unpacked there (`mapreduce.job.cache.archives`).
pub const CACHE_ARCHIVES: &str = "mapreduce.job.cache.archives";
/// Files of the submitter's machine for them; what `-files` sets (`tmpfiles`).
pub const LOCAL_FILES: &str = "tmpfiles";
/// Archives of the submitter's machine; what `-archives` sets (`tmparchives`).
pub const LOCAL_ARCHIVES: &str = "tmparchives";
/// The job's name (`mapreduce.job.name`).
pub const JOB_NAME: &str = "mapreduce.job.name";
/// Fetches that a reducer runs at once (`mapreduce.reduce.shuffle.parallelcopies`).
pub const PARALLEL_COPIES: &str = "mapreduce.reduce.shuffle.parallelcopies";

/// A shuffle server that sends (nearly) nothing for so many milliseconds is given up
/// (`mapreduce.reduce.shuffle.read.timeout`).
pub const SHUFFLE_READ_TIMEOUT_MS: &str = "mapreduce.reduce.shuffle.read.timeout";
/// How long a connection to a shuffle server may take to come about, milliseconds
/// (`mapreduce.reduce.shuffle.connect.timeout`).
pub const SHUFFLE_CONNECT_TIMEOUT_MS: &str = "mapreduce.reduce.shuffle.connect.timeout";

/// Properties of a job, its defaults included only as the defaults of the getters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    properties: BTreeMap<String, String>,
}

impl Conf {
    /// Sets a property.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.properties.insert(name.into(), value.into());
    }

    /// A property as text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// A property as a number, a truth value or another type that can be read from text.
    ///
    /// # Errors
    /// When the value can't be read as this type; the sentence names the property.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.get(name)
            .map(|text| {
                text.trim().parse().map_err(|_| {
                    anyhow!(
                        "the property {name} is '{text}', which is not a {}; correct it with -D {name}=...",
                        short_type_name::<T>()
                    )
                })
            })
            .transpose()
    }

    /// As [`Conf::parsed`], with a value for an absent property.
    ///
    /// # Errors
    /// As [`Conf::parsed`].
    pub fn parsed_or<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        Ok(self.parsed(name)?.unwrap_or(default))
    }

    /// All properties, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Conf {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(properties: I) -> Self {
        let properties =
            properties.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { properties }
    }
}

fn short_type_name<T>() -> &'static str {
    match std::any::type_name::<T>() {
        "u64" | "u32" | "usize" => "whole number of at least 0",
        "i64" | "i32" => "whole number",
        "bool" => "true or false",
        "f64" => "number",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_wrong_value_is_named() {
        let conf: Conf = [("a", "12"), ("b", "many")].into_iter().collect();
        assert_eq!(conf.parsed_or("a", 0u64).unwrap(), 12);
        assert_eq!(conf.parsed_or("c", 5u64).unwrap(), 5);
        let error = conf.parsed::<u64>("b").unwrap_err().to_string();
        assert!(error.starts_with("the property b is 'many'"), "{error}");
    }
}
