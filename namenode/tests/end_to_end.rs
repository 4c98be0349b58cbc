//! A whole namenode over real sockets: the test plays the file client (Hadoop RPC) and the
//! datanodes (gRPC), whose disks are tables in memory.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hfs_daemon::port_file::{self, Ports};
use hfs_daemon::shutdown::Shutdown;
use hfs_namenode::Config;
use hfs_protocol::error::ErrorKind;
use hfs_protocol::hadoop::client::{ClientOptions, RpcClient, RpcError};
use hfs_protocol::hadoop::header::CLIENT_PROTOCOL;
use hfs_protocol::proto::datanode::datanode_service_client::DatanodeServiceClient;
use hfs_protocol::proto::datanode::{
    self as dn, DatanodeMessage, NamenodeMessage, ReplicaState, datanode_message::Message,
    namenode_message::Message as Command, replica_change::Kind,
};
use hfs_protocol::proto::hadoop::hdfs::*;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

const PATIENCE: Duration = Duration::from_secs(20);

struct Namenode {
    ports: Ports,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

fn config(dir: &Path) -> Config {
    Config {
        dir: dir.join("name"),
        rpc_port: 0,
        grpc_port: 0,
        http_port: 0,
        port_file: Some(dir.join("ports.json")),
        min_block_size: 512,
        heartbeat_interval: Duration::from_millis(100),
        dead_interval: Duration::from_secs(2),
        user_groups: vec!["alice=staff".to_owned()],
        ..Config::default()
    }
}

impl Namenode {
    async fn start(config: Config) -> Self {
        let path = config.port_file.clone().unwrap();
        let _ = std::fs::remove_file(&path);
        let shutdown = Shutdown::new();
        let task = tokio::spawn(hfs_namenode::run(config, shutdown.clone()));
        let until = Instant::now() + PATIENCE;
        let ports = loop {
            if let Some(ports) = port_file::read(&path).unwrap() {
                break ports;
            }
            assert!(!task.is_finished(), "the namenode ended: {:?}", task.await);
            assert!(Instant::now() < until, "the namenode does not start");
            sleep(Duration::from_millis(5)).await;
        };
        Self { ports, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.trigger();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    async fn client(&self, user: &str) -> RpcClient {
        let options = ClientOptions::default();
        RpcClient::connect(self.ports.rpc.unwrap(), CLIENT_PROTOCOL, user, options).await.unwrap()
    }

    fn superuser() -> String {
        hfs_namenode::service::process_user()
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.ports.http.unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

/// block id → (generation stamp, length, state)
type Disk = Arc<Mutex<BTreeMap<u64, (u64, u64, ReplicaState)>>>;

/// A datanode with a real port and an unreal disk.
struct FakeDatanode {
    uuid: String,
    address: SocketAddr,
    disk: Disk,
    outbox: mpsc::Sender<DatanodeMessage>,
    commands: Arc<Mutex<Vec<Command>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for FakeDatanode {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn say(message: Message) -> DatanodeMessage {
    DatanodeMessage { message: Some(message) }
}

fn registration(uuid: &str, address: SocketAddr, cluster_id: &str) -> dn::Register {
    dn::Register {
        datanode_uuid: uuid.to_owned(),
        cluster_id: cluster_id.to_owned(),
        ip: address.ip().to_string(),
        host: address.ip().to_string(),
        transfer_port: u32::from(address.port()),
        ipc_port: 1,
        http_port: 1,
        storages: vec![storage(uuid)],
        ..Default::default()
    }
}

fn storage(uuid: &str) -> dn::Storage {
    dn::Storage {
        storage_uuid: format!("{uuid}-s"),
        capacity_bytes: 1 << 40,
        used_bytes: 1 << 20,
        remaining_bytes: 1 << 39,
        failed: false,
    }
}

/// Opens a stream and returns what the namenode says first.
async fn introduce(
    namenode: SocketAddr,
    register: dn::Register,
) -> (mpsc::Sender<DatanodeMessage>, tonic::Streaming<NamenodeMessage>, Command) {
    let channel = Endpoint::from_shared(format!("http://{namenode}")).unwrap().connect().await;
    let mut client = DatanodeServiceClient::new(channel.unwrap());
    let (outbox, messages) = mpsc::channel(64);
    outbox.send(say(Message::Register(register))).await.unwrap();
    let mut stream = client.connect(ReceiverStream::new(messages)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().message.unwrap();
    (outbox, stream, first)
}

impl FakeDatanode {
    async fn start(namenode: SocketAddr, uuid: &str, disk: Disk) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let register = registration(uuid, address, "");
        let (outbox, mut stream, first) = introduce(namenode, register).await;
        assert!(matches!(first, Command::Registered(_)), "{first:?}");
        let commands = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn(async move {
            loop {
                let _ = listener.accept().await;
            }
        });
        let (to, name) = (outbox.clone(), uuid.to_owned());
        let beating = tokio::spawn(async move {
            loop {
                let beat = dn::Heartbeat { storages: vec![storage(&name)], ..Default::default() };
                if to.send(say(Message::Heartbeat(beat))).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        let mut node = Self {
            uuid: uuid.to_owned(),
            address,
            disk,
            outbox,
            commands,
            tasks: vec![accepting, beating],
        };
        node.report().await;
        let (disk, outbox) = (Arc::clone(&node.disk), node.outbox.clone());
        let (commands, uuid) = (Arc::clone(&node.commands), uuid.to_owned());
        node.tasks.push(tokio::spawn(async move {
            while let Ok(Some(NamenodeMessage { message: Some(command) })) = stream.message().await
            {
                for answer in obey(&disk, &uuid, &command) {
                    let _ = outbox.send(say(answer)).await;
                }
                commands.lock().push(command);
            }
        }));
        node
    }

    async fn report(&self) {
        let replicas = self
            .disk
            .lock()
            .iter()
            .map(|(&block_id, &(generation_stamp, length, state))| dn::ReportedReplica {
                block: Some(dn::Block { block_id, generation_stamp, length }),
                state: state as i32,
            })
            .collect();
        let report = dn::BlockReport {
            report_id: 7,
            storage_uuid: format!("{}-s", self.uuid),
            replicas,
            last: true,
        };
        self.outbox.send(say(Message::BlockReport(report))).await.unwrap();
    }

    async fn receive(&self, block: &ExtendedBlockProto, length: u64, state: ReplicaState) {
        self.disk.lock().insert(block.block_id, (block.generation_stamp, length, state));
        let block = dn::Block {
            block_id: block.block_id,
            generation_stamp: block.generation_stamp,
            length,
        };
        let kind = match state {
            ReplicaState::Finalized => Kind::Received,
            _ => Kind::Receiving,
        };
        let _ = self.outbox.send(say(change(kind, block, &self.uuid))).await;
    }
}

fn change(kind: Kind, block: dn::Block, uuid: &str) -> Message {
    Message::Incremental(dn::IncrementalReport {
        changes: vec![dn::ReplicaChange {
            kind: kind as i32,
            block: Some(block),
            storage_uuid: format!("{uuid}-s"),
        }],
    })
}

/// What a real datanode would do with its disk, and say.
fn obey(disk: &Disk, uuid: &str, command: &Command) -> Vec<Message> {
    let mut disk = disk.lock();
    match command {
        Command::Invalidate(order) => order
            .blocks
            .iter()
            .filter(|block| disk.remove(&block.block_id).is_some())
            .map(|block| change(Kind::Deleted, *block, uuid))
            .collect(),
        Command::InitRecovery(init) => {
            let mut block = init.block.unwrap();
            let mut answer =
                dn::RecoveryReplica { recovery_id: init.recovery_id, ..Default::default() };
            match disk.get(&block.block_id) {
                Some(&(stamp, length, state)) => {
                    block.generation_stamp = stamp;
                    block.length = length;
                    answer.state = state as i32;
                }
                None => answer.error = "no such replica".to_owned(),
            }
            answer.block = Some(block);
            vec![Message::RecoveryReplica(answer)]
        }
        Command::FinishRecovery(finish) => {
            let mut block = finish.block.unwrap();
            block.generation_stamp = finish.recovery_id;
            block.length = finish.length;
            disk.insert(
                block.block_id,
                (finish.recovery_id, finish.length, ReplicaState::Finalized),
            );
            vec![Message::RecoveryDone(dn::RecoveryDone {
                recovery_id: finish.recovery_id,
                block: Some(block),
                storage_uuid: format!("{uuid}-s"),
                error: String::new(),
            })]
        }
        _ => Vec::new(),
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn create(path: &str, replication: u32) -> CreateRequestProto {
    CreateRequestProto {
        src: path.to_owned(),
        masked: FsPermissionProto { perm: 0o644 },
        client_name: "writer".to_owned(),
        create_flag: 3,
        create_parent: true,
        replication,
        block_size: 1 << 20,
        ..Default::default()
    }
}

async fn add_block(
    client: &RpcClient,
    path: &str,
    previous: Option<ExtendedBlockProto>,
) -> LocatedBlockProto {
    let request = AddBlockRequestProto {
        src: path.to_owned(),
        client_name: "writer".to_owned(),
        previous,
        ..Default::default()
    };
    client.call::<_, AddBlockResponseProto>("addBlock", &request).await.unwrap().block
}

async fn complete(client: &RpcClient, path: &str, last: Option<ExtendedBlockProto>) -> bool {
    let request = CompleteRequestProto {
        src: path.to_owned(),
        client_name: "writer".to_owned(),
        last,
        ..Default::default()
    };
    client.call::<_, CompleteResponseProto>("complete", &request).await.unwrap().result
}

async fn locations(client: &RpcClient, path: &str) -> LocatedBlocksProto {
    let request =
        GetBlockLocationsRequestProto { src: path.to_owned(), offset: 0, length: i64::MAX as u64 };
    let answer: GetBlockLocationsResponseProto =
        client.call("getBlockLocations", &request).await.unwrap();
    answer.locations.unwrap()
}

async fn stat(client: &RpcClient, path: &str) -> Option<HdfsFileStatusProto> {
    let request = GetFileInfoRequestProto { src: path.to_owned() };
    client.call::<_, GetFileInfoResponseProto>("getFileInfo", &request).await.unwrap().fs
}

/// Writes one block to the given nodes as a client and its pipeline would.
async fn write(client: &RpcClient, nodes: &[&FakeDatanode], path: &str, length: u64) {
    let replication = u32::try_from(nodes.len()).unwrap();
    let _: CreateResponseProto = client.call("create", &create(path, replication)).await.unwrap();
    let block = add_block(client, path, None).await;
    assert_eq!(block.locs.len(), nodes.len());
    for node in nodes {
        node.receive(&block.b, length, ReplicaState::Finalized).await;
    }
    let last = ExtendedBlockProto { num_bytes: Some(length), ..block.b };
    assert!(complete(client, path, Some(last)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_written_read_replicated_and_deleted_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let namenode = Namenode::start(config(dir.path())).await;
    let grpc = namenode.ports.grpc.unwrap();
    let disks: Vec<Disk> = (0..3).map(|_| Disk::default()).collect();
    let a = FakeDatanode::start(grpc, "dn-a", Arc::clone(&disks[0])).await;
    let b = FakeDatanode::start(grpc, "dn-b", Arc::clone(&disks[1])).await;
    let client = namenode.client(&Namenode::superuser()).await;

    write(&client, &[&a, &b], "/dir/file", 700).await;
    let status = stat(&client, "/dir/file").await.unwrap();
    assert_eq!((status.length, status.file_id.unwrap() > 16385), (700, true));
    // The file is complete with one replica; the report of the other may still be under way.
    eventually("both replicas are known", async || {
        locations(&client, "/dir/file").await.blocks[0].locs.len() == 2
    })
    .await;
    let located = locations(&client, "/dir/file").await;
    assert_eq!(located.file_length, 700);
    assert!(located.is_last_block_complete && !located.under_construction);
    assert_eq!(located.blocks[0].locs.len(), 2);
    assert_eq!(located.blocks[0].storage_i_ds.len(), 2);
    assert!(stat(&client, "/nothing").await.is_none());

    // One more replica is wanted and a node for it appears: a copy is ordered.
    let more = SetReplicationRequestProto { src: "/dir/file".into(), replication: 3 };
    let _: SetReplicationResponseProto = client.call("setReplication", &more).await.unwrap();
    let c = FakeDatanode::start(grpc, "dn-c", Arc::clone(&disks[2])).await;
    let ordered = || {
        let mut orders = a.commands.lock().clone();
        orders.extend(b.commands.lock().clone());
        orders.into_iter().find_map(|command| match command {
            Command::Transfer(transfer) => Some(transfer),
            _ => None,
        })
    };
    eventually("a copy is ordered", async || ordered().is_some()).await;
    let transfer = ordered().unwrap();
    assert_eq!(transfer.targets[0].datanode_uuid, "dn-c");
    c.receive(&located.blocks[0].b, 700, ReplicaState::Finalized).await;
    eventually("three places", async || {
        locations(&client, "/dir/file").await.blocks[0].locs.len() == 3
    })
    .await;

    // A dead datanode's replicas are no place any more, within the goal of two seconds.
    let began = Instant::now();
    drop(c);
    eventually("two places", async || {
        locations(&client, "/dir/file").await.blocks[0].locs.len() == 2
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    // Everything acknowledged is there after a restart.
    namenode.stop().await;
    drop((a, b));
    let namenode = Namenode::start(config(dir.path())).await;
    let client = namenode.client(&Namenode::superuser()).await;
    let health = namenode.get("/healthz").await;
    assert!(health.contains("503") && health.contains("safe mode"), "{health}");
    let refused: Result<MkdirsResponseProto, _> =
        client.call("mkdirs", &MkdirsRequestProto { src: "/x".into(), ..Default::default() }).await;
    assert!(matches!(refused, Err(RpcError::Remote(e)) if e.kind == ErrorKind::SafeMode));
    let grpc = namenode.ports.grpc.unwrap();
    let a = FakeDatanode::start(grpc, "dn-a", Arc::clone(&disks[0])).await;
    eventually("safe mode ends", async || namenode.get("/healthz").await.contains("200")).await;
    assert_eq!(locations(&client, "/dir/file").await.blocks[0].locs.len(), 1);

    let gone = DeleteRequestProto { src: "/dir".into(), recursive: true };
    assert!(client.call::<_, DeleteResponseProto>("delete", &gone).await.unwrap().result);
    eventually("the replica is removed", async || a.disk.lock().is_empty()).await;

    for (page, word) in [
        ("/", "Datanodes: 1 live"),
        ("/api/status", "\"live\":1"),
        ("/metrics", "hfs_namenode_rpc_calls_total{method=\"delete\"} 1"),
        ("/metrics", "hfs_namenode_live_datanodes 1"),
    ] {
        let text = namenode.get(page).await;
        assert!(text.contains(word), "{word} not in {text}");
    }
    namenode.stop().await;
}

/// Blocks are larger than most files. What is set aside for those under way is given back when a replica is whole, and
/// is no reason to refuse the only node there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files_fit_between_two_heartbeats_where_their_full_blocks_would_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dead_interval: PATIENCE, ..config(dir.path()) };
    let namenode = Namenode::start(config).await;
    let a = FakeDatanode::start(namenode.ports.grpc.unwrap(), "dn-a", Disk::default()).await;
    let client = namenode.client(&Namenode::superuser()).await;
    // The last heartbeat for a while; two full blocks have room there.
    let beating = &a.tasks[1];
    beating.abort();
    eventually("it beats no more", async || beating.is_finished()).await;
    let block_size = storage("dn-a").remaining_bytes / 2;
    let begin = async |path: &str| {
        let create = CreateRequestProto { block_size, ..create(path, 1) };
        let _: CreateResponseProto = client.call("create", &create).await.unwrap();
        add_block(&client, path, None).await
    };

    for number in 0..10 {
        let path = format!("/after-another/{number}");
        let block = begin(&path).await;
        a.receive(&block.b, 10, ReplicaState::Finalized).await;
        let last = ExtendedBlockProto { num_bytes: Some(10), ..block.b };
        assert!(complete(&client, &path, Some(last)).await);
    }
    for number in 0..10 {
        begin(&format!("/at-once/{number}")).await;
    }
    namenode.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_writer_s_file_is_closed_at_the_shortest_length() {
    let dir = tempfile::tempdir().unwrap();
    let namenode = Namenode::start(config(dir.path())).await;
    let grpc = namenode.ports.grpc.unwrap();
    let a = FakeDatanode::start(grpc, "dn-a", Disk::default()).await;
    let b = FakeDatanode::start(grpc, "dn-b", Disk::default()).await;
    let client = namenode.client(&Namenode::superuser()).await;
    let _: CreateResponseProto = client.call("create", &create("/log", 2)).await.unwrap();
    let block = add_block(&client, "/log", None).await;
    a.receive(&block.b, 900, ReplicaState::Rbw).await;
    b.receive(&block.b, 800, ReplicaState::Rbw).await;
    // An open file: readers are told who has its tail.
    eventually("both have begun", async || {
        let located = locations(&client, "/log").await;
        assert!(located.under_construction && !located.is_last_block_complete);
        located.last_block.unwrap().locs.len() == 2
    })
    .await;
    let other = namenode.client("alice").await;
    let taken = other.call::<_, CreateResponseProto>("create", &create("/log", 1)).await;
    assert!(taken.is_err());
    let request = RecoverLeaseRequestProto { src: "/log".into(), client_name: "other".into() };
    let _: RecoverLeaseResponseProto = client.call("recoverLease", &request).await.unwrap();
    let closed = IsFileClosedRequestProto { src: "/log".into() };
    eventually("the file is closed", async || {
        client.call::<_, IsFileClosedResponseProto>("isFileClosed", &closed).await.unwrap().result
    })
    .await;
    let located = locations(&client, "/log").await;
    assert_eq!(located.file_length, 800);
    assert!(located.blocks[0].b.generation_stamp > block.b.generation_stamp);
    assert_eq!(located.blocks[0].locs.len(), 2);
    // The writer comes back and is told.
    let late = CompleteRequestProto {
        src: "/log".into(),
        client_name: "writer".into(),
        last: Some(ExtendedBlockProto { num_bytes: Some(900), ..block.b }),
        ..Default::default()
    };
    let late = client.call::<_, CompleteResponseProto>("complete", &late).await;
    assert!(late.is_err(), "{late:?}");
    namenode.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_nothing_is_dropped_before_its_holders_had_time_to_report() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { lease_recovery_grace: Duration::from_secs(3), ..config(dir.path()) };
    let namenode = Namenode::start(config.clone()).await;
    let grpc = namenode.ports.grpc.unwrap();
    let a = FakeDatanode::start(grpc, "dn-a", Disk::default()).await;
    let b = FakeDatanode::start(grpc, "dn-b", Disk::default()).await;
    let client = namenode.client(&Namenode::superuser()).await;
    for path in ["/flushed", "/untouched"] {
        let _: CreateResponseProto = client.call("create", &create(path, 2)).await.unwrap();
    }
    let block = add_block(&client, "/flushed", None).await;
    add_block(&client, "/untouched", None).await;
    // Flushed bytes are on the datanodes; the namenode's record of the block says 0 bytes.
    a.receive(&block.b, 900, ReplicaState::Rbw).await;
    b.receive(&block.b, 800, ReplicaState::Rbw).await;
    eventually("both have begun", async || {
        locations(&client, "/flushed").await.last_block.unwrap().locs.len() == 2
    })
    .await;
    let disks = [Arc::clone(&a.disk), Arc::clone(&b.disk)];
    drop((a, b, client));
    namenode.stop().await;

    let namenode = Namenode::start(config).await;
    let grpc = namenode.ports.grpc.unwrap();
    let client = namenode.client(&Namenode::superuser()).await;
    let recover = async |path: &str| {
        let request = RecoverLeaseRequestProto { src: path.into(), client_name: "other".into() };
        client.call::<_, RecoverLeaseResponseProto>("recoverLease", &request).await.unwrap().result
    };
    assert!(!recover("/flushed").await, "closed before any datanode has reported");
    // One that has none of it does not make the others' bytes go.
    let _other = FakeDatanode::start(grpc, "dn-c", Disk::default()).await;
    assert!(!recover("/flushed").await);
    let [disk_a, disk_b] = disks;
    let _a = FakeDatanode::start(grpc, "dn-a", disk_a).await;
    let _b = FakeDatanode::start(grpc, "dn-b", disk_b).await;
    eventually("the flushed file is closed", async || recover("/flushed").await).await;
    assert_eq!(locations(&client, "/flushed").await.file_length, 800);
    // What nobody has is dropped in the end.
    eventually("the untouched file is closed", async || recover("/untouched").await).await;
    assert_eq!(locations(&client, "/untouched").await.file_length, 0);
    namenode.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_rebuilt_with_a_new_version_and_another_node() {
    let dir = tempfile::tempdir().unwrap();
    let namenode = Namenode::start(config(dir.path())).await;
    let grpc = namenode.ports.grpc.unwrap();
    let mut nodes = Vec::new();
    for name in ["dn-a", "dn-b", "dn-c"] {
        nodes.push(FakeDatanode::start(grpc, name, Disk::default()).await);
    }
    let client = namenode.client(&Namenode::superuser()).await;
    let _: CreateResponseProto = client.call("create", &create("/f", 2)).await.unwrap();
    let block = add_block(&client, "/f", None).await;
    let (left, lost) = (block.locs[0].clone(), block.locs[1].clone());
    let ask = GetAdditionalDatanodeRequestProto {
        src: "/f".into(),
        blk: block.b.clone(),
        existings: vec![left.clone()],
        excludes: vec![lost.clone()],
        num_additional_nodes: 1,
        client_name: "writer".into(),
        existing_storage_uuids: vec![block.storage_i_ds[0].clone()],
        ..Default::default()
    };
    let more: GetAdditionalDatanodeResponseProto =
        client.call("getAdditionalDatanode", &ask).await.unwrap();
    assert_eq!(more.block.locs.len(), 2);
    let new = more.block.locs.iter().find(|l| l.id != left.id).unwrap().clone();
    assert_ne!(new.id, lost.id);
    let ask =
        UpdateBlockForPipelineRequestProto { block: block.b.clone(), client_name: "writer".into() };
    let updated: UpdateBlockForPipelineResponseProto =
        client.call("updateBlockForPipeline", &ask).await.unwrap();
    assert!(updated.block.b.generation_stamp > block.b.generation_stamp);
    let rebuilt = ExtendedBlockProto { num_bytes: Some(100), ..updated.block.b };
    let request = UpdatePipelineRequestProto {
        client_name: "writer".into(),
        old_block: block.b.clone(),
        new_block: rebuilt.clone(),
        new_nodes: vec![left.id.clone(), new.id.clone()],
        storage_i_ds: Vec::new(),
    };
    let _: UpdatePipelineResponseProto = client.call("updatePipeline", &request).await.unwrap();
    for node in &nodes {
        if [&left, &new].iter().any(|l| l.id.datanode_uuid == node.uuid) {
            node.receive(&rebuilt, 300, ReplicaState::Finalized).await;
        } else {
            // The failed node comes back with the old version: it must not count.
            node.receive(&block.b, 300, ReplicaState::Finalized).await;
        }
    }
    let last = ExtendedBlockProto { num_bytes: Some(300), ..rebuilt };
    assert!(complete(&client, "/f", Some(last)).await);
    let stale = nodes.iter().find(|n| n.uuid == lost.id.datanode_uuid).unwrap();
    eventually("the stale replica is removed", async || stale.disk.lock().is_empty()).await;
    let located = locations(&client, "/f").await;
    assert_eq!((located.file_length, located.blocks[0].locs.len()), (300, 2));
    namenode.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_datanodes_and_nonsense_are_refused_and_nobody_else_is_harmed() {
    let dir = tempfile::tempdir().unwrap();
    let namenode = Namenode::start(config(dir.path())).await;
    let grpc = namenode.ports.grpc.unwrap();
    let a = FakeDatanode::start(grpc, "dn-a", Disk::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let refusal = |command: Command| match command {
        Command::Refused(refused) => refused,
        other => panic!("not refused: {other:?}"),
    };
    // Another cluster's.
    let (_, _, first) = introduce(grpc, registration("dn-x", here, "CID-other")).await;
    let refused = refusal(first);
    assert!(refused.r#final && refused.reason.contains("CID-other"), "{}", refused.reason);
    assert!(refused.reason.contains("Nothing was deleted"), "{}", refused.reason);
    // A clone of a live one.
    let (_, _, first) = introduce(grpc, registration("dn-a", here, "")).await;
    let refused = refusal(first);
    assert!(refused.reason.contains(&a.address.to_string()), "{}", refused.reason);
    // One that nobody can reach.
    drop(listener);
    let (_, _, first) = introduce(grpc, registration("dn-y", here, "")).await;
    let refused = refusal(first);
    assert!(!refused.r#final && refused.reason.contains(&here.to_string()), "{}", refused.reason);
    assert!(refused.reason.contains("advertised-host"), "{}", refused.reason);
    // Nonsense on every port ends the connection, not the namenode.
    for port in [namenode.ports.rpc.unwrap(), grpc, namenode.ports.http.unwrap()] {
        for nonsense in [
            &b"\xff\xff\xff\xff\xff\xff\xff\xff rubbish\r\n\r\n"[..],
            b"hrpc\x09\0\0\xff\xff\xff\xff",
        ] {
            let mut stream = TcpStream::connect(port).await.unwrap();
            stream.write_all(nonsense).await.unwrap();
            let mut rest = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
        }
    }
    // The first is unaffected and the namenode still answers.
    let client = namenode.client(&Namenode::superuser()).await;
    write(&client, &[&a], "/ok", 10).await;
    let unknown = client.call::<_, MsyncResponseProto>("getEditsFromTxid", &MsyncRequestProto {});
    let unknown = unknown.await;
    assert!(matches!(unknown, Err(RpcError::Remote(e)) if e.kind == ErrorKind::NoSuchMethod));
    namenode.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_listings_and_the_small_calls() {
    let dir = tempfile::tempdir().unwrap();
    let namenode = Namenode::start(Config { list_limit: 2, ..config(dir.path()) }).await;
    let root = namenode.client(&Namenode::superuser()).await;
    let alice = namenode.client("alice").await;
    let mkdirs = |path: &str, perm| MkdirsRequestProto {
        src: path.to_owned(),
        masked: FsPermissionProto { perm },
        create_parent: true,
        ..Default::default()
    };
    let denied = alice.call::<_, MkdirsResponseProto>("mkdirs", &mkdirs("/a", 0o755)).await;
    assert!(matches!(denied, Err(RpcError::Remote(e)) if e.kind == ErrorKind::AccessDenied));
    for name in ["/d/1", "/d/2", "/d/3"] {
        root.call::<_, MkdirsResponseProto>("mkdirs", &mkdirs(name, 0o755)).await.unwrap();
    }
    let mut names = Vec::new();
    let mut after = Vec::new();
    loop {
        let request = GetListingRequestProto {
            src: "/d".into(),
            start_after: after.clone().into(),
            need_location: true,
        };
        let page: GetListingResponseProto = alice.call("getListing", &request).await.unwrap();
        let page = page.dir_list.unwrap();
        names.extend(page.partial_listing.iter().map(|e| e.path.to_vec()));
        after = names.last().unwrap().clone();
        if page.remaining_entries == 0 {
            break;
        }
    }
    assert_eq!(names, [b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]);
    let defaults: GetServerDefaultsResponseProto =
        alice.call("getServerDefaults", &GetServerDefaultsRequestProto {}).await.unwrap();
    assert_eq!(defaults.server_defaults.key_provider_uri.as_deref(), Some(""));
    assert_eq!(defaults.server_defaults.block_size, 128 << 20);
    let summary: GetContentSummaryResponseProto = alice
        .call("getContentSummary", &GetContentSummaryRequestProto { path: "/d".into() })
        .await
        .unwrap();
    assert_eq!(summary.summary.directory_count, 4);
    let state: HaServiceStateResponseProto =
        alice.call("getHAServiceState", &HaServiceStateRequestProto {}).await.unwrap();
    assert_eq!(state.state(), HaServiceStateProto::Active);
    let enter = SetSafeModeRequestProto {
        action: SafeModeActionProto::SafemodeEnter as i32,
        checked: None,
    };
    let denied = alice.call::<_, SetSafeModeResponseProto>("setSafeMode", &enter).await;
    assert!(denied.is_err());
    assert!(root.call::<_, SetSafeModeResponseProto>("setSafeMode", &enter).await.unwrap().result);
    let saved: SaveNamespaceResponseProto =
        root.call("saveNamespace", &SaveNamespaceRequestProto::default()).await.unwrap();
    assert_eq!(saved.saved, Some(true));
    // No datanode: a write says what to do.
    let leave = SetSafeModeRequestProto {
        action: SafeModeActionProto::SafemodeLeave as i32,
        checked: None,
    };
    assert!(!root.call::<_, SetSafeModeResponseProto>("setSafeMode", &leave).await.unwrap().result);
    let _: CreateResponseProto = root.call("create", &create("/f", 1)).await.unwrap();
    let request = AddBlockRequestProto {
        src: "/f".into(),
        client_name: "writer".into(),
        ..Default::default()
    };
    let refused = root.call::<_, AddBlockResponseProto>("addBlock", &request).await.unwrap_err();
    assert!(refused.to_string().contains("0 datanode(s) running"), "{refused}");
    assert!(complete(&root, "/f", None).await);
    namenode.stop().await;
    // The checkpoint and the journal after it give the same namespace.
    let namenode = Namenode::start(config(dir.path())).await;
    let root = namenode.client(&Namenode::superuser()).await;
    assert!(stat(&root, "/f").await.is_some() && stat(&root, "/d/3").await.is_some());
    namenode.stop().await;
}
