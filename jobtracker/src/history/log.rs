//! The file of one job.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hfs_protocol::ids::JobId;
use prost::Message;

use super::Record;

/// The first eight bytes of a job's file.
const MAGIC: [u8; 8] = *b"HFSJOB02";
/// What earlier versions began with.
const OLD_MAGIC: [u8; 8] = *b"HFSJOB01";
/// Checksum, length, own place and what was durable, before each record.
const HEAD_BYTES: usize = 24;
/// The longest record. The largest is a submission with all its splits.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Why a job's history can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The system said no.
    #[error("can't use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("the job history {} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first bad record begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl HistoryError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The open file of a job.
#[derive(Debug)]
pub struct JobLog {
    file: File,
    path: PathBuf,
    bytes: u64,
    durable_bytes: u64,
    buffer: Vec<u8>,
}

impl JobLog {
    /// Where the file of a job lies.
    #[must_use]
    pub fn path(jobs_dir: &Path, job: JobId) -> PathBuf {
        jobs_dir.join(format!("{job}.log"))
    }

    /// Begins the file of a new job. Not durable before [`Self::sync`] and a sync of the directory.
    ///
    /// # Errors
    /// When it exists or can't be made.
    pub fn create(jobs_dir: &Path, job: JobId) -> Result<Self, HistoryError> {
        let path = Self::path(jobs_dir, job);
        let open = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            file.write_all(&MAGIC)?;
            Ok(file)
        };
        let file = open().map_err(|e| HistoryError::io(&path, e))?;
        let bytes = MAGIC.len() as u64;
        Ok(Self { file, path, bytes, durable_bytes: 0, buffer: Vec::new() })
    }

    /// Opens the file of a job that goes on, cut to the bytes that were found whole.
    ///
    /// # Errors
    /// When it can't be opened or cut.
    pub fn reopen(jobs_dir: &Path, job: JobId, whole_bytes: u64) -> Result<Self, HistoryError> {
        let path = Self::path(jobs_dir, job);
        let open = || {
            let file = OpenOptions::new().append(true).open(&path)?;
            file.set_len(whole_bytes)?;
            file.sync_data()?;
            Ok(file)
        };
        let file = open().map_err(|e| HistoryError::io(&path, e))?;
        let (bytes, durable_bytes) = (whole_bytes, whole_bytes);
        Ok(Self { file, path, bytes, durable_bytes, buffer: Vec::new() })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// When it can't be written; then the file must not be used any more.
    pub fn append(&mut self, record: &Record) -> Result<(), HistoryError> {
        self.append_payload(&record.encode_to_vec())
    }

    /// Appends the mark that nothing follows. It vouches for all before it, which was synced.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn append_end(&mut self) -> Result<(), HistoryError> {
        self.append_payload(&[])
    }

    fn append_payload(&mut self, payload: &[u8]) -> Result<(), HistoryError> {
        self.buffer.clear();
        encode(payload, self.bytes, self.durable_bytes, &mut self.buffer);
        self.file.write_all(&self.buffer).map_err(|e| HistoryError::io(&self.path, e))?;
        self.bytes += self.buffer.len() as u64;
        // A submission of a million splits should not be kept for the small records after it.
        self.buffer.shrink_to(1 << 16);
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// When the disk refuses; then the file must not be used any more.
    pub fn sync(&mut self) -> Result<(), HistoryError> {
        self.file.sync_data().map_err(|e| HistoryError::io(&self.path, e))?;
        self.durable_bytes = self.bytes;
        Ok(())
    }
}

/// Appends a record in the form of the file, to stand at `place` in it.
fn encode(payload: &[u8], place: u64, durable_bytes: u64, out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= RECORD_BYTES_MAX);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&place.to_le_bytes());
    out.extend_from_slice(&durable_bytes.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// A record whose bytes are those that were written.
struct Whole<'a> {
    payload: &'a [u8],
    durable_bytes: u64,
    end: usize,
}

/// The record at this place, or what is wrong with it.
fn whole_at(bytes: &[u8], place: usize) -> Result<Whole<'_>, String> {
    let head = bytes.get(place..place + HEAD_BYTES).ok_or("it ends within a record")?;
    let four = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
    let (crc, length) = (four(0), four(4) as usize);
    if eight(8) != place as u64 {
        return Err("a record does not name its own place".to_owned());
    }
    if length > RECORD_BYTES_MAX {
        return Err(format!("a record says it is {length} bytes long"));
    }
    let end = place + HEAD_BYTES + length;
    let covered = bytes.get(place + 4..end).ok_or("it ends within a record")?;
    if crc32fast::hash(covered) != crc {
        return Err("a record does not have its checksum".to_owned());
    }
    Ok(Whole { payload: &covered[HEAD_BYTES - 4..], durable_bytes: eight(16), end })
}

/// Whether a whole record behind this place says that the place was durable once.
fn was_durable(bytes: &[u8], place: usize) -> bool {
    (place + 1..bytes.len())
        .any(|later| whole_at(bytes, later).is_ok_and(|w| w.durable_bytes > place as u64))
}

/// What a job's file holds.
#[derive(Debug)]
pub struct Read {
    /// The job, by the file's name.
    pub job: JobId,
    /// The records, or why they can't be believed.
    pub records: Result<Vec<Record>, HistoryError>,
    /// Bytes up to the end of the last whole record.
    pub whole_bytes: u64,
    /// Bytes after that: the record that was being written when the tracker died.
    pub torn_bytes: u64,
}

/// Reads one job's file.
///
/// A bad place is the torn end of what was being written when the tracker or the machine died, and
/// nobody was promised anything about it, unless a record behind it proves that it was durable once: then
/// it is damage. Records behind a torn place that prove nothing are cut with it: the disk may write
/// in any order.
fn read(path: &Path, job: JobId) -> Result<Read, HistoryError> {
    let bytes = fs::read(path).map_err(|e| HistoryError::io(path, e))?;
    Ok(decode(path, job, &bytes))
}

fn decode(path: &Path, job: JobId, bytes: &[u8]) -> Read {
    let torn_from = |whole: usize, records: Vec<Record>| Read {
        job,
        records: Ok(records),
        whole_bytes: whole as u64,
        torn_bytes: (bytes.len() - whole) as u64,
    };
    let damaged = |offset: usize, what: String| Read {
        job,
        records: Err(HistoryError::Damaged { path: path.to_owned(), offset: offset as u64, what }),
        whole_bytes: offset as u64,
        torn_bytes: 0,
    };
    let magic = bytes.get(..MAGIC.len());
    if magic.is_some_and(|magic| magic == OLD_MAGIC) {
        let what = "an earlier version of hfs wrote it, which this one does not read";
        return damaged(0, what.to_owned());
    }
    if magic.is_none_or(|magic| magic != MAGIC) {
        return match was_durable(bytes, 0) || magic.is_some_and(|m| m.iter().any(|b| *b != 0)) {
            true => damaged(0, "it does not begin like a job history".to_owned()),
            false => torn_from(0, Vec::new()),
        };
    }
    let mut records = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let whole = match whole_at(bytes, at) {
            Ok(whole) => whole,
            Err(what) if was_durable(bytes, at) => return damaged(at, what),
            Err(_) => return torn_from(at, records),
        };
        // The mark of the end.
        if whole.payload.is_empty() {
            at = whole.end;
            continue;
        }
        match Record::decode(whole.payload) {
            Ok(record) => records.push(record),
            Err(e) => return damaged(at, e.to_string()),
        }
        at = whole.end;
    }
    torn_from(at, records)
}

/// Reads all jobs' files, oldest job first.
///
/// # Errors
/// When the directory can't be read. A file that can't be is in the list with its error.
pub fn read_jobs(jobs_dir: &Path) -> Result<Vec<Read>, HistoryError> {
    let mut found = Vec::new();
    let entries = fs::read_dir(jobs_dir).map_err(|e| HistoryError::io(jobs_dir, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| HistoryError::io(jobs_dir, e))?;
        let name = entry.file_name();
        let job = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
        if let Some(job) = job {
            found.push((job, entry.path()));
        }
    }
    found.sort();
    let read_one = |(job, path): (JobId, PathBuf)| {
        read(&path, job).unwrap_or_else(|error| Read {
            job,
            records: Err(error),
            whole_bytes: 0,
            torn_bytes: 0,
        })
    };
    Ok(found.into_iter().map(read_one).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::record::{Entry, TaskCommitted};
    use super::*;

    const JOB: JobId = JobId { tracker: 1, number: 1 };

    fn record(n: u32) -> Record {
        Entry::TaskCommitted(TaskCommitted { attempt_id: format!("attempt {n}") }).into()
    }

    /// A file of these records, each true one synced; and where each record ends.
    fn file(synced: &[bool]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = MAGIC.to_vec();
        let (mut durable, mut ends) = (0, vec![bytes.len()]);
        for (n, synced) in synced.iter().enumerate() {
            let place = bytes.len() as u64;
            encode(&record(n as u32).encode_to_vec(), place, durable, &mut bytes);
            ends.push(bytes.len());
            if *synced {
                durable = bytes.len() as u64;
            }
        }
        (bytes, ends)
    }

    fn records(count: usize) -> Vec<Record> {
        (0..count as u32).map(record).collect()
    }

    #[test]
    fn a_file_cut_at_any_byte_reads_as_the_whole_records_before_the_cut() {
        let (bytes, ends) = file(&[true, false, true]);
        for cut in 0..=bytes.len() {
            let read = decode(Path::new("x"), JOB, &bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            let partial_magic = (1..MAGIC.len()).contains(&cut);
            assert_eq!(read.records.unwrap(), records(whole), "cut at {cut}");
            assert_eq!(read.whole_bytes + read.torn_bytes, cut as u64);
            assert!(!partial_magic || read.whole_bytes == 0);
        }
    }

    #[test]
    fn any_changed_byte_of_what_a_later_record_proves_durable_is_damage_with_its_place() {
        let (bytes, ends) = file(&[true, true, false]);
        for changed in 0..ends[2] {
            let mut bytes = bytes.clone();
            bytes[changed] ^= 1;
            let read = decode(Path::new("/h/x.log"), JOB, &bytes);
            let place = ends.iter().rev().find(|end| **end <= changed).copied().unwrap_or(0);
            let error = read.records.unwrap_err().to_string();
            assert!(error.contains(&format!("/h/x.log is damaged at byte {place}")), "{error}");
        }
    }

    #[test]
    fn a_torn_place_that_was_never_durable_is_cut_with_all_that_follows() {
        let (bytes, ends) = file(&[true, false, false, false]);
        for zeroed in [ends[1]..ends[2], ends[1] + 3..ends[3], ends[2]..ends[3]] {
            let mut bytes = bytes.clone();
            let first_bad = if zeroed.start >= ends[2] { 2 } else { 1 };
            bytes[zeroed].fill(0);
            let read = decode(Path::new("x"), JOB, &bytes);
            assert_eq!(read.records.unwrap(), records(first_bad));
            assert_eq!(read.whole_bytes, ends[first_bad] as u64);
        }
    }

    #[test]
    fn a_file_of_an_earlier_version_is_refused_in_words() {
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend_from_slice(&[7; 100]);
        let error = decode(Path::new("x"), JOB, &bytes).records.unwrap_err().to_string();
        assert!(error.contains("earlier version"), "{error}");
    }

    #[test]
    fn what_is_appended_is_read_and_a_torn_end_is_cut_on_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = JobLog::create(dir.path(), JOB).unwrap();
        log.append(&record(7)).unwrap();
        log.sync().unwrap();
        log.append(&record(8)).unwrap();
        let path = JobLog::path(dir.path(), JOB);
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let read = read_jobs(dir.path()).unwrap().remove(0);
        assert_eq!(read.records.unwrap(), vec![record(7)]);
        assert!(read.torn_bytes > 0);
        let mut log = JobLog::reopen(dir.path(), JOB, read.whole_bytes).unwrap();
        log.append(&record(9)).unwrap();
        log.append_end().unwrap();
        let read = read_jobs(dir.path()).unwrap().remove(0);
        assert_eq!(read.records.unwrap(), vec![record(7), record(9)]);
        assert_eq!(read.torn_bytes, 0);
    }
}
