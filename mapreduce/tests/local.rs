//! Whole jobs in this process, compared with the same result by the simplest means.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use hfs_mapreduce::files::Files;
use hfs_mapreduce::{
    Emit, Identity, Job, Line, LocalOutcome, Mapper, NoCombiner, Result, Sum, Text, TextInput,
    conf, run_local, words,
};
use proptest::prelude::*;

#[derive(Clone)]
struct Count;

impl Mapper for Count {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(line.bytes).try_for_each(|word| out.emit(word, 1))
    }
}

fn run(job: &Job) -> Result<LocalOutcome> {
    run_local(job, &Files::Local, &|_| {})
}

fn parts(output: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(output)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("part-"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Counts of all parts together; every part must be sorted.
fn counts(output: &Path) -> BTreeMap<Vec<u8>, u64> {
    assert!(output.join("_SUCCESS").exists());
    let mut counts = BTreeMap::new();
    for part in parts(output) {
        let mut last: Option<Vec<u8>> = None;
        for line in part.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let tab = line.iter().rposition(|&b| b == b'\t').unwrap();
            let word = line[..tab].to_vec();
            assert!(last.as_ref().is_none_or(|last| *last < word), "the part is sorted");
            let count = std::str::from_utf8(&line[tab + 1..]).unwrap().parse().unwrap();
            assert_eq!(counts.insert(word.clone(), count), None);
            last = Some(word);
        }
    }
    counts
}

fn naive(text: &[u8]) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for word in text.split(|byte| b" \t\n\r\x0c".contains(byte)).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_vec()).or_insert(0) += 1;
    }
    counts
}

fn text_of(words: usize, distinct: u64) -> Vec<u8> {
    let mut text = Vec::new();
    let mut state = 7u64;
    for number in 0..words {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 33) % distinct;
        text.extend_from_slice(
            format!("wörd{word}-{}", "x".repeat((word % 23) as usize)).as_bytes(),
        );
        text.extend_from_slice(if number % 11 == 0 { b"\r\n" } else { b" " });
    }
    text
}

#[test]
fn word_count_is_right_with_and_without_combiner_in_any_memory() {
    let dir = tempfile::tempdir().unwrap();
    let text = text_of(60_000, 9_000);
    std::fs::write(dir.path().join("in"), &text).unwrap();
    let expected = naive(&text);
    // 1 MiB of sort memory and merges of three runs: several spills, several passes.
    for (number, combining) in [true, false].into_iter().enumerate() {
        for (sort_mb, factor) in [("256", "128"), ("1", "3")] {
            let output = dir.path().join(format!("out-{number}-{sort_mb}"));
            let job = Job::map(Count);
            let settings = [(conf::SORT_MB, sort_mb), (conf::SORT_FACTOR, factor)];
            let input = dir.path().join("in").to_str().unwrap().to_owned();
            let target = output.to_str().unwrap().to_owned();
            macro_rules! finish {
                ($builder:expr) => {{
                    let builder = $builder.reduce(Sum).input(input).output(target).reduces(3);
                    settings.iter().fold(builder, |b, (name, value)| b.set(*name, *value)).build()
                }};
            }
            let job = if combining {
                finish!(job.combine(Sum))
            } else {
                finish!(job.combine(NoCombiner))
            };
            let outcome = run(&job.unwrap()).unwrap();
            assert_eq!(counts(&output), expected);
            let counter = |name: &str| {
                outcome.counters.iter().find(|c| c.name == name).map_or(0, |c| c.value)
            };
            assert_eq!(counter("MAP_OUTPUT_RECORDS"), 60_000);
            assert_eq!(counter("REDUCE_INPUT_GROUPS"), expected.len() as i64);
            assert_eq!(counter("REDUCE_OUTPUT_RECORDS"), expected.len() as i64);
        }
    }
}

#[test]
fn many_small_files_and_an_empty_one_are_input() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in/deep");
    std::fs::create_dir_all(&input).unwrap();
    let mut all = Vec::new();
    for number in 0..200 {
        let text = format!("a file{number}\nlast{number}");
        std::fs::write(input.join(format!("{number}.txt")), &text).unwrap();
        all.extend_from_slice(text.as_bytes());
        all.push(b' ');
    }
    std::fs::write(input.join("empty"), "").unwrap();
    std::fs::write(input.join("_hidden"), "not input").unwrap();
    let output = dir.path().join("out");
    let job = Job::map(Count)
        .combine(Sum)
        .reduce(Sum)
        .input(dir.path().join("in").to_str().unwrap())
        .output(output.to_str().unwrap())
        .build()
        .unwrap();
    let outcome = run(&job).unwrap();
    assert!(outcome.maps < 10, "small files share maps: {}", outcome.maps);
    assert_eq!(counts(&output), naive(&all));
}

#[derive(Clone)]
struct Lengths;

impl Mapper for Lengths {
    type Input = TextInput;
    type Key = (u64, Text);
    type Value = ();

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<(u64, Text), ()>) -> Result<()> {
        out.context().increment("lines", "seen", 1);
        out.emit((line.bytes.len() as u64, line.bytes), ())
    }
}

#[test]
fn composite_keys_sort_part_by_part() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in"), "ccc\nb\n\na\nbb\nb\n").unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let job = Job::map(Lengths).reduce(Identity).input(path("in")).output(path("out")).reduces(1);
    let outcome = run(&job.build().unwrap()).unwrap();
    let text = String::from_utf8(parts(&dir.path().join("out")).concat()).unwrap();
    assert_eq!(text, "0\t\n1\ta\n1\tb\n1\tb\n2\tbb\n3\tccc\n");
    assert!(outcome.counters.iter().any(|c| c.group == "lines" && c.value == 6));

    let job = Job::map(Lengths).map_only().input(path("in")).output(path("maps"));
    run(&job.build().unwrap()).unwrap();
    let text = String::from_utf8(parts(&dir.path().join("maps")).concat()).unwrap();
    assert_eq!(text.lines().count(), 6);
}

#[derive(Clone)]
struct Fails;

impl Mapper for Fails {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, _: &mut impl Emit<Text, u64>) -> Result<()> {
        anyhow::bail!("can't make sense of {:?}", String::from_utf8_lossy(line.bytes))
    }
}

#[test]
fn failures_are_sentences_and_leave_no_output() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(dir.path().join("in"), "fine\n").unwrap();
    let job = |input: &str| {
        Job::map(Fails).reduce(Sum).input(path(input)).output(path("out")).build().unwrap()
    };
    let error = format!("{:#}", run(&job("in")).unwrap_err());
    assert!(error.contains("in, at byte 0") && error.contains("sense of \"fine\""), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but the input is left");
    let error = run(&job("absent")).unwrap_err().to_string();
    assert!(error.contains("absent does not exist"), "{error}");
    std::fs::create_dir(dir.path().join("out")).unwrap();
    let error = run(&job("in")).unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_text_is_counted(
        text in prop::collection::vec(
            prop_oneof![2 => Just(b'a'), 2 => Just(b' '), 1 => Just(b'\n'), 2 => any::<u8>()], 0..2000,
        ),
        reduces in 1u32..4,
        split in 1u64..3000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in"), &text).unwrap();
        let output = dir.path().join("out");
        let job = Job::map(Count)
            .combine(Sum)
            .reduce(Sum)
            .input(dir.path().join("in").to_str().unwrap())
            .output(output.to_str().unwrap())
            .reduces(reduces)
            .set(conf::SPLIT_MAX_BYTES, split.max(text.len() as u64 / 8 + 1).to_string())
            .build()
            .unwrap();
        run(&job).unwrap();
        prop_assert_eq!(counts(&output), naive(&text));
    }
}
