//! The namenode as a daemon: claims its directory and its ports, recovers, serves, stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hfs_daemon::clock::{Clock, SystemClock};
use hfs_daemon::lock_dir::DirLock;
use hfs_daemon::port_file::{self, Ports};
use hfs_daemon::shutdown::Shutdown;
use hfs_daemon::{bind, http, metrics};
use hfs_protocol::hadoop::server::{ServerLimits, serve_connection};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::front::hadoop::ClientFront;
use crate::front::{datanode_grpc, web};
use crate::journal::{NameDir, Recovery, RecoveryOptions};
use crate::service::{Service, process_user};

/// How long running work may take to end once the order to stop was given.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait after a failed accept (out of descriptors, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Prepares an empty directory for a new cluster. A directory that holds one is left alone unless
/// `force`. Returns the cluster's id.
///
/// # Errors
/// A sentence that names the directory.
pub fn format(config: &Config, cluster_id: Option<&str>, force: bool) -> anyhow::Result<String> {
    std::fs::create_dir_all(&config.dir)
        .with_context(|| format!("can't create directory {}", config.dir.display()))?;
    let _lock = DirLock::acquire(&config.dir, "namenode format")?;
    let identity = NameDir::format(&config.dir, cluster_id, force, &options(config))?;
    Ok(identity.cluster_id)
}

fn options(config: &Config) -> RecoveryOptions {
    RecoveryOptions {
        owner: process_user(),
        group: config.supergroup.clone(),
        ip: config.host.to_string(),
        checkpoints_kept: config.checkpoints_kept,
        ..RecoveryOptions::default()
    }
}

/// Runs a namenode until `shutdown`, or until something breaks that it can't go on with.
///
/// # Errors
/// A sentence: a setting, the directory, a port, the journal.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    config.validate().map_err(anyhow::Error::msg)?;
    std::fs::create_dir_all(&config.dir)
        .with_context(|| format!("can't create directory {}", config.dir.display()))?;
    let _lock = DirLock::acquire(&config.dir, "namenode")?;
    // Ports first: a taken one is said before minutes of recovery.
    let listen = |port| SocketAddr::new(config.host, port);
    let rpc = bind::tcp(listen(config.rpc_port), "namenode RPC", "--rpc-port or rpc-port").await?;
    let grpc =
        bind::tcp(listen(config.grpc_port), "namenode gRPC", "--grpc-port or grpc-port").await?;
    let web =
        bind::tcp(listen(config.http_port), "namenode web", "--http-port or http-port").await?;
    let ports = Ports {
        rpc: Some(rpc.local_addr()?),
        grpc: Some(grpc.local_addr()?),
        http: Some(web.local_addr()?),
        ..Ports::default()
    };
    let (dir, recovery) = (config.dir.clone(), options(&config));
    let recovered = tokio::task::spawn_blocking(move || Recovery::open(&dir, &recovery)).await??;
    tracing::info!("{}", recovered.report);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let seed = clock.now_ms();
    let port_path = config.port_file.clone();
    let limit = config.max_connections;
    let service = Service::new(config, recovered, clock, seed, shutdown.clone());
    let mut registry = metrics::registry("namenode");
    let front = Arc::new(ClientFront::new(Arc::clone(&service), &mut registry));
    web::register_gauges(&service, &mut registry);
    service.spawn_background();
    let pages = web::pages(&service);
    shutdown.spawn(http::serve(web, Arc::new(registry), pages, shutdown.clone()));
    shutdown.spawn(serve_rpc(rpc, front, limit, shutdown.clone()));
    let datanodes = {
        let (service, told) = (Arc::clone(&service), shutdown.clone());
        shutdown.spawn(async move {
            let served = datanode_grpc::serve(grpc, service, told.clone()).await;
            told.trigger();
            served
        })
    };
    if let Some(path) = &port_path {
        port_file::write(path, &ports)?;
    }
    tracing::info!(
        "namenode of cluster {} serves: clients {}, datanodes {}, web {}",
        service.identity.cluster_id,
        ports.rpc.map(|a| a.to_string()).unwrap_or_default(),
        ports.grpc.map(|a| a.to_string()).unwrap_or_default(),
        ports.http.map(|a| a.to_string()).unwrap_or_default()
    );
    shutdown.triggered().await;
    if let Err(undrained) = shutdown.drained(DRAIN_DEADLINE).await {
        tracing::warn!("{undrained}");
    }
    service.close_journal();
    if let Some(reason) = service.failure() {
        anyhow::bail!("{reason}");
    }
    datanodes.await?.context("the datanodes' port failed")?;
    Ok(())
}

async fn serve_rpc(
    listener: TcpListener,
    front: Arc<ClientFront>,
    limit: usize,
    shutdown: Shutdown,
) {
    let slots = Arc::new(Semaphore::new(limit));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = shutdown.triggered() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.triggered() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let front = Arc::clone(&front);
                let token = shutdown.token();
                shutdown.spawn(async move {
                    serve_connection(stream, front, ServerLimits::default(), token).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("can't accept client connections: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
