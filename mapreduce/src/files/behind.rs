//! Writing files that are larger than the memory.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// Bytes between two words to the system.
const STEP_BYTES: u64 = 8 << 20;
/// Bytes before these that are on the disk by now, as a rule.
const LAG_BYTES: u64 = 4 * STEP_BYTES;

/// Sends what is written on to the disk while more is made, and lets go of its memory once it is there. Left to itself
/// the system begins when its memory is full of such bytes, and whoever needs memory then waits for the disk.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    sent: u64,
}

impl WriteBehind {
    /// So many bytes of the file have been written.
    pub(crate) fn wrote(&mut self, file: &File, written: u64) {
        if written.saturating_sub(self.sent) < STEP_BYTES {
            return;
        }
        let from = self.sent.saturating_sub(LAG_BYTES);
        // Linux begins to write what is dirty in such a range, and drops what is not. Advice only: without it all is
        // as before.
        let _ = fadvise(file, from, NonZeroU64::new(written - from), Advice::DontNeed);
        self.sent = written;
    }
}
