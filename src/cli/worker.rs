//! `hfs worker`: run one, or talk to the jobtracker about them.

use std::io::{self, Write};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use hfs_jobtracker::front::json;
use hfs_protocol::proto::job::{ClusterRequest, DrainRequest, WorkerStatus};

use super::daemons::{self, Flags};
use super::global::GlobalArgs;
use super::job::{Tracker, told};

/// `hfs worker`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Worker {
    #[command(flatten)]
    flags: Flags<hfs_worker::Config>,
    #[command(subcommand)]
    action: Option<WorkerAction>,
}

#[derive(Debug, Subcommand)]
enum WorkerAction {
    /// List the workers, what they have and what is taken of it
    List {
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// Give a worker no new tasks: what runs there goes on, what ran there is still served
    Drain {
        /// Its host, or its id; a host stays drained when its worker starts again
        node: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// Give a drained worker tasks again
    Undrain {
        /// What was drained: a host, or a worker's id
        node: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
}

impl Worker {
    /// Runs the worker until it is told to stop, or talks to the jobtracker.
    ///
    /// # Errors
    /// What keeps it from running, or the jobtracker's refusal.
    pub fn run(self, global: &GlobalArgs) -> Result<()> {
        let Some(action) = self.action else { return daemons::worker(&self.flags) };
        let runtime = super::runtime()?;
        match action {
            WorkerAction::List { tracker } => runtime.block_on(list(&tracker, global.json)),
            WorkerAction::Drain { node, tracker } => {
                runtime.block_on(drain(node, true, &tracker, global))
            }
            WorkerAction::Undrain { node, tracker } => {
                runtime.block_on(drain(node, false, &tracker, global))
            }
        }
    }
}

async fn list(tracker: &Tracker, as_json: bool) -> Result<()> {
    let mut client = tracker.connect().await?;
    let cluster = client.cluster(ClusterRequest {}).await.map_err(told)?.into_inner();
    let mut out = io::stdout().lock();
    if as_json {
        let workers: Vec<_> = cluster.workers.iter().map(json::worker).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&workers)?)?;
        return Ok(());
    }
    for worker in &cluster.workers {
        show(worker, &mut out)?;
    }
    Ok(())
}

fn show(worker: &WorkerStatus, out: &mut impl Write) -> io::Result<()> {
    let memory = match worker.memory_mb {
        0 => String::new(),
        memory => format!("  memory {}/{memory} MiB", worker.used_memory_mb),
    };
    let reason = match worker.reason.as_str() {
        "" => String::new(),
        reason => format!("  {reason}"),
    };
    writeln!(
        out,
        "{}  {:<11}  {}  slots {}/{}  vcores {}/{}{memory}{reason}",
        worker.worker_id,
        worker.state,
        worker.rack,
        worker.running,
        worker.slots,
        worker.used_vcores,
        worker.vcores,
    )
}

async fn drain(node: String, drained: bool, tracker: &Tracker, global: &GlobalArgs) -> Result<()> {
    let user = global.client_config()?.user;
    let mut client = tracker.connect().await?;
    let request = DrainRequest { node: node.clone(), drained, user };
    let cluster = client.drain(request).await.map_err(told)?.into_inner();
    let meant = |worker: &&WorkerStatus| worker.worker_id == node || worker.host == node;
    let workers: Vec<&WorkerStatus> = cluster.workers.iter().filter(meant).collect();
    let mut out = io::stdout().lock();
    if global.json {
        let workers: Vec<_> = workers.iter().map(|worker| json::worker(worker)).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&workers)?)?;
        return Ok(());
    }
    for worker in &workers {
        show(worker, &mut out)?;
    }
    if workers.is_empty() && drained {
        bail!(
            "no worker is called {node} or sits on a host of that name; should one come, it gets no \
             tasks ('hfs worker undrain {node}' takes that back, 'hfs worker list' shows the workers)"
        );
    }
    Ok(())
}
