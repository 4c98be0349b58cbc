//! Sorting records in memory by moving small entries, not records.

use super::memory::reserve_huge;
use super::run::prefix;

/// Points to a record and decides most comparisons without touching it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    /// [`prefix`] of the key, from the byte on that is being sorted by.
    pub(crate) prefix: u64,
    /// Where the record lies; the owner of the records knows what that means.
    pub(crate) at: u32,
    pub(crate) partition: u32,
}

/// Up to so many entries a comparison sort beats a radix pass.
const SMALL_PREFIX_SORT: usize = 384;
/// Up to so many equal prefixes whole keys are compared instead of loading the next eight bytes.
const SMALL_TIE: usize = 32;
/// Beyond so many equal leading bytes keys are compared whole: bounds the recursion.
const DEEPEST_TIE: usize = 256;

/// Sorts by partition and key. Says where each partition's entries begin; one more element says
/// where the last ends.
pub(crate) fn sort_entries<'k>(
    entries: &mut [Entry],
    spare: &mut Vec<Entry>,
    partitions: u32,
    key_of: &impl Fn(u32) -> &'k [u8],
) -> Vec<usize> {
    spare.clear();
    if spare.capacity() < entries.len() {
        *spare = Vec::new();
        reserve_huge(spare, entries.len());
    }
    spare.resize(entries.len(), Entry::default());
    let mut starts = vec![0usize; partitions as usize + 1];
    for entry in entries.iter() {
        starts[entry.partition as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    if partitions > 1 {
        let mut next = starts.clone();
        for entry in entries.iter() {
            let slot = &mut next[entry.partition as usize];
            spare[*slot] = *entry;
            *slot += 1;
        }
        entries.copy_from_slice(spare);
    }
    for bounds in starts.windows(2) {
        let range = bounds[0]..bounds[1];
        sort_from(&mut entries[range.clone()], &mut spare[range], 8, key_of);
    }
    starts
}

/// Sorts entries whose keys agree before byte `loaded - 8`; their prefixes hold the eight bytes
/// before `loaded`.
fn sort_from<'k>(
    entries: &mut [Entry],
    spare: &mut [Entry],
    loaded: usize,
    key_of: &impl Fn(u32) -> &'k [u8],
) {
    sort_by_prefix(entries, spare, 56);
    let mut from = 0;
    while from < entries.len() {
        let mut to = from + 1;
        while to < entries.len() && entries[to].prefix == entries[from].prefix {
            to += 1;
        }
        if to - from > 1 {
            sort_tie(&mut entries[from..to], &mut spare[from..to], loaded, key_of);
        }
        from = to;
    }
}

fn sort_tie<'k>(
    entries: &mut [Entry],
    spare: &mut [Entry],
    loaded: usize,
    key_of: &impl Fn(u32) -> &'k [u8],
) {
    if entries.len() <= SMALL_TIE || loaded >= DEEPEST_TIE {
        entries.sort_unstable_by(|a, b| key_of(a.at).cmp(key_of(b.at)));
        return;
    }
    // Keys that end here differ only in how many of the prefix's zeros are their own.
    entries.sort_unstable_by_key(|entry| key_of(entry.at).len().min(loaded + 1));
    let ended = entries.partition_point(|entry| key_of(entry.at).len() <= loaded);
    for entry in &mut entries[ended..] {
        entry.prefix = prefix(&key_of(entry.at)[loaded..]);
    }
    sort_from(&mut entries[ended..], &mut spare[ended..], loaded + 8, key_of);
}

/// Radix sort from the highest byte down, until the pieces are small.
fn sort_by_prefix(entries: &mut [Entry], spare: &mut [Entry], shift: u32) {
    if entries.len() <= SMALL_PREFIX_SORT {
        entries.sort_unstable_by_key(|entry| entry.prefix);
        return;
    }
    let digit = |entry: &Entry| (entry.prefix >> shift) as u8 as usize;
    let mut counts = [0usize; 256];
    for entry in entries.iter() {
        counts[digit(entry)] += 1;
    }
    if counts[digit(&entries[0])] < entries.len() {
        let mut next = [0usize; 256];
        let mut sum = 0;
        for (slot, count) in next.iter_mut().zip(counts) {
            *slot = sum;
            sum += count;
        }
        for entry in entries.iter() {
            let slot = &mut next[digit(entry)];
            spare[*slot] = *entry;
            *slot += 1;
        }
        entries.copy_from_slice(spare);
    }
    if shift == 0 {
        return;
    }
    let mut from = 0;
    for count in counts.into_iter().filter(|&count| count > 0) {
        if count > 1 {
            let to = from + count;
            sort_by_prefix(&mut entries[from..to], &mut spare[from..to], shift - 8);
        }
        from += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(keys: &[Vec<u8>], partitions: u32) {
        let mut entries: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(at, key)| Entry {
                prefix: prefix(key),
                at: at as u32,
                partition: (key.len() as u32) % partitions,
            })
            .collect();
        let starts =
            sort_entries(&mut entries, &mut Vec::new(), partitions, &|at| &keys[at as usize]);
        let got: Vec<_> = entries.iter().map(|e| (e.partition, &keys[e.at as usize])).collect();
        let mut expected: Vec<_> =
            keys.iter().map(|key| ((key.len() as u32) % partitions, key)).collect();
        expected.sort();
        assert_eq!(got, expected);
        for (partition, bounds) in starts.windows(2).enumerate() {
            assert!(got[bounds[0]..bounds[1]].iter().all(|&(p, _)| p as usize == partition));
        }
    }

    proptest! {
        #[test]
        fn sorts_like_a_plain_sort(
            keys in prop::collection::vec(
                prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>()], 0..40), 0..900,
            ),
            partitions in 1u32..4,
        ) {
            check(&keys, partitions);
        }
    }

    #[test]
    fn long_shared_prefixes_and_many_equal_keys_are_sorted() {
        let mut keys: Vec<Vec<u8>> = (0..3000u32)
            .map(|n| {
                format!("http://www.example.org/{}", n.wrapping_mul(2_654_435_761) % 500).into()
            })
            .collect();
        keys.extend((0..100).map(|_| vec![b'z'; 5000]));
        keys.extend((0..100).map(|n| vec![0; n]));
        check(&keys, 3);
    }
}
