//! Tasks that misbehave and workers that die under them: the output is the same, once, or the job ends with a
//! sentence that helps, and the node goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Output;

use hfs::cluster::{ClusterOptions, Node, Role};

use crate::jobs::{assert_counts, maps_done, put_text, run_example, spawn_example};
use crate::support::{TestCluster, eventually, stderr};

/// The newest job as `hfs job status --json` shows it.
pub fn newest_job(cluster: &TestCluster) -> Option<serde_json::Value> {
    let list = String::from_utf8(cluster.hfs(&["job", "list"]).ok()?).ok()?;
    let id = list.split_whitespace().rfind(|word| word.starts_with("job_"))?.to_owned();
    let status = cluster.hfs(&["job", "status", &id, "--json"]).ok()?;
    serde_json::from_slice(&status).ok()
}

/// The counters of a job that do not depend on which node ran what.
fn fixed_counters(job: &serde_json::Value) -> Vec<(String, i64)> {
    let mut fixed = Vec::new();
    for group in ["TaskCounter", "FileSystemCounter"] {
        for (name, value) in job["counters"][group].as_object().unwrap() {
            // Time; tries; and local segments, which are read from the disk and not from a socket.
            if !["CPU_MILLISECONDS", "FAILED_SHUFFLE", "FILE_BYTES_READ"].contains(&name.as_str()) {
                fixed.push((name.clone(), value.as_i64().unwrap()));
            }
        }
    }
    fixed
}

/// The attempts that run on a worker, with their phases.
fn running(cluster: &TestCluster, worker: u16) -> Vec<(String, String)> {
    let Ok(ports) = cluster.cluster.ports(Node::new(Role::Worker, worker)) else {
        return Vec::new();
    };
    let seen = || -> std::io::Result<Vec<(String, String)>> {
        let mut stream = TcpStream::connect(ports.http.ok_or(std::io::ErrorKind::NotFound)?)?;
        stream.write_all(b"GET /api/attempts HTTP/1.0\r\nHost: x\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let seen: serde_json::Value = serde_json::from_str(body)?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let seen = seen.as_array().cloned().unwrap_or_default();
        Ok(seen.iter().map(|seen| (text(&seen["attempt"]), text(&seen["phase"]))).collect())
    };
    seen().unwrap_or_default()
}

/// Waits for an attempt in this phase and gives its worker.
fn worker_in(cluster: &TestCluster, phase: &str) -> u16 {
    eventually(&format!("an attempt is in the phase {phase}"), || {
        (1..=3).find(|worker| running(cluster, *worker).iter().any(|(_, now)| now == phase))
    })
    .unwrap()
}

/// FAULTS 43: a worker dies while maps run, while a reduce waits for maps, while it reduces, and when one reduce's
/// output is committed and the other's not yet. Bytes and counters are those of a run without any death.
#[test]
fn fault_43_a_worker_dies_in_each_phase_and_bytes_and_counters_are_the_same() {
    let mut cluster = TestCluster::start().unwrap();
    put_text(&cluster);
    let args = |output: &'static str, first: &'static str, later, reduce| {
        let all = ["--delay-ms", first, "--later-maps-ms", later, "--reduce-ms", reduce];
        [&all[..], &["--reduces", "2", "/in", output]].concat()
    };
    let clean = run_example(&cluster, "slow_wordcount", &args("/clean", "0", "0", "0"));
    assert!(clean.status.success(), "{}", stderr(&clean));
    let parts = ["part-r-00000", "part-r-00001"];
    let bytes = |dir: &str| parts.map(|part| cluster_cat(&cluster, &format!("{dir}/{part}")));
    let (clean_bytes, clean_job) = (bytes("/clean"), newest_job(&cluster).unwrap());

    let moments = [
        ("/map", args("/map", "700", "0", "0")),
        ("/shuffle", args("/shuffle", "0", "1500", "0")),
        ("/reduce", args("/reduce", "0", "0", "1500")),
        ("/commit", args("/commit", "0", "0", "600")),
    ];
    for (output, args) in moments {
        let job = spawn_example(&cluster, "slow_wordcount", &args);
        let victim = match output {
            "/map" => worker_in(&cluster, "map"),
            "/shuffle" => {
                eventually("a map has ended", || maps_done(&cluster).filter(|n| *n > 0)).unwrap();
                worker_in(&cluster, "shuffle")
            }
            "/reduce" => worker_in(&cluster, "reduce"),
            _ => eventually("a reduce has succeeded", || {
                let job = newest_job(&cluster)?;
                (job["reduces"]["succeeded"].as_u64()? > 0).then_some(())?;
                let attempts = job["attempts"].as_array()?;
                let done = attempts.iter().find(|attempt| {
                    attempt["state"] == "succeeded"
                        && attempt["attempt"].as_str().is_some_and(|id| id.contains("_r_"))
                })?;
                let host = done["worker"].as_str()?.split(':').next()?.to_owned();
                (1..=3).find(|n| Node::new(Role::Worker, *n).host().to_string() == host)
            })
            .unwrap(),
        };
        cluster.cluster.kill(Role::Worker, victim).unwrap();
        let done = job.wait_with_output().unwrap();
        assert!(done.status.success(), "{output}: {}", stderr(&done));
        for (part, clean) in parts.iter().zip(&clean_bytes) {
            let now = cluster_cat(&cluster, &format!("{output}/{part}"));
            assert!(now == *clean, "{output}/{part} is not that of the clean run");
        }
        let ended = newest_job(&cluster).unwrap();
        assert_eq!(fixed_counters(&ended), fixed_counters(&clean_job), "{output}");
        cluster.cluster.start_one(Role::Worker, victim).unwrap();
    }
}

fn cluster_cat(cluster: &TestCluster, path: &str) -> Vec<u8> {
    cluster.hfs(&["cat", path]).unwrap()
}

/// A cluster of one worker, whose tasks may have few processes and little log; and its text.
fn narrow_cluster() -> TestCluster {
    let cluster = TestCluster::start_with(|options| {
        ClusterOptions { datanodes: Some(1), workers: Some(1), ..options }
            .setting(Role::Worker, "task-processes", 20)
            .setting(Role::Worker, "log-limit", "1MiB")
    })
    .unwrap();
    let local = cluster.scratch().join("text");
    std::fs::write(&local, "one line\nanother line\nthe poison record\nthe last line\n").unwrap();
    cluster.hfs(&["mkdir", "-p", "/in"]).unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/in/a"]).unwrap();
    cluster
}

/// Runs the example that fails, with so many attempts a task.
fn fail(cluster: &TestCluster, mode: &str, attempts: &str, more: &[&str]) -> Output {
    let attempts = format!("mapreduce.map.maxattempts={attempts}");
    let args = [&["-D", &attempts, "--mode", mode], more, &["/in", "/out"]].concat();
    run_example(cluster, "fail", &args)
}

/// FAULTS 46: whatever user code does, its attempt fails with a sentence and its last words, the job after as many
/// attempts as it has, and the node is as good as before.
#[test]
fn fault_46_user_code_that_misbehaves_fails_its_attempt_and_nothing_else() {
    let cluster = narrow_cluster();
    let text = String::from_utf8(cluster.hfs(&["cat", "/in/a"]).unwrap()).unwrap();
    let poison = text.find("the poison").unwrap();
    let offset = format!("/in/a, at byte {poison}");
    let cases: [(&str, &[&str], &[&str]); 8] = [
        ("panic", &["--at", "poison"], &[&offset, "panics on purpose", "examples/fail.rs:"]),
        ("error", &["--at", "poison"], &[&offset, "fails on purpose"]),
        ("exit", &[], &["exit code 0 before its work was done", "/in/a"]),
        ("abort", &[], &["signal 6 (abort)", "/in/a"]),
        (
            "hang",
            &["-D", "mapreduce.task.timeout=2500"],
            &["reported nothing for 2.5 s", "/in/a", "-D mapreduce.task.timeout"],
        ),
        ("loop", &["-D", "mapreduce.task.timeout=2500"], &["reported nothing for 2.5 s", "/in/a"]),
        (
            "memory",
            &["-D", "mapreduce.map.memory.mb=200"],
            &["more than its limit of 200 MiB", "-D mapreduce.map.memory.mb=MIB", "/in/a"],
        ),
        ("fork", &[], &["more than the 20 that a worker allows", "/in/a"]),
    ];
    for (mode, more, expected) in cases {
        let attempts = if mode == "panic" { "3" } else { "1" };
        let done = fail(&cluster, mode, attempts, more);
        let said = stderr(&done);
        assert!(!done.status.success(), "{mode}: {said}");
        for part in expected.iter().chain(&["attempt_", "127.0.0.2", "hfs job logs"]) {
            assert!(said.contains(part), "{mode}: no {part:?} in: {said}");
        }
        let job = newest_job(&cluster).unwrap();
        assert_eq!(job["state"], "FAILED", "{mode}");
        assert_eq!(job["maps"]["failedAttempts"].to_string(), attempts, "{mode}");
        let tail = job["failures"][0]["logTail"].as_str().unwrap().to_owned();
        assert!(tail.contains("the fail example begins"), "{mode}: the log tail is {tail:?}");
        assert!(!cluster.run(&["test", "-e", "/out"]).unwrap().status.success(), "{mode}");
    }
    let after = run_example(&cluster, "wordcount", &["/in", "/after"]);
    assert!(after.status.success(), "{}", stderr(&after));
}

/// FAULTS 46: a job that asks for it goes on without the records that its mapper can't take, whether they make it
/// panic, take its process along or never end.
#[test]
fn fault_46_records_that_kill_attempts_are_left_out_when_asked() {
    let cluster = narrow_cluster();
    for mode in ["panic", "abort", "loop"] {
        let skip = ["mapreduce.map.skip.maxrecords=1", "mapreduce.task.timeout=2500"];
        let more = ["-D", skip[0], "-D", skip[1], "--at", "poison"];
        let done = fail(&cluster, mode, "4", &more);
        assert!(done.status.success(), "{mode}: {}", stderr(&done));
        let output = String::from_utf8(cluster.hfs(&["cat", "/out/part-r-*"]).unwrap()).unwrap();
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["another line\t1", "one line\t1", "the last line\t1"], "{mode}");
        let job = newest_job(&cluster).unwrap();
        let counters = &job["counters"]["TaskCounter"];
        assert_eq!(counters["MAP_SKIPPED_RECORDS"], 1, "{mode}");
        assert_eq!(counters["MAP_INPUT_RECORDS"], 3, "{mode}");
        // In skip mode a panic is survived; a process that dies is not, but its worker knows the record.
        let failed = if mode == "panic" { 2 } else { 3 };
        assert_eq!(job["maps"]["failedAttempts"], failed, "{mode}");
        cluster.hfs(&["rm", "-r", "-skipTrash", "/out"]).unwrap();
    }
}

/// FAULTS 46: a task that writes without end to its log: its first and its last words are kept, and the disk stays
/// as good as free.
#[test]
fn fault_46_a_flood_of_log_is_cut_in_its_middle() {
    let cluster = narrow_cluster();
    let done = fail(&cluster, "flood", "1", &[]);
    let said = stderr(&done);
    assert!(!done.status.success() && said.contains("has said enough"), "{said}");
    let job = newest_job(&cluster).unwrap();
    let tail = job["failures"][0]["logTail"].as_str().unwrap().to_owned();
    assert!(tail.ends_with("the last line of the flood"), "{tail}");
    let log = cluster.hfs(&["job", "logs", job["id"].as_str().unwrap()]).unwrap();
    let log = String::from_utf8_lossy(&log);
    for part in ["the fail example begins", "bytes of log left out", "the last line of the flood"] {
        assert!(log.contains(part), "no {part:?} in the log of {} bytes", log.len());
    }
    assert!(log.len() < 2 << 20, "the log has {} bytes", log.len());
}

/// FAULTS 46: processes that a task leaves behind, in sessions of their own, are gone when it has ended; the job is
/// none the worse.
#[test]
fn fault_46_processes_that_a_task_leaves_behind_are_ended() {
    let cluster = narrow_cluster();
    let done = fail(&cluster, "orphans", "1", &[]);
    assert!(done.status.success(), "{}", stderr(&done));
    let job = newest_job(&cluster).unwrap();
    let log = cluster.hfs(&["job", "logs", job["id"].as_str().unwrap()]).unwrap();
    let log = String::from_utf8(log).unwrap();
    let left: Vec<&str> = log
        .lines()
        .filter_map(|line| line.rsplit_once("leaves process "))
        .map(|(_, pid)| pid)
        .collect();
    assert_eq!(left.len(), 2, "{log}");
    for pid in left {
        eventually(&format!("process {pid} is gone"), || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z")).then_some(())
        })
        .unwrap();
    }
    let words = cluster.hfs(&["cat", "/out/part-r-00000"]).unwrap();
    assert_eq!(String::from_utf8(words).unwrap().lines().count(), 4);
}

/// Every segment that finished maps have left in the workers' directories.
fn segments(cluster: &TestCluster) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for worker in 1..=2 {
        let jobs = cluster.cluster.data_dir(Node::new(Role::Worker, worker)).join("jobs");
        let entries = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
        for attempt in entries(jobs).flat_map(|job| entries(job.path())) {
            let segment = attempt.path().join("map-output");
            if segment.exists() {
                found.push(segment);
            }
        }
    }
    found
}

/// FAULTS 47: map output is cut and changed on its disk before anybody reads it. Reducers on both nodes, the one that
/// has it and the one that fetches it, see that; its maps run again, and the counts are right.
#[test]
fn fault_47_segments_damaged_on_disk_are_made_again() {
    let cluster = TestCluster::start_with(|options| {
        ClusterOptions { workers: Some(2), ..options }.setting(Role::Worker, "slots", 1)
    })
    .unwrap();
    let expected = put_text(&cluster);
    // One map at a time on each worker, and so many that some wait when two have ended: reduces start when none
    // waits, so what is done first is not read for a while.
    let small = "mapreduce.input.fileinputformat.split.maxsize=524288";
    let args = ["-D", small, "--delay-ms", "1500", "--reduces", "2", "/in", "/out"];
    let job = spawn_example(&cluster, "slow_wordcount", &args);
    eventually("two maps have ended", || maps_done(&cluster).filter(|done| *done >= 2)).unwrap();
    let damaged = segments(&cluster);
    assert!(damaged.len() >= 2, "{damaged:?}");
    for (number, segment) in damaged.iter().enumerate() {
        let mut bytes = std::fs::read(segment).unwrap();
        if number == 0 {
            bytes.truncate(bytes.len() / 2);
        } else {
            let middle = bytes.len() / 3;
            bytes[middle] ^= 0x20;
        }
        std::fs::write(segment, bytes).unwrap();
    }
    let done = job.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&cluster, "/out", &expected);
    let job = newest_job(&cluster).unwrap();
    let attempts = job["attempts"].as_array().unwrap();
    let of_maps =
        attempts.iter().filter(|attempt| attempt["attempt"].as_str().unwrap().contains("_m_"));
    let maps = job["maps"]["total"].as_u64().unwrap() as usize;
    assert!(of_maps.count() >= maps + damaged.len(), "maps ran again: {attempts:?}");
}

/// FAULTS 48: nine of ten records have one key, and they are many times what a task may hold. The reduce that gets
/// them sees them one by one; its memory is watched.
#[test]
fn fault_48_one_key_with_most_of_the_records_needs_no_more_memory() {
    let cluster = TestCluster::start_with(|options| ClusterOptions {
        datanodes: Some(1),
        workers: Some(1),
        ..options
    })
    .unwrap();
    let local = cluster.scratch().join("text");
    let mut text = std::io::BufWriter::new(std::fs::File::create(&local).unwrap());
    let padding = "x".repeat(2000);
    const LINES: usize = 60_000;
    for number in 0..LINES {
        let key = if number % 10 == 0 { number } else { 1 };
        writeln!(text, "{padding}{key}").unwrap();
    }
    drop(text);
    cluster.hfs(&["mkdir", "-p", "/in"]).unwrap();
    let put = ["put", "-D", "dfs.blocksize=32m", local.to_str().unwrap(), "/in/a"];
    cluster.hfs(&put).unwrap();
    // Nothing fails here: the example is used for its plain counts, without a combiner.
    let limits =
        "mapreduce.task.io.sort.mb=8,mapreduce.map.memory.mb=64,mapreduce.reduce.memory.mb=64";
    let mut args: Vec<&str> = limits.split(',').flat_map(|limit| ["-D", limit]).collect();
    args.extend(["--mode", "error", "--at", "nowhere", "--reduces", "2", "/in", "/out"]);
    let done = run_example(&cluster, "fail", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    let output = cluster.hfs(&["cat", "/out/part-r-*"]).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert_eq!(output.lines().count(), 1 + LINES / 10);
    let most = format!("{padding}1\t{}", LINES / 10 * 9);
    assert!(output.lines().any(|line| line == most), "the counts of the key are not right");
    let job = newest_job(&cluster).unwrap();
    assert_eq!(job["maps"]["failedAttempts"], 0);
    assert_eq!(job["reduces"]["failedAttempts"], 0);
    let spilled = job["counters"]["TaskCounter"]["SPILLED_RECORDS"].as_u64().unwrap();
    assert!(spilled > LINES as u64, "{spilled} records were spilled");
}

/// FAULTS 48: a compressed file that can't be cut is one map, however much it holds, and many times its memory goes
/// through it.
#[test]
fn fault_48_a_large_file_that_can_not_be_cut_is_one_map_with_no_more_memory() {
    let cluster = TestCluster::start_with(|options| ClusterOptions {
        datanodes: Some(1),
        workers: Some(1),
        ..options
    })
    .unwrap();
    let local = cluster.scratch().join("text.gz");
    let file = std::fs::File::create(&local).unwrap();
    let mut text = flate2::write::GzEncoder::new(file, flate2::Compression::new(1));
    const LINES: usize = 100_000;
    const KINDS: usize = 5;
    let padding = "x".repeat(2000);
    for number in 0..LINES {
        writeln!(text, "{padding}{}", number % KINDS).unwrap();
    }
    text.finish().unwrap();
    cluster.hfs(&["mkdir", "-p", "/in"]).unwrap();
    let put = ["put", "-D", "dfs.blocksize=1m", local.to_str().unwrap(), "/in/a.gz"];
    cluster.hfs(&put).unwrap();
    let limits = ["-D", "mapreduce.task.io.sort.mb=8", "-D", "mapreduce.map.memory.mb=64"];
    let count = ["--mode", "error", "--at", "nowhere", "/in", "/out"];
    let done = run_example(&cluster, "fail", &[&limits[..], &count].concat());
    assert!(done.status.success(), "{}", stderr(&done));
    let job = newest_job(&cluster).unwrap();
    assert_eq!((&job["maps"]["total"], &job["maps"]["failedAttempts"]), (&1.into(), &0.into()));
    let output = String::from_utf8(cluster.hfs(&["cat", "/out/part-r-*"]).unwrap()).unwrap();
    let mut counts: Vec<&str> = output.lines().map(|line| &line[padding.len()..]).collect();
    counts.sort_unstable();
    let each = LINES / KINDS;
    assert_eq!(counts, (0..KINDS).map(|kind| format!("{kind}\t{each}")).collect::<Vec<_>>());
}

/// FAULTS 48: thousands of tiny files are few tasks, and every file counts.
#[test]
fn fault_48_thousands_of_tiny_files_are_few_tasks() {
    let cluster = TestCluster::start().unwrap();
    let dir = cluster.scratch().join("tiny");
    std::fs::create_dir(&dir).unwrap();
    const FILES: usize = 2000;
    for number in 0..FILES {
        std::fs::write(dir.join(number.to_string()), format!("all word{}", number % 7)).unwrap();
    }
    let put =
        ["put", "-D", "dfs.blocksize=1m", "-D", "dfs.replication=1", dir.to_str().unwrap(), "/in"];
    cluster.hfs(&put).unwrap();
    let done = run_example(&cluster, "wordcount", &["--reduces", "1", "/in", "/out"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let output = String::from_utf8(cluster.hfs(&["cat", "/out/part-r-00000"]).unwrap()).unwrap();
    assert!(output.starts_with(&format!("all\t{FILES}\n")), "{output}");
    let job = newest_job(&cluster).unwrap();
    assert!(job["maps"]["total"].as_u64().unwrap() <= 200, "{}", job["maps"]["total"]);
}

/// FAULTS 48: the input is deleted while the job runs. The job ends soon, names the file, and leaves nothing.
#[test]
fn fault_48_input_that_is_deleted_under_a_job_ends_it() {
    let cluster = TestCluster::start_with(|options| {
        ClusterOptions { workers: Some(1), ..options }.setting(Role::Worker, "slots", 1)
    })
    .unwrap();
    put_text(&cluster);
    let job = spawn_example(&cluster, "slow_wordcount", &["--delay-ms", "1000", "/in", "/out"]);
    eventually("a map has ended", || maps_done(&cluster).filter(|done| *done > 0)).unwrap();
    cluster.hfs(&["rm", "/in/a"]).unwrap();
    let done = job.wait_with_output().unwrap();
    let said = stderr(&done);
    assert!(!done.status.success(), "{said}");
    assert!(said.contains("/in/a") && said.contains("does not exist"), "{said}");
    assert_eq!(newest_job(&cluster).unwrap()["state"], "FAILED");
    assert!(!cluster.run(&["test", "-e", "/out"]).unwrap().status.success());
    let names = String::from_utf8(cluster.hfs(&["ls", "-C", "/"]).unwrap()).unwrap();
    assert!(!names.contains("._hfs_"), "{names}");
}
