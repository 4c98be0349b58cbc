//! `mkdir`: makes directories.

use clap::Args;

use super::shell::{Complaint, Done, Shell};

/// Makes directories.
#[derive(Debug, Clone, Args)]
pub struct Mkdir {
    /// Make missing parents, and do not fail for a directory that is there
    #[arg(short = 'p')]
    pub parents: bool,
    /// The directories
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Mkdir {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        for path in &self.paths {
            if let Err(complaint) = self.one(shell, path).await {
                shell.complain(&complaint);
            }
        }
    }

    async fn one(&self, shell: &Shell, argument: &str) -> Done {
        let target = shell.target(&super::glob::unescape(argument)).await?;
        if let Some(status) = target.try_status().await? {
            return match (status.is_dir(), self.parents) {
                (true, true) => Ok(()),
                (true, false) => Err(Complaint::path(&target.shown, "File exists")),
                (false, _) => Err(Complaint::path(&target.shown, "Is not a directory")),
            };
        }
        let made = if self.parents {
            target.fs.mkdirs(&target.path, None).await
        } else {
            target.fs.mkdir(&target.path, None).await
        };
        made.map_err(|e| target.complaint(&e))
    }
}
