//! What a command finds in its environment. Pure.

use hfs_protocol::ids::{AttemptId, TaskKind};

use crate::conf::{Conf, MAP_INPUT_FILE, MAP_INPUT_LENGTH, MAP_INPUT_START};

/// The longest value: the system refuses variables of 128 KiB, and the command with them.
const MAX_VALUE_BYTES: usize = 100_000;
/// Values are cut at so many bytes; -1: at [`MAX_VALUE_BYTES`].
const TRUNCATE_LIMIT: &str = "stream.jobconf.truncate.limit";

/// A property's name as the name of a variable: all but letters and digits turn to underscores.
pub(super) fn variable(property: &str) -> String {
    property.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The job's properties and those of a task, as variables. Later ones win.
pub(super) fn variables(conf: &Conf, task: &[(&str, String)]) -> Vec<(String, String)> {
    let limit: i64 = conf.parsed_or(TRUNCATE_LIMIT, -1).unwrap_or(-1);
    let limit = usize::try_from(limit).unwrap_or(MAX_VALUE_BYTES).min(MAX_VALUE_BYTES);
    let task = task.iter().map(|(name, value)| (*name, value.as_str()));
    conf.iter()
        .chain(task)
        .filter_map(|(name, value)| {
            // A variable can hold no zero byte.
            let value = value.split('\0').next()?;
            let end =
                (0..=limit.min(value.len())).rev().find(|&end| value.is_char_boundary(end))?;
            Some((variable(name), value[..end].to_owned()))
        })
        .collect()
}

/// What Hadoop adds to the configuration of a task, by its names of today and the two or three old ones
/// that scripts still read.
pub(super) fn task_properties(attempt: &str, reduces: u32) -> Vec<(&'static str, String)> {
    let Ok(id) = attempt.parse::<AttemptId>() else { return Vec::new() };
    let is_map = id.task.kind == TaskKind::Map;
    vec![
        ("mapreduce.job.id", id.task.job.to_string()),
        ("mapreduce.task.id", id.task.to_string()),
        ("mapreduce.task.attempt.id", attempt.to_owned()),
        ("mapreduce.task.ismap", is_map.to_string()),
        ("mapreduce.task.partition", id.task.index.to_string()),
        ("mapreduce.job.reduces", reduces.to_string()),
        ("mapred.job.id", id.task.job.to_string()),
        ("mapred.tip.id", id.task.to_string()),
        ("mapred.task.id", attempt.to_owned()),
        ("mapred.task.is.map", is_map.to_string()),
        ("mapred.task.partition", id.task.index.to_string()),
    ]
}

/// What is known of the part of a file that a map reads.
pub(super) fn input_properties(file: &str, start: u64, length: u64) -> Vec<(&'static str, String)> {
    vec![
        (MAP_INPUT_FILE, file.to_owned()),
        (MAP_INPUT_START, start.to_string()),
        (MAP_INPUT_LENGTH, length.to_string()),
        ("map.input.file", file.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_become_variables() {
        let long = "ä".repeat(MAX_VALUE_BYTES);
        let conf: Conf = [("a.b-c", "1"), ("mapreduce.job.id", "old"), ("long", long.as_str())]
            .into_iter()
            .collect();
        let found = variables(&conf, &task_properties("attempt_7_0003_r_000002_1", 5));
        let last = |name: &str| {
            found.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(last("a_b_c"), Some("1"));
        assert_eq!(last("mapreduce_job_id"), Some("job_7_0003"));
        assert_eq!(last("mapreduce_task_id"), Some("task_7_0003_r_000002"));
        assert_eq!(last("mapreduce_task_ismap"), Some("false"));
        assert_eq!(last("mapreduce_task_partition"), Some("2"));
        assert_eq!(last("mapreduce_job_reduces"), Some("5"));
        assert_eq!(last("long").map(str::len), Some(MAX_VALUE_BYTES));
        let conf: Conf = [(TRUNCATE_LIMIT, "3"), ("x", "abcdef")].into_iter().collect();
        assert!(variables(&conf, &[]).contains(&("x".into(), "abc".into())));
    }
}
