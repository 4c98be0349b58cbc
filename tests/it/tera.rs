//! Making, sorting and checking rows on a cluster of real processes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{HFS, TestCluster, stderr};

fn run(cluster: &TestCluster, example: &str, args: &[&str]) {
    let program = Path::new(HFS).parent().unwrap().join("examples").join(example);
    let done = Command::new(program)
        .args(args)
        .env("HFS_FS", cluster.fs_url())
        .env("HFS_JOBTRACKER", cluster.jobtracker())
        .env("HFS_CLUSTER_DIR", cluster.cluster.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{example} {args:?}: {}", stderr(&done));
}

/// Blocks whose size is no number of rows, so that rows lie across blocks and splits.
#[test]
fn rows_made_on_the_cluster_are_sorted_and_valid() {
    let cluster = TestCluster::start().unwrap();
    run(&cluster, "teragen", &["-D", "dfs.blocksize=1m", "--maps", "2", "50k", "/made"]);
    run(&cluster, "terasort", &["--reduces", "3", "/made", "/sorted"]);
    run(&cluster, "teravalidate", &["/sorted", "/report"]);
    let report = String::from_utf8(cluster.hfs(&["cat", "/report/part-r-00000"]).unwrap()).unwrap();
    let mut random = hfs::jobs::tera::Random::after(0);
    let mut sum = 0;
    for number in 0..50_000 {
        let mut row = [0; hfs::jobs::tera::ROW_BYTES];
        hfs::jobs::tera::write_row(&mut row, number, random.next_number());
        sum += hfs::jobs::tera::checksum(&row);
    }
    assert_eq!(report, format!("checksum\t{sum:x}\n"));
}
