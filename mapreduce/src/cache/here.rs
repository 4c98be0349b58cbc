//! Cache items of a local run: what lies on this machine is linked where it is.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hfs_client::localize::{Wanted, bring, unpack};
use hfs_client::{ClientConfig, blocking};
use hfs_protocol::proto::task::CachedItem;

use super::submit::absolute;
use super::{Item, Place, items};
use crate::conf::Conf;
use crate::files::Files;

/// Brings a job's items to this machine. `dir` takes what can't be used where it lies.
pub(crate) fn localize_here(conf: &Conf, files: &Files, dir: &Path) -> Result<Vec<CachedItem>> {
    let mut cached = Vec::new();
    for (number, item) in items(conf)?.iter().enumerate() {
        let dir = dir.join("cache").join(number.to_string());
        let path = localize(item, files, &dir)
            .with_context(|| format!("the cache file {} can't be used", item.path()))?;
        let path = path.to_str().context("its path is not UTF-8")?.to_owned();
        cached.push(CachedItem { link: item.link.clone(), path });
    }
    Ok(cached)
}

fn localize(item: &Item, files: &Files, dir: &Path) -> Result<PathBuf> {
    let path = match (&item.place, files.hdfs()) {
        (Place::Local(path), _) | (Place::Job(path), None) => local(path)?,
        (Place::Job(path), Some(fs)) => {
            download(fs, &absolute(path, &fs.inner().config().user), dir)?
        }
        (Place::Other(url), _) => {
            let fs = blocking::FileSystem::connect(url.clone(), ClientConfig::load()?)?;
            download(&fs, url.path(), dir)?
        }
    };
    if !item.archive {
        return if wants_to_run(&path)? { runnable_copy(&path, dir) } else { Ok(path) };
    }
    if path.is_dir() {
        bail!("it is a directory and no archive; give it as a file (-files)");
    }
    fs::create_dir_all(dir)?;
    let unpacked = dir.join("unpacked");
    unpack(&path, item.path(), &unpacked)?;
    Ok(unpacked)
}

fn local(path: &str) -> Result<PathBuf> {
    Ok(fs::canonicalize(path)?)
}

/// Whether a file is a program that may not be run as it is. On a cluster every cache file may be run.
fn wants_to_run(path: &Path) -> Result<bool> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 != 0 {
        return Ok(false);
    }
    let mut front = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut front)?;
    Ok(front.starts_with(b"#!") || front.starts_with(b"\x7fELF"))
}

/// A copy that may be run: the rights of the user's own file are not ours to change.
fn runnable_copy(path: &Path, dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let copy = dir.join("copied");
    fs::copy(path, &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o555))?;
    Ok(copy)
}

fn download(fs: &blocking::FileSystem, path: &str, dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let target = dir.join("brought");
    let status = fs.status(path)?;
    let wanted = Wanted { path, length: status.length, modified_ms: status.modification_time_ms };
    fs.wait(bring(fs.inner(), wanted, &target))?;
    Ok(target)
}
