//! The client against a namenode and datanodes that fail on request.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hfs_protocol::error::ErrorKind as RemoteKind;
use proptest::prelude::*;

use crate::testing::{BLOCK, FakeCluster, PACKET, pattern};
use crate::{ChecksumCombine, ClientConfig, CreateOptions, ErrorKind, FileSystem};

async fn read_back(fs: &FileSystem, path: &str) -> Vec<u8> {
    fs.open(path).await.unwrap().read_to_end().await.unwrap()
}

/// Every block of a closed file is whole on every node the namenode names.
fn assert_replicas_whole(cluster: &FakeCluster, path: &str, bytes: &[u8]) {
    let file = cluster.namenode.file(path);
    assert!(!file.open);
    let mut at = 0;
    for block in &file.blocks {
        let length = block.b.num_bytes() as usize;
        for node in &block.locs {
            let node = cluster.node(&node.id.datanode_uuid);
            let replica = node.replica(block.b.block_id).unwrap();
            assert!(replica.closed);
            assert_eq!(replica.stamp, block.b.generation_stamp);
            assert_eq!(replica.data, bytes[at..at + length]);
        }
        at += length;
    }
    assert_eq!(at, bytes.len());
}

#[tokio::test]
async fn files_of_many_lengths_are_written_and_read_back() {
    let cluster = FakeCluster::start(3).await;
    let fs = cluster.connect().await;
    let block = BLOCK as usize;
    let lengths = [0, 1, 511, 512, 513, PACKET, PACKET + 1, block - 1, block, block + 1];
    for length in lengths.into_iter().chain([3 * block + 777]) {
        let path = format!("/f{length}");
        let bytes = pattern(length);
        cluster.put(&fs, &path, &bytes).await;
        assert_replicas_whole(&cluster, &path, &bytes);
        assert_eq!(read_back(&fs, &path).await, bytes, "{length}");
        let status = fs.status(&path).await.unwrap();
        assert_eq!((status.length, status.replication), (length as u64, 3));
    }
}

#[tokio::test]
async fn odd_positions_and_seeks_read_the_right_bytes() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    let bytes = pattern(2 * BLOCK as usize + 99);
    cluster.put(&fs, "/f", &bytes).await;
    let mut reader = fs.open("/f").await.unwrap();
    for (from, length) in [(0, 1), (511, 2), (BLOCK as usize - 3, 6), (100, 20_000), (32_800, 500)]
    {
        let mut buffer = vec![0; length];
        let count = reader.read_at(from as u64, &mut buffer).await.unwrap();
        assert_eq!(count, length.min(bytes.len() - from));
        assert_eq!(buffer[..count], bytes[from..from + count]);
        reader.seek(from as u64);
        let mut buffer = vec![0; count];
        reader.read_exact(&mut buffer).await.unwrap();
        assert_eq!(buffer, bytes[from..from + count]);
    }
    reader.seek(1 << 40);
    assert!(reader.read_chunk().await.unwrap().is_empty());
    assert_eq!(reader.read_at(1 << 40, &mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_to_datanodes_are_used_again() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    cluster.put(&fs, "/f", &pattern(1000)).await;
    let before = cluster.datanodes[0].state.lock().connections;
    let reader = fs.open("/f").await.unwrap();
    for _ in 0..10 {
        reader.read_at(3, &mut [0; 500]).await.unwrap();
    }
    assert_eq!(cluster.datanodes[0].state.lock().connections, before + 1);
}

#[tokio::test]
async fn a_listing_is_paged() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    for name in ["a", "b", "c", "d", "e"] {
        cluster.put(&fs, &format!("/d/{name}"), b"x").await;
    }
    let names: Vec<_> =
        fs.list("/d").await.unwrap().iter().map(|status| status.path.clone()).collect();
    assert_eq!(names, ["/d/a", "/d/b", "/d/c", "/d/d", "/d/e"]);
    assert_eq!(cluster.namenode.count("getListing"), 3);
}

#[tokio::test]
async fn a_reader_goes_to_another_replica_without_its_caller_noticing() {
    let cluster = FakeCluster::start(3).await;
    let fs = cluster.connect().await;
    let bytes = pattern(2 * BLOCK as usize);
    cluster.put(&fs, "/f", &bytes).await;
    cluster.datanodes[0].state.lock().break_reads_after = Some(2);
    cluster.datanodes[1].kill();
    assert!(read_back(&fs, "/f").await == bytes);
    let mut buffer = vec![0; bytes.len()];
    fs.open("/f").await.unwrap().read_at(0, &mut buffer).await.unwrap();
    assert_eq!(buffer, bytes);
}

#[tokio::test]
async fn corrupt_bytes_are_never_given_out_and_are_reported() {
    let cluster = FakeCluster::start(2).await;
    let fs = cluster.connect().await;
    let bytes = pattern(BLOCK as usize);
    cluster.put(&fs, "/f", &bytes).await;
    cluster.datanodes[0].state.lock().corrupt_reads = true;
    assert!(read_back(&fs, "/f").await == bytes);
    let deadline = Instant::now() + Duration::from_secs(5);
    while cluster.namenode.state.lock().bad_blocks.is_empty() {
        assert!(Instant::now() < deadline, "the corrupt replica was not reported");
        tokio::task::yield_now().await;
    }
    let bad = cluster.namenode.state.lock().bad_blocks[0].clone();
    assert_eq!(bad.locs[0].id.datanode_uuid, "uuid-0");

    cluster.datanodes[1].state.lock().corrupt_reads = true;
    let config = ClientConfig { block_acquire_failures_max: 1, ..FakeCluster::config() };
    let fs = cluster.connect_with(config).await;
    let read = fs.open("/f").await.unwrap().read_to_end().await;
    let error = read.map(|bytes| bytes.len()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("/f"), "{error}");
}

#[tokio::test]
async fn a_local_replica_is_mapped_and_verified() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    let bytes = pattern(BLOCK as usize + 100);
    cluster.put(&fs, "/f", &bytes).await;
    let dir = tempfile::tempdir().unwrap();
    cluster.datanodes[0].state.lock().local_dir = Some(dir.path().to_owned());
    let fs = cluster.connect().await;
    let reader = fs.open("/f").await.unwrap();
    let mapped = reader.map_range(10, 1 << 30).await.unwrap().unwrap();
    assert_eq!(mapped.bytes().unwrap(), &bytes[10..BLOCK as usize]);
    assert!(read_back(&fs, "/f").await == bytes);
    assert_eq!(cluster.datanodes[0].state.lock().reads, 0, "no byte came over the network");

    // A replica whose file is damaged is not used directly, and its datanode's bytes are.
    let block = cluster.namenode.file("/f").blocks[0].b.block_id;
    let mut damaged = bytes[..BLOCK as usize].to_vec();
    damaged[5000] ^= 4;
    std::fs::write(dir.path().join(format!("blk_{block}")), &damaged).unwrap();
    let fs = cluster.connect().await;
    let reader = fs.open("/f").await.unwrap();
    let mapped = reader.map_range(0, BLOCK).await.unwrap().unwrap();
    assert_eq!(mapped.bytes().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(read_back(&fs, "/f").await == bytes);
}

#[tokio::test]
async fn a_datanode_that_refuses_direct_reads_is_not_asked_again() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    cluster.put(&fs, "/f", b"abc").await;
    let reader = fs.open("/f").await.unwrap();
    assert!(reader.map_range(0, 3).await.unwrap().is_none());
    let node = &cluster.datanodes[0].info.id;
    assert!(!fs.inner.datanodes.may_short_circuit(node));
    assert_eq!(read_back(&fs, "/f").await, b"abc");
}

#[tokio::test]
async fn flushed_bytes_are_visible_while_the_file_is_open() {
    let cluster = FakeCluster::start(3).await;
    let fs = cluster.connect().await;
    let bytes = pattern(BLOCK as usize + 5000);
    let mut writer = fs.create("/f", &CreateOptions::default()).await.unwrap();
    let mut at = 0;
    // Flushes in the middle of chunks, packets and blocks, and twice in a row.
    for step in [1, 100, 412, 600, 5000, 10_271, 1, 4000] {
        writer.write_all(&bytes[at..at + step]).await.unwrap();
        at += step;
        writer.hflush().await.unwrap();
        writer.hflush().await.unwrap();
        assert_eq!(read_back(&fs, "/f").await, bytes[..at], "after {at} bytes");
    }
    let syncs = cluster.datanodes[2].state.lock().syncs;
    writer.hsync().await.unwrap();
    assert_eq!(cluster.datanodes[2].state.lock().syncs, syncs + 1);
    writer.write_all(&bytes[at..]).await.unwrap();
    writer.close().await.unwrap();
    assert_replicas_whole(&cluster, "/f", &bytes);
    assert_eq!(writer.write(b"x").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn appends_go_on_in_the_middle_of_a_chunk() {
    let cluster = FakeCluster::start(3).await;
    let fs = cluster.connect().await;
    let bytes = pattern(2 * BLOCK as usize + 10);
    cluster.put(&fs, "/f", &bytes[..700]).await;
    let mut at = 700;
    for (length, flush) in [(50, true), (3, false), (500, true), (0, false), (15_131, false)] {
        let mut writer = fs.append("/f").await.unwrap();
        assert_eq!(writer.len(), at as u64);
        writer.write_all(&bytes[at..at + length / 2]).await.unwrap();
        if flush {
            writer.hflush().await.unwrap();
        }
        writer.write_all(&bytes[at + length / 2..at + length]).await.unwrap();
        at += length;
        writer.close().await.unwrap();
        assert_replicas_whole(&cluster, "/f", &bytes[..at]);
    }
    // The last block is full now: an append begins a new one.
    assert_eq!(at as u64, BLOCK);
    let mut writer = fs.append("/f").await.unwrap();
    writer.write_all(&bytes[at..]).await.unwrap();
    writer.close().await.unwrap();
    assert_replicas_whole(&cluster, "/f", &bytes);
}

/// Kills the middle, first or last datanode of the pipeline at the n-th packet, for every n, and
/// checks that the file is whole on the nodes that are left.
#[tokio::test]
async fn a_datanode_that_dies_while_writing_costs_nothing() {
    let bytes = pattern(BLOCK as usize + 3000);
    for victim in 0..3 {
        for packets in 0..10 {
            let cluster = FakeCluster::start(3).await;
            let fs = cluster.connect().await;
            cluster.datanodes[victim].state.lock().die_after_packets = Some(packets);
            let mut writer = fs.create("/f", &CreateOptions::default()).await.unwrap();
            for part in bytes.chunks(1500) {
                writer.write_all(part).await.unwrap();
            }
            writer.close().await.unwrap();
            assert_replicas_whole(&cluster, "/f", &bytes);
            assert_eq!(read_back(&fs, "/f").await, bytes, "victim {victim}, packet {packets}");
        }
    }
}

#[tokio::test]
async fn a_flushed_block_gets_a_new_datanode_for_one_that_died() {
    let cluster = FakeCluster::start(4).await;
    let fs = cluster.connect().await;
    let bytes = pattern(9000);
    let mut writer = fs.create("/f", &CreateOptions::default()).await.unwrap();
    writer.write_all(&bytes[..5000]).await.unwrap();
    writer.hflush().await.unwrap();
    cluster.datanodes[1].kill();
    writer.write_all(&bytes[5000..]).await.unwrap();
    writer.close().await.unwrap();
    assert_replicas_whole(&cluster, "/f", &bytes);
    let locs = cluster.namenode.file("/f").blocks[0].locs.clone();
    let uuids: Vec<_> = locs.iter().map(|node| node.id.datanode_uuid.as_str()).collect();
    assert_eq!(uuids, ["uuid-0", "uuid-2", "uuid-3"]);
}

#[tokio::test]
async fn nodes_that_refuse_a_new_block_are_excluded() {
    let cluster = FakeCluster::start(4).await;
    let fs = cluster.connect().await;
    cluster.datanodes[0].kill();
    cluster.datanodes[2].state.lock().refuse_writes = true;
    let bytes = pattern(3000);
    let options = CreateOptions { replication: Some(2), ..CreateOptions::default() };
    let mut writer = fs.create("/f", &options).await.unwrap();
    writer.write_all(&bytes).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(cluster.namenode.count("abandonBlock"), 2);
    assert_eq!(cluster.namenode.file("/f").blocks.len(), 1);
    assert_replicas_whole(&cluster, "/f", &bytes);
}

#[tokio::test]
async fn when_every_datanode_is_gone_the_writer_says_so() {
    let cluster = FakeCluster::start(2).await;
    let fs = cluster.connect().await;
    let mut writer = fs.create("/f", &CreateOptions::default()).await.unwrap();
    writer.write_all(&pattern(100)).await.unwrap();
    writer.hflush().await.unwrap();
    cluster.datanodes[0].kill();
    cluster.datanodes[1].kill();
    writer.write_all(&pattern(100)).await.unwrap();
    let error = writer.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoReplica);
    assert_eq!(error.path(), Some("/f"));
    assert_eq!(writer.write(b"more").await.unwrap_err(), error);
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_repeated_under_its_own_id() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    cluster.namenode.state.lock().cut_after.insert("create".into(), 1);
    // Performed twice it would fail: the file is there after the first time.
    cluster.put(&fs, "/f", b"once").await;
    let calls = cluster.namenode.state.lock().calls.clone();
    let creates: Vec<_> = calls.iter().filter(|(method, ..)| method == "create").collect();
    assert_eq!(creates.len(), 2);
    assert!(creates.iter().all(|(_, id, _)| *id == creates[0].1));
    assert_eq!(creates.iter().map(|(.., retry)| *retry).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(read_back(&fs, "/f").await, b"once");
}

#[tokio::test]
async fn a_namenode_that_restarts_is_not_noticed() {
    let mut cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    cluster.put(&fs, "/f", b"bytes").await;
    cluster.namenode.kill();
    let waiting = tokio::spawn({
        let fs = fs.clone();
        async move { fs.status("/f").await }
    });
    tokio::task::yield_now().await;
    cluster.namenode.restart().await;
    assert_eq!(waiting.await.unwrap().unwrap().length, 5);
}

#[tokio::test]
async fn errors_that_pass_are_waited_out_and_others_are_not() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    use RemoteKind::{AccessDenied, NotReplicatedYet, Retriable, SafeMode, Standby};
    cluster.namenode.script("create", &[SafeMode, Retriable, Standby]);
    cluster.namenode.script("addBlock", &[NotReplicatedYet, NotReplicatedYet]);
    cluster.put(&fs, "/f", b"bytes").await;
    assert_eq!(cluster.namenode.count("addBlock"), 3);
    cluster.namenode.script("getFileInfo", &[AccessDenied]);
    let error = fs.status("/f").await.unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::AccessDenied, Some("/f")));
    assert_eq!(fs.status("/none").await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = fs.create("/f", &CreateOptions::default()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn an_unreachable_namenode_is_named_with_what_to_check() {
    // Bound and not listening: nobody answers, and nobody else gets the port meanwhile.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let url = format!("hdfs://{address}/");
    let error = FileSystem::connect(&url, FakeCluster::config()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("check that it is running"),
        "{text}"
    );
    let error = FileSystem::connect("hdfs:///", FakeCluster::config()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn file_checksums_are_those_of_hdfs() {
    let cluster = FakeCluster::start(1).await;
    let fs = cluster.connect().await;
    let bytes: Vec<u8> = (0..1300).map(|at| (at % 251) as u8).collect();
    cluster.put(&fs, "/f", &bytes).await;
    let md5 = fs.file_checksum("/f").await.unwrap();
    assert_eq!(md5.algorithm, "MD5-of-0MD5-of-512CRC32C");
    assert!(md5.hex().ends_with("72e73fd123fde53f75a39db2263be28d"), "{}", md5.hex());
    let crc = fs.file_checksum_as("/f", ChecksumCombine::CompositeCrc).await.unwrap();
    assert_eq!((crc.algorithm.as_str(), crc.hex().as_str()), ("COMPOSITE-CRC32C", "32be59a7"));
    cluster.put(&fs, "/empty", b"").await;
    let empty = fs.file_checksum("/empty").await.unwrap();
    assert!(empty.hex().ends_with("70bc8f4b72a86921468bf8e8441dce51"), "{}", empty.hex());
}

#[test]
fn the_blocking_client_does_the_same() {
    use std::io::{Read, Write};
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cluster = runtime.block_on(FakeCluster::start(2));
    let url = cluster.namenode.url();
    let fs = crate::blocking::FileSystem::connect(&url, FakeCluster::config()).unwrap();
    let bytes = pattern(BLOCK as usize + 1);
    let mut writer = fs.create("/f", &CreateOptions::default()).unwrap();
    writer.write_all(&bytes).unwrap();
    Write::write_all(&mut writer, b"end").unwrap();
    writer.close().unwrap();
    let mut reader = fs.open("/f").unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), bytes.len() + 3);
    assert_eq!(&all[..bytes.len()], bytes);
    assert_eq!(fs.list("/").unwrap().len(), 0);
    drop(cluster);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any mix of writes, flushes and one death gives back the bytes that were written.
    #[test]
    fn any_mix_of_writes_and_flushes_is_whole(
        steps in proptest::collection::vec((0usize..6000, any::<bool>()), 1..12),
        victim in 0usize..4,
        packets in 0usize..20,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cluster = FakeCluster::start(4).await;
            let fs = cluster.connect().await;
            cluster.datanodes[victim].state.lock().die_after_packets = Some(packets);
            let bytes = pattern(steps.iter().map(|(length, _)| length).sum());
            let mut writer = fs.create("/f", &CreateOptions::default()).await.unwrap();
            let mut at = 0;
            for (length, flush) in steps {
                writer.write_all(&bytes[at..at + length]).await.unwrap();
                at += length;
                if flush {
                    writer.hflush().await.unwrap();
                }
            }
            writer.close().await.unwrap();
            assert_replicas_whole(&cluster, "/f", &bytes);
            assert!(read_back(&fs, "/f").await == bytes);
        });
    }
}
