//! `du`, `df` and `count`: how much there is.

use clap::Args;
use hfs_client::ContentSummary;
use serde_json::json;

use super::format;
use super::shell::{Complaint, Done, Item, Shell};

/// Prints the space that files and directories take: bytes, bytes with all replicas, path.
#[derive(Debug, Clone, Args)]
pub struct Du {
    /// One line for each argument, not for each entry of a directory
    #[arg(short = 's')]
    pub summary: bool,
    /// Print sizes in human-readable form
    #[arg(short = 'h')]
    pub human: bool,
    /// Print a header
    #[arg(short = 'v')]
    pub header: bool,
    /// Leave snapshots out (there are none)
    #[arg(short = 'x')]
    pub without_snapshots: bool,
    /// Files and directories; globs are expanded. Without any: the home directory
    pub paths: Vec<String>,
}

impl Du {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let mut rows = Vec::new();
        if self.header && !shell.global.json {
            rows.push(vec![
                "SIZE".to_owned(),
                "DISK_SPACE_CONSUMED_WITH_ALL_REPLICAS".to_owned(),
                "FULL_PATH_NAME".to_owned(),
            ]);
        }
        let home = [".".to_owned()];
        let arguments = if self.paths.is_empty() { &home[..] } else { &self.paths };
        for argument in arguments {
            if let Err(complaint) = self.argument(shell, argument, &mut rows).await {
                shell.complain(&complaint);
            }
        }
        for line in format::table(&rows, &[]) {
            shell.line(line);
        }
    }

    async fn argument(&self, shell: &Shell, argument: &str, rows: &mut Vec<Vec<String>>) -> Done {
        for item in shell.expand(argument).await? {
            let entries = match item.status.is_dir() && !self.summary {
                true => shell.children(&item.target).await?,
                false => vec![item],
            };
            for Item { target, .. } in entries {
                let summary = target.fs.content_summary(&target.path).await;
                let summary = summary.map_err(|e| target.complaint(&e))?;
                if shell.global.json {
                    shell.json(&json!({
                        "path": target.shown,
                        "length": summary.length,
                        "spaceConsumed": summary.space_consumed,
                    }));
                    continue;
                }
                rows.push(vec![
                    format::size(summary.length, self.human),
                    format::size(summary.space_consumed, self.human),
                    target.shown,
                ]);
            }
        }
        Ok(())
    }
}

/// Prints the capacity and the free space of the file system.
#[derive(Debug, Clone, Args)]
pub struct Df {
    /// Print sizes in human-readable form
    #[arg(short = 'h')]
    pub human: bool,
    /// Paths on the file systems to show. Without any: the default one
    pub paths: Vec<String>,
}

impl Df {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let root = ["/".to_owned()];
        let arguments = if self.paths.is_empty() { &root[..] } else { &self.paths };
        let header = ["Filesystem", "Size", "Used", "Available", "Use%"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for argument in arguments {
            if let Err(complaint) = self.argument(shell, argument, &mut rows).await {
                shell.complain(&complaint);
            }
        }
        if !shell.global.json && rows.len() > 1 {
            for line in format::table(&rows, &[false, true, true, true, true]) {
                shell.line(line);
            }
        }
    }

    async fn argument(&self, shell: &Shell, argument: &str, rows: &mut Vec<Vec<String>>) -> Done {
        let target = shell.target(argument).await?;
        if target.try_status().await?.is_none() {
            return Err(Complaint::path(&target.shown, "No such file or directory"));
        }
        let status = target.fs.fs_status().await.map_err(|e| target.complaint(&e))?;
        let name = target.fs.url().to_string().trim_end_matches('/').to_owned();
        if shell.global.json {
            shell.json(&json!({
                "filesystem": name,
                "capacity": status.capacity,
                "used": status.used,
                "remaining": status.remaining,
                "underReplicated": status.under_replicated,
                "missing": status.missing_blocks,
            }));
            return Ok(());
        }
        let percent = (status.used * 100).checked_div(status.capacity).unwrap_or(0);
        rows.push(vec![
            name,
            format::size(status.capacity, self.human),
            format::size(status.used, self.human),
            format::size(status.remaining, self.human),
            format!("{percent}%"),
        ]);
        Ok(())
    }
}

/// Counts directories, files and bytes below paths: DIR_COUNT, FILE_COUNT, CONTENT_SIZE, PATHNAME; with
/// -q the quotas before them.
#[derive(Debug, Clone, Args)]
pub struct Count {
    /// Print the quotas, too
    #[arg(short = 'q')]
    pub quotas: bool,
    /// Print only the quotas
    #[arg(short = 'u')]
    pub quotas_only: bool,
    /// Print sizes in human-readable form
    #[arg(short = 'h')]
    pub human: bool,
    /// Print a header
    #[arg(short = 'v')]
    pub header: bool,
    /// Leave snapshots out (there are none)
    #[arg(short = 'x')]
    pub without_snapshots: bool,
    /// Files and directories; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Count {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let quotas = self.quotas || self.quotas_only;
        if self.header && !shell.global.json {
            let mut line = String::new();
            if quotas {
                line += &quota_columns("QUOTA", "REM_QUOTA", "SPACE_QUOTA", "REM_SPACE_QUOTA");
            }
            if !self.quotas_only {
                line += &count_columns("DIR_COUNT", "FILE_COUNT", "CONTENT_SIZE");
            }
            shell.line(line + "PATHNAME");
        }
        shell
            .each(&self.paths, async |Item { target, .. }| {
                let summary = target.fs.content_summary(&target.path).await;
                let summary = summary.map_err(|e| target.complaint(&e))?;
                if shell.global.json {
                    shell.json(&json!({
                        "path": target.shown,
                        "directoryCount": summary.directory_count,
                        "fileCount": summary.file_count,
                        "length": summary.length,
                        "spaceConsumed": summary.space_consumed,
                        "quota": summary.quota,
                        "spaceQuota": summary.space_quota,
                    }));
                } else {
                    shell.line(self.row(&summary) + &target.shown);
                }
                Ok(())
            })
            .await;
    }

    fn row(&self, summary: &ContentSummary) -> String {
        let mut line = String::new();
        if self.quotas || self.quotas_only {
            let names = summary.directory_count + summary.file_count;
            let pair = |quota: Option<u64>, used: u64| match quota {
                None => ("none".to_owned(), "inf".to_owned()),
                Some(quota) => {
                    let left = i128::from(quota) - i128::from(used);
                    (format::size(quota, self.human), left.to_string())
                }
            };
            let (quota, left) = pair(summary.quota, names);
            let (space, space_left) = pair(summary.space_quota, summary.space_consumed);
            line += &quota_columns(&quota, &left, &space, &space_left);
        }
        if !self.quotas_only {
            line += &count_columns(
                &format::size(summary.directory_count, self.human),
                &format::size(summary.file_count, self.human),
                &format::size(summary.length, self.human),
            );
        }
        line
    }
}

fn quota_columns(quota: &str, left: &str, space: &str, space_left: &str) -> String {
    format!("{quota:>12} {left:>15} {space:>15} {space_left:>15} ")
}

fn count_columns(dirs: &str, files: &str, size: &str) -> String {
    format!("{dirs:>12} {files:>12} {size:>18} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_has_hadoops_columns() {
        let summary = ContentSummary {
            length: 1234,
            file_count: 2,
            directory_count: 1,
            quota: None,
            space_consumed: 3702,
            space_quota: None,
        };
        let mut count = Count {
            quotas: false,
            quotas_only: false,
            human: false,
            header: false,
            without_snapshots: false,
            paths: vec![],
        };
        assert_eq!(count.row(&summary), "           1            2               1234 ");
        count.quotas = true;
        assert!(count.row(&summary).starts_with("        none             inf            none"));
    }
}
