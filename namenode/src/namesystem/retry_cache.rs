//! Which calls were already done, so that a call that is sent again is answered and not done again (HDFS `RetryCache`).
//!
//! Part of the journalled state: an operation carries the key of its call, so a namenode that was killed after the
//! journal and before the answer knows the call when the client sends it again. Entries leave by the stamps
//! of later operations, never by a clock.

use std::collections::VecDeque;

use hashbrown::HashMap;
use hfs_protocol::ids::INodeId;

use super::codec::record;
use super::types::RetryKey;

/// How long a call is remembered, in milliseconds of the operations' own stamps.
pub const KEEP_MS: u64 = 10 * 60_000;
/// The most calls that are remembered; the oldest go first. At forty thousand changes a second these are six seconds, several
/// times what a client waits before it sends a call again.
pub const MAX_CALLS: usize = 1 << 18;

record! {
    /// What is remembered of a call.
    pub struct Done {
        /// The operation's number: an answer fits only a call that asks for the same thing.
        pub op: u8,
        /// The inode the answer is about; 0 when the answer is just "done".
        pub inode: INodeId,
        /// The operation's stamp.
        pub time_ms: u64,
    }
}

/// Remembered calls.
#[derive(Debug, Clone, Default)]
pub struct RetryCache {
    /// Only ever looked up, so its order means nothing.
    calls: HashMap<RetryKey, Done>,
    /// Oldest first.
    order: VecDeque<(u64, RetryKey)>,
}

impl RetryCache {
    /// What was answered to this call, when operation `op` did it.
    #[must_use]
    pub fn get(&self, key: &RetryKey, op: u8) -> Option<&Done> {
        self.calls.get(key).filter(|done| done.op == op)
    }

    /// Remembers a call and forgets those that are too old beside it. A key that is known keeps its place in the line.
    pub(crate) fn insert(&mut self, key: RetryKey, done: Done) {
        let now_ms = done.time_ms;
        if self.calls.insert(key, done).is_none() {
            self.order.push_back((now_ms, key));
        }
        while let Some((time_ms, key)) = self.order.front() {
            if time_ms.saturating_add(KEEP_MS) >= now_ms && self.order.len() <= MAX_CALLS {
                break;
            }
            self.calls.remove(key);
            self.order.pop_front();
        }
    }

    /// Remembered calls, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RetryKey, &Done)> {
        self.order.iter().filter_map(|(_, key)| self.calls.get_key_value(key))
    }

    /// How many calls are in line.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(call_id: i32) -> RetryKey {
        RetryKey { client_id: [7; 16], call_id }
    }

    fn done(time_ms: u64) -> Done {
        Done { op: 3, inode: INodeId(0), time_ms }
    }

    #[test]
    fn calls_leave_by_the_stamps_of_later_ones() {
        let mut cache = RetryCache::default();
        cache.insert(key(1), done(0));
        cache.insert(key(2), done(KEEP_MS));
        assert_eq!(cache.get(&key(1), 3), Some(&done(0)), "just in time");
        assert_eq!(cache.get(&key(1), 4), None, "another operation's answer is no answer");
        cache.insert(key(3), done(KEEP_MS + 1));
        assert_eq!(cache.get(&key(1), 3), None);
        assert_eq!(cache.iter().count(), 2);
    }

    #[test]
    fn the_number_of_calls_is_bounded() {
        let mut cache = RetryCache::default();
        for call_id in 0..=MAX_CALLS as i32 {
            cache.insert(key(call_id), done(1));
            cache.insert(key(call_id), done(1));
        }
        assert_eq!(cache.len(), MAX_CALLS);
        assert_eq!(cache.get(&key(0), 3), None);
    }
}
