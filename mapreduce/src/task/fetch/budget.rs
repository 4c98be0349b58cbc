//! The memory that fetched runs may take (Hadoop's shuffle buffer, `MergeManagerImpl`): taken before a run's
//! bytes are read from a socket, given back when the reducer has merged them.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// What a run costs beside its bytes: its place in lists, the allocator's own.
const RUN_COST_BYTES: u64 = 128;
/// A run above this part of the budget goes to disk at once (`mapreduce.reduce.shuffle.memory.limit.percent`).
const LARGEST_PART: u64 = 4;
/// From two thirds of the budget on the reducer merges what it has to disk
/// (`mapreduce.reduce.shuffle.merge.percent`). The last third is for runs that arrive meanwhile; as the largest run
/// takes a quarter, a waiting fetch always gets its room once the runs at hand are merged.
const MERGE_PART: (u64, u64) = (2, 3);
/// Below it runs would go to disk one by one.
const LEAST_BYTES: u64 = 4 << 10;

/// The most that runs of a budget of `limit` bytes may take together before they are merged to disk.
pub(crate) fn most_unmerged(limit: u64) -> u64 {
    limit.max(LEAST_BYTES) / MERGE_PART.1 * MERGE_PART.0
}

/// Memory shared by the threads that fetch and the reducer that merges.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    most: u64,
    closed: bool,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        let limit = limit.max(LEAST_BYTES);
        Arc::new(Self { limit, state: Mutex::default(), freed: Condvar::new() })
    }

    /// Whether a run of so many bytes may be held in memory at all.
    pub(crate) fn allows(&self, bytes: u64) -> bool {
        bytes <= self.limit / LARGEST_PART
    }

    /// Takes room for a run of so many bytes, waiting for it if need be. None: the reduce has ended.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        debug_assert!(self.allows(bytes));
        let bytes = bytes + RUN_COST_BYTES;
        let mut state = self.state.lock();
        // A single run always fits, however the budget is cut.
        while state.used > 0 && state.used + bytes > self.limit && !state.closed {
            self.freed.wait(&mut state);
        }
        if state.closed {
            return None;
        }
        state.used += bytes;
        state.most = state.most.max(state.used);
        Some(Room { budget: Arc::clone(self), bytes })
    }

    /// Takes room for a run of so many bytes if there is any now.
    pub(crate) fn take_now(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let bytes = bytes + RUN_COST_BYTES;
        let mut state = self.state.lock();
        if state.used + bytes > self.limit || state.closed {
            return None;
        }
        state.used += bytes;
        state.most = state.most.max(state.used);
        Some(Room { budget: Arc::clone(self), bytes })
    }

    /// Nobody needs runs any more: whoever waits for room gives up.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.freed.notify_all();
    }

    /// The most that was ever taken.
    #[cfg(test)]
    pub(crate) fn most(&self) -> u64 {
        self.state.lock().most
    }
}

/// A taken part of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.state.lock().used -= self.bytes;
        self.budget.freed.notify_all();
    }
}

/// Bytes of a run with the room they take.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    room: Room,
}

impl Held {
    pub(crate) fn new(bytes: Vec<u8>, room: Room) -> Self {
        Self { bytes, room }
    }

    /// What it takes of the budget.
    pub(crate) fn cost(&self) -> u64 {
        self.room.bytes
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn room_is_waited_for_and_given_back() {
        let budget = Budget::new(8 << 10);
        assert!(budget.allows(2 << 10) && !budget.allows((2 << 10) + 1));
        let mut held: Vec<Room> = (0..3).map(|_| budget.take(2 << 10).unwrap()).collect();
        let waiting = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.take(2 << 10).map(drop))
        };
        held.pop();
        assert!(waiting.join().unwrap().is_some());
        assert!(budget.most() <= 8 << 10);
        let full = budget.take(2 << 10).unwrap();
        let waiting = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.take(2 << 10).map(drop))
        };
        budget.close();
        assert!(waiting.join().unwrap().is_none());
        drop(full);
    }

    /// What is merged too late to make room for the largest run would be waited for without end.
    #[test]
    fn the_largest_run_fits_beside_what_is_not_merged_yet() {
        for limit in [LEAST_BYTES, 5000, 1 << 20, 3 << 30] {
            let largest = limit / LARGEST_PART;
            assert!(Budget::new(limit).allows(largest));
            assert!(most_unmerged(limit) + largest + RUN_COST_BYTES <= limit, "{limit}");
        }
    }
}
