//! A datanode of the tests.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hfs_protocol::delimited;
use hfs_protocol::error::ErrorKind;
use hfs_protocol::hadoop::server::{CallContext, Handler, Reply, ServerLimits, serve_connection};
use hfs_protocol::proto::hadoop::hdfs as proto;
use hfs_protocol::proto::hadoop::hdfs::op_write_block_proto::BlockConstructionStage as Stage;
use hfs_protocol::transfer::ack::PipelineAck;
use hfs_protocol::transfer::checksum::DataChecksum;
use hfs_protocol::transfer::op::{self, Op};
use hfs_protocol::transfer::packet_buffer::PacketBuffer;
use hfs_protocol::transfer::packet_reader::AsyncPacketReader;
use parking_lot::Mutex;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) struct FakeDatanode {
    pub(crate) info: proto::DatanodeInfoProto,
    pub(crate) state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
pub(crate) struct Replica {
    pub(crate) data: Vec<u8>,
    pub(crate) stamp: u64,
    pub(crate) closed: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) replicas: HashMap<u64, Replica>,
    /// Dies when it has received this many more packets.
    pub(crate) die_after_packets: Option<usize>,
    /// Refuses to set up pipelines.
    pub(crate) refuse_writes: bool,
    /// Breaks every read off after this many packets.
    pub(crate) break_reads_after: Option<usize>,
    /// Sends one wrong byte 5000 bytes into every block.
    pub(crate) corrupt_reads: bool,
    /// Where finalised replicas are to be found by local readers, if they may.
    pub(crate) local_dir: Option<PathBuf>,
    pub(crate) reads: usize,
    pub(crate) connections: usize,
    pub(crate) syncs: usize,
    dead: CancellationToken,
}

impl FakeDatanode {
    pub(crate) async fn start(number: usize) -> Self {
        let transfer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ipc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let info = proto::DatanodeInfoProto {
            id: proto::DatanodeIdProto {
                ip_addr: "127.0.0.1".into(),
                host_name: format!("node{number}"),
                datanode_uuid: format!("uuid-{number}"),
                xfer_port: u32::from(transfer.local_addr().unwrap().port()),
                info_port: 0,
                ipc_port: u32::from(ipc.local_addr().unwrap().port()),
                info_secure_port: None,
            },
            location: Some("/default-rack".into()),
            ..Default::default()
        };
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(accept(transfer, state.clone()));
        tokio::spawn(accept_calls(ipc, state.clone()));
        Self { info, state }
    }

    pub(crate) fn kill(&self) {
        self.state.lock().dead.cancel();
    }

    pub(crate) fn replica(&self, block: u64) -> Option<Replica> {
        self.state.lock().replicas.get(&block).cloned()
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let dead = state.lock().dead.clone();
    while let Some(Ok((stream, _))) = dead.run_until_cancelled(listener.accept()).await {
        stream.set_nodelay(true).unwrap();
        state.lock().connections += 1;
        let (state, dead) = (state.clone(), dead.clone());
        tokio::spawn(async move { dead.run_until_cancelled(serve(stream, &state)).await });
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(op) = Op::read_async(&mut stream, &mut buffer).await? {
        match op {
            Op::ReadBlock(request) => {
                read(&mut stream, &request, state).await?;
                let _: proto::ClientReadStatusProto =
                    delimited::read_async(&mut stream, 100).await?;
            }
            Op::WriteBlock(request) => return write(stream, buffer, *request, state).await,
            Op::TransferBlock(request) => return transfer(stream, *request, state).await,
            Op::BlockChecksum(request) => {
                let block = &request.header.block;
                let data = state.lock().replicas[&block.block_id].data.clone();
                let sums = DataChecksum::default().chunks(&data);
                let options = request.block_checksum_options.unwrap_or_default();
                let composite =
                    options.block_checksum_type() == proto::BlockChecksumTypeProto::CompositeCrc;
                let checksum = if composite {
                    let crc = DataChecksum::default().composite(&sums, data.len() as u64);
                    Bytes::copy_from_slice(&crc.to_be_bytes())
                } else {
                    let md5 = hfs_protocol::transfer::file_checksum::block_md5(&sums);
                    Bytes::copy_from_slice(&md5)
                };
                let response = op::checksum_ready(proto::OpBlockChecksumResponseProto {
                    bytes_per_crc: 512,
                    crc_per_block: (sums.len() / 4) as u64,
                    block_checksum: checksum,
                    crc_type: Some(proto::ChecksumTypeProto::ChecksumCrc32c as i32),
                    block_checksum_options: Some(options),
                });
                stream.write_all(&delimited::encode(&response)).await?;
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

async fn read(
    stream: &mut TcpStream,
    request: &proto::OpReadBlockProto,
    state: &Mutex<State>,
) -> io::Result<()> {
    let block = &request.header.base_header.block;
    let (replica, break_after, corrupt) = {
        let mut state = state.lock();
        state.reads += 1;
        let replica = state.replicas.get(&block.block_id).cloned();
        (replica, state.break_reads_after, state.corrupt_reads)
    };
    let Some(replica) = replica.filter(|r| r.stamp >= block.generation_stamp) else {
        let refused = op::refused(proto::Status::Error, "no such replica");
        return stream.write_all(&delimited::encode(&refused)).await;
    };
    let checksum = DataChecksum::default();
    let start = checksum.chunk_start(request.offset);
    let ready = op::read_ready(checksum, start);
    stream.write_all(&delimited::encode(&ready)).await?;
    let end = (request.offset + request.len).next_multiple_of(512).min(replica.data.len() as u64);
    let mut at = start as usize;
    let mut seqno = 0;
    let mut packet = PacketBuffer::new(checksum, super::PACKET);
    while at < end as usize {
        if break_after.is_some_and(|limit| seqno as usize >= limit) {
            return Err(io::Error::other("told to break off"));
        }
        packet.reset(super::PACKET);
        let count = packet.push(&replica.data[at..end as usize]);
        let mut bytes = packet.finish(at as u64, seqno, false, false).to_vec();
        if corrupt && (at..at + count).contains(&5000) {
            let from_end = at + count - 5000;
            let place = bytes.len() - from_end;
            bytes[place] ^= 1;
        }
        stream.write_all(&bytes).await?;
        at += count;
        seqno += 1;
    }
    packet.reset(super::PACKET);
    stream.write_all(packet.finish(at as u64, seqno, true, false)).await
}

/// Opens the replica as the stage asks. An error is a sentence.
fn open(state: &mut State, request: &proto::OpWriteBlockProto) -> Result<(), String> {
    let block = &request.header.base_header.block;
    if state.refuse_writes {
        return Err("told to refuse".into());
    }
    let (min, max) = (request.min_bytes_rcvd as usize, request.max_bytes_rcvd as usize);
    match request.stage() {
        Stage::PipelineSetupCreate | Stage::TransferRbw | Stage::TransferFinalized => {
            let replica = Replica { stamp: block.generation_stamp, ..Replica::default() };
            state.replicas.insert(block.block_id, replica);
        }
        stage => {
            let replica = state.replicas.get_mut(&block.block_id).ok_or("no such replica")?;
            let length = replica.data.len();
            if length < min || length > max {
                return Err(format!("{length} bytes are not in {min}..={max}"));
            }
            if request.latest_generation_stamp <= replica.stamp {
                return Err(format!("{} is a stale stamp", request.latest_generation_stamp));
            }
            replica.stamp = request.latest_generation_stamp;
            replica.closed = stage == Stage::PipelineCloseRecovery;
        }
    }
    Ok(())
}

async fn write(
    mut stream: TcpStream,
    leftover: BytesMut,
    request: proto::OpWriteBlockProto,
    state: &Mutex<State>,
) -> io::Result<()> {
    let opened = open(&mut state.lock(), &request);
    if let Err(sentence) = opened {
        let refused = op::write_refused(proto::Status::Error, "", sentence);
        return stream.write_all(&delimited::encode(&refused)).await;
    }
    let mut mirror = None;
    if let Some((next, rest)) = request.targets.split_first() {
        let forwarded = Op::WriteBlock(Box::new(proto::OpWriteBlockProto {
            targets: rest.to_vec(),
            ..request.clone()
        }));
        let address = format!("{}:{}", next.id.ip_addr, next.id.xfer_port);
        let dial = async {
            let mut mirror = TcpStream::connect(&address).await?;
            mirror.set_nodelay(true)?;
            mirror.write_all(&forwarded.encode()).await?;
            let response = op::read_response_async(&mut mirror).await?;
            io::Result::Ok((mirror, response))
        };
        match dial.await {
            Ok((stream, response)) if response.status() == proto::Status::Success => {
                mirror = Some(stream);
            }
            Ok((_, response)) => {
                let bad = response.first_bad_link.filter(|link| !link.is_empty());
                let bad = bad.unwrap_or(address);
                let refused = op::write_refused(proto::Status::Error, &bad, "downstream refused");
                return stream.write_all(&delimited::encode(&refused)).await;
            }
            Err(error) => {
                let refused = op::write_refused(proto::Status::Error, &address, error.to_string());
                return stream.write_all(&delimited::encode(&refused)).await;
            }
        }
    }
    stream.write_all(&delimited::encode(&op::write_ready())).await?;
    if request.stage() == Stage::PipelineCloseRecovery {
        return Ok(());
    }
    let id = request.header.base_header.block.block_id;
    let (read_half, mut write_half) = stream.into_split();
    let mut packets = AsyncPacketReader::with_leftover(read_half, leftover);
    while let Some(packet) = packets.next_packet().await? {
        let header = packet.header;
        {
            let mut state = state.lock();
            if let Some(left) = &mut state.die_after_packets {
                if *left == 0 {
                    state.dead.cancel();
                    return Err(io::Error::other("told to die"));
                }
                *left -= 1;
            }
            state.syncs += usize::from(header.sync_block);
            let replica = state.replicas.get_mut(&id).unwrap();
            let at = header.offset_in_block as usize;
            if !header.is_heartbeat() {
                assert!(at <= replica.data.len(), "a packet leaves a gap");
                let checksum = DataChecksum::default();
                checksum.verify_chunks(&packet.data, &packet.checksums, at as u64).unwrap();
                let end = at + packet.data.len();
                if replica.data.len() < end {
                    replica.data.resize(end, 0);
                }
                replica.data[at..end].copy_from_slice(&packet.data);
                replica.closed = header.last_packet_in_block;
            }
        }
        let mut ack = PipelineAck::success(header.seqno, 1);
        let mut failed = false;
        if let Some(mirror) = &mut mirror {
            let exchange = async {
                let (head, used) = header.encode(packet.checksums.len());
                mirror.write_all(&head[..used]).await?;
                mirror.write_all(&packet.checksums).await?;
                mirror.write_all(&packet.data).await?;
                PipelineAck::read_async(mirror).await
            };
            match exchange.await {
                Ok(below) => {
                    failed = !below.is_success();
                    ack = below.prepend(proto::Status::Success);
                }
                Err(_) => {
                    failed = true;
                    ack.replies.push(proto::Status::Error);
                }
            }
        }
        write_half.write_all(&ack.encode()).await?;
        if failed || header.last_packet_in_block {
            return Ok(());
        }
    }
    Ok(())
}

async fn transfer(
    mut stream: TcpStream,
    request: proto::OpTransferBlockProto,
    state: &Mutex<State>,
) -> io::Result<()> {
    let header = request.header.clone();
    let block = header.base_header.block.clone();
    let replica = state.lock().replicas[&block.block_id].clone();
    assert!(replica.data.len() as u64 >= block.num_bytes());
    let target = &request.targets[0].id;
    let copy = async {
        let mut out =
            TcpStream::connect((target.ip_addr.as_str(), target.xfer_port as u16)).await?;
        let op = Op::WriteBlock(Box::new(proto::OpWriteBlockProto {
            header,
            stage: Stage::TransferRbw as i32,
            requested_checksum: DataChecksum::default().into(),
            ..Default::default()
        }));
        out.write_all(&op.encode()).await?;
        op::read_response_async(&mut out).await?;
        let mut packet = PacketBuffer::new(DataChecksum::default(), 1 << 20);
        packet.push(&replica.data);
        out.write_all(packet.finish(0, 0, false, false)).await?;
        PipelineAck::read_async(&mut out).await
    };
    let response = match copy.await {
        Ok(_) => op::plain(proto::Status::Success),
        Err(error) => op::refused(proto::Status::Error, error.to_string()),
    };
    stream.write_all(&delimited::encode(&response)).await
}

async fn accept_calls(listener: TcpListener, state: Arc<Mutex<State>>) {
    let dead = state.lock().dead.clone();
    while let Some(Ok((stream, _))) = dead.run_until_cancelled(listener.accept()).await {
        let handler = Arc::new(Calls { state: state.clone() });
        let limits = ServerLimits::default();
        tokio::spawn(serve_connection(stream, handler, limits, dead.clone()));
    }
}

struct Calls {
    state: Arc<Mutex<State>>,
}

impl Handler for Calls {
    fn call(&self, _context: &CallContext, protocol: &str, method: &str, body: Bytes) -> Reply {
        let state = self.state.lock();
        match method {
            "getReplicaVisibleLength" => {
                let request = proto::GetReplicaVisibleLengthRequestProto::decode(body).unwrap();
                match state.replicas.get(&request.block.block_id) {
                    Some(replica) => Reply::message(&proto::GetReplicaVisibleLengthResponseProto {
                        length: replica.data.len() as u64,
                    }),
                    None => Reply::error(ErrorKind::ReplicaNotFound, "no such replica"),
                }
            }
            "getBlockLocalPathInfo" => {
                let request = proto::GetBlockLocalPathInfoRequestProto::decode(body).unwrap();
                let Some(dir) = &state.local_dir else {
                    return Reply::error(ErrorKind::AccessDenied, "not permitted");
                };
                let replica = &state.replicas[&request.block.block_id];
                let data = dir.join(format!("blk_{}", request.block.block_id));
                let meta = dir.join(format!("blk_{}.meta", request.block.block_id));
                if !data.exists() {
                    std::fs::write(&data, &replica.data).unwrap();
                    let checksum = DataChecksum::default();
                    let mut bytes = checksum.encode_meta_header().to_vec();
                    bytes.extend(checksum.chunks(&replica.data));
                    std::fs::write(&meta, bytes).unwrap();
                }
                Reply::message(&proto::GetBlockLocalPathInfoResponseProto {
                    block: request.block,
                    local_path: data.display().to_string(),
                    local_meta_path: meta.display().to_string(),
                })
            }
            _ => Reply::no_such_method(protocol, method),
        }
    }
}
