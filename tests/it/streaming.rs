//! Hadoop Streaming and the distributed cache on a cluster of real processes: the answers that `sort`,
//! `uniq` and other programs give without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::files::sample;
use crate::support::{TestCluster, stderr, stdout};

/// Text with bytes that are no UTF-8, CRLF, empty lines and no newline at the end.
fn text() -> Vec<u8> {
    let mut text = Vec::new();
    let words: [&[u8]; 8] =
        [b"the", b"gr\xf6\xdfe", "größe".as_bytes(), b"of", b"zz-9", b"A", b"a", b"\xff\xfe"];
    for (number, byte) in sample(120_000).into_iter().enumerate() {
        text.extend_from_slice(words[usize::from(byte) % words.len()]);
        text.extend_from_slice(match byte >> 4 {
            0 => b"\r\n".as_slice(),
            1 | 2 => b"\n",
            3 => b"\n\n",
            _ => b" ",
        });
        if number % 1000 == 0 {
            text.extend_from_slice(format!("rare-{number} ").as_bytes());
        }
    }
    text.extend_from_slice(b"the end");
    text
}

const MAP: &str = "#!/bin/sh\ntr -s ' ' '\\n' | grep -av '^$' | sed 's/$/\\t1/'\n";
const SUM: &str = r#"#!/bin/sh
exec awk -F '\t' 'NR > 1 && $1 != key { print key "\t" sum; sum = 0 } { key = $1; sum += $2 }
    END { if (NR) print key "\t" sum }'
"#;

/// The same sums in the order of a table's places: a combiner may do that.
const TABLE: &str = r#"#!/bin/sh
exec awk -F '\t' '{ sums[$1] += $2 } END { for (key in sums) print key "\t" sums[key] }'
"#;

/// A cluster and a directory with scripts.
struct Setup {
    cluster: TestCluster,
    dir: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let cluster = TestCluster::start().unwrap();
        let dir = cluster.scratch().join("scripts");
        std::fs::create_dir_all(&dir).unwrap();
        let setup = Self { cluster, dir };
        setup.script("map.sh", MAP);
        setup.script("sum.sh", SUM);
        setup.script("table.sh", TABLE);
        setup
    }

    /// A file in the scripts' directory. Cache files are executable, whatever they were.
    fn script(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>, target: &str) {
        let local = self.script(name, content);
        let parent = Path::new(target).parent().unwrap().to_str().unwrap();
        self.cluster.hfs(&["mkdir", "-p", parent]).unwrap();
        self.cluster.hfs(&["put", "-D", "dfs.blocksize=1m", &local, target]).unwrap();
    }

    /// Runs `hfs streaming` in the scripts' directory.
    fn run(&self, args: &[&str]) -> Output {
        let line: Vec<&str> = ["streaming"].into_iter().chain(args.iter().copied()).collect();
        self.cluster.command(&line).current_dir(&self.dir).output().unwrap()
    }

    /// The same, which must succeed; gives what was said.
    fn must(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(done.status.success(), "{args:?}: {}", stderr(&done));
        stderr(&done)
    }

    /// The files of an output, by name.
    fn parts(&self, dir: &str) -> BTreeMap<String, Vec<u8>> {
        let names = String::from_utf8(self.cluster.hfs(&["ls", "-C", dir]).unwrap()).unwrap();
        assert!(names.contains("_SUCCESS"), "{names}");
        let parts = names.lines().filter(|name| name.contains("/part-"));
        parts
            .map(|path| {
                let name = path.rsplit('/').next().unwrap().to_owned();
                (name, self.cluster.hfs(&["cat", path]).unwrap())
            })
            .collect()
    }

    fn output(&self, dir: &str) -> Vec<u8> {
        self.parts(dir).into_values().flatten().collect()
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.pop();
    lines
}

fn sorted(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = lines(bytes);
    lines.sort();
    lines
}

/// What a shell makes of a file.
fn shell(script: &str, input: &Path) -> Vec<u8> {
    let done = Command::new("sh")
        .args(["-c", script])
        .env("LC_ALL", "C")
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    done.stdout
}

/// The counts of the text's words, by `sort` and `uniq`.
fn counts(input: &Path) -> Vec<Vec<u8>> {
    let script = "tr -d '\\r' | tr -s ' ' '\\n' | grep -av '^$' | sort | uniq -c | \
                  sed 's/^ *\\([0-9]*\\) \\(.*\\)$/\\2\\t\\1/'";
    sorted(&shell(script, input))
}

#[test]
fn words_are_counted_as_sort_and_uniq_count_them() {
    let setup = Setup::new();
    setup.put("text", text(), "/in/text");
    setup.put("more", "one more\n", "/in/more");
    let whole = [&text()[..], b"\none more\n"].concat();
    setup.script("whole", whole);
    let expected = counts(&setup.dir.join("whole"));
    let environment =
        ["-cmdenv", "LC_ALL=C", "-D", "mapreduce.input.fileinputformat.split.maxsize=100000"];

    let job = [
        "-files",
        "map.sh,sum.sh,table.sh",
        "-input",
        "/in",
        "-output",
        "/out",
        "-mapper",
        "map.sh",
    ];
    let steps = ["-combiner", "table.sh", "-reducer", "sum.sh", "-numReduceTasks", "3"];
    let said = setup.must(&[&environment[..], &job, &steps].concat());
    let parts = setup.parts("/out");
    assert_eq!(parts.len(), 3);
    for part in parts.values() {
        assert!(lines(part).is_sorted(), "a reducer sees its keys in order");
    }
    assert!(sorted(&setup.output("/out")) == expected);
    // What programs look for in the job client's lines.
    for part in [
        "Running job: job_",
        " map 100% reduce 100%",
        "Counters: ",
        "Map-Reduce Framework",
        "Output directory: hdfs://",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("Combine input records=0"), "{said}");

    // Without a combiner, with the aggregate package, and without a cluster: the same.
    let aggregate =
        ["-input", "/in", "-output", "/agg", "-mapper", "agg.sh", "-reducer", "aggregate"];
    setup.script("agg.sh", MAP.replace("s/$/\\t1/", "s/.*/LongValueSum:&\\t1/"));
    setup.must(&[&environment[..], &["-file", "agg.sh", "-file", "sum.sh"], &aggregate].concat());
    assert!(sorted(&setup.output("/agg")) == expected);

    let local = setup.dir.join("local-out");
    let here = [
        "-input",
        "whole",
        "-output",
        local.to_str().unwrap(),
        "-mapper",
        "map.sh",
        "-jt",
        "local",
    ];
    setup.must(
        &[&environment[..], &["-files", "map.sh,sum.sh"], &here, &["-reducer", "sum.sh"]].concat(),
    );
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&local).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("part-") {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    assert!(sorted(&all) == expected);
}

#[test]
fn keys_are_split_partitioned_and_sorted_by_their_fields() {
    let setup = Setup::new();
    let mut log = String::new();
    for (number, byte) in sample(5000).into_iter().enumerate() {
        let size = (number * 7919 + usize::from(byte)) % 1500;
        log += &format!("host{}.{size}.req{number}\n", byte % 23);
    }
    setup.put("log", &log, "/log");
    setup.must(&[
        "-D", "stream.map.output.field.separator=.",
        "-D", "stream.num.map.output.key.fields=2",
        "-D", "map.output.key.field.separator=.",
        "-D", "mapreduce.partition.keypartitioner.options=-k1,1",
        "-D", "mapreduce.job.output.key.comparator.class=org.apache.hadoop.mapred.lib.KeyFieldBasedComparator",
        "-D", "mapreduce.partition.keycomparator.options=-k1,1 -k2,2nr",
        "-D", "mapreduce.input.fileinputformat.split.maxsize=20000",
        "-partitioner", "org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner",
        "-numReduceTasks", "4", "-input", "/log", "-output", "/by-size", "-mapper", "cat", "-reducer", "/bin/cat",
    ]);
    let parts = setup.parts("/by-size");
    let mut host_part: BTreeMap<String, String> = BTreeMap::new();
    let mut all = Vec::new();
    for (part, bytes) in &parts {
        let mut last: Option<(String, i64)> = None;
        for line in String::from_utf8(bytes.clone()).unwrap().lines() {
            // The reducer's key is up to the first tab: `host.size`, then the rest.
            let (key, rest) = line.split_once('\t').unwrap();
            let (host, size) = key.split_once('.').unwrap();
            let size: i64 = size.parse().unwrap();
            let before = host_part.insert(host.to_owned(), part.clone());
            assert!(before.is_none_or(|before| before == *part), "{host} is in two partitions");
            let now = (host.to_owned(), -size);
            assert!(last.is_none_or(|last| last <= now), "{part} is not sorted at {line}");
            last = Some(now);
            all.push(format!("{key}.{rest}"));
        }
    }
    all.sort();
    let mut expected: Vec<&str> = log.lines().collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
    assert!(host_part.len() == 23 && parts.len() == 4);
}

#[test]
fn commands_have_files_archives_environment_counters_and_their_input_file() {
    let setup = Setup::new();
    setup.put("a", "1\n2\n", "/in/a");
    setup.put("b", "3\n", "/in/b");
    setup.put("words", "stop words\n", "/lists/words.txt");
    let tar = "mkdir -p lib/sub && echo from-archive > lib/sub/f && tar czf lib.tar.gz lib && \
               mkdir -p tree/x && echo in-tree > tree/x/y";
    let made = Command::new("sh").args(["-c", tar]).current_dir(&setup.dir).status().unwrap();
    assert!(made.success());
    let script = "#!/bin/sh\nwhile read line; do n=$((n+1)); done\n\
                  echo reporter:counter:mine,lines,$n >&2\necho reporter:status:done >&2\necho a log line >&2\n\
                  printf '%s\\t%s %s %s %s %s\\n' \"$(basename $mapreduce_map_input_file)\" $n \"$(cat stop)\" \
                  $(cat l/lib/sub/f) $(cat tree/x/y) \"$GREETING\"\necho x > scratch\n";
    setup.script("show.sh", script);
    let said = setup.must(&[
        "-D",
        "mapreduce.job.name=show it all",
        "-files",
        "show.sh,tree",
        "-archives",
        "lib.tar.gz#l",
        "-cacheFile",
        "/lists/words.txt#stop",
        "-cmdenv",
        "GREETING=hello you",
        "-input",
        "/in/a",
        "-input",
        "/in/b",
        "-output",
        "/shown",
        "-mapper",
        "./show.sh",
        "-reducer",
        "NONE",
    ]);
    let found = String::from_utf8(setup.output("/shown")).unwrap();
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    let rest = "stop words from-archive in-tree hello you";
    assert_eq!(found, [format!("a\t2 {rest}"), format!("b\t1 {rest}")]);
    assert!(said.contains("\tmine\n\t\tlines=3"), "{said}");
    let list = String::from_utf8(setup.cluster.hfs(&["job", "list"]).unwrap()).unwrap();
    assert!(list.contains("show it all"), "{list}");
    let id = list.split_whitespace().find(|word| word.starts_with("job_")).unwrap();
    let logs = String::from_utf8(setup.cluster.hfs(&["job", "logs", id]).unwrap()).unwrap();
    assert!(logs.contains("a log line") && !logs.contains("reporter:"), "{logs}");
    // Nothing of what was brought is left in the file system.
    let all = String::from_utf8(setup.cluster.hfs(&["ls", "-R", "-C", "/"]).unwrap()).unwrap();
    assert!(!all.contains("_cache") && !all.contains("show.sh"), "{all}");

    // A directory that leads out of the archive fails the job, and says so.
    let evil = "echo x > evil && tar czPf evil.tar.gz --transform 's,^,../,' evil";
    assert!(
        Command::new("sh").args(["-c", evil]).current_dir(&setup.dir).status().unwrap().success()
    );
    let done = setup.run(&[
        "-archives",
        "evil.tar.gz",
        "-input",
        "/in",
        "-output",
        "/evil",
        "-mapper",
        "cat",
        "-reducer",
        "NONE",
    ]);
    assert!(!done.status.success());
    assert!(stderr(&done).contains("would lie outside"), "{}", stderr(&done));
    // And files that are not there refuse it before anything runs.
    for (option, value) in [("-files", "nowhere.py"), ("-cacheFile", "/no/such#x")] {
        let done = setup.run(&[option, value, "-input", "/in", "-output", "/x", "-mapper", "cat"]);
        let said = stderr(&done);
        assert!(
            !done.status.success() && said.contains(value.split('#').next().unwrap()),
            "{said}"
        );
        assert!(said.contains("Streaming Command Failed!"), "{said}");
    }
}

#[test]
fn lines_pass_as_hadoop_passes_them() {
    let setup = Setup::new();
    setup.put("in", "b\tx\na\nc\ty\tz\n", "/in");
    // A line without a tab is all key, and the empty value's tab is written.
    setup.must(&["-input", "/in", "-output", "/cat", "-mapper", "cat", "-reducer", "NONE"]);
    assert_eq!(setup.output("/cat"), b"b\tx\na\t\nc\ty\tz\n");
    setup.must(&[
        "-input",
        "/in",
        "-output",
        "/sorted",
        "-mapper",
        "cat",
        "-reducer",
        "cat",
        "-numReduceTasks",
        "1",
    ]);
    assert_eq!(setup.output("/sorted"), b"a\t\nb\tx\nc\ty\tz\n");
    // Without commands the keys are where lines begin, as numbers.
    setup.must(&["-input", "/in", "-output", "/identity", "-numReduceTasks", "1"]);
    assert_eq!(setup.output("/identity"), b"0\tb\tx\n4\ta\n6\tc\ty\tz\n");
    let by_line =
        ["-inputformat", "org.apache.hadoop.mapred.lib.NLineInputFormat", "-mapper", "cat"];
    setup.must(
        &[&by_line[..], &["-input", "/in", "-output", "/lines", "-reducer", "NONE"]].concat(),
    );
    assert_eq!(setup.parts("/lines").len(), 3, "one map for each line");
    assert_eq!(sorted(&setup.output("/lines")), [&b"0\tb\tx"[..], b"4\ta", b"6\tc\ty\tz"]);
    // A mapper that reads nothing is fine; output files are made for output only.
    let lazy = ["-lazyOutput", "-mapper", "true", "-reducer", "NONE"];
    setup.must(&[&lazy[..], &["-input", "/in", "-output", "/lazy"]].concat());
    assert!(setup.parts("/lazy").is_empty());
    let null = ["-outputformat", "NullOutputFormat", "-mapper", "cat"];
    setup.must(&[&null[..], &["-input", "/in", "-output", "/null"]].concat());
    assert!(!setup.cluster.run(&["test", "-e", "/null"]).unwrap().status.success());

    // A command that fails: its last words reach the one who submitted the job.
    setup.script("fail.sh", "#!/bin/sh\necho 'Traceback: it went wrong here' >&2\nexit 7\n");
    let failing =
        ["-files", "fail.sh", "-mapper", "fail.sh", "-input", "/in", "-output", "/failed"];
    let done = setup.run(&failing);
    let said = stderr(&done);
    assert!(!done.status.success());
    for part in [
        "subprocess failed with code 7",
        "Traceback: it went wrong here",
        "Task Id : attempt_",
        "Status : FAILED",
        "Streaming Command Failed!",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!setup.cluster.run(&["test", "-e", "/failed"]).unwrap().status.success());
    setup.must(&[&["-D", "stream.non.zero.exit.is.failure=false"], &failing[..]].concat());

    let usage = setup.run(&["-info"]);
    assert!(usage.status.success() && stdout(&usage).contains("-numReduceTasks"));
    let done =
        setup.run(&["-input", "/in", "-output", "/x", "-mapper", "cat", "-io", "typedbytes"]);
    assert!(!done.status.success() && stderr(&done).contains("typedbytes"), "{}", stderr(&done));
}

#[test]
fn hadoops_own_commands_reach_the_cluster() {
    let setup = Setup::new();
    let home = setup.dir.join("hadoop");
    setup.cluster.hfs(&["hadoop-shim", home.to_str().unwrap()]).unwrap();
    let hadoop = |args: &[&str]| {
        let mut command = Command::new(home.join("bin/hadoop"));
        command.args(args).env("HFS_FS", setup.cluster.fs_url());
        command.env("HFS_JOBTRACKER", setup.cluster.jobtracker()).env_remove("HADOOP_CONF_DIR");
        command.current_dir(&setup.dir).output().unwrap()
    };
    let must = |args: &[&str]| {
        let done = hadoop(args);
        assert!(done.status.success(), "{args:?}: {}", stderr(&done));
        stdout(&done)
    };
    assert!(must(&["version"]).starts_with("Hadoop 3."));
    setup.script("in", "x\ny\nx\n");
    must(&["fs", "-mkdir", "-p", "hdfs:///user/me/in"]);
    must(&["fs", "-put", "in", "hdfs:///user/me/in/a"]);
    let jar = std::fs::read_dir(home.join("share/hadoop/tools/lib"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    must(&[
        "jar",
        jar.to_str().unwrap(),
        "-files",
        "sum.sh",
        "-D",
        "mapreduce.job.reduces=1",
        "-input",
        "hdfs:///user/me/in",
        "-output",
        "hdfs:///user/me/out",
        "-mapper",
        "sed 's/$/ 1/;s/ /\\t/'",
        "-reducer",
        "sum.sh",
    ]);
    assert_eq!(must(&["fs", "-cat", "hdfs:///user/me/out/part-*"]), "x\t2\ny\t1\n");
    must(&["fs", "-rm", "-R", "-f", "-skipTrash", "hdfs:///user/me/out"]);
    let none = hadoop(&["fs", "-ls", "hdfs:///user/me/out"]);
    assert!(!none.status.success() && stderr(&none).contains("No such file"), "{}", stderr(&none));
    assert!(stderr(&hadoop(&["jar", "x.jar"])).contains("Not a valid JAR: x.jar"));
}
