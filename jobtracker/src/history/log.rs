//! The file of one job.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hfs_protocol::ids::JobId;
use prost::Message;

use super::Record;

/// The first eight bytes of a job's file.
const MAGIC: [u8; 8] = *b"HFSJOB01";
/// Length and checksum before each record.
const HEAD_BYTES: usize = 8;
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
        Ok(Self { file, path })
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
        Ok(Self { file, path })
    }

    /// Appends records that [`encode`] made.
    ///
    /// # Errors
    /// When they can't be written; then the file must not be used any more.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), HistoryError> {
        self.file.write_all(bytes).map_err(|e| HistoryError::io(&self.path, e))
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// When the disk refuses; then the file must not be used any more.
    pub fn sync(&self) -> Result<(), HistoryError> {
        self.file.sync_data().map_err(|e| HistoryError::io(&self.path, e))
    }
}

/// Appends a record in the form of the file.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let body = record.encode_to_vec();
    debug_assert!(body.len() <= RECORD_BYTES_MAX);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    out.extend_from_slice(&body);
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
/// A record that the file ends in the middle of was being written when the tracker died, and nobody
/// was promised anything about it: it is cut. A record that is whole and has another checksum is
/// damage.
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
    let Some(magic) = bytes.get(..MAGIC.len()) else { return torn_from(0, Vec::new()) };
    if magic != MAGIC {
        return damaged(0, "it is not a job history of this version".to_owned());
    }
    let mut records = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let Some(head) = bytes.get(at..at + HEAD_BYTES) else { return torn_from(at, records) };
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        // A file that grew but whose data did not reach the disk reads as zeros.
        if length == 0 && bytes[at..].iter().all(|byte| *byte == 0) {
            return torn_from(at, records);
        }
        if length > RECORD_BYTES_MAX {
            return damaged(at, format!("a record says it is {length} bytes long"));
        }
        let Some(body) = bytes.get(at + HEAD_BYTES..at + HEAD_BYTES + length) else {
            return torn_from(at, records);
        };
        let end = at + HEAD_BYTES + length;
        if crc32fast::hash(body) != crc {
            // The last record can be half on disk after a loss of power though its length is.
            if end == bytes.len() {
                return torn_from(at, records);
            }
            return damaged(at, "a record does not have its checksum".to_owned());
        }
        match Record::decode(body) {
            Ok(record) => records.push(record),
            Err(e) => return damaged(at, e.to_string()),
        }
        at = end;
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

    #[test]
    fn a_file_cut_at_any_byte_reads_as_the_whole_records_before_the_cut() {
        let mut bytes = MAGIC.to_vec();
        let mut ends = vec![bytes.len()];
        for n in 0..3 {
            encode(&record(n), &mut bytes);
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let read = decode(Path::new("x"), JOB, &bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            assert_eq!(read.records.unwrap(), (0..whole as u32).map(record).collect::<Vec<_>>());
            assert_eq!(read.whole_bytes + read.torn_bytes, cut as u64);
        }
    }

    #[test]
    fn a_changed_byte_before_the_last_record_is_damage_with_its_place() {
        let mut bytes = MAGIC.to_vec();
        encode(&record(0), &mut bytes);
        let second = bytes.len();
        encode(&record(1), &mut bytes);
        encode(&record(2), &mut bytes);
        bytes[second + HEAD_BYTES + 3] ^= 1;
        let read = decode(Path::new("/h/x.log"), JOB, &bytes);
        let error = read.records.unwrap_err().to_string();
        assert!(error.contains("/h/x.log") && error.contains(&format!("byte {second}")), "{error}");
    }

    #[test]
    fn what_is_appended_is_read_and_a_torn_end_is_cut_on_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = JobLog::create(dir.path(), JOB).unwrap();
        let mut bytes = Vec::new();
        encode(&record(7), &mut bytes);
        log.append(&bytes).unwrap();
        log.append(&bytes[..5]).unwrap();
        log.sync().unwrap();
        let read = read_jobs(dir.path()).unwrap().remove(0);
        assert_eq!(read.torn_bytes, 5);
        let mut log = JobLog::reopen(dir.path(), JOB, read.whole_bytes).unwrap();
        let mut more = Vec::new();
        encode(&record(8), &mut more);
        log.append(&more).unwrap();
        let read = read_jobs(dir.path()).unwrap().remove(0);
        assert_eq!(read.records.unwrap(), vec![record(7), record(8)]);
    }
}
