//! The namenode's pages: a first page for people, `/api/status` for programs, and gauges for
//! `/metrics`.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use hfs_daemon::config::format_size;
use hfs_daemon::http::Pages;
use hfs_daemon::metrics::{self, Registry};

use crate::service::{Service, Status};

/// The pages of this service.
pub fn pages(service: &Arc<Service>) -> Pages {
    let (first, json, health) = (Arc::clone(service), Arc::clone(service), Arc::clone(service));
    let router = Router::new()
        .route("/", get(move || async move { Html(page(&first.status())) }))
        .route("/api/status", get(move || async move { axum::Json(json.status()) }));
    Pages::new(router).conf(&service.config).health(move || health.health())
}

/// Gauges that are asked for when somebody scrapes.
pub fn register_gauges(service: &Arc<Service>, registry: &mut Registry) {
    type Value = fn(&Status) -> u64;
    let gauges: [(&'static str, &'static str, Value); 17] = [
        ("files", "Files", |s| s.files),
        ("directories", "Directories", |s| s.directories),
        ("open_files", "Files open for writing", |s| s.open_files),
        ("blocks", "Blocks", |s| s.blocks),
        ("under_replicated_blocks", "Blocks with too few good replicas", |s| s.under_replicated),
        ("missing_blocks", "Blocks without a good replica", |s| s.missing),
        ("corrupt_blocks", "Blocks with a corrupt replica", |s| s.corrupt),
        ("pending_transfers", "Copies under way", |s| s.pending_transfers),
        ("pending_invalidations", "Replicas to be removed", |s| s.pending_invalidations),
        ("capacity_bytes", "Bytes datanodes may hold", |s| s.capacity),
        ("used_bytes", "Bytes replicas use", |s| s.used),
        ("remaining_bytes", "Bytes free", |s| s.remaining),
        ("live_datanodes", "Live datanodes", |s| s.live as u64),
        ("dead_datanodes", "Dead datanodes", |s| s.dead as u64),
        ("safe_mode", "1 while the namespace can't change", |s| u64::from(s.safe_mode.is_some())),
        ("journal_applied_txid", "Last applied transaction", |s| s.applied_txid),
        ("journal_durable_txid", "Last durable transaction", |s| s.durable_txid),
    ];
    let names = gauges.iter().map(|&(name, help, _)| (name, help)).collect();
    let service = Arc::clone(service);
    metrics::gauges_fn(registry, names, move || {
        let status = service.status();
        let number = |value: Value| i64::try_from(value(&status)).unwrap_or(i64::MAX);
        gauges.iter().map(|&(_, _, value)| number(value)).collect()
    });
}

/// A number of bytes for people, one decimal.
fn human(bytes: u64) -> String {
    for (unit, name) in [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")] {
        if bytes >= unit {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format_size(bytes)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;\
padding:0 1rem;color:#1b1f24}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .6rem;\
border-bottom:1px solid #d0d7de}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.bad{color:#b42318}.note{background:#fff4d6;padding:.6rem .9rem;border-radius:.4rem}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}\
td,th{border-color:#30363d}.note{background:#3b2f10}.bad{color:#ff7b72}a{color:#79c0ff}}";

fn page(status: &Status) -> String {
    let mut html = String::with_capacity(8 << 10);
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content='width=device-width'><title>hfs namenode</title><style>{STYLE}</style>\
         <h1>hfs namenode</h1><p>cluster {} &middot; block pool {} &middot; version {}</p>",
        escape(&status.cluster_id),
        escape(&status.block_pool_id),
        escape(status.version)
    );
    match &status.safe_mode {
        Some(reason) => {
            let _ = write!(html, "<p class=note>{}</p>", escape(reason));
        }
        None => html.push_str("<p>Safe mode is off.</p>"),
    }
    html.push_str("<h2>Files and blocks</h2><table>");
    let mut row = |name: &str, value: String, bad: bool| {
        let class = if bad { "n bad" } else { "n" };
        let _ = write!(html, "<tr><td>{name}<td class='{class}'>{value}");
    };
    row("Files", status.files.to_string(), false);
    row("Directories", status.directories.to_string(), false);
    row("Files open for writing", status.open_files.to_string(), false);
    row("Blocks", status.blocks.to_string(), false);
    row(
        "Blocks with too few replicas",
        status.under_replicated.to_string(),
        status.under_replicated > 0,
    );
    row("Blocks without a good replica", status.missing.to_string(), status.missing > 0);
    row("Blocks with a corrupt replica", status.corrupt.to_string(), status.corrupt > 0);
    row("Copies under way", status.pending_transfers.to_string(), false);
    row("Replicas to be removed", status.pending_invalidations.to_string(), false);
    row("Capacity", human(status.capacity), false);
    row("Used", human(status.used), false);
    row("Free", human(status.remaining), false);
    let _ = write!(
        html,
        "</table><h2>Datanodes: {} live, {} suspected, {} dead</h2><table><tr><th>Address\
         <th>Rack<th>State<th class=n>Replicas<th class=n>Used<th class=n>Free\
         <th class=n>Capacity<th class=n>Transfers",
        status.live, status.suspected, status.dead
    );
    for node in &status.nodes {
        let bad = if node.state == "live" { "" } else { " class=bad" };
        let _ = write!(
            html,
            "<tr><td title='{}'>{}<td>{}<td{bad}>{}<td class=n>{}<td class=n>{}<td class=n>{}\
             <td class=n>{}<td class=n>{}",
            escape(&node.uuid),
            escape(&node.address),
            escape(&node.rack),
            node.state,
            node.replicas,
            human(node.used),
            human(node.remaining),
            human(node.capacity),
            node.active_transfers
        );
    }
    html.push_str(
        "</table><p><a href='/api/status'>status as JSON</a> &middot; \
         <a href='/metrics'>metrics</a> &middot; <a href='/conf'>configuration</a> &middot; \
         <a href='/healthz'>health</a></p></html>",
    );
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_texts_are_harmless() {
        assert_eq!(human(0), "0");
        assert_eq!(human((3 << 30) + (1 << 29)), "3.5 GiB");
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
