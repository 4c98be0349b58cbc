//! Which task runs where and when, on a cluster of real processes: stragglers are raced, jobs share, queues keep
//! their lists, workers are drained, and what can't be placed ends in time.

use std::process::{Child, Output};
use std::time::{Duration, Instant};

use hfs::cluster::{ClusterOptions, Node, Role};
use serde_json::Value;

use crate::jobs::{example, put_text, run_example, spawn_example};
use crate::support::{TestCluster, eventually, stderr};

fn json(cluster: &TestCluster, args: &[&str]) -> Option<Value> {
    serde_json::from_slice(&cluster.hfs(&[args, &["--json"]].concat()).ok()?).ok()
}

/// The job of this number, counted from 0, with its attempts.
fn job(cluster: &TestCluster, number: usize) -> Option<Value> {
    let list = json(cluster, &["job", "list"])?;
    json(cluster, &["job", "status", list.get(number)?["id"].as_str()?])
}

fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}

/// The attempts of a job in this state.
fn attempts(job: &Value, state: &str) -> Vec<Value> {
    let all = job["attempts"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|attempt| attempt["state"] == state).collect()
}

/// Waits for a running attempt of a job that is not this one.
fn another_attempt(cluster: &TestCluster, number: usize, not: &str) -> String {
    eventually("an attempt runs", || {
        let running = attempts(&job(cluster, number)?, "running");
        let ids = running.iter().filter_map(|attempt| attempt["attempt"].as_str());
        ids.map(str::to_owned).find(|id| id != not)
    })
    .unwrap()
}

fn sleep(cluster: &TestCluster, args: &[&str]) -> Child {
    spawn_example(cluster, "sleep", args)
}

/// Runs the sleep example, or an `hfs` command, as another user.
fn as_user(cluster: &TestCluster, user: &str, args: &[&str]) -> Output {
    let mut command = cluster.command(args);
    command.env("HADOOP_USER_NAME", user).output().unwrap()
}

fn sleep_as(cluster: &TestCluster, user: &str, queue: &str) -> Output {
    let queue = format!("mapreduce.job.queuename={queue}");
    std::process::Command::new(example("sleep"))
        .args([
            "--maps",
            "1",
            "--map-ms",
            "10",
            "--reduces",
            "1",
            "--reduce-ms",
            "10",
            "-D",
            &queue,
        ])
        .env("HFS_FS", cluster.fs_url())
        .env("HFS_JOBTRACKER", cluster.jobtracker())
        .env("HADOOP_USER_NAME", user)
        .output()
        .unwrap()
}

#[test]
fn a_straggler_is_raced_and_the_job_ends_long_before_it_would() {
    let cluster = TestCluster::start_with(|options| {
        options.setting(Role::Jobtracker, "speculative-after", "1s")
    })
    .unwrap();
    let begun = Instant::now();
    let args = ["--maps", "6", "--map-ms", "200", "--straggler-ms", "600000", "--reduces", "1"];
    let done = run_example(&cluster, "sleep", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    let job = job(&cluster, 0).unwrap();
    assert!(job["speculativeAttempts"].as_u64().unwrap() >= 1, "{job}");
    assert_eq!(job["speculativeRunning"], 0);
    let of_first = |attempt: &Value| attempt["attempt"].as_str().unwrap().contains("_m_000000_");
    let winner = attempts(&job, "succeeded").into_iter().find(of_first).unwrap();
    let loser = attempts(&job, "killed").into_iter().find(of_first).unwrap();
    assert!(winner["speculative"] == true && loser["speculative"] == false, "{winner} {loser}");
    assert_ne!(winner["worker"], loser["worker"]);
    assert_eq!(job["failures"], serde_json::json!([]));

    // Without races the same job is still at it.
    let off = ["-D", "mapreduce.map.speculative=false"];
    let slow = sleep(&cluster, &[&args[..], &off].concat());
    eventually("five maps are done and the straggler has had time", || {
        let job = self::job(&cluster, 1)?;
        let done = job["maps"]["succeeded"].as_u64()? == 5;
        let straggler = attempts(&job, "running").into_iter().find(of_first)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
        let worked = now.as_millis() as u64 - straggler["startMs"].as_u64()?;
        (done && worked > 4_000).then_some(())
    })
    .unwrap();
    let job = self::job(&cluster, 1).unwrap();
    assert_eq!(job["speculativeAttempts"], 0);
    cluster.hfs(&["job", "kill", &id(&job)]).unwrap();
    assert!(!slow.wait_with_output().unwrap().status.success());
}

#[test]
fn a_job_that_comes_later_is_not_behind_all_of_the_first() {
    let cluster = TestCluster::start().unwrap();
    let args = |maps| ["--maps", maps, "--map-ms", "400", "--reduces", "1", "--reduce-ms", "10"];
    let first = sleep(&cluster, &args("400"));
    eventually("the first job has all slots", || {
        (job(&cluster, 0)?["maps"]["running"].as_u64()? >= 6).then_some(())
    })
    .unwrap();
    let second = run_example(&cluster, "sleep", &args("6"));
    assert!(second.status.success(), "{}", stderr(&second));
    let left = job(&cluster, 0).unwrap();
    assert_eq!(left["state"], "RUNNING", "the second job waited for the first");
    assert!(left["maps"]["succeeded"].as_u64().unwrap() < 350, "{left}");

    // A running job's priority is changed and shown.
    cluster.hfs(&["job", "set-priority", &id(&left), "very_high"]).unwrap();
    assert_eq!(job(&cluster, 0).unwrap()["priority"], "VERY_HIGH");
    let said = cluster.hfs_fails(&["job", "set-priority", &id(&left), "urgent"]).unwrap();
    assert!(said.contains("urgent") && said.contains("VERY_LOW"), "{said}");
    cluster.hfs(&["job", "kill", &id(&left)]).unwrap();
    assert!(!first.wait_with_output().unwrap().status.success());
    let said = cluster.hfs_fails(&["job", "set-priority", &id(&left), "LOW"]).unwrap();
    assert!(said.contains("is over"), "{said}");
}

#[test]
fn queues_have_lists_of_who_may_submit_and_administer() {
    let queues = r#"{"etl":{"weight":2,"acl-submit-job":"ann","acl-administer-jobs":"bob"}}"#;
    let cluster = TestCluster::start_with(|options| {
        options.setting(Role::Jobtracker, "queues", queues).setting(
            Role::Jobtracker,
            "administrators",
            "nobody-else",
        )
    })
    .unwrap();
    let shown = json(&cluster, &["job", "queues"]).unwrap();
    assert_eq!((&shown[1]["name"], &shown[1]["weight"]), (&"etl".into(), &2.into()), "{shown}");
    // The program is stored once, by somebody who may.
    let done = run_example(&cluster, "sleep", &["--map-ms", "10", "--reduces", "1"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(job(&cluster, 0).unwrap()["queue"], "default");

    let none = sleep_as(&cluster, "ann", "no-such");
    assert!(stderr(&none).contains("there are: default, etl"), "{}", stderr(&none));
    let refused = sleep_as(&cluster, "eve", "etl");
    assert!(stderr(&refused).contains("acl-submit-job"), "{}", stderr(&refused));
    let done = sleep_as(&cluster, "ann", "etl");
    assert!(done.status.success(), "{}", stderr(&done));
    let job = job(&cluster, 1).unwrap();
    assert_eq!((&job["queue"], &job["user"]), (&"etl".into(), &"ann".into()));

    let kill = ["job", "kill", &id(&job)];
    let refused = as_user(&cluster, "eve", &kill);
    assert!(stderr(&refused).contains("the job is ann's"), "{}", stderr(&refused));
    for user in ["ann", "bob"] {
        let too_late = as_user(&cluster, user, &kill);
        assert!(stderr(&too_late).contains("can't be killed any more"), "{}", stderr(&too_late));
    }
    let refused = as_user(&cluster, "eve", &["worker", "drain", "127.0.0.2"]);
    assert!(stderr(&refused).contains("administrators"), "{}", stderr(&refused));
}

#[test]
fn tasks_that_fit_no_worker_fail_their_job_in_time() {
    let cluster = TestCluster::start_with(|options| {
        options.setting(Role::Jobtracker, "no-worker-timeout", "2s")
    })
    .unwrap();
    let too_much = ["--maps", "1", "--map-ms", "10", "-D", "mapreduce.map.memory.mb=99000000"];
    let done = run_example(&cluster, "sleep", &too_much);
    assert!(!done.status.success());
    let said = stderr(&done);
    for part in
        ["for 2 s no worker could take its tasks", "99000000 MiB", "mapreduce.map.memory.mb"]
    {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    let many = ["--maps", "1", "--map-ms", "10", "-D", "mapreduce.map.cpu.vcores=1000"];
    let said = stderr(&run_example(&cluster, "sleep", &many));
    assert!(said.contains("1000 vcores"), "{said}");
    let wrong = ["--maps", "1", "-D", "mapreduce.map.cpu.vcores=few"];
    let said = stderr(&run_example(&cluster, "sleep", &wrong));
    assert!(said.contains("mapreduce.map.cpu.vcores is 'few'"), "{said}");
}

#[test]
fn attempts_are_killed_and_failed_by_hand() {
    let cluster = TestCluster::start().unwrap();
    let running = sleep(&cluster, &["--maps", "1", "--map-ms", "600000"]);
    let first = another_attempt(&cluster, 0, "");
    cluster.hfs(&["job", "kill-task", &first]).unwrap();
    let second = another_attempt(&cluster, 0, &first);
    let said = cluster.hfs_fails(&["job", "kill-task", &first]).unwrap();
    assert!(said.contains("does not run"), "{said}");
    cluster.hfs(&["job", "fail-task", &second]).unwrap();
    another_attempt(&cluster, 0, &second);
    let job = job(&cluster, 0).unwrap();
    assert_eq!(
        (&job["maps"]["failedAttempts"], &job["maps"]["killedAttempts"]),
        (&1.into(), &1.into())
    );
    assert!(job["failures"][0]["message"].as_str().unwrap().contains("failed by"), "{job}");
    let said = cluster.hfs_fails(&["job", "fail-task", "nonsense"]).unwrap();
    assert!(said.contains("nonsense"), "{said}");
    cluster.hfs(&["job", "kill", &id(&job)]).unwrap();
    assert!(!running.wait_with_output().unwrap().status.success());
}

#[test]
fn a_drained_worker_gets_nothing_new_and_its_outputs_are_served() {
    let mut cluster = TestCluster::start().unwrap();
    let host = Node::new(Role::Worker, 1).host().to_string();
    let on_host = |job: &Value, state: &str| {
        let here =
            |a: &&Value| a["worker"].as_str().is_some_and(|w| w.starts_with(&format!("{host}:")));
        attempts(job, state).iter().filter(here).count()
    };
    let first = sleep(&cluster, &["--maps", "24", "--map-ms", "300", "--reduces", "1"]);
    eventually("a map is done on the worker", || {
        (on_host(&job(&cluster, 0)?, "succeeded") > 0).then_some(())
    })
    .unwrap();
    cluster.hfs(&["worker", "drain", &host]).unwrap();
    let state = |cluster: &TestCluster| {
        let list = json(cluster, &["worker", "list"])?;
        let here =
            list.as_array()?.iter().find(|w| w["host"] == host.as_str() && w["live"] == true);
        here.map(|worker| worker["state"].as_str().unwrap_or_default().to_owned())
    };
    eventually("what ran there is done", || (state(&cluster)? == "drained").then_some(())).unwrap();
    let before = on_host(&job(&cluster, 0).unwrap(), "succeeded");
    let done = first.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let ended = job(&cluster, 0).unwrap();
    assert_eq!(on_host(&ended, "succeeded"), before);
    assert_eq!(ended["maps"]["killedAttempts"], 0, "no output was made again");

    // The word survives the jobtracker.
    cluster.cluster.kill(Role::Jobtracker, 1).unwrap();
    cluster.cluster.start_one(Role::Jobtracker, 1).unwrap();
    eventually("the worker is back", || (state(&cluster)? == "drained").then_some(())).unwrap();
    cluster.hfs(&["worker", "undrain", &host]).unwrap();
    assert_eq!(state(&cluster).unwrap(), "live");
    let args = ["--maps", "24", "--map-ms", "200", "--reduces", "1"];
    assert!(run_example(&cluster, "sleep", &args).status.success());
    assert!(on_host(&job(&cluster, 1).unwrap(), "succeeded") > 0);
    let said = cluster.hfs_fails(&["worker", "drain", "no-such-host"]).unwrap();
    assert!(said.contains("no-such-host"), "{said}");
}

/// FAULTS 48: all workers are lost; the job ends in a stated time with a sentence, and leaves nothing.
#[test]
fn fault_48_all_workers_are_lost_and_the_job_ends_in_time() {
    let mut cluster = TestCluster::start_with(|options| {
        ClusterOptions { workers: Some(2), ..options }.setting(
            Role::Jobtracker,
            "no-worker-timeout",
            "3s",
        )
    })
    .unwrap();
    put_text(&cluster);
    let args = ["--delay-ms", "60000", "/in", "/out"];
    let running = spawn_example(&cluster, "slow_wordcount", &args);
    another_attempt(&cluster, 0, "");
    for worker in [1, 2] {
        cluster.cluster.kill(Role::Worker, worker).unwrap();
    }
    let begun = Instant::now();
    let done = running.wait_with_output().unwrap();
    assert!(!done.status.success());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let said = stderr(&done);
    assert!(said.contains("no worker has been alive for 3 s"), "{said}");
    assert_eq!(job(&cluster, 0).unwrap()["state"], "FAILED");
    assert!(!cluster.run(&["test", "-e", "/out"]).unwrap().status.success());
    let names = String::from_utf8(cluster.hfs(&["ls", "-C", "/"]).unwrap()).unwrap();
    assert!(!names.contains("._hfs_"), "{names}");
    // With a worker again the cluster is as good as new.
    cluster.cluster.start_one(Role::Worker, 1).unwrap();
    let after = run_example(&cluster, "wordcount", &["/in", "/after"]);
    assert!(after.status.success(), "{}", stderr(&after));
}
