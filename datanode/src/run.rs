//! The daemon, assembled: the store, the three ports, the link to the namenode, and the watch over
//! the disks.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::Context as _;
use hfs_daemon::http::Pages;
use hfs_daemon::metrics::{self, Registry, gauge_fn};
use hfs_daemon::port_file::{self, Ports};
use hfs_daemon::shutdown::Shutdown;
use hfs_daemon::{bind, http};
use hfs_protocol::proto::hadoop::hdfs::{DatanodeIdProto, DatanodeInfoProto};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::Config;
use crate::ipc::{self, ClientCalls};
use crate::namenode::{Announcer, Identity, Link};
use crate::store::{Store, StoreOptions};
use crate::web;
use crate::xceiver::metrics::TransferMetrics;
use crate::xceiver::threads::Threads;
use crate::xceiver::{Xceiver, serve};

/// How long the end waits for transfers to let go of the data directories.
const FREE_PATIENCE: Duration = Duration::from_secs(2);

/// How often it looks.
const FREE_PAUSE: Duration = Duration::from_millis(2);

/// Runs a datanode until `shutdown`, or until something ends it for good.
///
/// # Errors
/// Whatever keeps it from running, as a sentence for the operator: a data directory that is not
/// its own, a port in use, a namenode that refuses it, too many failed disks.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let announcer = Arc::new(Announcer::default());
    let options = StoreOptions {
        dirs: config.data_dirs.clone(),
        reserve_bytes: config.reserved_space,
        failed_tolerated: config.failed_volumes_tolerated,
        fsync: config.fsync,
    };
    let events = Arc::clone(&announcer);
    let store = tokio::task::spawn_blocking(move || Store::open(&options, events)).await??;
    let store = Arc::new(store);
    let listeners = Listeners::bind(&config).await?;
    let identity = identity(&config, &listeners.ports)?;
    let mut registry = metrics::registry("datanode");
    let xceiver = Arc::new(Xceiver {
        store: Arc::clone(&store),
        threads: Threads::default(),
        slots: Arc::new(Semaphore::new(config.max_transfers)),
        slots_max: config.max_transfers,
        connections: Arc::new(Semaphore::new(config.max_connections)),
        patience: config.transfer_timeout,
        metrics: TransferMetrics::new(&mut registry),
        node: OnceLock::from(node(&store, &identity)),
    });
    let link = Arc::new(Link::new(
        Arc::clone(&xceiver),
        Arc::clone(&announcer),
        identity,
        config.namenodes.clone(),
    ));
    gauges(&mut registry, &xceiver, &link);
    let result = serve_all(&config, listeners, &link, registry, &shutdown).await;
    // Whatever ended it, the rest ends too.
    shutdown.trigger();
    let stopping = Arc::clone(&store);
    tokio::task::spawn_blocking(move || stopping.stop_writers()).await?;
    let left = Arc::downgrade(&store);
    drop((link, xceiver, store));
    free(&left).await;
    result
}

/// Waits until nothing uses the data directories any more, so that whoever starts next in this
/// process finds them unlocked. A reader that takes nothing is not waited for.
async fn free(store: &Weak<Store>) {
    let deadline = tokio::time::Instant::now() + FREE_PATIENCE;
    while store.strong_count() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(FREE_PAUSE).await;
    }
}

async fn serve_all(
    config: &Config,
    listeners: Listeners,
    link: &Arc<Link>,
    registry: Registry,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let xceiver = &link.xceiver;
    let calls = ClientCalls::new(Arc::clone(&xceiver.store), config.local_path_access);
    let health = Arc::clone(link);
    let pages = Pages::new(web::pages(Arc::clone(link))).conf(config).health(move || {
        health.xceiver.store.check_tolerated().map_err(|error| error.to_string())?;
        if health.registered.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("not registered with a namenode".to_owned())
        }
    });
    tokio::spawn(serve::serve(Arc::clone(xceiver), listeners.transfer, shutdown.clone()));
    tokio::spawn(ipc::serve(calls, listeners.ipc, shutdown.clone()));
    tokio::spawn(http::serve(listeners.http, Arc::new(registry), pages, shutdown.clone()));
    if let Some(path) = &config.port_file {
        port_file::write(path, &listeners.ports)?;
    }
    tracing::info!(
        "datanode {} serves transfers on {}, RPC on {}, web pages on {}",
        xceiver.store.datanode_uuid(),
        shown(listeners.ports.transfer),
        shown(listeners.ports.ipc),
        shown(listeners.ports.http)
    );
    tokio::select! {
        ended = link.run(shutdown) => ended.map_err(anyhow::Error::from),
        failed = watch_disks(config, link, shutdown) => failed,
    }
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "nothing".to_owned(), |address| address.to_string())
}

struct Listeners {
    transfer: TcpListener,
    ipc: TcpListener,
    http: TcpListener,
    ports: Ports,
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let listen = async |port: u16, what: &str, key: &str| {
            let change = format!("--{key} ({key} in hfs.toml)");
            bind::tcp(SocketAddr::new(config.host, port), what, &change).await
        };
        let transfer =
            listen(config.transfer_port, "datanode data transfer", "transfer-port").await?;
        let ipc = listen(config.ipc_port, "datanode RPC", "ipc-port").await?;
        let http = listen(config.http_port, "datanode web pages", "http-port").await?;
        let ports = Ports {
            transfer: Some(transfer.local_addr()?),
            ipc: Some(ipc.local_addr()?),
            http: Some(http.local_addr()?),
            ..Ports::default()
        };
        Ok(Self { transfer, ipc, http, ports })
    }
}

fn identity(config: &Config, ports: &Ports) -> anyhow::Result<Identity> {
    let ip = match config.advertised_ip {
        Some(ip) => ip,
        None if !config.host.is_unspecified() => config.host,
        None => facing(&config.namenodes).context(
            "the address that clients should dial can't be found out: set advertised-ip",
        )?,
    };
    let port = |address: Option<SocketAddr>| address.map_or(0, |address| address.port());
    Ok(Identity {
        ip: ip.to_string(),
        host: config.advertised_host.clone().unwrap_or_else(|| ip.to_string()),
        transfer_port: port(ports.transfer),
        ipc_port: port(ports.ipc),
        http_port: port(ports.http),
        rack: config.rack.clone(),
    })
}

/// The address of this machine from which the namenode is reached. Nothing is sent.
fn facing(namenodes: &[String]) -> anyhow::Result<IpAddr> {
    let namenode = namenodes.first().context("no namenode is configured: set namenodes")?;
    let socket = UdpSocket::bind("0.0.0.0:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    socket.connect(namenode)?;
    Ok(socket.local_addr()?.ip())
}

fn node(store: &Store, identity: &Identity) -> DatanodeInfoProto {
    DatanodeInfoProto {
        id: DatanodeIdProto {
            ip_addr: identity.ip.clone(),
            host_name: identity.host.clone(),
            datanode_uuid: store.datanode_uuid().to_owned(),
            xfer_port: identity.transfer_port.into(),
            info_port: identity.http_port.into(),
            ipc_port: identity.ipc_port.into(),
            info_secure_port: None,
        },
        location: Some(identity.rack.clone()),
        ..DatanodeInfoProto::default()
    }
}

fn gauges(registry: &mut Registry, xceiver: &Arc<Xceiver>, link: &Arc<Link>) {
    let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let of = Arc::clone(xceiver);
    gauge_fn(registry, "replicas", "Replicas in whatever state", move || {
        count(of.store.replica_count())
    });
    let of = Arc::clone(xceiver);
    gauge_fn(registry, "transfers_active", "Operations that run now", move || count(of.active()));
    let of = Arc::clone(xceiver);
    gauge_fn(registry, "volumes_failed", "Data directories that were given up", move || {
        count(of.store.volumes().iter().filter(|volume| volume.is_failed()).count())
    });
    let of = Arc::clone(xceiver);
    gauge_fn(registry, "used_bytes", "Bytes in replicas' files", move || {
        let used = of.store.storages().iter().map(|storage| storage.used_bytes).sum::<u64>();
        i64::try_from(used).unwrap_or(i64::MAX)
    });
    let of = Arc::clone(link);
    gauge_fn(registry, "registered", "1 while registered with a namenode", move || {
        i64::from(of.registered.load(Ordering::Acquire))
    });
}

/// Tries the data directories from time to time and when an error came from one. A directory that
/// was given up and works again is taken back, with its replicas (a cable, a remount).
async fn watch_disks(config: &Config, link: &Arc<Link>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut interval = tokio::time::interval(config.volume_check_interval);
    let announcer = &link.announcer;
    let store = &link.xceiver.store;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = announcer.suspect.notified() => {}
            () = shutdown.triggered() => return Ok(()),
        }
        let checked = Arc::clone(store);
        let back = tokio::task::spawn_blocking(move || check_disks(&checked)).await?;
        if back {
            announcer.outbox().require_report();
        }
        store.check_tolerated()?;
    }
}

/// Answers whether a directory was taken back.
fn check_disks(store: &Store) -> bool {
    store.check_suspects();
    let mut back = false;
    for volume in store.volumes() {
        if volume.is_failed() {
            match store.retry_volume(volume) {
                Ok(true) => {
                    tracing::info!("data directory {} works again", volume.dir().display());
                    back = true;
                }
                Ok(false) => {}
                Err(error) => tracing::debug!("{error}"),
            }
        } else {
            store.check_volume(volume);
        }
    }
    back
}
