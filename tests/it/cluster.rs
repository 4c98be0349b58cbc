//! The local cluster: started, stopped, killed and started again; and what it says when it can't be.

use std::fs;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::Result;
use hfs::cluster::{Cluster, ClusterOptions, Node, ProcessId, Role};

use crate::support::{PATIENCE, TestCluster, hfs_command, stderr, stdout, test_options};

/// Runs `hfs cluster …` on a directory.
fn hfs_cluster(dir: &std::path::Path, args: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    hfs_command(&["cluster", "--dir", dir]).args(args).output().unwrap()
}

#[test]
fn a_restart_brings_back_files_and_ports() -> Result<()> {
    let mut test = TestCluster::files(1)?;
    let local = test.scratch().join("a.txt");
    fs::write(&local, "what was put is there again\n")?;
    test.hfs(&["put", local.to_str().unwrap(), "/a.txt"])?;
    let url = test.fs_url();
    test.restart()?;
    assert_eq!(test.fs_url(), url, "the former port");
    assert_eq!(test.hfs(&["cat", "/a.txt"])?, b"what was put is there again\n");
    Ok(())
}

#[test]
fn killed_processes_come_back_one_by_one() -> Result<()> {
    let mut test = TestCluster::files(1)?;
    let local = test.scratch().join("a.txt");
    fs::write(&local, "survives\n")?;
    test.hfs(&["put", local.to_str().unwrap(), "/a.txt"])?;
    for role in [Role::Datanode, Role::Namenode, Role::Jobtracker] {
        let former = test.cluster.ports(Node::new(role, 1))?;
        test.cluster.kill(role, 1)?;
        assert_eq!(test.cluster.pid(Node::new(role, 1))?, None);
        assert!(test.cluster.kill(role, 1).unwrap_err().to_string().contains("is not running"));
        test.cluster.start_one(role, 1)?;
        assert!(
            test.cluster.start_one(role, 1).unwrap_err().to_string().contains("already running")
        );
        assert_eq!(test.cluster.ports(Node::new(role, 1))?, former, "{role} has its former ports");
        test.cluster.wait_ready(PATIENCE)?;
        assert_eq!(test.hfs(&["cat", "/a.txt"])?, b"survives\n");
    }
    Ok(())
}

#[test]
fn a_daemon_ends_when_the_one_that_started_it_is_gone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut daemon = hfs_command(&["namenode", "--dir", dir.path().to_str().unwrap()])
        .args(["--rpc-port", "0", "--grpc-port", "0", "--http-port", "0"])
        .env(hfs_daemon::shutdown::PARENT_PIPE_ENV, "0")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let process = ProcessId::of(daemon.id()).unwrap();
    assert!(!process.wait(Duration::from_millis(300)), "it runs while the pipe is open");
    drop(daemon.stdin.take());
    assert!(process.wait(PATIENCE), "the end of the pipe is its end");
    assert!(daemon.wait()?.success(), "an orderly one");
    Ok(())
}

#[test]
fn a_dropped_cluster_leaves_no_process() -> Result<()> {
    let test = TestCluster::files(1)?;
    let pid = |node| test.cluster.pid(node).map(|pid| ProcessId::of(pid.unwrap()).unwrap());
    let processes = test.cluster.nodes()?.into_iter().map(pid).collect::<Result<Vec<_>>>()?;
    // The directory stays until the test ends.
    let TestCluster { cluster, .. } = test;
    drop(cluster);
    assert!(processes.iter().all(|process| !process.is_alive()));
    Ok(())
}

#[test]
fn the_command_line_starts_shows_and_stops_a_detached_cluster() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let home = dir.path().join("local");
    let none = hfs_cluster(&home, &["status"]);
    assert!(!none.status.success());
    assert!(stderr(&none).contains("there is no local cluster in"), "{}", stderr(&none));

    let started = hfs_cluster(&home, &["start", "--datanodes", "1", "--workers", "1", "--json"]);
    assert!(started.status.success(), "{}", stderr(&started));
    let json: serde_json::Value = serde_json::from_str(&stdout(&started))?;
    let url = json["fs_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("hdfs://127.0.0.1:"), "{url}");
    assert_eq!(hfs::cluster::running_fs_url(&home)?, Some(url.clone()));

    let again = hfs_cluster(&home, &["start"]);
    assert!(again.status.success(), "starting a running cluster is no error: {}", stderr(&again));
    assert!(stdout(&again).contains(&url));
    let status = stdout(&hfs_cluster(&home, &["status"]));
    assert!(status.contains("writable, 1 datanodes and 1 workers live"), "{status}");

    let listed = hfs_command(&["ls", "/"]).env("HFS_CLUSTER_DIR", &home).output()?;
    assert!(listed.status.success(), "the running cluster is found: {}", stderr(&listed));

    assert!(hfs_cluster(&home, &["kill", "worker/1"]).status.success());
    assert!(hfs_cluster(&home, &["start", "worker/1"]).status.success());
    let nobody = hfs_cluster(&home, &["kill", "datanode/7"]);
    assert!(stderr(&nobody).contains("there is no datanode/7"), "{}", stderr(&nobody));
    let logs = stdout(&hfs_cluster(&home, &["logs", "datanode/1"]));
    assert!(logs.contains("datanode"), "{logs}");

    let fewer = hfs_cluster(&home, &["stop"]);
    assert!(fewer.status.success(), "{}", stderr(&fewer));
    assert_eq!(hfs::cluster::running_fs_url(&home)?, None);
    assert!(stdout(&hfs_cluster(&home, &["stop"])).contains("was not running"));
    Ok(())
}

#[test]
fn a_directory_with_other_files_is_refused_and_left_alone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("thesis.tex"), "years of work")?;
    let refused = hfs_cluster(dir.path(), &["start"]);
    let sentence = stderr(&refused);
    assert!(!refused.status.success());
    assert!(sentence.contains("thesis.tex") && sentence.contains("--dir"), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    assert_eq!(fs::read_dir(dir.path())?.count(), 1);
    let file = dir.path().join("thesis.tex");
    let sentence = stderr(&hfs_cluster(&file, &["start"]));
    assert!(sentence.contains("is a file"), "{sentence}");
    Ok(())
}

#[test]
fn a_taken_port_is_named_and_nothing_stays_behind() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let options = ClusterOptions { namenode_port: Some(port), ..test_options(dir.path()) };
    let sentence = format!("{:#}", Cluster::start(options).unwrap_err());
    assert!(sentence.contains(&port.to_string()), "{sentence}");
    assert!(sentence.contains("in use"), "{sentence}");
    let left = Cluster::attach(dir.path().join("cluster"))?;
    assert!(!left.status()?.is_running());
    Ok(())
}

#[test]
fn fewer_datanodes_than_have_data_are_refused() -> Result<()> {
    let mut test = TestCluster::files(2)?;
    test.cluster.stop()?;
    let options = ClusterOptions { datanodes: Some(1), ..test_options(test.scratch()) };
    let sentence = Cluster::start(options).unwrap_err().to_string();
    assert!(sentence.contains("--datanodes 2"), "{sentence}");
    Ok(())
}
