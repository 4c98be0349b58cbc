//! A job: its tasks, their attempts, and what has come of them. Pure: no clock, no file, no socket.
//!
//! The methods here are the only ones that move a task from one state to another. The scheduler
//! calls them while events come in, [`replay`] calls them with what the history says, so a job that
//! was read back is the job that was written down.

#![deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]

mod attempt;
mod check;
pub mod limits;
mod pace;
pub mod replay;
mod status;
mod task;
pub mod wishes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::job::{AttemptFailure, JobState, SubmitRequest};
use hfs_protocol::proto::task::{Counter, InputSplit, JobSpec, OutputFile, Skip};

pub use attempt::{Attempt, AttemptEnd, AttemptState, Locality, ReducePhases, Running};
pub use pace::Pace;
pub use status::{ATTEMPTS_LISTED, Detail};
use task::Tag;
pub use task::{Committing, SegmentAt, Success, Task, TaskState};
pub use wishes::{Ask, DEFAULT_QUEUE, Priority, Wishes};

use crate::scheduler::{MapQueue, Standing};
use crate::workers::WorkerKey;

/// Failed attempts whose messages a job keeps. The first ones tell most; later ones repeat them.
pub const FAILURES_KEPT: usize = 50;

/// Where a job is in its life.
///
/// ```text
///  Preparing ──durable──► Running ──all tasks done, no twin left──► Sealing ──► Committing ──renamed──► Ended(Succeeded)
///      │                     │                                         │            │                      ▲
///      └─────────────────────┴────────────── killed, or failed ────────┴────────────┘                      │
///                            ▼                                                        it was renamed after all
///                         Ending ── attempts gone, staging directory deleted ──────────────────────────────┤
///                                                                                                          ▼
///                                                                                              Ended(Failed | Killed)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Its submission is not durable yet.
    Preparing,
    /// Tasks wait and run.
    Running,
    /// The directory with the files of all tasks gets its mark. Nothing can be seen of it yet.
    Sealing,
    /// The directory of this file id becomes the output directory. No way back from here but an error.
    Committing(u64),
    /// It will not succeed.
    Ending(Ending),
    /// Over.
    Ended(JobState),
}

/// A job that will not succeed and is being cleaned up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What it will be called: failed or killed.
    pub state: JobState,
    /// Whether the staging directory is being deleted already.
    pub cleaning: bool,
    /// The file id of the directory whose rename to the output directory was tried without a clear
    /// answer. 0: none. If it turns out to be the output directory, the job has succeeded.
    pub output_id: u64,
}

/// How many tasks of a kind are where. Kept by [`Job`]'s methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Tasks with an attempt at work.
    pub running: u32,
    /// Tasks whose files are being moved.
    pub committing: u32,
    /// Tasks that are done.
    pub succeeded: u32,
    /// Attempts that failed.
    pub failed_attempts: u32,
    /// Attempts that were killed or lost.
    pub killed_attempts: u32,
}

/// A job.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What every attempt is told.
    pub spec: Arc<JobSpec>,
    /// What it asks of the scheduler.
    pub wishes: Wishes,
    /// How urgent it is now.
    pub priority: Priority,
    /// Where it stands in its queue.
    pub standing: Standing,
    /// The input of each map.
    pub splits: Vec<InputSplit>,
    /// The client's token.
    pub submit_token: String,
    /// Where it is.
    pub phase: Phase,
    /// Its maps, by split.
    pub maps: Vec<Task>,
    /// Its reduces, by partition.
    pub reduces: Vec<Task>,
    /// Maps that wait.
    pub map_queue: MapQueue,
    /// Reduces that wait.
    pub reduce_queue: VecDeque<u32>,
    /// Counts of maps.
    pub map_tally: Tally,
    /// Counts of reduces.
    pub reduce_tally: Tally,
    /// Sums over the tasks that are done.
    pub counters: BTreeMap<(String, String), i64>,
    /// Launched maps by locality: node, rack, any.
    pub locality: [u32; 3],
    /// The first failures.
    pub failures: Vec<AttemptFailure>,
    /// How many attempts failed on which worker.
    pub failures_on: BTreeMap<WorkerKey, u32>,
    /// The ids of workers that ran something, for people: a worker may be forgotten before the job.
    pub worker_names: BTreeMap<WorkerKey, String>,
    /// Maps in the order in which they finished, one entry for each time. A reduce has been told
    /// everything up to its own mark in this log.
    pub output_log: Vec<u32>,
    /// Finished maps whose worker died when no reduce needed them any more. They run again if one does.
    pub orphans: BTreeSet<u32>,
    /// Whether reduces may start: enough maps are done, or all are placed.
    pub reduces_open: bool,
    /// Taken, on the steady clock.
    pub taken_ms: u64,
    /// Since when (steady clock) a slot was refused because the waiting maps' input lies elsewhere.
    pub held_back_since_ms: Option<u64>,
    /// Whether a timer is set that ends that.
    pub held_back_timer: bool,
    /// Slots that its attempts hold, those told to die included.
    pub occupied: u32,
    /// Processors (vcores) that they hold.
    pub held_vcores: u64,
    /// Tasks with an attempt at work. Kept by [`Job`]'s methods.
    pub at_work: BTreeSet<TaskId>,
    /// Attempts at work. Kept by [`Job`]'s methods.
    pub attempts_at_work: u32,
    /// How long maps and reduces took, milliseconds. Kept by [`Job`]'s methods.
    pub pace: [Pace; 2],
    /// When the last map was done, milliseconds since the epoch. 0: not yet, or there is none.
    pub maps_done_ms: u64,
    /// Speculative attempts that were launched, of maps and reduces.
    pub speculated: [u32; 2],
    /// Speculative attempts at work.
    pub speculative_now: u32,
    /// Since when (steady clock) every worker that was offered had too little room left for its tasks.
    pub cramped_since_ms: Option<u64>,
    /// The worker that is kept for it until it has room.
    pub reserved: Option<WorkerKey>,
    /// Since when (steady clock) no worker is large enough for its waiting tasks.
    pub unfit_since_ms: Option<u64>,
    /// When (steady clock) its slow attempts may be looked at again.
    pub race_again_ms: u64,
    /// When (steady clock) its reduces were last told of outputs.
    pub fed_ms: u64,
    /// Attempts are numbered from here: higher after each restart of the tracker, so that an attempt
    /// whose launch did not reach the history can't share its number with a later one.
    pub attempt_base: u32,
    /// Submitted, milliseconds since the epoch.
    pub submit_ms: u64,
    /// First attempt launched, milliseconds since the epoch. 0: not yet.
    pub start_ms: u64,
    /// Ended, milliseconds since the epoch. 0: not yet.
    pub finish_ms: u64,
    /// A sentence for people.
    pub message: String,
    /// Output files of the tasks that are done.
    pub output_files: u64,
}

impl Job {
    /// A job as it is submitted. The request is taken apart; its job id is filled in.
    #[must_use]
    pub fn new(id: JobId, request: SubmitRequest, submit_ms: u64) -> Self {
        let mut spec = request.job.unwrap_or_default();
        spec.job_id = id.to_string();
        let (maps, reduces) = (request.splits.len(), spec.reduces as usize);
        // A submission is checked before it comes here; what an older version took goes on as usual.
        let wishes = Wishes::read(&spec).unwrap_or_default();
        Self {
            id,
            spec: Arc::new(spec),
            priority: wishes.priority,
            wishes,
            standing: Standing::default(),
            splits: request.splits,
            submit_token: request.submit_token,
            phase: Phase::Preparing,
            maps: vec![Task::default(); maps],
            reduces: vec![Task::default(); reduces],
            map_queue: MapQueue::default(),
            reduce_queue: VecDeque::new(),
            map_tally: Tally::default(),
            reduce_tally: Tally::default(),
            counters: BTreeMap::new(),
            locality: [0; 3],
            failures: Vec::new(),
            failures_on: BTreeMap::new(),
            worker_names: BTreeMap::new(),
            output_log: Vec::new(),
            orphans: BTreeSet::new(),
            reduces_open: false,
            taken_ms: 0,
            held_back_since_ms: None,
            held_back_timer: false,
            occupied: 0,
            held_vcores: 0,
            at_work: BTreeSet::new(),
            attempts_at_work: 0,
            pace: [Pace::default(); 2],
            maps_done_ms: 0,
            speculated: [0; 2],
            speculative_now: 0,
            cramped_since_ms: None,
            reserved: None,
            unfit_since_ms: None,
            race_again_ms: 0,
            fed_ms: 0,
            attempt_base: 0,
            submit_ms,
            start_ms: 0,
            finish_ms: 0,
            message: String::new(),
            output_files: 0,
        }
    }

    /// The request again, as the history keeps it.
    #[must_use]
    pub fn request(&self) -> SubmitRequest {
        SubmitRequest {
            job: Some((*self.spec).clone()),
            splits: self.splits.clone(),
            submit_token: self.submit_token.clone(),
        }
    }

    /// Whether it may still launch attempts.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether it has a task that could be launched now if there were a slot.
    #[must_use]
    pub fn has_ready_task(&self) -> bool {
        let reduces = self.reduces_open && !self.reduce_queue.is_empty();
        self.runs() && (reduces || !self.map_queue.is_empty())
    }

    /// Whether a task of this kind could be.
    #[must_use]
    pub fn has_ready(&self, kind: TaskKind) -> bool {
        self.runs()
            && match kind {
                TaskKind::Map => !self.map_queue.is_empty(),
                TaskKind::Reduce => self.reduces_open && !self.reduce_queue.is_empty(),
            }
    }

    /// How long an attempt of this kind has worked: a reduce that began before the last map was done
    /// could do little until then.
    #[must_use]
    pub fn worked_ms(&self, kind: TaskKind, start_ms: u64, now_ms: u64) -> u64 {
        let since = match kind {
            TaskKind::Map => start_ms,
            TaskKind::Reduce => start_ms.max(self.maps_done_ms),
        };
        now_ms.saturating_sub(since)
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether maps write the output themselves.
    #[must_use]
    pub fn map_only(&self) -> bool {
        self.reduces.is_empty()
    }

    /// Maps that are not done.
    #[must_use]
    pub fn maps_left(&self) -> u32 {
        self.maps.len() as u32 - self.map_tally.succeeded
    }

    /// Whether every task is done.
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.map_tally.succeeded as usize == self.maps.len()
            && self.reduce_tally.succeeded as usize == self.reduces.len()
    }

    /// The output files of maps with reduces, by the attempts whose results count.
    #[must_use]
    pub fn map_files(&self) -> Vec<(AttemptId, Vec<OutputFile>)> {
        let of = |(index, task): (usize, &Task)| match &task.state {
            TaskState::Succeeded(success) if !success.files.is_empty() => {
                let task = TaskId { job: self.id, kind: TaskKind::Map, index: index as u32 };
                Some((AttemptId { task, number: success.attempt }, success.files.clone()))
            }
            _ => None,
        };
        self.maps.iter().enumerate().filter_map(of).collect()
    }

    /// What the next attempt of a task leaves out; `None` while it is not in skip mode.
    #[must_use]
    pub fn skip(&self, id: TaskId) -> Option<Skip> {
        let task = self.task(id).filter(|_| self.in_skip_mode(id))?;
        Some(Skip { records: task.bad_records.clone() })
    }

    /// Whether attempts of a task have failed so often that the next one leaves out what killed them.
    #[must_use]
    pub fn in_skip_mode(&self, id: TaskId) -> bool {
        let failures = self.task(id).map_or(0, |task| task.failures);
        self.wishes.skip_after(id.kind).is_some_and(|after| failures >= after)
    }

    /// How often a task may fail.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.spec.max_attempts.max(1)
    }

    /// The task of this id, when the job has it.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        let list = match id.kind {
            TaskKind::Map => &self.maps,
            TaskKind::Reduce => &self.reduces,
        };
        list.get(id.index as usize)
    }

    /// The task of this id, when the job has it. For what does not change its state.
    pub fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        let list = match id.kind {
            TaskKind::Map => &mut self.maps,
            TaskKind::Reduce => &mut self.reduces,
        };
        list.get_mut(id.index as usize)
    }

    fn tally(&mut self, kind: TaskKind) -> &mut Tally {
        match kind {
            TaskKind::Map => &mut self.map_tally,
            TaskKind::Reduce => &mut self.reduce_tally,
        }
    }

    /// The running attempt of this id.
    #[must_use]
    pub fn running(&self, id: AttemptId) -> Option<(&Attempt, &Running)> {
        let attempt = self.task(id.task)?.attempt(id.number)?;
        attempt.running().map(|running| (attempt, running))
    }

    /// The one place where a task changes its state and the tallies follow.
    fn set_state(&mut self, id: TaskId, state: TaskState) {
        let Some(task) = self.task_mut(id) else { return };
        let old = std::mem::replace(&mut task.state, state);
        let new = task.state.tag();
        if new == Tag::Running {
            self.at_work.insert(id);
        } else {
            self.at_work.remove(&id);
        }
        let tally = self.tally(id.kind);
        match old.tag() {
            Tag::Waiting => {}
            Tag::Running => tally.running -= 1,
            Tag::Committing => tally.committing -= 1,
            Tag::Succeeded => tally.succeeded -= 1,
        }
        match new {
            Tag::Waiting => {}
            Tag::Running => tally.running += 1,
            Tag::Committing => tally.committing += 1,
            Tag::Succeeded => tally.succeeded += 1,
        }
        if let TaskState::Succeeded(success) = old {
            self.count(&success.counters, -1);
        }
    }

    fn count(&mut self, counters: &[Counter], sign: i64) {
        for counter in counters {
            let key = (counter.group.clone(), counter.name.clone());
            let sum = self.counters.entry(key).or_insert(0);
            *sum = sum.saturating_add(counter.value.saturating_mul(sign));
        }
    }

    /// An attempt was given to a worker.
    pub fn launched(&mut self, id: AttemptId, attempt: Attempt) {
        if let Some(locality) = attempt.locality {
            self.locality[locality as usize] += 1;
        }
        if self.start_ms == 0 {
            self.start_ms = attempt.start_ms;
        }
        if attempt.speculative {
            self.speculated[id.task.kind as usize] += 1;
            self.speculative_now += 1;
        }
        let Some(task) = self.task_mut(id.task) else { return };
        task.attempts.push(attempt);
        let waited = matches!(task.state, TaskState::Waiting);
        self.attempts_at_work += 1;
        if waited {
            self.set_state(id.task, TaskState::Running);
        }
    }

    /// A map that has reduces is done. False when that comes too late or from nowhere.
    pub fn map_done(
        &mut self,
        id: AttemptId,
        segment: SegmentAt,
        files: Vec<OutputFile>,
        counters: Vec<Counter>,
        finish_ms: u64,
    ) -> bool {
        if !self.finish_attempt(id, finish_ms) {
            return false;
        }
        self.count(&counters, 1);
        let segment = Some(segment);
        let success = Success { attempt: id.number, segment, files, counters, fetch_reports: 0 };
        self.set_state(id.task, TaskState::Succeeded(success));
        self.output_log.push(id.task.index);
        if self.maps_left() == 0 {
            self.maps_done_ms = finish_ms;
        }
        true
    }

    /// An attempt with output files is done: its files, and nobody else's, will be moved.
    /// False when that comes too late or from nowhere.
    pub fn committing(
        &mut self,
        id: AttemptId,
        files: Vec<OutputFile>,
        counters: Vec<Counter>,
        finish_ms: u64,
    ) -> bool {
        if !self.finish_attempt(id, finish_ms) {
            return false;
        }
        let committing = Committing { attempt: id.number, files, counters };
        self.set_state(id.task, TaskState::Committing(committing));
        true
    }

    /// The first success of a running task, and only that, is let through.
    fn finish_attempt(&mut self, id: AttemptId, finish_ms: u64) -> bool {
        let Some(task) = self.task_mut(id.task) else { return false };
        if !matches!(task.state, TaskState::Running) {
            return false;
        }
        let start_ms = task.attempt(id.number).map_or(finish_ms, |attempt| attempt.start_ms);
        if !self.end(id, AttemptEnd::Succeeded, finish_ms) {
            return false;
        }
        let worked = self.worked_ms(id.task.kind, start_ms, finish_ms);
        self.pace[id.task.kind as usize].add(worked as f64);
        true
    }

    /// Ends a running attempt. False when there is no such attempt at work.
    fn end(&mut self, id: AttemptId, end: AttemptEnd, finish_ms: u64) -> bool {
        let Some(task) = self.task_mut(id.task) else { return false };
        if !task.end(id.number, end, finish_ms) {
            return false;
        }
        let raced = task.attempt(id.number).is_some_and(|attempt| attempt.speculative);
        self.speculative_now -= u32::from(raced);
        self.attempts_at_work -= 1;
        true
    }

    /// The files of a task are in place. False when nobody was moving any.
    pub fn committed(&mut self, id: AttemptId) -> bool {
        let Some(task) = self.task(id.task) else { return false };
        let TaskState::Committing(committing) = &task.state else { return false };
        if committing.attempt != id.number {
            return false;
        }
        let counters = committing.counters.clone();
        self.output_files += committing.files.len() as u64;
        self.count(&counters, 1);
        let (attempt, files) = (id.number, Vec::new());
        let success = Success { attempt, segment: None, files, counters, fetch_reports: 0 };
        self.set_state(id.task, TaskState::Succeeded(success));
        true
    }

    /// An attempt ended without success, or its files could not be moved. True when its task has
    /// nothing left at work and must be queued again.
    pub fn attempt_ended(
        &mut self,
        id: AttemptId,
        end: AttemptEnd,
        failure: AttemptFailure,
        finish_ms: u64,
    ) -> bool {
        let Some(task) = self.task_mut(id.task) else { return false };
        let was_committing =
            matches!(&task.state, TaskState::Committing(c) if c.attempt == id.number);
        if was_committing {
            if let Some(attempt) = task.attempt_mut(id.number) {
                attempt.state = AttemptState::Ended { end, finish_ms };
            }
        } else if !self.end(id, end, finish_ms) {
            return false;
        }
        let Some(task) = self.task_mut(id.task) else { return false };
        let worker = task.attempt(id.number).map(|attempt| attempt.worker);
        let idle = task.running().next().is_none();
        let over = was_committing || (matches!(task.state, TaskState::Running) && idle);
        if end == AttemptEnd::Failed {
            task.failures += 1;
            task.bad_records.extend(failure.record);
        }
        match end {
            AttemptEnd::Failed => {
                self.tally(id.task.kind).failed_attempts += 1;
                if let Some(worker) = worker {
                    *self.failures_on.entry(worker).or_insert(0) += 1;
                }
                if self.failures.len() < FAILURES_KEPT {
                    self.failures.push(failure);
                }
            }
            AttemptEnd::Killed | AttemptEnd::Lost => {
                self.tally(id.task.kind).killed_attempts += 1;
            }
            AttemptEnd::Succeeded => {}
        }
        if over {
            let next = if idle { TaskState::Waiting } else { TaskState::Running };
            self.set_state(id.task, next);
        }
        over && idle
    }

    /// A finished map's output is gone: the map waits again. With `counts`, as a failure.
    pub fn output_lost(&mut self, id: TaskId, counts: bool, message: &str) -> Option<AttemptId> {
        let task = self.task_mut(id)?;
        let TaskState::Succeeded(success) = &task.state else { return None };
        let attempt = AttemptId { task: id, number: success.attempt };
        let worker = success.segment.as_ref()?.worker;
        if counts {
            task.failures += 1;
            if self.failures.len() < FAILURES_KEPT {
                let failure = self.failure(attempt, Some(worker), message, "");
                self.failures.push(failure);
            }
        }
        self.orphans.remove(&id.index);
        self.set_state(id, TaskState::Waiting);
        Some(attempt)
    }

    /// A failure as it is shown to people.
    #[must_use]
    pub fn failure(
        &self,
        attempt: AttemptId,
        worker: Option<WorkerKey>,
        message: &str,
        log_tail: &str,
    ) -> AttemptFailure {
        let name = worker.and_then(|worker| self.worker_names.get(&worker)).cloned();
        AttemptFailure {
            attempt_id: attempt.to_string(),
            worker: name.unwrap_or_default(),
            message: message.to_owned(),
            log_tail: log_tail.to_owned(),
            record: None,
        }
    }

    /// The attempts at work, with their ids.
    #[must_use]
    pub fn running_attempts(&self) -> Vec<(AttemptId, WorkerKey)> {
        let mut found = Vec::with_capacity(self.at_work.len());
        for id in &self.at_work {
            for (attempt, _) in self.task(*id).into_iter().flat_map(Task::running) {
                found.push((AttemptId { task: *id, number: attempt.number }, attempt.worker));
            }
        }
        found
    }
}
