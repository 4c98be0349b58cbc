//! The picture of a job's run, from the command line and from the jobtracker's pages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use hfs::cluster::{Node, Role};

use crate::jobs::{put_text, run_example};
use crate::support::{TestCluster, stderr};

/// What a page says, headers and all.
fn page(at: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(at).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn every_attempt_of_a_job_is_in_its_picture() {
    let cluster = TestCluster::start().unwrap();
    put_text(&cluster);
    let done = run_example(&cluster, "wordcount", &["--json", "--reduces", "3", "/in", "/out"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let id = told["job_id"].as_str().unwrap();
    let status = cluster.hfs(&["job", "status", id, "--json"]).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let attempts: Vec<&str> = status["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["attempt"].as_str().unwrap())
        .collect();
    assert!(attempts.len() > 3, "{attempts:?}");

    let file = cluster.scratch().join("run.svg");
    cluster.hfs(&["job", "timeline", id, "-o", file.to_str().unwrap()]).unwrap();
    let drawn = std::fs::read_to_string(&file).unwrap();
    let printed = String::from_utf8(cluster.hfs(&["job", "timeline", id]).unwrap()).unwrap();
    let web = cluster.cluster.ports(Node::new(Role::Jobtracker, 1)).unwrap().http.unwrap();
    let served = page(web, &format!("/jobs/{id}/timeline.svg"));
    assert!(served.contains("image/svg+xml"), "{served}");
    let shown = page(web, &format!("/jobs/{id}"));
    for picture in [&drawn, &printed, &served, &shown] {
        assert_eq!(picture.matches("class=\"bar ").count(), attempts.len());
        for attempt in &attempts {
            assert!(picture.contains(&format!("<title>{attempt}\n")), "{attempt}");
        }
    }

    let unknown = cluster.hfs_fails(&["job", "timeline", "job_1_0001"]).unwrap();
    assert!(unknown.contains("job_1_0001") && unknown.lines().count() == 1, "{unknown}");
    let nowhere = cluster.hfs_fails(&["job", "timeline", id, "-o", "/nowhere/x.svg"]).unwrap();
    assert!(nowhere.contains("/nowhere/x.svg") && nowhere.lines().count() == 1, "{nowhere}");
}
