//! `rm`: deletes, or moves to the trash where one is kept.

use clap::Args;
use hfs_client::ErrorKind;

use super::shell::{Complaint, Done, Item, Shell, Target};

/// Names tried for one path in the trash before it is given up.
const TRASH_NAMES_MAX: u32 = 1000;

/// Deletes files and, with -r, directories.
#[derive(Debug, Clone, Args)]
pub struct Rm {
    /// Say nothing and do not fail when a path is not there
    #[arg(short = 'f')]
    pub force: bool,
    /// Delete directories with all that is below
    #[arg(short = 'r', short_alias = 'R')]
    pub recursive: bool,
    /// Delete at once, without the trash
    #[arg(long = "skipTrash", alias = "skip-trash")]
    pub skip_trash: bool,
    /// Ask before deleting a directory with very many files (accepted for FsShell's sake; needs a
    /// terminal)
    #[arg(long = "safely")]
    pub safely: bool,
    /// Files and directories; globs are expanded
    pub paths: Vec<String>,
}

/// A directory with more files than this is asked about with `-safely`
/// (`hadoop.shell.delete.limit.num.files`).
const SAFELY_FILES_MAX: u64 = 100;

impl Rm {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        if self.paths.is_empty() && !self.force {
            shell.complain(&Complaint("Not enough arguments: name at least one path".to_owned()));
        }
        for argument in &self.paths {
            match shell.expand(argument).await {
                Ok(items) => {
                    for item in items {
                        if let Err(complaint) = self.one(shell, item).await {
                            shell.complain(&complaint);
                        }
                    }
                }
                Err(complaint) => {
                    if !(self.force && complaint.0.ends_with("No such file or directory")) {
                        shell.complain(&complaint);
                    }
                }
            }
        }
    }

    async fn one(&self, shell: &Shell, Item { target, status }: Item) -> Done {
        if status.is_dir() && !self.recursive {
            return Err(Complaint::path(&target.shown, "Is a directory"));
        }
        if target.path == "/" {
            return Err(Complaint::path("/", "Refusing to delete the root directory"));
        }
        if self.safely && status.is_dir() && !self.agreed(&target).await? {
            return Err(Complaint::path(&target.shown, "Delete aborted at user request."));
        }
        if !self.skip_trash && move_to_trash(shell, &target).await? {
            return Ok(());
        }
        let gone = target.fs.delete(&target.path, self.recursive).await;
        match gone.map_err(|e| target.complaint(&e))? {
            true => shell.line(format!("Deleted {}", target.shown)),
            false if self.force => {}
            false => return Err(Complaint::path(&target.shown, "No such file or directory")),
        }
        Ok(())
    }

    async fn agreed(&self, target: &Target) -> Done<bool> {
        let summary =
            target.fs.content_summary(&target.path).await.map_err(|e| target.complaint(&e))?;
        let files = summary.file_count + summary.directory_count;
        if files <= SAFELY_FILES_MAX {
            return Ok(true);
        }
        eprint!("Proceed deleting {files} files? Path: {} (Y or N) ", target.shown);
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|e| Complaint(format!("cannot read the answer: {e}")))?;
        Ok(matches!(answer.trim(), "y" | "Y"))
    }
}

/// Moves a path to `/user/<name>/.Trash/Current` if the server or the configuration keeps a trash
/// (HDFS `TrashPolicyDefault`). Says whether it did.
async fn move_to_trash(shell: &Shell, target: &Target) -> Done<bool> {
    let defaults = target.fs.server_defaults().await.map_err(|e| target.complaint(&e))?;
    let configured =
        shell.config.get("fs.trash.interval").and_then(|text| text.trim().parse().ok());
    let minutes = match defaults.trash_interval_min {
        0 => configured.unwrap_or(0u64),
        minutes => minutes,
    };
    let trash = format!("/user/{}/.Trash", shell.config.user);
    if minutes == 0 || target.path.starts_with(&format!("{trash}/")) || target.path == trash {
        return Ok(false);
    }
    if format!("{trash}/").starts_with(&format!("{}/", target.path)) {
        return Err(Complaint(format!(
            "Cannot move \"{}\" to the trash, as it contains the trash. Consider using -skipTrash option",
            target.shown
        )));
    }
    let kept = format!("{trash}/Current{}", target.path);
    let parent = kept.rsplit_once('/').map_or("/", |(parent, _)| parent);
    target.fs.mkdirs(parent, Some(0o700)).await.map_err(|e| target.complaint(&e))?;
    for n in 0..TRASH_NAMES_MAX {
        let name = if n == 0 { kept.clone() } else { format!("{kept}{n}") };
        match target.fs.rename_to_trash(&target.path, &name).await {
            Ok(()) => {
                shell.line(format!("Moved: '{}' to trash at: {name}", target.shown));
                return Ok(true);
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(target.complaint(&e)),
        }
    }
    Err(Complaint(format!("{kept} and {TRASH_NAMES_MAX} names like it are taken; empty the trash")))
}
