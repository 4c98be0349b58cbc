//! Whole jobs in this process, compared with the same result by the simplest means.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use hfs_mapreduce::files::Files;
use hfs_mapreduce::{
    Emit, First, Identity, Job, Line, LocalOutcome, Mapper, NoCombiner, Reducer, Result, Reverse,
    Sum, Text, TextInput, TotalOrderPartitioner, Values, conf, run_local, words,
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
    run_local(job, &Files::local(), &|_| {})
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
    // 1 MiB of sort memory and merges of three runs: several spills, several passes. Map output stays in memory:
    // none of it, all, or as much as fits.
    let memories = [
        ("256", "128", "0"),
        ("1", "3", "0"),
        ("256", "128", "64"),
        ("1", "3", "64"),
        ("1", "3", "1"),
    ];
    for (number, combining) in [true, false].into_iter().enumerate() {
        for (sort_mb, factor, kept_mb) in memories {
            let output = dir.path().join(format!("out-{number}-{sort_mb}-{kept_mb}"));
            let job = Job::map(Count);
            let settings = [
                (conf::SORT_MB, sort_mb),
                (conf::SORT_FACTOR, factor),
                (conf::LOCAL_KEPT_MB, kept_mb),
            ];
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
            assert_eq!(counter("SHUFFLED_MAPS"), outcome.maps as i64 * 3);
            // Without a combiner the output takes more than 1 MiB, in any case more than one spill.
            let spills = kept_mb == "0" || (kept_mb == "1" && !combining);
            assert_eq!(counter("SPILLED_RECORDS") > 0, spills, "{sort_mb} {kept_mb}");
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

#[test]
fn reduces_that_nobody_counted_are_no_more_than_the_input_is_worth() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("in"), "few words").unwrap();
    let job = |output: &str| {
        Job::map(Count).combine(Sum).reduce(Sum).input(path("in")).output(path(output))
    };
    assert_eq!(run(&job("one").build().unwrap()).unwrap().reduces, 1);
    assert_eq!(run(&job("said").reduces(5).build().unwrap()).unwrap().reduces, 5);
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

#[derive(Clone)]
struct Visits;

impl Mapper for Visits {
    type Input = TextInput;
    type Key = (Text, Reverse<u64>);
    type Value = Text;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Self::Key, Text>) -> Result<()> {
        let mut fields = line.bytes.split(|&byte| byte == b' ');
        let (Some(user), Some(time), Some(page)) = (fields.next(), fields.next(), fields.next())
        else {
            anyhow::bail!("not three fields")
        };
        out.emit((user, std::str::from_utf8(time)?.parse()?), page)
    }
}

/// One line a user: the last visits, latest first. Takes no more than `most` values.
#[derive(Clone)]
struct Latest {
    most: usize,
}

impl Reducer<(Text, Reverse<u64>), Text> for Latest {
    type OutKey = Text;
    type OutValue = Text;

    fn reduce(
        &mut self,
        (user, _): (&[u8], u64),
        visits: &mut Values<'_, '_, Text>,
        out: &mut impl Emit<Text, Text>,
    ) -> Result<()> {
        let mut line = Vec::new();
        for _ in 0..self.most {
            let Some(((also, time), page)) = visits.next_with_key::<(Text, Reverse<u64>)>() else {
                break;
            };
            assert_eq!(also, user);
            line.extend_from_slice(format!("{time}:").as_bytes());
            line.extend_from_slice(page);
            line.push(b' ');
        }
        out.emit(user, &line)
    }
}

#[test]
fn values_of_a_group_come_in_the_order_of_the_rest_of_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (mut text, mut expected) = (String::new(), BTreeMap::<String, Vec<u64>>::new());
    for number in 0..20_000u64 {
        let (user, time) = (format!("user{}", number % 37), number.wrapping_mul(7919) % 100_003);
        text.push_str(&format!("{user} {time} page{number}\n"));
        expected.entry(user).or_default().push(time);
    }
    std::fs::write(dir.path().join("in"), text).unwrap();
    for (most, partitioned) in [(usize::MAX, false), (3, true)] {
        let builder = Job::map(Visits).group_by(First);
        let output = path(&format!("out-{most}"));
        macro_rules! finish {
            ($builder:expr) => {
                $builder
                    .reduce(Latest { most })
                    .input(path("in"))
                    .output(output.as_str())
                    .reduces(3)
                    .set(conf::SORT_MB, "1")
                    .set(conf::SPLIT_MAX_BYTES, "100000")
                    .build()
                    .unwrap()
            };
        }
        let job = if partitioned {
            finish!(builder.partition(TotalOrderPartitioner::by_groups(First)))
        } else {
            finish!(builder)
        };
        let outcome = run(&job).unwrap();
        let counter = |name: &str| outcome.counters.iter().find(|c| c.name == name).unwrap().value;
        assert_eq!(counter("REDUCE_INPUT_GROUPS"), 37);
        assert_eq!(counter("REDUCE_INPUT_RECORDS"), 20_000);
        let all = String::from_utf8(parts(Path::new(&output)).concat()).unwrap();
        assert!(!partitioned || all.lines().is_sorted(), "parts one after another are sorted");
        let mut seen = 0;
        for line in all.lines() {
            let (user, visits) = line.split_once('\t').unwrap();
            let times: Vec<u64> = visits
                .split_whitespace()
                .map(|visit| visit.split_once(':').unwrap().0.parse().unwrap())
                .collect();
            let mut wanted = expected[user].clone();
            wanted.sort_unstable_by(|a, b| b.cmp(a));
            wanted.truncate(most);
            assert_eq!(times, wanted);
            seen += 1;
        }
        assert_eq!(seen, 37);
    }
}

#[test]
fn a_total_order_job_makes_sorted_files_of_about_equal_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let text = text_of(40_000, 30_000);
    std::fs::write(dir.path().join("in"), &text).unwrap();
    let job = Job::map(Count)
        .partition(TotalOrderPartitioner::sampled())
        .reduce(Sum)
        .input(path("in"))
        .output(path("out"))
        .reduces(4)
        .build()
        .unwrap();
    run(&job).unwrap();
    assert_eq!(counts(&dir.path().join("out")), naive(&text));
    let parts = parts(&dir.path().join("out"));
    let words = parts.concat();
    let words: Vec<_> = words
        .split(|&byte| byte == b'\n')
        .map(|line| line.split(|&byte| byte == b'\t').next().unwrap())
        .filter(|word| !word.is_empty())
        .collect();
    assert!(words.is_sorted());
    let share = parts.iter().map(Vec::len).sum::<usize>() / 4;
    let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|&size| size.abs_diff(share) < share / 4), "{sizes:?}");
}

/// Keeps the two largest values of each key: not expressible as a fold of single values.
#[derive(Clone)]
struct TopTwo;

impl Reducer<Text, u64> for TopTwo {
    type OutKey = Text;
    type OutValue = u64;

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, u64>,
    ) -> Result<()> {
        let mut all: Vec<u64> = values.collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.into_iter().take(2).try_for_each(|value| out.emit(key, value))
    }
}

#[derive(Clone)]
struct Numbered;

impl Mapper for Numbered {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        let (word, number) = std::str::from_utf8(line.bytes)?.split_once(' ').unwrap();
        out.emit(word.as_bytes(), number.parse()?)
    }
}

#[test]
fn a_reducer_as_combiner_shrinks_spills_and_changes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let lines: String =
        (0..200_000).map(|n| format!("w{} {}\n", n % 13, n * 7919 % 1_000_003)).collect();
    std::fs::write(dir.path().join("in"), lines).unwrap();
    let run_with = |combine: bool, output: &str| {
        let builder = Job::map(Numbered);
        macro_rules! finish {
            ($builder:expr) => {
                $builder
                    .reduce(TopTwo)
                    .input(path("in"))
                    .output(path(output))
                    .reduces(2)
                    .set(conf::SORT_MB, "1")
                    .set(conf::SORT_FACTOR, "3")
                    .build()
                    .unwrap()
            };
        }
        let job = if combine { finish!(builder.combine_with(TopTwo)) } else { finish!(builder) };
        run(&job).unwrap()
    };
    let plain = run_with(false, "plain");
    let combined = run_with(true, "combined");
    assert_eq!(parts(&dir.path().join("plain")), parts(&dir.path().join("combined")));
    let counter = |outcome: &LocalOutcome, name: &str| {
        outcome.counters.iter().find(|c| c.name == name).map_or(0, |c| c.value)
    };
    assert_eq!(counter(&plain, "COMBINE_INPUT_RECORDS"), 0);
    assert_eq!(counter(&plain, "REDUCE_INPUT_RECORDS"), 200_000);
    assert!(counter(&combined, "COMBINE_INPUT_RECORDS") >= 200_000);
    assert!(counter(&combined, "REDUCE_INPUT_RECORDS") < 500);
}

/// A combiner that changes the key, which could belong elsewhere.
#[derive(Clone)]
struct Renames;

impl Reducer<Text, u64> for Renames {
    type OutKey = Text;
    type OutValue = u64;

    fn reduce(
        &mut self,
        _: &[u8],
        _: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, u64>,
    ) -> Result<()> {
        out.emit(b"another", 1)
    }
}

#[test]
fn a_combiner_that_changes_keys_fails_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(dir.path().join("in"), "a 1\nb 2\n").unwrap();
    let job = Job::map(Numbered)
        .combine_with(Renames)
        .reduce(Sum)
        .input(path("in"))
        .output(path("out"))
        .build()
        .unwrap();
    let error = format!("{:#}", run(&job).unwrap_err());
    assert!(error.contains("the combiner failed: it emitted a key other"), "{error}");
}

/// Emits the words of a cached file and of a file in a cached archive that its lines name.
#[derive(Clone)]
struct Cached;

impl Mapper for Cached {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        let name = std::str::from_utf8(line.bytes)?;
        let content = std::fs::read(out.context().cached(name))?;
        words(&content).try_for_each(|word| out.emit(word, 1))
    }
}

#[test]
fn cache_files_and_archives_are_in_the_working_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("in"), "list\nlib/deep/f\n").unwrap();
    std::fs::write(path("words.txt"), "a b a").unwrap();
    std::fs::create_dir_all(path("deep")).unwrap();
    std::fs::write(path("deep/f"), "b c").unwrap();
    let packed = std::process::Command::new("tar")
        .args(["czf", &path("lib.tgz"), "-C", dir.path().to_str().unwrap(), "deep"])
        .status();
    assert!(packed.unwrap().success());
    let job = Job::map(Cached)
        .reduce(Sum)
        .cache_file(format!("{}#list", path("words.txt")))
        .cache_archive(format!("{}#lib", path("lib.tgz")))
        .input(path("in"))
        .output(path("out"))
        .build()
        .unwrap();
    run(&job).unwrap();
    assert_eq!(counts(&dir.path().join("out")), naive(b"a b a b c"));
    assert!(dir.path().join("words.txt").exists(), "only the link to it goes");
}
