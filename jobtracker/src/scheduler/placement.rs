//! Free slots meet waiting tasks.

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::job::AttemptFailure;

use super::{Action, Durability, Now, Scheduler, Settings, Timer, Turn};
use crate::history::record::{Entry, Launched};
use crate::job::{Attempt, AttemptEnd, AttemptState, Job, Locality, Running};
use crate::workers::{Worker, WorkerKey, Workers};

/// A task that was taken from its queue for a slot.
struct Choice {
    task: TaskId,
    locality: Option<Locality>,
}

impl Scheduler {
    /// Offers free slots until nobody wants one. Each round gives every worker one attempt, least
    /// loaded first, so that a small job spreads.
    pub(super) fn place(&mut self, now: Now, out: &mut Vec<Action>) {
        self.open_reduces();
        self.offer(now, out);
        // Placing the last maps opens the reduces for the slots that are left.
        if self.open_reduces() {
            self.offer(now, out);
        }
        self.preempt(now, out);
    }

    fn offer(&mut self, now: Now, out: &mut Vec<Action>) {
        let fresh = std::mem::take(&mut self.fresh);
        let all = std::mem::take(&mut self.offer_all);
        let waiting =
            |job: &Job| job.runs() && (!job.map_queue.is_empty() || !job.reduce_queue.is_empty());
        if !self.jobs.values().any(waiting) {
            return;
        }
        let free = |worker: &Worker| worker.live() && worker.free() > 0;
        let load = |key: WorkerKey, worker: &Worker| (worker.occupied.len(), key);
        let mut candidates: Vec<(usize, WorkerKey)> = if all {
            let workers = self.workers.iter().filter(|(_, worker)| free(worker));
            workers.map(|(key, worker)| load(key, worker)).collect()
        } else {
            let workers = fresh.iter().filter_map(|key| Some((*key, self.workers.get(*key)?)));
            workers.filter(|(_, worker)| free(worker)).map(|(k, w)| load(k, w)).collect()
        };
        while !candidates.is_empty() {
            candidates.sort_unstable();
            let mut left = Vec::with_capacity(candidates.len());
            for (_, key) in candidates {
                let Some(choice) = self.choose(now, key) else { continue };
                self.launch(now, key, choice, out);
                if let Some(worker) = self.workers.get(key).filter(|worker| free(worker)) {
                    left.push(load(key, worker));
                }
            }
            candidates = left;
        }
    }

    /// Reduces may start when some maps are done or all are placed. When that becomes so, slots
    /// that were left empty before are worth another look.
    fn open_reduces(&mut self) -> bool {
        let mut opened = false;
        for job in self.jobs.values_mut().filter(|job| job.runs() && !job.reduces_open) {
            let done = u64::from(job.map_tally.succeeded) * 100;
            let enough =
                done >= job.maps.len() as u64 * u64::from(self.settings.slow_start_percent);
            if job.maps.is_empty() || job.map_queue.is_empty() || (enough && done > 0) {
                job.reduces_open = true;
                self.offer_all = true;
                opened = true;
            }
        }
        opened
    }

    /// What this worker's free slot is given.
    fn choose(&mut self, now: Now, key: WorkerKey) -> Option<Choice> {
        let settings = self.settings;
        let slots = self.workers.live_slots();
        for job in self.jobs.values_mut().filter(|job| job.runs()) {
            if job.map_queue.is_empty() && job.reduce_queue.is_empty() {
                continue;
            }
            if shunned(job, key, &self.workers, &settings) {
                continue;
            }
            let was_held_back = job.held_back_since_ms;
            if let Some((map, locality)) = choose_map(job, key, &self.workers, now, &settings) {
                let task = TaskId { job: job.id, kind: TaskKind::Map, index: map };
                return Some(Choice { task, locality: Some(locality) });
            }
            if was_held_back.is_none()
                && let Some(since) = job.held_back_since_ms
            {
                let rack_at = since + settings.node_wait_ms;
                self.timers.insert((rack_at, Timer::HeldBack(job.id)));
                self.timers.insert((rack_at + settings.rack_wait_ms, Timer::HeldBack(job.id)));
            }
            if let Some(reduce) = choose_reduce(job, key, &self.workers, slots) {
                let task = TaskId { job: job.id, kind: TaskKind::Reduce, index: reduce };
                return Some(Choice { task, locality: None });
            }
        }
        None
    }

    fn launch(&mut self, now: Now, key: WorkerKey, choice: Choice, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&choice.task.job) else { return };
        let Some(worker) = self.workers.get_mut(key) else { return };
        let Some(task) = job.task(choice.task) else { return };
        let id = AttemptId { task: choice.task, number: task.next_number(job.attempt_base) };
        worker.occupied.insert(id);
        job.occupied += 1;
        job.worker_names.entry(key).or_insert_with(|| worker.profile.id.clone());
        let record = Launched {
            attempt_id: id.to_string(),
            worker_id: worker.profile.id.clone(),
            host: worker.profile.host.clone(),
            locality: choice.locality.map_or("", Locality::word).to_owned(),
            start_ms: now.wall_ms,
        };
        let running = Running { last_heard_ms: now.steady_ms, ..Running::default() };
        let attempt = Attempt {
            number: id.number,
            worker: key,
            locality: choice.locality,
            start_ms: now.wall_ms,
            state: AttemptState::Running(running),
        };
        job.launched(id, attempt);
        let timeout_ms = job.spec.task_timeout_ms;
        let job = job.id;
        if timeout_ms > 0 {
            self.set_timer(now.steady_ms.saturating_add(timeout_ms), Timer::Attempt(id));
        }
        if id.task.kind == TaskKind::Reduce {
            self.hungry.insert(job);
        }
        out.push(Action::Journal(job, Entry::Launched(record).into(), Durability::Buffered));
        out.push(Action::Launch(key, id));
        out.push(Action::Changed(job));
    }

    /// When maps of a job wait, none of them runs and no slot is free, one of the job's reduces,
    /// which can't finish without those maps anyway, gives up its slot: the youngest.
    fn preempt(&mut self, now: Now, out: &mut Vec<Action>) {
        let starved: Vec<JobId> = self
            .jobs
            .values()
            .filter(|job| {
                job.runs()
                    && !job.map_queue.is_empty()
                    && job.map_tally.running == 0
                    && job.reduce_tally.running > 0
                    // A slot that is being vacated already is the one to wait for.
                    && job.occupied as usize == job.running_attempts().len()
            })
            .map(|job| job.id)
            .collect();
        if starved.is_empty() || self.workers.iter().any(|(_, w)| w.live() && w.free() > 0) {
            return;
        }
        for id in starved {
            let Some(job) = self.jobs.get(&id) else { continue };
            let youngest = job
                .running_attempts()
                .into_iter()
                .filter_map(|(id, worker)| {
                    job.running(id).map(|(attempt, _)| (attempt.start_ms, id, worker))
                })
                .max();
            if let Some((_, attempt, worker)) = youngest {
                // The map has waited enough: it takes the slot wherever that is.
                let waits = self.settings.node_wait_ms + self.settings.rack_wait_ms;
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.held_back_since_ms = Some(now.steady_ms.saturating_sub(waits));
                }
                let reason = "its slot is needed for a map that the reduces wait for";
                self.kill_attempt(now, attempt, worker, reason, out);
            }
        }
    }

    /// Ends a running attempt on the tracker's own decision. Its task waits again if nothing else
    /// works on it; the slot frees when the worker confirms.
    pub(super) fn kill_attempt(
        &mut self,
        now: Now,
        id: AttemptId,
        worker: WorkerKey,
        reason: &str,
        out: &mut Vec<Action>,
    ) {
        let none = AttemptFailure::default();
        self.end_attempt(now, id, AttemptEnd::Killed, none, out);
        self.tell_to_die(now, id, worker, reason, out);
    }

    /// Sends the order and waits a bounded time for its confirmation.
    pub(super) fn tell_to_die(
        &mut self,
        now: Now,
        id: AttemptId,
        worker: WorkerKey,
        reason: &str,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Kill(worker, id, reason.to_owned()));
        let patience = self.settings.kill_wait_ms;
        self.set_timer(now.steady_ms.saturating_add(patience), Timer::Slot(worker, id));
    }

    /// A slot is free again.
    pub(super) fn free_slot(&mut self, key: WorkerKey, id: AttemptId, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if !worker.occupied.remove(&id) {
            return;
        }
        self.fresh.insert(key);
        if let Some(job) = self.jobs.get_mut(&id.task.job) {
            job.occupied = job.occupied.saturating_sub(1);
            self.go_on_if_idle(id.task.job, out);
        }
    }

    /// Puts a task that lost its attempt back in line, before the others.
    pub(super) fn requeue(&mut self, id: TaskId) {
        let Some(job) = self.jobs.get_mut(&id.job).filter(|job| job.runs()) else { return };
        match id.kind {
            TaskKind::Map => job.map_queue.push(id.index, Turn::First, &self.workers),
            TaskKind::Reduce => job.reduce_queue.push_front(id.index),
        }
        self.offer_all = true;
    }
}

/// Whether too much of this job has failed on this worker and another one could take the work now.
fn shunned(job: &Job, key: WorkerKey, workers: &Workers, settings: &Settings) -> bool {
    let bad = |key: &WorkerKey| {
        job.failures_on.get(key).is_some_and(|count| *count >= settings.worker_job_failures)
    };
    bad(&key) && workers.iter().any(|(other, w)| !bad(&other) && w.live() && w.free() > 0)
}

/// Whether this task failed on this worker before and another one could take it now.
fn better_elsewhere(job: &Job, task: TaskId, key: WorkerKey, workers: &Workers) -> bool {
    let Some(task) = job.task(task) else { return false };
    task.failed_on(key)
        && workers.iter().any(|(other, w)| w.live() && w.free() > 0 && !task.failed_on(other))
}

fn choose_map(
    job: &mut Job,
    key: WorkerKey,
    workers: &Workers,
    now: Now,
    settings: &Settings,
) -> Option<(u32, Locality)> {
    if job.map_queue.is_empty() {
        return None;
    }
    let worker = workers.get(key)?;
    // The queue is taken out so that the tasks can be looked at while it is searched.
    let mut queue = std::mem::take(&mut job.map_queue);
    let id = job.id;
    let fits = |map: u32| {
        let task = TaskId { job: id, kind: TaskKind::Map, index: map };
        !better_elsewhere(job, task, key, workers)
    };
    let near = queue.take_on_host(worker.host, fits).map(|map| (map, Locality::Node));
    let mut chosen = near.or_else(|| queue.take_stranded(fits).map(|map| (map, Locality::Any)));
    let mut held_back = job.held_back_since_ms;
    if near.is_some() {
        held_back = None;
    } else if chosen.is_none() && !queue.is_empty() {
        let since = *held_back.get_or_insert(now.steady_ms);
        let waited_ms = now.steady_ms.saturating_sub(since);
        if waited_ms >= settings.node_wait_ms {
            chosen = queue.take_in_rack(worker.rack, fits).map(|map| (map, Locality::Rack));
        }
        if chosen.is_none() && waited_ms >= settings.node_wait_ms + settings.rack_wait_ms {
            chosen = queue.take_any(fits).map(|map| (map, Locality::Any));
        }
    }
    job.map_queue = queue;
    job.held_back_since_ms = held_back;
    chosen
}

fn choose_reduce(job: &mut Job, key: WorkerKey, workers: &Workers, slots: u64) -> Option<u32> {
    if !job.reduces_open || job.reduce_queue.is_empty() {
        return None;
    }
    // A reduce that starts while maps wait must not take what they need: it would have to give its
    // slot back, and take it again, and give it back.
    let starving = job.map_tally.running == 0;
    if !job.map_queue.is_empty() && (starving || u64::from(job.reduce_tally.running) >= slots / 2) {
        return None;
    }
    let place = job.reduce_queue.iter().position(|reduce| {
        let task = TaskId { job: job.id, kind: TaskKind::Reduce, index: *reduce };
        !better_elsewhere(job, task, key, workers)
    })?;
    job.reduce_queue.remove(place)
}
