//! Workers that get no new attempts: because an operator wants them empty, or because tasks of several
//! jobs failed there and succeeded elsewhere.
//!
//! A job whose code is wrong fails everywhere and proves nothing about a worker. A task that failed on
//! one worker and then succeeded on another does, a little; when it has happened to enough different
//! jobs within the remembered time, the worker is blacklisted for as long. Never more than half of the
//! live workers are, so that a fault of the cluster's own can't take all of them.

use hfs_protocol::ids::{AttemptId, TaskId};
use hfs_protocol::proto::job::AttemptFailure;

use super::{Action, Failure, Now, Scheduler, Timer};
use crate::job::{AttemptEnd, AttemptState};
use crate::workers::{Blacklisted, WorkerKey};

/// Less attempts than these say nothing about how fast a worker is.
const PACE_SAMPLES: u32 = 3;

impl Scheduler {
    /// A task has succeeded on this worker: those on which it had failed are suspect.
    pub(super) fn note_success(&mut self, now: Now, id: AttemptId, winner: WorkerKey) {
        self.note_pace(now, id);
        let Some(task) = self.jobs.get(&id.task.job).and_then(|job| job.task(id.task)) else {
            return;
        };
        if task.failures == 0 {
            return;
        }
        let failed_on: Vec<WorkerKey> = task
            .attempts
            .iter()
            .filter(|attempt| {
                attempt.worker != winner
                    && matches!(attempt.state, AttemptState::Ended { end: AttemptEnd::Failed, .. })
            })
            .map(|attempt| attempt.worker)
            .collect();
        for key in failed_on {
            self.strike(now, key, id.task);
        }
    }

    /// Takes in how long an attempt has worked, against the mean of its kind in its job. For one that
    /// lost a race that is the least it would have needed.
    pub(super) fn note_pace(&mut self, now: Now, id: AttemptId) {
        let Some(job) = self.jobs.get(&id.task.job) else { return };
        let pace = job.pace[id.task.kind as usize];
        let attempt = job.task(id.task).and_then(|task| task.attempt(id.number));
        if let Some(attempt) = attempt
            && pace.count() >= PACE_SAMPLES
            && pace.mean() >= 1.0
        {
            let worked = job.worked_ms(id.task.kind, attempt.start_ms, now.wall_ms);
            if let Some(worker) = self.workers.get_mut(attempt.worker) {
                worker.note_pace(worked as f64 / pace.mean());
            }
        }
    }

    fn strike(&mut self, now: Now, key: WorkerKey, task: TaskId) {
        let (threshold, memory_ms) = (self.settings.blacklist_jobs, self.settings.blacklist_ms);
        if threshold == 0 {
            return;
        }
        let (live, listed) = (self.workers.live_count(), self.workers.blacklisted_count());
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.strikes.retain(|_, at| at.saturating_add(memory_ms) > now.steady_ms);
        worker.strikes.insert(task.job, now.steady_ms);
        let jobs = worker.strikes.len();
        let enough = jobs >= threshold as usize && worker.blacklisted.is_none();
        if !enough || (listed + 1) * 2 > live {
            return;
        }
        worker.strikes.clear();
        let until_ms = now.steady_ms.saturating_add(memory_ms);
        let reason = format!(
            "tasks of {jobs} jobs failed here and succeeded elsewhere, the last one {task}"
        );
        self.workers.set_blacklisted(key, Some(Blacklisted { until_ms, reason }));
        self.set_timer(until_ms, Timer::Blacklist(key));
        // What waited for this worker's node may have to go elsewhere.
        self.openings.all = true;
    }

    pub(super) fn check_blacklist(&mut self, now: Now, key: WorkerKey) {
        let over = self.workers.get(key).is_some_and(|worker| {
            worker.blacklisted.as_ref().is_some_and(|black| black.until_ms <= now.steady_ms)
        });
        if over {
            self.workers.set_blacklisted(key, None);
            self.openings.fresh.insert(key);
        }
    }

    /// An operator's word on a host or a worker. What runs there goes on; what ran there is served.
    pub(super) fn drain(&mut self, node: &str, drained: bool) {
        self.workers.set_drained(node, drained);
        self.openings.all = true;
    }

    /// Takes over from an earlier tracker which hosts and workers get no attempts.
    pub fn restore_drained(&mut self, nodes: impl IntoIterator<Item = String>) {
        for node in nodes {
            self.workers.set_drained(&node, true);
        }
    }

    /// Someone wants an attempt ended. One that has ended already stays as it is.
    pub(super) fn end_by_hand(
        &mut self,
        now: Now,
        id: AttemptId,
        fails: bool,
        reason: &str,
        out: &mut Vec<Action>,
    ) {
        let running = self.jobs.get(&id.task.job).and_then(|job| job.running(id));
        let Some((attempt, _)) = running else { return };
        let worker = attempt.worker;
        self.tell_to_die(now, id, worker, reason, out);
        if fails {
            self.attempt_failed(now, id, worker, Failure::of(reason), out);
        } else {
            let failure =
                AttemptFailure { message: reason.to_owned(), ..AttemptFailure::default() };
            self.end_attempt(now, id, AttemptEnd::Killed, failure, out);
        }
    }
}
