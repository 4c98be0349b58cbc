//! Processes are killed with SIGKILL and bits are flipped while files are written and read.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use hfs::cluster::{ClusterOptions, Node, Role};
use hfs_client::blocking::FileSystem;
use hfs_client::{ClientConfig, CreateOptions};

use crate::files::sample;
use crate::support::{TestCluster, eventually};

fn connect(cluster: &TestCluster) -> FileSystem {
    FileSystem::connect(cluster.fs_url().as_str(), ClientConfig::default()).unwrap()
}

fn connect_over_the_wire(cluster: &TestCluster) -> FileSystem {
    let config = ClientConfig { short_circuit: false, ..ClientConfig::default() };
    FileSystem::connect(cluster.fs_url().as_str(), config).unwrap()
}

/// How many replicas each block of a file has, as the namenode knows it.
fn replicas(fs: &FileSystem, path: &str) -> Vec<usize> {
    let blocks = fs.block_locations(path, 0, u64::MAX >> 1).unwrap();
    blocks.iter().map(|block| block.hosts.len()).collect()
}

fn wait_for_replicas(fs: &FileSystem, path: &str, wanted: usize) {
    eventually(&format!("{path} has {wanted} replicas of each block"), || {
        replicas(fs, path).iter().all(|count| *count == wanted).then_some(())
    })
    .unwrap();
}

/// Every file below a directory whose name passes.
fn files_below(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path, wanted));
        } else if wanted(&entry.file_name().to_string_lossy()) {
            found.push(path);
        }
    }
    found
}

fn is_block_file(name: &str) -> bool {
    name.starts_with("blk_") && !name.ends_with(".meta")
}

/// Bytes of blocks in a datanode's directories.
fn on_disk(cluster: &TestCluster, datanode: u16) -> u64 {
    let dir = cluster.cluster.data_dir(Node::new(Role::Datanode, datanode));
    let files = files_below(&dir, &is_block_file);
    files.iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}

/// FAULTS 7: the pipeline's first, middle and last datanode in turn dies under a writer; every byte is there.
#[test]
fn fault_07_a_datanode_dies_in_the_middle_of_a_write() {
    let mut cluster = TestCluster::files(4).unwrap();
    let fs = connect_over_the_wire(&cluster);
    let bytes = sample(24 << 20);
    for victim in 1..=3 {
        let path = format!("/write-{victim}");
        let options = CreateOptions { block_size: Some(8 << 20), ..CreateOptions::default() };
        let mut writer = fs.create(&path, &options).unwrap();
        let (first, rest) = bytes.split_at((8 << 20) + 3_000_001);
        writer.write_all(first).unwrap();
        writer.hflush().unwrap();
        cluster.cluster.kill(Role::Datanode, victim).unwrap();
        writer.write_all(rest).unwrap();
        writer.close().unwrap();
        assert!(fs.open(&path).unwrap().read_all().unwrap() == bytes, "victim {victim}");
        cluster.cluster.start_one(Role::Datanode, victim).unwrap();
        wait_for_replicas(&fs, &path, 3);
    }
    for victim in 1..=3 {
        let path = format!("/write-{victim}");
        assert!(fs.open(&path).unwrap().read_all().unwrap() == bytes, "victim {victim}, later");
    }
}

/// The datanode a reader reads from dies under it; the reader goes on with another.
#[test]
fn a_datanode_dies_in_the_middle_of_a_read() {
    let mut cluster = TestCluster::files(3).unwrap();
    let fs = connect_over_the_wire(&cluster);
    let bytes = sample(32 << 20);
    let mut writer = fs.create("/read", &CreateOptions::default()).unwrap();
    writer.write_all(&bytes).unwrap();
    writer.close().unwrap();
    wait_for_replicas(&fs, "/read", 3);
    let mut reader = fs.open("/read").unwrap();
    let mut got = reader.read_chunk().unwrap().to_vec();
    assert!(!got.is_empty() && got.len() < bytes.len() / 2);
    // The nearest replica comes first; it is the one being read.
    let blocks = fs.block_locations("/read", 0, 1).unwrap();
    let nearest = (1..=3)
        .find(|n| Node::new(Role::Datanode, *n).host().to_string() == blocks[0].hosts[0])
        .unwrap();
    cluster.cluster.kill(Role::Datanode, nearest).unwrap();
    loop {
        let chunk = reader.read_chunk().unwrap();
        if chunk.is_empty() {
            break;
        }
        got.extend_from_slice(&chunk);
    }
    assert!(got == bytes);
}

/// FAULTS 1 and 2, promise G-d: every create that was answered is there after `kill -9` of the namenode, and
/// none is half there.
#[test]
fn fault_01_the_namenode_dies_in_a_burst_of_creates() {
    let mut cluster = TestCluster::files(1).unwrap();
    let url = cluster.fs_url();
    let acked = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (url, acked, stop) = (&url, &acked, &stop);
            scope.spawn(move || {
                let config = ClientConfig {
                    retry_budget: std::time::Duration::ZERO,
                    ..ClientConfig::default()
                };
                let fs = FileSystem::connect(url.as_str(), config).unwrap();
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let path = format!("/burst/{thread}/{i}");
                    let created = fs
                        .create(&path, &CreateOptions::default())
                        .and_then(hfs_client::blocking::FileWriter::close);
                    match created {
                        Ok(()) => acked.lock().unwrap().push(path),
                        Err(_) => break,
                    }
                }
            });
        }
        eventually("some hundred creates are answered", || {
            (acked.lock().unwrap().len() > 400).then_some(())
        })
        .unwrap();
        cluster.cluster.kill(Role::Namenode, 1).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    cluster.cluster.start_one(Role::Namenode, 1).unwrap();
    let fs = connect(&cluster);
    let acked = acked.into_inner().unwrap();
    for path in &acked {
        let status = fs.status(path).unwrap();
        assert!(status.is_file() && status.length == 0, "{path}");
    }
    // What was under way may or may not be there; what is there is whole: it can be opened.
    for thread in 0..8 {
        for status in fs.list(&format!("/burst/{thread}")).unwrap() {
            assert!(fs.open(&status.path).unwrap().read_all().unwrap().is_empty());
        }
    }
    // And the file system goes on.
    fs.create("/after", &CreateOptions::default()).unwrap().close().unwrap();
}

/// FAULTS 16: a flipped bit in a replica is never read; the replica is replaced, and only then removed.
#[test]
fn fault_16_a_flipped_bit_is_never_read_and_is_healed() {
    let cluster = TestCluster::files(3).unwrap();
    for wire in [false, true] {
        let fs = if wire { connect_over_the_wire(&cluster) } else { connect(&cluster) };
        let path = format!("/flipped-{wire}");
        let bytes = sample(3_000_000);
        let mut writer = fs.create(&path, &CreateOptions::default()).unwrap();
        writer.write_all(&bytes).unwrap();
        writer.close().unwrap();
        wait_for_replicas(&fs, &path, 3);
        let block = fs.block_locations(&path, 0, 1).unwrap().remove(0);
        let name = format!("blk_{}", block.block_id);
        let replica_on = |host: &str| {
            let node = (1..=3)
                .map(|n| Node::new(Role::Datanode, n))
                .find(|node| node.host().to_string() == host)?;
            files_below(&cluster.cluster.data_dir(node), &|file| file == name).pop()
        };
        // The two replicas that a reader would try first.
        for host in &block.hosts[..2] {
            let file = replica_on(host).unwrap();
            let mut content = std::fs::read(&file).unwrap();
            content[1_234_567] ^= 0x10;
            std::fs::write(&file, content).unwrap();
        }
        assert!(fs.open(&path).unwrap().read_all().unwrap() == bytes, "over the wire: {wire}");
        // What readers meet they report; every replica is whole again in the end, and no read is wrong.
        eventually("every replica is whole again", || {
            assert!(fs.open(&path).unwrap().read_all().unwrap() == bytes);
            let whole = |host: &String| {
                replica_on(host)
                    .and_then(|file| std::fs::read(file).ok())
                    .is_some_and(|content| content == bytes)
            };
            block.hosts.iter().all(whole).then_some(())
        })
        .unwrap();
    }
}

/// A datanode that does not come back is replaced: its blocks are copied to others.
#[test]
fn a_lost_datanodes_blocks_are_made_again() {
    let mut cluster = TestCluster::files(4).unwrap();
    let fs = connect(&cluster);
    let bytes = sample(5_000_000);
    for i in 0..5 {
        let options = CreateOptions { block_size: Some(1 << 20), ..CreateOptions::default() };
        let mut writer = fs.create(&format!("/lost/{i}"), &options).unwrap();
        writer.write_all(&bytes).unwrap();
        writer.close().unwrap();
    }
    cluster.cluster.kill(Role::Datanode, 1).unwrap();
    let gone = Node::new(Role::Datanode, 1).host().to_string();
    for i in 0..5 {
        let path = format!("/lost/{i}");
        eventually(&format!("{path} has three live replicas again"), || {
            let blocks = fs.block_locations(&path, 0, u64::MAX >> 1).ok()?;
            blocks.iter().all(|b| b.hosts.len() == 3 && !b.hosts.contains(&gone)).then_some(())
        })
        .unwrap();
        assert!(fs.open(&path).unwrap().read_all().unwrap() == bytes);
    }
}

/// FAULTS 10: a writer is killed; its file is closed at what it had flushed or more, and can be read.
#[test]
fn fault_10_a_killed_writers_file_is_closed_with_what_it_flushed() {
    let cluster = TestCluster::start_with(|options| {
        ClusterOptions { workers: Some(0), ..options }
            .setting(Role::Namenode, "lease-soft-limit", "500ms")
            .setting(Role::Namenode, "lease-hard-limit", "2s")
    })
    .unwrap();
    let fs = connect(&cluster);
    let mut put = cluster.command(&["put", "-", "/orphan"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = put.stdin.take().unwrap();
    let bytes = sample(8 << 20);
    std::io::Write::write_all(&mut pipe, &bytes).unwrap();
    eventually("the writer has a block", || {
        let dirs = (1..=3).map(|n| cluster.cluster.data_dir(Node::new(Role::Datanode, n)));
        let written: u64 = dirs
            .flat_map(|dir| files_below(&dir, &is_block_file))
            .filter_map(|file| file.metadata().ok())
            .map(|meta| meta.len())
            .sum();
        (written >= 6 << 20).then_some(())
    })
    .unwrap();
    put.kill().unwrap();
    put.wait().unwrap();
    // `put` writes under a temporary name; that name is what the killed writer leaves behind.
    let status = eventually("the orphan is closed", || {
        let left = fs.list("/").ok()?.into_iter().find(|s| s.name().starts_with("orphan"))?;
        fs.wait(fs.inner().is_file_closed(&left.path)).ok()?.then_some(left.path)
    })
    .unwrap();
    let length = fs.status(&status).unwrap().length as usize;
    assert!(length > 0, "nothing of what was on the datanodes was kept");
    assert!(fs.open(&status).unwrap().read_all().unwrap() == bytes[..length]);
}

/// Writers' bytes that the namenode has no record of are on the datanodes; a namenode that comes back and takes
/// the file away before they have reported loses none of them.
#[test]
fn flushed_bytes_outlive_the_writer_and_the_namenode() {
    let mut cluster = TestCluster::start_with(|options| {
        ClusterOptions { workers: Some(0), ..options }
            .setting(Role::Namenode, "lease-soft-limit", "500ms")
            .setting(Role::Namenode, "lease-hard-limit", "1s")
            .setting(Role::Namenode, "lease-recovery-grace", "10s")
    })
    .unwrap();
    let mut put = cluster.command(&["put", "-", "/orphan"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = put.stdin.take().unwrap();
    let bytes = sample(8 << 20);
    std::io::Write::write_all(&mut pipe, &bytes).unwrap();
    eventually("5 MB are on every datanode", || {
        (1..=3).all(|n| on_disk(&cluster, n) >= 5 << 20).then_some(())
    })
    .unwrap();
    cluster.cluster.kill(Role::Namenode, 1).unwrap();
    put.kill().unwrap();
    put.wait().unwrap();
    // The datanodes come back well after the lease has expired.
    for n in 1..=3 {
        cluster.cluster.kill(Role::Datanode, n).unwrap();
    }
    cluster.cluster.start_one(Role::Namenode, 1).unwrap();
    let fs = connect(&cluster);
    let path =
        fs.list("/").unwrap().into_iter().find(|s| s.name().starts_with("orphan")).unwrap().path;
    let closed = |path: &str| fs.wait(fs.inner().is_file_closed(path)).unwrap();
    assert!(!fs.wait(fs.inner().recover_lease(&path)).unwrap(), "closed without its bytes");
    for n in 1..=3 {
        cluster.cluster.start_one(Role::Datanode, n).unwrap();
    }
    eventually("the orphan is closed", || closed(&path).then_some(())).unwrap();
    let length = fs.status(&path).unwrap().length as usize;
    assert!(length >= 5 << 20, "{length} bytes were kept");
    assert!(fs.open(&path).unwrap().read_all().unwrap() == bytes[..length]);
}

/// FAULTS 2: the namenode dies and comes back in the middle of a write; the writer does not notice.
#[test]
fn the_namenode_restarts_in_the_middle_of_a_write() {
    let mut cluster = TestCluster::files(3).unwrap();
    let fs = connect_over_the_wire(&cluster);
    let bytes = sample(24 << 20);
    let options = CreateOptions { block_size: Some(4 << 20), ..CreateOptions::default() };
    let mut writer = fs.create("/unnoticed", &options).unwrap();
    let (first, rest) = bytes.split_at((8 << 20) + 1_000_001);
    writer.write_all(first).unwrap();
    writer.hflush().unwrap();
    cluster.cluster.kill(Role::Namenode, 1).unwrap();
    std::thread::scope(|scope| {
        // The rest of this block needs no namenode; the next one does, and there is none then.
        let writing = scope.spawn(|| {
            writer.write_all(rest)?;
            writer.close()
        });
        eventually("the writer has come to the end of its block", || {
            (on_disk(&cluster, 1) >= 12 << 20).then_some(())
        })
        .unwrap();
        assert!(!writing.is_finished());
        cluster.cluster.start_one(Role::Namenode, 1).unwrap();
        writing.join().unwrap().unwrap();
    });
    assert_eq!(fs.status("/unnoticed").unwrap().length as usize, bytes.len());
    assert!(fs.open("/unnoticed").unwrap().read_all().unwrap() == bytes);
    wait_for_replicas(&fs, "/unnoticed", 3);
}
