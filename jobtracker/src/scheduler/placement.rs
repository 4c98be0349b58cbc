//! Free slots meet waiting tasks.

use std::collections::BTreeMap;

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::job::AttemptFailure;

use super::offer::watch_held_back;
use super::{Action, Durability, Now, Scheduler, Settings, Timer, Turn};
use crate::history::record::{Entry, Launched};
use crate::job::{Ask, Attempt, AttemptEnd, AttemptState, Job, Locality, ReducePhases, Running};
use crate::workers::{Room, Worker, WorkerKey, Workers};

/// A task that was taken from its queue for a slot, or one that is raced.
pub(super) struct Choice {
    pub(super) task: TaskId,
    pub(super) locality: Option<Locality>,
    pub(super) speculative: bool,
}

/// What a job does with a worker that is offered to it.
enum Answer {
    Takes(Choice),
    /// It takes nothing, and others may.
    Passes,
    /// It takes nothing yet, and nobody else may: room for a large task is being made.
    Reserves,
}

impl Scheduler {
    /// Gives free slots to waiting tasks until nobody wants one.
    pub(super) fn place(&mut self, now: Now, out: &mut Vec<Action>) {
        self.bereft.extend(self.moved.iter().copied());
        self.open_reduces();
        self.offer(now, out);
        // Placing the last maps opens the reduces for the slots that are left, and a large task that
        // was placed gives back the worker that was kept for it.
        while self.open_reduces() || !self.openings.fresh.is_empty() {
            self.offer(now, out);
        }
        self.preempt(now, out);
    }

    pub(super) fn field(&self) -> Field<'_> {
        Field { workers: &self.workers, reserved: &self.reserved, settings: &self.settings }
    }

    /// What this worker's free slot is given. `fresh`: it has just got room.
    pub(super) fn choose(&mut self, now: Now, key: WorkerKey, fresh: bool) -> Option<Choice> {
        if !self.workers.get(key).is_some_and(|worker| worker.usable() && worker.free() > 0) {
            return None;
        }
        if let Some(job) = self.reserved.get(&key).copied() {
            return match self.ask_job(now, key, job, fresh) {
                Answer::Takes(choice) => Some(choice),
                Answer::Passes | Answer::Reserves => None,
            };
        }
        for queue in self.shares.order() {
            let mut last = None;
            while let Some((rank, id)) = self.shares.next(queue, last) {
                last = Some((rank, id));
                match self.ask_job(now, key, id, fresh) {
                    Answer::Takes(choice) => return Some(choice),
                    Answer::Reserves => return None,
                    Answer::Passes => {}
                }
            }
        }
        None
    }

    /// Whether a job has something for this worker.
    fn ask_job(&mut self, now: Now, key: WorkerKey, id: JobId, fresh: bool) -> Answer {
        let settings = self.settings;
        let slots = self.workers.live_slots();
        let Some(job) = self.jobs.get_mut(&id) else { return Answer::Passes };
        let Some(worker) = self.workers.get(key) else { return Answer::Passes };
        let (workers, reserved) = (&self.workers, &self.reserved);
        let field = Field { workers, reserved, settings: &settings };
        let mut cramped = false;
        let mut room = |job: &Job, kind: TaskKind| {
            let room = worker.room(job.wishes.ask(kind));
            cramped |= room == Room::Later && job.has_ready(kind);
            room == Room::Now && !field.shunned(job, kind, key)
        };
        if room(job, TaskKind::Map) {
            if let Some((map, locality)) = choose_map(job, key, field, now) {
                let task = TaskId { job: id, kind: TaskKind::Map, index: map };
                let locality = Some(locality);
                return Answer::Takes(Choice { task, locality, speculative: false });
            }
            if let Some(at) = watch_held_back(job, now, &settings) {
                self.timers.insert((at, Timer::HeldBack(id)));
            }
        }
        if room(job, TaskKind::Reduce)
            && let Some(reduce) = choose_reduce(job, key, field, slots)
        {
            let task = TaskId { job: id, kind: TaskKind::Reduce, index: reduce };
            return Answer::Takes(Choice { task, locality: None, speculative: false });
        }
        if cramped && fresh { self.reserve(now, key, id) } else { Answer::Passes }
    }

    /// Small tasks could fill every gap for ever before a large one fits: a job that found no room
    /// for a while has one worker kept for it.
    fn reserve(&mut self, now: Now, key: WorkerKey, id: JobId) -> Answer {
        let Some(job) = self.jobs.get_mut(&id) else { return Answer::Passes };
        let since = *job.cramped_since_ms.get_or_insert(now.steady_ms);
        if now.steady_ms.saturating_sub(since) < self.settings.reserve_after_ms {
            return Answer::Passes;
        }
        if let Some(other) = job.reserved.filter(|other| *other != key) {
            if self.workers.get(other).is_some_and(Worker::usable) {
                return Answer::Passes;
            }
            self.reserved.remove(&other);
        }
        job.reserved = Some(key);
        self.reserved.insert(key, id);
        Answer::Reserves
    }

    /// The job has got what it wanted, or wants nothing more.
    pub(super) fn unreserve(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.cramped_since_ms = None;
        if let Some(key) = job.reserved.take() {
            self.reserved.remove(&key);
            self.openings.fresh.insert(key);
        }
    }

    pub(super) fn launch(
        &mut self,
        now: Now,
        key: WorkerKey,
        choice: Choice,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&choice.task.job) else { return };
        let Some(worker) = self.workers.get(key) else { return };
        let Some(task) = job.task(choice.task) else { return };
        let id = AttemptId { task: choice.task, number: task.next_number(job.attempt_base) };
        job.worker_names.entry(key).or_insert_with(|| worker.profile.id.clone());
        let record = Launched {
            attempt_id: id.to_string(),
            worker_id: worker.profile.id.clone(),
            host: worker.profile.host.clone(),
            locality: choice.locality.map_or("", Locality::word).to_owned(),
            start_ms: now.wall_ms,
            speculative: choice.speculative,
        };
        let running = Running { last_heard_ms: now.steady_ms, ..Running::default() };
        let attempt = Attempt {
            number: id.number,
            worker: key,
            locality: choice.locality,
            speculative: choice.speculative,
            start_ms: now.wall_ms,
            phases: ReducePhases::default(),
            state: AttemptState::Running(running),
        };
        job.launched(id, attempt);
        let timeout_ms = job.spec.task_timeout_ms;
        let job = job.id;
        self.moved.insert(job);
        self.occupy(key, id);
        if !choice.speculative {
            self.unreserve(job);
        }
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

    /// Gives an attempt a slot of this worker, unless it has it already. An attempt of a job that is
    /// over holds one, too, until it is gone.
    pub(super) fn occupy(&mut self, key: WorkerKey, id: AttemptId) {
        let job = self.jobs.get_mut(&id.task.job);
        let ask = job.as_ref().map(|job| job.wishes.ask(id.task.kind)).unwrap_or_default();
        if self.workers.occupy(key, id, ask)
            && let Some(job) = job
        {
            job.occupied += 1;
            self.shares.hold(job, i64::from(ask.vcores));
        }
    }

    /// When maps of a job wait, none of them runs and no worker has room for one, one of the job's reduces,
    /// which can't finish without those maps anyway, gives up its slot: the youngest.
    fn preempt(&mut self, now: Now, out: &mut Vec<Action>) {
        for id in std::mem::take(&mut self.bereft) {
            let Some(job) = self.jobs.get(&id) else { continue };
            let starved = job.runs()
                && !job.map_queue.is_empty()
                && job.map_tally.running == 0
                && job.reduce_tally.running > 0;
            if !starved {
                continue;
            }
            // Looked at again until it is over: a slot that is free now may go to others.
            self.bereft.insert(id);
            // Where no worker is, none has room, and a kill would give none.
            if self.workers.live_count() == 0 {
                continue;
            }
            let ask = job.wishes.ask(TaskKind::Map);
            // A slot that is being vacated already is the one to wait for.
            if job.occupied != job.attempts_at_work
                || self.field().open_to(job, ask).next().is_some()
            {
                continue;
            }
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
        let Some(ask) = self.workers.release(key, id) else { return };
        self.openings.fresh.insert(key);
        if let Some(job) = self.jobs.get_mut(&id.task.job) {
            job.occupied = job.occupied.saturating_sub(1);
            self.shares.hold(job, -i64::from(ask.vcores));
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
        self.shares.place(job);
        self.moved.insert(id.job);
        self.bereft.insert(id.job);
        self.returned(id);
    }
}

/// What decides where tasks of a job go.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) workers: &'a Workers,
    /// Workers that are kept for a job.
    pub(super) reserved: &'a BTreeMap<WorkerKey, JobId>,
    pub(super) settings: &'a Settings,
}

impl<'a> Field<'a> {
    /// The workers that have room for such an attempt of this job now and are not kept for another one.
    pub(super) fn open_to(
        self,
        job: &Job,
        ask: Ask,
    ) -> impl Iterator<Item = (WorkerKey, &'a Worker)> {
        let id = job.id;
        let open = move |key: WorkerKey| self.reserved.get(&key).is_none_or(|by| *by == id);
        self.workers.with_room(ask).filter(move |(key, _)| open(*key))
    }

    /// Whether a worker is one that this job shuns while others are free.
    fn is_bad(self, job: &Job, key: WorkerKey) -> bool {
        let failures = job.failures_on.get(&key);
        failures.is_some_and(|count| *count >= self.settings.worker_job_failures)
    }

    /// Whether too much of this job has failed on this worker and another one could take the work now.
    fn shunned(self, job: &Job, kind: TaskKind, key: WorkerKey) -> bool {
        let mut others = self.open_to(job, job.wishes.ask(kind));
        self.is_bad(job, key) && others.any(|(other, _)| !self.is_bad(job, other))
    }

    /// Whether this task failed on this worker before and another one could, and would, take it now: one that the job
    /// shuns for this worker's sake would leave it waiting for ever.
    pub(super) fn better_elsewhere(self, job: &Job, task: TaskId, key: WorkerKey) -> bool {
        let ask = job.wishes.ask(task.kind);
        let Some(task) = job.task(task).filter(|task| task.failed_on(key)) else { return false };
        let would = |other| self.is_bad(job, key) || !self.is_bad(job, other);
        self.open_to(job, ask).any(|(other, _)| !task.failed_on(other) && would(other))
    }
}

/// Whether another reduce of this job may start. One that starts while maps wait must not take what they
/// need: it would have to give its slot back, and take it again, and give it back.
pub(super) fn may_reduce(job: &Job, slots: u64) -> bool {
    let starving = job.map_tally.running == 0;
    job.map_queue.is_empty() || (!starving && u64::from(job.reduce_tally.running) < slots / 2)
}

fn choose_map(
    job: &mut Job,
    key: WorkerKey,
    field: Field<'_>,
    now: Now,
) -> Option<(u32, Locality)> {
    if job.map_queue.is_empty() {
        return None;
    }
    let worker = field.workers.get(key)?;
    let settings = field.settings;
    // The queue is taken out so that the tasks can be looked at while it is searched.
    let mut queue = std::mem::take(&mut job.map_queue);
    let id = job.id;
    let fits = |map: u32| {
        let task = TaskId { job: id, kind: TaskKind::Map, index: map };
        !field.better_elsewhere(job, task, key)
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

fn choose_reduce(job: &mut Job, key: WorkerKey, field: Field<'_>, slots: u64) -> Option<u32> {
    if !job.reduces_open || job.reduce_queue.is_empty() {
        return None;
    }
    if !may_reduce(job, slots) {
        return None;
    }
    let place = job.reduce_queue.iter().position(|reduce| {
        let task = TaskId { job: job.id, kind: TaskKind::Reduce, index: *reduce };
        !field.better_elsewhere(job, task, key)
    })?;
    job.reduce_queue.remove(place)
}
