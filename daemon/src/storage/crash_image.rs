//! What a loss of power leaves.
//!
//! Everything written since the last good sync sits in caches. When the power goes, each sector of it is on the disk or
//! not, in any order, and the file's length is any that it had since. [`CrashImage`] records the operations and
//! makes such files: all that follow from "the first n writes arrived", and any other from a seed.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::memory::{index, overlay};
use super::{Memory, Storage, closed};

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A file that remembers what a crash could take back. Clones are the same file.
#[derive(Debug, Clone, Default)]
pub struct CrashImage {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What survives any crash.
    durable: Vec<u8>,
    /// What readers see.
    now: Vec<u8>,
    /// What led from `durable` to `now`.
    pending: Vec<Change>,
    closed: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

impl CrashImage {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with these bytes, all durable: the next life after a crash.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let state = State { now: bytes.clone(), durable: bytes, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// What survives whatever happens.
    #[must_use]
    pub fn durable(&self) -> Vec<u8> {
        self.state.lock().durable.clone()
    }

    /// Every image in which the first n changes since the last sync arrived, then for the next write each prefix of
    /// its sectors. The first is the durable file, the last is what readers see now.
    #[must_use]
    pub fn prefix_images(&self) -> Vec<Vec<u8>> {
        let state = self.state.lock();
        let mut image = state.durable.clone();
        let mut images = vec![image.clone()];
        for change in &state.pending {
            for piece in change.sectors() {
                apply(&mut image, &piece);
                images.push(image.clone());
            }
        }
        images
    }

    /// One image in which each sector written since the last sync, and each change of length, arrived or not, as the
    /// bits of `seed` fall. The same seed makes the same image.
    #[must_use]
    pub fn image(&self, seed: u64) -> Vec<u8> {
        let state = self.state.lock();
        let mut dice = seed;
        let mut image = state.durable.clone();
        for change in &state.pending {
            for piece in change.sectors() {
                if flip(&mut dice) {
                    apply(&mut image, &piece);
                }
            }
        }
        image
    }

    /// The power goes: this very file continues as the image of `seed`.
    pub fn crash(&self, seed: u64) -> Memory {
        Memory::from_bytes(self.image(seed))
    }

    fn with<T>(&self, operation: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.closed { Err(closed()) } else { operation(&mut state) }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.with(|state| {
            apply(&mut state.now, &change);
            state.pending.push(change);
            Ok(())
        })
    }
}

impl Change {
    /// The change as pieces that a disk does whole or not at all.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write { offset, data } = self else { return vec![self.clone()] };
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let room = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
            let end = data.len().min(at + room);
            pieces.push(Self::Write { offset: offset + at, data: data[at..end].to_vec() });
            at = end;
        }
        pieces
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, data } => {
            overlay(bytes, *offset, data).expect("invariant: checked when it was written");
        }
        Change::SetLen(length) => bytes.resize(*length, 0),
    }
}

/// splitmix64's next bit: enough to choose, and the same on every machine.
fn flip(state: &mut u64) -> bool {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & 1 == 1
}

impl Storage for CrashImage {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.now.len() as u64))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|state| {
            let start = index(offset)?.min(state.now.len());
            let n = into.len().min(state.now.len() - start);
            into[..n].copy_from_slice(&state.now[start..start + n]);
            Ok(n)
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = index(offset)?;
        offset.checked_add(data.len()).ok_or(io::ErrorKind::StorageFull)?;
        self.change(Change::Write { offset, data: data.to_vec() })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::SetLen(index(length)?))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            state.durable.clone_from(&state.now);
            state.pending.clear();
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.with(|state| {
            state.closed = true;
            Ok(())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unsynced_writes_are_lost_or_torn_and_synced_ones_are_not() {
        let disk = CrashImage::new();
        disk.write_at(0, &[1; 700]).unwrap();
        disk.sync().unwrap();
        disk.write_at(700, &[2; 700]).unwrap();
        let images = disk.prefix_images();
        // 700 to 1024, 1024 to 1400.
        assert_eq!(images.iter().map(Vec::len).collect::<Vec<_>>(), [700, 1024, 1400]);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let image = disk.image(seed);
            assert_eq!(image, disk.image(seed), "the same seed, the same image");
            assert!(image.starts_with(&[1; 700]));
            seen.insert(image);
        }
        assert_eq!(seen.len(), 4, "none, first, second (with a hole), both");
    }

    proptest! {
        #[test]
        fn what_was_synced_survives_every_seed(
            synced in proptest::collection::vec(any::<u8>(), 0..2_000),
            appended in proptest::collection::vec(any::<u8>(), 0..2_000),
            seed in any::<u64>(),
        ) {
            let disk = CrashImage::new();
            disk.write_at(0, &synced).unwrap();
            disk.sync().unwrap();
            disk.write_at(synced.len() as u64, &appended).unwrap();
            prop_assert!(disk.image(seed).starts_with(&synced));
            prop_assert!(disk.crash(seed).bytes().len() <= synced.len() + appended.len());
        }
    }
}
