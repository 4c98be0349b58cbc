//! The SHA-256 of a job's program. Reading tens of megabytes would be a third of an empty job's time, so what is known
//! of an unchanged file is kept in the user's cache directory.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest, Sha256};

/// A file may change again within the resolution of its times; only one that was left alone for so long is remembered.
const SETTLED: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// The length of a file and its SHA-256 in hexadecimal.
pub(super) fn program_digest(path: &Path) -> Result<(u64, String)> {
    digest(path, cache_dir().as_deref(), SystemTime::now())
        .with_context(|| format!("the program {} can't be read", path.display()))
}

fn cache_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("hfs").join("programs"))
}

fn digest(path: &Path, cache: Option<&Path>, now: SystemTime) -> Result<(u64, String)> {
    let mut file = File::open(path)?;
    let before = file.metadata()?;
    let entry = cache.map(|dir| dir.join(format!("{:x}-{:x}", before.dev(), before.ino())));
    let state = state(&before);
    if let Some(known) = entry.as_deref().and_then(|entry| remembered(entry, &state)) {
        return Ok((before.len(), known));
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut length = 0;
    loop {
        let got = file.read(&mut buffer)?;
        if got == 0 {
            break;
        }
        hasher.update(&buffer[..got]);
        length += got as u64;
    }
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if self::state(&file.metadata()?) != state || length != before.len() {
        bail!("it is being changed; submit the job again when it is complete");
    }
    let changed = Duration::new(
        u64::try_from(before.ctime()).unwrap_or_default(),
        u32::try_from(before.ctime_nsec()).unwrap_or_default(),
    );
    let settled =
        now.duration_since(SystemTime::UNIX_EPOCH + changed).is_ok_and(|age| age > SETTLED);
    if let Some(entry) = entry.filter(|_| settled) {
        // A digest that is not remembered costs time and nothing else.
        let _ = remember(&entry, &state, &digest);
    }
    Ok((length, digest))
}

/// What is different once a file's bytes are. The time of change is the system's: programs can't set it.
fn state(file: &Metadata) -> String {
    let (ctime, mtime) = ((file.ctime(), file.ctime_nsec()), (file.mtime(), file.mtime_nsec()));
    format!("{} {}.{:09} {}.{:09}", file.len(), ctime.0, ctime.1, mtime.0, mtime.1)
}

fn remembered(entry: &Path, state: &str) -> Option<String> {
    let text = fs::read_to_string(entry).ok()?;
    let (known, digest) = text.split_once('\n')?;
    let digest = digest.trim_end();
    let whole = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (known == state && whole).then(|| digest.to_owned())
}

fn remember(entry: &Path, state: &str, digest: &str) -> std::io::Result<()> {
    let Some(dir) = entry.parent() else { return Ok(()) };
    fs::create_dir_all(dir)?;
    let partial = entry.with_extension(std::process::id().to_string());
    fs::write(&partial, format!("{state}\n{digest}\n"))?;
    fs::rename(&partial, entry)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn only_settled_files_are_remembered_and_only_while_they_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (program, cache) = (dir.path().join("program"), dir.path().join("cache"));
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::write(&program, "abc").unwrap();
        let of = |now| digest(&program, Some(&cache), now).unwrap();
        assert_eq!(of(SystemTime::now()), (3, ABC.to_owned()));
        assert!(!cache.exists(), "a file just written is remembered");

        assert_eq!(of(later), (3, ABC.to_owned()));
        let entry = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&entry).unwrap();
        // What is remembered is used; what is damaged is not.
        let other = "0".repeat(64);
        fs::write(&entry, text.replace(ABC, &other)).unwrap();
        assert_eq!(of(later).1, other);
        fs::write(&entry, text.replace(ABC, "0")).unwrap();
        assert_eq!(of(later).1, ABC);
        fs::write(&entry, text.replace(ABC, &other)).unwrap();
        fs::write(&program, "abd").unwrap();
        assert_ne!(of(later).1, other);
        assert_ne!(of(later).1, ABC);
    }
}
