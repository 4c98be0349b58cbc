//! Several inputs, several outputs, no output, and limits, in jobs that run in this process.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use hfs_mapreduce::files::Files;
use hfs_mapreduce::{
    Both, Emit, Job, Line, LocalOutcome, Mapper, NamedOutput, NullOutput, RangeInput, Reducer,
    Result, Source, Sum, Text, TextInput, Values, conf, job_counters, run_local,
};

job_counters! {
    /// What the jobs of these tests count.
    enum Seen: "seen" {
        /// Lines of text.
        Lines = "lines",
        /// Generated numbers.
        Numbers = "numbers",
    }
}

fn run(job: Result<Job>) -> Result<LocalOutcome> {
    run_local(&job.unwrap(), &Files::local(), &|_| {})
}

fn counter(outcome: &LocalOutcome, group: &str, name: &str) -> i64 {
    let found = outcome.counters.iter().find(|c| c.group == group && c.name == name);
    found.map_or(0, |counter| counter.value)
}

/// Every file below a directory with its content.
fn tree(dir: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let below = tree(&entry.path());
            files.extend(below.into_iter().map(|(path, text)| (format!("{name}/{path}"), text)));
        } else {
            files.push((name, std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
}

#[derive(Clone, Default)]
struct Words {
    prefix: String,
}

impl Mapper for Words {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn setup(&mut self, context: &mut hfs_mapreduce::Context) -> Result<()> {
        self.prefix = context.conf().get("test.prefix").unwrap_or_default().to_owned();
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        out.context().count_in(Seen::Lines, 1);
        let key = [self.prefix.as_bytes(), line.bytes].concat();
        out.emit(&key, 1)
    }

    fn cleanup(&mut self, out: &mut impl Emit<Text, u64>) -> Result<()> {
        out.emit(b"end of text", 1)
    }
}

#[derive(Clone)]
struct Numbers;

impl Mapper for Numbers {
    type Input = RangeInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, number: u64, out: &mut impl Emit<Text, u64>) -> Result<()> {
        out.context().count_in(Seen::Numbers, 1);
        out.emit(format!("n{}", number % 2).as_bytes(), 1)
    }

    fn cleanup(&mut self, out: &mut impl Emit<Text, u64>) -> Result<()> {
        out.emit(b"end of numbers", 1)
    }
}

#[test]
fn each_input_goes_through_its_own_mapper() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(dir.path().join("a"), "x\ny\nx\n").unwrap();
    std::fs::write(dir.path().join("b"), "x\n").unwrap();
    let numbers = || Source::new(Numbers).input_format(RangeInput::new(11, 2));
    let two = Both::new(Source::new(Words::default()).input(path("a")), numbers());
    let job = Job::map(two).combine(Sum).reduce(Sum).output(path("out")).reduces(1);
    let outcome = run(job.set("test.prefix", "w-").build()).unwrap();
    let expected = "end of numbers\t2\nend of text\t1\nn0\t6\nn1\t5\nw-x\t2\nw-y\t1\n";
    let success = ("_SUCCESS", "");
    assert_eq!(tree(&dir.path().join("out")), named(&[success, ("part-r-00000", expected)]));
    assert_eq!(outcome.maps, 3);
    assert_eq!(counter(&outcome, "seen", "lines"), 3);
    assert_eq!(counter(&outcome, "seen", "numbers"), 11);

    // A source may itself be of two.
    let two = Both::new(Source::new(Words::default()).input(path("a")), numbers());
    let three = Both::new(Source::new(two), Source::new(Words::default()).input(path("b")));
    let job = Job::map(three).combine(Sum).reduce(Sum).output(path("three")).reduces(1);
    run(job.build()).unwrap();
    let expected = "end of numbers\t2\nend of text\t2\nn0\t6\nn1\t5\nx\t3\ny\t1\n";
    assert_eq!(tree(&dir.path().join("three"))[1].1, expected);

    let absent = Both::new(Source::new(Words::default()).input(path("absent")), numbers());
    let error = run(Job::map(absent).reduce(Sum).output(path("none")).build()).unwrap_err();
    assert!(error.to_string().contains("absent does not exist"), "{error}");
}

/// Sums to the output, rare words also to one file for each count.
#[derive(Clone)]
struct Sorted {
    rare: Vec<NamedOutput<Text, u64>>,
}

impl Reducer<Text, u64> for Sorted {
    type OutKey = Text;
    type OutValue = u64;

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, u64>,
    ) -> Result<()> {
        let count: u64 = values.sum();
        if let Some(rare) = self.rare.get_mut(count as usize) {
            rare.emit(out.context(), key, count)?;
        }
        out.emit(key, count)
    }
}

fn sorted(names: &[&str]) -> Sorted {
    Sorted { rare: names.iter().map(|name| NamedOutput::new(*name)).collect() }
}

#[test]
fn named_outputs_stand_beside_the_others_and_only_where_something_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(dir.path().join("in"), "a\nb\nb\nc\n").unwrap();
    let job = |names: &[&str], output: &str| {
        let job = Job::map(Words::default()).reduce(sorted(names)).input(path("in"));
        job.output(path(output)).reduces(1).build()
    };
    let outcome = run(job(&["never", "rare/once", "rare/twice"], "out")).unwrap();
    assert_eq!(
        tree(&dir.path().join("out")),
        named(&[
            ("_SUCCESS", ""),
            ("part-r-00000", "a\t1\nb\t2\nc\t1\nend of text\t1\n"),
            ("rare/once-r-00000", "a\t1\nc\t1\nend of text\t1\n"),
            ("rare/twice-r-00000", "b\t2\n"),
        ])
    );
    let written = counter(&outcome, "FileSystemCounter", "FILE_BYTES_WRITTEN");
    assert_eq!(written, 26 + 22 + 4, "the named files count, too; map output stays in memory");

    // The same name twice is one file.
    run(job(&["x", "same", "same"], "same")).unwrap();
    let files = tree(&dir.path().join("same"));
    assert_eq!(files[2].1, "a\t1\nb\t2\nc\t1\nend of text\t1\n");

    let error = format!("{:#}", run(job(&["x", "part"], "bad")).unwrap_err());
    assert!(error.contains("can't have the name 'part'"), "{error}");
    assert!(!dir.path().join("bad").exists());
}

#[derive(Clone)]
struct SideEffect {
    side: NamedOutput<Text, ()>,
}

impl Mapper for SideEffect {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        self.side.emit(out.context(), line.bytes, ())
    }
}

#[test]
fn a_mapper_has_named_outputs_with_and_without_reducers() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(dir.path().join("in"), "a\nb\n").unwrap();
    let job = || Job::map(SideEffect { side: NamedOutput::new("side") }).input(path("in"));
    run(job().map_only().output(path("out")).build()).unwrap();
    let files = named(&[("_SUCCESS", ""), ("part-m-00000", ""), ("side-m-00000", "a\nb\n")]);
    assert_eq!(tree(&dir.path().join("out")), files);
    run(job().reduce(Sum).reduces(1).output(path("reduced")).build()).unwrap();
    let files = named(&[("_SUCCESS", ""), ("part-r-00000", ""), ("side-m-00000", "a\nb\n")]);
    assert_eq!(tree(&dir.path().join("reduced")), files);
    let error = run(job().map_only().output_format(NullOutput).build()).unwrap_err();
    assert!(format!("{error:#}").contains("no output directory"), "{error:#}");
}

#[test]
fn a_job_without_output_leaves_nothing_but_its_counters() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(dir.path().join("in"), "a\nb\n").unwrap();
    let job = Job::map(Words::default()).reduce(Sum).output_format(NullOutput).input(path("in"));
    let outcome = run(job.build()).unwrap();
    assert_eq!(counter(&outcome, "seen", "lines"), 2);
    assert_eq!(counter(&outcome, "TaskCounter", "REDUCE_OUTPUT_RECORDS"), 3);
    assert_eq!(tree(dir.path()).len(), 1, "nothing but the input is there");
    let job = Job::map(Words::default()).reduce(Sum).input(path("in")).build();
    assert!(job.unwrap_err().to_string().contains("no output directory"));
}

/// A counter for each line.
#[derive(Clone)]
struct CountsLines;

impl Mapper for CountsLines {
    type Input = TextInput;
    type Key = ();
    type Value = ();

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<(), ()>) -> Result<()> {
        out.context().increment("lines", std::str::from_utf8(line.bytes)?, 1);
        Ok(())
    }
}

#[test]
fn too_many_counters_fail_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let lines: String = (0..130).map(|number| format!("line {number}\n")).collect();
    std::fs::write(dir.path().join("in"), lines).unwrap();
    let job = || Job::map(CountsLines).map_only().output_format(NullOutput).input(path("in"));
    let error = format!("{:#}", run(job().build()).unwrap_err());
    assert!(error.contains("at most 120 counters; use fewer, or raise it with -D mapreduce.job"));
    // Each task alone has few enough, all together not.
    let split = || job().set(conf::SPLIT_MAX_BYTES, "400");
    let error = format!("{:#}", run(split().build()).unwrap_err());
    assert!(error.contains("at most 120 counters"), "{error}");
    let outcome = run(split().set(conf::COUNTERS_MAX, "130").build()).unwrap();
    assert!(outcome.maps > 1);
    assert_eq!(counter(&outcome, "lines", "line 129"), 1);
}
