//! The loop that owns the scheduler and performs its actions.
//!
//! One task owns everything and handles one message at a time; whoever wants something sends a
//! message through a [`Handle`]. Nothing in the loop waits for a disk, a file system or a peer: such
//! work is started elsewhere and comes back as a message. What is queued is handled before slots
//! are offered, so a burst of reports costs one round of placement.

#[cfg(feature = "object-store")]
mod buckets;
mod calls;
pub mod commit;
mod counts;
mod drained;
mod handle;
mod hdfs;
mod links;
mod local;
#[cfg(test)]
pub mod memory;
mod perform;
pub mod place;
pub mod store;
pub mod systems;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hfs_daemon::clock::Clock;
use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::ids::JobId;
use hfs_protocol::proto::job::SubmitRequest;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use handle::{
    ClusterView, Handle, LogRoute, Message, Refusal, SessionId, Stopped, Version, WorkerEvent,
};

use crate::history::Writer;
use crate::job::Detail;
use crate::scheduler::{Action, Event, Now, Scheduler};
pub use counts::Counts;
pub use drained::DrainedFile;
use links::Links;
use store::Store;

/// Messages that may wait for the loop. Whoever sends into a full queue waits.
const QUEUE: usize = 8192;
/// Messages handled before slots are offered.
const BATCH: usize = 1024;
/// Commits of task files at work at once, over all jobs.
const COMMITS_AT_ONCE: usize = 64;
/// Jobs that may be unfinished at once.
pub const JOBS_MAX: usize = 10_000;

/// What the loop needs of the world.
pub struct Edges {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where jobs' output is committed.
    pub store: Arc<dyn Store>,
    /// Where histories go.
    pub history: Writer,
    /// How long one commit may take.
    pub commit_timeout: Duration,
    /// What is counted.
    pub counts: Counts,
    /// Where it is kept which hosts and workers get no tasks.
    pub drained: DrainedFile,
}

/// The owner of the scheduler.
pub struct Tracker {
    scheduler: Scheduler,
    edges: Edges,
    links: Links,
    messages: mpsc::Receiver<Message>,
    /// To send messages to itself from work it started.
    own: mpsc::WeakSender<Message>,
    tracker: u64,
    last_job: u32,
    submitters: HashMap<JobId, Vec<oneshot::Sender<Result<JobId, Refusal>>>>,
    /// Who waits for a priority to be durable, in the order of the records.
    reprioritisers: HashMap<JobId, VecDeque<oneshot::Sender<Result<bool, String>>>>,
    watchers: HashMap<JobId, watch::Sender<Version>>,
    commits: Arc<Semaphore>,
    /// Changes of which hosts and workers get no tasks.
    drains: u64,
}

impl Tracker {
    /// A loop around a scheduler, and the handle to it. `tracker` and `last_job` number new jobs.
    #[must_use]
    pub fn new(scheduler: Scheduler, edges: Edges, tracker: u64, last_job: u32) -> (Self, Handle) {
        let (sender, messages) = mpsc::channel(QUEUE);
        let own = sender.downgrade();
        let tracker = Self {
            scheduler,
            edges,
            links: Links::default(),
            messages,
            own,
            tracker,
            last_job,
            submitters: HashMap::new(),
            reprioritisers: HashMap::new(),
            watchers: HashMap::new(),
            commits: Arc::new(Semaphore::new(COMMITS_AT_ONCE)),
            drains: 0,
        };
        (tracker, Handle::new(sender))
    }

    /// Runs until `shutdown` or until every handle is gone. `first` is performed before anything
    /// else: what the scheduler wants after a restart.
    pub async fn run(mut self, first: Vec<Action>, shutdown: Shutdown) {
        let mut actions = first;
        loop {
            let now = self.now();
            self.scheduler.settle(now, &mut actions);
            self.perform(std::mem::take(&mut actions));
            self.edges.counts.settled(&self.scheduler);
            let deadline = self.scheduler.next_deadline_ms();
            let wait = deadline.map(|at| Duration::from_millis(at.saturating_sub(now.steady_ms)));
            let message = tokio::select! {
                message = self.messages.recv() => message,
                () = sleep_or_never(wait) => {
                    let now = self.now();
                    self.scheduler.handle(now, Event::Tick, &mut actions);
                    continue;
                }
                () = shutdown.triggered() => None,
            };
            let Some(message) = message else { return };
            self.take(message, &mut actions);
            for _ in 1..BATCH {
                let Ok(message) = self.messages.try_recv() else { break };
                self.take(message, &mut actions);
            }
        }
    }

    fn now(&self) -> Now {
        let steady = self.edges.clock.monotonic().as_millis();
        Now {
            steady_ms: u64::try_from(steady).unwrap_or(u64::MAX),
            wall_ms: self.edges.clock.now_ms(),
        }
    }

    fn take(&mut self, message: Message, actions: &mut Vec<Action>) {
        let now = self.now();
        match message {
            Message::Submit { request, reply } => self.submit(*request, reply, actions),
            Message::Durable(job, result) => self.durable(job, result, actions),
            Message::Kill { job, reason, reply } => {
                self.scheduler.handle(now, Event::Kill(job, reason), actions);
                let known = self.scheduler.jobs().contains_key(&job)
                    || self.scheduler.ended().contains_key(&job);
                let _ = reply.send(known);
            }
            Message::SetPriority { job, priority, reply } => {
                if self.scheduler.jobs().contains_key(&job) {
                    self.reprioritisers.entry(job).or_default().push_back(reply);
                    self.scheduler.handle(now, Event::Priority(job, priority), actions);
                } else {
                    let _ = reply.send(Ok(false));
                }
            }
            Message::EndAttempt { id, fails, reason, reply } => {
                let job = self.scheduler.jobs().get(&id.task.job);
                let runs = job.is_some_and(|job| job.running(id).is_some());
                if runs {
                    let event = Event::EndAttempt { id, fails, reason };
                    self.scheduler.handle(now, event, actions);
                }
                let _ = reply.send(runs);
            }
            Message::Drain { node, drained, reply } => {
                self.scheduler.handle(now, Event::Drain { node, drained }, actions);
                self.drains += 1;
                let (file, number) = (self.edges.drained.clone(), self.drains);
                let nodes = self.scheduler.workers().drained().clone();
                tokio::task::spawn_blocking(move || reply.send(file.write(number, &nodes)));
            }
            Message::Register { registration, outgoing, reply } => {
                let id = registration.profile.id.clone();
                let mut wanted = Vec::new();
                self.scheduler.handle(now, Event::Registered(registration), &mut wanted);
                if let Some(worker) = self.scheduler.workers().by_id(&id) {
                    let _ = reply.send(self.links.open(worker, outgoing));
                }
                actions.append(&mut wanted);
            }
            Message::FromWorker(session, event) => {
                if let Some(worker) = self.links.worker(session) {
                    self.scheduler.handle(now, event.on(worker), actions);
                }
            }
            Message::Gone(session) => {
                if let Some(worker) = self.links.close(session) {
                    self.scheduler.handle(now, Event::Disconnected(worker), actions);
                }
            }
            Message::LogData(data) => self.links.log_data(data),
            Message::ReadLog(route) => self.read_log(route),
            Message::Performed(event) => self.scheduler.handle(now, event, actions),
            Message::Status { job, detail, reply } => {
                let _ = reply.send(self.status(job, detail).map(Box::new));
            }
            Message::List { running_only, reply } => {
                let _ = reply.send(self.list(running_only));
            }
            Message::Watch { job, reply } => {
                let _ = reply.send(self.watch(job));
            }
            Message::Cluster { reply } => {
                let _ = reply.send(self.cluster(now));
            }
        }
    }

    fn submit(
        &mut self,
        request: SubmitRequest,
        reply: oneshot::Sender<Result<JobId, Refusal>>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(job) = self.scheduler.by_token(&request.submit_token) {
            match self.submitters.get_mut(&job) {
                Some(waiting) => waiting.push(reply),
                None => {
                    let _ = reply.send(Ok(job));
                }
            }
            return;
        }
        if self.scheduler.jobs().len() >= JOBS_MAX {
            let _ = reply.send(Err(Refusal::Busy(format!(
                "{JOBS_MAX} jobs are unfinished already; submit again when some have ended"
            ))));
            return;
        }
        self.last_job += 1;
        self.edges.counts.submitted();
        let job = JobId { tracker: self.tracker, number: self.last_job };
        self.submitters.insert(job, vec![reply]);
        self.scheduler.handle(self.now(), Event::Submitted(job, Box::new(request)), actions);
    }

    fn durable(&mut self, job: JobId, result: Result<(), String>, actions: &mut Vec<Action>) {
        let waiting = self.submitters.remove(&job).unwrap_or_default();
        let answer = match result {
            Ok(()) => {
                self.scheduler.handle(self.now(), Event::Journalled(job), actions);
                Ok(job)
            }
            Err(why) => {
                let event = Event::HistoryFailed(job, why.clone());
                self.scheduler.handle(self.now(), event, actions);
                Err(Refusal::Failed(format!("the job can't be written to the history: {why}")))
            }
        };
        for reply in waiting {
            let _ = reply.send(answer.clone());
        }
    }

    fn status(&self, job: JobId, detail: Detail) -> Option<hfs_protocol::proto::job::JobStatus> {
        if let Some(job) = self.scheduler.jobs().get(&job) {
            return Some(job.status(detail));
        }
        let ended = self.scheduler.ended().get(&job)?;
        let mut status = ended.status.clone();
        if detail == Detail::Brief {
            status.attempts.clear();
        }
        Some(status)
    }

    fn list(&self, running_only: bool) -> Vec<hfs_protocol::proto::job::JobStatus> {
        let mut found = BTreeMap::new();
        if !running_only {
            for (id, ended) in self.scheduler.ended() {
                let mut status = ended.status.clone();
                status.attempts.clear();
                found.insert(*id, status);
            }
        }
        let running = self.scheduler.jobs().iter();
        found.extend(running.map(|(id, job)| (*id, job.status(Detail::Brief))));
        found.into_values().collect()
    }

    /// A watch of a job that is over is closed from the start.
    fn watch(&mut self, job: JobId) -> Option<watch::Receiver<Version>> {
        if self.scheduler.jobs().contains_key(&job) {
            let sender =
                self.watchers.entry(job).or_insert_with(|| watch::channel(Version::default()).0);
            return Some(sender.subscribe());
        }
        self.scheduler.ended().contains_key(&job).then(|| watch::channel(Version::default()).1)
    }
}

async fn sleep_or_never(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
