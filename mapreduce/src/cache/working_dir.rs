//! The directory that an attempt's user code runs in.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hfs_protocol::proto::task::CachedItem;

/// Its name in the attempt's directory, beside spills and map output.
const NAME: &str = "work";

/// A directory of an attempt's own with links to the job's cache items. What the attempt leaves in it
/// goes when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkingDir(PathBuf);

impl WorkingDir {
    pub(crate) fn make(attempt_dir: &Path, cached: &[CachedItem]) -> Result<Self> {
        let path = attempt_dir.join(NAME);
        let make = || -> io::Result<()> {
            fs::create_dir_all(&path)?;
            for item in cached {
                symlink(&item.path, path.join(&item.link))?;
            }
            Ok(())
        };
        make().with_context(|| {
            format!("the task's working directory {} can't be made", path.display())
        })?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkingDir {
    fn drop(&mut self) {
        // The attempt's whole directory goes with the job, whatever is left here.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links_go_and_what_they_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let words = dir.path().join("words");
        fs::write(&words, "a b").unwrap();
        let item = CachedItem { link: "w".into(), path: words.to_str().unwrap().into() };
        let working = WorkingDir::make(&dir.path().join("attempt"), &[item]).unwrap();
        assert_eq!(fs::read_to_string(working.path().join("w")).unwrap(), "a b");
        fs::write(working.path().join("scratch"), "x").unwrap();
        let path = working.path().to_owned();
        drop(working);
        assert!(!path.exists() && words.exists());
    }
}
