//! A directory's entries: slots in the order of their names' bytes.
//!
//! The names live in the inodes, so an entry costs four bytes. A small directory is one sorted vector. A large one is
//! a vector of such runs, so that an insertion moves at most one run: a directory of a million entries takes a new
//! one in a microsecond, wherever it belongs.

/// How long a run may get before it is split in two.
const MAX_RUN: usize = 512;

/// The runs, none of them empty, in order. The common directory has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Children {
    runs: Vec<Vec<u32>>,
    len: u32,
}

impl Children {
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All slots in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs.iter().flatten().copied()
    }

    /// Where `name` is, or would be: run, index in the run.
    fn find<'a>(
        &self,
        name: &[u8],
        name_of: impl Fn(u32) -> &'a [u8],
    ) -> Result<(usize, usize), (usize, usize)> {
        // The last run whose first name is not above.
        let run = self.runs.partition_point(|run| name_of(run[0]) <= name).saturating_sub(1);
        let Some(slots) = self.runs.get(run) else { return Err((0, 0)) };
        match slots.binary_search_by(|&slot| name_of(slot).cmp(name)) {
            Ok(at) => Ok((run, at)),
            Err(at) => Err((run, at)),
        }
    }

    pub(crate) fn get<'a>(&self, name: &[u8], name_of: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        self.find(name, name_of).ok().map(|(run, at)| self.runs[run][at])
    }

    /// Takes in a slot whose name is `name`; false when the name is there already.
    pub(crate) fn insert<'a>(
        &mut self,
        slot: u32,
        name: &[u8],
        name_of: impl Fn(u32) -> &'a [u8],
    ) -> bool {
        let Err((run, at)) = self.find(name, name_of) else { return false };
        if self.runs.is_empty() {
            self.runs.push(Vec::with_capacity(1));
        }
        let slots = &mut self.runs[run];
        slots.insert(at, slot);
        if slots.len() > MAX_RUN {
            // Names often come in order: then the left half never grows again and is left nearly full.
            let cut = if at == slots.len() - 1 { MAX_RUN - 8 } else { slots.len() / 2 };
            let right = slots.split_off(cut);
            slots.shrink_to_fit();
            self.runs.insert(run + 1, right);
        }
        self.len += 1;
        true
    }

    /// Takes in a slot whose name is above all others'; false when it is not. Directories are loaded this way.
    pub(crate) fn push_last<'a>(&mut self, slot: u32, name_of: impl Fn(u32) -> &'a [u8]) -> bool {
        let last = self.runs.last().and_then(|run| run.last());
        if last.is_some_and(|&last| name_of(last) >= name_of(slot)) {
            return false;
        }
        match self.runs.last_mut() {
            Some(run) if run.len() < MAX_RUN - 8 => run.push(slot),
            _ => self.runs.push(vec![slot]),
        }
        self.len += 1;
        true
    }

    /// Takes an entry out; false when there is no such name.
    pub(crate) fn remove<'a>(&mut self, name: &[u8], name_of: impl Fn(u32) -> &'a [u8]) -> bool {
        let Ok((run, at)) = self.find(name, name_of) else { return false };
        self.runs[run].remove(at);
        if self.runs[run].is_empty() {
            self.runs.remove(run);
        }
        self.len -= 1;
        true
    }

    /// Takes out the last entry.
    pub(crate) fn pop_last(&mut self) -> Option<u32> {
        let run = self.runs.last_mut()?;
        let slot = run.pop();
        if run.is_empty() {
            self.runs.pop();
        }
        self.len -= 1;
        slot
    }

    /// The slots whose names are above `after`, and how many they are.
    pub(crate) fn after<'a>(
        &self,
        after: &[u8],
        name_of: impl Fn(u32) -> &'a [u8],
    ) -> (impl Iterator<Item = u32> + '_, usize) {
        let (run, at) = match self.find(after, name_of) {
            Ok((run, at)) => (run, at + 1),
            Err(place) => place,
        };
        let before: usize =
            self.runs[..run.min(self.runs.len())].iter().map(Vec::len).sum::<usize>() + at;
        let slots = self.runs[run.min(self.runs.len())..].iter().flatten().copied().skip(at);
        (slots, self.len() - before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against a `BTreeMap`, with enough entries for several runs.
        #[test]
        fn behaves_as_a_sorted_map(steps in proptest::collection::vec((any::<bool>(), 0u32..2_000), 0..3_000)) {
            let names: Vec<Vec<u8>> = (0..2_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect();
            let name_of = |slot: u32| names[slot as usize].as_slice();
            let mut children = Children::default();
            let mut model = BTreeMap::new();
            for (insert, slot) in steps {
                let name = name_of(slot);
                if insert {
                    prop_assert_eq!(children.insert(slot, name, name_of), model.insert(name, slot).is_none());
                } else {
                    prop_assert_eq!(children.remove(name, name_of), model.remove(name).is_some());
                }
            }
            prop_assert_eq!(children.len(), model.len());
            prop_assert!(children.iter().eq(model.values().copied()));
            for after in [b"".as_slice(), b"2", b"4294", b"99999999999"] {
                let (slots, count) = children.after(after, name_of);
                let expected: Vec<u32> = model.iter().filter(|(name, _)| **name > after).map(|(_, slot)| *slot).collect();
                prop_assert_eq!(count, expected.len());
                prop_assert!(slots.eq(expected));
            }
        }
    }
}
