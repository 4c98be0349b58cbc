//! Connections: how sockets are made, and those to datanodes that wait to be used again.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hfs_protocol::hadoop::client::{ClientOptions, RpcClient, RpcError};
use hfs_protocol::hadoop::header::CLIENT_DATANODE_PROTOCOL;
use hfs_protocol::proto::hadoop::hdfs::{DatanodeIdProto, DatanodeInfoProto};
use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream};

use crate::config::ClientConfig;
use crate::status::is_this_machine;

/// How long an idle connection to a datanode is kept (HDFS `dfs.client.socketcache.expiryMsec`;
/// datanodes wait 4 s).
const IDLE_EXPIRY: Duration = Duration::from_secs(3);
/// Idle connections kept in all (HDFS `dfs.client.socketcache.capacity`).
const IDLE_MAX: usize = 16;
/// How long a datanode that refused direct reads is not asked again (HDFS
/// `dfs.domain.socket.disable.interval.seconds`).
const REFUSED_EXPIRY: Duration = Duration::from_secs(600);
/// The kernel buffers of data connections, each way. Large enough for a few packets, so that
/// the two ends wait for each other seldom.
const SOCKET_BUFFER_BYTES: u32 = 2 << 20;

/// Opens a connection to `host:port`, from the configured local address if there is one, within
/// the connect timeout. All addresses of a host name are tried in turn.
async fn tcp(address: &str, config: &ClientConfig) -> io::Result<TcpStream> {
    let connect = async {
        let mut last = None;
        for peer in tokio::net::lookup_host(address).await? {
            match tcp_to(peer, config.local_address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        Err(last.unwrap_or_else(nowhere))
    };
    match tokio::time::timeout(config.connect_timeout, connect).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no connection within {:?}", config.connect_timeout),
        )),
    }
}

async fn tcp_to(peer: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Best effort: the kernel caps them at its own limits.
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    if let Some(local) = local.filter(|local| local.is_ipv4() == peer.is_ipv4()) {
        // A loopback address reaches only loopback peers.
        if !local.is_loopback() || peer.ip().is_loopback() {
            socket.bind(SocketAddr::new(local, 0))?;
        }
    }
    let stream = socket.connect(peer).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens an RPC connection. `client_id` is what retries over several connections share.
pub(crate) async fn rpc(
    address: &str,
    protocol: &str,
    client_id: Option<[u8; 16]>,
    config: &ClientConfig,
) -> Result<RpcClient, RpcError> {
    let options = ClientOptions {
        connect_timeout: config.connect_timeout,
        call_timeout: config.rpc_timeout,
        local_address: config.local_address.filter(|local| reaches(*local, address)),
        client_id,
        ..ClientOptions::default()
    };
    RpcClient::connect(address, protocol, &config.user, options).await
}

/// Whether a socket bound to `local` can reach `host:port`: a loopback address reaches only
/// loopback peers.
fn reaches(local: IpAddr, address: &str) -> bool {
    !local.is_loopback()
        || address.parse::<SocketAddr>().is_ok_and(|peer| peer.ip().is_loopback())
        || address.starts_with("localhost:")
}

/// Connections to datanodes, and what is known about each.
pub(crate) struct Datanodes {
    config: Arc<ClientConfig>,
    idle: Mutex<Vec<Idle>>,
    ipc: Mutex<HashMap<String, RpcClient>>,
    /// Which addresses are this machine's.
    local: Mutex<HashMap<IpAddr, bool>>,
    /// Datanodes that refused direct reads, and when.
    refused: Mutex<HashMap<String, Instant>>,
}

struct Idle {
    address: String,
    stream: TcpStream,
    since: Instant,
}

impl Datanodes {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            idle: Mutex::default(),
            ipc: Mutex::default(),
            local: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    fn host<'a>(&self, id: &'a DatanodeIdProto) -> &'a str {
        if self.config.use_datanode_hostname { &id.host_name } else { &id.ip_addr }
    }

    fn address(&self, id: &DatanodeIdProto, port: u32) -> String {
        let host = self.host(id);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Opens a new connection to a datanode's data transfer port.
    pub(crate) async fn dial(&self, id: &DatanodeIdProto) -> io::Result<TcpStream> {
        tcp(&self.address(id, id.xfer_port), &self.config).await
    }

    /// An idle connection to a datanode that still seems alive, if there is one.
    pub(crate) fn take_idle(&self, id: &DatanodeIdProto) -> Option<TcpStream> {
        let address = self.address(id, id.xfer_port);
        let mut idle = self.idle.lock();
        idle.retain(|kept| kept.since.elapsed() < IDLE_EXPIRY);
        while let Some(at) = idle.iter().rposition(|kept| kept.address == address) {
            let stream = idle.swap_remove(at).stream;
            // Nothing to read is a live connection; an end or stray bytes are not.
            let mut probe = [0];
            if matches!(stream.try_read(&mut probe),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection on which an operation has ended properly.
    pub(crate) fn give_back(&self, id: &DatanodeIdProto, stream: TcpStream) {
        let address = self.address(id, id.xfer_port);
        let mut idle = self.idle.lock();
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { address, stream, since: Instant::now() });
    }

    /// A connection to a datanode's RPC port, shared and kept.
    pub(crate) async fn ipc(&self, id: &DatanodeIdProto) -> Result<RpcClient, RpcError> {
        let address = self.address(id, id.ipc_port);
        let kept = self.ipc.lock().get(&address).cloned();
        if let Some(connection) = kept.filter(|connection| !connection.is_closed()) {
            return Ok(connection);
        }
        let connection = rpc(&address, CLIENT_DATANODE_PROTOCOL, None, &self.config).await?;
        self.ipc.lock().insert(address, connection.clone());
        Ok(connection)
    }

    /// Forgets a datanode's RPC connection after it failed.
    pub(crate) fn drop_ipc(&self, id: &DatanodeIdProto) {
        self.ipc.lock().remove(&self.address(id, id.ipc_port));
    }

    /// Whether a datanode runs on this machine.
    pub(crate) fn is_local(&self, id: &DatanodeIdProto) -> bool {
        let Ok(ip) = id.ip_addr.parse::<IpAddr>() else { return false };
        *self.local.lock().entry(ip).or_insert_with(|| is_this_machine(ip))
    }

    /// Whether replicas of this datanode may be tried directly.
    pub(crate) fn may_short_circuit(&self, id: &DatanodeIdProto) -> bool {
        if !self.config.short_circuit || !self.is_local(id) {
            return false;
        }
        let mut refused = self.refused.lock();
        match refused.get(&id.datanode_uuid) {
            Some(since) if since.elapsed() < REFUSED_EXPIRY => false,
            Some(_) => {
                refused.remove(&id.datanode_uuid);
                true
            }
            None => true,
        }
    }

    /// Remembers that a datanode does not permit direct reads.
    pub(crate) fn refuse_short_circuit(&self, id: &DatanodeIdProto) {
        self.refused.lock().insert(id.datanode_uuid.clone(), Instant::now());
    }

    /// The nodes with the nearest first: this process's own node, then this machine's, then the
    /// order in which the namenode gave them.
    pub(crate) fn nearest_first<'a>(
        &self,
        nodes: &'a [DatanodeInfoProto],
    ) -> Vec<&'a DatanodeInfoProto> {
        let own = self.config.local_address.map(|address| address.to_string());
        let mut ordered: Vec<_> = nodes.iter().collect();
        ordered.sort_by_key(|node| {
            if own.as_deref() == Some(node.id.ip_addr.as_str()) {
                0
            } else if self.is_local(&node.id) {
                1
            } else {
                2
            }
        });
        ordered
    }
}
