//! `setrep`: how many replicas there should be.

use std::time::Duration;

use clap::Args;

use super::shell::{Done, Item, Shell};

/// How often `-w` looks whether the replicas are there.
const POLL: Duration = Duration::from_millis(200);

/// Sets the number of replicas of files, and of all files below directories.
#[derive(Debug, Clone, Args)]
pub struct Setrep {
    /// Wait until the replicas are there
    #[arg(short = 'w')]
    pub wait: bool,
    /// Accepted for FsShell's sake: directories are always entered
    #[arg(short = 'R')]
    pub recursive: bool,
    /// Replicas
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub replication: u16,
    /// Files and directories; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Setrep {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let changed = parking_lot::Mutex::new(Vec::new());
        shell
            .each_deep(&self.paths, true, async |item| {
                let Item { target, status } = item;
                if !status.is_file() {
                    return Ok(());
                }
                let set = target.fs.set_replication(&target.path, self.replication).await;
                set.map_err(|e| target.complaint(&e))?;
                shell.line(format!("Replication {} set: {}", self.replication, target.shown));
                changed.lock().push(item.clone());
                Ok(())
            })
            .await;
        if self.wait {
            for item in changed.into_inner() {
                if let Err(complaint) = self.wait_for(shell, &item).await {
                    shell.complain(&complaint);
                }
            }
        }
    }

    async fn wait_for(&self, shell: &Shell, Item { target, status }: &Item) -> Done {
        shell.bytes(format!("Waiting for {} ...", target.shown).as_bytes());
        shell.flush();
        loop {
            let blocks = target.fs.block_locations(&target.path, 0, status.length).await;
            let blocks = blocks.map_err(|e| target.complaint(&e))?;
            if blocks.iter().all(|block| block.hosts.len() == usize::from(self.replication)) {
                shell.line(" done");
                return Ok(());
            }
            shell.bytes(b".");
            shell.flush();
            tokio::time::sleep(POLL).await;
        }
    }
}
