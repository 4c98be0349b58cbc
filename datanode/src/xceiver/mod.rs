//! The data transfer protocol's server side (HDFS `DataXceiver`).
//!
//! A connection waits for its next operation in the async runtime, so that ten thousand idle ones
//! cost nothing but their sockets. The operation itself runs on a thread of its own with plain
//! blocking calls: large buffers, `sendfile`, deadlines on every read and write. In reading order:
//! [`serve`] takes connections; [`read`], [`write`], [`copy`] and [`block_checksum`] are the
//! operations; [`receive`] and [`respond`] are the two threads of a write; [`stream`] sends packets.

pub mod block_checksum;
pub mod copy;
pub mod metrics;
pub mod read;
pub mod receive;
pub mod respond;
pub mod serve;
pub mod socket;
pub mod stream;
pub mod threads;
pub mod write;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::hadoop::hdfs::{DatanodeIdProto, DatanodeInfoProto};
use tokio::sync::Semaphore;

use crate::store::Store;
use metrics::TransferMetrics;
use threads::Threads;

/// What every operation needs.
#[derive(Debug)]
pub struct Xceiver {
    /// The replicas.
    pub store: Arc<Store>,
    /// Where operations run.
    pub threads: Threads,
    /// One permit per running operation.
    pub slots: Arc<Semaphore>,
    /// How many permits there are.
    pub slots_max: usize,
    /// One permit per connection.
    pub connections: Arc<Semaphore>,
    /// How long a peer may send or take nothing.
    pub patience: Duration,
    /// What is counted.
    pub metrics: TransferMetrics,
    /// This node as others know it; set when the ports are bound.
    pub node: OnceLock<DatanodeInfoProto>,
}

impl Xceiver {
    /// Checks a replica that somebody found bad, on a thread of its own: a client's word alone does
    /// not condemn it.
    pub fn verify_later(&self, block: BlockId, stamp: GenStamp) {
        let store = Arc::clone(&self.store);
        let started = self.threads.run(move || match store.verify(block, stamp) {
            Ok(true) => {
                tracing::info!("blk_{block} was reported corrupt but matches its checksums")
            }
            Ok(false) => {}
            Err(error) => tracing::info!("blk_{block} could not be checked: {error}"),
        });
        if let Err(error) = started {
            tracing::warn!("blk_{block} could not be checked: no thread: {error}");
        }
    }

    /// Operations that run now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.slots_max - self.slots.available_permits()
    }
}

/// `ip:port` of a node exactly as HDFS's `DatanodeID.getXferAddr` writes it: clients compare texts.
#[must_use]
pub fn transfer_address(id: &DatanodeIdProto) -> String {
    format!("{}:{}", id.ip_addr, id.xfer_port)
}

/// The address to dial a node at.
///
/// # Errors
/// If it names none.
pub fn dial_address(id: &DatanodeIdProto) -> std::io::Result<SocketAddr> {
    let bad = || {
        let sentence = format!("'{}' is not the address of a datanode", transfer_address(id));
        std::io::Error::new(std::io::ErrorKind::InvalidInput, sentence)
    };
    let port = u16::try_from(id.xfer_port).map_err(|_| bad())?;
    Ok(SocketAddr::new(id.ip_addr.parse().map_err(|_| bad())?, port))
}
