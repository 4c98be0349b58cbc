//! What the verbs that move bytes share: trees copied from one end to another, several files at once.
//!
//! FsShell's rules (`CommandWithDestination`): several sources need a directory as their target; a
//! directory that is there takes the source as its child; a file is written beside its name as
//! `name._COPYING_` and renamed when whole, so that nobody sees half a file under its name.

mod end;
mod local;
mod progress;
mod pump;
mod stop;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

pub use end::{Attributes, End, Kind, Node, local_argument};
pub use local::{LocalPath, io_complaint};
pub use progress::Progress;
pub use pump::{copy_file, stdin_to, stream_to_stdout, upload_file, upload_stream};
pub use stop::{INTERRUPTED_EXIT, Stop};

use super::shell::{Complaint, Done, Shell};

/// What a file is called while it is being written.
pub const COPYING_SUFFIX: &str = "._COPYING_";

/// Files copied at the same time unless `-t` says otherwise. Small files wait for answers most of the
/// time; a few at once fill that time.
pub const THREADS_DEFAULT: usize = 4;

/// The most that `-t` may ask for.
pub const THREADS_MAX: usize = 64;

/// Which attributes of the source its copy keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preserve {
    /// Modification and access time.
    pub times: bool,
    /// Owner and group.
    pub ownership: bool,
    /// Permission bits.
    pub permission: bool,
}

impl Preserve {
    /// What `-p` alone means: all of it.
    pub const ALL: Self = Self { times: true, ownership: true, permission: true };

    /// What `-p` means when it is given or not.
    #[must_use]
    pub const fn when(given: bool) -> Self {
        if given { Self::ALL } else { Self { times: false, ownership: false, permission: false } }
    }
}

/// How a copy is made.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// Replace files that are there.
    pub overwrite: bool,
    /// Write under the final name from the start, without `._COPYING_`.
    pub direct: bool,
    /// What the copy keeps of its source.
    pub preserve: Preserve,
    /// Delete each local file once it has been copied (`moveFromLocal`).
    pub delete_source: bool,
    /// Files copied at the same time.
    pub threads: usize,
}

/// Copies trees, several files at once. Complaints are said as they come up; the other files go on.
pub struct Copier<'a> {
    shell: &'a Shell,
    options: CopyOptions,
    progress: Progress,
    running: JoinSet<Done>,
    /// Directories that get their attributes after all that is in them, because writing into them
    /// changes their times.
    directories: Vec<(Attributes, End)>,
    /// Local directories to remove once they are empty (`moveFromLocal`), parents before children.
    emptied: Vec<End>,
    failed: bool,
    stop: Stop,
}

impl<'a> Copier<'a> {
    /// A copier that complains through `shell`.
    #[must_use]
    pub fn new(shell: &'a Shell, options: CopyOptions) -> Self {
        Self {
            shell,
            options,
            progress: Progress::begin(),
            running: JoinSet::new(),
            directories: Vec::new(),
            emptied: Vec::new(),
            failed: false,
            stop: Stop::on_interrupt(),
        }
    }

    /// Copies all of `sources` to `destination`, by FsShell's rules.
    ///
    /// # Errors
    /// The destination is not what so many sources need; nothing has been copied then.
    pub async fn copy_all(&mut self, sources: Vec<Done<Node>>, destination: &End) -> Done {
        let kind = destination.kind().await?;
        let shown = destination.shown();
        match kind {
            None if sources.len() > 1 => {
                return Err(Complaint::path(&shown, "No such file or directory"));
            }
            None if destination.says_directory() || !destination.parent_exists().await? => {
                return Err(destination.not_there());
            }
            Some(Kind::File | Kind::Special) if sources.len() > 1 => {
                return Err(Complaint::path(&shown, "Is not a directory"));
            }
            Some(Kind::File) if !self.options.overwrite => {
                return Err(Complaint::path(&shown, "File exists"));
            }
            None | Some(_) => {}
        }
        for source in sources {
            let target = match (&source, kind) {
                (Ok(node), Some(Kind::Directory)) => {
                    node.name().map(|name| destination.child(&name))
                }
                _ => Ok(destination.clone()),
            };
            match (source, target) {
                (Ok(source), Ok(target)) => {
                    let is_new = kind.is_none();
                    self.copy_tree(source, target, is_new).await;
                }
                (Err(complaint), _) | (_, Err(complaint)) => self.complain(&complaint),
            }
        }
        Ok(())
    }

    /// Copies one tree. `is_new`: nothing is at the target, so nobody needs to be asked.
    async fn copy_tree(&mut self, source: Node, target: End, is_new: bool) {
        if let Err(complaint) = source.end.may_hold(&target, source.kind) {
            return self.complain(&complaint);
        }
        let mut waiting = vec![(source, target, is_new, Ancestors::default())];
        while let Some((source, target, is_new, ancestors)) = waiting.pop() {
            if self.stop.is_stopped() {
                return;
            }
            match source.kind {
                Kind::Directory => {}
                // The user may name a pipe; one that is found lying about would be waited for.
                Kind::Special if !ancestors.is_empty() => {
                    self.complain(&Complaint::path(
                        &source.end.shown(),
                        "is neither a file nor a directory; it is left out",
                    ));
                    continue;
                }
                Kind::File | Kind::Special => {
                    self.start(source, target, is_new).await;
                    continue;
                }
            }
            let ancestors = match ancestors.and(&source.end) {
                Ok(ancestors) => ancestors,
                Err(complaint) => {
                    self.complain(&complaint);
                    continue;
                }
            };
            let made = match target.make_directory(is_new).await {
                Ok(made) => made,
                Err(complaint) => {
                    self.complain(&complaint);
                    continue;
                }
            };
            let children = match source.end.children().await {
                Ok(children) => children,
                Err(complaint) => {
                    self.complain(&complaint);
                    continue;
                }
            };
            if self.options.preserve != Preserve::default() {
                self.directories.push((source.attributes.clone(), target.clone()));
            }
            if self.options.delete_source {
                self.emptied.push(source.end);
            }
            for child in children.into_iter().rev() {
                match child.and_then(|child| Ok((child.name()?, child))) {
                    Ok((name, child)) => {
                        waiting.push((child, target.child(&name), made, ancestors.clone()));
                    }
                    Err(complaint) => self.complain(&complaint),
                }
            }
        }
    }

    async fn start(&mut self, source: Node, target: End, is_new: bool) {
        while self.running.len() >= self.options.threads {
            self.join_one().await;
        }
        self.progress.expect(source.length);
        let (options, progress, stop) = (self.options, self.progress.clone(), self.stop.clone());
        self.running.spawn(async move {
            copy_file(&source, &target, is_new, options, (&progress, &stop)).await?;
            if options.delete_source {
                source.end.remove_file()?;
            }
            Ok(())
        });
    }

    async fn join_one(&mut self) -> bool {
        match self.running.join_next().await {
            None => return false,
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(complaint))) => self.complain(&complaint),
            Some(Err(error)) => {
                self.complain(&Complaint(format!("a copy ended unexpectedly: {error}")));
            }
        }
        true
    }

    fn complain(&mut self, complaint: &Complaint) {
        self.failed = true;
        self.progress.suspend(|| self.shell.complain(complaint));
    }

    /// Waits for all copies, then sees to the directories.
    pub async fn finish(mut self) {
        while self.join_one().await {}
        if self.stop.is_stopped() {
            self.progress.finish();
            std::process::exit(INTERRUPTED_EXIT);
        }
        for (attributes, directory) in std::mem::take(&mut self.directories).into_iter().rev() {
            if let Err(complaint) = directory.preserve(&attributes, self.options.preserve).await {
                self.complain(&complaint);
            }
        }
        if !self.failed {
            for directory in std::mem::take(&mut self.emptied).into_iter().rev() {
                if let Err(complaint) = directory.remove_directory() {
                    self.complain(&complaint);
                }
            }
        }
        self.progress.finish();
    }
}

/// The directories a walk has come through, so that it ends where symbolic links make a circle.
#[derive(Debug, Clone, Default)]
struct Ancestors(Option<Arc<Ancestor>>);

#[derive(Debug)]
struct Ancestor {
    /// Where a local directory really is. No symbolic links are followed in a file system.
    real: Option<PathBuf>,
    above: Ancestors,
}

impl Ancestors {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// These, and the directory that the walk enters now.
    fn and(self, directory: &End) -> Done<Self> {
        let real = match directory {
            End::Local(path) => {
                Some(path.path.canonicalize().map_err(|e| io_complaint(&path.shown, &e))?)
            }
            End::Remote(_) => None,
        };
        let mut above = &self.0;
        while let Some(ancestor) = above {
            if real.is_some() && ancestor.real == real {
                return Err(Complaint::path(
                    &directory.shown(),
                    "leads back to a directory it is in; it is left out",
                ));
            }
            above = &ancestor.above.0;
        }
        Ok(Self(Some(Arc::new(Ancestor { real, above: self }))))
    }
}

/// The sources of a verb whose arguments are paths of the file system, globs expanded.
pub async fn remote_sources(shell: &Shell, arguments: &[String]) -> Vec<Done<Node>> {
    let mut sources = Vec::new();
    for argument in arguments {
        if let Some(path) = local_argument(argument) {
            sources.push(Node::local(path));
            continue;
        }
        match shell.expand(argument).await {
            Ok(items) => sources.extend(items.into_iter().map(|item| Ok(Node::remote(item)))),
            Err(complaint) => sources.push(Err(complaint)),
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_circle_of_links_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        std::os::unix::fs::symlink(&b, a.join("to-b")).unwrap();
        std::os::unix::fs::symlink(&a, b.join("to-a")).unwrap();
        let end = |path: &str| End::Local(LocalPath::new(dir.path().join(path)));
        let ancestors = Ancestors::default().and(&end("a")).unwrap().and(&end("a/to-b")).unwrap();
        let circle = ancestors.clone().and(&end("a/to-b/to-a")).unwrap_err();
        assert!(circle.0.contains("leads back"), "{}", circle.0);
        std::fs::create_dir(b.join("plain")).unwrap();
        assert!(ancestors.and(&end("a/to-b/plain")).is_ok());
    }
}
