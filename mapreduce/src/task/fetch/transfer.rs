//! One run on its way from a socket into memory or a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::anyhow;

use super::budget::{Budget, Held, Room};
use crate::task::run::{Run, map_file};

/// Where fetched runs go.
#[derive(Debug)]
pub(super) struct Place {
    /// The attempt's own directory.
    dir: PathBuf,
    pub(super) budget: Arc<Budget>,
    /// Numbers the files: two attempts of one map may be on their way at the same time.
    files: AtomicU64,
}

impl Place {
    pub(super) fn new(dir: &Path, budget: Arc<Budget>) -> Self {
        Self { dir: dir.to_owned(), budget, files: AtomicU64::new(0) }
    }
}

/// What a server says of a run before it sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) length: u64,
    pub(super) records: u64,
    pub(super) crc32: u32,
}

/// Why a run did not come.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server's or the network's fault, or the map output's own: another try may help.
    Server(anyhow::Error),
    /// This node's own: the reduce fails, and no map is to blame.
    Own(anyhow::Error),
    /// The reduce has ended.
    Closed,
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Server(error.into())
    }
}

/// A run on its way; what has come survives a broken connection.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    announced: Option<Announced>,
    hasher: crc32fast::Hasher,
    received: u64,
    store: Store,
}

#[derive(Debug, Default)]
enum Store {
    #[default]
    None,
    /// As many bytes as the run has, the first of them received.
    Memory(Vec<u8>, Room),
    File(LocalFile),
}

/// A file whose name goes with this value. A mapping of it keeps the bytes.
#[derive(Debug)]
struct LocalFile {
    file: File,
    path: PathBuf,
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        // The attempt's directory goes as a whole in the end.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Transfer {
    /// Bytes that have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The server has announced the run: makes room for it. Waits while the memory is full of runs that are not
    /// merged yet.
    pub(super) fn begin(&mut self, announced: Announced, place: &Place) -> Result<(), Trouble> {
        if *self.announced.get_or_insert(announced) != announced {
            *self = Self::default();
            return Err(Trouble::Server(anyhow!("the map output changed while it was fetched")));
        }
        if !matches!(self.store, Store::None) {
            return Ok(());
        }
        let length = announced.length;
        self.store = if place.budget.allows(length) {
            let room = place.budget.take(length).ok_or(Trouble::Closed)?;
            Store::Memory(vec![0; length as usize], room)
        } else {
            let number = place.files.fetch_add(1, Ordering::Relaxed);
            let path = place.dir.join(format!("fetch-{number}"));
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            let file = options.open(&path).map_err(|e| own(&path, e))?;
            Store::File(LocalFile { file, path })
        };
        Ok(())
    }

    /// Takes bytes of the run from `read`, which fills a part of what it is given and says how much, until the run
    /// is whole. `buffer` is for runs that go to a file.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut read: impl FnMut(&mut [u8]) -> Result<usize, Trouble>,
    ) -> Result<(), Trouble> {
        let length = self.announced.map_or(0, |announced| announced.length);
        while self.received < length {
            let left = length - self.received;
            let got = match &mut self.store {
                Store::Memory(bytes, _) => {
                    let room = &mut bytes[self.received as usize..];
                    let got = read(room)?;
                    self.hasher.update(&room[..got]);
                    got
                }
                Store::File(local) => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let got = read(&mut buffer[..most])?;
                    self.hasher.update(&buffer[..got]);
                    local.file.write_all(&buffer[..got]).map_err(|e| own(&local.path, e))?;
                    got
                }
                Store::None => 0,
            };
            if got == 0 {
                let received = self.received;
                let why = anyhow!("the connection closed after {received} of {length} bytes");
                return Err(Trouble::Server(why));
            }
            self.received += got as u64;
        }
        Ok(())
    }

    /// The whole run, verified. When it is not what was announced nothing of it is kept.
    pub(super) fn finish(&mut self) -> Result<(Run, u64), Trouble> {
        let done = std::mem::take(self);
        let Some(announced) = done.announced.filter(|a| a.length == done.received) else {
            return Err(Trouble::Server(anyhow!("the run is not whole")));
        };
        if done.hasher.finalize() != announced.crc32 {
            return Err(Trouble::Server(anyhow!("the bytes do not match their checksum")));
        }
        let run = match done.store {
            Store::Memory(bytes, room) => Run::Memory(Arc::new(Held::new(bytes, room))),
            Store::File(local) => {
                let map = map_file(&local.file).map_err(|e| own(&local.path, e))?;
                Run::Mapped(map, 0..announced.length as usize)
            }
            Store::None => return Err(Trouble::Server(anyhow!("the run was not begun"))),
        };
        Ok((run, announced.records))
    }
}

fn own(path: &Path, error: std::io::Error) -> Trouble {
    Trouble::Own(anyhow!(error).context(format!(
        "the local file {} for fetched map output can't be written; is the disk full?",
        path.display()
    )))
}
