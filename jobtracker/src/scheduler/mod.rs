//! Which task runs where, and what becomes of it: the whole of the jobtracker's judgement. Pure:
//! events and the time go in, actions come out. The loop that performs them is [`crate::tracker`].
//!
//! - [`placement`]: free slots meet waiting tasks. Jobs in the order of their submission; a map near
//!   its input, with a bounded wait; reduces when they have something to fetch.
//! - [`contact`]: workers come, go silent, come back, die.
//! - [`reports`]: attempts end; outputs get lost; files get committed.
//! - [`ending`]: jobs succeed, fail, are killed.
//! - [`restart`]: jobs that an earlier tracker left running go on.
//!
//! Three rules keep a job from hanging. 1. Every wait has a timer. 2. Reduces never hold so many
//! slots that waiting maps get none: while maps wait they take at most half of the slots, and a
//! map that has to run again when all slots are taken gets one from a reduce of its own job.
//! 3. Whatever a worker had is given up when the worker is.

#![deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]

mod contact;
mod ending;
mod event;
mod placement;
mod queue;
mod reports;
mod restart;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::job::{JobStatus, SubmitRequest};
use hfs_protocol::proto::task::MapOutput;

pub use event::{
    Action, Cleaned, CommitError, Durability, Event, Failure, Now, Registration, Report,
};
pub use queue::{MapQueue, Turn};

use crate::history::record::{Entry, Submitted};
use crate::job::{Job, Phase, Task, TaskState};
use crate::workers::{HostId, WorkerKey, Workers};

/// What can be chosen. All times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a job holds out for a node with the input of one of its waiting maps.
    pub node_wait_ms: u64,
    /// How long after that it holds out for such a rack.
    pub rack_wait_ms: u64,
    /// A worker that says nothing for so long is dead.
    pub worker_silent_ms: u64,
    /// A worker whose stream broke and who does not come back for so long is dead.
    pub reconnect_grace_ms: u64,
    /// After a restart of the tracker: how long workers have to come back.
    pub restart_grace_ms: u64,
    /// A job waits so long for a first live worker.
    pub no_workers_ms: u64,
    /// A slot whose attempt was told to die counts as free after so long.
    pub kill_wait_ms: u64,
    /// So many reports that a map's output can't be fetched make the map run again.
    pub fetch_reports: u32,
    /// A reported output that was not cleared up for so long makes the map run again.
    pub fetch_wait_ms: u64,
    /// Reduces may start when so many percent of the maps are done.
    pub slow_start_percent: u32,
    /// A worker on which so many attempts of a job failed gets no more of it while others are free.
    pub worker_job_failures: u32,
    /// A dead worker is shown for so long.
    pub forget_dead_ms: u64,
    /// Ended jobs that are kept for asking.
    pub ended_kept: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_wait_ms: 100,
            rack_wait_ms: 100,
            worker_silent_ms: 10_000,
            reconnect_grace_ms: 2_000,
            restart_grace_ms: 10_000,
            no_workers_ms: 60_000,
            kill_wait_ms: 10_000,
            fetch_reports: 3,
            fetch_wait_ms: 5_000,
            slow_start_percent: 5,
            worker_job_failures: 4,
            forget_dead_ms: 600_000,
            ended_kept: 200,
        }
    }
}

/// A moment at which something must be looked at again. A timer that rings too early, because what
/// it watches has moved on, is set anew or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A live worker may have gone silent.
    Silent(WorkerKey),
    /// A worker that is away may have run out of patience.
    Away(WorkerKey),
    /// An attempt may have reported nothing for too long.
    Attempt(AttemptId),
    /// A job may take slots farther from its input.
    HeldBack(JobId),
    /// A killed attempt may not have been confirmed dead.
    Slot(WorkerKey, AttemptId),
    /// A job may have waited too long for any worker.
    NoWorkers(JobId),
    /// A reported output may not have been cleared up.
    Suspect(TaskId, u32),
}

/// A job that is over: what can be asked about it.
#[derive(Debug, Clone)]
pub struct EndedJob {
    /// Its last status, with the attempts.
    pub status: JobStatus,
    /// A repeated submission with this token is answered with this job.
    pub submit_token: String,
}

/// The state machine.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    jobs: BTreeMap<JobId, Job>,
    ended: BTreeMap<JobId, EndedJob>,
    workers: Workers,
    timers: BTreeSet<(u64, Timer)>,
    /// Workers whose free slots have not been offered since they became free.
    fresh: BTreeSet<WorkerKey>,
    /// Something changed that may make any free slot useful.
    offer_all: bool,
    /// Jobs whose reduces may not know of all outputs.
    hungry: BTreeSet<JobId>,
    /// Since when no worker is live.
    no_workers_since_ms: Option<u64>,
}

impl Scheduler {
    /// A scheduler without jobs or workers.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            jobs: BTreeMap::new(),
            ended: BTreeMap::new(),
            workers: Workers::default(),
            timers: BTreeSet::new(),
            fresh: BTreeSet::new(),
            offer_all: false,
            hungry: BTreeSet::new(),
            no_workers_since_ms: Some(0),
        }
    }

    /// The jobs that are not over, oldest first.
    #[must_use]
    pub fn jobs(&self) -> &BTreeMap<JobId, Job> {
        &self.jobs
    }

    /// The jobs that are over, oldest first.
    #[must_use]
    pub fn ended(&self) -> &BTreeMap<JobId, EndedJob> {
        &self.ended
    }

    /// The workers.
    #[must_use]
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// The job that was submitted with this token.
    #[must_use]
    pub fn by_token(&self, token: &str) -> Option<JobId> {
        if token.is_empty() {
            return None;
        }
        let running = self.jobs.values().find(|job| job.submit_token == token).map(|job| job.id);
        running.or_else(|| {
            self.ended.iter().find(|(_, job)| job.submit_token == token).map(|(id, _)| *id)
        })
    }

    /// When [`Event::Tick`] is due, on the steady clock.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes in one event. Call [`Self::settle`] after one or several.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Submitted(id, request) => self.submitted(now, id, *request, out),
            Event::Journalled(id) => self.journalled(now, id, out),
            Event::HistoryFailed(id, why) => self.history_failed(now, id, &why, out),
            Event::Kill(id, reason) => self.kill_job(now, id, &reason, out),
            Event::Registered(registration) => self.registered(now, *registration, out),
            Event::Disconnected(worker) => self.disconnected(now, worker),
            Event::Heartbeat(worker) => self.heard(now, worker),
            Event::Progress(worker, progress) => self.progress(now, worker, progress, out),
            Event::Report(worker, report) => self.report(now, worker, report, out),
            Event::FetchFailed(worker, report) => self.fetch_failed(now, worker, &report, out),
            Event::TaskCommitted(id, result) => self.task_committed(now, id, result, out),
            Event::JobSealed(id, result) => self.job_sealed(now, id, result, out),
            Event::JobCommitted(id, result) => self.job_committed(now, id, result, out),
            Event::JobCleaned(id, result) => self.job_cleaned(now, id, result, out),
            Event::Tick => self.tick(now, out),
        }
    }

    /// Gives free slots to waiting tasks and tells reduces what they can fetch.
    pub fn settle(&mut self, now: Now, out: &mut Vec<Action>) {
        self.place(now, out);
        self.feed(out);
    }

    fn submitted(&mut self, now: Now, id: JobId, request: SubmitRequest, out: &mut Vec<Action>) {
        let mut job = Job::new(id, request, now.wall_ms);
        job.taken_ms = now.steady_ms;
        let record = Submitted {
            job_id: id.to_string(),
            request: Some(job.request()),
            submit_ms: now.wall_ms,
        };
        self.jobs.insert(id, job);
        out.push(Action::Journal(id, Entry::Submitted(record).into(), Durability::Synced));
    }

    fn journalled(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        if let Some(job) = self.jobs.get_mut(&id)
            && job.phase == Phase::Preparing
        {
            job.phase = Phase::Running;
            self.enqueue_waiting(id);
            self.watch_for_workers(now, id);
            out.push(Action::Changed(id));
            self.commit_if_done(id, out);
        }
    }

    /// Puts every waiting task of a job in line, when it begins or goes on after a restart.
    fn enqueue_waiting(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let hosts = job
            .splits
            .iter()
            .map(|split| {
                let mut hosts: Vec<_> =
                    split.hosts.iter().map(|name| self.workers.host(name)).collect();
                hosts.sort_unstable();
                hosts.dedup();
                hosts
            })
            .collect();
        job.map_queue = MapQueue::new(hosts);
        for (index, task) in job.maps.iter().enumerate() {
            if matches!(task.state, TaskState::Waiting) {
                job.map_queue.push(index as u32, Turn::Last, &self.workers);
            }
        }
        job.reduce_queue = (0..job.reduces.len() as u32)
            .filter(|index| matches!(job.reduces[*index as usize].state, TaskState::Waiting))
            .collect();
        self.offer_all = true;
        self.hungry.insert(id);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= now.steady_ms
        {
            self.timers.pop_first();
            match timer {
                Timer::Silent(worker) => self.check_silent(now, worker, out),
                Timer::Away(worker) => self.check_away(now, worker, out),
                Timer::Attempt(attempt) => self.check_attempt(now, attempt, out),
                Timer::HeldBack(_) => self.offer_all = true,
                Timer::Slot(worker, attempt) => self.free_slot(worker, attempt, out),
                Timer::NoWorkers(job) => self.check_no_workers(now, job, out),
                Timer::Suspect(map, attempt) => self.check_suspect(now, map, attempt, out),
            }
        }
    }

    fn set_timer(&mut self, at_ms: u64, timer: Timer) {
        self.timers.insert((at_ms, timer));
    }

    /// Tells running reduces of outputs that they have not been told of.
    fn feed(&mut self, out: &mut Vec<Action>) {
        for id in std::mem::take(&mut self.hungry) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if !job.runs() || job.reduce_tally.running == 0 {
                continue;
            }
            let end = job.output_log.len();
            let mut due: Vec<(AttemptId, WorkerKey, usize)> = Vec::new();
            for (index, task) in job.reduces.iter_mut().enumerate() {
                for attempt in &mut task.attempts {
                    let (number, worker) = (attempt.number, attempt.worker);
                    if let Some(running) = attempt.running_mut()
                        && running.outputs_sent < end
                    {
                        let task = TaskId { job: id, kind: TaskKind::Reduce, index: index as u32 };
                        due.push((AttemptId { task, number }, worker, running.outputs_sent));
                        running.outputs_sent = end;
                    }
                }
            }
            // Reduces on one host that know equally much are told the same.
            let mut lists: BTreeMap<(usize, Option<HostId>), Arc<Vec<MapOutput>>> = BTreeMap::new();
            for (attempt, worker, from) in due {
                let host = self.workers.get(worker).map(|worker| worker.host);
                let outputs = lists
                    .entry((from, host))
                    .or_insert_with(|| Arc::new(outputs(job, &self.workers, host, from)));
                if !outputs.is_empty() {
                    out.push(Action::FeedReduce(worker, attempt, Arc::clone(outputs)));
                }
            }
        }
    }

    /// The invariants that tests check after every event.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        let mut held: BTreeMap<JobId, u32> = BTreeMap::new();
        for (key, worker) in self.workers.iter() {
            if worker.dead() && !worker.occupied.is_empty() {
                return Err(format!("dead worker {key:?} holds slots"));
            }
            for attempt in &worker.occupied {
                *held.entry(attempt.task.job).or_insert(0) += 1;
            }
        }
        for (id, job) in &self.jobs {
            job.validate().map_err(|e| format!("{id}: {e}"))?;
            let counted = held.get(id).copied().unwrap_or(0);
            if counted != job.occupied {
                return Err(format!("{id}: holds {counted} slots, believes {}", job.occupied));
            }
            for (attempt, worker) in job.running_attempts() {
                let known = self.workers.get(worker).is_some_and(|w| w.occupied.contains(&attempt));
                if !known {
                    return Err(format!("{attempt} runs on {worker:?}, which does not hold it"));
                }
            }
        }
        Ok(())
    }
}

/// The outputs logged from `from` on that can be fetched, as a reduce on this host is told them.
fn outputs(
    job: &Job,
    workers: &Workers,
    reader_host: Option<HostId>,
    from: usize,
) -> Vec<MapOutput> {
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for index in &job.output_log[from..] {
        let Some(Task { state: TaskState::Succeeded(success), .. }) = job.maps.get(*index as usize)
        else {
            continue;
        };
        let Some(segment) = &success.segment else { continue };
        let Some(worker) = workers.get(segment.worker).filter(|worker| !worker.dead()) else {
            continue;
        };
        if !told.insert(*index) {
            continue;
        }
        let task = TaskId { job: job.id, kind: TaskKind::Map, index: *index };
        let local = reader_host == Some(worker.host);
        found.push(MapOutput {
            map_index: *index,
            attempt_id: AttemptId { task, number: success.attempt }.to_string(),
            shuffle_address: worker.profile.shuffle_address.clone(),
            local_path: if local { segment.path.clone() } else { String::new() },
            worker_id: worker.profile.id.clone(),
        });
    }
    found
}
