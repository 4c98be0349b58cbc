//! Merging sorted runs: a loser tree over cursors, compared by cached key prefixes first.

use std::cmp::Ordering;
use std::sync::Arc;

use anyhow::Result;

use super::run::{Cursor, Run};
use crate::context::Shared;

/// Gives the records of many runs in the order of their keys; records of equal keys in the order
/// of the runs.
#[derive(Debug)]
pub(crate) struct Merger<'a> {
    cursors: Vec<Cursor<'a>>,
    /// `tree[0]` is the winner, the others are the losers of their matches. Leaves are implicit:
    /// run `i` is the leaf `cursors.len() + i`.
    tree: Vec<u32>,
    /// Hears of every record that is taken, so that a long merge or group is no silence.
    heard_by: Arc<Shared>,
}

impl<'a> Merger<'a> {
    /// Merges runs. `heard_by` hears of each record that is taken.
    pub(crate) fn new(runs: &'a [Run], heard_by: &Arc<Shared>) -> Result<Self> {
        let cursors: Result<Vec<_>> = runs.iter().map(Run::cursor).collect();
        Ok(Self::of_cursors(cursors?, heard_by))
    }

    pub(crate) fn of_cursors(mut cursors: Vec<Cursor<'a>>, heard_by: &Arc<Shared>) -> Self {
        cursors.retain(|cursor| !cursor.at_end);
        let tree = vec![0; cursors.len().max(1)];
        let mut merger = Self { cursors, tree, heard_by: Arc::clone(heard_by) };
        merger.build();
        merger
    }

    fn build(&mut self) {
        let runs = self.cursors.len();
        if runs < 2 {
            return;
        }
        let mut winners = vec![0u32; 2 * runs];
        for run in 0..runs {
            winners[runs + run] = run as u32;
        }
        for node in (1..runs).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) = if self.before(a, b) { (a, b) } else { (b, a) };
            winners[node] = winner;
            self.tree[node] = loser;
        }
        self.tree[0] = winners[1];
    }

    /// Whether run `a`'s record comes before run `b`'s.
    #[inline]
    fn before(&self, a: u32, b: u32) -> bool {
        let (x, y) = (&self.cursors[a as usize], &self.cursors[b as usize]);
        match x.prefix.cmp(&y.prefix) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => {
                // A run at its end comes after a key of eight 0xff bytes.
                match x.at_end.cmp(&y.at_end).then_with(|| x.key.cmp(y.key)) {
                    Ordering::Less => true,
                    Ordering::Greater => false,
                    Ordering::Equal => a < b,
                }
            }
        }
    }

    /// The next record's key and value.
    #[inline]
    pub(crate) fn peek(&self) -> Option<(&'a [u8], &'a [u8])> {
        let cursor = self.cursors.get(self.tree[0] as usize)?;
        if cursor.at_end { None } else { Some((cursor.key, cursor.value)) }
    }

    /// Goes past the next record.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.heard_by.took_record();
        let mut winner = self.tree[0];
        let runs = self.cursors.len();
        self.cursors[winner as usize].advance()?;
        let mut node = (runs + winner as usize) / 2;
        while node > 0 {
            let loser = self.tree[node];
            if self.before(loser, winner) {
                self.tree[node] = winner;
                winner = loser;
            }
            node /= 2;
        }
        self.tree[0] = winner;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::run::put_record;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_is_sorting_what_was_put_together(
            mut runs in prop::collection::vec(
                prop::collection::vec(
                    prop::collection::vec(prop_oneof![Just(255u8), Just(0u8), any::<u8>()], 0..11),
                    0..20,
                ),
                0..9,
            ),
        ) {
            let mut all = Vec::new();
            let mut encoded = Vec::new();
            for (number, run) in runs.iter_mut().enumerate() {
                run.sort();
                let mut bytes = Vec::new();
                for key in run.iter() {
                    put_record(key, &[number as u8], &mut bytes);
                    all.push((key.clone(), vec![number as u8]));
                }
                encoded.push(bytes);
            }
            all.sort();
            let heard_by = Arc::new(Shared::default());
            let cursors = encoded.iter().map(|run| Cursor::new(run).unwrap()).collect();
            let mut merger = Merger::of_cursors(cursors, &heard_by);
            let mut merged = Vec::new();
            while let Some((key, value)) = merger.peek() {
                merged.push((key.to_vec(), value.to_vec()));
                merger.advance().unwrap();
            }
            prop_assert_eq!(heard_by.signs_of_life(), all.len() as u64);
            prop_assert_eq!(merged, all);
        }
    }
}
