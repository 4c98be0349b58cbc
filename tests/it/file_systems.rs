//! Jobs and file verbs whose paths name other file systems than their own: another cluster's HDFS, and
//! this machine's files.

use std::collections::BTreeMap;
use std::path::Path;

use hfs::cluster::Role;
use hfs_mapreduce::Codec;
use hfs_mapreduce::files::Files;

use crate::jobs::{assert_counts, count, hard_text, put_text, read_counts, run_example};
use crate::support::{TestCluster, stderr};

fn counter(report: &[u8], name: &str) -> u64 {
    let report: serde_json::Value = serde_json::from_slice(report).unwrap();
    let counters = report["counters"].as_array().unwrap();
    let found = counters.iter().find(|counter| counter["name"] == name);
    found.and_then(|counter| counter["value"].as_u64()).unwrap_or(0)
}

fn local_counts(dir: &Path) -> BTreeMap<Vec<u8>, u64> {
    let mut joined = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("part-") {
            joined.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    assert!(dir.join("_SUCCESS").exists());
    read_counts(&joined)
}

fn names(cluster: &TestCluster, dir: &str) -> String {
    String::from_utf8(cluster.run(&["ls", "-C", dir]).unwrap().stdout).unwrap()
}

/// Input from one cluster and output to the other, both ways; what a failed job wrote is gone; the cache
/// files of a job whose output is elsewhere leave nothing behind.
#[test]
fn a_job_reads_from_one_cluster_and_writes_to_another() {
    let (own, other) = (TestCluster::start().unwrap(), TestCluster::files(2).unwrap());
    let expected = put_text(&other);
    let input = format!("{}/in/*", other.fs_url());
    let done = run_example(&own, "wordcount", &["--json", "--reduces", "2", &input, "/out"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&own, "/out", &expected);
    assert!(counter(&done.stdout, "HDFS_BYTES_READ") >= hard_text().len() as u64);

    put_text(&own);
    let output = format!("{}/far/out", other.fs_url());
    let list = own.scratch().join("list");
    std::fs::write(&list, "x").unwrap();
    let files = format!("{}#list", list.display());
    let done =
        run_example(&own, "wordcount", &["-files", &files, "--reduces", "2", "/in", &output]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&other, "/far/out", &expected);
    assert_eq!(names(&other, "/far").trim(), "/far/out");
    assert_eq!(names(&own, "/tmp/hfs/cache").trim(), "", "the cache file is left");
    assert!(!names(&own, "/").contains("far"));

    // It may not overwrite what is there, and says where.
    let again = run_example(&own, "wordcount", &["/in", &output]);
    assert!(!again.status.success());
    assert!(stderr(&again).contains(&output), "{}", stderr(&again));

    // A job that fails leaves nothing there.
    let failed = format!("{}/failed", other.fs_url());
    let done = run_example(&own, "fail", &["--mode", "error", &input, &failed]);
    assert!(!done.status.success());
    assert!(!names(&other, "/").contains("failed"), "{}", names(&other, "/"));

    // A cluster that is not there is named.
    let done = run_example(&own, "wordcount", &["hdfs://127.0.0.1:1/in", "/out3"]);
    assert!(!done.status.success());
    assert!(stderr(&done).contains("127.0.0.1:1"), "{}", stderr(&done));

    // The other cluster as the default one, by its property; paths that are not absolute are there.
    let default = format!("fs.defaultFS={}", other.fs_url());
    let user = String::from_utf8(other.hfs(&["stat", "%u", "/in"]).unwrap()).unwrap();
    let home = format!("/user/{}", user.trim());
    other.hfs(&["mkdir", "-p", &home]).unwrap();
    let done = run_example(&own, "wordcount", &["-D", &default, "/in", "counted"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&other, &format!("{home}/counted"), &expected);
}

/// Files of this machine as input and as output of a job on a cluster, and in a run without one.
#[test]
fn a_job_reads_and_writes_local_files_by_their_urls() {
    let cluster = TestCluster::start().unwrap();
    let expected = count(&hard_text());
    let text = cluster.scratch().join("local text");
    std::fs::write(&text, hard_text()).unwrap();
    let input = format!("file://{}", text.display());
    let done = run_example(&cluster, "wordcount", &["--json", "--reduces", "2", &input, "/out"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&cluster, "/out", &expected);
    assert_eq!(counter(&done.stdout, "HDFS_BYTES_READ"), 0);
    assert!(counter(&done.stdout, "FILE_BYTES_READ") >= hard_text().len() as u64);

    put_text(&cluster);
    let dir = cluster.scratch().join("results");
    let output = format!("file://{}/out", dir.display());
    let done = run_example(&cluster, "wordcount", &["--json", "--reduces", "2", "/in", &output]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(local_counts(&dir.join("out")) == expected);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "something is left beside the output");
    assert_eq!(counter(&done.stdout, "HDFS_BYTES_WRITTEN"), 0);
    let again = run_example(&cluster, "wordcount", &["/in", &output]);
    assert!(!again.status.success());
    assert!(stderr(&again).contains("exists already"), "{}", stderr(&again));

    // Without a cluster: plain paths are local, and an HDFS is named.
    let remote = format!("{}/in/*", cluster.fs_url());
    let local = dir.join("local");
    let args = ["--local", &remote, local.to_str().unwrap()];
    let done = run_example(&cluster, "wordcount", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(local_counts(&local) == expected);
    let remote = format!("{}/from-here", cluster.fs_url());
    let done = run_example(&cluster, "wordcount", &["--local", text.to_str().unwrap(), &remote]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_counts(&cluster, "/from-here", &expected);
}

/// Where a cluster's nodes do not share files, no job may believe that they do.
#[test]
fn local_output_is_refused_unless_the_operator_allows_it() {
    let cluster = TestCluster::start_with(|options| {
        options.setting(Role::Jobtracker, "local-output", "false")
    })
    .unwrap();
    put_text(&cluster);
    let output = format!("file://{}/out", cluster.scratch().display());
    let done = run_example(&cluster, "wordcount", &["/in", &output]);
    assert!(!done.status.success());
    let said = stderr(&done);
    assert!(said.contains("--local-output") && said.contains("share"), "{said}");
    assert!(!cluster.scratch().join("out").exists());
}

/// The file verbs take whole URLs of any cluster, and local files as URLs.
#[test]
fn file_verbs_take_whole_urls() {
    let (own, other) = (TestCluster::files(1).unwrap(), TestCluster::files(1).unwrap());
    let local = own.scratch().join("a.txt");
    std::fs::write(&local, "one\ntwo\n").unwrap();
    let local_url = format!("file://{}", local.display());
    let far = |path: &str| format!("{}{path}", other.fs_url());
    own.hfs(&["cp", &local_url, "/a"]).unwrap();
    own.hfs(&["cp", "/a", &far("/b")]).unwrap();
    own.hfs(&["put", local.to_str().unwrap(), &far("/c")]).unwrap();
    assert_eq!(own.hfs(&["cat", &far("/[bc]")]).unwrap(), b"one\ntwo\none\ntwo\n");
    assert_eq!(own.hfs(&["cat", &local_url, "/a"]).unwrap(), b"one\ntwo\none\ntwo\n");
    assert_eq!(own.hfs(&["head", &local_url]).unwrap(), b"one\ntwo\n");
    let back = own.scratch().join("back");
    own.hfs(&["get", &far("/b"), back.to_str().unwrap()]).unwrap();
    assert_eq!(std::fs::read(&back).unwrap(), b"one\ntwo\n");
    own.hfs(&["cp", &far("/b"), &format!("file://{}.2", back.display())]).unwrap();
    assert_eq!(std::fs::read(own.scratch().join("back.2")).unwrap(), b"one\ntwo\n");
    let said = own.hfs_fails(&["cat", &format!("{local_url}.none")]).unwrap();
    assert!(said.contains("a.txt.none': No such file"), "{said}");
}

/// `text` prints what the formats of jobs hold, in an HDFS and on this machine.
#[test]
fn text_decodes_what_jobs_read_and_write() {
    let cluster = TestCluster::files(1).unwrap();
    let lines = b"a line of text\n".repeat(50_000);
    let local = cluster.scratch().join("x.zst");
    let path = local.to_str().unwrap();
    let mut file = Files::local().create(path).unwrap().compressed(Codec::Zstd);
    file.write_all(&lines).unwrap();
    file.close().unwrap();
    cluster.hfs(&["put", path, "/x.zst"]).unwrap();
    cluster.hfs(&["put", path, "/under another name"]).unwrap();
    for path in ["/x.zst", "/under another name", &format!("file://{path}")] {
        assert!(cluster.hfs(&["text", path]).unwrap() == lines, "{path}");
    }
    let bytes = std::fs::read(&local).unwrap();
    std::fs::write(&local, &bytes[..bytes.len() - 3]).unwrap();
    let said = cluster.hfs_fails(&["text", &format!("file://{path}")]).unwrap();
    assert!(said.contains("x.zst") && said.contains("cut short"), "{said}");
    cluster.hfs(&["mkdir", "/d"]).unwrap();
    assert!(cluster.hfs_fails(&["text", "/d"]).unwrap().contains("Is a directory"));
}
