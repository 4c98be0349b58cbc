//! Trying again: how long, and how long to wait in between. Pure; the caller sleeps.

use std::time::Duration;

/// The first wait before a call is tried again.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Waits double up to this one.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A bounded stretch of time for tries, with growing waits between them. Time is told as
/// what has elapsed since the first try.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    total: Duration,
    next_wait: Duration,
}

impl Budget {
    pub(crate) const fn new(total: Duration) -> Self {
        Self { total, next_wait: FIRST_WAIT }
    }

    /// How long to wait before the next try, or nothing when the budget is used up.
    pub(crate) fn wait(&mut self, elapsed: Duration) -> Option<Duration> {
        let left = self.total.checked_sub(elapsed).filter(|left| !left.is_zero())?;
        let wait = self.next_wait.min(left);
        self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
        Some(wait)
    }

    /// The whole stretch.
    pub(crate) const fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_with_the_budget() {
        let mut budget = Budget::new(Duration::from_secs(5));
        let mut elapsed = Duration::ZERO;
        let mut waits = Vec::new();
        while let Some(wait) = budget.wait(elapsed) {
            waits.push(wait);
            elapsed += wait;
        }
        assert_eq!(elapsed, budget.total());
        assert_eq!(waits[0], FIRST_WAIT);
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT));
        assert!(waits.len() < 15);
        assert_eq!(Budget::new(Duration::ZERO).wait(Duration::ZERO), None);
    }
}
