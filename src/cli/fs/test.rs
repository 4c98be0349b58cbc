//! `test`: answers a question about a path with the exit code.

use clap::Args;

use super::shell::{Complaint, Done, Shell};

/// Answers with the exit code: 0 for yes, 1 for no. Exactly one question.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("question").required(true).multiple(false))]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of FsShell's")]
pub struct Test {
    /// Is it a directory?
    #[arg(short = 'd', group = "question")]
    pub directory: bool,
    /// Is it there?
    #[arg(short = 'e', group = "question")]
    pub exists: bool,
    /// Is it a file?
    #[arg(short = 'f', group = "question")]
    pub file: bool,
    /// Is there anything in it?
    #[arg(short = 's', group = "question")]
    pub not_empty: bool,
    /// Is it a file of no bytes?
    #[arg(short = 'z', group = "question")]
    pub empty: bool,
    /// Is it there, and may this user read it?
    #[arg(short = 'r', group = "question")]
    pub readable: bool,
    /// Is it there, and may this user write it?
    #[arg(short = 'w', group = "question")]
    pub writable: bool,
    /// The path
    pub path: String,
}

impl Test {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        match self.answer(shell).await {
            Ok(true) => {}
            Ok(false) => shell.fail(),
            Err(complaint) => shell.complain(&complaint),
        }
    }

    async fn answer(&self, shell: &Shell) -> Done<bool> {
        let target = shell.target(&super::glob::unescape(&self.path)).await?;
        let Some(status) = target.try_status().await? else { return Ok(false) };
        if self.readable || self.writable {
            let mode =
                if self.readable { hfs_client::Access::Read } else { hfs_client::Access::Write };
            return match target.fs.check_access(&target.path, mode).await {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == hfs_client::ErrorKind::AccessDenied => Ok(false),
                Err(e) => Err(target.complaint(&e)),
            };
        }
        Ok(match (self.directory, self.file, self.not_empty, self.empty) {
            (true, ..) => status.is_dir(),
            (_, true, ..) => status.is_file(),
            (_, _, true, _) => match status.is_dir() {
                true => !target.fs.list(&target.path).await.map_err(Complaint::from)?.is_empty(),
                false => status.length > 0,
            },
            (.., true) => status.length == 0,
            _ => true,
        })
    }
}
