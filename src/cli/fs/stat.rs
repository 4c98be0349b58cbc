//! `stat`: prints what a format asks of a path.

use clap::Args;
use hfs_client::{FileKind, FileStatus};

use super::format;
use super::ls;
use super::shell::Shell;

/// Prints facts about files and directories. The format knows %a %A (permissions), %b (size), %F
/// (type), %g (group), %n (name), %o (block size), %r (replication), %u (owner), %x %X (access time),
/// %y %Y (modification time).
#[derive(Debug, Clone, Args)]
pub struct Stat {
    /// A format (if it has a %, or the path that follows has none), then files and directories
    #[arg(required = true, value_names = ["FORMAT] [PATH"])]
    pub arguments: Vec<String>,
}

impl Stat {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let (form, paths) = match self.arguments.split_first() {
            Some((form, paths)) if form.contains('%') => (form.as_str(), paths),
            _ => ("%y", &self.arguments[..]),
        };
        shell
            .each(paths, async |item| {
                if shell.global.json {
                    shell.json(&ls::as_json(&item.target.shown, &item.status));
                } else {
                    shell.line(fill(form, &item.status));
                }
                Ok(())
            })
            .await;
    }
}

fn fill(form: &str, status: &FileStatus) -> String {
    let mut text = String::new();
    let mut chars = form.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => text += &format!("{:o}", status.permission),
            Some('A') => text += &format::permission(status.permission),
            Some('b') => text += &status.length.to_string(),
            Some('F') => {
                text += match status.kind {
                    FileKind::Directory => "directory",
                    FileKind::File => "regular file",
                    FileKind::Symlink(_) => "symlink",
                }
            }
            Some('g') => text += &status.group,
            Some('n') => text += status.name(),
            Some('o') => text += &status.block_size.to_string(),
            Some('r') => text += &status.replication.to_string(),
            Some('u') => text += &status.owner,
            Some('x') => text += &format::second_utc(status.access_time_ms),
            Some('X') => text += &status.access_time_ms.to_string(),
            Some('y') => text += &format::second_utc(status.modification_time_ms),
            Some('Y') => text += &status.modification_time_ms.to_string(),
            Some(other) => text.push(other),
            None => text.push('%'),
        }
    }
    text
}
