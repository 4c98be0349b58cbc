//! Skip mode: which record a task works on, written down so that whoever finds the task dead knows what killed it.
//!
//! A task in skip mode notes the number of every record before its mapper gets it (of every group, before its
//! reducer does) in a file of its attempt's directory. The file outlives the process: its worker reads it when the
//! attempt has failed, the jobtracker keeps the number, and the task's next attempt leaves the record out.
//! (Hadoop: `SkipBadRecords`, where the task reports ranges to its tracker.)

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The file's name in the attempt's directory.
const FILE: &str = "record-at-work";
/// No record is at work.
const NONE: u64 = u64::MAX;

/// Notes the record at work.
#[derive(Debug)]
pub struct RecordAtWork(File);

impl RecordAtWork {
    /// Begins in an attempt's directory, with no record at work.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(attempt_dir: &Path) -> io::Result<Self> {
        let at_work = Self(File::create(attempt_dir.join(FILE))?);
        at_work.ends()?;
        Ok(at_work)
    }

    /// The record of this number, counted from 0 in the task's input, is at work.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn begins(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(&number.to_le_bytes(), 0)
    }

    /// No record is at work any more.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn ends(&self) -> io::Result<()> {
        self.begins(NONE)
    }

    /// The record that was at work when the attempt of this directory ended. `None` when there was none, or the
    /// attempt was not in skip mode.
    #[must_use]
    pub fn read(attempt_dir: &Path) -> Option<u64> {
        let path = attempt_dir.join(FILE);
        // The directory is the task's own, and so is what it may have put there.
        let whole = fs::symlink_metadata(&path).is_ok_and(|file| file.is_file() && file.len() == 8);
        let bytes = fs::read(path).ok().filter(|_| whole)?;
        let number = u64::from_le_bytes(bytes.try_into().ok()?);
        (number != NONE).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_record_at_work_is_known_from_outside() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RecordAtWork::read(dir.path()), None);
        let at_work = RecordAtWork::create(dir.path()).unwrap();
        assert_eq!(RecordAtWork::read(dir.path()), None);
        at_work.begins(7).unwrap();
        assert_eq!(RecordAtWork::read(dir.path()), Some(7));
        at_work.ends().unwrap();
        assert_eq!(RecordAtWork::read(dir.path()), None);
        // As a full disk may leave it.
        fs::write(dir.path().join(FILE), [1, 2, 3]).unwrap();
        assert_eq!(RecordAtWork::read(dir.path()), None);
    }
}
