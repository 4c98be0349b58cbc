//! The maps of one job that wait for a slot, findable by where their input lies.
//!
//! A map is listed under each host of its split, under the racks of those hosts, and in one list
//! of all. Taking it from one list leaves it in the others; such leftovers are told apart by
//! their ticket, of which a map has another one each time it waits, and dropped when they come to the front, so
//! every step costs O(1) over a job's life.

use std::collections::{BTreeMap, VecDeque};

use crate::workers::{HostId, RackId, Workers};

/// Which end of the queue a map enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// After those that wait already.
    Last,
    /// Before them: others wait for it, or it tells early that the job can't succeed.
    First,
}

/// A map's place in a list.
#[derive(Debug, Clone, Copy)]
struct Entry {
    map: u32,
    ticket: u32,
}

/// Which maps wait, and with which ticket.
#[derive(Debug, Default)]
struct Waiting {
    /// How often each map has begun to wait, and whether it still does.
    maps: Vec<(u32, bool)>,
    count: usize,
}

impl Waiting {
    fn contains(&self, map: u32) -> bool {
        self.maps.get(map as usize).is_some_and(|(_, waits)| *waits)
    }

    fn holds(&self, entry: Entry) -> bool {
        self.maps.get(entry.map as usize) == Some(&(entry.ticket, true))
    }

    fn begin(&mut self, map: u32) -> Option<Entry> {
        let (ticket, waits) = self.maps.get_mut(map as usize).filter(|(_, waits)| !waits)?;
        (*ticket, *waits) = (ticket.wrapping_add(1), true);
        self.count += 1;
        Some(Entry { map, ticket: *ticket })
    }

    fn end(&mut self, map: u32) {
        if let Some((_, waits)) = self.maps.get_mut(map as usize)
            && std::mem::replace(waits, false)
        {
            self.count -= 1;
        }
    }
}

/// Maps that wait for a slot.
#[derive(Debug, Default)]
pub struct MapQueue {
    waiting: Waiting,
    /// The hosts of each map's split.
    hosts: Vec<Vec<HostId>>,
    by_host: BTreeMap<HostId, VecDeque<Entry>>,
    by_rack: BTreeMap<RackId, VecDeque<Entry>>,
    /// Maps none of whose hosts has a live worker: nothing is gained by holding them back.
    anywhere: VecDeque<Entry>,
    all: VecDeque<Entry>,
}

impl MapQueue {
    /// An empty queue for a job whose splits lie on these hosts.
    #[must_use]
    pub fn new(hosts: Vec<Vec<HostId>>) -> Self {
        let waiting = Waiting { maps: vec![(0, false); hosts.len()], count: 0 };
        Self { waiting, hosts, ..Self::default() }
    }

    /// How many maps wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.count
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.count == 0
    }

    /// Whether this map waits.
    #[must_use]
    pub fn contains(&self, map: u32) -> bool {
        self.waiting.contains(map)
    }

    /// Whether this map's split lies on this host.
    #[must_use]
    pub fn lies_on(&self, map: u32, host: HostId) -> bool {
        self.hosts.get(map as usize).is_some_and(|hosts| hosts.contains(&host))
    }

    /// The hosts of this map's split.
    #[must_use]
    pub fn hosts(&self, map: u32) -> &[HostId] {
        self.hosts.get(map as usize).map_or(&[], Vec::as_slice)
    }

    /// The maps that wait.
    pub fn waiting(&self) -> impl Iterator<Item = u32> {
        self.all.iter().filter(|entry| self.waiting.holds(**entry)).map(|entry| entry.map)
    }

    /// Whether a map waits that has no live host.
    pub fn has_stranded(&mut self) -> bool {
        drop_taken(&mut self.anywhere, &self.waiting);
        !self.anywhere.is_empty()
    }

    /// Adds a map. Adding one that waits already changes nothing.
    pub fn push(&mut self, map: u32, turn: Turn, workers: &Workers) {
        let Some(entry) = self.waiting.begin(map) else { return };
        let put = |list: &mut VecDeque<Entry>| match turn {
            Turn::Last => list.push_back(entry),
            Turn::First => list.push_front(entry),
        };
        put(&mut self.all);
        let hosts = &self.hosts[map as usize];
        if !hosts.iter().any(|host| workers.live_on(*host)) {
            put(&mut self.anywhere);
        }
        let mut racks: Vec<RackId> = Vec::with_capacity(hosts.len());
        for host in hosts {
            put(self.by_host.entry(*host).or_default());
            if let Some(rack) = workers.rack_of(*host)
                && !racks.contains(&rack)
            {
                racks.push(rack);
            }
        }
        for rack in racks {
            put(self.by_rack.entry(rack).or_default());
        }
    }

    /// A host has got its first worker: its rack is known from now on.
    pub fn host_appeared(&mut self, host: HostId, rack: RackId) {
        if let Some(maps) = self.by_host.get(&host) {
            self.by_rack.entry(rack).or_default().extend(maps.iter().copied());
        }
    }

    /// A host has lost its last live worker.
    pub fn host_vanished(&mut self, host: HostId, workers: &Workers) {
        let Some(maps) = self.by_host.get(&host) else { return };
        let stranded = maps.iter().filter(|entry| {
            let hosts = &self.hosts[entry.map as usize];
            self.waiting.holds(**entry) && !hosts.iter().any(|host| workers.live_on(*host))
        });
        self.anywhere.extend(stranded.copied());
    }

    /// Takes a map whose split lies on this host.
    pub fn take_on_host(&mut self, host: HostId, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let list = self.by_host.get_mut(&host)?;
        take(list, &mut self.waiting, fits)
    }

    /// Takes a map whose split lies in this rack.
    pub fn take_in_rack(&mut self, rack: RackId, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let list = self.by_rack.get_mut(&rack)?;
        take(list, &mut self.waiting, fits)
    }

    /// Takes a map that has no live host.
    pub fn take_stranded(&mut self, fits: impl Fn(u32) -> bool) -> Option<u32> {
        take(&mut self.anywhere, &mut self.waiting, fits)
    }

    /// Takes any map.
    pub fn take_any(&mut self, fits: impl Fn(u32) -> bool) -> Option<u32> {
        take(&mut self.all, &mut self.waiting, fits)
    }

    /// Takes this very map out: it is done or runs already.
    pub fn remove(&mut self, map: u32) {
        self.waiting.end(map);
    }
}

fn take(
    list: &mut VecDeque<Entry>,
    waiting: &mut Waiting,
    fits: impl Fn(u32) -> bool,
) -> Option<u32> {
    drop_taken(list, waiting);
    let place = list.iter().position(|entry| waiting.holds(*entry) && fits(entry.map))?;
    let map = list.remove(place)?.map;
    waiting.end(map);
    Some(map)
}

/// Drops those at the front that were found by another list.
fn drop_taken(list: &mut VecDeque<Entry>, waiting: &Waiting) {
    while list.front().is_some_and(|entry| !waiting.holds(*entry)) {
        list.pop_front();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::workers::{Liveness, Profile};

    fn worker(workers: &mut Workers, id: &str, host: &str, rack: &str) -> HostId {
        let (id, host_name, rack) = (id.to_owned(), host.to_owned(), rack.to_owned());
        let profile = Profile { id, host: host_name, rack, slots: 1, ..Profile::default() };
        let key = workers.add(profile, 0);
        workers.set_liveness(key, Liveness::Live);
        workers.host(host)
    }

    #[test]
    fn a_map_is_found_by_host_rack_and_at_all_but_taken_once() {
        let mut workers = Workers::default();
        let a = worker(&mut workers, "a", "ha", "/r1");
        let b = worker(&mut workers, "b", "hb", "/r1");
        let c = worker(&mut workers, "c", "hc", "/r2");
        let mut queue = MapQueue::new(vec![vec![a, b], vec![a], vec![c]]);
        for map in 0..3 {
            queue.push(map, Turn::Last, &workers);
        }
        assert_eq!(queue.take_on_host(b, |_| true), Some(0));
        assert_eq!(queue.take_on_host(b, |_| true), None);
        assert_eq!(queue.take_in_rack(workers.rack_of(b).unwrap(), |_| true), Some(1));
        assert_eq!(queue.take_stranded(|_| true), None);
        assert_eq!(queue.take_any(|map| map != 2), None);
        assert_eq!(queue.take_any(|_| true), Some(2));
        assert!(queue.is_empty());
        queue.push(1, Turn::Last, &workers);
        queue.push(0, Turn::First, &workers);
        assert_eq!(queue.take_on_host(a, |_| true), Some(0));
    }

    #[test]
    fn where_a_map_stood_the_last_time_counts_no_more() {
        let workers = Workers::default();
        let mut queue = MapQueue::new(vec![vec![]; 3]);
        for map in 0..3 {
            queue.push(map, Turn::Last, &workers);
        }
        // Found by this list, it is left over in the other one, at the front.
        assert_eq!(queue.take_any(|_| true), Some(0));
        queue.push(0, Turn::Last, &workers);
        assert_eq!(queue.waiting().collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(queue.take_stranded(|_| true), Some(1));
        assert!(queue.has_stranded());
        assert_eq!(queue.take_stranded(|_| true), Some(2));
        assert_eq!(queue.take_stranded(|_| true), Some(0));
        assert!(!queue.has_stranded() && queue.is_empty());
    }

    #[test]
    fn a_map_whose_hosts_are_gone_goes_anywhere() {
        let mut workers = Workers::default();
        let a = worker(&mut workers, "a", "ha", "/r1");
        let mut queue = MapQueue::new(vec![vec![a], vec![]]);
        queue.push(0, Turn::Last, &workers);
        queue.push(1, Turn::Last, &workers);
        assert_eq!(queue.take_stranded(|_| true), Some(1));
        let key = workers.by_id("a").unwrap();
        workers.set_liveness(key, Liveness::Dead { since_ms: 0 });
        queue.host_vanished(a, &workers);
        assert_eq!(queue.take_stranded(|_| true), Some(0));
    }
}
