//! Whose turn it is: queues with weights and bounds, and the jobs in them.
//!
//! Among queues those below their minimum share come first, then the one that holds least for its
//! weight (Hadoop's Fair Scheduler). In a queue it is either the job of the highest priority that
//! came first (FIFO), or the one that holds least for its priority (fair). What counts as held are
//! processors (vcores) of attempts.
//!
//! Each queue keeps its jobs with work to give in an ordered set, so that finding the next one does
//! not cost more when there are more jobs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use hfs_protocol::ids::JobId;
use serde::{Deserialize, Serialize};

use crate::job::{DEFAULT_QUEUE, Job, Priority};

/// The unit in which holdings are divided by weights.
const SCALE: u64 = 1 << 20;

/// How the jobs of a queue take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// They share slots, each by its priority.
    #[default]
    Fair,
    /// The highest priority first, then the one that came first.
    Fifo,
}

impl Policy {
    /// The word for people and configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fair => "fair",
            Self::Fifo => "fifo",
        }
    }
}

/// What can be chosen about a queue's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Its share against other queues, at least 1.
    pub weight: u32,
    /// Processors that it gets before others get more than theirs.
    pub min_share: u32,
    /// Jobs that run at once; more wait. 0: no bound.
    pub max_running_jobs: u32,
    /// How its jobs take turns.
    pub policy: Policy,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { weight: 1, min_share: 0, max_running_jobs: 0, policy: Policy::Fair }
    }
}

/// A queue and what is in it.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// What was chosen.
    pub settings: QueueSettings,
    /// Processors that attempts of its jobs hold.
    pub held: u64,
    /// Its jobs that may run.
    pub admitted: BTreeSet<JobId>,
    /// Its jobs that wait for others to end, next first.
    pub waiting: BTreeSet<(std::cmp::Reverse<Priority>, JobId)>,
    /// Of the admitted, those with tasks that wait for a slot, by rank.
    ready: BTreeSet<(u64, JobId)>,
}

/// The number of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId(usize);

/// The queues.
#[derive(Debug, Clone)]
pub struct Shares {
    queues: Vec<Queue>,
    names: BTreeMap<String, QueueId>,
}

/// Where a job stands in its queue. Kept in the job, changed only by [`Shares`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    queue: Option<QueueId>,
    rank: Option<u64>,
    admitted: bool,
}

impl Standing {
    /// Whether the job has tasks that may be placed now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.rank.is_some()
    }

    /// Whether the job waits for others of its queue to end.
    #[must_use]
    pub fn waits_for_turn(&self) -> bool {
        self.queue.is_some() && !self.admitted
    }
}

impl Shares {
    /// These queues; `default` is always among them.
    #[must_use]
    pub fn new(settings: &BTreeMap<String, QueueSettings>) -> Self {
        let mut all = settings.clone();
        all.entry(DEFAULT_QUEUE.to_owned()).or_default();
        let mut shares = Self { queues: Vec::new(), names: BTreeMap::new() };
        for (name, settings) in all {
            shares.names.insert(name, QueueId(shares.queues.len()));
            shares.queues.push(Queue { settings, ..Queue::default() });
        }
        shares
    }

    /// All queues, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Queue)> {
        self.names.iter().map(|(name, id)| (name.as_str(), &self.queues[id.0]))
    }

    /// Whether any job has a task that waits for a slot.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.queues.iter().all(|queue| queue.ready.is_empty())
    }

    /// The jobs with a task that waits for a slot.
    pub fn ready(&self) -> impl Iterator<Item = JobId> {
        self.queues.iter().flat_map(|queue| queue.ready.iter().map(|(_, id)| *id))
    }

    /// A job begins. It waits when its queue has as many running as it may.
    pub fn enter(&mut self, job: &mut Job) {
        // A queue that a restart no longer knows: its jobs go on in the default one.
        let default = self.names.get(DEFAULT_QUEUE).copied().unwrap_or(QueueId(0));
        let id = self.names.get(&job.wishes.queue).copied().unwrap_or(default);
        let queue = &mut self.queues[id.0];
        let most = queue.settings.max_running_jobs as usize;
        // One that runs attempts already, after a restart, had been admitted.
        let admitted = most == 0 || queue.admitted.len() < most || job.occupied > 0;
        if admitted {
            queue.admitted.insert(job.id);
        } else {
            queue.waiting.insert((std::cmp::Reverse(job.priority), job.id));
        }
        queue.held += job.held_vcores;
        job.standing = Standing { queue: Some(id), rank: None, admitted };
        self.place(job);
    }

    /// A job has ended or will: it takes no more turns. What its attempts still hold counts until
    /// they are gone. Gives the jobs that may run now.
    pub fn leave(&mut self, job: &mut Job) -> Vec<JobId> {
        let Some(id) = job.standing.queue else { return Vec::new() };
        let queue = &mut self.queues[id.0];
        if let Some(rank) = job.standing.rank.take() {
            queue.ready.remove(&(rank, job.id));
        }
        queue.waiting.remove(&(std::cmp::Reverse(job.priority), job.id));
        queue.admitted.remove(&job.id);
        job.standing.admitted = true;
        let most = queue.settings.max_running_jobs as usize;
        let mut next = Vec::new();
        while queue.admitted.len() < most
            && let Some((_, id)) = queue.waiting.pop_first()
        {
            queue.admitted.insert(id);
            next.push(id);
        }
        next
    }

    /// A job that waited for its turn may run.
    pub fn admit(&mut self, job: &mut Job) {
        job.standing.admitted = true;
        self.place(job);
    }

    /// Another priority.
    pub fn set_priority(&mut self, job: &mut Job, priority: Priority) {
        if let Some(id) = job.standing.queue {
            let waiting = &mut self.queues[id.0].waiting;
            if waiting.remove(&(std::cmp::Reverse(job.priority), job.id)) {
                waiting.insert((std::cmp::Reverse(priority), job.id));
            }
        }
        job.priority = priority;
        self.place(job);
    }

    /// Attempts of a job took or gave back processors.
    pub fn hold(&mut self, job: &mut Job, vcores: i64) {
        job.held_vcores = job.held_vcores.saturating_add_signed(vcores);
        if let Some(id) = job.standing.queue {
            let queue = &mut self.queues[id.0];
            queue.held = queue.held.saturating_add_signed(vcores);
        }
        self.place(job);
    }

    /// Puts a job where it belongs in its queue's order. To be called when its waiting tasks, its
    /// holdings or its phase may have changed.
    pub fn place(&mut self, job: &mut Job) {
        let Some(id) = job.standing.queue else { return };
        let queue = &mut self.queues[id.0];
        let rank =
            (job.standing.admitted && job.has_ready_task()).then(|| match queue.settings.policy {
                Policy::Fair => job.held_vcores.saturating_mul(SCALE) / job.priority.weight(),
                Policy::Fifo => Priority::VeryHigh as u64 - job.priority as u64,
            });
        if job.standing.rank == rank {
            return;
        }
        if let Some(old) = job.standing.rank {
            queue.ready.remove(&(old, job.id));
        }
        job.standing.rank = rank;
        if let Some(rank) = rank {
            queue.ready.insert((rank, job.id));
        }
    }

    /// The queues with waiting tasks, whose turn it is first.
    #[must_use]
    pub fn order(&self) -> Vec<QueueId> {
        let waiting = self.queues.iter().enumerate().filter(|(_, queue)| !queue.ready.is_empty());
        let mut ids: Vec<QueueId> = waiting.map(|(place, _)| QueueId(place)).collect();
        ids.sort_by(|a, b| self.compare(*a, *b));
        ids
    }

    fn compare(&self, a: QueueId, b: QueueId) -> Ordering {
        let key = |id: QueueId| {
            let QueueSettings { weight, min_share, .. } = self.queues[id.0].settings;
            let held = self.queues[id.0].held.saturating_mul(SCALE);
            let needy = held < u64::from(min_share).saturating_mul(SCALE);
            let against = if needy { min_share } else { weight.max(1) };
            (!needy, held / u64::from(against), id)
        };
        key(a).cmp(&key(b))
    }

    /// The next job of a queue with waiting tasks, in the order of turns, after this one.
    #[must_use]
    pub fn next(&self, queue: QueueId, last: Option<(u64, JobId)>) -> Option<(u64, JobId)> {
        let from = last.map_or(Unbounded, Excluded);
        self.queues[queue.0].ready.range((from, Unbounded)).next().copied()
    }

    /// The invariants that tests check after every event.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn validate<'a>(&self, jobs: impl Iterator<Item = &'a Job>) -> Result<(), String> {
        let mut held = vec![0; self.queues.len()];
        let mut ready = vec![BTreeSet::new(); self.queues.len()];
        for job in jobs {
            let Some(QueueId(queue)) = job.standing.queue else { continue };
            held[queue] += job.held_vcores;
            let queue_ready = job.standing.admitted && job.has_ready_task();
            if queue_ready != job.standing.rank.is_some() {
                return Err(format!("{} ready {queue_ready}, stands {:?}", job.id, job.standing));
            }
            ready[queue].extend(job.standing.rank.map(|rank| (rank, job.id)));
        }
        for (place, queue) in self.queues.iter().enumerate() {
            if queue.held != held[place] || queue.ready != ready[place] {
                return Err(format!("queue {place} is {queue:?}, but {held:?}, {ready:?}"));
            }
            let most = queue.settings.max_running_jobs as usize;
            if most > 0 && queue.admitted.len() < most && !queue.waiting.is_empty() {
                return Err(format!("queue {place} lets jobs wait for nothing: {queue:?}"));
            }
        }
        Ok(())
    }
}
