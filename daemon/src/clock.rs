//! Time as a value that is handed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where an edge reads the time before it passes it on to a core, which has no clock of its own.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the epoch, for stamps that people and clients see. May jump when somebody sets
    /// the machine's clock, so never compare two of them to decide that something is dead.
    fn now_ms(&self) -> u64;

    /// Time since some fixed moment in the past, never going backwards. Leases, heartbeats and deadlines use this.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A machine whose clock says 1969 gets stamps of zero, not a dead daemon.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until a test turns it. Clones share the same hands.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    hands: Arc<Hands>,
}

#[derive(Debug, Default)]
struct Hands {
    wall_ms: AtomicU64,
    monotonic_ns: AtomicU64,
}

impl ManualClock {
    /// A clock whose wall shows `now_ms` and whose monotonic time is zero.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        let clock = Self::default();
        clock.hands.wall_ms.store(now_ms, Ordering::SeqCst);
        clock
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.hands.monotonic_ns.fetch_add(ns, Ordering::SeqCst);
        self.hands.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP does; monotonic time does not notice.
    pub fn set_wall_ms(&self, now_ms: u64) {
        self.hands.wall_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.hands.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.hands.monotonic_ns.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_leaves_monotonic_time_alone() {
        let clock = ManualClock::new(1_000);
        clock.advance(Duration::from_millis(5));
        clock.set_wall_ms(10);
        assert_eq!(clock.now_ms(), 10);
        assert_eq!(clock.monotonic(), Duration::from_millis(5));
    }

    #[test]
    fn the_system_clock_does_not_go_backwards() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(clock.now_ms() > 1_600_000_000_000, "a date after 2020");
    }
}
