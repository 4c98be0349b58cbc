//! `ClientDatanodeProtocol`: the calls that file clients make on a datanode over Hadoop RPC.

use std::net::{IpAddr, TcpListener as BlockingListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::hadoop::server::{CallContext, Handler, Reply, ServerLimits, serve_connection};
use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::hadoop::hdfs::{
    DatanodeLocalInfoProto, GetBlockLocalPathInfoRequestProto, GetBlockLocalPathInfoResponseProto,
    GetDatanodeInfoResponseProto, GetReplicaVisibleLengthRequestProto,
    GetReplicaVisibleLengthResponseProto,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::store::{Store, StoreError};

/// The protocol's Java name.
const PROTOCOL: &str = "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol";

/// The longest request: a block and a token.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 1024;

/// How long to wait after a failed accept before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers file clients.
#[derive(Debug)]
pub struct ClientCalls {
    store: Arc<Store>,
    local_path_access: bool,
    started: Instant,
}

impl ClientCalls {
    /// Calls on this store. `local_path_access`: clients on this machine may read files directly.
    #[must_use]
    pub fn new(store: Arc<Store>, local_path_access: bool) -> Self {
        Self { store, local_path_access, started: Instant::now() }
    }

    fn visible_length(&self, body: Bytes) -> Result<Vec<u8>, RemoteError> {
        let request: GetReplicaVisibleLengthRequestProto = decode(body)?;
        let block = &request.block;
        let length = self.length(&block.pool_id, block.block_id, block.generation_stamp);
        let length = length.map_err(|error| RemoteError::from(&error))?;
        Ok(GetReplicaVisibleLengthResponseProto { length }.encode_to_vec())
    }

    fn length(&self, pool: &str, block: u64, stamp: u64) -> Result<u64, StoreError> {
        self.store.check_pool(pool)?;
        let block = BlockId(block);
        let slot = self.store.slot(block)?;
        let held = slot.held()?;
        let have = held.replica.stamp();
        if have < GenStamp(stamp) {
            let expected = format!("{stamp} or a higher one");
            return Err(StoreError::GenStamp { block, have, expected });
        }
        let state = held.replica.state_name();
        held.replica.visible().ok_or(StoreError::State { block, state, verb: "read" })
    }

    fn local_path(&self, client: IpAddr, body: Bytes) -> Result<Vec<u8>, RemoteError> {
        let request: GetBlockLocalPathInfoRequestProto = decode(body)?;
        if !self.local_path_access {
            let sentence = "this datanode does not give out paths (local-path-access is false)";
            return Err(RemoteError::new(ErrorKind::AccessDenied, sentence));
        }
        if !is_here(client) {
            let sentence = format!("{client} is not an address of this datanode's machine");
            return Err(RemoteError::new(ErrorKind::AccessDenied, sentence));
        }
        let mut block = request.block;
        let open = || {
            self.store.check_pool(&block.pool_id)?;
            let (id, stamp) = (BlockId(block.block_id), GenStamp(block.generation_stamp));
            self.store.open_reader(id, stamp)
        };
        let reader = open().map_err(|error| RemoteError::from(&error))?;
        if !reader.finalized {
            let sentence =
                format!("blk_{} is still being written: read it over the network", reader.block);
            return Err(RemoteError::new(ErrorKind::Unsupported, sentence));
        }
        let paths = &reader.files().paths;
        let text = |path: &std::path::Path| {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            absolute.to_str().map(str::to_owned).ok_or_else(|| {
                let sentence = format!("{} is not a path in UTF-8", absolute.display());
                RemoteError::new(ErrorKind::Unsupported, sentence)
            })
        };
        block.generation_stamp = reader.stamp.0;
        block.num_bytes = Some(reader.end);
        let answer = GetBlockLocalPathInfoResponseProto {
            local_path: text(&paths.data)?,
            local_meta_path: text(&paths.meta)?,
            block,
        };
        Ok(answer.encode_to_vec())
    }

    fn info(&self) -> Vec<u8> {
        let version = concat!("hfs-", env!("CARGO_PKG_VERSION"));
        GetDatanodeInfoResponseProto {
            local_info: DatanodeLocalInfoProto {
                software_version: version.to_owned(),
                config_version: version.to_owned(),
                uptime: self.started.elapsed().as_secs(),
            },
        }
        .encode_to_vec()
    }
}

/// True if `ip` is an address of this machine: only then can a socket be bound to it.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || BlockingListener::bind((ip, 0)).is_ok()
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M, RemoteError> {
    M::decode(body).map_err(|error| {
        RemoteError::new(ErrorKind::InvalidArgument, format!("the request can't be read: {error}"))
    })
}

/// Calls touch the disk: they run where that is allowed.
#[derive(Debug, Clone)]
struct Front(Arc<ClientCalls>);

impl Handler for Front {
    fn call(&self, context: &CallContext, protocol: &str, method: &str, body: Bytes) -> Reply {
        if protocol != PROTOCOL {
            return Reply::no_such_protocol(protocol);
        }
        let client = context.client_ip;
        match method {
            "getDatanodeInfo" => Reply::Now(Ok(self.0.info())),
            "getReplicaVisibleLength" => self.later(move |calls| calls.visible_length(body)),
            "getBlockLocalPathInfo" => self.later(move |calls| calls.local_path(client, body)),
            other => Reply::no_such_method(PROTOCOL, other),
        }
    }
}

impl Front {
    fn later(
        &self,
        work: impl FnOnce(&ClientCalls) -> Result<Vec<u8>, RemoteError> + Send + 'static,
    ) -> Reply {
        let calls = Arc::clone(&self.0);
        Reply::Later(Box::pin(async move {
            tokio::task::spawn_blocking(move || work(&calls)).await.unwrap_or_else(|error| {
                Err(RemoteError::new(ErrorKind::Io, format!("the call failed: {error}")))
            })
        }))
    }
}

/// Serves until `shutdown`.
pub async fn serve(calls: ClientCalls, listener: TcpListener, shutdown: Shutdown) {
    let front = Arc::new(Front(Arc::new(calls)));
    let limits = ServerLimits { max_frame_bytes: FRAME_BYTES_MAX, ..ServerLimits::default() };
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            // Never closed; if it were, there would be nobody to serve.
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.triggered() => return,
        };
        match accepted {
            Some((slot, Ok((stream, _)))) => {
                let (front, limits) = (Arc::clone(&front), limits.clone());
                let token = shutdown.token();
                tokio::spawn(async move {
                    serve_connection(stream, front, limits, token).await;
                    drop(slot);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!("can't accept RPC connections: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}
