//! The thread that writes the histories. Whoever needs a record to be durable waits for it; the
//! others go out with the next one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use hfs_protocol::ids::JobId;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Record;
use super::log::{HistoryError, JobLog};
use super::record::Entry;

/// Records that may wait for the thread. A full queue holds back the tracker's loop, which is the
/// right thing to hold back when the disk can't follow.
const QUEUE: usize = 4096;

/// What survives a restart besides the jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Start {
    /// The first start, milliseconds since the epoch: part of every job id.
    pub tracker: u64,
    /// How often it started, this time included.
    pub starts: u32,
    /// The highest job number that was given out before this start.
    pub last_job: u32,
}

impl Start {
    /// Reads the file of an earlier start, if there is one, and notes this start durably.
    ///
    /// # Errors
    /// When the directory can't be written or the file is not what it should be.
    pub fn note(dir: &Path, now_ms: u64, last_job_seen: u32) -> Result<Self, HistoryError> {
        let path = dir.join("tracker.json");
        let mut start = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| HistoryError::Damaged {
                path: path.clone(),
                offset: 0,
                what: e.to_string(),
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Self { tracker: now_ms, ..Self::default() }
            }
            Err(e) => return Err(HistoryError::io(&path, e)),
        };
        start.starts += 1;
        start.last_job = start.last_job.max(last_job_seen);
        let bytes = serde_json::to_vec(&start).unwrap_or_default();
        let new = dir.join("tracker.json.new");
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|e| HistoryError::io(&path, e))?;
        Ok(start)
    }
}

enum Order {
    Append { job: JobId, record: Box<Record>, durable: Option<oneshot::Sender<Result<(), String>>> },
    Reopen { job: JobId, whole_bytes: u64 },
    Remove { job: JobId },
}

/// A handle to the thread. Dropping the last one ends it after what was queued.
#[derive(Debug, Clone)]
pub struct Writer {
    orders: mpsc::SyncSender<Order>,
}

impl Writer {
    /// Starts the thread on the directory of the jobs' files, which exists.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(jobs_dir: PathBuf) -> std::io::Result<Self> {
        let (orders, queue) = mpsc::sync_channel(QUEUE);
        let run = move || Files { jobs_dir, open: BTreeMap::new() }.run(&queue);
        thread::Builder::new().name("history".into()).spawn(run)?;
        Ok(Self { orders })
    }

    /// Queues a record.
    pub fn append(&self, job: JobId, record: Record) {
        self.send(Order::Append { job, record: Box::new(record), durable: None });
    }

    /// Queues a record; the answer comes when it and all before it of this job are durable.
    pub fn append_synced(
        &self,
        job: JobId,
        record: Record,
    ) -> oneshot::Receiver<Result<(), String>> {
        let (durable, answer) = oneshot::channel();
        self.send(Order::Append { job, record: Box::new(record), durable: Some(durable) });
        answer
    }

    /// Goes on with the file of a job from an earlier start.
    pub fn reopen(&self, job: JobId, whole_bytes: u64) {
        self.send(Order::Reopen { job, whole_bytes });
    }

    /// Deletes the file of a job that nobody will ask about again.
    pub fn remove(&self, job: JobId) {
        self.send(Order::Remove { job });
    }

    fn send(&self, order: Order) {
        // The thread ends only after the last handle; if it panicked, waiting answers fail.
        let _ = self.orders.send(order);
    }
}

/// A job's file, or why it can't be used any more.
type Slot = Result<JobLog, String>;

struct Files {
    jobs_dir: PathBuf,
    open: BTreeMap<JobId, Slot>,
}

impl Files {
    fn run(mut self, queue: &mpsc::Receiver<Order>) {
        while let Ok(first) = queue.recv() {
            let mut batch = vec![first];
            batch.extend(queue.try_iter().take(QUEUE));
            self.write(batch);
        }
    }

    /// Writes a batch: all appends, then one sync for each file that somebody waits for.
    fn write(&mut self, batch: Vec<Order>) {
        let mut waiting: BTreeMap<JobId, Vec<oneshot::Sender<Result<(), String>>>> =
            BTreeMap::new();
        let mut over = Vec::new();
        for order in batch {
            match order {
                Order::Append { job, record, durable } => {
                    self.append(job, &record);
                    if matches!(record.entry, Some(Entry::Ended(_))) {
                        over.push(job);
                    }
                    if let Some(durable) = durable {
                        waiting.entry(job).or_default().push(durable);
                    }
                }
                Order::Reopen { job, whole_bytes } => {
                    let slot = JobLog::reopen(&self.jobs_dir, job, whole_bytes);
                    self.open.insert(job, slot.map_err(|e| e.to_string()));
                }
                Order::Remove { job } => {
                    self.open.remove(&job);
                    let path = JobLog::path(&self.jobs_dir, job);
                    if let Err(e) = fs::remove_file(&path) {
                        tracing::warn!("can't delete old job history {}: {e}", path.display());
                    }
                }
            }
        }
        for (job, waiters) in waiting {
            let result = self.sync(job);
            for waiter in waiters {
                // Who no longer waits does not need the answer.
                let _ = waiter.send(result.clone());
            }
        }
        for job in over {
            if let Some(Ok(mut log)) = self.open.remove(&job)
                && let Err(e) = log.append_end()
            {
                tracing::warn!("the end of {job}'s history has no mark: {e}");
            }
        }
    }

    fn append(&mut self, job: JobId, record: &Record) {
        if let Some(Entry::Submitted(_)) = record.entry {
            let dir = &self.jobs_dir;
            let slot = JobLog::create(dir, job).and_then(|log| {
                // The name must be as durable as the contents.
                File::open(dir)
                    .and_then(|dir| dir.sync_all())
                    .map_err(|e| HistoryError::io(dir, e))?;
                Ok(log)
            });
            self.open.insert(job, slot.map_err(|e| e.to_string()));
        }
        let Some(slot) = self.open.get_mut(&job) else { return };
        if let Ok(log) = slot
            && let Err(e) = log.append(record)
        {
            *slot = Err(e.to_string());
        }
    }

    /// A file whose sync failed is not tried again: what it holds is unknown.
    fn sync(&mut self, job: JobId) -> Result<(), String> {
        let slot = self.open.get_mut(&job).ok_or_else(|| format!("{job} has no open history"))?;
        let result = match slot {
            Ok(log) => log.sync().map_err(|e| e.to_string()),
            Err(e) => Err(e.clone()),
        };
        if let Err(e) = &result {
            *slot = Err(e.clone());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::read_jobs;
    use super::super::record::{Ended, Submitted, TaskCommitted};
    use super::*;

    #[test]
    fn starts_are_counted_and_the_tracker_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = Start::note(dir.path(), 1000, 0).unwrap();
        assert_eq!(first, Start { tracker: 1000, starts: 1, last_job: 0 });
        let second = Start::note(dir.path(), 2000, 7).unwrap();
        assert_eq!(second, Start { tracker: 1000, starts: 2, last_job: 7 });
        assert_eq!(Start::note(dir.path(), 3000, 3).unwrap().last_job, 7);
    }

    #[test]
    fn a_synced_record_is_on_disk_with_all_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let job = JobId { tracker: 5, number: 1 };
        let writer = Writer::start(dir.path().to_owned()).unwrap();
        writer.append(job, Entry::Submitted(Submitted::default()).into());
        writer.append(job, Entry::TaskCommitted(TaskCommitted::default()).into());
        let answer = writer.append_synced(job, Entry::Ended(Ended::default()).into());
        assert_eq!(answer.blocking_recv(), Ok(Ok(())));
        assert_eq!(read_jobs(dir.path()).unwrap()[0].records.as_ref().unwrap().len(), 3);
        let answer = writer.append_synced(job, Entry::Ended(Ended::default()).into());
        assert!(answer.blocking_recv().unwrap().is_err(), "an ended job has no history to extend");
    }
}
