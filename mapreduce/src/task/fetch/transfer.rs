//! One run on its way from a socket into memory or a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::anyhow;

use super::budget::{Budget, Held, Room};
use crate::task::guard::guarded;
use crate::task::packed::{Packing, unpacked_length};
use crate::task::run::{Run, map_file};

/// Where fetched runs go.
#[derive(Debug)]
pub(super) struct Place {
    /// The attempt's own directory.
    dir: PathBuf,
    pub(super) budget: Arc<Budget>,
    packing: Option<Packing>,
    /// Numbers the files: two attempts of one map may be on their way at the same time.
    files: AtomicU64,
}

impl Place {
    /// A place for runs that come packed like this.
    pub(super) fn new(dir: &Path, budget: Arc<Budget>, packing: Option<Packing>) -> Self {
        Self { dir: dir.to_owned(), budget, packing, files: AtomicU64::new(0) }
    }

    /// Whether runs come packed.
    pub(super) fn packed(&self) -> bool {
        self.packing.is_some()
    }

    fn file(&self) -> Result<LocalFile, Trouble> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("fetch-{number}"));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(|e| own(&path, e))?;
        Ok(LocalFile { file, path })
    }

    /// The run itself, of what was taken over and verified: in memory if there is room for it now (who waited here
    /// would hold room that others wait for), else in a file.
    pub(super) fn unpacked(&self, taken: Run) -> Result<Run, Trouble> {
        let Some(packing) = self.packing else { return Ok(taken) };
        // A thread that ended here would take what it fetches along, and the reduce would wait for ever.
        guarded(|| Ok(self.unpacked_by(packing, taken))).unwrap_or_else(|e| Err(Trouble::Own(e)))
    }

    fn unpacked_by(&self, packing: Packing, taken: Run) -> Result<Run, Trouble> {
        let mut packed = match &taken {
            Run::Memory(bytes) => &bytes[..],
            Run::Mapped(map, range) => &map[range.clone()],
            Run::Kept(..) => return Ok(taken),
        };
        let length = unpacked_length(packed).map_err(Trouble::Server)?;
        let room = Some(length).filter(|length| self.budget.allows(*length));
        if let Some(room) = room.and_then(|length| self.budget.take_now(length)) {
            let mut bytes = Vec::with_capacity(length as usize);
            while !packed.is_empty() {
                packed = packing.unpack(packed, &mut bytes).map_err(Trouble::Server)?;
            }
            return Ok(Run::Memory(Arc::new(Held::new(bytes, room))));
        }
        let mut local = self.file()?;
        let mut bytes = Vec::new();
        while !packed.is_empty() {
            packed = packing.unpack(packed, &mut bytes).map_err(Trouble::Server)?;
            local.file.write_all(&bytes).map_err(|e| own(&local.path, e))?;
            bytes.clear();
        }
        local.into_run(length)
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

impl LocalFile {
    fn into_run(self, length: u64) -> Result<Run, Trouble> {
        let map = map_file(&self.file).map_err(|e| own(&self.path, e))?;
        Ok(Run::Mapped(map, 0..length as usize))
    }
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
            Store::File(place.file()?)
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

    /// All bytes, verified: the run as it was sent. When it is not what was announced nothing of it is kept.
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
            Store::File(local) => local.into_run(announced.length)?,
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
