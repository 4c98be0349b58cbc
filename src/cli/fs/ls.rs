//! `ls`: what is in a directory.

use std::cmp::Reverse;

use clap::Args;
use hfs_client::{FileKind, FileStatus};
use serde_json::json;

use super::format;
use super::shell::{Complaint, Done, Item, Shell};

/// Lists files and the content of directories.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of FsShell's")]
pub struct Ls {
    /// Print paths only
    #[arg(short = 'C')]
    pub paths_only: bool,
    /// List a directory itself, not its content
    #[arg(short = 'd')]
    pub directory: bool,
    /// Print sizes in human-readable form
    #[arg(short = 'h')]
    pub human: bool,
    /// Print ? instead of characters that can't be printed
    #[arg(short = 'q')]
    pub question: bool,
    /// List what is below, too
    #[arg(short = 'R')]
    pub recursive: bool,
    /// Newest first
    #[arg(short = 't')]
    pub by_time: bool,
    /// Largest first
    #[arg(short = 'S')]
    pub by_size: bool,
    /// Turn the order round
    #[arg(short = 'r')]
    pub reverse: bool,
    /// Show and sort by the time of the last access
    #[arg(short = 'u')]
    pub access_time: bool,
    /// Files and directories; globs are expanded. Without any: the home directory
    pub paths: Vec<String>,
}

/// The widths that a listing's columns need.
#[derive(Debug, Default)]
struct Widths {
    replication: usize,
    owner: usize,
    group: usize,
    size: usize,
}

impl Ls {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let home = [".".to_owned()];
        let arguments = if self.paths.is_empty() { &home[..] } else { &self.paths };
        for argument in arguments {
            if let Err(complaint) = self.argument(shell, argument).await {
                shell.complain(&complaint);
            }
        }
    }

    async fn argument(&self, shell: &Shell, argument: &str) -> Done {
        let items = shell.expand(argument).await?;
        let (dirs, files): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.status.is_dir() && !self.directory);
        if !files.is_empty() {
            self.print(shell, self.sorted(files));
        }
        for dir in self.sorted(dirs) {
            let children = self.sorted(shell.children(&dir.target).await?);
            let quiet = self.recursive || self.paths_only || shell.global.json;
            if !quiet && !children.is_empty() {
                shell.line(format!("Found {} items", children.len()));
            }
            if self.recursive {
                self.deep(shell, children).await;
            } else {
                self.print(shell, children);
            }
        }
        Ok(())
    }

    /// Prints entries with what is below each right after it.
    async fn deep(&self, shell: &Shell, items: Vec<Item>) {
        let mut levels = vec![(self.widths(&items), items.into_iter())];
        while let Some((widths, items)) = levels.last_mut() {
            let Some(item) = items.next() else {
                levels.pop();
                continue;
            };
            self.entry(shell, &item, widths);
            if item.status.is_dir() {
                match shell.children(&item.target).await {
                    Ok(children) => {
                        let children = self.sorted(children);
                        levels.push((self.widths(&children), children.into_iter()));
                    }
                    Err(complaint) => shell.complain(&complaint),
                }
            }
        }
    }

    fn time(&self, status: &FileStatus) -> u64 {
        if self.access_time { status.access_time_ms } else { status.modification_time_ms }
    }

    fn sorted(&self, mut items: Vec<Item>) -> Vec<Item> {
        if self.by_time {
            items.sort_by_key(|item| Reverse(self.time(&item.status)));
        } else if self.by_size {
            items.sort_by_key(|item| Reverse(item.status.length));
        }
        if self.reverse {
            items.reverse();
        }
        items
    }

    fn print(&self, shell: &Shell, items: Vec<Item>) {
        let widths = self.widths(&items);
        items.iter().for_each(|item| self.entry(shell, item, &widths));
    }

    fn widths(&self, items: &[Item]) -> Widths {
        let mut widths = Widths { replication: 3, size: 10, ..Widths::default() };
        for Item { status, .. } in items {
            widths.replication = widths.replication.max(replication(status).len());
            widths.owner = widths.owner.max(status.owner.chars().count());
            widths.group = widths.group.max(status.group.chars().count());
            widths.size = widths.size.max(format::size(status.length, self.human).len());
        }
        widths
    }

    fn entry(&self, shell: &Shell, Item { target, status }: &Item, widths: &Widths) {
        if shell.global.json {
            return shell.json(&as_json(&target.shown, status));
        }
        let shown = if self.question { question(&target.shown) } else { target.shown.clone() };
        shell.line(if self.paths_only { shown } else { self.row(status, &shown, widths) });
    }

    fn row(&self, status: &FileStatus, shown: &str, widths: &Widths) -> String {
        let kind = match status.kind {
            FileKind::Directory => 'd',
            FileKind::File => '-',
            FileKind::Symlink(_) => 'l',
        };
        format!(
            "{kind}{}{}{:>rw$} {:<ow$} {:<gw$} {:>sw$} {} {shown}",
            format::permission(status.permission),
            if status.has_acl { '+' } else { ' ' },
            replication(status),
            status.owner,
            status.group,
            format::size(status.length, self.human),
            format::minute(self.time(status)),
            rw = widths.replication,
            ow = widths.owner,
            gw = widths.group,
            sw = widths.size,
        )
    }
}

fn replication(status: &FileStatus) -> String {
    if status.is_dir() { "-".to_owned() } else { status.replication.to_string() }
}

fn question(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A file's status for scripts: WebHDFS's names for the fields.
#[must_use]
pub fn as_json(path: &str, status: &FileStatus) -> serde_json::Value {
    json!({
        "path": path,
        "type": match status.kind {
            FileKind::Directory => "DIRECTORY",
            FileKind::File => "FILE",
            FileKind::Symlink(_) => "SYMLINK",
        },
        "length": status.length,
        "replication": status.replication,
        "blockSize": status.block_size,
        "permission": format!("{:o}", status.permission),
        "owner": status.owner,
        "group": status.group,
        "modificationTime": status.modification_time_ms,
        "accessTime": status.access_time_ms,
        "fileId": status.file_id,
    })
}

/// `rmdir`: removes directories that are empty.
#[derive(Debug, Clone, Args)]
pub struct Rmdir {
    /// Do not fail for a directory that has entries
    #[arg(long = "ignore-fail-on-non-empty")]
    pub ignore_non_empty: bool,
    /// Directories; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Rmdir {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        shell
            .each(&self.paths, async |item| {
                let target = &item.target;
                if !item.status.is_dir() {
                    return Err(Complaint::path(&target.shown, "Is not a directory"));
                }
                if !shell.children(target).await?.is_empty() {
                    if self.ignore_non_empty {
                        return Ok(());
                    }
                    return Err(Complaint::path(&target.shown, "Directory is not empty"));
                }
                target.fs.delete(&target.path, false).await.map_err(|e| target.complaint(&e))?;
                Ok(())
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_fsshells_columns() {
        let status = FileStatus {
            path: "/a/f".into(),
            kind: FileKind::File,
            length: 1234,
            permission: 0o644,
            owner: "alice".into(),
            group: "supergroup".into(),
            modification_time_ms: 0,
            access_time_ms: 0,
            replication: 3,
            block_size: 1 << 27,
            file_id: 1,
            children: None,
            has_acl: false,
            special_content: false,
        };
        let ls = Ls {
            paths_only: false,
            directory: false,
            human: false,
            question: false,
            recursive: false,
            by_time: false,
            by_size: false,
            reverse: false,
            access_time: false,
            paths: vec![],
        };
        let widths = Widths { replication: 3, owner: 5, group: 10, size: 10 };
        let row = ls.row(&status, "/a/f", &widths);
        assert!(row.starts_with("-rw-r--r--   3 alice supergroup       1234 19"), "{row}");
        assert!(row.ends_with(" /a/f"), "{row}");
    }
}
