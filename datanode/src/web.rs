//! The datanode's own web page.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use crate::namenode::Link;

/// The pages: one, at `/`.
pub fn pages(link: Arc<Link>) -> Router {
    Router::new().route(
        "/",
        get(move || async move {
            // Asking a sick disk for its free space can hang.
            let page = tokio::task::spawn_blocking(move || page(&link)).await;
            Html(page.unwrap_or_else(|error| format!("the page failed: {error}")))
        }),
    )
}

fn page(link: &Link) -> String {
    let store = &link.xceiver.store;
    let mut rows = String::new();
    for (volume, storage) in store.volumes().iter().zip(store.storages()) {
        // Writing to a String can't fail.
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&volume.dir().display().to_string()),
            escape(&storage.storage_uuid),
            if storage.failed { "failed" } else { "in use" },
            size(storage.used_bytes),
            size(storage.remaining_bytes),
        );
    }
    let pool = store.pool();
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>hfs datanode</title>\
         <style>body{{font:15px/1.5 system-ui;margin:2em auto;max-width:60em;padding:0 1em}}\
         table{{border-collapse:collapse}}td,th{{border-bottom:1px solid #ccc;padding:.3em .8em;\
         text-align:left}}</style>\
         <h1>Datanode {host}:{port}</h1>\
         <p>Cluster {cluster}, block pool {pool}. {registered}. {replicas} replicas, {active} \
         transfers now. <a href=\"/metrics\">metrics</a> <a href=\"/conf\">configuration</a></p>\
         <table><tr><th>data directory<th>storage<th>state<th>used<th>free</tr>{rows}</table>",
        host = escape(&link.identity.host),
        port = link.identity.transfer_port,
        cluster = escape(pool.map_or("none yet", |pool| &pool.cluster_id)),
        pool = escape(pool.map_or("none yet", |pool| &pool.pool_id)),
        registered = if link.registered.load(Ordering::Acquire) {
            "Registered with the namenode"
        } else {
            "Not registered with a namenode"
        },
        replicas = store.replica_count(),
        active = link.xceiver.active(),
    )
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1_u32 << 30))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
