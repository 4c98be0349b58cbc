//! Datanodes without a namenode, and a client that speaks packet by packet.
#![allow(dead_code, clippy::result_large_err, clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hfs_daemon::metrics;
use hfs_daemon::shutdown::Shutdown;
use hfs_datanode::store::{FsyncPolicy, Pool, ReplicaEvents, Store, StoreOptions};
use hfs_datanode::xceiver::metrics::TransferMetrics;
use hfs_datanode::xceiver::threads::Threads;
use hfs_datanode::xceiver::{Xceiver, serve};
use hfs_protocol::delimited;
use hfs_protocol::proto::datanode::Block;
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::proto::hadoop::hdfs::op_write_block_proto::BlockConstructionStage;
use hfs_protocol::proto::hadoop::hdfs::{
    BaseHeaderProto, BlockOpResponseProto, ClientOperationHeaderProto, ClientReadStatusProto,
    DatanodeIdProto, DatanodeInfoProto, ExtendedBlockProto, OpReadBlockProto, OpTransferBlockProto,
    OpWriteBlockProto, Status,
};
use hfs_protocol::transfer::ack::PipelineAck;
use hfs_protocol::transfer::checksum::DataChecksum;
use hfs_protocol::transfer::op::{self, Op};
use hfs_protocol::transfer::packet::PacketHeader;
use hfs_protocol::transfer::packet_reader::PacketReader;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub const POOL: &str = "BP-1-127.0.0.1-1";
pub const BLOCK: u64 = 1_073_741_825;
pub const STAMP: u64 = 1001;
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the store said.
#[derive(Debug, Default)]
pub struct Events {
    pub changes: Mutex<Vec<(Kind, Block)>>,
    pub bad: Mutex<Vec<(Block, String)>>,
}

impl ReplicaEvents for Events {
    fn changed(&self, kind: Kind, block: Block, _storage_uuid: &str) {
        self.changes.lock().push((kind, block));
    }
    fn bad(&self, block: Block, reason: &str) {
        self.bad.lock().push((block, reason.to_owned()));
    }
    fn volume_suspect(&self) {}
    fn volume_failed(&self, _dir: &Path, _reason: &str) {}
}

/// A datanode's transfer port over a directory of its own.
pub struct Node {
    pub dir: TempDir,
    pub store: Arc<Store>,
    pub events: Arc<Events>,
    pub address: SocketAddr,
    pub xceiver: Arc<Xceiver>,
    shutdown: Shutdown,
    runtime: Option<Runtime>,
}

pub fn open_store(dirs: &[&Path], events: Arc<Events>) -> Arc<Store> {
    let store = Store::open(
        &StoreOptions {
            dirs: dirs.iter().map(|dir| dir.to_path_buf()).collect(),
            reserve_bytes: 0,
            failed_tolerated: 0,
            fsync: FsyncPolicy::OnHsync,
        },
        events,
    )
    .unwrap();
    let pool = Pool { cluster_id: "CID-test".into(), pool_id: POOL.into() };
    store.adopt(&pool).unwrap();
    Arc::new(store)
}

impl Node {
    pub fn start() -> Self {
        Self::with_transfers(64)
    }

    pub fn with_transfers(max_transfers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::on(dir, max_transfers)
    }

    fn on(dir: TempDir, max_transfers: usize) -> Self {
        let events = Arc::new(Events::default());
        let store = open_store(&[dir.path()], Arc::clone(&events));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let xceiver = Arc::new(Xceiver {
            store: Arc::clone(&store),
            threads: Threads::default(),
            slots: Arc::new(Semaphore::new(max_transfers)),
            slots_max: max_transfers,
            connections: Arc::new(Semaphore::new(1000)),
            patience: PATIENCE,
            metrics: TransferMetrics::new(&mut metrics::registry("datanode")),
            node: OnceLock::from(info(address)),
        });
        let shutdown = Shutdown::new();
        runtime.spawn(serve::serve(Arc::clone(&xceiver), listener, shutdown.clone()));
        Self { dir, store, events, address, xceiver, shutdown, runtime: Some(runtime) }
    }

    /// The same directory under a new store, as after a restart.
    pub fn restart(mut self) -> Self {
        self.shutdown.trigger();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        self.runtime.take().unwrap().shutdown_timeout(PATIENCE);
        let store = Arc::downgrade(&self.store);
        drop(self);
        wait_until("the old store is gone", || store.strong_count() == 0);
        Self::on(dir, 64)
    }

    pub fn info(&self) -> DatanodeInfoProto {
        info(self.address)
    }

    pub fn finalized(&self, block: u64) -> std::path::PathBuf {
        let (a, b) = ((block >> 16) & 31, (block >> 8) & 31);
        self.dir
            .path()
            .join(format!("current/{POOL}/current/finalized/subdir{a}/subdir{b}/blk_{block}"))
    }

    pub fn received(&self) -> Vec<Block> {
        let changes = self.events.changes.lock();
        changes.iter().filter(|(kind, _)| *kind == Kind::Received).map(|(_, b)| *b).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.trigger();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn info(address: SocketAddr) -> DatanodeInfoProto {
    DatanodeInfoProto {
        id: DatanodeIdProto {
            ip_addr: address.ip().to_string(),
            host_name: address.ip().to_string(),
            datanode_uuid: format!("uuid-{}", address.port()),
            xfer_port: address.port().into(),
            info_port: 0,
            ipc_port: 0,
            info_secure_port: None,
        },
        ..DatanodeInfoProto::default()
    }
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::yield_now();
    }
}

pub fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn base(block: u64, stamp: u64, len: u64) -> BaseHeaderProto {
    BaseHeaderProto {
        block: ExtendedBlockProto {
            pool_id: POOL.into(),
            block_id: block,
            generation_stamp: stamp,
            num_bytes: Some(len),
        },
        token: None,
        trace_info: None,
    }
}

pub fn header(block: u64, stamp: u64, len: u64) -> ClientOperationHeaderProto {
    ClientOperationHeaderProto {
        base_header: base(block, stamp, len),
        client_name: "DFSClient_test".into(),
    }
}

/// What a test says about a write; the rest is as clients fill it in.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub block: u64,
    pub stamp: u64,
    pub new_stamp: u64,
    pub stage: BlockConstructionStage,
    pub min: u64,
    pub max: u64,
    pub checksum: DataChecksum,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            block: BLOCK,
            stamp: STAMP,
            new_stamp: 0,
            stage: BlockConstructionStage::PipelineSetupCreate,
            min: 0,
            max: 0,
            checksum: DataChecksum::default(),
        }
    }
}

/// The writing client.
pub struct Writer {
    pub stream: TcpStream,
    pub checksum: DataChecksum,
    pub seqno: i64,
    pub offset: u64,
}

impl Writer {
    /// Opens a pipeline over `nodes`; the refusal if there is one.
    pub fn open(nodes: &[DatanodeInfoProto], setup: Setup) -> Result<Self, BlockOpResponseProto> {
        let id = &nodes[0].id;
        let address = format!("{}:{}", id.ip_addr, id.xfer_port).parse().unwrap();
        let mut stream = dial(address);
        let request = OpWriteBlockProto {
            header: header(setup.block, setup.stamp, setup.max),
            targets: nodes[1..].to_vec(),
            source: None,
            stage: setup.stage as i32,
            pipeline_size: nodes.len() as u32,
            min_bytes_rcvd: setup.min,
            max_bytes_rcvd: setup.max,
            latest_generation_stamp: setup.new_stamp,
            requested_checksum: setup.checksum.into(),
            ..OpWriteBlockProto::default()
        };
        stream.write_all(&Op::WriteBlock(Box::new(request)).encode()).unwrap();
        let response = op::read_response(&mut stream).unwrap();
        if response.status() != Status::Success {
            return Err(response);
        }
        assert_eq!(response.first_bad_link.as_deref(), Some(""));
        Ok(Self { stream, checksum: setup.checksum, seqno: 0, offset: setup.min })
    }

    pub fn send_raw(&mut self, header: PacketHeader, sums: &[u8], data: &[u8]) {
        let (bytes, used) = header.encode(sums.len());
        let packet = [&bytes[..used], sums, data].concat();
        self.stream.write_all(&packet).unwrap();
    }

    /// Sends the next packet with checksums as a client computes them.
    pub fn send(&mut self, data: &[u8], last: bool, sync: bool) {
        let chunk = u64::from(self.checksum.bytes_per_checksum());
        let lead = ((chunk - self.offset % chunk) % chunk).min(data.len() as u64) as usize;
        let mut sums = if self.checksum.checksum_size() == 0 || lead == 0 {
            Vec::new()
        } else {
            self.checksum.checksum_type.compute(&data[..lead]).to_be_bytes().to_vec()
        };
        sums.extend(self.checksum.chunks(&data[lead..]));
        let header = PacketHeader {
            offset_in_block: self.offset,
            seqno: self.seqno,
            last_packet_in_block: last,
            data_len: data.len() as u32,
            sync_block: sync,
        };
        self.send_raw(header, &sums, data);
        self.seqno += 1;
        self.offset += data.len() as u64;
    }

    pub fn ack(&mut self) -> PipelineAck {
        PipelineAck::read(&mut self.stream).unwrap()
    }

    /// Sends, and expects success from `nodes`.
    pub fn put(&mut self, data: &[u8], nodes: usize) {
        let seqno = self.seqno;
        self.send(data, false, false);
        assert_success(&self.ack(), seqno, nodes);
    }

    pub fn close(mut self, nodes: usize) {
        let seqno = self.seqno;
        self.send(&[], true, false);
        assert_success(&self.ack(), seqno, nodes);
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
}

pub fn assert_success(ack: &PipelineAck, seqno: i64, nodes: usize) {
    assert_eq!(ack.seqno, seqno);
    assert_eq!(ack.replies, vec![Status::Success; nodes]);
}

/// Writes a whole block through `nodes`.
pub fn write_block(nodes: &[&Node], block: u64, data: &[u8], packet: usize) {
    let infos: Vec<_> = nodes.iter().map(|node| node.info()).collect();
    let mut writer = Writer::open(&infos, Setup { block, ..Setup::default() }).unwrap();
    for piece in data.chunks(packet) {
        writer.put(piece, nodes.len());
    }
    writer.close(nodes.len());
}

/// Sends a read and takes everything that comes, checking it as clients do.
pub fn read_on(
    stream: &mut TcpStream,
    block: u64,
    stamp: u64,
    offset: u64,
    len: u64,
    checksums: bool,
) -> Result<Vec<u8>, BlockOpResponseProto> {
    let request = OpReadBlockProto {
        header: header(block, stamp, 0),
        offset,
        len,
        send_checksums: Some(checksums),
        caching_strategy: None,
    };
    stream.write_all(&Op::ReadBlock(Box::new(request)).encode()).unwrap();
    let response = op::read_response(stream).unwrap();
    if response.status() != Status::Success {
        return Err(response);
    }
    let info = response.read_op_checksum_info.unwrap();
    let checksum = DataChecksum::from_proto(&info.checksum).unwrap();
    assert!(info.chunk_offset <= offset);
    assert!(info.chunk_offset + u64::from(checksum.bytes_per_checksum()) > offset || len == 0);
    let mut packets = PacketReader::new(&*stream);
    let mut bytes = Vec::new();
    let mut position = info.chunk_offset;
    let mut seqno = 0;
    loop {
        let packet = packets.next_packet().unwrap().unwrap();
        let header = packet.header();
        assert_eq!((header.seqno, header.offset_in_block), (seqno, position));
        seqno += 1;
        if header.last_packet_in_block {
            assert_eq!(header.data_len, 0);
            break;
        }
        assert!(header.data_len > 0);
        checksum.verify_chunks(packet.data(), packet.checksums(), position).unwrap();
        if checksum.checksum_size() == 0 {
            assert!(packet.checksums().is_empty());
        }
        bytes.extend_from_slice(packet.data());
        position += u64::from(header.data_len);
    }
    let skip = (offset - info.chunk_offset) as usize;
    let status = ClientReadStatusProto { status: Status::ChecksumOk as i32 };
    stream.write_all(&delimited::encode(&status)).unwrap();
    Ok(bytes[skip..skip + len as usize].to_vec())
}

pub fn read(
    node: &Node,
    block: u64,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>, BlockOpResponseProto> {
    read_on(&mut dial(node.address), block, STAMP, offset, len, true)
}

pub fn transfer(from: &Node, to: &Node, block: u64, stamp: u64) -> BlockOpResponseProto {
    let mut stream = dial(from.address);
    let request = OpTransferBlockProto {
        header: header(block, stamp, 0),
        targets: vec![to.info()],
        target_storage_types: vec![],
        target_storage_ids: vec![],
    };
    stream.write_all(&Op::TransferBlock(Box::new(request)).encode()).unwrap();
    op::read_response(&mut stream).unwrap()
}

/// Bytes that no two places share.
pub fn sample(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
