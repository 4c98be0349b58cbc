//! What user code knows about its task and can tell about itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parking_lot::Mutex;

use crate::conf::{Conf, MAP_INPUT_FILE, MAP_INPUT_LENGTH, MAP_INPUT_START};
use crate::counters::{CounterId, Counters, JobCounter, Limits, TaskCounter};
use crate::files::Files;
use crate::input::{CurrentSplit, FileSplit};
use crate::named::NamedOutputs;
use hfs_protocol::proto::task;

/// Counters and status are published at most this often.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// What the thread that reports progress sees of a running attempt.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<SharedState>,
    /// Grows whenever the attempt did something, and with every record written; an attempt that never
    /// does is killed. Only the attempt's own thread counts here and in `read`.
    ticks: AtomicU64,
    /// Records taken from sorted runs.
    read: AtomicU64,
    aborted: AtomicBool,
}

#[derive(Debug, Default)]
struct SharedState {
    share: Share,
    phase: &'static str,
    status: String,
    counters: Vec<task::Counter>,
}

/// How much of an attempt is done.
#[derive(Debug, Clone, Copy)]
enum Share {
    /// So much: its thread says so between batches.
    At(f64),
    /// It takes `records` records from sorted runs, the first when `read` of them had been taken, and
    /// comes with them from `from` to 1.
    Taking { from: f64, read: u64, records: u64 },
}

impl Default for Share {
    fn default() -> Self {
        Self::At(0.0)
    }
}

impl Share {
    /// The share when `read` records have been taken.
    fn when(self, read: u64) -> f64 {
        match self {
            Self::At(share) => share,
            Self::Taking { from, read: first, records } => {
                let part = read.saturating_sub(first) as f64 / records.max(1) as f64;
                from + (1.0 - from) * part.min(1.0)
            }
        }
    }
}

/// Adds one where nobody else adds: an ordinary addition, which others see some time.
#[inline]
fn count_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Shared {
    /// Makes the attempt stop at its next step.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Grows as long as the attempt does something.
    pub(crate) fn signs_of_life(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed).wrapping_add(self.read.load(Ordering::Relaxed))
    }

    /// The attempt did something: a step, a record written. Costs next to nothing.
    #[inline]
    pub(crate) fn tick(&self) {
        count_one(&self.ticks);
    }

    /// A record was taken from sorted runs. Costs next to nothing.
    #[inline]
    pub(crate) fn took_record(&self) {
        count_one(&self.read);
    }

    /// The attempt's state as a message.
    pub(crate) fn progress(&self, attempt_id: &str) -> task::Progress {
        let state = self.state.lock();
        task::Progress {
            attempt_id: attempt_id.to_owned(),
            fraction: state.share.when(self.read.load(Ordering::Relaxed)),
            phase: state.phase.to_owned(),
            status: state.status.clone(),
            counters: state.counters.clone(),
        }
    }
}

/// A task's surroundings: configuration, counters, status. Reached through
/// [`Emit::context`](crate::Emit::context) and given to `setup` and `cleanup`.
#[derive(Debug)]
pub struct Context {
    conf: Arc<Conf>,
    attempt_id: String,
    index: u32,
    reduces: u32,
    pub(crate) counters: Counters,
    status: Option<String>,
    share: Share,
    phase: &'static str,
    shared: Arc<Shared>,
    published: Instant,
    pub(crate) outputs: NamedOutputs,
    files: Files,
    working_dir: PathBuf,
    input: CurrentSplit,
}

impl Context {
    pub(crate) fn new(
        conf: Arc<Conf>,
        attempt_id: String,
        index: u32,
        reduces: u32,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            conf,
            attempt_id,
            index,
            reduces,
            counters: Counters::default(),
            status: None,
            share: Share::default(),
            phase: "",
            shared,
            published: Instant::now(),
            outputs: NamedOutputs::default(),
            files: Files::local(),
            working_dir: PathBuf::new(),
            input: CurrentSplit::default(),
        }
    }

    /// The job's configuration; in a map with the file range that it reads ([`conf::MAP_INPUT_FILE`](crate::conf::MAP_INPUT_FILE) and so on),
    /// as [`Context::input_split`] has it.
    #[must_use]
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// The job's file system, for what a task reads beside its split. Output belongs into the task's own
    /// and its named outputs: whatever a task writes here stays when it fails.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    pub(crate) fn with_files(mut self, files: Files) -> Self {
        self.files = files;
        self
    }

    pub(crate) fn with_working_dir(mut self, dir: &Path) -> Self {
        self.working_dir = dir.to_owned();
        self
    }

    /// The attempt's own directory on this machine's disk, with the job's cache files in it. What the
    /// attempt leaves there is removed at its end. On a cluster it is also the current directory of
    /// the process; in a local run several attempts share the process, so use paths that begin
    /// with this one.
    #[must_use]
    pub fn working_dir(&self) -> &Path {
        &self.working_dir
    }

    /// Where the cache file or archive of this name is ([`Builder::cache_file`](crate::Builder::cache_file)).
    #[must_use]
    pub fn cached(&self, name: &str) -> PathBuf {
        self.working_dir.join(name)
    }

    /// The file range that the current record of a map comes from: a task may read several small files
    /// one after the other. Before the first record, so in `setup`, it is the task's first range. `None`
    /// in a reduce and where the input is not of files. (In Hadoop: `mapreduce.map.input.file`,
    /// `.start`, `.length`.)
    #[must_use]
    pub fn input_split(&self) -> Option<FileSplit> {
        self.input.get()
    }

    pub(crate) fn reads(&mut self, input: CurrentSplit) {
        self.input = input;
    }

    /// Puts the range that the task reads into its configuration, where programs of Hadoop look for it.
    pub(crate) fn came_to(&mut self, split: &FileSplit) {
        let file = self.files.qualified(&split.path);
        let conf = Arc::make_mut(&mut self.conf);
        conf.set(MAP_INPUT_FILE, file);
        conf.set(MAP_INPUT_START, split.start.to_string());
        conf.set(MAP_INPUT_LENGTH, split.length.to_string());
    }

    /// The attempt, as `attempt_..._m_..._n`.
    #[must_use]
    pub fn attempt_id(&self) -> &str {
        &self.attempt_id
    }

    /// The number of the split (map) or partition (reduce).
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// How many reduce tasks the job has.
    #[must_use]
    pub fn reduces(&self) -> u32 {
        self.reduces
    }

    /// The counter of this group and name, to be increased with [`Context::add`].
    pub fn counter(&mut self, group: &str, name: &str) -> CounterId {
        self.counters.user(group, name)
    }

    /// Increases a counter.
    #[inline]
    pub fn add(&mut self, counter: CounterId, by: i64) {
        self.counters.add_user(counter, by);
    }

    /// Increases the counter of this group and name.
    pub fn increment(&mut self, group: &str, name: &str, by: i64) {
        let counter = self.counter(group, name);
        self.add(counter, by);
    }

    /// Increases a typed counter, made with [`job_counters!`](crate::job_counters).
    pub fn count_in(&mut self, counter: impl JobCounter, by: i64) {
        self.increment(counter.group(), counter.name(), by);
    }

    /// One line that the job's pages show for this task.
    pub fn set_status(&mut self, status: impl Into<String>) {
        self.status = Some(status.into());
        self.progress();
    }

    /// Says that the task is alive. Needed only by user code that works for minutes on one record: each
    /// record that is read or emitted says so, too.
    pub fn progress(&mut self) {
        self.shared.tick();
        self.publish();
    }

    #[inline]
    pub(crate) fn count(&mut self, counter: TaskCounter, by: u64) {
        self.counters.add(counter, by);
    }

    /// Bounds the counters of user code.
    pub(crate) fn limit_counters(&mut self, limits: Limits) {
        self.counters = Counters::with_limits(limits);
    }

    pub(crate) fn phase(&mut self, phase: &'static str, fraction: f64) {
        self.phase = phase;
        self.share = Share::At(fraction);
        self.shared.tick();
        self.publish();
    }

    /// Begins a phase that ends with the attempt when so many records have been taken from sorted runs.
    pub(crate) fn last_phase(&mut self, phase: &'static str, from: f64, records: u64) {
        let read = self.shared.read.load(Ordering::Relaxed);
        self.phase = phase;
        self.share = Share::Taking { from, read, records };
        self.shared.tick();
        self.publish();
    }

    /// What sorted runs tell of every record that is taken from them.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A record was read or emitted.
    #[inline]
    pub(crate) fn tick(&self) {
        self.shared.tick();
    }

    /// Called between batches: lets others see how far the task is, and stops it when told to.
    pub(crate) fn step(&mut self, fraction: f64) -> Result<()> {
        self.share = Share::At(fraction);
        self.look_around()
    }

    /// As [`Context::step`], in a phase whose records tell how far the task is.
    pub(crate) fn look_around(&mut self) -> Result<()> {
        self.shared.tick();
        self.check_stop()?;
        if self.published.elapsed() >= PUBLISH_INTERVAL {
            self.publish();
        }
        Ok(())
    }

    /// Fails when the attempt was told to stop, or has too many counters.
    pub(crate) fn check_stop(&self) -> Result<()> {
        self.counters.check()?;
        if self.shared.is_aborted() {
            bail!("the attempt was told to stop");
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn abort_for_test(&self) {
        self.shared.abort();
    }

    fn publish(&mut self) {
        self.published = Instant::now();
        let counters = self.counters.to_messages();
        let mut state = self.shared.state.lock();
        state.share = self.share;
        state.phase = self.phase;
        state.counters = counters;
        if let Some(status) = self.status.take() {
            state.status = status;
        }
    }
}
