//! Which attempts can stand in one row: those that held a slot one after the other.

use std::collections::BTreeMap;
use std::ops::Range;

/// Puts stretches of time into lanes so that those in one lane do not overlap: each, in the order of their beginnings,
/// into the first lane that is free. So a worker whose slots were always in order has as many lanes as it used slots.
/// Gives the lane of each stretch. An empty stretch counts as one unit long, so that it can be seen.
#[must_use]
pub fn pack(stretches: &[Range<u64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    order.sort_by_key(|&i| (stretches[i].start, stretches[i].end, i));
    let mut free_from: Vec<u64> = Vec::new();
    let mut lanes = vec![0; stretches.len()];
    for i in order {
        let stretch = &stretches[i];
        let end = stretch.end.max(stretch.start.saturating_add(1));
        lanes[i] = match free_from.iter().position(|&free| free <= stretch.start) {
            Some(lane) => {
                free_from[lane] = end;
                lane
            }
            None => {
                free_from.push(end);
                free_from.len() - 1
            }
        };
    }
    lanes
}

/// Lanes of several owners, one owner's below the other's in the order of their names: for each stretch its row over
/// all, and for each owner the first of its rows and how many they are.
#[must_use]
pub fn rows<'a>(
    stretches: &[(&'a str, Range<u64>)],
) -> (Vec<usize>, BTreeMap<&'a str, (usize, usize)>) {
    let mut of_owner: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (owner, _)) in stretches.iter().enumerate() {
        of_owner.entry(owner).or_default().push(i);
    }
    let mut rows = vec![0; stretches.len()];
    let mut owners = BTreeMap::new();
    let mut first = 0;
    for (owner, theirs) in of_owner {
        let times: Vec<_> = theirs.iter().map(|&i| stretches[i].1.clone()).collect();
        let lanes = pack(&times);
        let count = lanes.iter().max().map_or(0, |last| last + 1);
        for (i, lane) in theirs.into_iter().zip(lanes) {
            rows[i] = first + lane;
        }
        owners.insert(owner, (first, count));
        first += count;
    }
    (rows, owners)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_two_overlap_and_no_lane_is_needless(
            times in prop::collection::vec((0u64..200, 0u64..40), 0..120)
        ) {
            let stretches: Vec<Range<u64>> = times.iter().map(|&(at, long)| at..at + long).collect();
            let lanes = pack(&stretches);
            let seen = |s: &Range<u64>| s.start..s.end.max(s.start + 1);
            for i in 0..stretches.len() {
                for j in 0..i {
                    let (a, b) = (seen(&stretches[i]), seen(&stretches[j]));
                    prop_assert!(lanes[i] != lanes[j] || a.end <= b.start || b.end <= a.start);
                }
            }
            // As many lanes as stretches ever went on at once.
            let at_once = (0..=240u64)
                .map(|t| stretches.iter().filter(|s| seen(s).contains(&t)).count())
                .max()
                .unwrap_or(0);
            prop_assert_eq!(lanes.iter().max().map_or(0, |lane| lane + 1), at_once);
        }
    }

    #[test]
    fn owners_stand_one_below_the_other() {
        let stretches = [("b", 0..5), ("a", 3..4), ("b", 2..6), ("b", 5..9)];
        let (rows, owners) = rows(&stretches);
        assert_eq!(rows, [1, 0, 2, 1]);
        assert_eq!(owners, BTreeMap::from([("a", (0, 1)), ("b", (1, 2))]));
    }
}
