//! Running a job in this process, without a cluster: the same maps, sorts, merges and reduces.

mod available;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::task::{CachedItem, Counter, InputSplit};
use parking_lot::Mutex;

use self::available::available_memory;
use crate::cache::{WorkingDir, localize_here};
use crate::conf::{self, Conf};
use crate::context::{Context, Shared};
use crate::counters::{self, Limits};
use crate::files::{Files, Staging};
use crate::job::{Job, Plan};
use crate::task::attempt::{Environment, Written, fan_in, sort_bytes};
use crate::task::keep::{Opened, Pool};
use crate::task::reduce::Ready;
use crate::task::skip::SkipPlan;

/// Map output stays in memory up to this part of what the machine has available.
const KEPT_PART: u64 = 4;

/// From input of so large a part of it on, what is written is sent on to the disk early.
const WRITE_BEHIND_PART: u64 = 2;

/// What a local run gave.
#[derive(Debug, Clone, Default)]
pub struct LocalOutcome {
    /// Map tasks.
    pub maps: usize,
    /// Reduce tasks.
    pub reduces: u32,
    /// The counters of all tasks together.
    pub counters: Vec<Counter>,
}

/// How far a local run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalProgress {
    /// Map tasks that are done, and all of them.
    pub maps: (usize, usize),
    /// Reduce tasks that are done, and all of them.
    pub reduces: (usize, usize),
}

/// Runs a job on the threads of this process, one per processor.
///
/// # Errors
/// When the output exists, the input does not, or a task fails: its own message.
pub fn run_local(
    job: &Job,
    files: &Files,
    progress: &(dyn Fn(LocalProgress) + Sync),
) -> Result<LocalOutcome> {
    let output = job.settings.output.trim_end_matches('/');
    check_output(files, output)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let most_reduces = u32::try_from(threads).unwrap_or(1);
    let plan = job.plan(files, most_reduces, Some(threads))?;
    let write_behind = plan.input_bytes() > available_memory() / WRITE_BEHIND_PART;
    let Plan { splits, reduces, conf } = plan;
    let work = tempfile::Builder::new()
        .prefix("hfs-job-")
        .tempdir()
        .context("no directory for temporary files can be made")?;
    let beside = staging_dir(output, &format!("local-{}", std::process::id()));
    let staging = match output {
        "" => None,
        output => Some(Staging::make(files, output, &beside, work.path())?),
    };
    let conf = Arc::new(conf);
    let fan_in = fan_in(&conf)?;
    let output = staging.as_ref().map_or_else(|| files.clone(), |staging| staging.files(files));
    let env = Environment {
        files: output.writing_behind(write_behind),
        write_behind,
        sort_bytes: sort_bytes(&conf)?,
        // As many as reducers merge at once.
        unmerged_spills: fan_in / splits.len().max(1),
        fan_in,
        pool: kept_bytes(&conf)?.map(Pool::new),
        // It never leaves the process.
        packing: None,
        skip: None,
        conf,
        work_dir: work.path().to_owned(),
        output_dir: staging.as_ref().map(|staging| staging.dir.clone()).unwrap_or_default(),
    };
    let limits = Limits::read(&env.conf)?;
    let cached = localize_here(&env.conf, files, work.path())?;
    let run = Run { job, env, reduces, threads, limits, cached, counters: Mutex::default() };
    let outcome = run.tasks(&splits, progress).and_then(|()| {
        let counters = counters::sum(run.counters.lock().iter());
        limits.check_job(&counters)?;
        if let Some(staging) = &staging {
            staging.commit(files)?;
        }
        Ok(counters)
    });
    if let (Err(_), Some(staging)) = (&outcome, &staging) {
        // The job's error says more than one about what is left behind.
        let _ = staging.abandon(files);
    }
    Ok(LocalOutcome { maps: splits.len(), reduces, counters: outcome? })
}

/// Refuses a job whose output exists, before anything runs.
pub(crate) fn check_output(files: &Files, output: &str) -> Result<()> {
    if !output.is_empty() && files.status(output)?.is_some() {
        bail!("the output directory {output} exists already; remove it or choose another");
    }
    Ok(())
}

/// The sibling of `output` that collects a job's files until one rename makes them the output. Empty
/// for a job without output.
pub(crate) fn staging_dir(output: &str, unique: &str) -> String {
    if output.is_empty() {
        return String::new();
    }
    match output.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/._hfs_{name}_{unique}"),
        None => format!("._hfs_{output}_{unique}"),
    }
}

struct Run<'a> {
    job: &'a Job,
    env: Environment,
    reduces: u32,
    threads: usize,
    limits: Limits,
    cached: Vec<CachedItem>,
    counters: Mutex<Vec<Counter>>,
}

impl Run<'_> {
    fn tasks(
        &self,
        splits: &[InputSplit],
        progress: &(dyn Fn(LocalProgress) + Sync),
    ) -> Result<()> {
        let (maps, reduces) = (splits.len(), self.reduces as usize);
        progress(LocalProgress { maps: (0, maps), reduces: (0, reduces) });
        let outputs: Mutex<Vec<Vec<Opened>>> = Mutex::default();
        self.parallel(
            maps,
            &|index| {
                if reduces == 0 {
                    self.map_only(index, &splits[index])?;
                } else {
                    let output = self.map(index, &splits[index])?;
                    outputs.lock().push(output);
                }
                Ok(())
            },
            &|done| progress(LocalProgress { maps: (done, maps), reduces: (0, reduces) }),
        )?;
        let outputs = outputs.into_inner();
        self.parallel(reduces, &|index| self.reduce(index, &outputs).map(drop), &|done| {
            progress(LocalProgress { maps: (maps, maps), reduces: (done, reduces) });
        })
    }

    /// Does `count` tasks on the run's threads; the first error ends it.
    fn parallel(
        &self,
        count: usize,
        task: &(dyn Fn(usize) -> Result<()> + Sync),
        done: &(dyn Fn(usize) + Sync),
    ) -> Result<()> {
        let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failed: Mutex<Option<anyhow::Error>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(count) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count || failed.lock().is_some() {
                            return;
                        }
                        match task(index) {
                            Ok(()) => done(finished.fetch_add(1, Ordering::Relaxed) + 1),
                            Err(error) => {
                                failed.lock().get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn surroundings(
        &self,
        kind: TaskKind,
        index: usize,
    ) -> Result<(Environment, Context, WorkingDir)> {
        let job = JobId { tracker: 0, number: 1 };
        let index = u32::try_from(index).context("the job has too many tasks")?;
        let attempt = AttemptId { task: TaskId { job, kind, index }, number: 0 }.to_string();
        let work_dir = self.env.work_dir.join(&attempt);
        std::fs::create_dir(&work_dir)
            .with_context(|| format!("the directory {} can't be made", work_dir.display()))?;
        let conf: Arc<Conf> = Arc::clone(&self.env.conf);
        let shared = Arc::new(Shared::default());
        let working = WorkingDir::make(&work_dir, &self.cached)?;
        let mut context = Context::new(conf, attempt, index, self.reduces, shared)
            .with_files(self.env.files.clone())
            .with_working_dir(working.path());
        context.limit_counters(self.limits);
        let skip = SkipPlan::of_only_attempt(&self.env.conf, kind)?;
        Ok((Environment { work_dir, skip, ..self.env.clone() }, context, working))
    }

    fn map(&self, index: usize, split: &InputSplit) -> Result<Vec<Opened>> {
        let (env, mut context, _working) = self.surroundings(TaskKind::Map, index)?;
        let (output, _) = self.job.program.map(split, &env, &mut context)?;
        self.finished(&context)?;
        output.open()
    }

    fn map_only(&self, index: usize, split: &InputSplit) -> Result<Vec<Written>> {
        let (env, mut context, _working) = self.surroundings(TaskKind::Map, index)?;
        let written = self.job.program.map_only(split, &env, &mut context)?;
        self.finished(&context)?;
        Ok(written)
    }

    fn reduce(&self, index: usize, outputs: &[Vec<Opened>]) -> Result<Vec<Written>> {
        let (env, mut context, _working) = self.surroundings(TaskKind::Reduce, index)?;
        let mut inputs = Ready::new(outputs, context.index());
        let written = self.job.program.reduce(&mut inputs, &env, &mut context)?;
        self.finished(&context)?;
        Ok(written)
    }

    fn finished(&self, context: &Context) -> Result<()> {
        context.counters.check()?;
        self.counters.lock().extend(context.counters.to_messages());
        Ok(())
    }
}

/// Memory for map output that stays in memory; none when there is to be none.
fn kept_bytes(conf: &Conf) -> Result<Option<u64>> {
    let bytes = match (conf.parsed::<u64>(conf::LOCAL_KEPT_MB)?, conf.get(conf::SORT_MB)) {
        (Some(mb), _) => mb.saturating_mul(1 << 20),
        // Who says how much memory a task may take does not want it to take more.
        (None, Some(_)) => 0,
        (None, None) => available_memory() / KEPT_PART,
    };
    Ok((bytes > 0).then_some(bytes))
}
