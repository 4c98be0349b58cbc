//! This machine's files.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use memmap2::{Advice, Mmap, MmapOptions};

use super::FileInfo;
use super::open::{InputFile, InputKind, OutputFile, OutputKind};

fn info(path: &Path, metadata: &fs::Metadata) -> Result<FileInfo> {
    let Some(path) = path.to_str() else {
        bail!("the file name {} is not UTF-8; rename it", path.display());
    };
    Ok(FileInfo {
        path: path.to_owned(),
        is_dir: metadata.is_dir(),
        length: if metadata.is_dir() { 0 } else { metadata.len() },
        block_bytes: 0,
    })
}

pub(super) fn status(path: &str) -> Result<Option<FileInfo>> {
    match fs::metadata(path) {
        Ok(metadata) => info(Path::new(path), &metadata).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("the file {path} can't be looked at")),
    }
}

pub(super) fn list(path: &str) -> Result<Vec<FileInfo>> {
    let unreadable = || format!("the directory {path} can't be read");
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        match fs::metadata(entry.path()) {
            Ok(metadata) => entries.push(info(&entry.path(), &metadata)?),
            // A dangling link, or a file that was removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(unreadable),
        }
    }
    Ok(entries)
}

pub(super) fn open(path: &str) -> Result<InputFile> {
    let unreadable = || format!("the file {path} can't be read");
    let file = File::open(path).with_context(unreadable)?;
    let length = file.metadata().with_context(unreadable)?.len();
    let map = if length == 0 {
        MmapOptions::new().len(1).map_anon().and_then(memmap2::MmapMut::make_read_only)
    } else {
        // SAFETY: input files of a job are not to be changed while it runs, as everywhere in
        // MapReduce; the map is read-only and never given out as anything but plain bytes.
        unsafe { Mmap::map(&file) }
    };
    let map = map.with_context(unreadable)?;
    // Advice only: reading works without it.
    let _ = map.advise(Advice::Sequential);
    Ok(InputFile { length, kind: InputKind::Local(Arc::new(map)) })
}

pub(super) fn create(path: &str) -> Result<OutputFile> {
    let create = || -> std::io::Result<File> {
        if let Some(parent) = Path::new(path).parent() {
            fs::create_dir_all(parent)?;
        }
        File::create(path)
    };
    let file = create().with_context(|| format!("the file {path} can't be created"))?;
    Ok(OutputFile::new(OutputKind::Local(file, path.to_owned())))
}

pub(super) fn remove(path: &str) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("{path} can't be removed"))
}
