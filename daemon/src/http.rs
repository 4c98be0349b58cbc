//! The web side of every daemon: `/metrics`, `/healthz`, `/conf`, and whatever pages the role adds.
//!
//! Built on hyper directly, because the ready-made `axum::serve` has neither a bound on connections nor a deadline
//! for a peer that sends its request one byte a minute.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::metrics::{self, Registry};
use crate::shutdown::Shutdown;

/// Connections served at once; more wait in the system's backlog.
pub const MAX_CONNECTIONS: usize = 512;

/// How long a peer may take over its request line and headers, and how long an idle connection is kept.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept (out of descriptors, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the role itself has to say about its health: `Ok`, or why not.
type Health = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The pages of a daemon. A bare [`Router`] turns into one, so `serve(listener, registry, router, shutdown)` works.
pub struct Pages {
    router: Router,
    conf: serde_json::Value,
    health: Health,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("conf", &self.conf).finish_non_exhaustive()
    }
}

impl From<Router> for Pages {
    fn from(router: Router) -> Self {
        Self::new(router)
    }
}

impl Pages {
    /// The role's own pages. They must not claim `/metrics`, `/healthz` or `/conf`.
    ///
    /// The peer's address is there for the extractor `ConnectInfo<SocketAddr>`.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self { router, conf: serde_json::Value::Null, health: Arc::new(|| Ok(())) }
    }

    /// What `/conf` shows: the configuration in force.
    #[must_use]
    pub fn conf(mut self, config: &impl Serialize) -> Self {
        self.conf = serde_json::to_value(config).unwrap_or_default();
        self
    }

    /// What `/healthz` says: 200 `ok`, or 503 with the reason.
    #[must_use]
    pub fn health(
        mut self,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.health = Arc::new(check);
        self
    }

    fn into_router(self, registry: Arc<Registry>) -> Router {
        let Self { router, conf, health } = self;
        let metrics_page = move || async move {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], metrics::encode(&registry))
        };
        let health_page = move || async move {
            match health() {
                Ok(()) => (StatusCode::OK, "ok\n".to_owned()).into_response(),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
            }
        };
        let conf_page = move || async move { axum::Json(conf) };
        router
            .route("/metrics", get(metrics_page))
            .route("/healthz", get(health_page))
            .route("/conf", get(conf_page))
    }
}

/// Serves until `shutdown`, then lets running requests finish. Returns when the listener is closed; open
/// connections hold guards of `shutdown`.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    pages: impl Into<Pages>,
    shutdown: Shutdown,
) {
    let router = pages.into().into_router(registry);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            // The semaphore is never closed; if it were, there would be nobody to serve.
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.triggered() => return,
        };
        match accepted {
            Some((slot, Ok((stream, peer)))) => {
                let router = router.clone().layer(axum::Extension(ConnectInfo(peer)));
                let told = shutdown.clone();
                shutdown.spawn(async move {
                    serve_connection(stream, router, &told).await;
                    drop(slot);
                });
            }
            Some((_, Err(e))) => {
                tracing::warn!("can't accept web connections: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: &Shutdown) {
    let peer = stream.peer_addr();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.triggered() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        // Peers go away and scanners talk nonsense all day long.
        tracing::debug!("web connection from {peer:?} ended: {e}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(pages: impl Into<Pages>) -> (SocketAddr, Shutdown) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let registry = Arc::new(metrics::registry("test"));
        tokio::spawn(serve(listener, registry, pages.into(), shutdown.clone()));
        (address, shutdown)
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn page(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        ask(address, request.as_bytes()).await
    }

    #[tokio::test]
    async fn the_pages_are_there() {
        let whoami =
            |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        let pages = Pages::new(Router::new().route("/whoami", get(whoami)))
            .conf(&serde_json::json!({"rpc-port": 8020}))
            .health(|| Err("safe mode".to_owned()));
        let (address, shutdown) = start(pages).await;
        assert!(page(address, "/metrics").await.contains("hfs_test_process"));
        assert!(page(address, "/conf").await.contains("8020"));
        assert!(page(address, "/whoami").await.ends_with("127.0.0.1"));
        let health = page(address, "/healthz").await;
        assert!(health.starts_with("HTTP/1.1 503") && health.contains("safe mode"), "{health}");
        assert!(page(address, "/nothing").await.starts_with("HTTP/1.1 404"));
        shutdown.trigger();
        assert_eq!(shutdown.drained(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn garbage_closes_the_connection_and_the_daemon_lives() {
        let (address, _shutdown) = start(Router::new()).await;
        for garbage in [&b"\0\xff\xff\xffhrpc\x09\0\0\0\r\n\r\n"[..], &[b'A'; 1 << 20]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may close before it has read all of it.
            let _ = stream.write_all(garbage).await;
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            let _ = tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
        }
        assert!(page(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    }
}
