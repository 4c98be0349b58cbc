//! `put`, `copyFromLocal`, `moveFromLocal`: local files into the file system.

use std::ffi::{OsStr, OsString};

use clap::Args;

use super::shell::{Complaint, Done, Shell};
use super::transfer::{
    self, Copier, CopyOptions, End, LocalPath, Node, Preserve, Progress, Stop, THREADS_DEFAULT,
    THREADS_MAX,
};

/// Copies local files and directories into the file system.
#[derive(Debug, Clone, Args)]
pub struct Put {
    /// Replace files that are there
    #[arg(short = 'f')]
    pub force: bool,
    /// Keep times, owner, group and permission
    #[arg(short = 'p')]
    pub preserve: bool,
    /// Write under the final name from the start, without ._COPYING_
    #[arg(short = 'd')]
    pub direct: bool,
    /// Files copied at the same time
    #[arg(short = 't', value_name = "N", default_value_t = THREADS_DEFAULT)]
    pub threads: usize,
    /// Accepted for FsShell's sake: how many files wait is bounded in any case
    #[arg(short = 'q', value_name = "N", hide = true)]
    pub queue: Option<usize>,
    /// Local files and directories, or - for standard input; then the target. With one path alone,
    /// the target is the home directory
    #[arg(required = true, value_name = "LOCAL... TARGET")]
    pub paths: Vec<OsString>,
}

/// Moves local files and directories into the file system.
#[derive(Debug, Clone, Args)]
pub struct MoveFromLocal {
    #[command(flatten)]
    put: Put,
}

impl MoveFromLocal {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        self.put.copy(shell, true).await;
    }
}

impl Put {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        self.copy(shell, false).await;
    }

    async fn copy(&self, shell: &Shell, delete_source: bool) {
        if let Err(complaint) = self.try_copy(shell, delete_source).await {
            shell.complain(&complaint);
        }
    }

    async fn try_copy(&self, shell: &Shell, delete_source: bool) -> Done {
        let options = CopyOptions {
            overwrite: self.force,
            direct: self.direct,
            preserve: Preserve::when(self.preserve),
            delete_source,
            threads: self.threads.clamp(1, THREADS_MAX),
        };
        let (sources, target) = match self.paths.split_last() {
            Some((target, sources)) if !sources.is_empty() => (sources, target.as_os_str()),
            _ => (self.paths.as_slice(), OsStr::new(".")),
        };
        let end = target_end(shell, target).await?;
        if let [only] = sources
            && only == "-"
        {
            return from_stdin(end, options).await;
        }
        let nodes = sources.iter().map(|source| Node::local(local_path(source))).collect();
        let mut copier = Copier::new(shell, options);
        let done = copier.copy_all(nodes, &end).await;
        copier.finish().await;
        done
    }
}

/// The local path of an argument, with or without `file:`.
#[must_use]
pub fn local_path(argument: &OsStr) -> LocalPath {
    argument.to_str().and_then(transfer::local_argument).unwrap_or_else(|| LocalPath::new(argument))
}

/// The target of a verb that writes to the file system.
///
/// # Errors
/// It is not UTF-8, or no file system is at its URL.
pub async fn target_end(shell: &Shell, argument: &OsStr) -> Done<End> {
    let Some(text) = argument.to_str() else {
        return Err(Complaint(format!(
            "{argument:?}: the target is not UTF-8, and names in HDFS must be"
        )));
    };
    match transfer::local_argument(text) {
        Some(path) => Ok(End::Local(path)),
        None => {
            let mut target = shell.target(text).await?;
            if text.ends_with('/') {
                // A slash at the end says that a directory is meant; it is not lost.
                target.shown = text.to_owned();
            }
            Ok(End::Remote(target))
        }
    }
}

/// Standard input to one file. In a directory it is called `-`, as FsShell has it.
async fn from_stdin(end: End, options: CopyOptions) -> Done {
    let End::Remote(target) = end else {
        return Err(Complaint("standard input can only be put into a file system".to_owned()));
    };
    let target = match target.try_status().await? {
        Some(status) if status.is_dir() => target.child("-"),
        Some(_) if !options.overwrite => {
            return Err(Complaint::path(&target.shown, "File exists"));
        }
        Some(_) => target,
        None => {
            let end = End::Remote(target.clone());
            if end.says_directory() || !end.parent_exists().await? {
                return Err(end.not_there());
            }
            target
        }
    };
    let (progress, stop) = (Progress::begin_unknown(), Stop::on_interrupt());
    let done = transfer::stdin_to(&target, options, (&progress, &stop)).await;
    progress.finish();
    done
}
