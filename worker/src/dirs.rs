//! Where things lie in a worker's directory.
//!
//! ```text
//!  programs/<sha256>                 job programs, verified, executable
//!  jobs/<job>/<attempt>/             an attempt's own: spills, map output
//!  jobs/<job>/<attempt>/work/        where its user code runs, with links to the cache items
//!  jobs/<job>/cache/<number>/<link>  a cache item of the job, brought once
//!  logs/<job>/<attempt>.log          what it printed; outlives the job
//!  sockets/                          where task processes talk to the worker
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The longest path a Unix socket can have here (`sockaddr_un`, less the final zero).
const SOCKET_PATH_MAX: usize = 107;
/// Room for a socket's name after its directory.
const SOCKET_NAME_MAX: usize = 24;

/// A worker's directory.
#[derive(Debug, Clone)]
pub struct Dirs {
    root: PathBuf,
    sockets: PathBuf,
}

impl Dirs {
    /// Makes the directories and clears what an earlier worker left that is of no use any more: map
    /// output and half-made files, whose jobs count this worker's predecessor as dead.
    ///
    /// # Errors
    /// When a directory can't be made; the error names it.
    pub fn prepare(root: &Path) -> io::Result<Self> {
        let named = |path: &Path, e: io::Error| {
            io::Error::new(e.kind(), format!("can't use directory {}: {e}", path.display()))
        };
        let jobs = root.join("jobs");
        match fs::remove_dir_all(&jobs) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(named(&jobs, e)),
            _ => {}
        }
        for name in ["jobs", "logs", "programs"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(|e| named(&path, e))?;
        }
        let root = root.canonicalize().map_err(|e| named(root, e))?;
        let mut sockets = root.join("sockets");
        if sockets.as_os_str().len() + SOCKET_NAME_MAX > SOCKET_PATH_MAX {
            sockets = std::env::temp_dir().join(format!("hfs-worker-{}", std::process::id()));
        }
        match fs::remove_dir_all(&sockets) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(named(&sockets, e)),
            _ => {}
        }
        make_private(&sockets).map_err(|e| named(&sockets, e))?;
        Ok(Self { root, sockets })
    }

    /// The whole directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a program lies.
    #[must_use]
    pub fn program(&self, sha256: &str) -> PathBuf {
        self.root.join("programs").join(sha256)
    }

    /// The directory of a job's attempts.
    #[must_use]
    pub fn job(&self, job: &str) -> PathBuf {
        self.root.join("jobs").join(job)
    }

    /// An attempt's own directory.
    #[must_use]
    pub fn attempt(&self, job: &str, attempt: &str) -> PathBuf {
        self.job(job).join(attempt)
    }

    /// The directory of the job's cache item of this number, from 0.
    #[must_use]
    pub fn cache(&self, job: &str, number: usize) -> PathBuf {
        self.job(job).join("cache").join(number.to_string())
    }

    /// Where an attempt's log lies.
    #[must_use]
    pub fn log(&self, job: &str, attempt: &str) -> PathBuf {
        self.root.join("logs").join(job).join(format!("{attempt}.log"))
    }

    /// A path for the socket of the process of this number.
    #[must_use]
    pub fn socket(&self, number: u64) -> PathBuf {
        self.sockets.join(format!("t{number}"))
    }

    /// Keeps the newest of the programs and of the jobs' logs.
    pub fn trim(&self, keep_programs: usize, keep_logs: usize) {
        trim(&self.root.join("programs"), keep_programs);
        trim(&self.root.join("logs"), keep_logs);
    }

    /// Takes away what only a running worker needs.
    pub fn clear_sockets(&self) {
        let _ = fs::remove_dir_all(&self.sockets);
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Deletes all but the newest entries. What can't be deleted now is tried again next time.
fn trim(dir: &Path, keep: usize) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    if found.len() <= keep {
        return;
    }
    found.sort();
    let surplus = found.len() - keep;
    for (_, path) in found.into_iter().take(surplus) {
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(e) = removed {
            tracing::warn!("can't delete {}: {e}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn old_outputs_go_and_logs_stay() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::prepare(root.path()).unwrap();
        for path in [dirs.attempt("j", "a").join("out"), dirs.log("j", "a"), dirs.program("p")] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let dirs = Dirs::prepare(root.path()).unwrap();
        assert!(!dirs.job("j").exists());
        assert!(dirs.log("j", "a").exists() && dirs.program("p").exists());
        assert!(dirs.socket(u64::MAX).as_os_str().len() <= SOCKET_PATH_MAX);
        dirs.trim(0, 0);
        assert!(!dirs.log("j", "a").exists() && !dirs.program("p").exists());
    }

    #[test]
    fn a_deep_directory_has_its_sockets_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        let dirs = Dirs::prepare(&deep).unwrap();
        assert!(dirs.socket(1).as_os_str().len() <= SOCKET_PATH_MAX);
        dirs.clear_sockets();
    }
}
