//! Cache items at submission: looked at, and brought into the file system where they are not in one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hfs_client::{ClientConfig, FileStatus, blocking};
use hfs_protocol::proto::task::{CacheItem, JobSpec};

use super::{Item, Place, items};
use crate::conf::Conf;
use crate::files::{Files, is_url};
use crate::submit::put_file;

/// In the job's staging directory, which goes when the job ends: what was brought from the submitter's
/// machine.
const CACHE: &str = "_cache";
/// Where a job without a staging directory in its own file system, because its output is in another one
/// or it has none, has what it brought.
const UNSTAGED_DIR: &str = "/tmp/hfs/cache";

/// Where what a submission brings goes. `unique`: tells it from every other submission.
pub(crate) fn upload_dir(staging_dir: &str, unique: &str) -> String {
    if is_staged(staging_dir) {
        format!("{staging_dir}/{CACHE}")
    } else {
        format!("{UNSTAGED_DIR}/{unique}")
    }
}

/// Whether a job's staging directory is in its own file system, so that its end takes along what was
/// brought there.
pub(crate) fn is_staged(staging_dir: &str) -> bool {
    !staging_dir.is_empty() && !is_url(staging_dir)
}

/// The job's items as its workers find them. Those of this machine are brought into `upload_dir`, which
/// is made only if there are any.
pub(crate) fn submit_items(
    conf: &Conf,
    fs: &blocking::FileSystem,
    upload_dir: &str,
) -> Result<Vec<CacheItem>> {
    let mut submitted = Vec::new();
    for (number, item) in items(conf)?.iter().enumerate() {
        let Item { place, link, archive } = item;
        let (fs_url, path, status) = match place {
            Place::Local(local) => {
                // The name keeps its end, which says what kind of archive it is.
                let name = local.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                let path = format!("{upload_dir}/{number}/{name}");
                upload(fs, Path::new(local), &path).with_context(|| {
                    format!("the cache file {local} can't be brought to the cluster")
                })?;
                (String::new(), path.clone(), fs.status(&path)?)
            }
            Place::Job(path) => {
                let path = absolute(path, &fs.inner().config().user);
                (String::new(), path.clone(), found(fs, &path)?)
            }
            Place::Other(url) => {
                let other = blocking::FileSystem::connect(url.clone(), ClientConfig::load()?)?;
                let path = url.path().to_owned();
                let status = found(&other, &path)?;
                (url.with_path("/").to_string().trim_end_matches('/').to_owned(), path, status)
            }
        };
        if *archive && status.is_dir() {
            bail!("the cache archive {path} is a directory; give it as a file (-files)");
        }
        submitted.push(CacheItem {
            fs_url,
            path,
            link: link.clone(),
            archive: *archive,
            length: status.length,
            modified_ms: status.modification_time_ms,
        });
    }
    Ok(submitted)
}

/// Removes what a submission has brought, for a job that was refused or has no staging directory, whose
/// end would take it along.
pub(crate) fn forget(files: &Files, job: &JobSpec) {
    let unstaged = job.cache.iter().find_map(|item| {
        let rest = item.path.strip_prefix(UNSTAGED_DIR)?.strip_prefix('/')?;
        Some(format!("{UNSTAGED_DIR}/{}", rest.split('/').next()?))
    });
    // What can't be removed costs some room and nothing else.
    if let Some(dir) = unstaged.filter(|_| !is_staged(&job.staging_dir)) {
        let _ = files.remove(&dir);
    }
}

fn found(fs: &blocking::FileSystem, path: &str) -> Result<FileStatus> {
    fs.try_status(path)?.with_context(|| {
        format!("the cache file {path} does not exist in {}; put it there first", fs.url())
    })
}

/// A path that is not absolute is one in the user's home directory.
pub(crate) fn absolute(path: &str, user: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/user/{user}/{path}") }
}

/// Copies a file, or a directory with all below it.
fn upload(fs: &blocking::FileSystem, from: &Path, to: &str) -> Result<()> {
    let mut waiting: Vec<(PathBuf, String)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        let unreadable = || format!("{} can't be read", from.display());
        if fs::metadata(&from).with_context(unreadable)?.is_dir() {
            fs.mkdirs(&to, None)?;
            for entry in fs::read_dir(&from).with_context(unreadable)? {
                let entry = entry.with_context(unreadable)?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    bail!("the file name {} is not UTF-8; rename it", entry.path().display());
                };
                waiting.push((entry.path(), format!("{to}/{name}")));
            }
            continue;
        }
        put_file(fs, &from, &to)?;
    }
    Ok(())
}
