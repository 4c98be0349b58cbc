//! A journal in segment files of one directory.
//!
//! Appending copies an entry into a buffer. One thread takes the whole buffer, leaves an empty one in its place, writes
//! with one write, syncs once and wakes everybody: whoever appended while the disk was busy shares the next sync. The
//! more clients there are, the fewer syncs each costs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use hfs_daemon::storage::Storage;
use hfs_protocol::ids::TxId;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::files::Files;
use super::segment::{self, HEADER_BYTES, MAX_SEGMENT_BYTES};
use super::{Durable, Journal, JournalError};

/// How a local journal uses its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// How many bytes of zeros a segment is made longer by when it is full, so that a sync has no metadata to write; 0
    /// lets it grow with each write.
    pub preallocate_bytes: u64,
    /// How many bytes may wait for the disk before appending waits too.
    pub max_buffered_bytes: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { preallocate_bytes: 1 << 20, max_buffered_bytes: 64 << 20 }
    }
}

/// See the module.
#[derive(Debug)]
pub struct LocalJournal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    /// There is work for the thread.
    work: Condvar,
    /// Something became durable, or never will.
    done: Condvar,
    /// The same, for tasks.
    notify: Notify,
    durable: AtomicU64,
    files: Arc<dyn Files>,
    max_buffered_bytes: usize,
}

/// What waits for the disk.
#[derive(Debug)]
struct Line {
    batch: Vec<u8>,
    appended: u64,
    /// Rolls that were asked for and that were done.
    rolls_asked: u64,
    rolls_done: u64,
    current: TxId,
    closing: bool,
    /// Set once and for all.
    error: Option<JournalError>,
}

impl LocalJournal {
    /// Begins a segment whose first entry is `next`. What a file of that name has is gone: recovery saw that it is nothing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn start(
        files: Arc<dyn Files>,
        cluster_id: &str,
        next: TxId,
        options: JournalOptions,
    ) -> io::Result<Self> {
        let writer = Writer::begin(Arc::clone(&files), cluster_id, next, options)?;
        let before = next.0.saturating_sub(1);
        let shared = Arc::new(Shared {
            line: Mutex::new(Line {
                batch: Vec::new(),
                appended: before,
                rolls_asked: 0,
                rolls_done: 0,
                current: next,
                closing: false,
                error: None,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            notify: Notify::new(),
            durable: AtomicU64::new(before),
            files,
            max_buffered_bytes: options.max_buffered_bytes,
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("journal".to_owned())
                .spawn(move || shared.run(writer))?
        };
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }
}

impl Shared {
    /// The thread: takes what is in line, makes it durable, says so.
    fn run(&self, mut writer: Writer) {
        let mut batch = Vec::new();
        loop {
            let (appended, rolls, closing) = {
                let mut line = self.line.lock();
                while line.batch.is_empty() && !line.closing && line.rolls_asked == line.rolls_done
                {
                    self.work.wait(&mut line);
                }
                batch.clear();
                std::mem::swap(&mut batch, &mut line.batch);
                (line.appended, line.rolls_asked, line.closing)
            };
            let asked = rolls != self.line.lock().rolls_done;
            let written = writer.write(&mut batch);
            let outcome = written.and_then(|()| {
                self.durable.store(appended, Ordering::Release);
                match (closing, asked || writer.offset >= MAX_SEGMENT_BYTES) {
                    (true, _) => writer.finish(TxId(appended).next()),
                    (false, true) => writer.roll(TxId(appended).next()),
                    (false, false) => Ok(()),
                }
            });
            let mut line = self.line.lock();
            line.rolls_done = rolls;
            line.current = writer.first;
            if let Err(error) = outcome {
                let durable = TxId(self.durable.load(Ordering::Acquire));
                let disk_full = error.kind() == io::ErrorKind::StorageFull
                    || error.kind() == io::ErrorKind::QuotaExceeded;
                let reason = error.to_string();
                line.error = Some(JournalError::Poisoned { durable, disk_full, reason });
            } else if closing {
                line.error = Some(JournalError::Closed);
            }
            let over = line.error.is_some();
            drop(line);
            self.done.notify_all();
            self.notify.notify_waiters();
            if over {
                return;
            }
        }
    }

    /// Whether an entry is durable; `None` while nobody knows.
    fn outcome(&self, txid: TxId) -> Option<Result<(), JournalError>> {
        if self.durable.load(Ordering::Acquire) >= txid.0 {
            return Some(Ok(()));
        }
        let line = self.line.lock();
        let error = line.error.clone();
        // It may have become durable between the two looks.
        if self.durable.load(Ordering::Acquire) >= txid.0 {
            return Some(Ok(()));
        }
        error.map(Err)
    }

    fn wait_until<T>(&self, mut ready: impl FnMut(&mut Line) -> Option<T>) -> T {
        let mut line = self.line.lock();
        loop {
            if let Some(value) = ready(&mut line) {
                return value;
            }
            self.done.wait(&mut line);
        }
    }
}

impl Journal for LocalJournal {
    fn append(&self, payload: &[u8]) -> Result<TxId, JournalError> {
        if payload.len() > segment::MAX_PAYLOAD_BYTES {
            return Err(JournalError::TooLong { bytes: payload.len() });
        }
        let mut line = self.shared.line.lock();
        loop {
            if let Some(error) = &line.error {
                return Err(error.clone());
            }
            if line.closing {
                return Err(JournalError::Closed);
            }
            if line.batch.len() <= self.shared.max_buffered_bytes {
                break;
            }
            self.shared.done.wait(&mut line);
        }
        let first = line.batch.is_empty();
        line.appended += 1;
        let txid = TxId(line.appended);
        segment::push_record(&mut line.batch, txid, payload);
        drop(line);
        if first {
            self.shared.work.notify_one();
        }
        Ok(txid)
    }

    fn appended(&self) -> TxId {
        TxId(self.shared.line.lock().appended)
    }

    fn durable(&self) -> TxId {
        TxId(self.shared.durable.load(Ordering::Acquire))
    }

    fn wait_durable(&self, txid: TxId) -> Result<(), JournalError> {
        self.shared.wait_until(|line| {
            if self.shared.durable.load(Ordering::Acquire) >= txid.0 {
                return Some(Ok(()));
            }
            line.error.clone().map(Err)
        })
    }

    fn when_durable(&self, txid: TxId) -> Durable {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            loop {
                let mut woken = std::pin::pin!(shared.notify.notified());
                // From here on no wake-up is missed.
                woken.as_mut().enable();
                if let Some(outcome) = shared.outcome(txid) {
                    return outcome;
                }
                woken.await;
            }
        })
    }

    fn poisoned(&self) -> Option<JournalError> {
        self.shared.line.lock().error.clone().filter(|error| *error != JournalError::Closed)
    }

    fn roll(&self) -> Result<TxId, JournalError> {
        let ticket = {
            let mut line = self.shared.line.lock();
            if let Some(error) = &line.error {
                return Err(error.clone());
            }
            line.rolls_asked += 1;
            line.rolls_asked
        };
        self.shared.work.notify_one();
        self.shared.wait_until(|line| match &line.error {
            Some(error) => Some(Err(error.clone())),
            None => (line.rolls_done >= ticket).then_some(Ok(line.current)),
        })
    }

    fn purge(&self, keep_from: TxId) -> io::Result<usize> {
        let current = self.shared.line.lock().current;
        let files = &self.shared.files;
        let names = files.list()?;
        let firsts: Vec<TxId> = names.iter().filter_map(|name| segment::first_of(name)).collect();
        let mut removed = 0;
        for pair in firsts.windows(2) {
            // The segment ends where the next one begins.
            if pair[1] <= keep_from && pair[0] < current {
                files.remove(&segment::file_name(pair[0]))?;
                removed += 1;
            }
        }
        if removed > 0 {
            files.sync()?;
        }
        Ok(removed)
    }

    fn close(&self) {
        self.shared.line.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread died; what was not durable is lost");
        }
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        self.close();
    }
}

/// The segment that is being written. Only the journal's thread has it.
struct Writer {
    files: Arc<dyn Files>,
    cluster_id: String,
    options: JournalOptions,
    file: Box<dyn Storage>,
    first: TxId,
    offset: u64,
    /// Up to here the file has bytes, if only zeros.
    allocated: u64,
}

impl Writer {
    fn begin(
        files: Arc<dyn Files>,
        cluster_id: &str,
        first: TxId,
        options: JournalOptions,
    ) -> io::Result<Self> {
        let file = files.open(&segment::file_name(first))?;
        file.set_len(0)?;
        file.write_at(0, &segment::encode_header(cluster_id, first))?;
        file.sync()?;
        files.sync()?;
        let offset = HEADER_BYTES as u64;
        let cluster_id = cluster_id.to_owned();
        Ok(Self { files, cluster_id, options, file, first, offset, allocated: offset })
    }

    /// Writes a batch and syncs it.
    fn write(&mut self, batch: &mut [u8]) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        segment::seal_batch(batch);
        let end = self.offset + batch.len() as u64;
        self.file.write_at(self.offset, batch)?;
        self.offset = end;
        if end > self.allocated && self.options.preallocate_bytes > 0 {
            let zeros =
                vec![0; usize::try_from(self.options.preallocate_bytes).map_err(io::Error::other)?];
            match self.file.write_at(end, &zeros) {
                Ok(()) => self.allocated = end + zeros.len() as u64,
                // The entries fitted. Room for later ones is a convenience.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => self.allocated = end,
                Err(error) => return Err(error),
            }
        }
        self.file.sync()
    }

    /// Ends the segment in peace: after this, damage in it can't be mistaken for a crash.
    fn finish(&mut self, next: TxId) -> io::Result<()> {
        let mark = segment::end_mark(next);
        self.file.write_at(self.offset, &mark)?;
        self.file.set_len(self.offset + mark.len() as u64)?;
        self.file.sync()
    }

    fn roll(&mut self, next: TxId) -> io::Result<()> {
        if next == self.first {
            return Ok(());
        }
        self.finish(next)?;
        self.file.close()?;
        let fresh = Self::begin(Arc::clone(&self.files), &self.cluster_id, next, self.options)?;
        *self = fresh;
        Ok(())
    }
}
