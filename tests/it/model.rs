//! What the programming model promises beyond one map and one reduce, on a cluster and without one.

use std::path::Path;
use std::process::Stdio;

use crate::jobs::{example, run_example};
use crate::support::{TestCluster, stderr};

/// Names and bytes of a directory's part files here.
fn local_parts(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut parts: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| !name.starts_with(['_', '.']))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect();
    parts.sort();
    parts
}

/// Names and bytes of a directory's files in the cluster, apart from `_SUCCESS`.
fn parts(cluster: &TestCluster, dir: &str) -> Vec<(String, Vec<u8>)> {
    let copy = cluster.scratch().join(dir.trim_start_matches('/').replace('/', "-"));
    cluster.hfs(&["get", dir, copy.to_str().unwrap()]).unwrap();
    assert!(copy.join("_SUCCESS").exists());
    local_parts(&copy)
}

/// Runs an example in this machine's files, with the cluster nowhere near.
fn run_local(name: &str, args: &[&str]) {
    let done = std::process::Command::new(example(name))
        .arg("--local")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
}

#[test]
fn a_chain_builds_its_second_job_from_what_the_first_counted() {
    let cluster = TestCluster::start().unwrap();
    let local = cluster.scratch().join("text");
    std::fs::write(&local, "a b c a b a\nd e f d e d\n").unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/text"]).unwrap();
    let done = run_example(&cluster, "chain", &["/text", "/out"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let on_cluster = parts(&cluster, "/out");
    assert_eq!(on_cluster.len(), 3, "six different words, so three reduces");
    let mut lines: Vec<_> =
        on_cluster.iter().flat_map(|(_, bytes)| bytes.split(|b| *b == b'\n')).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    assert_eq!(lines, [b"1\t2", b"2\t2", b"3\t2"]);
    assert!(cluster.hfs(&["test", "-e", "/out-words"]).is_err(), "the program has removed it");

    let out = cluster.scratch().join("local-out");
    run_local("chain", &[local.to_str().unwrap(), out.to_str().unwrap()]);
    assert_eq!(local_parts(&out), on_cluster);

    // The second job can't run where something is, and the program says so after the first has run.
    let again = run_example(&cluster, "chain", &["/text", "/out"]);
    assert!(!again.status.success());
    assert!(
        stderr(&again).contains("the output directory /out exists already"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn a_job_of_two_sources_has_named_outputs_or_none_at_all() {
    let cluster = TestCluster::start().unwrap();
    let put = |name: &str, text: &str| {
        let local = cluster.scratch().join(name);
        std::fs::write(&local, text).unwrap();
        cluster.hfs(&["put", local.to_str().unwrap(), &format!("/{name}")]).unwrap();
        local.to_str().unwrap().to_owned()
    };
    let new = put("new", "a.org 200 10\n10.0.0.1 200 5\nb.org 404 7\nnonsense\n");
    let old = put("old", "a.org;3\n10.0.0.1;1\nx;y\n");
    let args = ["--reduces", "2", "/new", "/old", "/out"];
    let done = run_example(&cluster, "clean_logs", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("  bad=2\n  good=5\n"), "{}", stderr(&done));
    let on_cluster = parts(&cluster, "/out");
    let all = |prefix: &str| {
        let of = on_cluster.iter().filter(|(name, _)| name.starts_with(prefix));
        let text: Vec<u8> = of.flat_map(|(_, bytes)| bytes.clone()).collect();
        let mut lines: Vec<_> =
            String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(all("part-r-"), ["a.org\t13", "b.org\t7"]);
    assert_eq!(all("nameless-r-"), ["10.0.0.1\t6"]);
    assert_eq!(on_cluster.len(), 3, "only the reduce that has nameless hosts has their file");

    let out = cluster.scratch().join("local-out");
    run_local("clean_logs", &["--reduces", "2", &new, &old, out.to_str().unwrap()]);
    assert_eq!(local_parts(&out), on_cluster);

    let before = cluster.hfs(&["ls", "-C", "/"]).unwrap();
    let done = run_example(&cluster, "clean_logs", &["--check", "/new", "/old"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("  bad=2\n  good=5\n"), "{}", stderr(&done));
    assert!(!stderr(&done).contains("output:"), "{}", stderr(&done));
    assert_eq!(cluster.hfs(&["ls", "-C", "/"]).unwrap(), before, "nothing is written");
}

#[test]
fn too_many_counters_fail_a_job_at_once() {
    let cluster = TestCluster::start().unwrap();
    let local = cluster.scratch().join("new");
    std::fs::write(&local, "a.org 200 10\nnonsense\n").unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/new"]).unwrap();
    let args = ["-D", "mapreduce.job.counters.max=1", "--check", "/new", "/new"];
    let failed = run_example(&cluster, "clean_logs", &args);
    assert!(!failed.status.success());
    let told = stderr(&failed);
    assert!(told.contains("at most 1 counters; use fewer, or raise it with -D"), "{told}");
    // Another attempt would want them, too: each task has been tried once.
    assert!(!told.contains("_m_000000_1") && !told.contains("_m_000001_1"), "{told}");
}

/// All lines of the part files, one file after another.
fn lines(parts: &[(String, Vec<u8>)]) -> Vec<String> {
    let text: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_secondary_sort_in_total_order_is_one_sorted_list() {
    let cluster = TestCluster::start().unwrap();
    let mut pairs: Vec<(i64, i64)> =
        (0..30_000i64).map(|n| (n * 7919 % 211 - 100, n * 104_729 % 10_007 - 5_000)).collect();
    let text: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let local = cluster.scratch().join("pairs");
    std::fs::write(&local, text).unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/pairs"]).unwrap();
    let splits = ["-D", "mapreduce.input.fileinputformat.split.maxsize=100000"];
    let args = [&splits[..], &["--reduces", "3", "--ordered", "/pairs", "/out"]].concat();
    let done = run_example(&cluster, "secondary_sort", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    let on_cluster = parts(&cluster, "/out");

    pairs.sort_unstable();
    let mut expected = Vec::new();
    let mut group = None;
    for (first, second) in pairs {
        if group != Some(first) {
            expected.push("-".repeat(48));
            group = Some(first);
        }
        expected.push(format!("{first}\t{second}"));
    }
    assert_eq!(lines(&on_cluster), expected);
    let sizes: Vec<_> = on_cluster.iter().map(|(_, bytes)| bytes.len()).collect();
    let share = sizes.iter().sum::<usize>() / 3;
    assert!(sizes.iter().all(|size| size.abs_diff(share) < share / 4), "{sizes:?}");

    let out = cluster.scratch().join("local-out");
    let paths = [local.to_str().unwrap(), out.to_str().unwrap()];
    run_local("secondary_sort", &[&["--reduces", "3", "--ordered"], &paths[..]].concat());
    assert_eq!(lines(&local_parts(&out)), expected);
}

/// Ranks by repeated multiplication, in the units of the example.
fn page_ranks(links: &[Vec<usize>], damping: f64) -> Vec<f64> {
    let pages = links.len();
    let mut ranks = vec![1.0; pages];
    for _ in 0..200 {
        let lost: f64 = (0..pages).filter(|&page| links[page].is_empty()).map(|p| ranks[p]).sum();
        let mut next = vec![1.0 - damping + damping * lost / pages as f64; pages];
        for (page, targets) in links.iter().enumerate() {
            for &target in targets {
                next[target] += damping * ranks[page] / targets.len() as f64;
            }
        }
        ranks = next;
    }
    ranks
}

#[test]
fn page_ranks_converge_over_as_many_jobs_as_it_takes() {
    let cluster = TestCluster::start().unwrap();
    // Every seventh page has no links, and page 0 has by far the most to it.
    let links: Vec<Vec<usize>> = (0..60)
        .map(|page| if page % 7 == 3 { vec![] } else { vec![page / 2, page * 31 % 60, 0] })
        .collect();
    let mut text = String::new();
    for (page, targets) in links.iter().enumerate().filter(|(_, targets)| !targets.is_empty()) {
        text.push_str(&format!("p{page}"));
        targets.iter().for_each(|target| text.push_str(&format!(" p{target}")));
        text.push('\n');
    }
    let named: std::collections::BTreeSet<_> = text.split_whitespace().collect();
    let local = cluster.scratch().join("links");
    std::fs::write(&local, &text).unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/links"]).unwrap();
    // Pages that nobody names are no pages.
    let numbers: Vec<usize> = (0..60).filter(|page| named.contains(&*format!("p{page}"))).collect();
    let index = |page: usize| numbers.iter().position(|&other| other == page).unwrap();
    let graph: Vec<Vec<usize>> = numbers
        .iter()
        .map(|&page| links[page].iter().map(|&target| index(target)).collect())
        .collect();
    let mut expected: Vec<(f64, String)> = page_ranks(&graph, 0.85)
        .into_iter()
        .zip(&numbers)
        .map(|(rank, page)| (rank, format!("p{page}")))
        .collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let close = |parts: &[(String, Vec<u8>)]| {
        let got: Vec<(f64, String)> = lines(parts)
            .iter()
            .map(|line| line.split_once('\t').unwrap())
            .map(|(rank, page)| (rank.parse().unwrap(), page.to_owned()))
            .collect();
        assert!(got.is_sorted_by(|a, b| a.0 >= b.0), "{got:?}");
        assert_eq!(got.len(), expected.len());
        for (rank, page) in &got {
            let wanted = expected.iter().find(|(_, name)| name == page).unwrap().0;
            let off = (rank - wanted).abs() / wanted.max(1.0);
            assert!(off < 1e-4, "{page} has {rank}, not {wanted}");
        }
    };
    let args = ["--reduces", "2", "--epsilon", "1e-5", "/links", "/ranks"];
    let done = run_example(&cluster, "pagerank", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("pagerank: round 5: submitted as"), "{}", stderr(&done));
    let on_cluster = parts(&cluster, "/ranks");
    close(&on_cluster);
    assert_eq!(on_cluster.len(), 2);
    let left = String::from_utf8(cluster.hfs(&["ls", "-C", "/"]).unwrap()).unwrap();
    assert!(!left.contains("/ranks-"), "the rounds are removed: {left}");

    let out = cluster.scratch().join("local-ranks");
    run_local("pagerank", &["--epsilon", "1e-5", local.to_str().unwrap(), out.to_str().unwrap()]);
    close(&local_parts(&out));
}
