//! The seam between a log (or any file whose bytes matter) and its disk: six methods, so that everything that
//! can go wrong on a disk goes through one small place.
//!
//! - [`Real`]: a file.
//! - [`Memory`]: bytes, for tests that don't care.
//! - [`Faulty`]: any storage whose n-th operation fails, or that is full, or whose sync returns an I/O error.
//! - [`CrashImage`]: remembers what was written since the last sync, and makes every kind of file that a
//!   loss of power may leave: writes lost, reordered, or torn between sectors.
//!
//! All pass the suite in [`conformance`].

pub mod conformance;
mod crash_image;
mod faulty;
mod memory;
mod real;

use std::fmt::Debug;
use std::io;

pub use crash_image::{CrashImage, SECTOR_BYTES};
pub use faulty::{Fault, Faults, Faulty};
pub use memory::Memory;
pub use real::Real;

/// One file's bytes. All methods take `&self`: whoever needs writes ordered against each other orders them.
///
/// Contract:
/// 1. What [`Self::write_at`] wrote is seen by every later [`Self::read_at`] at once, synced or not.
/// 2. What was written or cut before [`Self::sync`] returned `Ok` survives a loss of power; of anything later,
///    any part may survive, sector by sector, in any order.
/// 3. After [`Self::sync`] failed nothing is known about what was written since the last good one, and
///    syncing again proves nothing: the caller gives the file up.
/// 4. A hole (bytes never written below the length) reads as zeros.
pub trait Storage: Send + Sync + Debug {
    /// The length in bytes.
    ///
    /// # Errors
    /// What the disk says, here and below.
    fn len(&self) -> io::Result<u64>;

    /// Reads at most `into.len()` bytes from `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` at `offset`, making the file longer where needed.
    ///
    /// # Errors
    /// What the disk says; then any part of `data` may have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts the file, or makes it longer with zeros.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Returns when everything written so far survives a loss of power (`fdatasync`).
    ///
    /// # Errors
    /// What the disk says; see the contract, point 3.
    fn sync(&self) -> io::Result<()>;

    /// Closes the file without syncing. Every other method fails afterwards.
    ///
    /// # Errors
    /// What the disk says, which for some file systems is where a failed write shows.
    fn close(&self) -> io::Result<()>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `into.len()` bytes from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; else what the disk says.
    fn read_exact_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match self.read_at(offset, into)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    into = &mut into[n..];
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }
}

/// The error of every method after [`Storage::close`].
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the file is closed")
}
