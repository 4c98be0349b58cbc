//! Making, sorting and checking rows on a cluster of real processes.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use hfs::cluster::{ClusterOptions, Node, Role};
use serde_json::Value;

use crate::jobs::{run_example, spawn_example};
use crate::support::{TestCluster, stderr};
use crate::task_faults::newest_job;

fn run(cluster: &TestCluster, example: &str, args: &[&str]) {
    let done = run_example(cluster, example, args);
    assert!(done.status.success(), "{example} {args:?}: {}", stderr(&done));
}

/// The report of teravalidate about `rows` rows that are all there and in order.
fn valid_report(rows: u64) -> String {
    let mut random = hfs::jobs::tera::Random::after(0);
    let mut sum = 0;
    for number in 0..rows {
        let mut row = [0; hfs::jobs::tera::ROW_BYTES];
        hfs::jobs::tera::write_row(&mut row, number, random.next_number());
        sum += hfs::jobs::tera::checksum(&row);
    }
    format!("checksum\t{sum:x}\n")
}

fn report(cluster: &TestCluster) -> String {
    String::from_utf8(cluster.hfs(&["cat", "/report/part-r-00000"]).unwrap()).unwrap()
}

/// Blocks whose size is no number of rows, so that rows lie across blocks and splits.
#[test]
fn rows_made_on_the_cluster_are_sorted_and_valid() {
    let cluster = TestCluster::start().unwrap();
    run(&cluster, "teragen", &["-D", "dfs.blocksize=1m", "--maps", "2", "50k", "/made"]);
    run(&cluster, "terasort", &["--reduces", "3", "/made", "/sorted"]);
    run(&cluster, "teravalidate", &["/sorted", "/report"]);
    assert_eq!(report(&cluster), valid_report(50_000));
}

/// The most deaths under one job.
const DEATHS: u64 = 10;
/// How long no job under so many deaths may take.
const DEADLINE: Duration = Duration::from_secs(150);

/// How far a job is: how many of its tasks have ended, and the attempts that run.
fn how_far(job: &Value) -> String {
    let attempts = job["attempts"].as_array().into_iter().flatten();
    let running = attempts.filter(|attempt| attempt["state"] == "running");
    let mut names: Vec<&str> = running.filter_map(|a| a["attempt"].as_str()).collect();
    names.sort_unstable();
    let (maps, reduces) = (&job["maps"]["succeeded"], &job["reduces"]["succeeded"]);
    format!("{maps} maps, {reduces} reduces; {}", names.join(" "))
}

/// Whenever the job has come further, a worker or the jobtracker dies and is started again. All rows are there in the
/// end, each once and in order, and nothing else.
#[test]
fn rows_are_sorted_and_valid_whoever_dies_meanwhile() {
    // The seed of a failed run goes into HFS_TEST_SEED to see the same deaths again.
    let seed = match std::env::var("HFS_TEST_SEED") {
        Ok(seed) => seed.parse().expect("HFS_TEST_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    eprintln!("HFS_TEST_SEED={seed}");
    let mut cluster = TestCluster::start_with(|options| {
        ClusterOptions { workers: Some(3), ..options }.setting(Role::Worker, "slots", 1)
    })
    .unwrap();
    const ROWS: &str = "100k";
    run(&cluster, "teragen", &["-D", "dfs.blocksize=1m", "--maps", "2", ROWS, "/made"]);
    let begun = Instant::now();
    let mut job = spawn_example(&cluster, "terasort", &["--reduces", "3", "/made", "/sorted"]);
    let (mut deaths, mut seen) = (0u64, String::new());
    while job.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < DEADLINE, "the job does not end; it is here: {seen}");
        let far = newest_job(&cluster).filter(|job| job["name"] == "TeraSort");
        let Some(far) = far.map(|job| how_far(&job)).filter(|far| *far != seen) else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        seen = far;
        if deaths < DEATHS {
            let drawn = hfs_mapreduce::hash(&[seed.to_le_bytes(), deaths.to_le_bytes()].concat());
            let (role, number) = match drawn % 4 {
                0 => (Role::Jobtracker, 1),
                worker => (Role::Worker, worker as u16),
            };
            eprintln!("{role:?} {number} dies at {seen}");
            cluster.cluster.kill(role, number).unwrap();
            cluster.cluster.start_one(role, number).unwrap();
            deaths += 1;
        }
    }
    let done = job.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(deaths >= DEATHS / 2, "only {deaths} died before the job was done");
    let ended = newest_job(&cluster).unwrap();
    assert_eq!((&ended["name"], &ended["state"]), (&"TeraSort".into(), &"SUCCEEDED".into()));

    run(&cluster, "teravalidate", &["/sorted", "/report"]);
    assert_eq!(report(&cluster), valid_report(100_000));
    let names = String::from_utf8(cluster.hfs(&["ls", "-C", "/sorted"]).unwrap()).unwrap();
    assert_eq!(
        names,
        "/sorted/_SUCCESS\n/sorted/part-r-00000\n/sorted/part-r-00001\n/sorted/part-r-00002\n"
    );
    let names = String::from_utf8(cluster.hfs(&["ls", "-C", "/"]).unwrap()).unwrap();
    assert!(!names.contains("._hfs_"), "{names}");
}

/// Sort memory of the job whose memory is watched, MiB.
const SORT_MB: u64 = 4;
/// What its tasks may have beside it: program, stacks, the buffers of files and sockets.
const BESIDE_MB: u64 = 8;

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

/// KiB of this kind in a process; 0 when it is gone.
fn memory(pid: u32, kind: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Maps get eight times what they may hold, the reduce fifteen times: what a task has of its own stays within the
/// sort memory and a fixed amount. Mapped files are not its own: the system takes them back when it needs room.
#[test]
fn tasks_that_sort_many_times_their_memory_stay_within_it() {
    let cluster = TestCluster::start_with(|options| {
        ClusterOptions { datanodes: Some(1), workers: Some(2), ..options }.setting(
            Role::Worker,
            "slots",
            1,
        )
    })
    .unwrap();
    run(&cluster, "teragen", &["-D", "dfs.blocksize=32m", "--maps", "2", "640k", "/made"]);
    let sort_mb = format!("mapreduce.task.io.sort.mb={SORT_MB}");
    let workers: Vec<u32> = (1..=2)
        .map(|n| cluster.cluster.pid(Node::new(Role::Worker, n)).unwrap().unwrap())
        .collect();
    let args = ["-D", &sort_mb, "--reduces", "1", "/made", "/sorted"];
    let mut job = spawn_example(&cluster, "terasort", &args);
    let (mut most_own, mut most_files, mut looks) = (0, 0, 0);
    while job.try_wait().unwrap().is_none() {
        for task in workers.iter().flat_map(|worker| children(*worker)) {
            most_own = most_own.max(memory(task, "RssAnon"));
            most_files = most_files.max(memory(task, "RssFile"));
            looks += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let done = job.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    eprintln!(
        "{looks} looks: at most {most_own} KiB of its own and {most_files} KiB of mapped files"
    );
    assert!(looks > 50, "{looks} looks at tasks are no proof");
    let bound = (SORT_MB + BESIDE_MB) << 10;
    assert!(most_own <= bound, "a task had {most_own} KiB of its own, more than {bound}");
    let sorted = newest_job(&cluster).unwrap();
    let spilled = sorted["counters"]["TaskCounter"]["SPILLED_RECORDS"].as_u64().unwrap();
    assert!(spilled >= 2 * 640_000, "{spilled} records were spilled: this was no sort on disk");
    run(&cluster, "teravalidate", &["/sorted", "/report"]);
    assert_eq!(report(&cluster), valid_report(640_000));
}
