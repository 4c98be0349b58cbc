//! Safe mode: after a start the namenode changes nothing until it has seen enough replicas.
//!
//! Left the moment the threshold is met: there is no extra wait, since repairs check the facts
//! again before they act and removals wait out their own grace.

/// Why the namespace can't change now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    /// Since the start, until the threshold is met.
    Startup,
    /// An operator asked for it; only an operator ends it.
    Manual,
}

/// Counts what safe mode waits for (HDFS `BlockManagerSafeMode`).
#[derive(Debug, Clone)]
pub struct SafeMode {
    mode: Mode,
    threshold: f64,
    min_datanodes: usize,
    /// Complete blocks in the namespace.
    total: u64,
    /// Those of them with at least one good replica.
    safe: u64,
    /// Reported blocks that this namespace never gave out.
    future: usize,
}

impl SafeMode {
    /// Safe mode as after a start.
    #[must_use]
    pub fn at_startup(threshold: f64, min_datanodes: usize) -> Self {
        Self { mode: Mode::Startup, threshold, min_datanodes, total: 0, safe: 0, future: 0 }
    }

    /// Whether the namespace may not change.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// Whether it is on since the start and ends by itself.
    #[must_use]
    pub fn is_startup(&self) -> bool {
        self.mode == Mode::Startup
    }

    /// An operator turns it on; only [`SafeMode::leave`] ends it.
    pub fn enter(&mut self) {
        self.mode = Mode::Manual;
    }

    /// An operator turns it off, whatever it waits for.
    pub fn leave(&mut self) {
        self.mode = Mode::Off;
    }

    pub(super) fn adjust(&mut self, total: i64, safe: i64) {
        self.total = self.total.saturating_add_signed(total);
        self.safe = self.safe.saturating_add_signed(safe);
    }

    /// Blocks that datanodes hold and this namespace never gave out. With any, start-up safe mode
    /// does not end by itself (as in HDFS): the name directory is older than the data, and the next
    /// blocks would get the ids of those.
    pub(super) fn set_future(&mut self, blocks: usize) {
        self.future = blocks;
    }

    /// Blocks needed: the threshold of all, rounded down as HDFS does, but never below one block
    /// of a namespace that has any.
    fn needed(&self) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a block count; an error of one in 2^53 does not matter"
        )]
        let share = (self.total as f64 * self.threshold) as u64;
        share.max(u64::from(self.total > 0 && self.threshold > 0.0)).min(self.total)
    }

    /// Leaves start-up safe mode if the threshold is met. True: it was left just now.
    pub fn check(&mut self, live_datanodes: usize) -> bool {
        let met =
            self.safe >= self.needed() && live_datanodes >= self.min_datanodes && self.future == 0;
        if self.mode == Mode::Startup && met {
            self.mode = Mode::Off;
            return true;
        }
        false
    }

    /// What a refused caller is told; `None` when off.
    #[must_use]
    pub fn reason(&self, live_datanodes: usize) -> Option<String> {
        match self.mode {
            Mode::Off => None,
            Mode::Manual => Some(
                "safe mode is on: an operator turned it on; it ends with 'hfs admin safemode \
                 leave' (setSafeMode LEAVE)"
                    .to_owned(),
            ),
            Mode::Startup if self.future > 0 => Some(format!(
                "safe mode is on since the start: datanodes hold {} blocks that this namespace never \
                 gave out, so its directory is older than the data. Restore the newest copy of the \
                 name directory; or, to give those blocks up, 'hfs admin safemode leave' \
                 (setSafeMode LEAVE)",
                self.future
            )),
            Mode::Startup => {
                let blocks = self.needed().saturating_sub(self.safe);
                let nodes = self.min_datanodes.saturating_sub(live_datanodes);
                Some(format!(
                    "safe mode is on since the start: {} of {} blocks have a replica, {blocks} \
                     more needed (threshold {}); {live_datanodes} live datanodes, {nodes} more \
                     needed; it ends by itself when the datanodes have reported",
                    self.safe, self.total, self.threshold
                ))
            }
        }
    }

    /// Complete blocks, and those of them with a good replica.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.safe, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_namespace_needs_only_the_datanodes() {
        let mut mode = SafeMode::at_startup(0.999, 0);
        assert!(mode.is_on());
        assert!(mode.check(0));
        assert!(!mode.is_on());
        let mut mode = SafeMode::at_startup(0.999, 2);
        assert!(!mode.check(1));
        assert!(mode.check(2));
    }

    #[test]
    fn it_ends_at_the_threshold_and_says_what_it_waits_for() {
        let mut mode = SafeMode::at_startup(0.999, 0);
        mode.adjust(2000, 1997);
        assert!(!mode.check(3));
        let reason = mode.reason(3).expect("on");
        assert!(reason.contains("1997 of 2000") && reason.contains("1 more"), "{reason}");
        mode.adjust(0, 1);
        assert!(mode.check(3));
        assert!(!mode.check(3), "left once");
    }

    #[test]
    fn an_operator_s_safe_mode_does_not_end_by_itself() {
        let mut mode = SafeMode::at_startup(0.999, 0);
        mode.enter();
        assert!(!mode.check(9) && mode.is_on());
        mode.leave();
        assert!(!mode.is_on());
    }

    #[test]
    fn blocks_of_a_newer_namespace_keep_it_on() {
        let mut mode = SafeMode::at_startup(0.999, 0);
        mode.set_future(2);
        assert!(!mode.check(1));
        assert!(mode.reason(1).is_some_and(|r| r.contains("2 blocks") && r.contains("Restore")));
        mode.set_future(0);
        assert!(mode.check(1));
    }

    #[test]
    fn one_block_needs_its_replica() {
        let mut mode = SafeMode::at_startup(0.999, 0);
        mode.adjust(1, 0);
        assert!(!mode.check(1));
    }
}
