//! `touch` and `touchz`: empty files and times.

use clap::Args;
use hfs_client::CreateOptions;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::shell::{Complaint, Done, Shell, Target};

/// Makes files of no bytes. Fails for one that has bytes.
#[derive(Debug, Clone, Args)]
pub struct Touchz {
    /// The files
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Touchz {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        for path in &self.paths {
            if let Err(complaint) = one_empty(shell, path).await {
                shell.complain(&complaint);
            }
        }
    }
}

async fn one_empty(shell: &Shell, argument: &str) -> Done {
    let target = shell.target(&super::glob::unescape(argument)).await?;
    match target.try_status().await? {
        Some(status) if status.is_dir() => {
            return Err(Complaint::path(&target.shown, "Is a directory"));
        }
        Some(status) if status.length > 0 => {
            return Err(Complaint::path(&target.shown, "Not a zero-length file"));
        }
        _ => {}
    }
    create_empty(&target).await
}

async fn create_empty(target: &Target) -> Done {
    let parent = target.parent();
    match target.fs.try_status(parent).await? {
        Some(status) if status.is_dir() => {}
        Some(_) => return Err(Complaint::path(parent, "Is not a directory")),
        None => return Err(Complaint::path(&target.shown, "No such file or directory")),
    }
    let options = CreateOptions::overwrite();
    let mut file =
        target.fs.create(&target.path, &options).await.map_err(|e| target.complaint(&e))?;
    file.close().await.map_err(|e| target.complaint(&e))
}

/// Sets the times of files to now or to -t, and makes those that are not there.
#[derive(Debug, Clone, Args)]
pub struct Touch {
    /// Only the time of the last access
    #[arg(short = 'a')]
    pub access: bool,
    /// Only the time of the last change
    #[arg(short = 'm')]
    pub modification: bool,
    /// Do not make files
    #[arg(short = 'c')]
    pub no_create: bool,
    /// This time instead of now, yyyyMMdd:HHmmss in the local time zone
    #[arg(short = 't', value_name = "TIME")]
    pub time: Option<String>,
    /// The files
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Touch {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let time = match &self.time {
            None => Timestamp::now().as_millisecond().unsigned_abs(),
            Some(text) => match parse_time(text) {
                Some(time) => time,
                None => {
                    return shell.complain(&Complaint(format!(
                        "'{text}' is not a time of the form yyyyMMdd:HHmmss"
                    )));
                }
            },
        };
        for path in &self.paths {
            if let Err(complaint) = self.one(shell, path, time).await {
                shell.complain(&complaint);
            }
        }
    }

    async fn one(&self, shell: &Shell, argument: &str, time: u64) -> Done {
        let target = shell.target(&super::glob::unescape(argument)).await?;
        if target.try_status().await?.is_none() {
            if self.no_create {
                return Ok(());
            }
            create_empty(&target).await?;
        }
        let both = self.access == self.modification;
        let modification = (both || self.modification).then_some(time);
        let access = (both || self.access).then_some(time);
        let set = target.fs.set_times(&target.path, modification, access).await;
        set.map_err(|e| target.complaint(&e))
    }
}

fn parse_time(text: &str) -> Option<u64> {
    let time = DateTime::strptime("%Y%m%d:%H%M%S", text).ok()?;
    let zoned = time.to_zoned(TimeZone::system()).ok()?;
    u64::try_from(zoned.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_hadoops() {
        assert!(parse_time("20261121:083000").is_some());
        assert_eq!(parse_time("2026-11-21"), None);
    }
}
