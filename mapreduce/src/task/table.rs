//! Folding values the moment they are emitted: an open-addressing table from key bytes to totals.
//!
//! A slot holds a short key itself, so that finding a frequent word touches one cache line. Inserts
//! go through a short queue that has asked for their slots' memory before they are looked at: with
//! a table larger than the caches that hides most of the wait.

use super::memory::{copy_short, prefetch, want_huge_pages};
use super::run::prefix;
use super::sort::Entry;

/// Bytes of a key that lie in the slot.
const HEAD: usize = 16;
/// Inserts whose memory is on its way.
const QUEUE: usize = 16;
/// The longest key that waits in the queue; a longer one is inserted at once.
const LONGEST_QUEUED: usize = 64;
/// Entries that are looked ahead to a key's own bytes; twice as many to its slot.
const PREFETCHED: usize = 8;
/// Slots of a new table.
const FIRST_SLOTS: usize = 1 << 14;
/// Slots that the smallest budget allows.
const FEWEST_SLOTS: usize = 64;

/// Aligned so that, with a number as total, two fill a cache line and none lies across two.
#[derive(Debug, Default, Clone)]
#[repr(align(32))]
struct Slot<A> {
    /// A short key, padded with zeros. Of a long one its first eight bytes and its hash, so that
    /// another long key is told apart without looking at the bytes of either.
    head: [u8; HEAD],
    /// The key's length plus one; 0: vacant.
    length: u32,
    /// Where a key longer than `HEAD` lies in `Table::long_keys`.
    at: u32,
    total: A,
}

impl<A> Slot<A> {
    /// The [`key_hash`] of its key.
    fn hash(&self) -> u64 {
        match self.length as usize - 1 {
            length @ ..=HEAD => hash_head(&self.head, length),
            _ => word(&self.head, 8),
        }
    }
}

#[derive(Debug)]
struct Queued<A> {
    head: [u8; HEAD],
    /// As [`Slot::length`]; 0: nothing waits here.
    length: u32,
    hash: u64,
    value: A,
    /// The whole of a long key.
    long: [u8; LONGEST_QUEUED],
}

impl<A: Default> Default for Queued<A> {
    fn default() -> Self {
        let long = [0; LONGEST_QUEUED];
        Self { head: [0; HEAD], length: 0, hash: 0, value: A::default(), long }
    }
}

/// Totals by key.
#[derive(Debug)]
pub(crate) struct Table<A> {
    slots: Vec<Slot<A>>,
    /// A key's place is its hash shifted right by so much: places are in the order of hashes,
    /// whatever the size of the table.
    shift: u32,
    used: usize,
    /// `used` at which the table must grow.
    grow_at: usize,
    long_keys: Vec<u8>,
    queue: [Queued<A>; QUEUE],
    turn: usize,
    budget: usize,
    full: bool,
}

impl<A: Default> Table<A> {
    /// A table that asks to be emptied when it takes about `budget` bytes.
    pub(crate) fn new(budget: usize) -> Self {
        let most = (budget / (2 * size_of::<Slot<A>>())).max(FEWEST_SLOTS).next_power_of_two();
        let mut table = Self {
            slots: Vec::new(),
            shift: 0,
            used: 0,
            grow_at: 0,
            long_keys: Vec::new(),
            queue: std::array::from_fn(|_| Queued::default()),
            turn: 0,
            budget,
            full: false,
        };
        table.allocate(most.min(FIRST_SLOTS));
        table
    }

    fn allocate(&mut self, slots: usize) -> Vec<Slot<A>> {
        debug_assert!(slots.is_power_of_two());
        self.grow_at = slots / 8 * 5;
        self.shift = u64::BITS - slots.ilog2();
        let mut new = Vec::with_capacity(slots);
        want_huge_pages(&mut new);
        new.resize_with(slots, Slot::default);
        std::mem::replace(&mut self.slots, new)
    }

    /// What it may take before it is full, bytes.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Lets it take more: it is not full any more.
    pub(crate) fn extend(&mut self, budget: usize) {
        self.budget = budget;
        self.full = false;
    }

    /// Whether the table should be emptied before more is added.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Distinct keys.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Folds `value` into the key's total, now or a little later.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: A, fold: impl Fn(&mut A, A)) {
        let (head, hash) = head_and_hash(key);
        if key.len() > LONGEST_QUEUED {
            self.add_long(key, head, hash, value, fold);
            return;
        }
        prefetch(&self.slots, (hash >> self.shift) as usize);
        let turn = self.turn % QUEUE;
        self.turn = turn + 1;
        if self.queue[turn].length != 0 {
            self.add_queued(turn, fold);
        }
        let waiting = &mut self.queue[turn];
        waiting.head = head;
        waiting.length = key.len() as u32 + 1;
        waiting.hash = hash;
        waiting.value = value;
        if key.len() > HEAD {
            copy_short(key, &mut waiting.long);
        }
    }

    /// Does the inserts that are queued.
    pub(crate) fn settle(&mut self, fold: impl Fn(&mut A, A)) {
        for turn in 0..QUEUE {
            if self.queue[turn].length != 0 {
                self.add_queued(turn, &fold);
                self.queue[turn].length = 0;
            }
        }
    }

    /// Does one queued insert; the place in the queue is the caller's again.
    #[inline]
    fn add_queued(&mut self, turn: usize, fold: impl Fn(&mut A, A)) {
        let due = &mut self.queue[turn];
        let (head, length, hash) = (due.head, due.length, due.hash);
        let value = std::mem::take(&mut due.value);
        let mask = self.slots.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            // SAFETY: the shift leaves the bits that count 2^bits slots, and the mask keeps `at` below.
            let slot = unsafe { self.slots.get_unchecked_mut(at) };
            if slot.length == length && slot.head == head {
                let key = &due.long[..length as usize - 1];
                if key.len() <= HEAD || self.long_keys[slot.at as usize..][..key.len()] == *key {
                    fold(&mut slot.total, value);
                    return;
                }
            }
            if slot.length == 0 {
                *slot = Slot { head, length, at: self.long_keys.len() as u32, total: value };
                let key = &due.long[..length as usize - 1];
                if key.len() > HEAD {
                    self.long_keys.extend_from_slice(key);
                }
                self.inserted();
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn add_long(
        &mut self,
        key: &[u8],
        head: [u8; HEAD],
        hash: u64,
        value: A,
        fold: impl Fn(&mut A, A),
    ) {
        let mask = self.slots.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        let length = key.len() as u32 + 1;
        loop {
            let slot = &mut self.slots[at];
            if slot.length == length
                && slot.head == head
                && self.long_keys[slot.at as usize..][..key.len()] == *key
            {
                fold(&mut slot.total, value);
                return;
            }
            if slot.length == 0 {
                *slot = Slot { head, length, at: self.long_keys.len() as u32, total: value };
                self.long_keys.extend_from_slice(key);
                self.inserted();
                return;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    #[inline(never)]
    fn inserted_at_limit(&mut self) {
        let slots_bytes = self.slots.len() * size_of::<Slot<A>>();
        let grown = 3 * slots_bytes + self.long_keys.len();
        let emptied = slots_bytes + self.used * 2 * size_of::<Entry>() + self.long_keys.len();
        if emptied >= self.budget || (self.used >= self.grow_at && grown > self.budget) {
            self.full = true;
        }
        // A full table is emptied by its owner within `QUEUE` inserts; it still grows when a small
        // one has no room for those.
        if self.used >= self.grow_at && (!self.full || self.used + 2 * QUEUE >= self.slots.len()) {
            self.grow();
        }
    }

    #[inline]
    fn inserted(&mut self) {
        self.used += 1;
        if self.used >= self.grow_at || self.long_keys.len() > self.budget / 2 {
            self.inserted_at_limit();
        }
    }

    fn grow(&mut self) {
        let old = self.allocate(self.slots.len() * 2);
        let mask = self.slots.len() - 1;
        for slot in old {
            if slot.length == 0 {
                continue;
            }
            let mut at = (slot.hash() >> self.shift) as usize;
            while self.slots[at].length != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }

    /// An entry for every key, in no order; `at` is the number of the slot. `partition_of` gets a way to the key, which
    /// may be far from its slot, and the [`key_hash`] of it.
    pub(crate) fn entries<'t>(
        &'t self,
        mut partition_of: impl FnMut(&dyn Fn() -> &'t [u8], u64) -> u32,
    ) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.used);
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.length != 0 {
                let partition = partition_of(&|| self.key(at as u32), slot.hash());
                entries.push(Entry { prefix: prefix(&slot.head), at: at as u32, partition });
            }
        }
        entries
    }

    /// The key in a slot.
    #[inline]
    pub(crate) fn key(&self, at: u32) -> &[u8] {
        let slot = &self.slots[at as usize];
        let length = slot.length as usize - 1;
        if length <= HEAD {
            &slot.head[..length]
        } else {
            &self.long_keys[slot.at as usize..slot.at as usize + length]
        }
    }

    /// Asks for the memory of keys that will be read soon: entries are read one after the other, now that at `at`.
    #[inline]
    pub(crate) fn prefetch_key(&self, entries: &[Entry], at: usize) {
        if let Some(entry) = entries.get(at + 2 * PREFETCHED) {
            prefetch(&self.slots, entry.at as usize);
        }
        if let Some(entry) = entries.get(at + PREFETCHED) {
            let slot = &self.slots[entry.at as usize];
            if slot.length as usize > HEAD + 1 {
                prefetch(&self.long_keys, slot.at as usize);
            }
        }
    }

    /// Bytes of all keys, at most.
    pub(crate) fn key_bytes(&self) -> usize {
        self.used * HEAD + self.long_keys.len()
    }

    /// The total in a slot.
    #[inline]
    pub(crate) fn total(&self, at: u32) -> &A {
        &self.slots[at as usize].total
    }

    /// Makes the table empty; its memory stays for what comes.
    pub(crate) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = Slot::default());
        self.long_keys.clear();
        self.used = 0;
        self.full = false;
    }
}

/// The hash of a key: one load and two multiplications for most.
#[inline]
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    head_and_hash(key).1
}

/// What a slot of the key says about it, and its hash.
#[inline]
fn head_and_hash(key: &[u8]) -> ([u8; HEAD], u64) {
    let mut head = head(key);
    let mut hash = hash_head(&head, key.len());
    if key.len() > HEAD {
        hash ^= crate::partition::hash(&key[HEAD..]);
        head[8..].copy_from_slice(&hash.to_le_bytes());
    }
    (head, hash)
}

#[inline]
fn hash_head(head: &[u8; HEAD], length: usize) -> u64 {
    let product = u128::from(word(head, 0) ^ 0xa076_1d64_78bd_642f ^ length as u64)
        * u128::from(word(head, 8) ^ 0xe703_7ed1_a0b4_28db);
    (product >> 64) as u64 ^ product as u64
}

#[inline]
fn word(head: &[u8; HEAD], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// The first bytes of a key, padded with zeros.
#[inline]
fn head(key: &[u8]) -> [u8; HEAD] {
    #[cfg(target_arch = "x86_64")]
    {
        const PAGE: usize = 4096;
        let in_page = key.as_ptr() as usize % PAGE;
        if !key.is_empty() && (in_page <= PAGE - HEAD || key.len() >= HEAD) {
            return head_by_one_load(key);
        }
    }
    let mut head = [0; HEAD];
    let bytes = key.len().min(HEAD);
    head[..bytes].copy_from_slice(&key[..bytes]);
    head
}

/// Loads sixteen bytes whatever the key's length and masks the rest away: no branch depends on the
/// length, which a processor could not predict for words of a text.
#[cfg(target_arch = "x86_64")]
#[inline]
fn head_by_one_load(key: &[u8]) -> [u8; HEAD] {
    use std::arch::asm;
    use std::arch::x86_64::{__m128i, _mm_and_si128, _mm_loadu_si128, _mm_storeu_si128};
    static MASK: [u8; 2 * HEAD] = {
        let mut mask = [0; 2 * HEAD];
        let mut at = 0;
        while at < HEAD {
            mask[at] = 0xff;
            at += 1;
        }
        mask
    };
    let kept = key.len().min(HEAD);
    let bytes: __m128i;
    // SAFETY: the load can't fault: the caller made sure that the key is not empty and that the
    // sixteen bytes from its start lie in the key or in the same page as its first byte. Bytes
    // beyond the key are read by an instruction the compiler knows nothing about and masked away.
    unsafe {
        asm!(
            "movdqu {bytes}, xmmword ptr [{key}]",
            bytes = out(xmm_reg) bytes,
            key = in(reg) key.as_ptr(),
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    let mut head = [0; HEAD];
    // SAFETY: sixteen bytes from `HEAD - kept`, at most 16, lie in the 32 of the mask; `head` has
    // sixteen bytes. SSE2 belongs to every x86-64.
    unsafe {
        let mask = _mm_loadu_si128(MASK.as_ptr().add(HEAD - kept).cast());
        _mm_storeu_si128(head.as_mut_ptr().cast(), _mm_and_si128(bytes, mask));
    }
    head
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn totals(table: &Table<u64>) -> BTreeMap<Vec<u8>, u64> {
        table
            .entries(|_, _| 0)
            .iter()
            .map(|entry| (table.key(entry.at).to_vec(), *table.total(entry.at)))
            .collect()
    }

    proptest! {
        #[test]
        fn totals_are_those_of_a_map(
            keys in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(255u8)], 0..24),
                0..600,
            ),
        ) {
            let mut table = Table::new(1 << 12);
            let mut expected = BTreeMap::new();
            for key in &keys {
                table.add(key, 1, |total, value| *total += value);
                *expected.entry(key.clone()).or_insert(0) += 1u64;
            }
            table.settle(|total, value| *total += value);
            prop_assert_eq!(table.len(), expected.len());
            prop_assert_eq!(totals(&table), expected);
        }
    }

    #[test]
    fn a_small_budget_makes_a_full_table_that_can_be_used_again() {
        let mut table: Table<u64> = Table::new(10_000);
        for round in 0..3 {
            let mut added = 0;
            while !table.is_full() {
                table.add(format!("word {round} {added}").as_bytes(), 1, |a, b| *a += b);
                added += 1;
                assert!(added < 1000);
            }
            table.settle(|a, b| *a += b);
            assert_eq!(table.len(), added);
            table.clear();
        }
    }

    #[test]
    fn heads_are_right_everywhere_in_a_page() {
        let text: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8 + 1).collect();
        for at in 0..text.len() - 20 {
            for length in [0, 1, 7, 15, 16, 17] {
                let key = &text[at..at + length];
                let mut expected = [0; HEAD];
                let bytes = length.min(HEAD);
                expected[..bytes].copy_from_slice(&key[..bytes]);
                assert_eq!(head(key), expected);
            }
        }
    }
}
