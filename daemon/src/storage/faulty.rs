//! A disk that fails on request.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Storage;

/// What goes wrong. Several may be armed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th operation from now (0: the next) fails with an I/O error, and all later ones do: the disk is gone.
    GoneAfter(u64),
    /// The n-th operation from now fails with an I/O error, once.
    FailOnce(u64),
    /// No write may make the file longer than this: the disk is full. What fits of a write is written.
    FullAt(u64),
    /// Every sync fails with an I/O error, and the bytes stay readable, which is what makes it treacherous.
    SyncFails,
    /// The n-th write from now writes only this many bytes and then fails.
    TornWrite {
        /// Counted over writes alone.
        write: u64,
        /// How much of it arrives.
        bytes: usize,
    },
}

/// Wraps a storage and lets it fail. Clones of the [`Faulty::faults`] handle arm faults from outside.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

/// The handle with which a test arms faults while the storage is in use.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    armed: Vec<Fault>,
    operations: u64,
}

impl Faults {
    /// Arms a fault; counts begin at the next operation.
    pub fn arm(&self, fault: Fault) {
        self.0.lock().armed.push(fault);
    }

    /// The disk is well again.
    pub fn heal(&self) {
        self.0.lock().armed.clear();
    }

    /// How many operations were tried so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Counts an operation and says whether it fails.
    fn strike(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.operations += 1;
        let mut struck = false;
        state.armed.retain_mut(|fault| match fault {
            Fault::GoneAfter(0) => {
                struck = true;
                true
            }
            Fault::FailOnce(0) => {
                struck = true;
                false
            }
            Fault::GoneAfter(n) | Fault::FailOnce(n) => {
                *n -= 1;
                true
            }
            Fault::FullAt(_) | Fault::SyncFails | Fault::TornWrite { .. } => true,
        });
        if struck { Err(io_error()) } else { Ok(()) }
    }

    /// How many bytes of this write arrive before it fails; `None`: all of them, and it succeeds.
    fn cut(&self, offset: u64, length: usize) -> Option<(usize, io::Error)> {
        let mut state = self.0.lock();
        let mut cut = None;
        state.armed.retain_mut(|fault| match fault {
            Fault::TornWrite { write: 0, bytes } => {
                cut = Some(((*bytes).min(length), io_error()));
                false
            }
            Fault::TornWrite { write, .. } => {
                *write -= 1;
                true
            }
            Fault::FullAt(limit) => {
                let room = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
                if room < length {
                    cut = Some((room, full()));
                }
                true
            }
            _ => true,
        });
        cut
    }
}

fn io_error() -> io::Error {
    rustix::io::Errno::IO.into()
}

fn full() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

impl<S: Storage> Faulty<S> {
    /// A disk that is well until told otherwise.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// The handle that arms faults.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

impl<S: Storage> Storage for Faulty<S> {
    fn len(&self) -> io::Result<u64> {
        self.faults.strike()?;
        self.inner.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.faults.strike()?;
        self.inner.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.strike()?;
        match self.faults.cut(offset, data.len()) {
            None => self.inner.write_at(offset, data),
            Some((arrives, error)) => {
                self.inner.write_at(offset, &data[..arrives])?;
                Err(error)
            }
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.faults.strike()?;
        let limit = self.faults.0.lock().armed.iter().find_map(|fault| match fault {
            Fault::FullAt(limit) => Some(*limit),
            _ => None,
        });
        if limit.is_some_and(|limit| length > limit) {
            Err(full())
        } else {
            self.inner.set_len(length)
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.strike()?;
        if self.faults.0.lock().armed.contains(&Fault::SyncFails) {
            return Err(io_error());
        }
        self.inner.sync()
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Memory;
    use super::*;

    #[test]
    fn each_fault_strikes_as_it_says() {
        let memory = Memory::new();
        let disk = Faulty::new(memory.clone());
        let faults = disk.faults();
        faults.arm(Fault::FailOnce(1));
        disk.write_at(0, b"abcd").unwrap();
        assert_eq!(disk.sync().unwrap_err().raw_os_error(), Some(5));
        disk.sync().unwrap();
        faults.arm(Fault::FullAt(6));
        let e = disk.write_at(4, b"efgh").unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
        assert_eq!(memory.bytes(), b"abcdef");
        disk.write_at(0, b"x").unwrap();
        faults.heal();
        faults.arm(Fault::SyncFails);
        assert!(disk.sync().is_err());
        assert!(disk.sync().is_err(), "it goes on failing");
        faults.heal();
        faults.arm(Fault::TornWrite { write: 0, bytes: 1 });
        assert!(disk.write_at(0, b"12").is_err());
        assert_eq!(memory.bytes(), b"1bcdef");
        faults.arm(Fault::GoneAfter(1));
        disk.sync().unwrap();
        assert!(disk.len().is_err());
        assert!(disk.len().is_err());
    }
}
