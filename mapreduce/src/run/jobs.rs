//! Several jobs of one program: run in turn or at once, and built again in every task.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use hfs_protocol::proto::task::{Counter, JobSpec};
use parking_lot::Mutex;

use super::driver::Driver;
use crate::conf::Conf;
use crate::counters::JobCounter;
use crate::job::Job;

/// The property that takes the counters that a program has looked at to the tasks of later jobs.
const LOOKED_AT: &str = "hfs.chain.counters";

/// The most counters that later jobs of a program may depend on: every task is told all of them.
const MAX_LOOKED_AT: usize = 10_000;

/// A counter of an earlier job: the job's number, group and name.
type CounterOf = (u32, String, String);

/// What the program has asked for about earlier jobs so far.
type LookedAt = BTreeMap<CounterOf, i64>;

/// Counters that the program has looked at, or in a task may look at.
#[derive(Debug, Default)]
struct Ledger {
    known: LookedAt,
    /// The first that was asked for without being known. In a task that is a fault: the driver had
    /// not looked at it.
    unknown: Option<CounterOf>,
}

/// Runs the jobs of a program that [`run_jobs`](crate::run_jobs) has started. A task of the n-th job
/// runs the same program with the same arguments up to its n-th [`Jobs::submit`]; the jobs before
/// are then not run again, only what the driver learned from them is repeated.
pub struct Jobs {
    mode: Mode,
    /// Properties from the command line, which win over the program's.
    overrides: Conf,
    submitted: u32,
    ledger: Arc<Mutex<Ledger>>,
}

enum Mode {
    Driver(Box<Driver>),
    Task { wanted: u32, found: Option<Job> },
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("submitted", &self.submitted).finish_non_exhaustive()
    }
}

/// A job that was submitted and may still run: hand it to [`Jobs::wait`].
#[derive(Debug)]
#[must_use = "a job that nobody waits for is waited for at the end of the program"]
pub struct SubmittedJob {
    index: u32,
}

/// A job that has succeeded.
#[derive(Debug, Clone)]
pub struct FinishedJob {
    index: u32,
    counters: Vec<Counter>,
    ledger: Arc<Mutex<Ledger>>,
}

impl FinishedJob {
    /// The value of a counter over all tasks; 0 for one that nobody increased.
    #[must_use]
    pub fn counter(&self, group: &str, name: &str) -> i64 {
        let mut ledger = self.ledger.lock();
        let counter = (self.index, group.to_owned(), name.to_owned());
        if let Some(&value) = ledger.known.get(&counter) {
            return value;
        }
        let found = self.counters.iter().find(|c| c.group == group && c.name == name);
        let value = found.map_or(0, |counter| counter.value);
        ledger.unknown.get_or_insert_with(|| counter.clone());
        ledger.known.insert(counter, value);
        value
    }

    /// The value of a typed counter: one of the engine's ([`TaskCounter`](crate::TaskCounter)) or of
    /// [`job_counters!`](crate::job_counters).
    #[must_use]
    pub fn count_of(&self, counter: impl JobCounter) -> i64 {
        self.counter(counter.group(), counter.name())
    }
}

/// What stops the program in a task as soon as its job is built.
#[derive(Debug)]
struct Built;

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this task's job is built, and no later one is wanted")
    }
}

impl std::error::Error for Built {}

impl Jobs {
    pub(super) fn driver(driver: Driver, overrides: Conf) -> Self {
        let mode = Mode::Driver(Box::new(driver));
        Self { mode, overrides, submitted: 0, ledger: Arc::default() }
    }

    /// Builds the job of `spec` by running `program` up to it.
    pub(super) fn rebuild(
        spec: &JobSpec,
        overrides: Conf,
        program: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Job> {
        let known = match spec.conf.get(LOOKED_AT) {
            Some(text) => {
                parse(text).with_context(|| format!("the property {LOOKED_AT} can't be read"))?
            }
            None => LookedAt::new(),
        };
        let mut jobs = Self {
            mode: Mode::Task { wanted: spec.job_index, found: None },
            overrides,
            submitted: 0,
            ledger: Arc::new(Mutex::new(Ledger { known, unknown: None })),
        };
        let ended = program(&mut jobs);
        let unknown = jobs.ledger.lock().unknown.take();
        if let Some((job, group, name)) = unknown {
            bail!(
                "the program looked at the counter {group}.{name} of its job number {}, which its \
                 driver had not looked at; it must build the same jobs every time",
                job + 1
            );
        }
        match jobs.mode {
            Mode::Task { found: Some(job), .. } => Ok(job),
            _ => {
                ended?;
                bail!(
                    "the program built {} jobs and not its job number {}, which its driver built from \
                     the same arguments; it must build the same jobs every time",
                    jobs.submitted,
                    spec.job_index + 1
                )
            }
        }
    }

    /// Starts a job and returns while it runs. Jobs that need nothing of each other can so share the
    /// cluster; with `--local` the job has ended when this returns.
    ///
    /// # Errors
    /// When the job is refused. In a task of this very job, always, so that the program stops here:
    /// hand errors on.
    pub fn submit(&mut self, mut job: Job) -> Result<SubmittedJob> {
        let index = self.submitted;
        job.override_conf(&self.overrides);
        job.settings.index = index;
        match &mut self.mode {
            Mode::Driver(driver) => {
                let ledger = self.ledger.lock();
                if ledger.known.len() > MAX_LOOKED_AT {
                    bail!("the program looked at more than {MAX_LOOKED_AT} counters of its jobs");
                }
                if !ledger.known.is_empty() {
                    job.conf_mut().set(LOOKED_AT, print(&ledger.known));
                }
                drop(ledger);
                driver.submit(job)?;
            }
            Mode::Task { wanted, found } => {
                if found.is_none() && index == *wanted {
                    *found = Some(job);
                }
                if found.is_some() {
                    return Err(Built.into());
                }
            }
        }
        self.submitted += 1;
        Ok(SubmittedJob { index })
    }

    /// Waits until a job has succeeded.
    ///
    /// # Errors
    /// When it failed or was killed.
    pub fn wait(&mut self, job: SubmittedJob) -> Result<FinishedJob> {
        let SubmittedJob { index } = job;
        let counters = match &mut self.mode {
            Mode::Driver(driver) => driver.wait(index)?,
            Mode::Task { .. } => Vec::new(),
        };
        Ok(FinishedJob { index, counters, ledger: Arc::clone(&self.ledger) })
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// As [`Jobs::submit`] and [`Jobs::wait`].
    pub fn run(&mut self, job: Job) -> Result<FinishedJob> {
        let submitted = self.submit(job)?;
        self.wait(submitted)
    }

    /// Lets the driver say something about the properties of the command line.
    pub(crate) fn say(&self, say: impl FnOnce(&Conf)) {
        if matches!(self.mode, Mode::Driver(_)) {
            say(&self.overrides);
        }
    }

    /// Removes a file or directory of the jobs' file system if it is there: what one job wrote for the
    /// next. Does nothing in a task.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        match &mut self.mode {
            Mode::Driver(driver) => driver.remove(path),
            Mode::Task { .. } => Ok(()),
        }
    }

    pub(super) fn into_driver(self) -> Result<Driver> {
        match self.mode {
            Mode::Driver(driver) => Ok(*driver),
            Mode::Task { .. } => Err(anyhow!("a task has no driver")),
        }
    }
}

fn print(known: &LookedAt) -> String {
    let list: Vec<_> =
        known.iter().map(|((job, group, name), value)| (job, group, name, value)).collect();
    serde_json::to_string(&list).expect("invariant: numbers and text always have a JSON form")
}

fn parse(text: &str) -> Result<LookedAt> {
    let list: Vec<(u32, String, String, i64)> = serde_json::from_str(text)?;
    Ok(list.into_iter().map(|(job, group, name, value)| ((job, group, name), value)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Emit, Line, Mapper, Text, TextInput};

    #[derive(Clone)]
    struct Lines;

    impl Mapper for Lines {
        type Input = TextInput;
        type Key = Text;
        type Value = ();

        fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, ()>) -> Result<()> {
            out.emit(line.bytes, ())
        }
    }

    /// Jobs until the counter `left` of the last one is 0.
    fn program(jobs: &mut Jobs) -> Result<()> {
        let mut left = 3;
        for number in 0.. {
            if left == 0 {
                break;
            }
            let output = format!("/out-{number}-{left}");
            let job = Job::map(Lines).map_only().input("/in").output(output).build()?;
            left = jobs.run(job)?.counter("chain", "left");
        }
        Ok(())
    }

    fn spec(index: u32, known: &[(u32, i64)]) -> JobSpec {
        let known: LookedAt = known
            .iter()
            .map(|&(job, value)| ((job, "chain".to_owned(), "left".to_owned()), value))
            .collect();
        let conf = [(LOOKED_AT.to_owned(), print(&known))].into_iter().collect();
        JobSpec { job_index: index, conf, ..JobSpec::default() }
    }

    #[test]
    fn a_task_builds_the_job_that_the_driver_built_from_its_counters() {
        let rebuilt = |spec: &JobSpec| {
            Jobs::rebuild(spec, Conf::default(), program).map(|job| job.output().to_owned())
        };
        assert_eq!(rebuilt(&JobSpec::default()).unwrap(), "/out-0-3");
        assert_eq!(rebuilt(&spec(1, &[(0, 7)])).unwrap(), "/out-1-7");
        assert_eq!(rebuilt(&spec(2, &[(0, 7), (1, 1)])).unwrap(), "/out-2-1");
        let ended = rebuilt(&spec(2, &[(0, 7), (1, 0)])).unwrap_err().to_string();
        assert!(ended.contains("built 2 jobs and not its job number 3"), "{ended}");
        let unknown = rebuilt(&spec(2, &[(0, 7)])).unwrap_err().to_string();
        assert!(unknown.contains("counter chain.left of its job number 2"), "{unknown}");
    }

    #[test]
    fn a_task_hears_why_its_program_failed() {
        let error = Jobs::rebuild(&JobSpec::default(), Conf::default(), |_| bail!("no such thing"));
        assert_eq!(error.unwrap_err().to_string(), "no such thing");
    }
}
