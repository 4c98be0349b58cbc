//! The whole daemon against a namenode that is played by the test.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use common::{BLOCK, PATIENCE, POOL, STAMP, Setup, Writer, dial, info, read_on, sample};
use hfs_daemon::port_file;
use hfs_daemon::shutdown::Shutdown;
use hfs_datanode::Config;
use hfs_protocol::hadoop::client::{ClientOptions, RpcClient};
use hfs_protocol::proto::datanode::datanode_message::Message;
use hfs_protocol::proto::datanode::datanode_service_server::{
    DatanodeService, DatanodeServiceServer,
};
use hfs_protocol::proto::datanode::namenode_message::Message as Command;
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::proto::datanode::{
    Block, DatanodeMessage, FinishRecovery, InitRecovery, Invalidate, NamenodeMessage, Refused,
    Register, Registered, ReplicaState, SendBlockReport, Target, Transfer,
};
use hfs_protocol::proto::hadoop::hdfs::{
    ExtendedBlockProto, GetBlockLocalPathInfoRequestProto, GetBlockLocalPathInfoResponseProto,
    GetDatanodeInfoRequestProto, GetDatanodeInfoResponseProto, GetReplicaVisibleLengthRequestProto,
    GetReplicaVisibleLengthResponseProto, TokenProto,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

const PROTOCOL: &str = "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol";

type Sessions = mpsc::Sender<Session>;

/// One connected datanode.
struct Session {
    inbound: Streaming<DatanodeMessage>,
    outbound: mpsc::Sender<Result<NamenodeMessage, Status>>,
}

struct FakeNamenode {
    sessions: Sessions,
}

#[tonic::async_trait]
impl DatanodeService for FakeNamenode {
    type ConnectStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<NamenodeMessage, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<DatanodeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (outbound, queue) = mpsc::channel(100);
        let session = Session { inbound: request.into_inner(), outbound };
        self.sessions.send(session).await.unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

async fn namenode(address: &str) -> (SocketAddr, mpsc::Receiver<Session>, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sessions, connected) = mpsc::channel(10);
    let server = tonic::transport::Server::builder()
        .add_service(DatanodeServiceServer::new(FakeNamenode { sessions }))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let task = tokio::spawn(async move { server.await.unwrap() });
    (address, connected, task)
}

impl Session {
    async fn next(&mut self) -> Message {
        let message = tokio::time::timeout(PATIENCE, self.inbound.message()).await.unwrap();
        message.unwrap().unwrap().message.unwrap()
    }

    /// The next message that `pick` takes.
    async fn find<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    async fn tell(&self, command: Command) {
        self.outbound.send(Ok(NamenodeMessage { message: Some(command) })).await.unwrap();
    }

    async fn hello(&mut self) -> Register {
        match self.next().await {
            Message::Register(register) => register,
            other => panic!("{other:?}"),
        }
    }

    async fn accept(&mut self, cluster: &str) -> Register {
        let register = self.hello().await;
        self.tell(Command::Registered(Registered {
            cluster_id: cluster.into(),
            block_pool_id: POOL.into(),
            heartbeat_interval_ms: 100,
        }))
        .await;
        register
    }

    async fn report(&mut self) -> Vec<(u64, ReplicaState)> {
        self.find(|message| match message {
            Message::BlockReport(report) => {
                assert!(report.last);
                let of = |r: &hfs_protocol::proto::datanode::ReportedReplica| {
                    (r.block.unwrap().block_id, r.state())
                };
                Some(report.replicas.iter().map(of).collect())
            }
            _ => None,
        })
        .await
    }

    /// The next change of this kind.
    async fn change(&mut self, kind: Kind) -> Block {
        self.find(|message| match message {
            Message::Incremental(batch) => batch
                .changes
                .iter()
                .find(|change| change.kind() == kind)
                .and_then(|change| change.block),
            _ => None,
        })
        .await
    }
}

struct Daemon {
    ports: port_file::Ports,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

fn config(dir: &Path, namenode: SocketAddr) -> Config {
    Config {
        namenodes: vec![namenode.to_string()],
        data_dirs: vec![dir.join("data")],
        transfer_port: 0,
        ipc_port: 0,
        http_port: 0,
        reserved_space: 0,
        port_file: Some(dir.join("ports.json")),
        ..Config::default()
    }
}

async fn start(config: Config) -> Daemon {
    let path = config.port_file.clone().unwrap();
    let _ = std::fs::remove_file(&path);
    let shutdown = Shutdown::new();
    let task = tokio::spawn(hfs_datanode::run(config, shutdown.clone()));
    let wait = async {
        loop {
            if let Some(ports) = port_file::read(&path).unwrap() {
                return ports;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ports = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    Daemon { ports, shutdown, task }
}

impl Daemon {
    fn transfer(&self) -> SocketAddr {
        self.ports.transfer.unwrap()
    }

    async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }

    async fn write(&self, block: u64, data: &[u8], finish: bool) {
        let (address, data) = (self.transfer(), data.to_vec());
        tokio::task::spawn_blocking(move || {
            let setup = Setup { block, ..Setup::default() };
            let mut writer = Writer::open(&[info(address)], setup).unwrap();
            writer.put(&data, 1);
            if finish {
                writer.close(1);
            }
        })
        .await
        .unwrap();
    }

    async fn read(&self, block: u64, stamp: u64, len: u64) -> Vec<u8> {
        let address = self.transfer();
        tokio::task::spawn_blocking(move || {
            read_on(&mut dial(address), block, stamp, 0, len, true).unwrap()
        })
        .await
        .unwrap()
    }
}

fn named(block: u64, length: u64) -> Block {
    Block { block_id: block, generation_stamp: STAMP, length }
}

#[tokio::test(flavor = "multi_thread")]
async fn registers_reports_and_obeys() {
    let dir = tempfile::tempdir().unwrap();
    let (address, mut sessions, _server) = namenode("127.0.0.1:0").await;
    let daemon = start(config(dir.path(), address)).await;
    let mut session = sessions.recv().await.unwrap();
    let register = session.accept("CID-1").await;
    assert_eq!((register.cluster_id.as_str(), register.storages.len()), ("", 1));
    assert_eq!(register.transfer_port, u32::from(daemon.transfer().port()));
    assert_eq!(session.report().await, []);

    let data = sample(5000);
    daemon.write(BLOCK, &data, true).await;
    assert_eq!(session.change(Kind::Received).await, named(BLOCK, 5000));
    session.find(|message| matches!(message, Message::Heartbeat(_)).then_some(())).await;

    // A copy to a second datanode.
    let second_dir = tempfile::tempdir().unwrap();
    let second = start(config(second_dir.path(), address)).await;
    let mut second_session = sessions.recv().await.unwrap();
    let second_uuid = second_session.accept("CID-1").await.datanode_uuid;
    second_session.report().await;
    let target = |port: u16, uuid: &str| Target {
        datanode_uuid: uuid.into(),
        ip: "127.0.0.1".into(),
        host: "127.0.0.1".into(),
        transfer_port: port.into(),
        storage_uuid: String::new(),
    };
    let targets = vec![target(second.transfer().port(), &second_uuid), target(1, "nobody")];
    session.tell(Command::Transfer(Transfer { block: Some(named(BLOCK, 0)), targets })).await;
    let mut done = Vec::new();
    while done.len() < 2 {
        let one = session.find(|message| match message {
            Message::TransferDone(done) => Some(done),
            _ => None,
        });
        done.push(one.await);
    }
    assert_eq!((done[0].target_uuid.as_str(), done[0].error.as_str()), (second_uuid.as_str(), ""));
    assert!(done[1].error.contains("127.0.0.1:1"), "{}", done[1].error);
    assert_eq!(second_session.change(Kind::Received).await, named(BLOCK, 5000));
    assert!(second.read(BLOCK, STAMP, 5000).await == data);
    second.stop().await;

    // Lease recovery of a block whose writer is gone.
    daemon.write(BLOCK + 1, &data, false).await;
    let block = Some(named(BLOCK + 1, 0));
    session.tell(Command::InitRecovery(InitRecovery { recovery_id: 2000, block })).await;
    let offered = session.find(|message| match message {
        Message::RecoveryReplica(replica) => Some(replica),
        _ => None,
    });
    let offered = offered.await;
    assert_eq!((offered.error.as_str(), offered.state()), ("", ReplicaState::Rbw));
    assert_eq!(offered.block.unwrap().length, 5000);
    let finish = FinishRecovery { recovery_id: 2000, block, length: 4321 };
    session.tell(Command::FinishRecovery(finish)).await;
    let done = session.find(|message| match message {
        Message::RecoveryDone(done) => Some(done),
        _ => None,
    });
    let done = done.await;
    assert_eq!((done.error.as_str(), done.block.unwrap().length), ("", 4321));
    assert!(daemon.read(BLOCK + 1, 2000, 4321).await == data[..4321]);

    session.tell(Command::SendBlockReport(SendBlockReport {})).await;
    let both = [(BLOCK, ReplicaState::Finalized), (BLOCK + 1, ReplicaState::Finalized)];
    assert_eq!(session.report().await, both);
    session.tell(Command::Invalidate(Invalidate { blocks: vec![named(BLOCK, 0)] })).await;
    assert_eq!(session.change(Kind::Deleted).await.block_id, BLOCK);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_namenode_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let (address, mut sessions, server) = namenode("127.0.0.1:0").await;
    let daemon = start(config(dir.path(), address)).await;
    let mut session = sessions.recv().await.unwrap();
    session.accept("CID-1").await;
    session.report().await;
    server.abort();
    drop(session);
    drop(sessions);
    daemon.write(BLOCK, &sample(100), true).await;
    daemon.write(BLOCK + 1, &sample(100), false).await;
    let (_, mut sessions, _server) = namenode(&address.to_string()).await;
    let mut session = sessions.recv().await.unwrap();
    assert_eq!(session.accept("CID-1").await.cluster_id, "CID-1");
    let expected = [(BLOCK, ReplicaState::Finalized), (BLOCK + 1, ReplicaState::Rbw)];
    assert_eq!(session.report().await, expected);
    daemon.stop().await;

    // After a restart the unfinished one waits to be recovered.
    let daemon = start(config(dir.path(), address)).await;
    let mut session = sessions.recv().await.unwrap();
    session.accept("CID-1").await;
    let expected = [(BLOCK, ReplicaState::Finalized), (BLOCK + 1, ReplicaState::Rwr)];
    assert_eq!(session.report().await, expected);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_refusal_and_a_foreign_cluster_end_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let (address, mut sessions, _server) = namenode("127.0.0.1:0").await;
    let daemon = start(config(dir.path(), address)).await;
    let mut session = sessions.recv().await.unwrap();
    session.hello().await;
    let reason = "try later".to_owned();
    session.tell(Command::Refused(Refused { reason, r#final: false })).await;
    let mut session = sessions.recv().await.unwrap();
    session.accept("CID-1").await;
    session.report().await;
    daemon.stop().await;

    let daemon = start(config(dir.path(), address)).await;
    let mut session = sessions.recv().await.unwrap();
    session.accept("CID-2").await;
    let sentence = daemon.task.await.unwrap().unwrap_err().to_string();
    for part in ["CID-1", "CID-2", &dir.path().display().to_string()] {
        assert!(sentence.contains(part), "{sentence}");
    }

    let daemon = start(config(dir.path(), address)).await;
    let mut session = sessions.recv().await.unwrap();
    session.hello().await;
    let reason = "its id is in use by another datanode".to_owned();
    session.tell(Command::Refused(Refused { reason, r#final: true })).await;
    let sentence = daemon.task.await.unwrap().unwrap_err().to_string();
    assert!(sentence.contains("in use by another datanode"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn file_clients_are_answered_over_rpc() {
    let dir = tempfile::tempdir().unwrap();
    let (address, mut sessions, _server) = namenode("127.0.0.1:0").await;
    let daemon = start(config(dir.path(), address)).await;
    let mut session = sessions.recv().await.unwrap();
    session.accept("CID-1").await;
    session.report().await;
    daemon.write(BLOCK, &sample(5000), true).await;
    daemon.write(BLOCK + 1, &sample(777), false).await;
    let options = ClientOptions::default();
    let ipc = daemon.ports.ipc.unwrap();
    let client = RpcClient::connect(ipc, PROTOCOL, "alice", options).await.unwrap();
    let block = |id: u64| ExtendedBlockProto {
        pool_id: POOL.into(),
        block_id: id,
        generation_stamp: STAMP,
        num_bytes: None,
    };
    for (id, expected) in [(BLOCK, 5000), (BLOCK + 1, 777)] {
        let request = GetReplicaVisibleLengthRequestProto { block: block(id) };
        let answer: GetReplicaVisibleLengthResponseProto =
            client.call("getReplicaVisibleLength", &request).await.unwrap();
        assert_eq!(answer.length, expected);
    }
    let path =
        |id| GetBlockLocalPathInfoRequestProto { block: block(id), token: TokenProto::default() };
    let answer: GetBlockLocalPathInfoResponseProto =
        client.call("getBlockLocalPathInfo", &path(BLOCK)).await.unwrap();
    assert_eq!(std::fs::read(answer.local_path).unwrap(), sample(5000));
    assert_eq!(std::fs::metadata(answer.local_meta_path).unwrap().len(), 7 + 40);
    assert_eq!(answer.block.num_bytes, Some(5000));
    for id in [BLOCK + 1, BLOCK + 2] {
        let refused: Result<GetBlockLocalPathInfoResponseProto, _> =
            client.call("getBlockLocalPathInfo", &path(id)).await;
        assert!(refused.is_err());
    }
    let answer: GetDatanodeInfoResponseProto =
        client.call("getDatanodeInfo", &GetDatanodeInfoRequestProto {}).await.unwrap();
    assert!(answer.local_info.software_version.starts_with("hfs-"));
    daemon.stop().await;
}
