//! The text that the quickstart counts: what the user names, or what every machine that has just built hfs has.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// How much of a file is looked at to tell text from everything else.
const SNIFF_BYTES: usize = 8 << 10;

/// Directories that hold no text worth counting.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// One text file of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// The directories to take text from when none are named: this project, and the sources that Cargo has unpacked.
pub(super) fn default_paths() -> Result<Vec<PathBuf>> {
    let project = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| {
        let here = std::env::current_dir().ok()?;
        here.join("Cargo.toml").is_file().then_some(here)
    });
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let crates = cargo_home.map(|home| home.join("registry").join("src"));
    let paths: Vec<PathBuf> =
        [project, crates].into_iter().flatten().filter(|path| path.is_dir()).collect();
    if paths.is_empty() {
        bail!("there is no text to count here: name files or directories, hfs quickstart PATH…");
    }
    Ok(paths)
}

/// The text files below `paths`, in the order of their names, until `limit` bytes are reached.
///
/// A path that was named must be there; a file below it that can't be read or is not text is left out.
pub(super) fn collect(paths: &[PathBuf], limit: u64) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut room = limit;
    for path in paths {
        let meta = fs::metadata(path).with_context(|| format!("can't read {}", path.display()))?;
        if meta.is_dir() {
            walk(path, &mut room, &mut found);
        } else {
            take(path.clone(), meta.len(), &mut room, &mut found);
        }
    }
    if found.is_empty() {
        bail!("there is no text in {}", shown(paths));
    }
    Ok(found)
}

/// Paths for people.
pub(super) fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn walk(top: &Path, room: &mut u64, found: &mut Vec<Source>) {
    let mut waiting = vec![top.to_owned()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let mut entries: Vec<_> = entries.filter_map(io::Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut below = Vec::new();
        for entry in entries {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            // Links are not followed: they may lead in circles.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                below.push(path);
            } else if kind.is_file() && *room > 0 {
                let bytes = entry.metadata().map_or(0, |meta| meta.len());
                take(path, bytes, room, found);
            }
        }
        waiting.extend(below.into_iter().rev());
        if *room == 0 {
            return;
        }
    }
}

fn take(path: PathBuf, bytes: u64, room: &mut u64, found: &mut Vec<Source>) {
    if bytes == 0 || *room == 0 || !is_text(&path) {
        return;
    }
    *room = room.saturating_sub(bytes);
    found.push(Source { path, bytes });
}

/// Text is UTF-8 without NUL, as far as its beginning tells.
fn is_text(path: &Path) -> bool {
    let mut beginning = Vec::with_capacity(SNIFF_BYTES);
    let read =
        File::open(path).and_then(|file| file.take(SNIFF_BYTES as u64).read_to_end(&mut beginning));
    if read.is_err() || beginning.contains(&0) {
        return false;
    }
    match std::str::from_utf8(&beginning) {
        Ok(_) => true,
        // Cut in the middle of a character.
        Err(e) => e.error_len().is_none() && beginning.len() == SNIFF_BYTES,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_in_order_and_the_limit_holds() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        put("b.txt", b"bb");
        put("a/x.rs", b"fn");
        put("a/.hidden/y", b"no");
        put("target/z", b"no");
        put("binary", b"a\0b");
        put("latin1", b"caf\xe9 x");
        let names = |limit| -> Vec<String> {
            collect(&[dir.path().to_owned()], limit)
                .unwrap()
                .iter()
                .map(|s| s.path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(names(1 << 20), ["b.txt", "x.rs"]);
        assert_eq!(names(1), ["b.txt"], "the file that reaches the limit is the last");
        let missing = collect(&["/nonexistent/x".into()], 1).unwrap_err();
        assert!(format!("{missing:#}").contains("/nonexistent/x"));
    }
}
