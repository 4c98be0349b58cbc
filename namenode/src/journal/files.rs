//! The seam between the name directory and its disk: names, and a [`Storage`] behind each. Beside the real one there is one in
//! memory whose power can be cut.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hfs_daemon::storage::{CrashImage, Real, Storage};
use parking_lot::Mutex;

/// A directory of files.
pub trait Files: Send + Sync + Debug {
    /// The names of all entries, in order.
    ///
    /// # Errors
    /// What the disk says, here and below.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing, an empty one when it is not there.
    ///
    /// # Errors
    /// What the disk says.
    fn open(&self, name: &str) -> io::Result<Box<dyn Storage>>;

    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes new, changed and removed names durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync(&self) -> io::Result<()>;

    /// The path of a file, for people.
    fn path(&self, name: &str) -> String;
}

/// Writes a whole file so that its name leads to all of it or to what was there before, whatever happens.
///
/// # Errors
/// What the disk says.
pub fn replace(files: &dyn Files, name: &str, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::begin(files, name)?;
    replacement.write_all(content)?;
    replacement.commit(name)
}

/// A file that is written piece by piece and gets its name when it is whole. One that is dropped before is
/// removed, and what a crash leaves of it is removed by the next start.
#[derive(Debug)]
pub struct Replacement<'a> {
    files: &'a dyn Files,
    temporary: String,
    file: Box<dyn Storage>,
    length: u64,
    renamed: bool,
}

impl<'a> Replacement<'a> {
    /// Begins a file. `stem` tells it from others that are being written.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(files: &'a dyn Files, stem: &str) -> io::Result<Self> {
        let temporary = format!("{stem}{TEMPORARY}");
        let file = files.open(&temporary)?;
        let replacement = Self { files, temporary, file, length: 0, renamed: false };
        replacement.file.set_len(0)?;
        Ok(replacement)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.length
    }

    /// Makes what was written durable and gives it its name, replacing what has it.
    ///
    /// # Errors
    /// What the disk says. The name then leads to what it led to before, or already to the new file.
    pub fn commit(mut self, name: &str) -> io::Result<()> {
        self.file.sync()?;
        self.file.close()?;
        self.files.rename(&self.temporary, name)?;
        self.renamed = true;
        self.files.sync()
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // A full disk wants its space back now. Where this fails, the next start tries again.
            let _ = self.files.remove(&self.temporary);
        }
    }
}

impl Write for Replacement<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.length, bytes)?;
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of the names of files that are not finished.
pub const TEMPORARY: &str = ".tmp";

/// Reads a whole file.
///
/// # Errors
/// What the disk says; `InvalidData` when it is longer than `max_bytes`.
pub fn read(files: &dyn Files, name: &str, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = files.open(name)?;
    let length = file.len()?;
    if length > max_bytes {
        let why = format!("{} has {length} bytes, more than {max_bytes}", files.path(name));
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

/// A directory of the operating system.
#[derive(Debug, Clone)]
pub struct DirFiles {
    dir: PathBuf,
}

impl DirFiles {
    /// The files in `dir`, which must exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn named<T>(&self, name: &str, result: io::Result<T>) -> io::Result<T> {
        result
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path(name))))
    }
}

impl Files for DirFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = self.named("", std::fs::read_dir(&self.dir))?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Storage>> {
        Ok(Box::new(Real::open(&self.dir.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.named(from, std::fs::rename(self.dir.join(from), self.dir.join(to)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.named(name, std::fs::remove_file(self.dir.join(name)))
    }

    fn sync(&self) -> io::Result<()> {
        Real::sync_dir(&self.dir)
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

/// A directory in memory whose power can be cut. Clones are the same directory.
///
/// Names are durable at once; what is in the files is as durable as [`CrashImage`] says.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: Arc<Mutex<BTreeMap<String, CrashImage>>>,
}

impl MemoryFiles {
    /// The directory as it is after the power was cut now; each choice of `seed` is another way it may have gone.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let files = self.files.lock();
        let images = files.iter().enumerate().map(|(number, (name, file))| {
            (name.clone(), CrashImage::from_bytes(file.image(seed ^ number as u64)))
        });
        Self { files: Arc::new(Mutex::new(images.collect())) }
    }

    /// The bytes of a file as readers see them; empty when there is no such file.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let Some(file) = self.files.lock().get(name).cloned() else { return Vec::new() };
        let length = file.len().unwrap_or_default();
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        match file.read_exact_at(0, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Replaces a file's bytes, all durable.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.files.lock().insert(name.to_owned(), CrashImage::from_bytes(bytes));
    }

    /// A copy that shares nothing with this one, with everything durable.
    #[must_use]
    pub fn copy(&self) -> Self {
        let names: Vec<String> = self.files.lock().keys().cloned().collect();
        let copy = Self::default();
        for name in names {
            copy.put(&name, self.bytes(&name));
        }
        copy
    }
}

/// A [`CrashImage`] that many openings share: closing one leaves the others open.
#[derive(Debug)]
struct Opening(CrashImage);

impl Storage for Opening {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Files for MemoryFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Storage>> {
        let file = self.files.lock().entry(name.to_owned()).or_default().clone();
        Ok(Box::new(Opening(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("memory:/{name}")
    }
}
