//! Every example, over a small input on a cluster and with `--local`: the same bytes in the same files, and
//! the answer that an independent computation gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::files::sample;
use crate::support::{HFS, TestCluster, stderr, stdout};

/// The files of an output, by name.
type Parts = BTreeMap<String, Vec<u8>>;

/// One example's run on the cluster and its run without: what both have in common.
struct Both {
    parts: Parts,
    /// The cluster's counters: (group, name) and value.
    counters: BTreeMap<(String, String), i64>,
}

impl Both {
    /// The files one after another, in the order of their names.
    fn text(&self) -> String {
        String::from_utf8(self.parts.values().flatten().copied().collect()).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    fn counter(&self, group: &str, name: &str) -> i64 {
        self.counters.get(&(group.to_owned(), name.to_owned())).copied().unwrap_or(0)
    }
}

/// A cluster and the examples that have run on it.
struct Runs {
    cluster: TestCluster,
    ran: BTreeSet<String>,
}

impl Runs {
    /// Puts files where both kinds of run find them: `/NAME` on the cluster, `SCRATCH/NAME` here.
    fn put(&self, name: &str, content: &[u8]) {
        let local = self.cluster.scratch().join(name);
        std::fs::create_dir_all(local.parent().unwrap()).unwrap();
        std::fs::write(&local, content).unwrap();
        let parent = Path::new("/").join(Path::new(name).parent().unwrap());
        self.cluster.hfs(&["mkdir", "-p", parent.to_str().unwrap()]).unwrap();
        let target = format!("/{name}");
        self.cluster
            .hfs(&["put", "-D", "dfs.replication=1", local.to_str().unwrap(), &target])
            .unwrap();
    }

    /// Runs an example and gives what it told. An argument that begins with `@` is a path below `root`.
    fn run(&self, example: &str, args: &[&str], root: &str, more: &[&str]) -> String {
        let paths: Vec<String> = args
            .iter()
            .map(|arg| arg.strip_prefix('@').map_or(arg.to_string(), |p| format!("{root}{p}")))
            .collect();
        let small_splits = "-Dmapreduce.input.fileinputformat.split.maxsize=100000";
        let done = Command::new(program(example))
            .args(more)
            .args(["--json", "-Ddfs.replication=1", small_splits])
            .args(paths)
            .env("HFS_FS", self.cluster.fs_url())
            .env("HFS_JOBTRACKER", self.cluster.jobtracker())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{example} {args:?}: {}", stderr(&done));
        stdout(&done)
    }

    /// Runs an example both ways: paths are below `/` on the cluster, below the scratch directory here. The last
    /// argument is the output, which must be the same.
    fn both(&mut self, example: &str, args: &[&str]) -> Both {
        self.both_as(example, args, <[u8]>::to_vec)
    }

    /// As `both`, but lines of equal keys may stand in any order.
    fn both_in_any_order(&mut self, example: &str, args: &[&str]) -> Both {
        self.both_as(example, args, |file| {
            let mut lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
            let key = |line: &&[u8]| line.split(|byte| *byte == b'\t').next().unwrap().to_vec();
            assert!(lines.iter().map(key).is_sorted(), "{example} {args:?}: keys are not sorted");
            lines.sort();
            lines.concat()
        })
    }

    /// Runs an example both ways; what `view` makes of the files must be the same.
    fn both_as(&mut self, example: &str, args: &[&str], view: impl Fn(&[u8]) -> Vec<u8>) -> Both {
        self.ran.insert(example.to_owned());
        let output = args.last().unwrap().strip_prefix('@').unwrap();
        let scratch = self.cluster.scratch().to_owned();
        let told = self.run(example, args, "/", &[]);
        self.run(example, args, &format!("{}/", scratch.display()), &["--local"]);
        let parts = local_parts(&scratch.join(output));
        let on_cluster = self.cluster_parts(&format!("/{output}"));
        assert_eq!(
            on_cluster.keys().collect::<Vec<_>>(),
            parts.keys().collect::<Vec<_>>(),
            "{example} {args:?} made other files on the cluster than here"
        );
        for (name, bytes) in &parts {
            let same = view(&on_cluster[name]) == view(bytes);
            assert!(same, "{example} {args:?}: {name} differs");
        }
        Both { parts, counters: counters(&told) }
    }

    fn cluster_parts(&self, dir: &str) -> Parts {
        let names = String::from_utf8(self.cluster.hfs(&["ls", "-C", dir]).unwrap()).unwrap();
        let local = self.cluster.scratch().join("got");
        std::fs::remove_dir_all(&local).ok();
        assert!(names.contains("_SUCCESS"), "{names}");
        self.cluster.hfs(&["get", dir, local.to_str().unwrap()]).unwrap();
        local_parts(&local)
    }
}

/// An example of this build: examples are built with the tests, beside the `hfs` program.
fn program(name: &str) -> PathBuf {
    Path::new(HFS).parent().unwrap().join("examples").join(name)
}

fn local_parts(dir: &Path) -> Parts {
    let mut parts = Parts::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("part-") {
            parts.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    parts
}

fn counters(told: &str) -> BTreeMap<(String, String), i64> {
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    let counters = told["counters"].as_array().unwrap().iter();
    counters
        .map(|counter| {
            let text = |key: &str| counter[key].as_str().unwrap().to_owned();
            ((text("group"), text("name")), counter["value"].as_i64().unwrap())
        })
        .collect()
}

/// Draws that are the same in every run.
fn draws(count: usize, below: u64) -> impl Iterator<Item = u64> {
    let bytes = sample(count * 8);
    (0..count).map(move |i| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[i * 8..][..8]);
        u64::from_le_bytes(word) % below
    })
}

#[test]
fn every_example_computes_the_same_on_a_cluster_and_here() {
    let mut runs = Runs { cluster: TestCluster::start().unwrap(), ran: BTreeSet::new() };
    word_count_and_top_n(&mut runs);
    distinct_and_sort(&mut runs);
    average(&mut runs);
    log_os(&mut runs);
    pi(&mut runs);
    random_text_writer(&mut runs);
    random_writer(&mut runs);
    join(&mut runs);
    inverted_index(&mut runs);
    word_statistics(&mut runs);
    sleep(&mut runs);

    assert_eq!(untested(&runs.ran), [""; 0], "nobody adds an example that no test runs");
}

/// The examples that neither this test has run nor another one names, the scripts for what is behind cargo features
/// included. Those that hand a job of the `hfs` program on
/// are tested where the job is.
fn untested(ran: &BTreeSet<String>) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = |dir: &str| -> Vec<(String, String)> {
        let files = std::fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        let code = |path: &PathBuf| path.extension().is_some_and(|end| end == "rs" || end == "py");
        let code = files.filter(code);
        code.map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
    };
    let mut tests = sources("tests/it");
    tests.extend(sources("tests/parquet"));
    tests.retain(|(name, _)| name != "examples");
    let mut untested: Vec<String> = sources("examples")
        .into_iter()
        .filter(|(name, source)| {
            let quoted = format!("\"{name}\"");
            let named = tests.iter().any(|(_, test)| test.contains(&quoted));
            !ran.contains(name) && !named && !source.contains("(hfs::jobs::")
        })
        .map(|(name, _)| name)
        .collect();
    untested.sort();
    untested
}

fn word_count_and_top_n(runs: &mut Runs) {
    let mut text = String::new();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (i, draw) in draws(60_000, 1_000_000).enumerate() {
        // The smaller of two remainders makes some words more frequent than others.
        let word = format!("w{}", (draw % 700).min(draw % 333));
        text.push_str(&word);
        text.push(if i % 9 == 0 { '\n' } else { ' ' });
        *expected.entry(word).or_default() += 1;
    }
    runs.put("words/a", text.as_bytes());
    let counted = runs.both("wordcount", &["--reduces", "3", "@words", "@wordcount"]);
    let lines: BTreeSet<String> = counted.lines().into_iter().collect();
    let expected_lines = expected.iter().map(|(word, count)| format!("{word}\t{count}"));
    assert_eq!(lines, expected_lines.collect::<BTreeSet<_>>());

    let mut counts = counted.text();
    counts.push_str("no number\nnot\ta number\nhuge\t99999999999999999999\nneg\t-7\n");
    runs.put("counts/a", counts.as_bytes());
    let mut ranked: Vec<(i64, &str)> =
        expected.iter().map(|(w, c)| (*c as i64, w.as_str())).collect();
    ranked.push((-7, "neg"));
    ranked.sort_by_key(|(count, word)| (-count, *word));
    let ranked: Vec<String> =
        ranked.iter().map(|(count, word)| format!("{word}\t{count}")).collect();
    let top = runs.both("top_n", &["-n", "25", "@counts", "@top"]);
    assert_eq!(top.lines(), ranked[..25]);
    assert_eq!(top.counter("Top N", "lines without a number"), 3);
    let all = runs.both("top_n", &["-n", "100000", "--reduces", "3", "@counts", "@top-all"]);
    assert_eq!(all.lines(), ranked);
    assert_eq!(runs.both("top_n", &["-n", "0", "@counts", "@top-none"]).lines(), [""; 0]);
}

fn distinct_and_sort(runs: &mut Runs) {
    let lines: Vec<String> = draws(20_000, 1_000_000)
        .map(|draw| match draw % 10 {
            0 => format!("key {}", draw % 50),
            1 => String::new(),
            2 => format!("ä{}\t", draw % 9),
            _ => format!("k{:02}\tv{}\tw", draw % 40, draw % 97),
        })
        .collect();
    let text = lines.join("\n");
    runs.put("lines/a", text.as_bytes());
    runs.put("lines/b", b"only here\nk01\tv1\tw");
    let all: Vec<&str> =
        lines.iter().map(String::as_str).chain(["only here", "k01\tv1\tw"]).collect();

    let different: BTreeSet<&str> = all.iter().copied().collect();
    let one = runs.both("distinct", &["--reduces", "1", "@lines", "@distinct"]);
    assert_eq!(one.lines(), different.iter().copied().collect::<Vec<_>>());
    let many = runs.both("distinct", &["--reduces", "3", "@lines", "@distinct-3"]);
    let mut together = many.lines();
    together.sort();
    assert_eq!(together, different.into_iter().collect::<Vec<_>>(), "one line in two files");

    let mut sorted: Vec<(&str, &str)> =
        all.iter().map(|line| line.split_at(line.find('\t').unwrap_or(line.len()))).collect();
    sorted.sort_unstable();
    let sorted: Vec<String> = sorted.iter().map(|(key, rest)| format!("{key}{rest}")).collect();
    let one = runs.both("sort", &["--reduces", "1", "@lines", "@sorted"]);
    assert_eq!(one.lines(), sorted);
    let many = runs.both("sort", &["--reduces", "3", "@lines", "@sorted-3"]);
    let mut homes: BTreeMap<&str, &str> = BTreeMap::new();
    let mut together = Vec::new();
    for (name, part) in &many.parts {
        let lines: Vec<&str> = std::str::from_utf8(part).unwrap().lines().collect();
        let keys = lines.iter().map(|line| line.split('\t').next().unwrap());
        assert!(keys.clone().is_sorted(), "{name} is not sorted");
        for key in keys {
            assert_eq!(*homes.entry(key).or_insert(name), name, "{key} is in two files");
        }
        together.extend(lines.into_iter().map(str::to_owned));
    }
    together.sort_by(|a, b| a.split('\t').next().cmp(&b.split('\t').next()).then(a.cmp(b)));
    let mut expected = sorted;
    expected.sort_by(|a, b| a.split('\t').next().cmp(&b.split('\t').next()).then(a.cmp(b)));
    assert_eq!(together, expected);
}

fn average(runs: &mut Runs) {
    let mut text = String::from("nothing\nbad\t1.2.3\nbad\t1.2345678\n");
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for draw in draws(20_000, 2_000_000) {
        let thousandths = draw as i64 - 1_000_000;
        let key = format!("station {}", draw % 17);
        let sign = if thousandths < 0 { "-" } else { "" };
        let (whole, part) = (thousandths.abs() / 1000, thousandths.abs() % 1000);
        text.push_str(&format!("{key}\t{sign}{whole}.{part:03}\n"));
        let sum = sums.entry(key).or_default();
        *sum = (sum.0 + thousandths, sum.1 + 1);
    }
    runs.put("numbers/a", text.as_bytes());
    let means = runs.both("average", &["--reduces", "2", "@numbers", "@average"]);
    assert_eq!(means.counter("Average", "lines without a number"), 3);
    assert_eq!(means.lines().len(), sums.len());
    for line in means.lines() {
        let (key, mean) = line.split_once('\t').unwrap();
        let (sum, count) = sums[key];
        let expected = sum as f64 / (1000 * count) as f64;
        assert!((mean.parse::<f64>().unwrap() - expected).abs() < 1e-9, "{line}: {expected}");
    }
}

fn log_os(runs: &mut Runs) {
    let combined = |agent: &str| {
        format!(
            r#"203.0.113.9 - - [10/Oct/2024:13:55:36 +0000] "GET /a \"quoted\".html HTTP/1.1" 200 2326 "http://example.org/" "{agent}""#
        )
    };
    let cloudfront = |agent: &str| {
        let encoded = agent.replace(' ', "%2520").replace('(', "%2528").replace(')', "%2529");
        format!(
            "2024-10-10\t13:55:36\tFRA2\t2326\t203.0.113.9\tGET\td.cloudfront.net\t/a\t200\t-\t{encoded}\t-\t-\tHit"
        )
    };
    let agents = [
        (
            "Windows",
            7,
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)",
        ),
        (
            "Windows Phone",
            2,
            "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950)",
        ),
        ("Android", 5, "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36"),
        ("iOS", 4, "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15"),
        ("macOS", 3, "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"),
        ("Chrome OS", 1, "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36"),
        ("Linux", 6, "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0"),
        ("Other", 8, "curl/8.5.0"),
        ("Unknown", 9, "-"),
    ];
    const ROUNDS: u64 = 40;
    let mut log = String::from("#Version: 1.0\n#Fields: date time x-edge-location sc-bytes\n");
    for round in 0..ROUNDS {
        for (_, count, agent) in agents {
            for i in 0..count {
                log += &if (i + round) % 2 == 0 { combined(agent) } else { cloudfront(agent) };
                log.push('\n');
            }
        }
    }
    log.push_str("GET / HTTP/1.1\n\n1.2.3.4 - - [x] \"GET / HTTP/1.1\" 200 1 \"-\" \"cut o\n2024-10-10\t13:55\n");
    runs.put("logs/access.log", log.as_bytes());
    let counted = runs.both("log_os", &["--reduces", "1", "@logs", "@systems"]);
    let expected: BTreeSet<String> =
        agents.iter().map(|(name, count, _)| format!("{name}\t{}", count * ROUNDS)).collect();
    assert_eq!(counted.lines(), expected.into_iter().collect::<Vec<_>>());
    for (name, count) in [("broken", 4), ("headers", 2), ("without a user agent", 9 * 40)] {
        assert_eq!(counted.counter("Log lines", name), count, "{name}");
    }
}

fn pi(runs: &mut Runs) {
    // The n-th number of the sequence from its definition: the digits mirrored at the point.
    let mirrored = |mut n: u64, base: u64| {
        let (mut value, mut worth) = (0.0, 1.0);
        while n > 0 {
            worth /= base as f64;
            value += (n % base) as f64 * worth;
            n /= base;
        }
        value
    };
    let inside = (1..=30_000)
        .filter(|&n| (mirrored(n, 2) - 0.5f64).hypot(mirrored(n, 3) - 0.5f64) <= 0.5)
        .count();
    let lines = runs.both("pi", &["3", "10000", "@pi"]).lines();
    assert_eq!(lines[..2], [format!("inside\t{inside}"), format!("outside\t{}", 30_000 - inside)]);
    let estimate: f64 = lines[2].strip_prefix("pi\t").unwrap().parse().unwrap();
    assert!((estimate - 4.0 * inside as f64 / 30_000.0).abs() < 1e-12, "{estimate}");
    assert!((estimate - std::f64::consts::PI).abs() < 1e-3, "{estimate}");
    let one_map = runs.both("pi", &["1", "30000", "@pi-1"]);
    assert_eq!(one_map.lines(), lines, "the spread over maps changes nothing");
}

fn random_text_writer(runs: &mut Runs) {
    let args = ["--maps", "3", "--megabytes-per-map", "0.2", "--key-words", "2", "4"];
    let written = runs.both("random_text_writer", &[&args[..], &["@random-text"]].concat());
    assert_eq!(written.parts.len(), 3);
    let mut all = BTreeSet::new();
    for (name, part) in &written.parts {
        let lines: Vec<&str> = std::str::from_utf8(part).unwrap().lines().collect();
        let last = lines.last().unwrap().len() + 1;
        assert!(part.len() >= 200_000 && part.len() - last < 200_000, "{name}: {}", part.len());
        for line in lines {
            let (key, value) = line.split_once('\t').unwrap();
            assert!((2..=4).contains(&key.split(' ').count()), "{line}");
            assert!((20..=100).contains(&value.split(' ').count()), "{line}");
            assert!(all.insert(line), "{line} is there twice");
        }
    }
    let bytes: usize = written.parts.values().map(Vec::len).sum();
    assert_eq!(written.counter("Random text writer", "bytes written"), bytes as i64);
}

fn random_writer(runs: &mut Runs) {
    let sizes = ["--key-bytes", "3", "50", "--value-bytes", "0", "9000"];
    let args = [&["--maps", "3", "--megabytes-per-map", "1.5"], &sizes[..], &["@random"]].concat();
    let written = runs.both("random_writer", &args);
    assert_eq!(written.parts.len(), 3);
    let (mut keys, mut seen) = (BTreeSet::new(), [0u64; 256]);
    let mut records = 0;
    for (name, part) in &written.parts {
        let mut rest = &part[..];
        let mut field = || {
            let (length, after) = rest.split_first_chunk().unwrap();
            let (field, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            rest = after;
            (field, after.is_empty())
        };
        loop {
            let ((key, _), (value, last)) = (field(), field());
            assert!((3..=50).contains(&key.len()) && value.len() <= 9000, "{name}");
            value.iter().for_each(|byte| seen[usize::from(*byte)] += 1);
            keys.insert(key);
            records += 1;
            if last {
                let before = part.len() - key.len() - value.len() - 8;
                assert!(before < 1_500_000 && part.len() >= 1_500_000, "{name}: {}", part.len());
                break;
            }
        }
    }
    // Of keys of three bytes a few may be equal by chance; no byte is rarer or more frequent than chance has it.
    assert!(keys.len() + 3 > records, "{} keys in {records} records", keys.len());
    let mean = seen.iter().sum::<u64>() / 256;
    assert!(seen.iter().all(|count| count.abs_diff(mean) < mean / 20), "{seen:?}");
    let bytes: usize = written.parts.values().map(Vec::len).sum();
    assert_eq!(written.counter("Random writer", "bytes written"), bytes as i64);
    assert_eq!(written.counter("Random writer", "records written"), records as i64);
}

fn join(runs: &mut Runs) {
    let source = |name: &str, count: usize, keys: u64, shift: u64| -> Vec<(String, String)> {
        draws(count, 1_000_000)
            .enumerate()
            .map(|(i, draw)| (format!("k{:03}", draw % keys + shift), format!("{name} {i}\tx")))
            .collect()
    };
    let text = |pairs: &[(String, String)]| -> String {
        pairs.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect()
    };
    let mut first = source("first", 300, 200, 0);
    let second = source("second", 12_000, 150, 100);
    let mut first_text = text(&first);
    first_text.push_str("k120\nlonely");
    first.extend(["k120", "lonely"].map(|key| (key.to_owned(), String::new())));
    runs.put("first/a", first_text.as_bytes());
    runs.put("second/a", text(&second).as_bytes());
    let has = |pairs: &[(String, String)], key: &str| pairs.iter().any(|(k, _)| k == key);
    let mut expected = Vec::new();
    for (key, a) in &first {
        let partners = second.iter().filter(|(other, _)| other == key);
        expected.extend(partners.map(|(_, b)| format!("{key}\t{a}\t{b}")));
    }
    let only = |pairs: &[(String, String)], others: &[(String, String)], is_first: bool| {
        let alone = pairs.iter().filter(|(key, _)| !has(others, key));
        let line = |(key, value): &(String, String)| match is_first {
            true => format!("{key}\t{value}\t"),
            false => format!("{key}\t\t{value}"),
        };
        alone.map(line).collect::<Vec<_>>()
    };
    let (left, right) = (only(&first, &second, true), only(&second, &first, false));
    assert!(!expected.is_empty() && !left.is_empty() && !right.is_empty());
    let kinds = [("inner", false, false), ("left", true, false), ("right", false, true)];
    for (kind, keeps_left, keeps_right) in kinds.into_iter().chain([("full", true, true)]) {
        let mut expected = expected.clone();
        expected.extend(left.iter().filter(|_| keeps_left).cloned());
        expected.extend(right.iter().filter(|_| keeps_right).cloned());
        expected.sort();
        let output = format!("@join-{kind}");
        let args = ["--kind", kind, "--reduces", "3", "@first", "@second", &output];
        let mut lines = runs.both_in_any_order("join", &args).lines();
        lines.sort();
        assert!(lines == expected, "{kind}: {} lines, not {}", lines.len(), expected.len());
    }
}

fn inverted_index(runs: &mut Runs) {
    let mut text = String::from("no document here\nempty\t\n");
    let mut expected: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for line in draws(40_000, 1_000_000).collect::<Vec<_>>().chunks(8) {
        let document = format!("doc {}", line[0] % 60);
        text += &document;
        text.push('\t');
        for draw in &line[1..] {
            let word = format!("w{}", (draw % 300).min(draw % 170));
            text += &word;
            text.push(' ');
            *expected.entry(word).or_default().entry(document.clone()).or_default() += 1;
        }
        text.push('\n');
    }
    runs.put("documents/a", text.as_bytes());
    let index = runs.both("inverted_index", &["--reduces", "2", "@documents", "@index"]);
    assert_eq!(index.counter("Inverted index", "lines without a document"), 1);
    let expected: Vec<String> = expected
        .iter()
        .map(|(word, documents)| {
            let list = documents.iter().map(|(document, count)| format!("{document}:{count}"));
            format!("{word}\t{}", list.collect::<Vec<_>>().join(" "))
        })
        .collect();
    let mut lines = index.lines();
    // The tab sorts before every byte of a word, so that lines sort as their words do.
    lines.sort();
    assert_eq!(lines, expected);
}

fn word_statistics(runs: &mut Runs) {
    for (name, count) in [("odd", 30_001), ("even", 30_000)] {
        // A gap in the middle of the lengths, so that the medians of odd and even counts differ.
        let mut lengths: Vec<usize> =
            (0..count).map(|i| if i < count / 2 { 1 + i % 3 } else { 6 + i % 9 }).collect();
        let text: String = lengths.iter().map(|length| "x".repeat(*length) + "\n").collect();
        runs.put(&format!("lengths-{name}/a"), text.as_bytes());
        lengths.sort_unstable();
        let median = if count % 2 == 1 { 6.0 } else { 4.5 };
        assert_eq!((lengths[(count - 1) / 2] + lengths[count / 2]) as f64 / 2.0, median);
        let mean = lengths.iter().sum::<usize>() as f64 / count as f64;
        // By the mean of the squares, where the example goes by the squares of the differences.
        let of_squares = lengths.iter().map(|l| l * l).sum::<usize>() as f64 / count as f64;
        let deviation = (of_squares - mean * mean).sqrt();
        let args = [format!("@lengths-{name}"), format!("@statistics-{name}")];
        let lines = runs.both("word_statistics", &args.each_ref().map(String::as_str)).lines();
        let expected = [
            ("words", count as f64),
            ("mean", mean),
            ("median", median),
            ("standard deviation", deviation),
        ];
        assert_eq!(lines.len(), expected.len());
        for (line, (name, expected)) in lines.iter().zip(expected) {
            let (said, value) = line.split_once('\t').unwrap();
            assert_eq!(said, name);
            assert!((value.parse::<f64>().unwrap() - expected).abs() < 1e-9, "{line}: {expected}");
        }
    }
    runs.put("wordless/a", b" \n\n");
    let none = runs.both("word_statistics", &["@wordless", "@statistics-none"]);
    assert_eq!(none.lines(), ["words\t0"]);
}

fn sleep(runs: &mut Runs) {
    runs.ran.insert("sleep".to_owned());
    let args = ["--maps", "3", "--map-ms", "20", "--reduces", "2", "--reduce-ms", "30"];
    for more in [&[][..], &["--local"]] {
        let counters = counters(&runs.run("sleep", &args, "/", more));
        let slept = |name: &str| counters[&("Sleep".to_owned(), name.to_owned())];
        assert!(slept("map milliseconds") >= 3 * 20, "{counters:?}");
        assert!(slept("reduce milliseconds") >= 2 * 30, "{counters:?}");
    }
}
