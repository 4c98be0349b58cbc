//! One attempt at a task, from its launch to its result.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hfs_protocol::proto::task::{Done, Launch, OutputFile, launch};

use super::keep::Pool;
use super::packed::Packing;
use super::reduce::ReduceInputs;
use super::skip::SkipPlan;
use crate::conf::{self, Conf};
use crate::context::{Context, Shared};
use crate::counters::{Limits, TaskCounter};
use crate::files::Files;
use crate::job::Job;

/// Memory for sorting and merging, unless configured.
pub(crate) const DEFAULT_SORT_BYTES: u64 = 256 << 20;
/// Runs of one merge, unless configured. They are mapped, so each costs a cursor and no buffer.
pub(crate) const DEFAULT_FAN_IN: usize = 128;

/// What an attempt works with.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) files: Files,
    pub(crate) conf: Arc<Conf>,
    /// A local directory of the attempt's own.
    pub(crate) work_dir: PathBuf,
    /// The directory for its output files, in the job's file system.
    pub(crate) output_dir: String,
    pub(crate) sort_bytes: u64,
    pub(crate) fan_in: usize,
    /// Spills are more than the memory takes.
    pub(crate) write_behind: bool,
    /// A map may leave so many spills as they are, for reducers of the same process.
    pub(crate) unmerged_spills: usize,
    /// Memory for map output that reducers of the same process will read.
    pub(crate) pool: Option<Arc<Pool>>,
    /// How map output is compressed on its way to other processes.
    pub(crate) packing: Option<Packing>,
    /// Set: skip mode.
    pub(crate) skip: Option<SkipPlan>,
}

/// An output file that an attempt has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) path: String,
    /// The name it gets in the output directory.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Environment {
    /// Counts bytes read from the file at `path`; an input that is of no files counts as one of the
    /// default file system.
    pub(crate) fn bytes_read_counter(&self, path: &str) -> TaskCounter {
        self.files.counters(path).0
    }

    /// Counts bytes written to the output directory.
    pub(crate) fn bytes_written_counter(&self) -> TaskCounter {
        self.files.output_counter(&self.output_dir)
    }
}

/// The configured sort memory.
pub(crate) fn sort_bytes(conf: &Conf) -> Result<u64> {
    let mb: Option<u64> = conf.parsed(conf::SORT_MB)?;
    Ok(mb.map_or(DEFAULT_SORT_BYTES, |mb| mb.saturating_mul(1 << 20)))
}

/// The configured number of runs that one merge reads.
pub(crate) fn fan_in(conf: &Conf) -> Result<usize> {
    conf.parsed_or(conf::SORT_FACTOR, DEFAULT_FAN_IN)
}

/// Runs an attempt as its worker has ordered it.
pub(crate) fn run(
    job: &Job,
    launch: &Launch,
    files: Files,
    shared: Arc<Shared>,
    working_dir: &Path,
    inputs: impl FnOnce(&Environment, u32) -> Box<dyn ReduceInputs>,
) -> Result<Done> {
    let spec = launch.job.as_ref().context("the worker sent a launch without a job")?;
    let conf = Arc::new(spec.conf.iter().collect::<Conf>());
    let env = Environment {
        files: files.uploading(&launch.attempt_output_dir, &spec.output_dir),
        sort_bytes: match spec.sort_memory_bytes {
            0 => sort_bytes(&conf)?,
            bytes => bytes,
        },
        fan_in: fan_in(&conf)?,
        write_behind: false,
        unmerged_spills: 0,
        pool: None,
        packing: Packing::of(&conf)?,
        skip: launch
            .skip
            .as_ref()
            .map(|skip| SkipPlan { bad: skip.records.clone(), others_follow: true }),
        conf: Arc::clone(&conf),
        work_dir: PathBuf::from(&launch.work_dir),
        output_dir: launch.attempt_output_dir.clone(),
    };
    std::fs::create_dir_all(&env.work_dir).with_context(|| {
        format!("the task's directory {} can't be made", env.work_dir.display())
    })?;
    let index = match &launch.task {
        Some(launch::Task::Map(map)) => map.index,
        Some(launch::Task::Reduce(reduce)) => reduce.partition,
        None => bail!("the worker sent a launch that is neither a map nor a reduce"),
    };
    let mut context =
        Context::new(conf, launch.attempt_id.clone(), index, spec.reduces, Arc::clone(&shared));
    context = context.with_files(env.files.clone()).with_working_dir(working_dir);
    context.limit_counters(Limits::read(&env.conf)?);
    let cpu_before = cpu_milliseconds();
    let mut done = Done { attempt_id: launch.attempt_id.clone(), ..Done::default() };
    match &launch.task {
        Some(launch::Task::Map(map)) => {
            let split = map.split.as_ref().context("the worker sent a map without its split")?;
            if spec.reduces > 0 {
                let (mapped, written) = job.program.map(split, &env, &mut context)?;
                let segment = mapped.into_segment()?;
                done.outputs.extend(written.into_iter().map(output));
                done.map_output_bytes = segment.bytes;
                done.map_output_path = segment
                    .path
                    .to_str()
                    .context("the task's directory has a name that is not UTF-8")?
                    .to_owned();
            } else {
                let written = job.program.map_only(split, &env, &mut context)?;
                done.outputs.extend(written.into_iter().map(output));
            }
        }
        _ => {
            let mut inputs = inputs(&env, index);
            let written = job.program.reduce(&mut *inputs, &env, &mut context)?;
            done.outputs.extend(written.into_iter().map(output));
        }
    }
    context.counters.check()?;
    let cpu = cpu_milliseconds().saturating_sub(cpu_before);
    context.count(TaskCounter::CpuMilliseconds, cpu);
    done.counters = context.counters.to_messages();
    Ok(done)
}

fn output(written: Written) -> OutputFile {
    OutputFile { path: written.path, name: written.name, bytes: written.bytes }
}

/// Processor time of this process.
pub(crate) fn cpu_milliseconds() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as u64 * 1000 + spent.tv_nsec as u64 / 1_000_000
}
