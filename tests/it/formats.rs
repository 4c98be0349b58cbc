//! Compressed input and output on a cluster of real processes.

use std::io::Read;
use std::path::PathBuf;

use hfs_mapreduce::Codec;
use hfs_mapreduce::files::Files;

use crate::jobs::{count, hard_text, read_counts, run_example};
use crate::support::{TestCluster, stderr};

/// A local file, compressed unless `codec` is `None`.
fn write(cluster: &TestCluster, name: &str, codec: Option<Codec>, text: &[u8]) -> PathBuf {
    let path = cluster.scratch().join(name);
    let mut file = Files::local().create(path.to_str().unwrap()).unwrap();
    if let Some(codec) = codec {
        file = file.compressed(codec);
    }
    file.write_all(text).unwrap();
    file.close().unwrap();
    path
}

/// The hard text in pieces, each in another format; the bzip2 file has several blocks and splits.
#[test]
fn word_count_over_files_of_all_formats_equals_an_independent_count() {
    let cluster = TestCluster::start().unwrap();
    let text = hard_text();
    cluster.hfs(&["mkdir", "-p", "/in"]).unwrap();
    // Cut behind line ends, as a cut word would be two.
    let piece = text.len() / 6;
    let mut rest = &text[..];
    let formats = [
        ("plain", None),
        ("a.gz", Some(Codec::Gzip)),
        ("b.zst", Some(Codec::Zstd)),
        ("c.lz4", Some(Codec::Lz4)),
        ("d.deflate", Some(Codec::Deflate)),
        ("e.bz2", Some(Codec::Bzip2)),
    ];
    for (name, codec) in formats {
        let near = &rest[piece.min(rest.len())..];
        let cut =
            near.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| piece + at + 1);
        let cut = if codec == Some(Codec::Bzip2) { rest.len() } else { cut };
        let local = write(&cluster, name, codec, &rest[..cut]);
        let target = format!("/in/{name}");
        cluster.hfs(&["put", "-D", "dfs.blocksize=1m", local.to_str().unwrap(), &target]).unwrap();
        rest = &rest[cut..];
    }
    assert!(rest.is_empty());
    // The bzip2 file once more, in its own directory, where the maps can be counted.
    let repeated = text.repeat(4);
    let local = write(&cluster, "large.bz2", Some(Codec::Bzip2), &repeated);
    let size = std::fs::metadata(&local).unwrap().len();
    cluster.hfs(&["mkdir", "-p", "/large"]).unwrap();
    cluster
        .hfs(&["put", "-D", "dfs.blocksize=1m", local.to_str().unwrap(), "/large/large.bz2"])
        .unwrap();

    let compress = "mapreduce.output.fileoutputformat.compress=true";
    let codec = "mapreduce.output.fileoutputformat.compress.codec=\
                 org.apache.hadoop.io.compress.GzipCodec";
    let args = ["-D", compress, "-D", codec, "--reduces", "2", "/in", "/out"];
    let done = run_example(&cluster, "wordcount", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    let expected = count(&text);
    let mut joined = Vec::new();
    for part in ["/out/part-r-00000.gz", "/out/part-r-00001.gz"] {
        let packed = cluster.hfs(&["cat", part]).unwrap();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut joined).unwrap();
    }
    assert!(read_counts(&joined) == expected);

    let split = "mapreduce.input.fileinputformat.split.maxsize=200000";
    let args = ["--json", "-D", split, "--reduces", "1", "/large", "/out2"];
    let done = run_example(&cluster, "wordcount", &args);
    assert!(done.status.success(), "{}", stderr(&done));
    let list = String::from_utf8(cluster.hfs(&["job", "list", "--json"]).unwrap()).unwrap();
    let jobs: serde_json::Value = serde_json::from_str(list.trim()).unwrap();
    let maps = jobs.to_string();
    assert!(size > 400_000, "the bzip2 file has only {size} bytes");
    let wanted = size / 220_000 + 1;
    assert!(maps.contains(&format!("\"total\":{wanted}")), "{wanted} maps of {size} bytes: {maps}");
    let output = cluster.hfs(&["cat", "/out2/part-r-00000"]).unwrap();
    assert!(read_counts(&output) == count(&repeated));
}

/// A file that was cut short fails the job with its name; there is no output that looks whole.
#[test]
fn a_gzip_file_that_was_cut_short_fails_the_job_with_its_name() {
    let cluster = TestCluster::start().unwrap();
    let whole = write(&cluster, "whole.gz", Some(Codec::Gzip), &hard_text());
    let bytes = std::fs::read(&whole).unwrap();
    let cut = cluster.scratch().join("cut.gz");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    cluster.hfs(&["mkdir", "-p", "/in"]).unwrap();
    cluster.hfs(&["put", cut.to_str().unwrap(), "/in/"]).unwrap();
    let done = run_example(&cluster, "wordcount", &["/in", "/out"]);
    assert!(!done.status.success());
    let said = stderr(&done);
    let place = format!("/in/cut.gz ends at byte {}", bytes.len() / 2);
    assert!(said.contains(&place) && said.contains("cut short"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!cluster.run(&["test", "-e", "/out"]).unwrap().status.success());
}
