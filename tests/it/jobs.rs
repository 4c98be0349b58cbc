//! Jobs on a cluster of real processes: the right answer, once, whatever is killed on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use hfs::cluster::Role;

use crate::files::sample;
use crate::support::{HFS, TestCluster, eventually, stderr};

/// An example of this build: examples are built with the tests, beside the `hfs` program.
pub fn example(name: &str) -> PathBuf {
    Path::new(HFS).parent().unwrap().join("examples").join(name)
}

/// Text with all that makes lines hard: multi-byte characters, CRLF, empty lines, a line of over two
/// blocks, no newline at the end, and lines that cross every block's end.
pub fn hard_text() -> Vec<u8> {
    let mut text = Vec::new();
    let words = ["größe", "数据", "word", "Word", "a", "naïve", "e\u{301}tude", "🦀", "x-1", "the"];
    for (i, byte) in sample(250_000).into_iter().enumerate() {
        text.extend_from_slice(words[usize::from(byte) % words.len()].as_bytes());
        text.extend_from_slice(match byte >> 4 {
            0 => b"\r\n".as_slice(),
            1 => b"\n",
            2 => b"\t",
            3 => b"\n\n",
            4 => b"  ",
            _ => b" ",
        });
        if i == 100_000 {
            text.push(b'\n');
            for n in 0..300_000 {
                text.extend_from_slice(if n % 7 == 0 { b"long-line " } else { b"lang " });
            }
        }
    }
    text.extend_from_slice("last größe".as_bytes());
    text
}

/// The count by independent means: Java's `StringTokenizer` delimiters, a plain map.
pub fn count(text: &[u8]) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for word in text.split(|byte| b" \t\n\r\x0c".contains(byte)).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_vec()).or_insert(0) += 1;
    }
    counts
}

/// Reads `word<TAB>count` lines; a word that stands twice is an error.
pub fn read_counts(output: &[u8]) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let tab = line.iter().rposition(|byte| *byte == b'\t').unwrap();
        let number = std::str::from_utf8(&line[tab + 1..]).unwrap().parse().unwrap();
        let before = counts.insert(line[..tab].to_vec(), number);
        assert!(before.is_none(), "{:?} stands twice", String::from_utf8_lossy(&line[..tab]));
    }
    counts
}

/// Puts the hard text into `/in` with blocks of 1 MiB and gives its counts.
pub fn put_text(cluster: &TestCluster) -> BTreeMap<Vec<u8>, u64> {
    let text = hard_text();
    let local = cluster.scratch().join("text");
    std::fs::write(&local, &text).unwrap();
    cluster.hfs(&["mkdir", "-p", "/in"]).unwrap();
    cluster.hfs(&["put", "-D", "dfs.blocksize=1m", local.to_str().unwrap(), "/in/a"]).unwrap();
    std::fs::write(&local, b"").unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/in/empty"]).unwrap();
    count(&text)
}

pub fn run_example(cluster: &TestCluster, name: &str, args: &[&str]) -> Output {
    spawn_example(cluster, name, args).wait_with_output().unwrap()
}

pub fn spawn_example(cluster: &TestCluster, name: &str, args: &[&str]) -> Child {
    let program = example(name);
    assert!(program.exists(), "{} is not built", program.display());
    std::process::Command::new(program)
        .args(args)
        .env("HFS_FS", cluster.fs_url())
        .env("HFS_JOBTRACKER", cluster.jobtracker())
        .env("HFS_CLUSTER_DIR", cluster.cluster.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub fn assert_counts(cluster: &TestCluster, dir: &str, expected: &BTreeMap<Vec<u8>, u64>) {
    let output = cluster.hfs(&["cat", &format!("{dir}/part-r-*")]).unwrap();
    assert!(read_counts(&output) == *expected, "the counts in {dir} are not the text's");
    cluster.hfs(&["test", "-e", &format!("{dir}/_SUCCESS")]).unwrap();
    // Nothing of the way there is left beside the output.
    let names = String::from_utf8(cluster.hfs(&["ls", "-C", "/"]).unwrap()).unwrap();
    assert!(!names.contains("._hfs_"), "{names}");
}

#[test]
fn word_count_equals_an_independent_count() {
    let cluster = TestCluster::start().unwrap();
    let expected = put_text(&cluster);
    let done = run_example(&cluster, "wordcount", &["--reduces", "3", "/in", "/out"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&cluster, "/out", &expected);

    // A second run may not overwrite the first, and says so.
    let again = run_example(&cluster, "wordcount", &["/in", "/out"]);
    assert!(!again.status.success());
    assert!(stderr(&again).contains("/out"), "{}", stderr(&again));
    assert_counts(&cluster, "/out", &expected);

    // No input is a sentence, too.
    let none = run_example(&cluster, "wordcount", &["/nowhere", "/out2"]);
    assert!(!none.status.success());
    assert!(stderr(&none).contains("/nowhere"), "{}", stderr(&none));

    // Without a cluster the same program gives the same answer.
    let local = cluster.scratch().join("local-in");
    std::fs::write(&local, hard_text()).unwrap();
    let out = cluster.scratch().join("local-out");
    let local_run = std::process::Command::new(example("wordcount"))
        .args(["--local", local.to_str().unwrap(), out.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(local_run.status.success(), "{}", stderr(&local_run));
    let mut joined = Vec::new();
    for entry in std::fs::read_dir(&out).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("part-") {
            joined.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    assert!(read_counts(&joined) == expected);

    // The job is on record.
    let list = String::from_utf8(cluster.hfs(&["job", "list", "--json"]).unwrap()).unwrap();
    assert!(list.contains("SUCCEEDED"), "{list}");
}

/// FAULTS 43: a worker dies in the middle of a job; the output is the same, once.
#[test]
fn fault_43_a_worker_dies_in_the_middle_of_a_job() {
    let mut cluster = TestCluster::start().unwrap();
    let expected = put_text(&cluster);
    let job = spawn_example(
        &cluster,
        "slow_wordcount",
        &["--delay-ms", "400", "--reduces", "2", "/in", "/out"],
    );
    eventually("a map has ended", || maps_done(&cluster).filter(|done| *done > 0)).unwrap();
    cluster.cluster.kill(Role::Worker, 1).unwrap();
    let done = job.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&cluster, "/out", &expected);
}

/// How many maps of the newest job have succeeded.
pub fn maps_done(cluster: &TestCluster) -> Option<u64> {
    let list = cluster.hfs(&["job", "list", "--json"]).ok()?;
    let text = String::from_utf8(list).ok()?;
    let value: serde_json::Value = serde_json::from_str(text.trim()).ok()?;
    let jobs = value.as_array().cloned().or_else(|| value.get("jobs")?.as_array().cloned())?;
    jobs.last()?.get("maps")?.get("succeeded")?.as_u64()
}

/// FAULTS 44: the jobtracker dies in the middle of a job; the job's fate is told and the cluster is usable.
#[test]
fn fault_44_the_jobtracker_dies_in_the_middle_of_a_job() {
    let mut cluster = TestCluster::start().unwrap();
    let expected = put_text(&cluster);
    let job = spawn_example(&cluster, "slow_wordcount", &["--delay-ms", "400", "/in", "/out"]);
    eventually("a map has ended", || maps_done(&cluster).filter(|done| *done > 0)).unwrap();
    cluster.cluster.kill(Role::Jobtracker, 1).unwrap();
    cluster.cluster.start_one(Role::Jobtracker, 1).unwrap();
    let done = job.wait_with_output().unwrap();
    let said = stderr(&done);
    assert!(!said.contains("panicked"), "{said}");
    if done.status.success() {
        assert_counts(&cluster, "/out", &expected);
    } else {
        // Not finished is all right if it is said and nothing half is left.
        assert!(!said.trim().is_empty());
        assert!(!cluster.run(&["test", "-e", "/out"]).unwrap().status.success());
    }
    let after = run_example(&cluster, "wordcount", &["/in", "/after"]);
    assert!(after.status.success(), "{}", stderr(&after));
    assert_counts(&cluster, "/after", &expected);
}

/// FAULTS 46: a mapper that panics: its own message, the node, the attempt and where the log is; no output.
#[test]
fn fault_46_a_mapper_that_panics_is_quoted() {
    let cluster = TestCluster::start().unwrap();
    put_text(&cluster);
    let done = run_example(&cluster, "fail", &["--mode", "panic", "/in", "/out"]);
    let said = stderr(&done);
    assert!(!done.status.success());
    for part in ["the fail example panics on purpose", "attempt_", "127.0.0.", "hfs job logs"] {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    assert!(!cluster.run(&["test", "-e", "/out"]).unwrap().status.success());
    // The log holds it as well, and the cluster is as good as new.
    let list = String::from_utf8(cluster.hfs(&["job", "list"]).unwrap()).unwrap();
    let id = list.split_whitespace().find(|word| word.starts_with("job_")).unwrap().to_owned();
    let logs = String::from_utf8(cluster.hfs(&["job", "logs", &id]).unwrap()).unwrap();
    assert!(logs.contains("the fail example panics on purpose"), "{logs}");
    let after = run_example(&cluster, "wordcount", &["/in", "/after"]);
    assert!(after.status.success(), "{}", stderr(&after));
}

#[test]
fn a_program_that_is_no_job_and_a_job_that_is_killed() {
    let cluster = TestCluster::start().unwrap();
    put_text(&cluster);
    let said = cluster.hfs_fails(&["job", "submit", "/bin/false", "/in", "/out"]).unwrap();
    assert!(said.contains("/bin/false is not an hfs job program"), "{said}");
    let said = cluster.hfs_fails(&["job", "submit", "/bin/ls", "/"]).unwrap();
    assert!(
        said.contains("/bin/ls is not an hfs job program (it ended with exit code 0"),
        "{said}"
    );
    let program = example("slow_wordcount");
    let help = cluster.hfs(&["job", "submit", program.to_str().unwrap(), "--help"]).unwrap();
    assert!(String::from_utf8_lossy(&help).contains("--reduces"));
    let said = cluster.hfs_fails(&["job", "submit", "/no/such/program"]).unwrap();
    assert!(said.contains("/no/such/program"), "{said}");
    let said = cluster.hfs_fails(&["job", "status", "job_1_1"]).unwrap();
    assert!(said.contains("job_1"), "{said}");
    let said = cluster.hfs_fails(&["job", "status", "nonsense"]).unwrap();
    assert!(said.contains("nonsense"), "{said}");

    let job = spawn_example(&cluster, "slow_wordcount", &["--delay-ms", "30000", "/in", "/out"]);
    let id = eventually("the job is listed", || {
        let list = String::from_utf8(cluster.hfs(&["job", "list"]).ok()?).ok()?;
        list.split_whitespace().find(|word| word.starts_with("job_")).map(str::to_owned)
    })
    .unwrap();
    cluster.hfs(&["job", "kill", &id]).unwrap();
    let done = job.wait_with_output().unwrap();
    assert!(!done.status.success());
    assert!(stderr(&done).contains("kill"), "{}", stderr(&done));
    assert!(!cluster.run(&["test", "-e", "/out"]).unwrap().status.success());
}
