//! `checksum`: the file checksum that HDFS computes from its blocks.

use clap::Args;

use super::shell::{Complaint, Item, Shell};

/// Prints path, algorithm and checksum of files, as HDFS computes it from the blocks' checksums.
#[derive(Debug, Clone, Args)]
pub struct Checksum {
    /// Print the block size, too
    #[arg(short = 'v')]
    pub verbose: bool,
    /// Files; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Checksum {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        shell
            .each(&self.paths, async |Item { target, status }| {
                if status.is_dir() {
                    return Err(Complaint::path(&target.shown, "Is a directory"));
                }
                let sum = target.fs.file_checksum(&target.path).await;
                let sum = sum.map_err(|e| target.complaint(&e))?;
                let hex: String = sum.bytes.iter().map(|b| format!("{b:02x}")).collect();
                if shell.global.json {
                    shell.json(&serde_json::json!({
                        "path": target.shown, "algorithm": sum.algorithm, "bytes": hex,
                    }));
                } else if self.verbose {
                    let block = status.block_size;
                    shell.line(format!(
                        "{}\t{}\t{hex}\tBlockSize:{block}",
                        target.shown, sum.algorithm
                    ));
                } else {
                    shell.line(format!("{}\t{}\t{hex}", target.shown, sum.algorithm));
                }
                Ok(())
            })
            .await;
    }
}
