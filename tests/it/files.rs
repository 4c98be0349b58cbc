//! Files through the command line: what goes in comes out, in FsShell's words.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::support::{TestCluster, stderr, stdout};

/// Bytes that do not repeat within a block, the same for the same length.
pub fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ length as u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

const BLOCK: usize = 1 << 20;

#[test]
fn what_goes_in_comes_out_at_every_size() {
    let cluster = TestCluster::files(3).unwrap();
    let sizes = [
        0,
        1,
        511,
        512,
        513,
        65_536,
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        3 * BLOCK,
        3 * BLOCK + 511,
        5 * BLOCK - 1,
    ];
    for size in sizes {
        let bytes = sample(size);
        let local = cluster.scratch().join("in");
        let back = cluster.scratch().join(format!("out-{size}"));
        std::fs::write(&local, &bytes).unwrap();
        let path = format!("/sizes/{size}");
        cluster.hfs(&["mkdir", "-p", "/sizes"]).unwrap();
        let (local, back_text) = (local.to_str().unwrap(), back.to_str().unwrap());
        cluster.hfs(&["put", "-D", "dfs.blocksize=1048576", local, &path]).unwrap();
        cluster.hfs(&["get", &path, back_text]).unwrap();
        assert!(std::fs::read(&back).unwrap() == bytes, "get of {size} bytes");
        assert!(cluster.hfs(&["cat", &path]).unwrap() == bytes, "cat of {size} bytes");
        // The same bytes over the wire, not from the replica's file.
        let remote = ["-D", "dfs.client.read.shortcircuit=false", "cat", &path];
        assert!(cluster.hfs(&remote).unwrap() == bytes, "remote cat of {size} bytes");
        let stat = cluster.hfs(&["stat", "%b %o %r %F", &path]).unwrap();
        assert_eq!(String::from_utf8_lossy(&stat).trim(), format!("{size} 1048576 3 regular file"));
    }
}

#[test]
fn names_with_spaces_newlines_and_unicode() {
    let cluster = TestCluster::files(1).unwrap();
    let local = cluster.scratch().join("f");
    std::fs::write(&local, b"hello\n").unwrap();
    let local = local.to_str().unwrap();
    for name in ["with space", "with\nnewline", "größe-數據", "tab\there", "quote'\"`"] {
        let path = format!("/{name}");
        cluster.hfs(&["put", local, &path]).unwrap();
        assert_eq!(cluster.hfs(&["cat", &path]).unwrap(), b"hello\n", "{name:?}");
        cluster.hfs(&["test", "-f", &path]).unwrap();
    }
}

#[test]
fn a_name_that_is_not_utf8_is_refused_and_the_others_go() {
    let cluster = TestCluster::files(1).unwrap();
    let dir = cluster.scratch().join("names");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("good"), b"good").unwrap();
    std::fs::write(dir.join(std::ffi::OsStr::from_bytes(b"bad-\xff")), b"bad").unwrap();
    let said = cluster.hfs_fails(&["put", dir.to_str().unwrap(), "/names"]).unwrap();
    assert!(said.contains("UTF-8"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(cluster.hfs(&["cat", "/names/good"]).unwrap(), b"good");
}

#[test]
fn fsshells_words_and_exit_codes() {
    let cluster = TestCluster::files(1).unwrap();
    let said = |args: &[&str]| {
        let output = cluster.run(args).unwrap();
        (output.status.code(), stdout(&output), stderr(&output))
    };
    assert_eq!(
        said(&["ls", "/none"]),
        (Some(1), String::new(), "ls: `/none': No such file or directory\n".into())
    );
    assert_eq!(said(&["cat", "/none"]).2, "cat: `/none': No such file or directory\n");
    assert_eq!(said(&["mkdir", "/a/b"]).2, "mkdir: `/a/b': No such file or directory\n");
    assert_eq!(said(&["mkdir", "-p", "/a/b"]).0, Some(0));
    assert_eq!(said(&["mkdir", "/a"]).2, "mkdir: `/a': File exists\n");
    assert_eq!(said(&["rm", "/a"]).2, "rm: `/a': Is a directory\n");
    assert_eq!(said(&["rmdir", "/a"]).2, "rmdir: `/a': Directory is not empty\n");
    assert_eq!(said(&["test", "-d", "/a"]).0, Some(0));
    assert_eq!(said(&["test", "-f", "/a"]).0, Some(1));
    assert_eq!(said(&["test", "-e", "/none"]), (Some(1), String::new(), String::new()));
    assert_eq!(said(&["touchz", "/a/z"]).0, Some(0));
    assert_eq!(said(&["test", "-z", "/a/z"]).0, Some(0));
    assert_eq!(said(&["mv", "/a/z", "/a/y"]).0, Some(0));
    assert_eq!(said(&["mv", "/a/z", "/a/w"]).2, "mv: `/a/z': No such file or directory\n");
    let (code, out, _) = said(&["fs", "-ls", "/a"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "Found 2 items");
    assert!(lines[1].starts_with("drwxr-xr-x   - "), "{out}");
    assert!(lines[1].ends_with(" /a/b"), "{out}");
    assert!(lines[2].starts_with("-rw-r--r--   "), "{out}");
    assert!(lines[2].ends_with(" /a/y"), "{out}");
    assert_eq!(said(&["dfs", "-rm", "-r", "-skipTrash", "/a"]).1, "Deleted /a\n");
    assert_eq!(said(&["rm", "-f", "/none"]).0, Some(0));
    assert_eq!(said(&["count", "/"]).1, "           1            0                  0 /\n");
    assert_eq!(said(&["nonsense"]).0.map(|code| code != 0), Some(true));
}

#[test]
fn streams_appends_and_merges() {
    let cluster = TestCluster::files(3).unwrap();
    let mut put = cluster.command(&["put", "-", "/stream"]).stdin(Stdio::piped()).spawn().unwrap();
    put.stdin.take().unwrap().write_all(b"one\n").unwrap();
    assert!(put.wait().unwrap().success());
    let more = cluster.scratch().join("more");
    std::fs::write(&more, b"two\n").unwrap();
    let more = more.to_str().unwrap();
    // Each append starts in the middle of a checksum chunk.
    for _ in 0..3 {
        cluster.hfs(&["appendToFile", more, "/stream"]).unwrap();
    }
    assert_eq!(cluster.hfs(&["cat", "/stream"]).unwrap(), b"one\ntwo\ntwo\ntwo\n");
    assert_eq!(cluster.hfs(&["tail", "/stream"]).unwrap(), b"one\ntwo\ntwo\ntwo\n");
    let said = cluster.hfs_fails(&["put", more, "/stream"]).unwrap();
    assert_eq!(said, "put: `/stream': File exists\n");
    cluster.hfs(&["put", "-f", more, "/stream"]).unwrap();
    cluster.hfs(&["mkdir", "/parts"]).unwrap();
    cluster.hfs(&["cp", "/stream", "/parts/a"]).unwrap();
    cluster.hfs(&["cp", "/stream", "/parts/b"]).unwrap();
    let merged = cluster.scratch().join("merged");
    cluster.hfs(&["getmerge", "/parts", merged.to_str().unwrap()]).unwrap();
    assert_eq!(std::fs::read(&merged).unwrap(), b"two\ntwo\n");
    assert_eq!(cluster.hfs(&["cat", "/parts/{a,b}"]).unwrap(), b"two\ntwo\n");
}

#[test]
fn checksums_are_hdfss() {
    let cluster = TestCluster::files(1).unwrap();
    let local = cluster.scratch().join("hello");
    std::fs::write(&local, b"hello\n").unwrap();
    cluster.hfs(&["put", local.to_str().unwrap(), "/hello"]).unwrap();
    let sum = String::from_utf8(cluster.hfs(&["checksum", "/hello"]).unwrap()).unwrap();
    // Computed by Apache Hadoop's rule for this content, 512 bytes per CRC-32C.
    assert_eq!(
        sum.trim_end(),
        "/hello\tMD5-of-0MD5-of-512CRC32C\t000002000000000000000000\
         2b559725e23eb93541b0675b41e25ab3"
    );
}

#[test]
fn a_restart_brings_everything_back() {
    let mut cluster = TestCluster::files(3).unwrap();
    let bytes = sample(2 * BLOCK + 77);
    let local = cluster.scratch().join("in");
    std::fs::write(&local, &bytes).unwrap();
    cluster.hfs(&["mkdir", "-p", "/kept/dir"]).unwrap();
    cluster.hfs(&["put", "-D", "dfs.blocksize=1m", local.to_str().unwrap(), "/kept/file"]).unwrap();
    cluster.hfs(&["chmod", "700", "/kept/dir"]).unwrap();
    let before = cluster.hfs(&["ls", "-R", "/"]).unwrap();
    cluster.restart().unwrap();
    assert_eq!(
        String::from_utf8(cluster.hfs(&["ls", "-R", "/"]).unwrap()),
        String::from_utf8(before)
    );
    assert!(cluster.hfs(&["cat", "/kept/file"]).unwrap() == bytes);
}

#[test]
fn safe_mode_refuses_changes_and_says_how_to_leave() {
    let cluster = TestCluster::files(1).unwrap();
    assert_eq!(cluster.hfs(&["admin", "safemode", "get"]).unwrap(), b"Safe mode is OFF\n");
    assert_eq!(cluster.hfs(&["admin", "safemode", "enter"]).unwrap(), b"Safe mode is ON\n");
    cluster.hfs(&["ls", "/"]).unwrap();
    let said = cluster.hfs_fails(&["-D", "hfs.client.retry-budget=200", "mkdir", "/x"]).unwrap();
    assert!(said.contains("hfs admin safemode leave"), "{said}");
    assert_eq!(cluster.hfs(&["admin", "safemode", "leave"]).unwrap(), b"Safe mode is OFF\n");
    cluster.hfs(&["mkdir", "/x"]).unwrap();
}
