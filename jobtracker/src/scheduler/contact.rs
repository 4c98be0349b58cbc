//! Workers come, go silent, come back, die.

use std::collections::BTreeSet;

use hfs_protocol::ids::{AttemptId, JobId, TaskId};
use hfs_protocol::proto::job::AttemptFailure;

use super::{Action, Now, Registration, Report, Scheduler, Timer};
use crate::job::{AttemptEnd, Job, TaskState};
use crate::workers::{Liveness, WorkerKey};

impl Scheduler {
    /// A worker says what it is and what it has. What it has and the tracker does not want is told
    /// to go; what the tracker believed and the worker does not have is given up.
    pub(super) fn registered(
        &mut self,
        now: Now,
        registration: Registration,
        out: &mut Vec<Action>,
    ) {
        let Registration { profile, running, segments, reports } = registration;
        let known = self.workers.by_id(&profile.id);
        let new_host = {
            let host = self.workers.host(&profile.host);
            self.workers.rack_of(host).is_none()
        };
        let key = match known {
            Some(key) => {
                self.workers.refresh(key, profile);
                key
            }
            None => self.workers.add(profile, now.steady_ms),
        };
        self.workers.set_liveness(key, Liveness::Live);
        self.no_workers_since_ms = None;
        self.openings.fresh.insert(key);
        self.heard(now, key);
        self.set_timer(now.steady_ms + self.settings.worker_silent_ms, Timer::Silent(key));
        if new_host && let Some(worker) = self.workers.get(key) {
            let (host, rack) = (worker.host, worker.rack);
            for job in self.jobs.values_mut() {
                job.map_queue.host_appeared(host, rack);
            }
        }

        let mentioned: BTreeSet<JobId> = running
            .iter()
            .chain(segments.iter().map(|(attempt, _)| attempt))
            .map(|attempt| attempt.task.job)
            .collect();
        for report in reports {
            self.report(now, key, report, out);
        }
        self.reconcile_attempts(now, key, &running, out);
        self.reconcile_segments(now, key, &segments, out);
        for job in mentioned {
            if !self.jobs.contains_key(&job) {
                out.push(Action::ForgetJob(key, job));
            }
        }
    }

    fn reconcile_attempts(
        &mut self,
        now: Now,
        key: WorkerKey,
        running: &[AttemptId],
        out: &mut Vec<Action>,
    ) {
        let believed =
            self.workers.get(key).map(|worker| worker.occupied.clone()).unwrap_or_default();
        for id in believed.keys().filter(|id| !running.contains(id)) {
            self.free_slot(key, *id, out);
            self.lose_attempt(now, *id, key, out);
        }
        for id in running {
            let wanted = believed.contains_key(id)
                && self.jobs.get(&id.task.job).is_some_and(|job| job.running(*id).is_some());
            if !wanted {
                self.occupy(key, *id);
                self.tell_to_die(now, *id, key, "the tracker does not want it any more", out);
            } else if let Some(job) = self.jobs.get_mut(&id.task.job) {
                // What was sent while the stream was broken may not have arrived: send it again.
                if let Some(attempt) =
                    job.task_mut(id.task).and_then(|task| task.attempt_mut(id.number))
                    && let Some(running) = attempt.running_mut()
                {
                    running.outputs_sent = 0;
                    running.last_heard_ms = now.steady_ms;
                }
                self.hungry.insert(id.task.job);
            }
        }
    }

    fn reconcile_segments(
        &mut self,
        now: Now,
        key: WorkerKey,
        segments: &[(AttemptId, String)],
        out: &mut Vec<Action>,
    ) {
        let here: BTreeSet<AttemptId> = segments.iter().map(|(attempt, _)| *attempt).collect();
        let believed =
            self.workers.get(key).map(|worker| worker.segments.clone()).unwrap_or_default();
        for map in believed {
            let attempt = self.jobs.get(&map.job).and_then(|job| match &job.task(map)?.state {
                TaskState::Succeeded(success) => {
                    Some(AttemptId { task: map, number: success.attempt })
                }
                _ => None,
            });
            if attempt.is_none_or(|attempt| !here.contains(&attempt)) {
                self.rerun_map(now, map, false, "its output is not on its worker any more", out);
            }
        }
    }

    /// A live worker was heard.
    pub(super) fn heard(&mut self, now: Now, key: WorkerKey) {
        if let Some(worker) = self.workers.get_mut(key) {
            worker.last_heard_ms = now.steady_ms;
        }
    }

    /// A stream broke. The worker may only have lost its connection: it gets a moment.
    pub(super) fn disconnected(&mut self, now: Now, key: WorkerKey) {
        if self.workers.get(key).is_some_and(|worker| worker.live()) {
            let until_ms = now.steady_ms + self.settings.reconnect_grace_ms;
            self.go_away(now, key, until_ms);
        }
    }

    /// Marks a worker as away until this time.
    pub(super) fn go_away(&mut self, now: Now, key: WorkerKey, until_ms: u64) {
        self.workers.set_liveness(key, Liveness::Away { until_ms });
        self.set_timer(until_ms, Timer::Away(key));
        self.host_vanished(key);
        self.watch_for_any_worker(now);
    }

    pub(super) fn check_silent(&mut self, now: Now, key: WorkerKey, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(key).filter(|worker| worker.live()) else { return };
        let silent_at = worker.last_heard_ms + self.settings.worker_silent_ms;
        if silent_at > now.steady_ms {
            self.set_timer(silent_at, Timer::Silent(key));
        } else {
            self.worker_died(now, key, out);
        }
    }

    pub(super) fn check_away(&mut self, now: Now, key: WorkerKey, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(key) else { return };
        if let Liveness::Away { until_ms } = worker.liveness
            && until_ms <= now.steady_ms
        {
            self.worker_died(now, key, out);
        }
    }

    /// Gives up a worker and all it had.
    fn worker_died(&mut self, now: Now, key: WorkerKey, out: &mut Vec<Action>) {
        let was_live = self.workers.get(key).is_some_and(|worker| worker.live());
        self.workers.set_liveness(key, Liveness::Dead { since_ms: now.steady_ms });
        if was_live {
            self.host_vanished(key);
        }
        let Some(worker) = self.workers.get_mut(key) else { return };
        let held: Vec<AttemptId> = worker.occupied.keys().copied().collect();
        let segments = std::mem::take(&mut worker.segments);
        for id in held {
            self.free_slot(key, id, out);
            self.lose_attempt(now, id, key, out);
        }
        let mut bereaved: BTreeSet<JobId> = BTreeSet::new();
        for map in segments {
            if let Some(job) = self.jobs.get_mut(&map.job) {
                job.orphans.insert(map.index);
                bereaved.insert(map.job);
            }
        }
        for job in bereaved {
            self.rerun_orphans(now, job, out);
        }
        let reason = "it was not heard of for too long and was given up; it must register again";
        out.push(Action::CloseWorker(key, reason.to_owned()));
        self.watch_for_any_worker(now);
        self.workers.forget_dead(now.steady_ms.saturating_sub(self.settings.forget_dead_ms));
    }

    fn lose_attempt(&mut self, now: Now, id: AttemptId, key: WorkerKey, out: &mut Vec<Action>) {
        let runs_there = self
            .jobs
            .get(&id.task.job)
            .and_then(|job| job.running(id))
            .is_some_and(|(attempt, _)| attempt.worker == key);
        if runs_there {
            let failure = AttemptFailure {
                message: "its worker was lost".to_owned(),
                ..AttemptFailure::default()
            };
            self.end_attempt(now, id, AttemptEnd::Lost, failure, out);
        }
    }

    /// Runs maps again whose output died with a worker, if a reduce has still to fetch it. A reduce
    /// that is past its shuffle has everything; should it fail, its successor asks again here.
    pub(super) fn rerun_orphans(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.runs()) else { return };
        if job.orphans.is_empty() || !outputs_needed(job) {
            return;
        }
        let orphans: Vec<u32> = job.orphans.iter().copied().collect();
        for index in orphans {
            let map = TaskId { job: id, kind: hfs_protocol::ids::TaskKind::Map, index };
            self.rerun_map(now, map, false, "its output was lost with its worker", out);
        }
    }

    fn host_vanished(&mut self, key: WorkerKey) {
        let Some(host) = self.workers.get(key).map(|worker| worker.host) else { return };
        if !self.workers.live_on(host) {
            for job in self.jobs.values_mut() {
                job.map_queue.host_vanished(host, &self.workers);
            }
            self.openings.all = true;
        }
    }

    fn watch_for_any_worker(&mut self, now: Now) {
        if self.workers.live_count() > 0 || self.no_workers_since_ms.is_some() {
            return;
        }
        self.no_workers_since_ms = Some(now.steady_ms);
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        for job in jobs {
            self.watch_for_workers(now, job);
        }
    }

    /// Bounds how long a job waits when no worker is live.
    pub(super) fn watch_for_workers(&mut self, now: Now, job: JobId) {
        if self.no_workers_since_ms.is_some() {
            let until = now.steady_ms + self.settings.no_workers_ms;
            self.set_timer(until, Timer::NoWorkers(job));
        }
    }

    pub(super) fn check_no_workers(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        let (Some(since), Some(job)) = (self.no_workers_since_ms, self.jobs.get(&id)) else {
            return;
        };
        let until = since.max(job.taken_ms) + self.settings.no_workers_ms;
        if until > now.steady_ms {
            self.set_timer(until, Timer::NoWorkers(id));
        } else if job.runs() {
            let seconds = self.settings.no_workers_ms as f64 / 1000.0;
            let message = format!(
                "no worker has been alive for {seconds} s; start one with 'hfs worker' and submit again"
            );
            self.fail_job(now, id, &message, out);
        }
    }

    /// A report in a registration can be old: the attempt may have been given up since.
    pub(super) fn runs_on(&self, id: AttemptId, key: WorkerKey) -> bool {
        self.jobs
            .get(&id.task.job)
            .and_then(|job| job.running(id))
            .is_some_and(|(attempt, _)| attempt.worker == key)
    }
}

/// Whether a reduce has still to fetch map output.
fn outputs_needed(job: &Job) -> bool {
    job.reduces.iter().any(|task| match &task.state {
        TaskState::Waiting => true,
        TaskState::Running => task.running().any(|(_, running)| running.phase != "reduce"),
        TaskState::Committing(_) | TaskState::Succeeded(_) => false,
    })
}

impl Report {
    /// The attempt it is about, when its id can be read.
    #[must_use]
    pub fn attempt(&self) -> Option<AttemptId> {
        match self {
            Self::Done(done) => done.attempt_id.parse().ok(),
            Self::Failed(id, _) => Some(*id),
        }
    }
}
