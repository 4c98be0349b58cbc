//! The cluster as it is shown to people.

use hfs_protocol::proto::job::{QueueStatus, WorkerStatus};

use super::{ClusterView, Tracker};
use crate::scheduler::{Now, Queue};
use crate::workers::{Liveness, Worker};

impl Tracker {
    pub(super) fn cluster(&self, now: Now) -> ClusterView {
        let workers = self.scheduler.workers().iter();
        let queues = self.scheduler.shares().iter();
        ClusterView {
            workers: workers.map(|(_, worker)| status(worker, now)).collect(),
            running_jobs: self.scheduler.jobs().len() as u32,
            queues: queues.map(|(name, queue)| queue_status(name, queue)).collect(),
        }
    }
}

fn status(worker: &Worker, now: Now) -> WorkerStatus {
    let (state, reason) = state(worker, now);
    WorkerStatus {
        worker_id: worker.profile.id.clone(),
        host: worker.profile.host.clone(),
        live: worker.live(),
        slots: worker.profile.slots,
        running: worker.load(),
        last_heard_ms_ago: now.steady_ms.saturating_sub(worker.last_heard_ms),
        rack: worker.profile.rack.clone(),
        vcores: worker.profile.vcores(),
        used_vcores: worker.used.vcores,
        memory_mb: worker.profile.memory_mb,
        used_memory_mb: worker.used.memory_mb,
        state: state.to_owned(),
        reason,
    }
}

fn state(worker: &Worker, now: Now) -> (&'static str, String) {
    match worker.liveness {
        Liveness::Dead { .. } => ("dead", String::new()),
        Liveness::Away { .. } => ("away", String::new()),
        Liveness::Live => match &worker.blacklisted {
            Some(black) => {
                let seconds = black.until_ms.saturating_sub(now.steady_ms).div_ceil(1000);
                let reason = &black.reason;
                ("blacklisted", format!("{reason}; it gets no tasks for another {seconds} s"))
            }
            None if worker.draining && worker.occupied.is_empty() => {
                ("drained", "an operator drained it".to_owned())
            }
            None if worker.draining => {
                ("draining", "an operator drained it; what runs there goes on".to_owned())
            }
            None => ("live", String::new()),
        },
    }
}

fn queue_status(name: &str, queue: &Queue) -> QueueStatus {
    let settings = queue.settings;
    QueueStatus {
        name: name.to_owned(),
        policy: settings.policy.word().to_owned(),
        weight: settings.weight,
        min_share: settings.min_share,
        max_running_jobs: settings.max_running_jobs,
        running_jobs: queue.admitted.len() as u32,
        waiting_jobs: queue.waiting.len() as u32,
        held_vcores: queue.held,
    }
}
