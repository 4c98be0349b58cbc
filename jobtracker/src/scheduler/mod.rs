//! Which task runs where, and what becomes of it: the whole of the jobtracker's judgement. Pure:
//! events and the time go in, actions come out. The loop that performs them is [`crate::tracker`].
//!
//! - [`shares`]: whose turn it is: queues, priorities, fair shares.
//! - [`offer`]: which free slots are worth a look.
//! - [`placement`]: free slots meet waiting tasks that fit there; a map near its input, with a bounded
//!   wait; reduces when they have something to fetch.
//! - [`speculation`]: slow attempts are raced.
//! - [`fit`]: tasks that fit no worker fail their job in time.
//! - [`contact`]: workers come, go silent, come back, die.
//! - [`nodes`]: workers that fail tasks of several jobs, or that an operator wants empty, get no more.
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
mod feeding;
mod fit;
mod nodes;
mod offer;
mod placement;
mod queue;
mod reports;
mod restart;
mod shares;
mod speculation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{AttemptId, JobId, TaskId};
use hfs_protocol::proto::job::{JobStatus, SubmitRequest};

pub use event::{
    Action, Cleaned, CommitError, Durability, Event, Failure, Now, Registration, Report,
};
pub use feeding::News;
pub use queue::{MapQueue, Turn};
pub use shares::{Policy, Queue, QueueSettings, Shares, Standing};

use crate::history::record::{Entry, PriorityChanged, Submitted};
use crate::job::{Job, Phase, Priority, TaskState};
use crate::workers::{WorkerKey, Workers};
use offer::Openings;

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
    /// A job whose tasks found no room for so long has a worker kept for it.
    pub reserve_after_ms: u64,
    /// A job whose waiting tasks fit no worker fails after so long.
    pub unfit_ms: u64,
    /// An attempt is not raced before it has worked for so long.
    pub race_after_ms: u64,
    /// Of 100 slots of the cluster, how many may be taken by attempts that race others.
    pub race_percent: u32,
    /// A worker on which tasks of so many jobs failed, and succeeded elsewhere, gets no tasks for a
    /// while. 0: never.
    pub blacklist_jobs: u32,
    /// For how long it gets none, and how long such a failure is remembered.
    pub blacklist_ms: u64,
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
            reserve_after_ms: 5_000,
            unfit_ms: 60_000,
            race_after_ms: 5_000,
            race_percent: 10,
            blacklist_jobs: 3,
            blacklist_ms: 600_000,
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
    /// A job may have slow attempts, or tasks that fit nowhere.
    Look(JobId),
    /// A job's reduces are owed news of outputs.
    Feed(JobId),
    /// A worker's time on the blacklist may be over.
    Blacklist(WorkerKey),
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
    shares: Shares,
    timers: BTreeSet<(u64, Timer)>,
    /// What is to be offered.
    openings: Openings,
    /// Workers that are kept for a job until its large task fits.
    reserved: BTreeMap<WorkerKey, JobId>,
    /// Jobs whose tasks have moved since reduces were last opened.
    moved: BTreeSet<JobId>,
    /// Jobs whose maps may wait for slots that their own reduces hold.
    bereft: BTreeSet<JobId>,
    /// Jobs to be looked at for slow attempts after the next placement.
    looks: BTreeSet<JobId>,
    /// Jobs whose reduces may not know of all outputs.
    hungry: BTreeSet<JobId>,
    /// Since when no worker is live.
    no_workers_since_ms: Option<u64>,
    /// Offer everything at every turn, to be compared with.
    #[cfg(test)]
    plain: bool,
}

impl Scheduler {
    /// A scheduler without jobs or workers and with one queue.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_queues(settings, &BTreeMap::new())
    }

    /// A scheduler without jobs or workers. The queue `default` is there even if it is not named.
    #[must_use]
    pub fn with_queues(settings: Settings, queues: &BTreeMap<String, QueueSettings>) -> Self {
        Self {
            settings,
            jobs: BTreeMap::new(),
            ended: BTreeMap::new(),
            workers: Workers::default(),
            shares: Shares::new(queues),
            timers: BTreeSet::new(),
            openings: Openings::default(),
            reserved: BTreeMap::new(),
            moved: BTreeSet::new(),
            bereft: BTreeSet::new(),
            looks: BTreeSet::new(),
            hungry: BTreeSet::new(),
            no_workers_since_ms: Some(0),
            #[cfg(test)]
            plain: false,
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

    /// The queues.
    #[must_use]
    pub fn shares(&self) -> &Shares {
        &self.shares
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
            Event::Priority(id, priority) => self.set_priority(id, priority, out),
            Event::EndAttempt { id, fails, reason } => {
                self.end_by_hand(now, id, fails, &reason, out);
            }
            Event::Drain { node, drained } => self.drain(&node, drained),
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
        self.race_slow_attempts(now, out);
        self.feed(now, out);
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
            self.begin(now, id);
            out.push(Action::Changed(id));
            self.commit_if_done(id, out);
        }
    }

    /// A job begins, or goes on after a restart.
    fn begin(&mut self, now: Now, id: JobId) {
        self.enqueue_waiting(id);
        if let Some(job) = self.jobs.get_mut(&id) {
            self.shares.enter(job);
        }
        self.moved.insert(id);
        self.watch_for_workers(now, id);
        self.look_later(now, id);
    }

    /// Another priority counts from the next free slot on. Somebody waits for it to be durable, also
    /// when the job has it already: who asked before may be waiting still.
    fn set_priority(&mut self, id: JobId, priority: Priority, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let record = PriorityChanged { priority: priority.word().to_owned() };
        out.push(Action::Journal(id, Entry::Priority(record).into(), Durability::Synced));
        if job.priority != priority {
            self.shares.set_priority(job, priority);
            out.push(Action::Changed(id));
        }
    }

    /// Puts every waiting task of a job in line.
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
        self.openings.eager.insert(id);
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
                Timer::HeldBack(job) => self.check_held_back(now, job),
                Timer::Slot(worker, attempt) => self.free_slot(worker, attempt, out),
                Timer::NoWorkers(job) => self.check_no_workers(now, job, out),
                Timer::Look(job) => self.look(now, job, out),
                Timer::Feed(job) => {
                    self.hungry.insert(job);
                }
                Timer::Blacklist(worker) => self.check_blacklist(now, worker),
                Timer::Suspect(map, attempt) => self.check_suspect(now, map, attempt, out),
            }
        }
    }

    fn set_timer(&mut self, at_ms: u64, timer: Timer) {
        self.timers.insert((at_ms, timer));
    }

    /// The invariants that tests check after every event.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        let mut held: BTreeMap<JobId, u32> = BTreeMap::new();
        self.workers.validate()?;
        self.shares.validate(self.jobs.values())?;
        for (_, worker) in self.workers.iter() {
            for attempt in worker.occupied.keys() {
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
                let known =
                    self.workers.get(worker).is_some_and(|w| w.occupied.contains_key(&attempt));
                if !known {
                    return Err(format!("{attempt} runs on {worker:?}, which does not hold it"));
                }
            }
        }
        Ok(())
    }
}
