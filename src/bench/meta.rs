//! Namespace operations per second over the wire, journal on disk, from many connections at once.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hfs_client::{ClientConfig, CreateOptions, FileSystem};

use super::measure::{Row, Samples, Work};
use super::{Bench, peers};

/// What a `create` frame and its answer weigh on the wire, for the echo peer.
pub(super) const CHANGE_BYTES: (usize, usize) = (230, 130);
/// What a `getFileInfo` frame and its answer weigh.
pub(super) const READ_BYTES: (usize, usize) = (120, 130);

/// The rows create+close, stat, rename, mkdirs, list and delete.
///
/// # Errors
/// A call that failed.
pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let clients = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..bench.connections {
            let mut config = ClientConfig::load()?;
            config.replication = 1;
            clients.push(FileSystem::connect(bench.site.fs_url.as_str(), config).await?);
        }
        anyhow::Ok(clients)
    })?;
    let each = bench.operations / bench.connections;
    let total = (each * bench.connections) as u64;
    let mut rows = Vec::new();
    let mut row = |name: &str, goal: f64, sizes: (usize, usize), ours: Vec<f64>, scale: usize| {
        let mut echo = Vec::new();
        for _ in 0..ours.len() {
            let start = Instant::now();
            peers::echo(bench.connections, each * scale, sizes.0, sizes.1)?;
            echo.push(start.elapsed().as_secs_f64());
        }
        rows.push(Row {
            name: format!("{name}, {} connections", bench.connections),
            work: Work::Operations(total),
            ours: Samples(ours),
            peer: Some(("TCP echo".into(), Samples(echo))),
            goal: Some(goal),
        });
        anyhow::Ok(())
    };
    let mut times: [Vec<f64>; 6] = Default::default();
    for run in 0..bench.runs {
        let dir = format!("/bench-meta-{run}");
        let mut step = |slot: usize, elapsed: Duration| times[slot].push(elapsed.as_secs_f64());
        step(0, runtime.block_on(mkdirs(&clients, &dir, each))?);
        step(1, runtime.block_on(create(&clients, &dir, each))?);
        step(2, runtime.block_on(stat(&clients, &dir, each))?);
        step(3, runtime.block_on(list(&clients, &dir, each))?);
        step(4, runtime.block_on(rename(&clients, &dir, each))?);
        step(5, runtime.block_on(delete(&clients, &dir, each))?);
        runtime.block_on(clients[0].delete(&dir, true))?;
    }
    let [mkdirs, create, stat, list, rename, delete] = times;
    row("mkdirs", 0.35, CHANGE_BYTES, mkdirs, 1)?;
    row("create + close", 0.35, CHANGE_BYTES, create, 2)?;
    row("stat", 0.5, READ_BYTES, stat, 1)?;
    row("list of one entry", 0.5, READ_BYTES, list, 1)?;
    row("rename", 0.35, CHANGE_BYTES, rename, 1)?;
    row("delete", 0.35, CHANGE_BYTES, delete, 1)?;
    Ok(rows)
}

/// Runs `work(client, connection, i)` for every i below `each` on every connection at once.
async fn all<F, Fut>(clients: &[FileSystem], each: usize, work: F) -> Result<Duration>
where
    F: Fn(FileSystem, usize, usize) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = hfs_client::Result<()>> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = clients
        .iter()
        .cloned()
        .enumerate()
        .map(|(c, client)| {
            tokio::spawn(async move {
                for i in 0..each {
                    work(client.clone(), c, i).await?;
                }
                Ok::<(), hfs_client::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.context("a benchmark task ended early")??;
    }
    Ok(start.elapsed())
}

fn leak(dir: &str) -> &'static str {
    // One short string for each run of a benchmark process that ends soon after.
    Box::leak(dir.to_owned().into_boxed_str())
}

async fn mkdirs(clients: &[FileSystem], dir: &str, each: usize) -> Result<Duration> {
    let dir = leak(dir);
    all(
        clients,
        each,
        move |fs, c, i| async move { fs.mkdirs(&format!("{dir}/{c}/d{i}"), None).await },
    )
    .await
}

async fn create(clients: &[FileSystem], dir: &str, each: usize) -> Result<Duration> {
    let dir = leak(dir);
    all(clients, each, move |fs, c, i| async move {
        let path = format!("{dir}/{c}/f{i}");
        fs.create(&path, &CreateOptions::default()).await?.close().await
    })
    .await
}

async fn stat(clients: &[FileSystem], dir: &str, each: usize) -> Result<Duration> {
    let dir = leak(dir);
    all(clients, each, move |fs, c, i| async move {
        fs.status(&format!("{dir}/{c}/f{i}")).await.map(drop)
    })
    .await
}

async fn list(clients: &[FileSystem], dir: &str, each: usize) -> Result<Duration> {
    let dir = leak(dir);
    all(clients, each, move |fs, c, i| async move {
        fs.list(&format!("{dir}/{c}/f{i}")).await.map(drop)
    })
    .await
}

async fn rename(clients: &[FileSystem], dir: &str, each: usize) -> Result<Duration> {
    let dir = leak(dir);
    all(clients, each, move |fs, c, i| async move {
        fs.rename(&format!("{dir}/{c}/f{i}"), &format!("{dir}/{c}/g{i}")).await.map(drop)
    })
    .await
}

async fn delete(clients: &[FileSystem], dir: &str, each: usize) -> Result<Duration> {
    let dir = leak(dir);
    all(clients, each, move |fs, c, i| async move {
        fs.delete(&format!("{dir}/{c}/g{i}"), false).await.map(drop)
    })
    .await
}
