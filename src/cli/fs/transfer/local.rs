//! Local files as the copying verbs see them: names, errors in FsShell's words, owners.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::shell::{Complaint, Done};

/// A local path, with the form the user knows it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath {
    /// Where it is.
    pub path: PathBuf,
    /// How it is shown: what is not UTF-8 in it is replaced.
    pub shown: String,
}

impl LocalPath {
    /// A path as it was given.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { shown: path.to_string_lossy().into_owned(), path }
    }

    /// The last component.
    ///
    /// # Errors
    /// It is not UTF-8, so no path of HDFS can have it; or there is none (`/`, `..`).
    pub fn name(&self) -> Done<String> {
        let absolute;
        let name = match self.path.file_name() {
            Some(name) => name,
            None => {
                // `.` and `..` are named by where they lead.
                absolute = self.path.canonicalize().map_err(|e| io_complaint(&self.shown, &e))?;
                absolute
                    .file_name()
                    .ok_or_else(|| Complaint::path(&self.shown, "has no name of its own"))?
            }
        };
        name.to_str().map(str::to_owned).ok_or_else(|| {
            Complaint(format!(
                "{:?}: the name is not UTF-8, and names in HDFS must be; rename it first",
                self.path
            ))
        })
    }

    /// The entry of this name in this directory.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::new(self.path.join(name))
    }
}

/// What an I/O error on a local path means, in FsShell's words.
#[must_use]
pub fn io_complaint(shown: &str, error: &io::Error) -> Complaint {
    let text = error.to_string();
    let what = match error.kind() {
        io::ErrorKind::NotFound => "No such file or directory",
        io::ErrorKind::PermissionDenied => "Permission denied",
        io::ErrorKind::AlreadyExists => "File exists",
        io::ErrorKind::NotADirectory => "Is not a directory",
        io::ErrorKind::IsADirectory => "Is a directory",
        _ => text.split(" (os error").next().unwrap_or(&text),
    };
    Complaint::path(shown, what)
}

/// The name of a number in `/etc/passwd` or `/etc/group`; the number itself when none is listed.
#[must_use]
pub fn name_of(table: &str, id: u32) -> String {
    entries(table)
        .find(|(_, listed)| *listed == id)
        .map_or_else(|| id.to_string(), |(name, _)| name)
}

/// The number of a name in `/etc/passwd` or `/etc/group`, or the number that the name is.
#[must_use]
pub fn id_of(table: &str, name: &str) -> Option<u32> {
    entries(table)
        .find(|(listed, _)| listed == name)
        .map(|(_, id)| id)
        .or_else(|| name.parse().ok())
}

/// Names and numbers of a table in the form of `/etc/passwd`: `name:x:number:...`.
fn entries(table: &str) -> impl Iterator<Item = (String, u32)> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

/// The users of this machine.
#[must_use]
pub fn users() -> String {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default()
}

/// The groups of this machine.
#[must_use]
pub fn groups() -> String {
    std::fs::read_to_string("/etc/group").unwrap_or_default()
}

/// Milliseconds since the epoch of a time as the file system gives it; 0 before the epoch.
#[must_use]
pub fn millis(seconds: i64, nanos: i64) -> u64 {
    u64::try_from(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)).unwrap_or(0)
}

/// When a file was last changed and read, milliseconds since the epoch.
#[must_use]
pub fn times(metadata: &std::fs::Metadata) -> (u64, u64) {
    (
        millis(metadata.mtime(), metadata.mtime_nsec()),
        millis(metadata.atime(), metadata.atime_nsec()),
    )
}

/// Whether a directory is there to hold `path`.
#[must_use]
pub fn parent_exists(path: &Path) -> bool {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => true,
        Some(parent) => parent.is_dir(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn users_are_found_both_ways() {
        let table = "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:\n";
        assert_eq!(name_of(table, 1000), "alice");
        assert_eq!(name_of(table, 7), "7");
        assert_eq!(id_of(table, "root"), Some(0));
        assert_eq!(id_of(table, "7"), Some(7));
        assert_eq!(id_of(table, "bob"), None);
    }

    #[test]
    fn errors_have_fsshells_words() {
        let missing = std::fs::File::open("/no such file").unwrap_err();
        assert_eq!(io_complaint("/x", &missing).0, "`/x': No such file or directory");
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(io_complaint("/x", &full).0, "`/x': No space left on device");
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused_in_a_sentence() {
        let path = LocalPath::new(OsStr::from_bytes(b"/tmp/caf\xe9"));
        let complaint = path.name().unwrap_err().0;
        assert_eq!(
            complaint,
            "\"/tmp/caf\\xE9\": the name is not UTF-8, and names in HDFS must be; rename it first"
        );
        assert_eq!(LocalPath::new("/tmp/a b").name().unwrap(), "a b");
        assert_eq!(LocalPath::new("/").name().unwrap_err().0, "`/': has no name of its own");
    }

    #[test]
    fn times_before_the_epoch_are_the_epoch() {
        assert_eq!(millis(-5, 0), 0);
        assert_eq!(millis(1, 999_999_999), 1999);
    }
}
