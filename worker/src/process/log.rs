//! What an attempt prints: kept in a file up to a limit, and its last words always.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// The last words kept when the limit is passed.
const TAIL_BYTES: usize = 64 << 10;
/// The last lines that go with a failure.
const EXCERPT_LINES: usize = 20;
/// And at most so many bytes of them.
const EXCERPT_BYTES: usize = 8 << 10;

/// The log of one attempt.
///
/// A task that prints without end fills its file up to the limit; from then on only the last
/// [`TAIL_BYTES`] are kept, in memory, and added to the file when the attempt ends.
#[derive(Debug)]
pub struct AttemptLog {
    file: Option<File>,
    written: u64,
    limit: u64,
    left_out: u64,
    tail: VecDeque<u8>,
}

impl AttemptLog {
    /// Begins a log. When the file can't be made the last words are kept all the same.
    #[must_use]
    pub fn create(path: &Path, limit: u64) -> Self {
        let make = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            File::create(path)
        };
        let file =
            make().inspect_err(|e| tracing::warn!("can't write log {}: {e}", path.display())).ok();
        Self { file, written: 0, limit, left_out: 0, tail: VecDeque::new() }
    }

    /// Takes what was printed.
    pub fn write(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.limit - self.written.min(self.limit)).unwrap_or(usize::MAX);
        let now = &bytes[..bytes.len().min(room)];
        if let Some(file) = &mut self.file
            && !now.is_empty()
            && file.write_all(now).is_err()
        {
            // A full disk: the last words are what can still be had.
            self.file = None;
        }
        self.written += now.len() as u64;
        self.left_out += (bytes.len() - now.len()) as u64;
        self.tail.extend(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
    }

    /// The last lines, for people.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let from = bytes.len().saturating_sub(EXCERPT_BYTES);
        let text = String::from_utf8_lossy(&bytes[from..]);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(EXCERPT_LINES)..].join("\n")
    }

    /// Ends the log: what was left out is said, and the last words follow.
    pub fn finish(&mut self) {
        let kept = self.left_out.min(self.tail.len() as u64);
        let gap = self.left_out - kept;
        if self.left_out > 0
            && let Some(file) = &mut self.file
        {
            let (a, b) = self.tail.as_slices();
            let all: Vec<u8> = [a, b].concat();
            let words = &all[all.len() - usize::try_from(kept).unwrap_or(0)..];
            let note = format!("\n[hfs: {gap} bytes of log left out here]\n");
            // The log is a courtesy: when its end can't be written the attempt is what it is.
            let _ = file.write_all(note.as_bytes()).and_then(|()| file.write_all(words));
        }
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_short_log_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j/a.log");
        let mut log = AttemptLog::create(&path, 100);
        log.write(b"one\n");
        log.write(b"two\n");
        assert_eq!(log.excerpt(), "one\ntwo");
        log.finish();
        assert_eq!(fs::read(path).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = AttemptLog::create(&path, 1000);
        for n in 0..100_000 {
            log.write(format!("line {n}\n").as_bytes());
        }
        assert!(log.excerpt().ends_with("line 99999"));
        assert_eq!(log.excerpt().lines().count(), EXCERPT_LINES);
        log.finish();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("line 0\n") && text.ends_with("line 99999\n"));
        assert!(text.contains("left out here"));
        assert!(text.len() < 1000 + TAIL_BYTES + 100);
    }
}
