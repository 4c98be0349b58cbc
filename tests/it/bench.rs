//! The benchmarks that are jobs, tiny: their figures are of what was done, and nonsense is refused in a sentence.

use serde_json::Value;

use crate::support::{TestCluster, hfs_command, stderr, stdout};

/// Runs a benchmark on the cluster; gives its figures.
fn bench(cluster: &TestCluster, args: &[&str]) -> Vec<Value> {
    let tracker = cluster.jobtracker();
    let words = [&["bench"], args, &["--jobtracker", &tracker, "--json"]].concat();
    serde_json::from_slice(&cluster.hfs(&words).unwrap()).unwrap()
}

#[test]
fn dfsio_writes_appends_and_reads_what_it_wrote() {
    let cluster = TestCluster::start().unwrap();
    let all = "write,append,read,random-read,backward-read,skip-read";
    let picture = cluster.scratch().join("run.svg");
    let sizes = ["--files", "3", "--size", "300000", "--buffer", "70000", "--replication", "2"];
    let more = ["--operations", all, "--skip", "1000", "--keep", "--dir", "/io", "--timeline"];
    let args = [&["dfsio"], &sizes[..], &more, &[picture.to_str().unwrap()]].concat();
    let figures = bench(&cluster, &args);
    let operations: Vec<&str> = figures.iter().map(|f| f["operation"].as_str().unwrap()).collect();
    assert_eq!(operations.join(","), all);
    for one in &figures {
        assert_eq!(
            (one["files"].as_u64(), one["bytes"].as_u64()),
            (Some(3), Some(900_000)),
            "{one}"
        );
        assert!(one["throughput_mb_per_s"].as_f64().unwrap() > 0.0, "{one}");
        assert!(one["slowest_mb_per_s"].as_f64() <= one["average_io_rate_mb_per_s"].as_f64());
    }
    assert_eq!(figures[0]["calls"], 15);
    let listed = String::from_utf8(cluster.hfs(&["ls", "/io/io_data"]).unwrap()).unwrap();
    let lines: Vec<&str> = listed.lines().filter(|line| line.contains("test_io_")).collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(lines.iter().all(|line| line.contains("600000") && line.contains(" 2 ")), "{listed}");
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert!(drawn.matches("class=\"bar map").count() >= 18, "a bar for each map of six jobs");

    // A later run reads what was kept; a file that is not the benchmark's is found out.
    let again =
        ["dfsio", "--files", "3", "--size", "1m", "--operations", "read", "--keep", "--dir", "/io"];
    assert_eq!(bench(&cluster, &again)[0]["bytes"], 1_800_000);
    let foreign = cluster.scratch().join("foreign");
    std::fs::write(&foreign, vec![b'x'; 100_000]).unwrap();
    cluster.hfs(&["put", "-f", foreign.to_str().unwrap(), "/io/io_data/test_io_1"]).unwrap();
    let tracker = cluster.jobtracker();
    let words = [&["bench"], &again[..], &["--jobtracker", &tracker]].concat();
    let refused = cluster.hfs_fails(&words).unwrap();
    assert!(refused.contains("/io/io_data/test_io_1"), "{refused}");
}

#[test]
fn nnbench_makes_opens_renames_and_deletes_names() {
    let cluster = TestCluster::start().unwrap();
    let args = [
        "nnbench",
        "--maps",
        "3",
        "--files",
        "20",
        "--bytes",
        "7",
        "--read",
        "--barrier",
        "100ms",
        "--dir",
        "/nn",
    ];
    let figures = bench(&cluster, &args);
    let operations = ["create_write", "open_read", "rename", "delete"];
    assert_eq!(figures.len(), 2 * operations.len(), "each with its row against the echo");
    for (pair, operation) in figures.chunks(2).zip(operations) {
        let one = &pair[0];
        assert_eq!(one["operation"], operation);
        assert_eq!(
            (one["succeeded"].as_u64(), one["errors"].as_u64()),
            (Some(60), Some(0)),
            "{one}"
        );
        assert_eq!(one["maps"], 3);
        assert!(
            one["tps"].as_f64().unwrap() > 0.0 && one["average_first_ms"].as_f64().unwrap() > 0.0
        );
        assert_eq!(pair[1]["peer"][0], "TCP echo", "{}", pair[1]);
    }
    assert!(cluster.hfs_fails(&["ls", "/nn"]).unwrap().contains("/nn"), "nothing is left behind");
}

#[test]
fn shuffle_moves_every_record_once() {
    let cluster = TestCluster::start().unwrap();
    let sizes = [
        "--maps",
        "3",
        "--reduces",
        "2",
        "--size",
        "100k",
        "--key-bytes",
        "9",
        "--value-bytes",
        "41",
    ];
    let figures = bench(&cluster, &[&["shuffle"], &sizes[..]].concat());
    let one = &figures[0];
    let records = 3 * (102_400 / 50);
    assert_eq!((figures.len(), one["records"].as_i64()), (1, Some(records)), "{one}");
    assert!(one["shuffled_bytes"].as_i64().unwrap() >= records * 50, "{one}");
    assert!(one["shuffle_s"].as_f64() >= one["after_maps_s"].as_f64(), "{one}");
    assert!(one["shuffle_mb_per_s"].as_f64().unwrap() > 0.0, "{one}");
}

#[test]
fn mrbench_runs_small_jobs_in_a_row() {
    let cluster = TestCluster::start().unwrap();
    let picture = cluster.scratch().join("run.svg");
    let sizes =
        ["--runs", "3", "--maps", "3", "--reduces", "2", "--lines", "5", "--order", "random"];
    let args = [&["mrbench"], &sizes[..], &["--timeline", picture.to_str().unwrap()]].concat();
    let figures = bench(&cluster, &args);
    let one = &figures[0];
    assert_eq!((figures.len(), one["data_lines"].as_u64()), (1, Some(15)), "{one}");
    assert_eq!(one["times_ms"].as_array().unwrap().len(), 3);
    assert!(one["least_ms"].as_f64().unwrap() > 0.0);
    assert!(one["least_ms"].as_f64() <= one["average_ms"].as_f64(), "{one}");
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert!(drawn.matches("class=\"bar map").count() >= 9, "three maps of each of three jobs");
    assert!(drawn.matches("class=\"bar reduce").count() >= 6, "two reduces of each");
}

/// Looks at the figures of a sort of 20,000 rows and their row against the limit.
fn assert_sorted(figures: &[Value], local: bool) {
    let one = &figures[0];
    assert_eq!((figures.len(), one["rows"].as_u64()), (2, Some(20_000)), "{one}");
    assert_eq!((one["bytes"].as_u64(), one["local"].as_bool()), (Some(2_000_000), Some(local)));
    assert_eq!(one["sort_s"].as_array().unwrap().len(), 2, "{one}");
    assert_eq!(one["limit_s"].as_array().unwrap().len(), 2, "{one}");
    // What a local run keeps in memory is never spilled.
    assert_eq!(one["spilled_records"].as_i64().unwrap() >= 20_000, !local, "{one}");
    let share = one["limit_median_s"].as_f64().unwrap() / one["sort_median_s"].as_f64().unwrap();
    assert!((one["share_of_limit"].as_f64().unwrap() - share).abs() < 1e-6 && share > 0.0, "{one}");
    assert_eq!(figures[1]["peer"][0], "key sort in memory", "{}", figures[1]);
}

#[test]
fn terasort_sorts_as_a_sort_in_memory_does() {
    let cluster = TestCluster::start().unwrap();
    let picture = cluster.scratch().join("run.svg");
    let sizes = ["terasort", "--rows", "20k", "--maps", "3", "--reduces", "2", "--runs", "2"];
    let args = [&sizes[..], &["--dir", "/ts", "--timeline", picture.to_str().unwrap()]].concat();
    assert_sorted(&bench(&cluster, &args), false);
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert!(
        drawn.matches("class=\"bar map").count() >= 12,
        "three files made, and sorted three times"
    );
    assert!(drawn.matches("class=\"bar reduce").count() >= 7, "two of each sort, one that checks");
    assert!(cluster.hfs_fails(&["ls", "/ts"]).unwrap().contains("/ts"), "nothing is left behind");

    let temp = tempfile::tempdir().unwrap();
    let args = [&["bench"], &sizes[..], &["--local", "--json"]].concat();
    let done = hfs_command(&args).env("TMPDIR", temp.path()).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    assert_sorted(&serde_json::from_slice::<Vec<Value>>(&done.stdout).unwrap(), true);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left behind");
}

/// The figures of a word count of 1 MB in at most 500 words, and its row.
fn assert_counted(figures: &[Value], local: bool) {
    let one = &figures[0];
    assert_eq!((&one["bench"], &one["local"]), (&Value::from("wordcount"), &Value::from(local)));
    let number = |name: &str| one[name].as_f64().unwrap();
    assert!((1e6..1.1e6).contains(&number("bytes")), "{one}");
    assert!((400.0..=500.0).contains(&number("distinct_words")), "{one}");
    assert!(number("words") > 100_000.0 && number("shuffled_bytes") > 1000.0, "{one}");
    for side in ["count_s", "limit_s"] {
        assert_eq!(one[side].as_array().unwrap().len(), 2, "{one}");
    }
    let share = number("limit_median_s") / number("count_median_s");
    assert!((number("share_of_limit") - share).abs() < 1e-6 && share > 0.0, "{one}");
    assert_eq!(figures[1]["peer"][0], "two threads, no framework", "{}", figures[1]);
}

#[test]
fn words_are_counted_as_a_program_by_hand_counts_them() {
    let cluster = TestCluster::start().unwrap();
    let sizes = ["wordcount", "--megabytes", "1", "--words", "500", "--runs", "2"];
    let args = [&sizes[..], &["--dir", "/wc"]].concat();
    assert_counted(&bench(&cluster, &args), false);
    assert!(cluster.hfs_fails(&["ls", "/wc"]).unwrap().contains("/wc"), "nothing is left behind");

    let temp = tempfile::tempdir().unwrap();
    let text = temp.path().join("text");
    std::fs::write(&text, "one two two").unwrap();
    let run = |args: &[&str]| {
        let args = [&["bench"], args, &["--local", "--json"]].concat();
        let done = hfs_command(&args).env("TMPDIR", temp.path()).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        serde_json::from_slice::<Vec<Value>>(&done.stdout).unwrap()
    };
    assert_counted(&run(&sizes), true);
    let figures = run(&["wordcount", "--text", text.to_str().unwrap(), "--runs", "1"]);
    assert_eq!((&figures[0]["words"], &figures[0]["distinct_words"]), (&3.into(), &2.into()));
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1, "only the text is left");
}

#[test]
fn a_cluster_of_its_own_is_gone_afterwards() {
    let temp = tempfile::tempdir().unwrap();
    let done = hfs_command(&[
        "bench",
        "dfsio",
        "--files",
        "2",
        "--size",
        "1000",
        "--operations",
        "write,read",
    ])
    .env("TMPDIR", temp.path())
    .output()
    .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let said = stdout(&done);
    for line in
        ["TestDFSIO : write", "TestDFSIO : read", "Throughput mb/sec", "IO rate std deviation"]
    {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn nonsense_is_refused_in_one_sentence_before_anything_starts() {
    let temp = tempfile::tempdir().unwrap();
    for (args, said) in [
        (&["dfsio", "--files", "0"][..], "--files"),
        (&["dfsio", "--size", "0"], "--size"),
        (&["dfsio", "--buffer", "0"], "--buffer"),
        (&["dfsio", "--buffer", "9g"], "--buffer"),
        (&["dfsio", "--replication", "0"], "--replication"),
        (&["dfsio", "--skip", "5"], "--skip"),
        (&["dfsio", "--operations", "read"], "read needs files"),
        (&["dfsio", "--keep"], "--keep"),
        (&["dfsio", "--dir", "/"], "--dir"),
        (&["dfsio", "--dir", "x"], "--dir"),
        (&["dfsio", "--timeline", "/nowhere/x.svg"], "/nowhere"),
        (&["shuffle", "--maps", "0"], "--maps"),
        (&["shuffle", "--reduces", "0"], "--reduces"),
        (&["shuffle", "--key-bytes", "0"], "--key-bytes"),
        (&["shuffle", "--value-bytes", "2m"], "--value-bytes"),
        (&["shuffle", "--size", "99"], "--size"),
        (&["mrbench", "--runs", "0"], "--runs"),
        (&["mrbench", "--reduces", "0"], "--reduces"),
        (&["mrbench", "--lines", "100001"], "--lines"),
        (&["terasort", "--rows", "0"], "--rows"),
        (&["terasort", "--rows", "5b"], "--rows"),
        (&["terasort", "--reduces", "0"], "--reduces"),
        (&["terasort", "--replication", "0"], "--replication"),
        (&["terasort", "--runs", "0"], "--runs"),
        (&["terasort", "--local", "--dir", "/x"], "--local"),
        (&["terasort", "--local", "--timeline", "x.svg"], "--timeline"),
        (&["wordcount", "--megabytes", "0"], "--megabytes"),
        (&["wordcount", "--words", "0"], "--words"),
        (&["wordcount", "--text", "/nowhere"], "/nowhere"),
        (&["nnbench", "--maps", "0"], "--maps"),
        (&["nnbench", "--files", "0"], "--files"),
        (&["nnbench", "--bytes", "2g"], "--bytes"),
        (&["nnbench", "--replication", "0"], "--replication"),
        (&["nnbench", "--block-size", "1000"], "--block-size"),
        (&["nnbench", "--operations", "delete"], "delete needs files"),
    ] {
        let words = [&["bench"], args].concat();
        let refused = hfs_command(&words).env("TMPDIR", temp.path()).output().unwrap();
        let told = stderr(&refused);
        assert!(!refused.status.success(), "{args:?}");
        assert!(told.contains(said) && told.lines().count() == 1, "{args:?}: {told}");
    }
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing was started");
}
