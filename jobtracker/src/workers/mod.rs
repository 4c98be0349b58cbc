//! The registry of workers: who is there, what they can take, when they count as dead. Pure: time
//! comes in as an argument.
//!
//! Workers that could take an attempt now are kept in an index by load and by what they have left
//! ([`free`]), so that nobody has to look at all workers to find one.

mod free;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{AttemptId, JobId, TaskId};

pub use free::{Left, Place};

use crate::job::Ask;
use free::FreeWorkers;

/// A worker process, from its first registration on. A worker that starts again is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerKey(pub u32);

/// A host name, interned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// A rack name, interned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RackId(pub u32);

/// Whether a worker can be talked to.
///
/// ```text
///  register ──► Live ◄────────────── register again
///                │ └─ stream broke ─► Away ──┐ grace over
///                └─ silent too long ──► Dead ◄┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its stream is open.
    Live,
    /// Its stream broke, or the tracker restarted and waits for it. Dead at this steady time.
    Away {
        /// When patience ends.
        until_ms: u64,
    },
    /// Given up. Since this steady time.
    Dead {
        /// When it was given up.
        since_ms: u64,
    },
}

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// New at every start of the worker.
    pub id: String,
    /// Matched against the hosts of splits.
    pub host: String,
    /// Its rack, `/default-rack` when it has none.
    pub rack: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// Processors for attempts. 0: as many as slots.
    pub vcores: u32,
    /// Memory for attempts, MiB. 0: it does not say, and nothing is too much.
    pub memory_mb: u64,
    /// Memory of an attempt whose job does not say, MiB. 0: an equal share of `memory_mb`.
    pub task_memory_mb: u64,
    /// host:port of its shuffle server.
    pub shuffle_address: String,
    /// host:port of its web page.
    pub http_address: String,
}

impl Profile {
    /// Processors for attempts.
    #[must_use]
    pub fn vcores(&self) -> u32 {
        if self.vcores == 0 { self.slots } else { self.vcores }
    }

    /// Memory for attempts, MiB.
    #[must_use]
    pub fn memory_mb(&self) -> u64 {
        if self.memory_mb == 0 { u64::MAX } else { self.memory_mb }
    }

    /// What an attempt takes of this worker.
    #[must_use]
    pub fn need(&self, ask: Ask) -> Held {
        let share = match self.task_memory_mb {
            0 => self.memory_mb / u64::from(self.slots.max(1)),
            said => said,
        };
        // A share is what fits as often as there are slots, even where rounding says otherwise.
        let memory_mb = ask.memory_mb.unwrap_or_else(|| share.min(self.memory_mb()));
        Held { vcores: ask.vcores, memory_mb }
    }

    /// Whether an attempt would fit if nothing else ran here.
    #[must_use]
    pub fn fits(&self, ask: Ask) -> bool {
        let need = self.need(ask);
        need.vcores <= self.vcores() && need.memory_mb <= self.memory_mb()
    }
}

/// What an attempt takes of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Processors.
    pub vcores: u32,
    /// Memory, MiB.
    pub memory_mb: u64,
}

impl Held {
    fn plus(self, other: Self) -> Self {
        Self {
            vcores: self.vcores.saturating_add(other.vcores),
            memory_mb: self.memory_mb.saturating_add(other.memory_mb),
        }
    }
}

/// Whether a worker can take an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// At once.
    Now,
    /// When others have ended.
    Later,
    /// It is too small.
    Never,
}

/// A worker that gets no tasks because too many failed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blacklisted {
    /// When it may try again, on the steady clock.
    pub until_ms: u64,
    /// Why, for people.
    pub reason: String,
}

/// A worker as the tracker sees it.
#[derive(Debug, Clone)]
pub struct Worker {
    /// What it said of itself.
    pub profile: Profile,
    /// Its host, interned.
    pub host: HostId,
    /// Its rack, interned.
    pub rack: RackId,
    /// Whether it can be talked to.
    pub liveness: Liveness,
    /// When it was last heard of, on the steady clock.
    pub last_heard_ms: u64,
    /// The attempts that hold a slot: running, or told to die and not yet confirmed dead. Changed by
    /// [`Workers::occupy`] and [`Workers::release`].
    pub occupied: BTreeMap<AttemptId, Ask>,
    /// What they hold together.
    pub used: Held,
    /// Finished maps whose output lies here and may still be needed.
    pub segments: BTreeSet<TaskId>,
    /// An operator wants it empty: it gets no new attempts.
    pub draining: bool,
    /// Too much failed here: it gets no new attempts for a while.
    pub blacklisted: Option<Blacklisted>,
    /// Jobs of which a task failed here and succeeded elsewhere, and when (steady clock) last.
    pub strikes: BTreeMap<JobId, u64>,
    /// How long attempts take here against others of their job, 1.0 the usual; a running mean.
    pub slowness: f64,
    /// How many attempts that is a mean of.
    pub slowness_samples: u32,
    /// Its load in the index of free workers and what it has left, when it is in it.
    listed: Option<(u32, Left)>,
}

/// The weight of the newest value in [`Worker::slowness`].
const SLOWNESS_WEIGHT: f64 = 0.3;

impl Worker {
    /// Whether its stream is open.
    #[must_use]
    pub fn live(&self) -> bool {
        self.liveness == Liveness::Live
    }

    /// Whether it was given up.
    #[must_use]
    pub fn dead(&self) -> bool {
        matches!(self.liveness, Liveness::Dead { .. })
    }

    /// Whether it may be given attempts.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.live() && !self.draining && self.blacklisted.is_none()
    }

    /// Slots that nothing holds.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.profile.slots.saturating_sub(self.load())
    }

    /// Slots that something holds.
    #[must_use]
    pub fn load(&self) -> u32 {
        u32::try_from(self.occupied.len()).unwrap_or(u32::MAX)
    }

    /// Whether an attempt that asks for this can run here.
    #[must_use]
    pub fn room(&self, ask: Ask) -> Room {
        if !self.profile.fits(ask) {
            return Room::Never;
        }
        let need = self.profile.need(ask);
        let vcores = self.used.vcores.saturating_add(need.vcores) <= self.profile.vcores();
        let memory = self.used.memory_mb.saturating_add(need.memory_mb) <= self.profile.memory_mb();
        if self.free() > 0 && vcores && memory { Room::Now } else { Room::Later }
    }

    /// What nothing holds.
    fn left(&self) -> Left {
        let memory_mb = self.profile.memory_mb().saturating_sub(self.used.memory_mb);
        let share = self.profile.need(Ask::default()).memory_mb;
        Left {
            vcores: self.profile.vcores().saturating_sub(self.used.vcores),
            memory_mb,
            share: share <= memory_mb,
        }
    }

    fn sum(&self) -> Held {
        let needs = self.occupied.values().map(|ask| self.profile.need(*ask));
        needs.fold(Held::default(), Held::plus)
    }

    /// Takes in how long an attempt took against the others of its job.
    pub fn note_pace(&mut self, ratio: f64) {
        let old = if self.slowness_samples == 0 { ratio } else { self.slowness };
        self.slowness = old + SLOWNESS_WEIGHT * (ratio - old);
        self.slowness_samples = self.slowness_samples.saturating_add(1);
    }
}

/// All workers, the dead of the last while included.
#[derive(Debug, Default)]
pub struct Workers {
    all: BTreeMap<WorkerKey, Worker>,
    by_id: BTreeMap<String, WorkerKey>,
    hosts: BTreeMap<String, HostId>,
    racks: BTreeMap<String, RackId>,
    rack_of: BTreeMap<HostId, RackId>,
    live_on: BTreeMap<HostId, u32>,
    live: u32,
    live_slots: u64,
    blacklisted: u32,
    /// Those on each host, the dead of the last while included.
    on_host: BTreeMap<HostId, BTreeSet<WorkerKey>>,
    /// Usable workers with a slot that nothing holds, the least loaded first.
    free: FreeWorkers,
    /// Hosts and ids of workers that get no new attempts.
    drained: BTreeSet<String>,
    next: u32,
}

impl Workers {
    /// The worker, when it is known.
    #[must_use]
    pub fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.all.get(&key)
    }

    /// The worker, when it is known. For what decides neither its liveness nor its load.
    pub fn get_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.all.get_mut(&key)
    }

    /// The worker of this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<WorkerKey> {
        self.by_id.get(id).copied()
    }

    /// All of them, in the order of their first registration.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.all.iter().map(|(key, worker)| (*key, worker))
    }

    /// How many usable workers have a free slot.
    #[must_use]
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// The next of them that has at least so much left, in the order of load, after this one. A worker
    /// that takes an attempt moves on in that order, so a walk meets it again, behind all that have less.
    #[must_use]
    pub fn free_after(&self, last: Option<Place>, least: Left) -> Option<Place> {
        self.free.after(last, least)
    }

    /// Usable workers that have room for this now, the least loaded first.
    pub fn with_room(&self, ask: Ask) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        let next = move |last: &Place| self.free.after(Some(*last), ask.least());
        let places = std::iter::successors(self.free.after(None, ask.least()), next);
        places.filter_map(|(_, key)| Some((key, self.all.get(&key)?)))
    }

    /// Usable workers on this host with a free slot.
    pub fn free_on(&self, host: HostId) -> impl Iterator<Item = WorkerKey> {
        let here = self.on_host.get(&host).into_iter().flatten().copied();
        here.filter(|key| self.all.get(key).is_some_and(|worker| worker.listed.is_some()))
    }

    /// How many are live.
    #[must_use]
    pub fn live_count(&self) -> u32 {
        self.live
    }

    /// How many are live or may come back.
    #[must_use]
    pub fn hopeful_count(&self) -> usize {
        self.all.values().filter(|worker| !worker.dead()).count()
    }

    /// How many get no attempts because too much failed there.
    #[must_use]
    pub fn blacklisted_count(&self) -> u32 {
        self.blacklisted
    }

    /// Slots of the live ones together.
    #[must_use]
    pub fn live_slots(&self) -> u64 {
        self.live_slots
    }

    /// The number of a host's name.
    pub fn host(&mut self, name: &str) -> HostId {
        if let Some(host) = self.hosts.get(name) {
            return *host;
        }
        let host = HostId(u32::try_from(self.hosts.len()).unwrap_or(u32::MAX));
        self.hosts.insert(name.to_owned(), host);
        host
    }

    fn rack(&mut self, name: &str) -> RackId {
        let next = RackId(u32::try_from(self.racks.len()).unwrap_or(u32::MAX));
        *self.racks.entry(name.to_owned()).or_insert(next)
    }

    /// The rack of a host that has had a worker.
    #[must_use]
    pub fn rack_of(&self, host: HostId) -> Option<RackId> {
        self.rack_of.get(&host).copied()
    }

    /// Whether a live worker sits on this host.
    #[must_use]
    pub fn live_on(&self, host: HostId) -> bool {
        self.live_on.get(&host).is_some_and(|count| *count > 0)
    }

    /// Adds a worker that is away: known from before the tracker's restart, or about to be made live.
    pub fn add(&mut self, profile: Profile, until_ms: u64) -> WorkerKey {
        let key = WorkerKey(self.next);
        self.next += 1;
        let host = self.host(&profile.host);
        let rack = self.rack(&profile.rack);
        self.rack_of.insert(host, rack);
        self.by_id.insert(profile.id.clone(), key);
        let draining = self.drained.contains(&profile.host) || self.drained.contains(&profile.id);
        let worker = Worker {
            profile,
            host,
            rack,
            liveness: Liveness::Away { until_ms },
            last_heard_ms: 0,
            occupied: BTreeMap::new(),
            used: Held::default(),
            segments: BTreeSet::new(),
            draining,
            blacklisted: None,
            strikes: BTreeMap::new(),
            slowness: 1.0,
            slowness_samples: 0,
            listed: None,
        };
        self.on_host.entry(host).or_default().insert(key);
        self.all.insert(key, worker);
        key
    }

    /// Moves a worker to another state and keeps the counts.
    pub fn set_liveness(&mut self, key: WorkerKey, liveness: Liveness) {
        let Some(worker) = self.all.get_mut(&key) else { return };
        let (was, is) = (worker.live(), liveness == Liveness::Live);
        worker.liveness = liveness;
        let on_host = self.live_on.entry(worker.host).or_insert(0);
        match (was, is) {
            (false, true) => {
                *on_host += 1;
                self.live += 1;
                self.live_slots += u64::from(worker.profile.slots);
            }
            (true, false) => {
                *on_host -= 1;
                self.live -= 1;
                self.live_slots -= u64::from(worker.profile.slots);
            }
            _ => {}
        }
        self.reindex(key);
    }

    /// Takes over what a worker says of itself when it registers again. Its host can't change:
    /// the id is new at every start.
    pub fn refresh(&mut self, key: WorkerKey, profile: Profile) {
        let Some(worker) = self.all.get_mut(&key) else { return };
        if worker.live() {
            self.live_slots -= u64::from(worker.profile.slots);
            self.live_slots += u64::from(profile.slots);
        }
        worker.profile = Profile { host: worker.profile.host.clone(), ..profile };
        worker.used = worker.sum();
        self.reindex(key);
    }

    /// Gives an attempt a slot. False when it has one already.
    pub fn occupy(&mut self, key: WorkerKey, id: AttemptId, ask: Ask) -> bool {
        let Some(worker) = self.all.get_mut(&key) else { return false };
        if worker.occupied.contains_key(&id) {
            return false;
        }
        worker.occupied.insert(id, ask);
        worker.used = worker.used.plus(worker.profile.need(ask));
        self.reindex(key);
        true
    }

    /// Takes an attempt's slot back. What it had asked for, if it had one.
    pub fn release(&mut self, key: WorkerKey, id: AttemptId) -> Option<Ask> {
        let worker = self.all.get_mut(&key)?;
        let ask = worker.occupied.remove(&id)?;
        let held = worker.profile.need(ask);
        worker.used.vcores = worker.used.vcores.saturating_sub(held.vcores);
        worker.used.memory_mb = worker.used.memory_mb.saturating_sub(held.memory_mb);
        self.reindex(key);
        Some(ask)
    }

    /// Puts a worker on the blacklist, or takes it off.
    pub fn set_blacklisted(&mut self, key: WorkerKey, blacklisted: Option<Blacklisted>) {
        let Some(worker) = self.all.get_mut(&key) else { return };
        self.blacklisted -= u32::from(worker.blacklisted.is_some());
        self.blacklisted += u32::from(blacklisted.is_some());
        worker.blacklisted = blacklisted;
        self.reindex(key);
    }

    /// The hosts and ids of workers that get no new attempts.
    #[must_use]
    pub fn drained(&self) -> &BTreeSet<String> {
        &self.drained
    }

    /// Has a host or a worker, by its id, given no new attempts from now on; or has it given some
    /// again. It need not be known yet.
    pub fn set_drained(&mut self, name: &str, drained: bool) {
        if drained {
            self.drained.insert(name.to_owned());
        } else {
            self.drained.remove(name);
        }
        let keys: Vec<WorkerKey> = self.all.keys().copied().collect();
        for key in keys {
            if let Some(worker) = self.all.get_mut(&key) {
                worker.draining = self.drained.contains(&worker.profile.host)
                    || self.drained.contains(&worker.profile.id);
            }
            self.reindex(key);
        }
    }

    /// The one place where the index of free workers changes.
    fn reindex(&mut self, key: WorkerKey) {
        let Some(worker) = self.all.get_mut(&key) else { return };
        let able = worker.usable() && worker.free() > 0;
        let listed = able.then(|| (worker.load(), worker.left()));
        if worker.listed == listed {
            return;
        }
        let before = worker.listed.map(|(load, _)| load);
        worker.listed = listed;
        if let Some(load) = before
            && listed.is_none_or(|(now, _)| now != load)
        {
            self.free.remove((load, key));
        }
        if let Some((load, left)) = listed {
            self.free.insert((load, key), left);
        }
    }

    /// Drops workers that died before this steady time and hold nothing.
    pub fn forget_dead(&mut self, before_ms: u64) {
        let gone: Vec<WorkerKey> = self
            .all
            .iter()
            .filter(|(_, worker)| {
                matches!(worker.liveness, Liveness::Dead { since_ms } if since_ms < before_ms)
                    && worker.segments.is_empty()
                    && worker.occupied.is_empty()
            })
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.set_blacklisted(key, None);
            if let Some(worker) = self.all.remove(&key) {
                self.by_id.remove(&worker.profile.id);
                if let Some(here) = self.on_host.get_mut(&worker.host) {
                    here.remove(&key);
                }
            }
        }
    }

    /// The invariants that tests check after every event.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        let mut free = Vec::new();
        let mut blacklisted = 0;
        for (key, worker) in &self.all {
            if worker.dead() && !worker.occupied.is_empty() {
                return Err(format!("dead worker {key:?} holds slots"));
            }
            if worker.usable() && worker.free() > 0 {
                free.push(((worker.load(), *key), worker.left()));
            }
            blacklisted += u32::from(worker.blacklisted.is_some());
            if worker.sum() != worker.used {
                return Err(format!("{key:?} uses {:?}, not {:?}", worker.sum(), worker.used));
            }
        }
        free.sort_unstable_by_key(|(place, _)| *place);
        if !self.free.iter().eq(free.iter().copied()) {
            return Err(format!("free are {free:?}, listed {:?}", self.free));
        }
        if blacklisted != self.blacklisted {
            return Err(format!("{blacklisted} blacklisted, counted {}", self.blacklisted));
        }
        Ok(())
    }
}
