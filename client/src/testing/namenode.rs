//! The namenode of the tests.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::hadoop::server::{CallContext, Handler, Reply, ServerLimits, serve_connection};
use hfs_protocol::proto::hadoop::hdfs as proto;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) struct FakeNamenode {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

#[derive(Default)]
pub(crate) struct State {
    datanodes: Vec<proto::DatanodeInfoProto>,
    pub(crate) files: BTreeMap<String, File>,
    next_id: u64,
    next_stamp: u64,
    /// Errors to answer a method with, before it is performed.
    pub(crate) scripted: HashMap<String, VecDeque<RemoteError>>,
    /// Methods whose connection is cut after the call was performed.
    pub(crate) cut_after: HashMap<String, u32>,
    /// Every call: method, call id, retry count.
    pub(crate) calls: Vec<(String, i32, i32)>,
    /// Answers by client and call, as a retry cache keeps them.
    cache: HashMap<([u8; 16], i32), Vec<u8>>,
    pub(crate) bad_blocks: Vec<proto::LocatedBlockProto>,
    stop_connections: CancellationToken,
}

#[derive(Clone, Default)]
pub(crate) struct File {
    pub(crate) id: u64,
    pub(crate) blocks: Vec<proto::LocatedBlockProto>,
    pub(crate) open: bool,
    replication: u32,
    block_size: u64,
}

impl File {
    fn status(&self) -> proto::HdfsFileStatusProto {
        proto::HdfsFileStatusProto {
            file_type: proto::hdfs_file_status_proto::FileType::IsFile as i32,
            length: self.blocks.iter().map(|block| block.b.num_bytes()).sum(),
            owner: "alice".into(),
            group: "staff".into(),
            block_replication: Some(self.replication),
            blocksize: Some(self.block_size),
            file_id: Some(self.id),
            ..Default::default()
        }
    }
}

impl FakeNamenode {
    pub(crate) async fn start(datanodes: Vec<proto::DatanodeInfoProto>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { datanodes, next_id: 16386, next_stamp: 1001, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, state.clone(), stop.clone()));
        Self { address, state, stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("hdfs://{}", self.address)
    }

    /// Stops listening and cuts every connection; the state stays for another one to take over.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
        self.state.lock().stop_connections.cancel();
    }

    /// Takes over after a kill, at the same address.
    pub(crate) async fn restart(&mut self) {
        self.state.lock().stop_connections = CancellationToken::new();
        self.stop = CancellationToken::new();
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        tokio::spawn(accept(listener, self.state.clone(), self.stop.clone()));
    }

    pub(crate) fn file(&self, path: &str) -> File {
        self.state.lock().files[path].clone()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.state.lock().calls.iter().filter(|(name, ..)| name == method).count()
    }

    pub(crate) fn script(&self, method: &str, errors: &[ErrorKind]) {
        let errors = errors.iter().map(|kind| RemoteError::new(*kind, "scripted")).collect();
        self.state.lock().scripted.insert(method.into(), errors);
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, stop: CancellationToken) {
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        let cut = CancellationToken::new();
        let all = state.lock().stop_connections.clone();
        let handler = Arc::new(Front { state: state.clone(), cut: cut.clone() });
        let serve =
            serve_connection(stream, handler, ServerLimits::default(), CancellationToken::new());
        tokio::spawn(async move {
            tokio::select! {
                () = serve => {}
                () = cut.cancelled() => {}
                () = all.cancelled() => {}
            }
        });
    }
}

struct Front {
    state: Arc<Mutex<State>>,
    cut: CancellationToken,
}

impl Handler for Front {
    fn call(&self, context: &CallContext, _protocol: &str, method: &str, body: Bytes) -> Reply {
        let mut state = self.state.lock();
        state.calls.push((method.to_owned(), context.call_id, context.retry_count));
        if let Some(error) = state.scripted.get_mut(method).and_then(VecDeque::pop_front) {
            return Reply::Now(Err(error));
        }
        let key = (context.client_id, context.call_id);
        if let Some(answer) = state.cache.get(&key) {
            return Reply::Now(Ok(answer.clone()));
        }
        let answer = state.perform(method, body);
        if let Ok(answer) = &answer {
            state.cache.insert(key, answer.clone());
        }
        if let Some(left) = state.cut_after.get_mut(method).filter(|left| **left > 0) {
            *left -= 1;
            self.cut.cancel();
            return Reply::Later(Box::pin(std::future::pending()));
        }
        Reply::Now(answer)
    }
}

fn missing(path: &str) -> RemoteError {
    RemoteError::new(ErrorKind::NotFound, format!("File does not exist: {path}"))
}

impl State {
    fn file(&mut self, path: &str) -> Result<&mut File, RemoteError> {
        self.files.get_mut(path).ok_or_else(|| missing(path))
    }

    fn places(&self, count: usize, not: &[String]) -> Vec<proto::DatanodeInfoProto> {
        let free = self.datanodes.iter().filter(|node| !not.contains(&node.id.datanode_uuid));
        free.take(count).cloned().collect()
    }

    fn stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp
    }

    fn perform(&mut self, method: &str, body: Bytes) -> Result<Vec<u8>, RemoteError> {
        Ok(match method {
            "getFileInfo" => {
                let request = proto::GetFileInfoRequestProto::decode(body).unwrap();
                let fs = if request.src == "/" {
                    Some(proto::HdfsFileStatusProto {
                        file_type: proto::hdfs_file_status_proto::FileType::IsDir as i32,
                        ..Default::default()
                    })
                } else {
                    self.files.get(&request.src).map(File::status)
                };
                proto::GetFileInfoResponseProto { fs }.encode_to_vec()
            }
            "getListing" => {
                let request = proto::GetListingRequestProto::decode(body).unwrap();
                let after = String::from_utf8(request.start_after.to_vec()).unwrap();
                let names = self.files.iter().filter_map(|(path, file)| {
                    Some((path.strip_prefix(&format!("{}/", request.src))?, file))
                });
                let rest: Vec<_> = names.filter(|(name, _)| *name > after.as_str()).collect();
                let page = rest.iter().take(2).map(|(name, file)| proto::HdfsFileStatusProto {
                    path: name.as_bytes().to_vec().into(),
                    ..file.status()
                });
                let listing = proto::DirectoryListingProto {
                    partial_listing: page.collect(),
                    remaining_entries: rest.len().saturating_sub(2) as u32,
                };
                proto::GetListingResponseProto { dir_list: Some(listing) }.encode_to_vec()
            }
            "create" => {
                let request = proto::CreateRequestProto::decode(body).unwrap();
                if self.files.contains_key(&request.src) && request.create_flag & 2 == 0 {
                    let message = format!("{} exists", request.src);
                    return Err(RemoteError::new(ErrorKind::AlreadyExists, message));
                }
                self.next_id += 1;
                let file = File {
                    id: self.next_id,
                    blocks: Vec::new(),
                    open: true,
                    replication: request.replication,
                    block_size: request.block_size,
                };
                let fs = Some(file.status());
                self.files.insert(request.src, file);
                proto::CreateResponseProto { fs }.encode_to_vec()
            }
            "append" => {
                let request = proto::AppendRequestProto::decode(body).unwrap();
                let file = self.file(&request.src)?;
                file.open = true;
                let partial = file.blocks.last().filter(|b| b.b.num_bytes() < file.block_size);
                proto::AppendResponseProto { block: partial.cloned(), stat: Some(file.status()) }
                    .encode_to_vec()
            }
            "addBlock" => {
                let request = proto::AddBlockRequestProto::decode(body).unwrap();
                let excluded: Vec<_> = request
                    .exclude_nodes
                    .iter()
                    .map(|node| node.id.datanode_uuid.clone())
                    .collect();
                let replication = self.file(&request.src)?.replication as usize;
                let locs = self.places(replication, &excluded);
                if locs.is_empty() {
                    return Err(RemoteError::new(ErrorKind::Io, "0 of the 1 minReplication nodes"));
                }
                let (id, stamp) = (self.next_id + 1, self.stamp());
                self.next_id = id;
                let file = self.file(&request.src)?;
                commit(file, request.previous);
                let block = proto::LocatedBlockProto {
                    b: proto::ExtendedBlockProto {
                        pool_id: "BP-1".into(),
                        block_id: id,
                        generation_stamp: stamp,
                        num_bytes: Some(0),
                    },
                    offset: file.blocks.iter().map(|block| block.b.num_bytes()).sum(),
                    storage_types: vec![1; locs.len()],
                    storage_i_ds: locs
                        .iter()
                        .map(|node| format!("DS-{}", node.id.datanode_uuid))
                        .collect(),
                    locs,
                    ..Default::default()
                };
                file.blocks.push(block.clone());
                proto::AddBlockResponseProto { block }.encode_to_vec()
            }
            "abandonBlock" => {
                let request = proto::AbandonBlockRequestProto::decode(body).unwrap();
                let file = self.file(&request.src)?;
                file.blocks.retain(|block| block.b.block_id != request.b.block_id);
                Vec::new()
            }
            "complete" => {
                let request = proto::CompleteRequestProto::decode(body).unwrap();
                let file = self.file(&request.src)?;
                commit(file, request.last);
                file.open = false;
                proto::CompleteResponseProto { result: true }.encode_to_vec()
            }
            "updateBlockForPipeline" => {
                let request = proto::UpdateBlockForPipelineRequestProto::decode(body).unwrap();
                let mut b = request.block;
                b.generation_stamp = self.stamp();
                let block = proto::LocatedBlockProto { b, ..Default::default() };
                proto::UpdateBlockForPipelineResponseProto { block }.encode_to_vec()
            }
            "updatePipeline" => {
                let request = proto::UpdatePipelineRequestProto::decode(body).unwrap();
                let all = self.datanodes.clone();
                let blocks = self.files.values_mut().flat_map(|file| file.blocks.iter_mut());
                let block = blocks
                    .into_iter()
                    .find(|block| block.b.block_id == request.new_block.block_id)
                    .unwrap();
                assert_eq!(block.b.generation_stamp, request.old_block.generation_stamp);
                block.b = request.new_block;
                block.locs =
                    all.into_iter().filter(|n| request.new_nodes.contains(&n.id)).collect();
                block.storage_i_ds = request.storage_i_ds;
                block.storage_types = vec![1; block.locs.len()];
                Vec::new()
            }
            "getAdditionalDatanode" => {
                let request = proto::GetAdditionalDatanodeRequestProto::decode(body).unwrap();
                let taken: Vec<_> = request
                    .existings
                    .iter()
                    .chain(&request.excludes)
                    .map(|node| node.id.datanode_uuid.clone())
                    .collect();
                let mut locs = request.existings;
                let new = self.places(1, &taken);
                if new.is_empty() {
                    return Err(RemoteError::new(ErrorKind::Io, "no more good datanodes"));
                }
                locs.extend(new);
                let block = proto::LocatedBlockProto {
                    b: request.blk,
                    storage_types: vec![1; locs.len()],
                    storage_i_ds: vec![String::new(); locs.len()],
                    locs,
                    ..Default::default()
                };
                proto::GetAdditionalDatanodeResponseProto { block }.encode_to_vec()
            }
            "getBlockLocations" => {
                let request = proto::GetBlockLocationsRequestProto::decode(body).unwrap();
                let open = self.file(&request.src)?.open;
                let mut blocks = self.file(&request.src)?.blocks.clone();
                let last = blocks.last().cloned();
                if open {
                    blocks.pop();
                }
                let end = request.offset.saturating_add(request.length);
                let located = proto::LocatedBlocksProto {
                    file_length: blocks.iter().map(|block| block.b.num_bytes()).sum(),
                    blocks: blocks
                        .into_iter()
                        .filter(|block| {
                            block.offset < end
                                && block.offset + block.b.num_bytes() > request.offset
                        })
                        .collect(),
                    under_construction: open,
                    last_block: last,
                    is_last_block_complete: !open,
                    ..Default::default()
                };
                proto::GetBlockLocationsResponseProto { locations: Some(located) }.encode_to_vec()
            }
            "reportBadBlocks" => {
                let request = proto::ReportBadBlocksRequestProto::decode(body).unwrap();
                self.bad_blocks.extend(request.blocks);
                Vec::new()
            }
            "fsync" | "renewLease" => Vec::new(),
            other => {
                let message = format!("{other} is not known here");
                return Err(RemoteError::new(ErrorKind::NoSuchMethod, message));
            }
        })
    }
}

/// The writer says how the file's last block ended.
fn commit(file: &mut File, last: Option<proto::ExtendedBlockProto>) {
    if let (Some(last), Some(block)) = (last, file.blocks.last_mut()) {
        assert_eq!(block.b.block_id, last.block_id);
        assert_eq!(block.b.generation_stamp, last.generation_stamp);
        block.b.num_bytes = last.num_bytes;
    }
}
