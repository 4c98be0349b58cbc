//! Calls on a job's file system that try again while the answer is unclear, up to a deadline.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hfs_protocol::proto::task::JobSpec;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::store::{Store, StoreError};

/// The first pause before a call is tried again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A job's file system, and how long one step of its commit may take.
pub struct Calls {
    store: Arc<dyn Store>,
    job: Arc<JobSpec>,
    /// How long one call may take before it is tried again.
    call: Duration,
    /// Renames are given up here, so that there is time to find out what became of them.
    renames_until: Instant,
    until: Instant,
}

impl Calls {
    /// Calls for one step that has to end within `time` from now.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, job: Arc<JobSpec>, time: Duration) -> Self {
        let now = Instant::now();
        Self { store, job, call: time / 4, renames_until: now + time / 2, until: now + time }
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &JobSpec {
        &self.job
    }

    /// The file id of what is at the path.
    ///
    /// # Errors
    /// A refusal, or no clear answer up to the deadline.
    pub async fn file_id(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.until_clear(self.until, || self.store.file_id(&self.job, path)).await
    }

    /// Makes a directory and those above it.
    ///
    /// # Errors
    /// A refusal, or no clear answer up to the deadline.
    pub async fn mkdirs(&self, path: &str) -> Result<(), StoreError> {
        self.until_clear(self.until, || self.store.mkdirs(&self.job, path)).await
    }

    /// Makes an empty file, over an older one.
    ///
    /// # Errors
    /// A refusal, or no clear answer up to the deadline.
    pub async fn create_empty(&self, path: &str) -> Result<(), StoreError> {
        self.until_clear(self.until, || self.store.create_empty(&self.job, path)).await
    }

    /// Deletes a path and all below it.
    ///
    /// # Errors
    /// A refusal, or no clear answer up to the deadline.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.until_clear(self.until, || self.store.delete(&self.job, path)).await
    }

    /// Completes uploads; see [`Store::publish`]. However many there are, they have the step's whole time.
    ///
    /// # Errors
    /// A refusal, or no clear answer up to the deadline.
    pub async fn publish(&self, dir: &str) -> Result<(), StoreError> {
        let publish = || self.store.publish(&self.job, dir);
        self.until_clear_in(self.until, self.until, publish).await
    }

    /// Gives up uploads; see [`Store::withdraw`].
    ///
    /// # Errors
    /// A refusal, or no clear answer up to the deadline.
    pub async fn withdraw(&self, dir: &str) -> Result<bool, StoreError> {
        let withdraw = || self.store.withdraw(&self.job, dir);
        self.until_clear_in(self.until, self.until, withdraw).await
    }

    /// Renames. True: this call did it. False: it was refused as done or undoable (the source is not there,
    /// or the target is) after a try whose answer was unclear, so the try may have done it.
    ///
    /// # Errors
    /// A refusal of the first try, or no clear answer in half of the step's time.
    pub async fn rename(&self, from: &str, to: &str, overwrite: bool) -> Result<bool, StoreError> {
        let mut tries = 0;
        let rename = || {
            tries += 1;
            self.store.rename(&self.job, from, to, overwrite)
        };
        match self.until_clear(self.renames_until, rename).await {
            Ok(()) => Ok(true),
            Err(StoreError::NotFound(_) | StoreError::Exists(_)) if tries > 1 => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn until_clear<'a, T>(
        &'a self,
        until: Instant,
        call: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.until_clear_in(until, Instant::now() + self.call, call).await
    }

    /// `one`: when the first call is given up; later ones get as long.
    async fn until_clear_in<'a, T>(
        &'a self,
        until: Instant,
        one: Instant,
        mut call: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let each = one - Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let one = until.min(Instant::now() + each);
            let why = match timeout_at(one, call()).await {
                Ok(Err(StoreError::Unclear(why))) => why,
                Ok(clear) => return clear,
                Err(_) => format!("the file system {} did not answer", self.job.fs_url),
            };
            let next = Instant::now() + pause;
            if next >= until {
                return Err(StoreError::Unclear(why));
            }
            sleep_until(next).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
