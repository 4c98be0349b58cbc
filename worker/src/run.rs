//! A worker from its start to its stop.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hfs_daemon::clock::{Clock, SystemClock};
use hfs_daemon::http::{self, Pages};
use hfs_daemon::lock_dir::DirLock;
use hfs_daemon::port_file::{self, Ports};
use hfs_daemon::shutdown::Shutdown;
use hfs_daemon::{bind, metrics};
use tokio::sync::{mpsc, oneshot};

use crate::Config;
use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::link::{self, LinkEvent};
use crate::localize::{Hdfs, Programs};
use crate::node::{Counts, Identity, Node, NodeEvent, Parts, Seen};
use crate::process::{Limits, WORKER_DIR_ENV, default_memory, kill_marked};
use crate::shuffle::{Segments, Server};

/// Events of the stream that may wait for the node.
const LINK_QUEUE: usize = 1024;

/// Runs a worker until `shutdown`. Its task processes end with it.
///
/// # Errors
/// When its directory is in use or can't be written, or a port can't be had. Each is a sentence.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.dir)
        .with_context(|| format!("can't make the directory {}", config.dir.display()))?;
    let _lock = DirLock::acquire(&config.dir, "worker")?;
    if let Ok(dir) = config.dir.canonicalize() {
        kill_marked(WORKER_DIR_ENV, &dir);
    }
    let dirs = Dirs::prepare(&config.dir)?;
    dirs.trim(config.keep_programs, config.keep_logs);

    let change = "--shuffle-port (shuffle-port in hfs.toml)";
    let address = SocketAddr::new(config.bind, config.shuffle_port);
    let shuffle = bind::tcp(address, "worker shuffle server", change).await?;
    let change = "--http-port (http-port in hfs.toml)";
    let address = SocketAddr::new(config.bind, config.http_port);
    let web = bind::tcp(address, "worker web pages", change).await?;
    let (shuffle_address, web_address) = (shuffle.local_addr()?, web.local_addr()?);

    let mut registry = metrics::registry("worker");
    let segments = Segments::default();
    let server = Server {
        segments: segments.clone(),
        connections: config.shuffle_connections,
        bytes_sent: metrics::counter(&mut registry, "shuffle_sent_bytes", "Map output sent"),
        refused: metrics::counter(&mut registry, "shuffle_refused", "Fetches refused"),
    };
    let host = config.host_in_force();
    let started = SystemClock::new().now_ms();
    // An unspecified bind address is no address to dial out from.
    let local_address = (!config.bind.is_unspecified()).then_some(config.bind);
    let task_memory = match config.task_memory {
        0 => default_memory(config.slots_in_force()),
        bytes => bytes,
    };
    let memory = match config.memory {
        0 => task_memory.saturating_mul(u64::from(config.slots_in_force())),
        bytes => bytes,
    };
    let identity = Identity {
        id: format!("{host}:{}-{started:x}", shuffle_address.port()),
        shuffle_address: format!("{host}:{}", shuffle_address.port()),
        http_address: format!("{host}:{}", web_address.port()),
        host,
        rack: config.rack.clone(),
        slots: config.slots_in_force(),
        vcores: if config.vcores == 0 { config.slots_in_force() } else { config.vcores },
        memory_mb: memory >> 20,
        task_memory_mb: task_memory >> 20,
    };
    let source = Arc::new(Hdfs { local_address });
    let parts = Parts {
        identity,
        local_address,
        programs: Arc::new(Programs::new(dirs.clone(), source)),
        cache: Arc::new(Cache::new(dirs.clone(), local_address)),
        dirs,
        segments,
        limits: Limits {
            hello_timeout: config.hello_timeout,
            idle_timeout: config.idle_timeout,
            log_limit: config.log_limit,
            processes: config.task_processes.max(1),
        },
        task_memory,
        keep_programs: config.keep_programs,
        keep_logs: config.keep_logs,
        counts: Counts::new(&mut registry),
    };
    let id = parts.identity.id.clone();
    let slots = parts.identity.slots;
    let (node, events) = Node::new(parts);

    let shuffle = tokio::spawn(server.run(shuffle, shutdown.clone()));
    let pages = Pages::new(router(events.clone(), id.clone())).conf(&config);
    let web = tokio::spawn(http::serve(web, Arc::new(registry), pages, shutdown.clone()));
    if let Some(path) = &config.port_file {
        let ports =
            Ports { shuffle: Some(shuffle_address), http: Some(web_address), ..Ports::default() };
        port_file::write(path, &ports)?;
    }
    tracing::info!("worker {id} ready with {slots} slots, shuffle on {shuffle_address}");

    let (link_events, mut from_link) = mpsc::channel::<LinkEvent>(LINK_QUEUE);
    let keeper = tokio::spawn(link::keep(config.jobtracker.clone(), link_events));
    let passing = tokio::spawn(async move {
        while let Some(event) = from_link.recv().await {
            if events.send(NodeEvent::Link(event)).await.is_err() {
                return;
            }
        }
    });
    node.run(shutdown).await;
    for task in [keeper, passing, shuffle, web] {
        task.abort();
    }
    Ok(())
}

#[derive(Clone)]
struct Page {
    node: mpsc::Sender<NodeEvent>,
    id: String,
}

fn router(node: mpsc::Sender<NodeEvent>, id: String) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/attempts", get(attempts))
        .with_state(Page { node, id })
}

async fn look(page: &Page) -> Vec<Seen> {
    let (reply, answer) = oneshot::channel();
    if page.node.send(NodeEvent::Look(reply)).await.is_err() {
        return Vec::new();
    }
    answer.await.unwrap_or_default()
}

async fn attempts(State(page): State<Page>) -> Response {
    axum::Json(look(&page).await).into_response()
}

async fn page(State(page): State<Page>) -> Html<String> {
    let mut rows = String::new();
    // Ids and phases are ours and hold nothing that HTML minds, but for a phase that a task names.
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    for seen in look(&page).await {
        let (attempt, phase) = (plain(&seen.attempt), plain(&seen.phase));
        rows += &format!("<tr><td>{attempt}<td>{phase}</tr>");
    }
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" \
         content=\"2\"><title>worker {id}</title><h1>worker {id}</h1><table><tr><th>Attempt\
         <th>Phase</tr>{rows}</table></html>",
        id = plain(&page.id)
    ))
}
