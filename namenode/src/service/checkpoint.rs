//! Checkpoints: when, and that there is one at a time.

use std::sync::Arc;

use hfs_protocol::error::{ErrorKind, RemoteError};
use hfs_protocol::ids::TxId;

use super::{CallInfo, Service, millis};
use crate::journal::{CheckpointReport, Checkpointer, Journal};

/// The last checkpoint of this process, and whether one is being made.
#[derive(Debug)]
pub(super) struct Last {
    txid: TxId,
    at_ms: u64,
    running: bool,
}

impl Last {
    pub(super) fn new(txid: TxId, now_ms: u64) -> Self {
        Self { txid, at_ms: now_ms, running: false }
    }
}

impl Service {
    /// Whether enough happened since the last checkpoint.
    pub(super) fn checkpoint_due(&self) -> bool {
        let durable = self.journal.durable();
        let now_ms = self.monotonic_ms();
        let last = self.checkpoint.lock();
        let since = durable.0.saturating_sub(last.txid.0);
        let waited = now_ms.saturating_sub(last.at_ms) >= millis(self.config.checkpoint_interval);
        !last.running && (since >= self.config.checkpoint_transactions || (since > 0 && waited))
    }

    /// Makes a checkpoint now.
    ///
    /// # Errors
    /// A sentence; the journal keeps everything then.
    pub async fn checkpoint(self: &Arc<Self>) -> Result<CheckpointReport, String> {
        {
            let mut last = self.checkpoint.lock();
            if last.running {
                return Err("a checkpoint is being made already".to_owned());
            }
            last.running = true;
        }
        let service = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            Checkpointer::run(&service.name_dir, &service.namespace, &service.journal)
        })
        .await;
        let made = match made {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(format!("the checkpoint's thread ended: {error}")),
        };
        let mut last = self.checkpoint.lock();
        last.running = false;
        // Also after a failure: the next try waits for its time instead of filling the log.
        last.at_ms = self.monotonic_ms();
        match &made {
            Ok(report) => {
                last.txid = report.txid;
                tracing::info!(
                    "checkpoint at transaction {}: {} bytes, writers waited {:?}",
                    report.txid,
                    report.bytes,
                    report.pause
                );
            }
            Err(_) => last.txid = self.journal.durable(),
        }
        made
    }

    /// Makes a checkpoint because an operator asked (HDFS `saveNamespace`): in safe mode only, as
    /// there.
    ///
    /// # Errors
    /// When safe mode is off, the caller is no superuser, or it can't be made.
    pub async fn save_namespace(self: &Arc<Self>, call: &CallInfo) -> Result<(), RemoteError> {
        self.require_superuser(call, "save the namespace")?;
        if !self.cluster.read().blocks.safemode().is_on() {
            return Err(RemoteError::new(
                ErrorKind::Io,
                "Safe mode should be turned ON in order to create namespace image.",
            ));
        }
        match self.checkpoint().await {
            Ok(_) => Ok(()),
            Err(reason) => Err(RemoteError::new(ErrorKind::Io, reason)),
        }
    }
}
