//! Whole operations over real sockets, packet by packet.
#![allow(clippy::result_large_err, clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::io::{Read, Write};

use common::*;
use hfs_protocol::delimited;
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::proto::hadoop::hdfs::op_write_block_proto::BlockConstructionStage;
use hfs_protocol::proto::hadoop::hdfs::{
    BlockChecksumOptionsProto, BlockChecksumTypeProto, DataTransferEncryptorMessageProto,
    OpBlockChecksumProto, OpBlockChecksumResponseProto, Status,
};
use hfs_protocol::transfer::checksum::{ChecksumType, DataChecksum};
use hfs_protocol::transfer::op::{self, Op};
use hfs_protocol::transfer::packet::PacketHeader;

#[test]
fn a_block_reads_back_over_one_kept_connection() {
    let node = Node::start();
    let data = sample(3 * 1024 * 1024 + 777);
    write_block(&[&node], BLOCK, &data, 64512);
    assert_eq!(fs::read(node.finalized(BLOCK)).unwrap(), data);
    let received = node.received();
    assert_eq!((received.len(), received[0].length), (1, data.len() as u64));

    let mut stream = dial(node.address);
    let end = data.len() as u64;
    for (offset, len) in [(0, end), (0, 1), (511, 2), (512, 512), (end - 1, 1), (70_001, 90_000)] {
        for checksums in [true, false] {
            let read = read_on(&mut stream, BLOCK, STAMP, offset, len, checksums).unwrap();
            assert!(read == data[offset as usize..(offset + len) as usize], "{offset} {len}");
        }
    }
    let refused = read_on(&mut stream, BLOCK, STAMP, end, 1, true).unwrap_err();
    assert_eq!(refused.status(), Status::Error);
    assert!(refused.message.unwrap().contains("expected"));
}

#[test]
fn every_kind_of_checksum_is_stored_and_served() {
    let node = Node::start();
    let data = sample(100_003);
    let kinds = [
        (ChecksumType::Crc32, 512),
        (ChecksumType::Crc32c, 4096),
        (ChecksumType::Null, 512),
        (ChecksumType::Crc32c, 7),
    ];
    for (index, (kind, bpc)) in kinds.into_iter().enumerate() {
        let block = BLOCK + index as u64;
        let checksum = DataChecksum::new(kind, bpc).unwrap();
        let setup = Setup { block, checksum, ..Setup::default() };
        let mut writer = Writer::open(&[node.info()], setup).unwrap();
        for piece in data.chunks(bpc as usize * 10) {
            writer.put(piece, 1);
        }
        writer.close(1);
        assert!(read(&node, block, 0, data.len() as u64).unwrap() == data);
        assert!(
            node.store
                .verify(hfs_protocol::ids::BlockId(block), hfs_protocol::ids::GenStamp(STAMP))
                .unwrap()
        );
    }
}

#[test]
fn three_nodes_hold_the_same_bytes() {
    let nodes = [Node::start(), Node::start(), Node::start()];
    let data = sample(2_000_000);
    write_block(&[&nodes[0], &nodes[1], &nodes[2]], BLOCK, &data, 1 << 20);
    for node in &nodes {
        assert!(read(node, BLOCK, 0, data.len() as u64).unwrap() == data);
        assert_eq!(node.received()[0].length, data.len() as u64);
        assert_eq!(node.events.changes.lock()[0].0, Kind::Receiving);
    }
}

#[test]
fn an_empty_block_and_heartbeats() {
    let nodes = [Node::start(), Node::start()];
    let infos = [nodes[0].info(), nodes[1].info()];
    let mut writer = Writer::open(&infos, Setup::default()).unwrap();
    writer.send_raw(PacketHeader::HEARTBEAT, &[], &[]);
    assert_success(&writer.ack(), -1, 2);
    writer.close(2);
    assert_eq!(read(&nodes[1], BLOCK, 0, 0).unwrap(), b"");
}

#[test]
fn acked_bytes_are_visible_while_the_block_is_written() {
    let node = Node::start();
    let data = sample(1000);
    let mut writer = Writer::open(&[node.info()], Setup::default()).unwrap();
    writer.put(&data[..700], 1);
    assert_eq!(read(&node, BLOCK, 0, 700).unwrap(), data[..700]);
    assert_eq!(read(&node, BLOCK, 600, 100).unwrap(), data[600..700]);
    // A reader of more waits for it, within its patience.
    let reader = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&node, BLOCK, 0, 1000));
        writer.put(&data[700..], 1);
        reader.join().unwrap()
    });
    assert_eq!(reader.unwrap(), data);
    let none = read(&node, BLOCK, 0, 1001).unwrap_err();
    assert_eq!(none.status(), Status::Error);
    writer.close(1);
}

#[test]
fn the_last_partial_chunk_may_be_sent_again_or_grow() {
    let node = Node::start();
    let data = sample(1500);
    let mut writer = Writer::open(&[node.info()], Setup::default()).unwrap();
    writer.put(&data[..700], 1);
    // As Java after an hflush inside a chunk: from the chunk's start again.
    writer.offset = 512;
    writer.put(&data[512..1400], 1);
    // As an append: only the new bytes, up to the chunk's end.
    writer.put(&data[1400..1500], 1);
    writer.close(1);
    assert_eq!(read(&node, BLOCK, 0, 1500).unwrap(), data);
    assert_eq!(
        fs::read(node.finalized(BLOCK).with_file_name(format!("blk_{BLOCK}_{STAMP}.meta")))
            .unwrap()[7..],
        DataChecksum::default().chunks(&data)
    );
}

#[test]
fn appends_continue_a_partial_chunk_under_a_new_stamp() {
    let nodes = [Node::start(), Node::start()];
    let infos = [nodes[0].info(), nodes[1].info()];
    let data = sample(5000);
    write_block(&[&nodes[0], &nodes[1]], BLOCK, &data[..700], 512);
    let setup = Setup {
        stage: BlockConstructionStage::PipelineSetupAppend,
        new_stamp: STAMP + 1,
        min: 700,
        max: 700,
        ..Setup::default()
    };
    let wrong = Writer::open(&infos, Setup { min: 699, ..setup }).err().unwrap();
    assert!(wrong.message.unwrap().contains("700 bytes"));
    let mut writer = Writer::open(&infos, setup).unwrap();
    writer.put(&data[700..1024], 2);
    writer.put(&data[1024..], 2);
    writer.close(2);
    for node in &nodes {
        let mut stream = dial(node.address);
        let bytes = read_on(&mut stream, BLOCK, STAMP + 1, 0, 5000, true).unwrap();
        assert!(bytes == data);
        assert_eq!(node.received().last().unwrap().generation_stamp, STAMP + 1);
    }
}

#[test]
fn a_corrupt_packet_is_refused_by_the_last_node() {
    let nodes = [Node::start(), Node::start()];
    for count in [1, 2] {
        let infos: Vec<_> = nodes.iter().take(count).map(Node::info).collect();
        let setup = Setup { block: BLOCK + count as u64, ..Setup::default() };
        let mut writer = Writer::open(&infos, setup).unwrap();
        writer.put(&sample(1024), count);
        let header = PacketHeader {
            offset_in_block: 1024,
            seqno: 1,
            last_packet_in_block: false,
            data_len: 512,
            sync_block: false,
        };
        writer.send_raw(header, &[1, 2, 3, 4], &sample(512));
        // Also the first node's own bytes are bad: it blames itself, not the node that found out.
        let ack = writer.ack();
        assert_eq!((ack.seqno, ack.replies[0]), (1, Status::ErrorChecksum));
        let mut rest = Vec::new();
        writer.stream.read_to_end(&mut rest).unwrap();
    }
    assert!(nodes[0].received().is_empty());
}

#[test]
fn packets_without_checksums_get_them_here_and_gaps_are_refused() {
    let node = Node::start();
    let data = sample(1300);
    let mut writer = Writer::open(&[node.info()], Setup::default()).unwrap();
    let header = |offset: u64, seqno, len: usize| PacketHeader {
        offset_in_block: offset,
        seqno,
        last_packet_in_block: false,
        data_len: len as u32,
        sync_block: true,
    };
    writer.send_raw(header(0, 0, 700), &[], &data[..700]);
    assert_success(&writer.ack(), 0, 1);
    writer.send_raw(header(700, 1, 600), &[], &data[700..]);
    assert_success(&writer.ack(), 1, 1);
    assert_eq!(read(&node, BLOCK, 0, 1300).unwrap(), data);
    writer.send_raw(header(1301, 2, 10), &[0; 4], &data[..10]);
    assert_eq!(writer.ack().replies, [Status::Error]);
}

#[test]
fn a_dead_node_downstream_is_named() {
    let node = Node::start();
    let gone = Node::start();
    let dead = gone.info();
    let address = gone.address.to_string();
    drop(gone);
    let refusal = Writer::open(&[node.info(), dead], Setup::default()).err().unwrap();
    assert_eq!(refusal.status(), Status::Error);
    assert_eq!(refusal.first_bad_link.as_deref(), Some(address.as_str()));
    wait_until("the empty replica is gone", || node.xceiver.active() == 0);
    assert_eq!(node.store.replica_count(), 0);
}

#[test]
fn a_node_that_dies_is_blamed_and_the_rest_goes_on_without_it() {
    let first = Node::start();
    let third = Node::start();
    // A stand-in for the middle node, which accepts and then dies.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let middle = info(listener.local_addr().unwrap());
    let victim = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        Op::read(&mut stream).unwrap();
        stream.write_all(&delimited::encode(&op::write_ready())).unwrap();
        let mut some = [0; 600];
        stream.read_exact(&mut some).unwrap();
    });
    let data = sample(2000);
    let infos = [first.info(), middle];
    let mut writer = Writer::open(&infos, Setup::default()).unwrap();
    writer.send(&data[..1000], false, false);
    assert_eq!(writer.ack().replies, [Status::Success, Status::Error]);
    victim.join().unwrap();
    drop(writer);

    // Recovery: the survivor's bytes go to a new node, both get a new stamp, the rest follows.
    let copied = transfer(&first, &third, BLOCK, STAMP);
    assert_eq!(copied.status(), Status::Success, "{copied:?}");
    let setup = Setup {
        stage: BlockConstructionStage::PipelineSetupStreamingRecovery,
        new_stamp: STAMP + 1,
        min: 0,
        max: 1000,
        ..Setup::default()
    };
    let mut writer = Writer::open(&[first.info(), third.info()], setup).unwrap();
    writer.put(&data[..1000], 2);
    writer.put(&data[1000..], 2);
    writer.close(2);
    for node in [&first, &third] {
        let bytes = read_on(&mut dial(node.address), BLOCK, STAMP + 1, 0, 2000, true).unwrap();
        assert!(bytes == data);
    }
}

#[test]
fn a_recovery_stops_the_old_writer_for_good() {
    let node = Node::start();
    let data = sample(3000);
    let mut zombie = Writer::open(&[node.info()], Setup::default()).unwrap();
    zombie.put(&data[..1000], 1);
    let setup = Setup {
        stage: BlockConstructionStage::PipelineSetupStreamingRecovery,
        new_stamp: STAMP + 1,
        min: 1000,
        max: 1000,
        ..Setup::default()
    };
    let mut writer = Writer::open(&[node.info()], setup).unwrap();
    // The old connection is dead: nothing that is sent on it is acked.
    let mut rest = Vec::new();
    let _ = zombie.stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
    writer.put(&data[1000..], 1);
    writer.close(1);
    let stale = Setup { new_stamp: STAMP, min: 3000, max: 3000, ..setup };
    let refusal = Writer::open(&[node.info()], stale).err().unwrap();
    assert!(refusal.message.unwrap().contains("generation stamp"));
}

#[test]
fn close_recovery_completes_without_packets() {
    let node = Node::start();
    let data = sample(900);
    let mut writer = Writer::open(&[node.info()], Setup::default()).unwrap();
    writer.put(&data, 1);
    drop(writer);
    let setup = Setup {
        stage: BlockConstructionStage::PipelineCloseRecovery,
        new_stamp: STAMP + 1,
        min: 900,
        max: 900,
        ..Setup::default()
    };
    Writer::open(&[node.info()], setup).unwrap();
    let setup = Setup { stamp: STAMP + 1, new_stamp: STAMP + 2, ..setup };
    Writer::open(&[node.info()], setup).unwrap();
    assert_eq!(node.received().len(), 2);
    let bytes = read_on(&mut dial(node.address), BLOCK, STAMP + 2, 0, 900, true).unwrap();
    assert!(bytes == data);
}

#[test]
fn finished_blocks_are_copied_and_doubles_refused() {
    let (from, to) = (Node::start(), Node::start());
    let data = sample(1_500_000);
    write_block(&[&from], BLOCK, &data, 1 << 20);
    assert_eq!(transfer(&from, &to, BLOCK, STAMP).status(), Status::Success);
    assert!(read(&to, BLOCK, 0, data.len() as u64).unwrap() == data);
    let double = transfer(&from, &to, BLOCK, STAMP);
    assert!(double.message.unwrap().contains("already has a replica"));
    let missing = transfer(&from, &to, BLOCK + 1, STAMP);
    assert!(missing.message.unwrap().contains("no replica"));
}

#[test]
fn a_corrupt_replica_is_reported_after_a_look_at_it() {
    let node = Node::start();
    let data = sample(5000);
    write_block(&[&node], BLOCK, &data, 5000);
    let complain = |node: &Node| {
        let mut stream = dial(node.address);
        let request =
            Op::ReadBlock(Box::new(hfs_protocol::proto::hadoop::hdfs::OpReadBlockProto {
                header: header(BLOCK, STAMP, 0),
                offset: 0,
                len: 5000,
                send_checksums: None,
                caching_strategy: None,
            }));
        stream.write_all(&request.encode()).unwrap();
        op::read_response(&mut stream).unwrap();
        let mut packets = hfs_protocol::transfer::packet_reader::PacketReader::new(&stream);
        while !packets.next_packet().unwrap().unwrap().header().last_packet_in_block {}
        let status = hfs_protocol::proto::hadoop::hdfs::ClientReadStatusProto {
            status: Status::ErrorChecksum as i32,
        };
        (&stream).write_all(&delimited::encode(&status)).unwrap();
    };
    complain(&node);
    wait_until("the complaint is counted", || node.xceiver.metrics.checksum_errors.get() == 1);
    let mut bytes = fs::read(node.finalized(BLOCK)).unwrap();
    bytes[4000] ^= 1;
    fs::write(node.finalized(BLOCK), bytes).unwrap();
    complain(&node);
    wait_until("it is reported", || !node.events.bad.lock().is_empty());
    assert!(node.events.bad.lock()[0].1.contains("checksum"));
}

fn block_checksum(
    node: &Node,
    block: u64,
    len: u64,
    kind: BlockChecksumTypeProto,
) -> OpBlockChecksumResponseProto {
    let mut stream = dial(node.address);
    let request = Op::BlockChecksum(Box::new(OpBlockChecksumProto {
        header: base(block, STAMP, len),
        block_checksum_options: Some(BlockChecksumOptionsProto {
            block_checksum_type: Some(kind as i32),
            stripe_length: None,
        }),
    }));
    stream.write_all(&request.encode()).unwrap();
    let response = op::read_response(&mut stream).unwrap();
    assert_eq!(response.status(), Status::Success);
    response.checksum_response.unwrap()
}

#[test]
fn block_checksums_match_the_known_ones() {
    let node = Node::start();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    write_block(&[&node], BLOCK, b"hello\n", 100);
    let answer = block_checksum(&node, BLOCK, 6, BlockChecksumTypeProto::Md5crc);
    assert_eq!(hex(&answer.block_checksum), "0631cc594ec0589d7bbe76dce1a7953b");
    assert_eq!((answer.bytes_per_crc, answer.crc_per_block, answer.crc_type), (512, 1, Some(2)));

    let data: Vec<u8> = (0..1300_u32).map(|i| (i % 251) as u8).collect();
    write_block(&[&node], BLOCK + 1, &data, 1300);
    let answer = block_checksum(&node, BLOCK + 1, 1300, BlockChecksumTypeProto::Md5crc);
    assert_eq!(hex(&answer.block_checksum), "09e5d56eaf4ce9f49b8f74d6b4a21ee0");
    let answer = block_checksum(&node, BLOCK + 1, 1300, BlockChecksumTypeProto::CompositeCrc);
    assert_eq!(hex(&answer.block_checksum), "32be59a7");
    // Of a beginning: as if the block ended there.
    let answer = block_checksum(&node, BLOCK + 1, 1000, BlockChecksumTypeProto::CompositeCrc);
    let crc = ChecksumType::Crc32c.compute(&data[..1000]);
    assert_eq!(answer.block_checksum[..], crc.to_be_bytes());
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let node = Node::start();
    let write = Op::WriteBlock(Box::default()).encode();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 28, 200, 0],
        &[0, 28, 80, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0, 28, 81, 3, 0xff, 0xff, 0xff],
        &write,
    ] {
        let mut stream = dial(node.address);
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 200, "{answer:?}");
    }
    let mut stream = dial(node.address);
    stream.write_all(&0xDEAD_BEEF_u32.to_be_bytes()).unwrap();
    let answer: DataTransferEncryptorMessageProto = delimited::read(&mut stream, 1000).unwrap();
    assert!(answer.message.unwrap().contains("SASL"));
    // In the middle of a write: an impossible packet.
    let mut writer = Writer::open(&[node.info()], Setup::default()).unwrap();
    writer.stream.write_all(&[0xff; 100]).unwrap();
    let mut rest = Vec::new();
    writer.stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    write_block(&[&node], BLOCK + 1, b"still alive", 100);
}

#[test]
fn too_many_transfers_are_refused_with_a_sentence() {
    let node = Node::with_transfers(1);
    let writer = Writer::open(&[node.info()], Setup::default()).unwrap();
    let refusal = read(&node, BLOCK, 0, 0).unwrap_err();
    assert!(refusal.message.unwrap().contains("max-transfers"));
    writer.close(1);
    wait_until("the slot is free", || node.xceiver.active() == 0);
    read(&node, BLOCK, 0, 0).unwrap();
}

#[test]
fn a_restart_keeps_acked_bytes_and_serves_what_was_complete() {
    let node = Node::start();
    let data = sample(100_000);
    write_block(&[&node], BLOCK, &data, 30_000);
    let setup = Setup { block: BLOCK + 1, ..Setup::default() };
    let mut writer = Writer::open(&[node.info()], setup).unwrap();
    writer.put(&data[..1234], 1);
    drop(writer);
    let node = node.restart();
    assert!(read(&node, BLOCK, 0, 100_000).unwrap() == data);
    let slot = node.store.slot(hfs_protocol::ids::BlockId(BLOCK + 1)).unwrap();
    assert_eq!(slot.held().unwrap().replica.state_name(), "RWR");
    assert_eq!(slot.held().unwrap().replica.on_disk(), 1234);
}
