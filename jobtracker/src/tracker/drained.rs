//! Which hosts and workers get no tasks, in a file: an operator's word survives a restart.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// The file: one host or worker id a line.
#[derive(Debug, Clone)]
pub struct DrainedFile {
    path: PathBuf,
    /// The number of the newest change that is in the file.
    written: Arc<Mutex<u64>>,
}

impl DrainedFile {
    /// The file in the jobtracker's directory. It need not be there.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self { path: dir.join("drained"), written: Arc::default() }
    }

    /// What it says.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn read(&self) -> Result<Vec<String>, String> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(format!("can't read {}: {e}", self.path.display())),
        }
    }

    /// Replaces what it says, durably. Changes are numbered from 1; one that comes after a newer one
    /// changes nothing.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn write(&self, number: u64, nodes: &BTreeSet<String>) -> Result<(), String> {
        let mut written = self.written.lock();
        if number <= *written {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let replace = || {
            let mut file = File::create(&new)?;
            for node in nodes {
                writeln!(file, "{node}")?;
            }
            file.sync_data()?;
            fs::rename(&new, &self.path)?;
            self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        replace().map_err(|e| format!("can't write {}: {e}", self.path.display()))?;
        *written = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_written_last_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = DrainedFile::in_dir(dir.path());
        assert!(file.read().unwrap().is_empty());
        let two: BTreeSet<String> = ["a".to_owned(), "b:1".to_owned()].into();
        file.write(2, &two).unwrap();
        file.write(1, &BTreeSet::new()).unwrap();
        assert_eq!(DrainedFile::in_dir(dir.path()).read().unwrap(), ["a", "b:1"]);
        file.write(3, &BTreeSet::new()).unwrap();
        assert!(file.read().unwrap().is_empty());
    }
}
