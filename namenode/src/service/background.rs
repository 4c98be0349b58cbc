//! What the namenode does unasked: notices the dead, repairs, takes leases away, takes deleted
//! trees apart, checkpoints.

use std::sync::Arc;
use std::time::Duration;

use hfs_protocol::proto::datanode::{SendBlockReport, namenode_message::Message};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Service;
use crate::journal::Journal;

/// Longest pause between two looks at repairs and deadlines.
const TICK: Duration = Duration::from_secs(1);
/// Shortest pause between two of them, so that a storm of reports costs one look and not thousands.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a datanode has for its full reports before it is asked for them.
const REPORT_PATIENCE_MS: u64 = 10_000;
/// Inodes of a deleted tree that are taken apart under one hold of the lock.
const REAP_SLICE: usize = 512;
/// Pause between two such slices: others get the lock.
const REAP_PAUSE: Duration = Duration::from_millis(1);

impl Service {
    /// Runs the background work until shutdown.
    pub fn spawn_background(self: &Arc<Self>) {
        let service = Arc::clone(self);
        self.shutdown.spawn(async move {
            tokio::select! {
                () = service.work_loop() => {}
                () = service.shutdown.triggered() => {}
            }
        });
        let service = Arc::clone(self);
        self.shutdown.spawn(async move {
            tokio::select! {
                () = service.lease_loop() => {}
                () = service.shutdown.triggered() => {}
            }
        });
        let service = Arc::clone(self);
        self.shutdown.spawn(async move {
            tokio::select! {
                () = service.checkpoint_loop() => {}
                () = service.shutdown.triggered() => {}
            }
        });
    }

    /// Event-driven, with a tick for deadlines.
    async fn work_loop(&self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.work.notified() => {}
                _ = tick.tick() => {}
            }
            self.tick_nodes();
            self.tick_recoveries();
            self.tick_repair();
            while self.reap_slice() {
                sleep(REAP_PAUSE).await;
            }
            sleep(PAUSE).await;
        }
    }

    async fn lease_loop(&self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.tick_leases();
        }
    }

    async fn checkpoint_loop(self: &Arc<Self>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.checkpoint_due()
                && let Err(error) = self.checkpoint().await
            {
                tracing::error!("no checkpoint was made; the journal keeps everything: {error}");
            }
        }
    }

    /// Notices datanodes that were not heard of, and asks for missing reports.
    fn tick_nodes(&self) {
        let now_ms = self.monotonic_ms();
        let mut cluster = self.cluster.write();
        for node in cluster.nodes.tick(now_ms) {
            let why = format!("nothing was heard of it for {:?}", self.config.dead_interval);
            self.bury(&mut cluster, node, &why);
        }
        for node in cluster.nodes.overdue_reports(now_ms, REPORT_PATIENCE_MS) {
            cluster.send(node, Message::SendBlockReport(SendBlockReport {}));
        }
        if now_ms.saturating_sub(self.started_monotonic_ms)
            >= super::millis(self.config.lease_recovery_grace)
        {
            cluster.end_grace();
        }
        cluster.check_safemode();
    }

    /// Decides and sends repairs and removals.
    fn tick_repair(&self) {
        let now_ms = self.monotonic_ms();
        let mut cluster = self.cluster.write();
        let cluster = &mut *cluster;
        cluster.blocks.set_durable(self.journal.durable());
        let candidates = cluster.nodes.candidates(0);
        let decisions = cluster.blocks.tick(&candidates, now_ms);
        let more = !decisions.is_empty() || cluster.blocks.awaits_journal(now_ms);
        cluster.perform(decisions, now_ms);
        if more {
            // Work is bounded per tick; what is left gets the next one soon.
            self.work.notify_one();
        }
    }

    /// Takes a slice of deleted trees apart. True: there is more.
    fn reap_slice(&self) -> bool {
        let mut effects = Vec::new();
        let mut namespace = self.namespace.write();
        let more = namespace.reap(REAP_SLICE, &mut effects);
        let upto = namespace.applied();
        drop(namespace);
        if !effects.is_empty() {
            let now_ms = self.monotonic_ms();
            let mut cluster = self.cluster.write();
            cluster.blocks.set_applied(upto);
            self.take_effects(&mut cluster, &effects, now_ms);
        }
        more
    }
}
