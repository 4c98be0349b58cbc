//! The registry of workers: who is there, what they can take, when they count as dead. Pure: time
//! comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{AttemptId, TaskId};

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
    /// host:port of its shuffle server.
    pub shuffle_address: String,
    /// host:port of its web page.
    pub http_address: String,
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
    /// The attempts that hold a slot: running, or told to die and not yet confirmed dead.
    pub occupied: BTreeSet<AttemptId>,
    /// Finished maps whose output lies here and may still be needed.
    pub segments: BTreeSet<TaskId>,
}

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

    /// Slots that nothing holds.
    #[must_use]
    pub fn free(&self) -> u32 {
        let occupied = u32::try_from(self.occupied.len()).unwrap_or(u32::MAX);
        self.profile.slots.saturating_sub(occupied)
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
    next: u32,
}

impl Workers {
    /// The worker, when it is known.
    #[must_use]
    pub fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.all.get(&key)
    }

    /// The worker, when it is known.
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
        let liveness = Liveness::Away { until_ms };
        let worker = Worker {
            profile,
            host,
            rack,
            liveness,
            last_heard_ms: 0,
            occupied: BTreeSet::new(),
            segments: BTreeSet::new(),
        };
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
    }

    /// Takes over what a worker says of itself when it registers again. Its host can't change:
    /// the id is new at every start.
    pub fn refresh(&mut self, key: WorkerKey, profile: Profile) {
        if let Some(worker) = self.all.get_mut(&key) {
            if worker.live() {
                self.live_slots -= u64::from(worker.profile.slots);
                self.live_slots += u64::from(profile.slots);
            }
            worker.profile = Profile { host: worker.profile.host.clone(), ..profile };
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
            if let Some(worker) = self.all.remove(&key) {
                self.by_id.remove(&worker.profile.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: &str, host: &str) -> Profile {
        let (id, host) = (id.to_owned(), host.to_owned());
        Profile { id, host, rack: "/r".into(), slots: 2, ..Profile::default() }
    }

    #[test]
    fn counts_follow_liveness() {
        let mut workers = Workers::default();
        let a = workers.add(profile("a", "h1"), 0);
        let b = workers.add(profile("b", "h1"), 0);
        let host = workers.host("h1");
        assert!(!workers.live_on(host));
        workers.set_liveness(a, Liveness::Live);
        workers.set_liveness(a, Liveness::Live);
        workers.set_liveness(b, Liveness::Live);
        assert_eq!((workers.live_count(), workers.live_slots()), (2, 4));
        workers.set_liveness(a, Liveness::Dead { since_ms: 5 });
        assert!(workers.live_on(host));
        workers.set_liveness(b, Liveness::Away { until_ms: 9 });
        assert!(!workers.live_on(host));
        assert_eq!(workers.live_count(), 0);
        assert_eq!(workers.hopeful_count(), 1);
        workers.forget_dead(6);
        assert!(workers.get(a).is_none() && workers.by_id("a").is_none());
        assert!(workers.get(b).is_some());
    }
}
