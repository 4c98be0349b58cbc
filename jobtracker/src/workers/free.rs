//! The workers that could take an attempt now, in the order in which they are offered: the least loaded
//! first, and of equally loaded ones the oldest. The next one that has enough left is found without a look
//! at those that have not: they stand in runs, and each run knows the most that any of its workers has left.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use super::WorkerKey;
use crate::job::Ask;

/// Workers in a run before it is cut in two. With `n` workers a search looks at `n` / 64 runs or so and into
/// few of them.
const RUN_MAX: usize = 128;

/// What a worker has left for attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Processors.
    pub vcores: u32,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Whether that is enough for an attempt whose job does not say how much it needs.
    pub share: bool,
}

impl Left {
    const NOTHING: Self = Self { vcores: 0, memory_mb: 0, share: false };

    /// Whether this is as much as that, or more.
    #[must_use]
    pub fn covers(self, least: Self) -> bool {
        self.vcores >= least.vcores
            && self.memory_mb >= least.memory_mb
            && (self.share || !least.share)
    }

    /// The more of each.
    fn or(self, other: Self) -> Self {
        Self {
            vcores: self.vcores.max(other.vcores),
            memory_mb: self.memory_mb.max(other.memory_mb),
            share: self.share || other.share,
        }
    }

    /// The less of each: whoever covers one of the two covers this.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            vcores: self.vcores.min(other.vcores),
            memory_mb: self.memory_mb.min(other.memory_mb),
            share: self.share && other.share,
        }
    }
}

impl Ask {
    /// What a worker with a free slot must have left to have room for this now.
    #[must_use]
    pub fn least(self) -> Left {
        Left {
            vcores: self.vcores,
            memory_mb: self.memory_mb.unwrap_or(0),
            share: self.memory_mb.is_none(),
        }
    }
}

/// Where a worker stands: its load and its key.
pub type Place = (u32, WorkerKey);

/// Some workers of one load, one after the other.
#[derive(Debug)]
struct Run {
    most: Left,
    members: Vec<(WorkerKey, Left)>,
}

impl Run {
    fn new(members: Vec<(WorkerKey, Left)>) -> Self {
        let mut run = Self { most: Left::NOTHING, members };
        run.measure();
        run
    }

    fn measure(&mut self) {
        self.most = self.members.iter().fold(Left::NOTHING, |most, (_, left)| most.or(*left));
    }
}

/// Workers with a free slot.
#[derive(Debug, Default)]
pub struct FreeWorkers {
    /// By load. The runs of a load are in the order of keys, and none is empty.
    levels: BTreeMap<u32, Vec<Run>>,
    count: usize,
}

impl FreeWorkers {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The first one after this place that has as much left.
    #[must_use]
    pub fn after(&self, last: Option<Place>, least: Left) -> Option<Place> {
        let from = last.map_or(Unbounded, |(load, _)| Included(load));
        self.levels.range((from, Unbounded)).find_map(|(load, runs)| {
            let behind = last.filter(|(last_load, _)| last_load == load).map(|(_, key)| key);
            let first = behind.map_or(0, |key| run_of(runs, key));
            let fits = |(key, left): &&(WorkerKey, Left)| {
                behind.is_none_or(|behind| *key > behind) && left.covers(least)
            };
            let mut able = runs[first..].iter().filter(|run| run.most.covers(least));
            able.find_map(|run| run.members.iter().find(fits)).map(|(key, _)| (*load, *key))
        })
    }

    /// Adds a worker, or changes what it has left.
    pub(super) fn insert(&mut self, (load, key): Place, left: Left) {
        let runs = self.levels.entry(load).or_default();
        if runs.is_empty() {
            runs.push(Run::new(Vec::new()));
        }
        let place = run_of(runs, key);
        let run = &mut runs[place];
        match run.members.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => {
                run.members[at].1 = left;
                run.measure();
            }
            Err(at) => {
                run.members.insert(at, (key, left));
                run.most = run.most.or(left);
                self.count += 1;
            }
        }
        if run.members.len() > RUN_MAX {
            let rest = run.members.split_off(RUN_MAX / 2);
            run.measure();
            runs.insert(place + 1, Run::new(rest));
        }
    }

    /// Takes a worker out.
    pub(super) fn remove(&mut self, (load, key): Place) {
        let Some(runs) = self.levels.get_mut(&load) else { return };
        let place = run_of(runs, key);
        let Some(run) = runs.get_mut(place) else { return };
        let Ok(at) = run.members.binary_search_by_key(&key, |(key, _)| *key) else { return };
        run.members.remove(at);
        self.count -= 1;
        run.measure();
        if run.members.is_empty() {
            runs.remove(place);
        }
        if runs.is_empty() {
            self.levels.remove(&load);
        }
    }

    /// All of them with what they have left, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, Left)> {
        self.levels.iter().flat_map(|(load, runs)| {
            let members = runs.iter().flat_map(|run| &run.members);
            members.map(|(key, left)| ((*load, *key), *left))
        })
    }
}

/// The run in which a key is or would be: the last one that begins no later.
fn run_of(runs: &[Run], key: WorkerKey) -> usize {
    let begins_later = |run: &Run| run.members.first().is_some_and(|(first, _)| *first > key);
    runs.partition_point(|run| !begins_later(run)).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left() -> impl Strategy<Value = Left> {
        (0_u32..5, 0_u64..5, any::<bool>()).prop_map(|(vcores, memory_mb, share)| Left {
            vcores,
            memory_mb,
            share,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_next_one_with_enough_is_the_one_that_a_look_at_all_finds(
            changes in prop::collection::vec((0_u32..3, 0_u32..400, left(), 0_u32..4), 0..900),
            asks in prop::collection::vec((0_u32..4, 0_u32..400, left()), 20),
        ) {
            let mut index = FreeWorkers::default();
            let mut plain: BTreeMap<Place, Left> = BTreeMap::new();
            for (load, key, left, turn) in changes {
                let place = (load, WorkerKey(key));
                if turn == 0 {
                    index.remove(place);
                    plain.remove(&place);
                } else {
                    index.insert(place, left);
                    plain.insert(place, left);
                }
            }
            prop_assert_eq!(index.len(), plain.len());
            prop_assert!(index.iter().eq(plain.iter().map(|(place, left)| (*place, *left))));
            for (load, key, least) in asks {
                let last = (load > 0).then(|| (load - 1, WorkerKey(key)));
                let by_eye = plain.iter().find(|(place, left)| {
                    last.is_none_or(|last| **place > last) && left.covers(least)
                });
                prop_assert_eq!(index.after(last, least), by_eye.map(|(place, _)| *place));
            }
        }
    }
}
