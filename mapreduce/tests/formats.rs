//! Kinds of input and output, in whole jobs in this process.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use hfs_mapreduce::files::Files;
use hfs_mapreduce::{
    BatchReader, Codec, Conf, Context, Emit, FixedLengthInput, FixedRecord, InputFormat, Job,
    KeyValue, KeyValueTextInput, LazyOutput, Line, LocalOutcome, Mapper, NLineInput, ReadCounts,
    Result, SequenceFileInput, SequenceFileOutput, SplitContext, Sum, Text, TextInput, TextOutput,
    WholeFile, WholeFileInput, conf, run_local, words,
};
use hfs_protocol::proto::task::InputSplit;

fn run(job: &Job) -> Result<LocalOutcome> {
    run_local(job, &Files::local(), &|_| {})
}

/// The files of an output by name, without `_SUCCESS`.
fn files(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(output).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name != "_SUCCESS" {
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
    files
}

fn lines(output: &Path) -> Vec<String> {
    let text = files(output).into_values().flatten().collect();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

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

#[test]
fn compressed_output_is_input_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let text: String = (0..20_000).map(|n| format!("w{} {}\n", n % 13, n * 7919 % 1009)).collect();
    std::fs::write(path("in"), &text).unwrap();
    let job = |input: &str, output: &str| {
        Job::map(Count).combine(Sum).reduce(Sum).reduces(1).input(path(input)).output(path(output))
    };
    run(&job("in", "plain").build().unwrap()).unwrap();
    let plain = files(Path::new(&path("plain")))["part-r-00000"].clone();
    for codec in [Codec::Deflate, Codec::Gzip, Codec::Bzip2, Codec::Zstd, Codec::Lz4] {
        let packed = format!("packed-{}", codec.name());
        let outcome = run(&job("in", &packed).compress_output(codec).build().unwrap()).unwrap();
        let written = files(Path::new(&path(&packed)));
        let name = format!("part-r-00000{}", codec.extension());
        assert_eq!(written.keys().collect::<Vec<_>>(), [&name]);
        assert!(written[&name].len() < plain.len() * 2 / 3, "{codec:?}");
        let bytes = outcome.counters.iter().find(|c| c.name == "FILE_BYTES_WRITTEN").unwrap().value;
        assert!(bytes >= written[&name].len() as i64);
        // Each line of the counts is a key again: those of the plain output and of the compressed.
        let (once, again) = (format!("once-{}", codec.name()), format!("again-{}", codec.name()));
        run(&job("plain", &once).build().unwrap()).unwrap();
        run(&job(&packed, &again).build().unwrap()).unwrap();
        assert!(files(Path::new(&path(&once))) == files(Path::new(&path(&again))), "{codec:?}");
    }
    // The user's word counts more than the program's, and a wrong one is a sentence.
    let mut wrong = job("in", "wrong").compress_output(Codec::Gzip).build().unwrap();
    wrong.override_conf(&[(conf::OUTPUT_CODEC, "SnappyCodec")].into_iter().collect());
    let said = format!("{:#}", run(&wrong).unwrap_err());
    assert!(said.contains("no compression codec 'SnappyCodec'"), "{said}");
    let mut plain_again = job("in", "plain2").compress_output(Codec::Gzip).build().unwrap();
    plain_again.override_conf(&[(conf::OUTPUT_COMPRESS, "false")].into_iter().collect());
    run(&plain_again).unwrap();
    assert_eq!(files(Path::new(&path("plain2")))["part-r-00000"], plain);
}

/// Emits where each line comes from.
#[derive(Clone)]
struct Where {
    first: String,
}

impl Mapper for Where {
    type Input = TextInput;
    type Key = Text;
    type Value = Text;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.first = context.input_split().unwrap().path;
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let split = out.context().input_split().unwrap();
        // Where programs of Hadoop look for it.
        let conf = out.context().conf();
        let file = format!("file:{}", split.path);
        assert_eq!(conf.get(conf::MAP_INPUT_FILE), Some(file.as_str()));
        assert_eq!(conf.parsed(conf::MAP_INPUT_START).unwrap(), Some(split.start));
        assert_eq!(conf.parsed(conf::MAP_INPUT_LENGTH).unwrap(), Some(split.length));
        let name = Path::new(&split.path).file_name().unwrap().to_str().unwrap();
        let place = format!("{name} {}+{} {}", split.start, split.length, self.first.is_empty());
        out.emit(line.bytes, place.as_bytes())
    }
}

#[test]
fn a_mapper_can_ask_which_file_its_record_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("in")).unwrap();
    // Three small files are one split; the large one is two.
    for (name, text) in [("a", "1\n2\n"), ("b", "3\n"), ("c", "4")] {
        std::fs::write(path(&format!("in/{name}")), text).unwrap();
    }
    let large = "large\n".repeat(1_200_000 / 6);
    std::fs::write(path("in/large"), &large).unwrap();
    let job = Job::map(Where { first: String::new() })
        .map_only()
        .set(conf::SPLIT_MAX_BYTES, "600000")
        .input(path("in"))
        .output(path("out"))
        .build()
        .unwrap();
    run(&job).unwrap();
    let mut found = lines(Path::new(&path("out")));
    found.sort();
    found.dedup();
    let half = large.len() / 2;
    let expected = [
        "1\ta 0+4 false".to_owned(),
        "2\ta 0+4 false".to_owned(),
        "3\tb 0+2 false".to_owned(),
        "4\tc 0+1 false".to_owned(),
        format!("large\tlarge 0+{half} false"),
        format!("large\tlarge {half}+{half} false"),
    ];
    assert_eq!(found, expected);
}

/// Emits keys and values as they are, and where they come from.
#[derive(Clone)]
struct Pairs;

impl Mapper for Pairs {
    type Input = KeyValueTextInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, pair: KeyValue<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        out.emit(pair.key, &[b"[", pair.value, b"]"].concat())
    }
}

#[test]
fn lines_are_keys_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("tab"), "a\tb\tc\nkey\n\tvalue\n\n").unwrap();
    std::fs::write(path("other"), "a::b:c::d\r\n::\nx:y").unwrap();
    let job = |input: &str, output: &str, separator: Option<&str>| {
        let job = Job::map(Pairs).map_only().input(path(input)).output(path(output));
        let job = match separator {
            Some(separator) => job.set(conf::KEY_VALUE_SEPARATOR, separator),
            None => job,
        };
        run(&job.build().unwrap())
    };
    job("tab", "out1", None).unwrap();
    assert_eq!(lines(Path::new(&path("out1"))), ["a\t[b\tc]", "key\t[]", "\t[value]", "\t[]"]);
    job("other", "out2", Some("::")).unwrap();
    assert_eq!(lines(Path::new(&path("out2"))), ["a\t[b:c::d]", "\t[]", "x:y\t[]"]);
    job("other", "out3", Some(":")).unwrap();
    assert_eq!(lines(Path::new(&path("out3"))), ["a\t[:b:c::d]", "\t[:]", "x\t[y]"]);
    assert!(format!("{:#}", job("tab", "out4", Some("")).unwrap_err()).contains("separator"));
}

/// Emits the number of the map, and each line.
#[derive(Clone)]
struct Numbered;

impl Mapper for Numbered {
    type Input = NLineInput;
    type Key = u32;
    type Value = Text;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<u32, Text>) -> Result<()> {
        let index = out.context().index();
        out.emit(index, line.bytes)
    }
}

#[test]
fn every_map_has_so_many_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("in")).unwrap();
    std::fs::write(path("in/a"), "\n\na2\r\n\n\na5\na6\n").unwrap();
    std::fs::write(path("in/b"), "b0\nb1").unwrap();
    std::fs::write(path("in/c"), "").unwrap();
    for (count, expected) in [
        (1, vec![1; 9]),
        (2, vec![2, 2, 2, 1, 2]),
        (3, vec![3, 3, 1, 2]),
        (7, vec![7, 2]),
        (100, vec![7, 2]),
    ] {
        let output = path(&format!("out{count}"));
        let job = Job::map(Numbered)
            .map_only()
            .set(conf::LINES_PER_MAP, count.to_string())
            .input(path("in"))
            .output(output.as_str())
            .build()
            .unwrap();
        let outcome = run(&job).unwrap();
        assert_eq!(outcome.maps, expected.len());
        let found = lines(Path::new(&output));
        let bare: Vec<_> = found.iter().map(|line| line.split_once('\t').unwrap().1).collect();
        assert_eq!(bare, ["", "", "a2", "", "", "a5", "a6", "b0", "b1"], "{count} lines");
        let sizes: Vec<_> = (0..expected.len())
            .map(|map| found.iter().filter(|line| line.starts_with(&format!("{map}\t"))).count())
            .collect();
        assert_eq!(sizes, expected, "{count} lines");
    }
    std::fs::write(path("in/d.gz"), "").unwrap();
    let job = Job::map(Numbered).map_only().input(path("in")).output(path("none")).build().unwrap();
    assert!(format!("{:#}", run(&job).unwrap_err()).contains("d.gz is compressed"));
}

/// Emits records as text.
#[derive(Clone)]
struct Fixed(FixedLengthInput);

impl Mapper for Fixed {
    type Input = FixedLengthInput;
    type Key = u64;
    type Value = Text;

    fn input(&self) -> FixedLengthInput {
        self.0
    }

    fn map(&mut self, record: FixedRecord<'_>, out: &mut impl Emit<u64, Text>) -> Result<()> {
        out.emit(record.offset, record.bytes)
    }
}

#[test]
fn records_of_one_length_are_told_apart_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let text: Vec<u8> = (0..300_000u32).flat_map(|n| format!("{n:07}").into_bytes()).collect();
    std::fs::write(path("plain"), &text).unwrap();
    let mut packed = Files::local().create(&path("packed.gz")).unwrap().compressed(Codec::Gzip);
    packed.write_all(&text).unwrap();
    packed.close().unwrap();
    let expected: Vec<_> = (0..300_000u64).map(|n| format!("{}\t{n:07}", n * 7)).collect();
    for (input, maps) in [("plain", 3), ("packed.gz", 1)] {
        let output = path(&format!("out-{input}"));
        let job = Job::map(Fixed(FixedLengthInput::default()))
            .map_only()
            .set(conf::FIXED_RECORD_LENGTH, "7")
            .set(conf::SPLIT_MAX_BYTES, "1000000")
            .input(path(input))
            .output(output.as_str())
            .build()
            .unwrap();
        let outcome = run(&job).unwrap();
        assert_eq!(outcome.maps, maps, "{input}");
        let mut found = lines(Path::new(&output));
        found.sort_by_key(|line| line.split_once('\t').unwrap().0.parse::<u64>().unwrap());
        assert!(found == expected, "{input}");
        let job = Job::map(Fixed(FixedLengthInput::new(8 * 1024 + 1)))
            .map_only()
            .input(path(input))
            .output(path("none"))
            .build()
            .unwrap();
        let said = format!("{:#}", run(&job).unwrap_err());
        assert!(said.contains(input) && said.contains("record"), "{said}");
    }
    let unknown = Job::map(Fixed(FixedLengthInput::default()))
        .map_only()
        .input(path("plain"))
        .output(path("none"))
        .build()
        .unwrap();
    assert!(format!("{:#}", run(&unknown).unwrap_err()).contains("fixedlengthinputformat"));
}

/// Emits names and sizes.
#[derive(Clone)]
struct Sizes;

impl Mapper for Sizes {
    type Input = WholeFileInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, file: WholeFile<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        assert_eq!(out.context().input_split().unwrap().path, file.path);
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let sum = file.bytes.iter().map(|&byte| u64::from(byte)).sum();
        out.emit(name.as_bytes(), sum)
    }
}

#[test]
fn files_are_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("in")).unwrap();
    std::fs::write(path("in/one"), vec![1; 3_000_000]).unwrap();
    std::fs::write(path("in/two.gz"), [2, 0, 2, 0]).unwrap();
    std::fs::write(path("in/empty"), []).unwrap();
    let job = |output: &str, most: &str| {
        Job::map(Sizes)
            .map_only()
            .set(conf::WHOLE_FILE_MAX_BYTES, most)
            .input(path("in"))
            .output(path(output))
            .build()
            .unwrap()
    };
    run(&job("out", "3000000")).unwrap();
    let mut found = lines(Path::new(&path("out")));
    found.sort();
    assert_eq!(found, ["empty\t0", "one\t3000000", "two.gz\t4"]);
    let said = format!("{:#}", run(&job("none", "2999999")).unwrap_err());
    assert!(said.contains("in/one has 3000000 bytes"), "{said}");
}

/// Passes on what a sequence file holds.
#[derive(Clone)]
struct Again;

impl Mapper for Again {
    type Input = SequenceFileInput<Text, u64>;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, (word, count): (&[u8], u64), out: &mut impl Emit<Text, u64>) -> Result<()> {
        out.emit(word, count)
    }
}

#[test]
fn a_sequence_file_holds_what_text_output_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let text: String = (0..50_000).map(|n| format!("w{} {}\n", n % 13, n * 7919 % 9973)).collect();
    std::fs::write(path("in"), &text).unwrap();
    let count = || Job::map(Count).combine(Sum).reduce(Sum).reduces(2).input(path("in"));
    run(&count().output(path("text")).build().unwrap()).unwrap();
    let expected = lines(Path::new(&path("text")));
    for kind in ["NONE", "RECORD", "BLOCK"] {
        let (stored, shown) = (path(&format!("stored-{kind}")), path(&format!("shown-{kind}")));
        let job = count()
            .output_format(SequenceFileOutput)
            .compress_output(Codec::Zstd)
            .set(conf::OUTPUT_COMPRESS_TYPE, kind)
            .output(stored.as_str());
        run(&job.build().unwrap()).unwrap();
        assert_eq!(
            files(Path::new(&stored)).into_keys().collect::<Vec<_>>(),
            ["part-r-00000", "part-r-00001"]
        );
        let job = Job::map(Again).map_only().input(stored).output(shown.as_str()).build().unwrap();
        run(&job).unwrap();
        let (mut found, mut expected) = (lines(Path::new(&shown)), expected.clone());
        found.sort();
        expected.sort();
        assert!(found == expected, "{kind}");
    }
    let wrong = count()
        .output_format(SequenceFileOutput)
        .compress_output(Codec::Zstd)
        .set(conf::OUTPUT_COMPRESS_TYPE, "SOME")
        .output(path("wrong"))
        .build()
        .unwrap();
    assert!(format!("{:#}", run(&wrong).unwrap_err()).contains("NONE, RECORD or BLOCK"));
    // A text file is no sequence file, and that is said with its name.
    let job = Job::map(Again).map_only().input(path("in")).output(path("none")).build().unwrap();
    let said = format!("{:#}", run(&job).unwrap_err());
    assert!(said.contains("/in is damaged at byte 0") && said.contains("sequence file"), "{said}");
}

/// An input whose reader panics.
#[derive(Clone, Default)]
struct Broken;

struct BrokenReader;

impl InputFormat for Broken {
    type Record<'a> = ();
    type Batch<'a> = std::iter::Empty<()>;
    type Reader = BrokenReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        TextInput.splits(context)
    }

    fn open(&self, _: &InputSplit, _: &Files, _: &Conf) -> Result<BrokenReader> {
        Ok(BrokenReader)
    }
}

impl BatchReader<Broken> for BrokenReader {
    fn next_batch(&mut self) -> Result<Option<std::iter::Empty<()>>> {
        panic!("the decoder met the impossible")
    }

    fn fraction(&self) -> f64 {
        0.0
    }

    fn position(&self) -> String {
        "the broken file".to_owned()
    }

    fn take_counts(&mut self) -> ReadCounts {
        ReadCounts::default()
    }
}

#[derive(Clone)]
struct Nothing;

impl Mapper for Nothing {
    type Input = Broken;
    type Key = ();
    type Value = ();

    fn map(&mut self, (): (), _: &mut impl Emit<(), ()>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_panics_fails_its_task_with_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("in"), "text").unwrap();
    let job = Job::map(Nothing).map_only().input(path("in")).output(path("out")).build().unwrap();
    let said = format!("{:#}", run(&job).unwrap_err());
    assert!(said.contains("reading the broken file failed"), "{said}");
    assert!(said.contains("the decoder met the impossible"), "{said}");
    assert!(!Path::new(&path("out")).exists());
}

/// Hadoop's `LazyOutputFormat`: of eight reduces those without a record have no file, and the others what they would
/// have without it.
#[test]
fn a_lazy_output_has_no_empty_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("in"), "b a b\n").unwrap();
    std::fs::write(path("empty"), "").unwrap();
    let count = |input: &str, output: &str| {
        Job::map(Count).reduce(Sum).reduces(8).input(path(input)).output(path(output))
    };
    run(&count("in", "all").build().unwrap()).unwrap();
    let lazy =
        |input: &str, output: &str| count(input, output).output_format(LazyOutput(TextOutput));
    let outcome = run(&lazy("in", "lazy").build().unwrap()).unwrap();
    let mut all = files(&dir.path().join("all"));
    assert_eq!(all.len(), 8);
    all.retain(|_, bytes| !bytes.is_empty());
    assert!((1..=2).contains(&all.len()));
    assert_eq!(files(&dir.path().join("lazy")), all);
    assert!(outcome.counters.iter().any(|c| c.name == "REDUCE_OUTPUT_RECORDS" && c.value == 2));
    run(&lazy("empty", "none").build().unwrap()).unwrap();
    assert!(files(&dir.path().join("none")).is_empty());
    assert!(dir.path().join("none/_SUCCESS").exists());
}
