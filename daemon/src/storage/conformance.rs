//! The suite that every [`Storage`] passes. Whoever writes another one runs it.

use std::io;

use super::Storage;

/// Runs the suite; `open` gives a fresh, empty storage each time.
///
/// # Errors
/// What the storage said where it should have said nothing.
///
/// # Panics
/// When the storage breaks the contract; the message says which point.
pub fn check<S: Storage>(mut open: impl FnMut() -> S) -> io::Result<()> {
    reads_see_writes(&open())?;
    holes_are_zeros(&open())?;
    lengths_change_both_ways(&open())?;
    a_closed_file_refuses(&open())
}

fn content(storage: &impl Storage) -> io::Result<Vec<u8>> {
    let length = usize::try_from(storage.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0xee; length];
    storage.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

fn reads_see_writes(storage: &impl Storage) -> io::Result<()> {
    assert!(storage.is_empty()?, "a fresh storage is empty");
    let mut some = [0; 4];
    assert_eq!(storage.read_at(0, &mut some)?, 0, "reading at the end gives 0");
    storage.write_at(0, b"hello")?;
    storage.write_at(5, b"")?;
    assert_eq!(content(storage)?, b"hello", "unsynced writes are seen");
    storage.write_at(1, b"EL")?;
    storage.sync()?;
    assert_eq!(content(storage)?, b"hELlo", "overwriting keeps the rest");
    assert_eq!(storage.read_at(3, &mut some)?, 2, "a read across the end is short");
    assert_eq!(&some[..2], b"lo");
    assert_eq!(storage.read_at(99, &mut some)?, 0, "reading past the end gives 0");
    let short = storage.read_exact_at(3, &mut some).map_err(|e| e.kind());
    assert_eq!(short, Err(io::ErrorKind::UnexpectedEof), "an exact read past the end fails");
    Ok(())
}

fn holes_are_zeros(storage: &impl Storage) -> io::Result<()> {
    storage.write_at(3, b"x")?;
    assert_eq!(content(storage)?, b"\0\0\0x", "a hole reads as zeros");
    Ok(())
}

fn lengths_change_both_ways(storage: &impl Storage) -> io::Result<()> {
    storage.write_at(0, b"abcdef")?;
    storage.set_len(2)?;
    assert_eq!(content(storage)?, b"ab", "cut");
    storage.set_len(4)?;
    storage.sync()?;
    assert_eq!(content(storage)?, b"ab\0\0", "grown with zeros, not with what was cut");
    Ok(())
}

fn a_closed_file_refuses(storage: &impl Storage) -> io::Result<()> {
    storage.write_at(0, b"a")?;
    storage.close()?;
    assert!(storage.write_at(1, b"b").is_err(), "a closed file takes no write");
    assert!(storage.read_at(0, &mut [0]).is_err(), "a closed file gives no byte");
    assert!(storage.sync().is_err(), "a closed file can't be synced");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{CrashImage, Faulty, Memory, Real};
    use super::*;

    #[test]
    fn all_of_ours_conform() {
        check(Memory::new).unwrap();
        check(|| Faulty::new(Memory::new())).unwrap();
        check(CrashImage::new).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut number = 0;
        check(|| {
            number += 1;
            Real::open(&dir.path().join(number.to_string())).unwrap()
        })
        .unwrap();
        Real::sync_dir(dir.path()).unwrap();
    }

    #[test]
    fn errors_of_a_real_file_name_it() {
        let sentence =
            Real::open(std::path::Path::new("/nonexistent/log")).unwrap_err().to_string();
        assert!(sentence.contains("/nonexistent/log"), "{sentence}");
    }
}
