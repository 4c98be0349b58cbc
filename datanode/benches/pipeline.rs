//! How fast bytes pass through datanodes, beside the least that any program could do.
//!
//! Writes one block through a pipeline of three datanodes in this process, and the same bytes
//! through three plain relays, each of which writes what it receives to a file and passes it on.
//! Then reads the block, and the same file by plain `sendfile`. The last line is one JSON object.
//!
//! `cargo bench -p hfs-datanode --bench pipeline [-- MiB [rounds]]`
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{BLOCK, Node, STAMP, Setup, Writer, dial, header, sample, write_block};
use hfs_protocol::proto::hadoop::hdfs::OpReadBlockProto;
use hfs_protocol::transfer::ack::PipelineAck;
use hfs_protocol::transfer::checksum::DataChecksum;
use hfs_protocol::transfer::op::{self, Op};
use hfs_protocol::transfer::packet::PacketHeader;
use hfs_protocol::transfer::packet_reader::PacketReader;

const PACKET_BYTES: usize = 1 << 20;
/// What a client lets be unacknowledged: 80 packets of HDFS's usual size, or as many bytes.
const IN_FLIGHT_BYTES: usize = 80 * 64 * 1024;

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let mib = numbers.next().unwrap_or(1024);
    let rounds = numbers.next().unwrap_or(3);
    let bytes = mib << 20;
    let data = sample(PACKET_BYTES);
    let nodes = [Node::start(), Node::start(), Node::start()];
    let mut best = [Duration::MAX; 6];
    for round in 0..rounds {
        let block = BLOCK + round as u64;
        let took = [
            relay(bytes, &data),
            pipeline(&nodes, block, bytes, &data, PACKET_BYTES),
            pipeline(&nodes, block + 1000, bytes, &data, 126 * 512),
            plain_read(&nodes[0], block, bytes),
            read(&nodes[0], block, bytes, false),
            read(&nodes[0], block, bytes, true),
        ];
        for (best, took) in best.iter_mut().zip(took) {
            *best = (*best).min(took);
        }
        for (node, of) in nodes.iter().flat_map(|node| [(node, block), (node, block + 1000)]) {
            let named = hfs_datanode::store::named(
                hfs_protocol::ids::BlockId(of),
                hfs_protocol::ids::GenStamp(STAMP),
                0,
            );
            if round + 1 < rounds {
                node.store.invalidate(&[named]);
            }
        }
    }
    let rate = |took: Duration| bytes as f64 / took.as_secs_f64() / f64::from(1 << 20);
    let names = [
        "relay of three files",
        "pipeline of three, 1 MiB packets",
        "pipeline of three, 64 KiB packets",
        "plain sendfile",
        "read, checksums sent",
        "read, checksums verified",
    ];
    for (name, took) in names.iter().zip(best) {
        println!("{name:36} {:8.0} MiB/s  {took:?}", rate(took));
    }
    let positional = small_reads(&nodes[0]);
    println!(
        "{:36} {:8.1} us each",
        "4 KiB reads on one connection",
        positional.as_secs_f64() * 1e6
    );
    println!(
        "{{\"mib\":{mib},\"relay_mibs\":{:.0},\"pipeline_mibs\":{:.0},\"pipeline_64k_mibs\":{:.0},\
         \"sendfile_mibs\":{:.0},\"read_mibs\":{:.0},\"read_verified_mibs\":{:.0},\
         \"pipeline_of_relay\":{:.2},\"read_of_sendfile\":{:.2},\"small_read_us\":{:.1}}}",
        rate(best[0]),
        rate(best[1]),
        rate(best[2]),
        rate(best[3]),
        rate(best[4]),
        rate(best[5]),
        best[0].as_secs_f64() / best[1].as_secs_f64(),
        best[3].as_secs_f64() / best[4].as_secs_f64(),
        positional.as_secs_f64() * 1e6,
    );
}

/// Three relays that do nothing but receive, write and pass on.
fn relay(bytes: usize, data: &[u8]) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let mut next: Option<SocketAddr> = None;
    let mut threads = Vec::new();
    for index in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (downstream, path) = (next, dir.path().join(index.to_string()));
        next = Some(listener.local_addr().unwrap());
        threads.push(std::thread::spawn(move || {
            let (mut from, _) = listener.accept().unwrap();
            let mut file = File::create(path).unwrap();
            let mut to = downstream.map(dial);
            let mut buffer = vec![0; PACKET_BYTES];
            loop {
                let read = from.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                if let Some(to) = &mut to {
                    to.write_all(&buffer[..read]).unwrap();
                }
                file.write_all(&buffer[..read]).unwrap();
            }
            if let Some(mut to) = to {
                to.shutdown(Shutdown::Write).unwrap();
                to.read_exact(&mut [0]).unwrap();
            }
            from.write_all(&[1]).unwrap();
        }));
    }
    let mut stream = dial(next.unwrap());
    let began = Instant::now();
    for _ in 0..bytes / data.len() {
        stream.write_all(data).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let took = began.elapsed();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    took
}

/// One block through all nodes, with the checksums of each packet computed on the way.
fn pipeline(nodes: &[Node], block: u64, bytes: usize, data: &[u8], packet: usize) -> Duration {
    let infos: Vec<_> = nodes.iter().map(Node::info).collect();
    let mut writer = Writer::open(&infos, Setup { block, ..Setup::default() }).unwrap();
    let acks = writer.stream.try_clone().unwrap();
    let (in_flight, slots) = std::sync::mpsc::sync_channel::<()>(IN_FLIGHT_BYTES / packet);
    let acked = std::thread::spawn(move || {
        let mut acks = std::io::BufReader::new(acks);
        while slots.recv().is_ok() {
            assert!(PipelineAck::read(&mut acks).unwrap().is_success());
        }
    });
    let checksum = DataChecksum::default();
    let piece = &data[..packet];
    let mut buffer = vec![0; 40 + checksum.sums_len(packet) + packet];
    let began = Instant::now();
    let (mut offset, mut seqno) = (0, 0);
    while offset < bytes {
        let len = packet.min(bytes - offset);
        let sums_len = checksum.sums_len(len);
        let header = PacketHeader {
            offset_in_block: offset as u64,
            seqno,
            last_packet_in_block: false,
            data_len: len as u32,
            sync_block: false,
        };
        let (head, used) = header.encode(sums_len);
        buffer[..used].copy_from_slice(&head[..used]);
        checksum.compute_chunks(&piece[..len], &mut buffer[used..used + sums_len]);
        buffer[used + sums_len..used + sums_len + len].copy_from_slice(&piece[..len]);
        in_flight.send(()).unwrap();
        writer.stream.write_all(&buffer[..used + sums_len + len]).unwrap();
        offset += len;
        seqno += 1;
    }
    writer.offset = bytes as u64;
    writer.seqno = seqno;
    writer.send(&[], true, false);
    in_flight.send(()).unwrap();
    drop(in_flight);
    acked.join().unwrap();
    began.elapsed()
}

/// The block's file by `sendfile`, thrown away by the receiver.
fn plain_read(node: &Node, block: u64, bytes: usize) -> Duration {
    let file = File::open(node.finalized(block)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sender = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        hfs_datanode::xceiver::socket::send_file(&stream, &file, 0, bytes as u64).unwrap();
    });
    let mut stream = TcpStream::connect(address).unwrap();
    let mut buffer = vec![0; PACKET_BYTES];
    let began = Instant::now();
    while stream.read(&mut buffer).unwrap() > 0 {}
    let took = began.elapsed();
    sender.join().unwrap();
    took
}

fn read(node: &Node, block: u64, bytes: usize, verify: bool) -> Duration {
    let mut stream = dial(node.address);
    let request = OpReadBlockProto {
        header: header(block, STAMP, 0),
        offset: 0,
        len: bytes as u64,
        send_checksums: Some(true),
        caching_strategy: None,
    };
    let began = Instant::now();
    stream.write_all(&Op::ReadBlock(Box::new(request)).encode()).unwrap();
    op::read_response(&mut stream).unwrap();
    let checksum = DataChecksum::default();
    let mut packets = PacketReader::new(&stream);
    let mut total = 0;
    loop {
        let packet = packets.next_packet().unwrap().unwrap();
        if packet.header().last_packet_in_block {
            break;
        }
        if verify {
            let offset = packet.header().offset_in_block;
            checksum.verify_chunks(packet.data(), packet.checksums(), offset).unwrap();
        }
        total += packet.data().len();
    }
    assert_eq!(total, bytes);
    began.elapsed()
}

/// The mean time of a small read on a kept connection.
fn small_reads(node: &Node) -> Duration {
    const READS: u32 = 2000;
    let block = BLOCK + 5000;
    write_block(&[node], block, &sample(PACKET_BYTES), PACKET_BYTES);
    let mut stream = dial(node.address);
    let began = Instant::now();
    for index in 0..READS {
        let offset = u64::from(index % 200) * 4096;
        common::read_on(&mut stream, block, STAMP, offset, 4096, true).unwrap();
    }
    began.elapsed() / READS
}
