//! The datanode's side of its namenode: one stream on which it registers, reports and takes
//! commands.
//!
//! [`outbox`] keeps what must be said in order and loses none of it; [`session`] is one connection
//! from registration to its end; [`commands`] does what the namenode wants; [`Link::run`] connects
//! again and again.

mod commands;
pub mod outbox;
mod session;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::proto::datanode::datanode_message::Message;
use hfs_protocol::proto::datanode::replica_change::Kind;
use hfs_protocol::proto::datanode::{BadReplicas, Block, ReplicaChange};
use tokio::sync::{Notify, Semaphore};

use crate::store::ReplicaEvents;
use crate::xceiver::Xceiver;
use outbox::Outbox;

/// The first pause before connecting again; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(20);

/// The longest pause before connecting again.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Replicas copied for the namenode at a time (HDFS `dfs.namenode.replication.max-streams`).
const COPIES_MAX: usize = 4;

/// What this node tells about itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The address clients dial.
    pub ip: String,
    /// The name they know it by.
    pub host: String,
    /// Port of the data transfer protocol.
    pub transfer_port: u16,
    /// Port of Hadoop RPC.
    pub ipc_port: u16,
    /// Port of the web pages.
    pub http_port: u16,
    /// Its place in the network.
    pub rack: String,
}

/// What the store says, on its way to the namenode. It exists before the connection does.
#[derive(Debug, Default)]
pub struct Announcer {
    outbox: Outbox,
    /// A disk error was seen.
    pub suspect: Notify,
}

impl Announcer {
    /// The messages that wait.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

impl ReplicaEvents for Announcer {
    fn changed(&self, kind: Kind, block: Block, storage_uuid: &str) {
        self.outbox.change(ReplicaChange {
            kind: kind as i32,
            block: Some(block),
            storage_uuid: storage_uuid.to_owned(),
        });
    }

    fn bad(&self, block: Block, reason: &str) {
        tracing::error!("blk_{} is corrupt here: {reason}", block.block_id);
        let report = BadReplicas { blocks: vec![block], reason: reason.to_owned() };
        self.outbox.keep(Message::BadReplicas(report));
    }

    fn volume_suspect(&self) {
        self.suspect.notify_one();
    }

    fn volume_failed(&self, dir: &Path, reason: &str) {
        tracing::error!("data directory {} has failed and was given up: {reason}", dir.display());
        self.suspect.notify_one();
    }
}

/// Why the link ended for good.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The namenode will never take this datanode as it is.
    #[error("namenode {namenode} refused this datanode: {reason}")]
    Refused {
        /// Its address.
        namenode: String,
        /// Its whole sentence.
        reason: String,
    },
    /// The data directories belong to another cluster than the namenode's.
    #[error("{0}")]
    Foreign(String),
}

/// How one session ended.
enum SessionEnd {
    /// Connect again.
    Lost(String),
    /// Never again.
    Fatal(LinkError),
}

/// Keeps the connection to the namenode.
#[derive(Debug)]
pub struct Link {
    /// The store and the transfers.
    pub xceiver: Arc<Xceiver>,
    /// What the store says.
    pub announcer: Arc<Announcer>,
    /// What this node tells about itself.
    pub identity: Identity,
    /// The namenodes' gRPC addresses.
    pub namenodes: Vec<String>,
    /// True while registered.
    pub registered: AtomicBool,
    copies: Arc<Semaphore>,
    /// One at a time: deletions must not take the disk from readers.
    deletions: Arc<Semaphore>,
}

impl Link {
    /// A link that is not connected yet.
    #[must_use]
    pub fn new(
        xceiver: Arc<Xceiver>,
        announcer: Arc<Announcer>,
        identity: Identity,
        namenodes: Vec<String>,
    ) -> Self {
        Self {
            xceiver,
            announcer,
            identity,
            namenodes,
            registered: AtomicBool::new(false),
            copies: Arc::new(Semaphore::new(COPIES_MAX)),
            deletions: Arc::new(Semaphore::new(1)),
        }
    }

    /// Stays connected until `shutdown`.
    ///
    /// # Errors
    /// If the namenode refuses this datanode for good.
    pub async fn run(self: &Arc<Self>, shutdown: &Shutdown) -> Result<(), LinkError> {
        let mut pause = RETRY_FIRST;
        let mut told = String::new();
        for namenode in self.namenodes.iter().cycle() {
            let end = tokio::select! {
                end = self.session(namenode) => end,
                () = shutdown.triggered() => {
                    self.disconnected();
                    return Ok(());
                }
            };
            let was_registered = self.disconnected();
            match end {
                SessionEnd::Fatal(error) => return Err(error),
                SessionEnd::Lost(reason) => {
                    if was_registered {
                        pause = RETRY_FIRST;
                    }
                    // A namenode that is down for an hour is one line, not three thousand.
                    if was_registered || told != reason {
                        tracing::warn!("no connection to namenode {namenode}: {reason}; trying on");
                        told = reason;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.triggered() => return Ok(()),
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        Ok(())
    }

    fn disconnected(&self) -> bool {
        self.announcer.outbox().disconnect();
        self.registered.swap(false, Ordering::AcqRel)
    }
}
