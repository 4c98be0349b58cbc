//! Skip mode in a local run: records and groups that user code can't take are left out, with all they had emitted.
#![allow(clippy::unwrap_used)]

use hfs_mapreduce::files::Files;
use hfs_mapreduce::{
    Emit, Job, Line, LocalOutcome, Mapper, Reducer, Result, Text, TextInput, Values, run_local,
    words,
};

/// Emits the words of a line, and fails after the first "bad".
#[derive(Clone)]
struct Words;

impl Mapper for Words {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        for word in words(line.bytes) {
            out.emit(word, 1)?;
            anyhow::ensure!(word != b"bad", "a bad word");
        }
        Ok(())
    }
}

/// Emits each value of a group with its sum so far, and panics in the group "odd" after the first.
#[derive(Clone)]
struct Sums;

impl Reducer<Text, u64> for Sums {
    type OutKey = Text;
    type OutValue = u64;

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, u64>,
    ) -> Result<()> {
        let mut sum = 0;
        for value in values {
            sum += value;
            out.emit(key, sum)?;
            assert!(key != b"odd", "an odd group");
        }
        Ok(())
    }
}

fn run(properties: &[(&str, &str)]) -> Result<(LocalOutcome, String)> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("in"), "a odd\nb bad c\nodd odd a\nbad\nb\n")?;
    let mut job = Job::map(Words).reduce(Sums).reduces(1).input(path("in")).output(path("out"));
    for (name, value) in properties {
        job = job.set(*name, *value);
    }
    let outcome = run_local(&job.build()?, &Files::local(), &|_| {})?;
    Ok((outcome, std::fs::read_to_string(path("out/part-r-00000"))?))
}

#[test]
fn bad_records_and_groups_are_left_out_whole_and_counted() {
    let skip = [("mapreduce.map.skip.maxrecords", "1"), ("mapreduce.reduce.skip.maxgroups", "1")];
    let (outcome, output) = run(&skip).unwrap();
    assert_eq!(output, "a\t1\na\t2\nb\t1\n");
    let counted = |name: &str| outcome.counters.iter().find(|c| c.name == name).map(|c| c.value);
    for (name, expected) in [
        ("MAP_INPUT_RECORDS", 3),
        ("MAP_SKIPPED_RECORDS", 2),
        ("MAP_OUTPUT_RECORDS", 6),
        ("REDUCE_INPUT_GROUPS", 2),
        ("REDUCE_INPUT_RECORDS", 3),
        ("REDUCE_SKIPPED_GROUPS", 1),
        ("REDUCE_SKIPPED_RECORDS", 3),
        ("REDUCE_OUTPUT_RECORDS", 3),
    ] {
        assert_eq!(counted(name), Some(expected), "{name}");
    }
}

#[test]
fn nothing_is_left_out_unasked() {
    let error = format!("{:#}", run(&[]).unwrap_err());
    assert!(error.contains("a bad word"), "{error}");
    let error = format!("{:#}", run(&[("mapreduce.map.skip.maxrecords", "1")]).unwrap_err());
    assert!(error.contains("an odd group") && error.contains("the key odd"), "{error}");
    let error = format!("{:#}", run(&[("mapreduce.map.skip.maxrecords", "few")]).unwrap_err());
    assert!(error.contains("mapreduce.map.skip.maxrecords is 'few'"), "{error}");
}
