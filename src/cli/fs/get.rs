//! `get`, `copyToLocal`: files of the file system into local ones; `getmerge`: many into one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;

use clap::Args;

use super::put::local_path;
use super::shell::{Complaint, Done, Item, Shell};
use super::transfer::{
    self, Copier, CopyOptions, End, LocalPath, Preserve, Progress, THREADS_DEFAULT, THREADS_MAX,
    io_complaint,
};

/// Copies files and directories to local ones.
#[derive(Debug, Clone, Args)]
pub struct Get {
    /// Replace files that are there
    #[arg(short = 'f')]
    pub force: bool,
    /// Keep times, owner, group and permission
    #[arg(short = 'p')]
    pub preserve: bool,
    /// Files copied at the same time
    #[arg(short = 't', value_name = "N", default_value_t = THREADS_DEFAULT)]
    pub threads: usize,
    /// Accepted for FsShell's sake: how many files wait is bounded in any case
    #[arg(short = 'q', value_name = "N", hide = true)]
    pub queue: Option<usize>,
    /// Files and directories, globs are expanded; then the local target, or - for standard output.
    /// With one path alone, the target is the working directory
    #[arg(required = true, value_name = "PATH... LOCAL")]
    pub paths: Vec<OsString>,
}

impl Get {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        if let Err(complaint) = self.copy(shell).await {
            shell.complain(&complaint);
        }
    }

    async fn copy(&self, shell: &Shell) -> Done {
        let (sources, target) = match self.paths.split_last() {
            Some((target, sources)) if !sources.is_empty() => (sources, target.as_os_str()),
            _ => (self.paths.as_slice(), OsStr::new(".")),
        };
        let sources = texts(sources)?;
        if target == "-" {
            shell.each(&sources, async |item| to_stdout(shell, item).await).await;
            return Ok(());
        }
        let options = CopyOptions {
            overwrite: self.force,
            direct: false,
            preserve: Preserve::when(self.preserve),
            delete_source: false,
            threads: self.threads.clamp(1, THREADS_MAX),
        };
        let nodes = transfer::remote_sources(shell, &sources).await;
        // A source that is missing is worth saying before a target that is unfit.
        if let [Err(complaint)] = nodes.as_slice() {
            return Err(complaint.clone());
        }
        let mut copier = Copier::new(shell, options);
        let done = copier.copy_all(nodes, &End::Local(local_path(target))).await;
        copier.finish().await;
        done
    }
}

/// Arguments that name paths of a file system.
///
/// # Errors
/// One is not UTF-8.
fn texts(arguments: &[OsString]) -> Done<Vec<String>> {
    let text = |argument: &OsString| {
        argument.to_str().map(str::to_owned).ok_or_else(|| {
            Complaint(format!(
                "{argument:?} is not UTF-8, and names in HDFS are: there is no such file"
            ))
        })
    };
    arguments.iter().map(text).collect()
}

async fn to_stdout(shell: &Shell, item: Item) -> Done {
    if item.status.is_dir() {
        return Err(Complaint::path(&item.target.shown, "Is a directory"));
    }
    transfer::stream_to_stdout(shell, &item.target, 0).await.map(|_| ())
}

/// Joins files into one local file, in order of their names.
#[derive(Debug, Clone, Args)]
pub struct Getmerge {
    /// Put a new line after each file
    #[arg(long = "nl")]
    pub new_line: bool,
    /// With -nl: none after an empty file
    #[arg(long = "skip-empty-file")]
    pub skip_empty: bool,
    /// Files, or directories whose files are meant; globs are expanded. Then the local target, or -
    /// for standard output
    #[arg(required = true, num_args = 2.., value_name = "PATH... LOCAL")]
    pub paths: Vec<OsString>,
}

/// Where the joined files go.
enum Joined<'a> {
    Stdout(&'a Shell),
    File(File, LocalPath),
}

impl Joined<'_> {
    fn write(&mut self, bytes: &[u8]) -> Done {
        match self {
            Self::Stdout(shell) => shell.bytes(bytes),
            Self::File(file, path) => {
                file.write_all(bytes).map_err(|e| io_complaint(&path.shown, &e))?;
            }
        }
        Ok(())
    }
}

impl Getmerge {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        if let Err(complaint) = self.join(shell).await {
            shell.complain(&complaint);
        }
    }

    async fn join(&self, shell: &Shell) -> Done {
        let Some((target, sources)) = self.paths.split_last() else {
            return Err(Complaint(
                "Not enough arguments: name the files and the target".to_owned(),
            ));
        };
        let mut items = Vec::new();
        for source in texts(sources)? {
            // Nothing is written unless every argument stands for something.
            items.extend(shell.expand(&source).await?);
        }
        let mut joined = if target == "-" {
            Joined::Stdout(shell)
        } else {
            let path = local_path(target);
            let file = File::create(&path.path).map_err(|e| io_complaint(&path.shown, &e))?;
            Joined::File(file, path)
        };
        let progress = Progress::begin();
        for item in items {
            if item.status.is_dir() {
                for child in shell.children(&item.target).await? {
                    // As FsShell: directories in a directory are passed over.
                    if !child.status.is_dir() {
                        self.add(&child, &mut joined, &progress).await?;
                    }
                }
            } else {
                self.add(&item, &mut joined, &progress).await?;
            }
        }
        progress.finish();
        Ok(())
    }

    async fn add(&self, item: &Item, joined: &mut Joined<'_>, progress: &Progress) -> Done {
        let target = &item.target;
        let mut reader = target.fs.open(&target.path).await.map_err(|e| target.complaint(&e))?;
        progress.expect(reader.len());
        loop {
            let chunk = reader.read_chunk().await.map_err(|e| target.complaint(&e))?;
            if chunk.is_empty() {
                break;
            }
            joined.write(&chunk)?;
            progress.moved(chunk.len());
        }
        if self.new_line && !(self.skip_empty && reader.is_empty()) {
            joined.write(b"\n")?;
        }
        Ok(())
    }
}
