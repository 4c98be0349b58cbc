//! Tests of task processes, with shell scripts in the place of job programs.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hfs_protocol::proto::task::{JobSpec, Launch};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const MEMORY: MemoryLimit = MemoryLimit { bytes: 64 << 20, property: "memory.mb" };

struct Stage {
    dir: TempDir,
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<(ProcessId, Happened)>,
}

/// Starts a script as if it were a job program.
fn run(script: &str, hello_timeout: Duration) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("program");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let job = JobSpec { program_path: "/tmp/hfs/programs/x".into(), ..JobSpec::default() };
    let launch = Launch { job: Some(job), attempt_id: "a".into(), ..Launch::default() };
    let (sender, events) = mpsc::channel(16);
    let start_with = Start {
        id: ProcessId(1),
        program: Program {
            path,
            args: Vec::new(),
            environment: vec![("GREETING".into(), "moin".into())],
            dir: dir.path().to_owned(),
        },
        socket: dir.path().join("s"),
        work: Work { launch, log: dir.path().join("a.log"), memory: MEMORY },
        limits: Limits {
            hello_timeout,
            idle_timeout: Duration::from_secs(1),
            log_limit: 1 << 20,
            processes: 50,
        },
    };
    let orders = start(start_with, sender);
    Stage { dir, orders, events }
}

impl Stage {
    async fn failure(&mut self) -> Failed {
        let failed = match timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap().1 {
            Happened::Failed(attempt, failed) if attempt == "a" => failed,
            other => panic!("{other:?}"),
        };
        let last = timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap().1;
        assert!(matches!(last, Happened::Gone(None)), "{last:?}");
        failed
    }

    async fn file(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fs::read_to_string(&path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => assert!(Instant::now() < deadline, "{name} does not appear"),
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_program_that_is_none_of_ours_says_so_with_its_own_words() {
    let mut stage = run("#!/bin/sh\necho $GREETING; echo no input >&2; exit 3\n", PATIENCE);
    let failed = stage.failure().await;
    assert!(failed.message.contains("is not an hfs job program"), "{}", failed.message);
    assert!(failed.message.contains("exit code 3"), "{}", failed.message);
    assert_eq!(failed.log_tail, "moin\nno input");
    assert_eq!(stage.file("a.log").await, "moin\nno input");
    assert!(!failed.killed);
}

#[tokio::test]
async fn a_program_that_says_nothing_is_given_up_in_time() {
    let mut stage = run("#!/bin/sh\nsleep 1000\n", Duration::from_millis(100));
    let failed = stage.failure().await;
    assert!(failed.message.contains("did not say hello within 0.1 s"), "{}", failed.message);
}

#[tokio::test]
async fn what_cannot_be_run_is_told_as_it_is() {
    let mut stage = run("#!/nonexistent/shell\n", PATIENCE);
    let failed = stage.failure().await;
    assert!(failed.message.contains("can't be run here"), "{}", failed.message);
}

/// Waits until a process is gone, or dead and not yet buried by whoever adopted it.
async fn gone(pid: &str) {
    let deadline = Instant::now() + PATIENCE;
    let lives =
        || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    while lives() {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_kill_takes_all_that_the_process_has_started() {
    let script = "#!/bin/sh\nsleep 1000 &\necho $! >child\nwait\n";
    let mut stage = run(script, PATIENCE);
    let child = stage.file("child").await;
    stage.orders.send(Order::Kill).await.unwrap();
    assert!(stage.failure().await.killed);
    gone(&child).await;
}

#[tokio::test]
async fn a_daemon_in_a_session_of_its_own_is_killed_with_its_forebear() {
    let daemon = "(setsid sh -c 'echo $$ >daemon; sleep 1000 & wait' &)\n";
    let mut stage = run(&format!("#!/bin/sh\n{daemon}sleep 1000\n"), PATIENCE);
    let killed = stage.file("daemon").await;
    stage.orders.send(Order::Kill).await.unwrap();
    assert!(stage.failure().await.killed);
    gone(&killed).await;

    // The same for one whose forebear ends by itself.
    let wait = "while ! [ -s daemon ]; do sleep 0.01; done\n";
    let mut stage = run(&format!("#!/bin/sh\n{daemon}{wait}exit 3\n"), PATIENCE);
    let left = stage.file("daemon").await;
    assert!(stage.failure().await.message.contains("exit code 3"));
    gone(&left).await;
}

#[tokio::test]
async fn a_process_above_its_memory_is_killed_and_told_why() {
    // What has no line end `tail` keeps in memory.
    let mut stage = run("#!/bin/sh\nhead -c 1G /dev/zero | tail\n", PATIENCE);
    let failed = stage.failure().await;
    assert!(failed.message.contains("more than its limit of 64 MiB"), "{}", failed.message);
    assert!(failed.message.contains("-D memory.mb=MIB"), "{}", failed.message);
    assert!(!failed.killed);
}

#[tokio::test]
async fn a_process_that_forks_without_end_is_killed_and_told_why() {
    let mut stage = run("#!/bin/sh\nwhile true; do sleep 1000 & done\n", PATIENCE);
    let failed = stage.failure().await;
    assert!(failed.message.contains("more than the 50 that"), "{}", failed.message);
}

#[tokio::test]
async fn output_without_end_does_not_fill_the_disk_or_stop_the_kill() {
    let mut stage = run("#!/bin/sh\nyes >&2\n", PATIENCE);
    let deadline = Instant::now() + PATIENCE;
    let log = stage.dir.path().join("a.log");
    while fs::metadata(&log).map_or(0, |m| m.len()) < 1 << 20 {
        assert!(Instant::now() < deadline, "the log does not grow");
        sleep(Duration::from_millis(5)).await;
    }
    stage.orders.send(Order::Kill).await.unwrap();
    assert!(stage.failure().await.killed);
    assert!(fs::metadata(&log).unwrap().len() < (1 << 20) + (128 << 10));
}
