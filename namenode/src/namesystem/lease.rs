//! Leases: who writes which files, and since when nothing was heard of them (HDFS `LeaseManager`).
//!
//! Who holds what is hard state and also stands in each open file. When a lease was last renewed is volatile: it is
//! monotonic time that the service hands in, so a jump of the wall clock expires nothing, and after a start everybody gets
//! a full limit.

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::INodeId;

/// How long a lease keeps other writers away without being renewed, in milliseconds.
pub const SOFT_LIMIT_MS: u64 = 60_000;
/// How long until the namenode itself closes the files of a holder that is not heard of, in milliseconds.
pub const HARD_LIMIT_MS: u64 = 20 * 60_000;
/// The holder while the namenode recovers a file (HDFS `NAMENODE_LEASE_HOLDER`).
pub const NAMENODE_HOLDER: &str = "HDFS_NameNode";

/// One holder's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lease {
    files: BTreeSet<INodeId>,
    renewed_ms: u64,
}

/// All leases.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    by_holder: BTreeMap<Box<str>, Lease>,
    /// The latest monotonic time that the service told.
    now_ms: u64,
    files: usize,
}

impl Leases {
    /// Lets time pass. Never backwards.
    pub(crate) fn tick(&mut self, monotonic_ms: u64) {
        self.now_ms = self.now_ms.max(monotonic_ms);
    }

    /// Counts every lease as renewed now.
    pub(crate) fn restart(&mut self) {
        for lease in self.by_holder.values_mut() {
            lease.renewed_ms = self.now_ms;
        }
    }

    /// A file was opened by `holder`, which also renews the holder's lease.
    pub(crate) fn add(&mut self, holder: &str, file: INodeId) {
        let now_ms = self.now_ms;
        let lease = match self.by_holder.get_mut(holder) {
            Some(lease) => lease,
            None => self.by_holder.entry(holder.into()).or_default(),
        };
        lease.renewed_ms = now_ms;
        if lease.files.insert(file) {
            self.files += 1;
        }
    }

    /// A file was closed or deleted.
    pub(crate) fn remove(&mut self, holder: &str, file: INodeId) {
        let Some(lease) = self.by_holder.get_mut(holder) else { return };
        if lease.files.remove(&file) {
            self.files -= 1;
        }
        if lease.files.is_empty() {
            self.by_holder.remove(holder);
        }
    }

    /// Renews a holder's lease; false when it has none, which is no fault.
    pub(crate) fn renew(&mut self, holder: &str) -> bool {
        let now_ms = self.now_ms;
        self.by_holder.get_mut(holder).map(|lease| lease.renewed_ms = now_ms).is_some()
    }

    /// Whether the holder was not heard of for longer than `limit_ms`.
    #[must_use]
    pub fn is_expired(&self, holder: &str, limit_ms: u64) -> bool {
        self.by_holder
            .get(holder)
            .is_none_or(|lease| self.now_ms.saturating_sub(lease.renewed_ms) > limit_ms)
    }

    /// The holders that were not heard of for longer than `limit_ms`, each with its files.
    pub fn expired(&self, limit_ms: u64) -> impl Iterator<Item = (&str, INodeId)> {
        self.by_holder
            .iter()
            .filter(move |(_, lease)| self.now_ms.saturating_sub(lease.renewed_ms) > limit_ms)
            .flat_map(|(holder, lease)| lease.files.iter().map(|&file| (holder.as_ref(), file)))
    }

    /// Every open file with its holder, holders in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, INodeId)> {
        self.by_holder
            .iter()
            .flat_map(|(holder, lease)| lease.files.iter().map(|&file| (holder.as_ref(), file)))
    }

    /// The files that `holder` has open.
    #[must_use]
    pub fn count_of(&self, holder: &str) -> usize {
        self.by_holder.get(holder).map_or(0, |lease| lease.files.len())
    }

    /// How many files are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files
    }

    /// Whether no file is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_lease_lives_on_and_a_silent_one_expires() {
        let mut leases = Leases::default();
        leases.tick(1_000);
        leases.add("a", INodeId(1));
        leases.add("b", INodeId(2));
        leases.tick(50_000);
        assert!(leases.renew("a"));
        assert!(!leases.renew("nobody"));
        leases.tick(61_001);
        assert!(leases.is_expired("b", SOFT_LIMIT_MS));
        assert!(!leases.is_expired("a", SOFT_LIMIT_MS));
        assert_eq!(leases.expired(SOFT_LIMIT_MS).collect::<Vec<_>>(), [("b", INodeId(2))]);
        leases.tick(5);
        assert!(leases.is_expired("b", SOFT_LIMIT_MS), "time does not go back");
        leases.restart();
        assert!(!leases.is_expired("b", SOFT_LIMIT_MS), "a start gives everybody a full limit");
        leases.remove("b", INodeId(2));
        leases.remove("b", INodeId(2));
        assert_eq!((leases.len(), leases.count_of("b")), (1, 0));
    }
}
