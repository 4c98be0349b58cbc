//! Attempts and processes as the node sees them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hfs_protocol::proto::task::launch::Task as LaunchTask;
use hfs_protocol::proto::task::{Done, Launch, MapOutput, MapOutputs, Progress};
use hfs_protocol::proto::worker::worker_message::Message as ToTracker;
use hfs_protocol::proto::worker::{AttemptDone, AttemptFailed, AttemptProgress};
use hfs_protocol::skip::RecordAtWork;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Node;
use crate::cache;
use crate::process::{
    AttemptLog, Failed, Happened, MemoryLimit, Order, ProcessId, Program, Start, WORKER_DIR_ENV,
    Work, start,
};

/// The least time between two progress messages of an attempt, unless it enters another phase.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Where an attempt is.
///
/// ```text
///  LaunchAttempt ──► Localizing ──program is here──► InProcess ──► (report)
///        └──── an idle process of the job ────────────►┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its program is on its way.
    Localizing,
    /// A process has it.
    InProcess(ProcessId),
}

/// An attempt that has not ended.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What it was launched with, until a process has it.
    pub(super) launch: Option<Launch>,
    pub(super) job: String,
    pub(super) stage: Stage,
    pub(super) work_dir: PathBuf,
    /// Only a map with reduces leaves something on this node.
    pub(super) leaves_segment: bool,
    /// It is in skip mode: what it worked on when it failed is to be told.
    pub(super) skips: bool,
    /// The memory it may use.
    pub(super) memory: MemoryLimit,
    /// Map outputs its process was not told of yet.
    pub(super) outputs: Vec<MapOutput>,
    /// It must die, and its process was not told of it yet.
    pub(super) kill: bool,
    /// The latest progress that was not passed on, because the one before was too near.
    pub(super) held_progress: Option<Progress>,
    pub(super) last_progress: Option<(Instant, String)>,
}

/// A task process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) job: String,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) idle: bool,
}

/// An attempt as people see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Which.
    pub attempt: String,
    /// Of which job.
    pub job: String,
    /// The phase it last told, or what it waits for.
    pub phase: String,
}

impl Attempt {
    pub(super) fn seen(&self, id: &str) -> Seen {
        let told = self.last_progress.as_ref().map(|(_, phase)| phase.clone());
        let phase = told.unwrap_or_else(|| match self.stage {
            Stage::Localizing => "waiting for the program".to_owned(),
            Stage::InProcess(_) => "started".to_owned(),
        });
        Seen { attempt: id.to_owned(), job: self.job.clone(), phase }
    }
}

impl Node {
    /// Gives an attempt to an idle process of its job, if there is one.
    pub(super) fn reuse(&mut self, id: &str) -> bool {
        let Some(attempt) = self.attempts.get_mut(id) else { return false };
        for (number, process) in &mut self.processes {
            if !process.idle || process.job != attempt.job {
                continue;
            }
            let Some(launch) = attempt.launch.take() else { return false };
            let (log, memory) = (self.parts.dirs.log(&attempt.job, id), attempt.memory);
            match process.orders.try_send(Order::Work(Box::new(Work { launch, log, memory }))) {
                Ok(()) => {
                    process.idle = false;
                    attempt.stage = Stage::InProcess(*number);
                    self.parts.counts.reused.inc();
                    self.flush(id);
                    return true;
                }
                Err(
                    TrySendError::Closed(Order::Work(work)) | TrySendError::Full(Order::Work(work)),
                ) => {
                    attempt.launch = Some(work.launch);
                    process.idle = false;
                }
                Err(_) => {}
            }
        }
        false
    }

    /// The program of an attempt is here: its process can start.
    pub(super) fn localized(&mut self, id: &str, result: Result<PathBuf, String>) {
        if self.attempts.get(id).is_none_or(|attempt| attempt.stage != Stage::Localizing) {
            return;
        }
        let path = match result {
            Ok(path) => path,
            Err(message) => {
                return self.failed(id, Failed { message, ..Failed::default() });
            }
        };
        if self.reuse(id) {
            return;
        }
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let Some(launch) = attempt.launch.take() else { return };
        self.last_process += 1;
        let number = ProcessId(self.last_process);
        let job = launch.job.clone().unwrap_or_default();
        let mut environment: Vec<(OsString, OsString)> = job
            .environment
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        environment.push((WORKER_DIR_ENV.into(), self.parts.dirs.root().into()));
        let program = Program {
            path,
            args: job.program_args.iter().map(Into::into).collect(),
            environment,
            dir: self.parts.dirs.job(&attempt.job),
        };
        let orders = start(
            Start {
                id: number,
                program,
                socket: self.parts.dirs.socket(number.0),
                work: Work {
                    launch,
                    log: self.parts.dirs.log(&attempt.job, id),
                    memory: attempt.memory,
                },
                limits: self.parts.limits,
            },
            self.drivers.clone(),
        );
        attempt.stage = Stage::InProcess(number);
        let process = Process { job: attempt.job.clone(), orders, idle: false };
        self.processes.insert(number, process);
        self.parts.counts.processes.inc();
        self.flush(id);
    }

    /// Tells an attempt's process what it was not told yet, and the tracker its progress.
    pub(super) fn flush(&mut self, id: &str) {
        let Some(Stage::InProcess(number)) = self.stage_of(id) else { return };
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let Some(process) = self.processes.get(&number) else { return };
        if !attempt.outputs.is_empty() {
            let outputs = std::mem::take(&mut attempt.outputs);
            let order = Order::Outputs(MapOutputs { outputs });
            if let Err(TrySendError::Full(Order::Outputs(back))) = process.orders.try_send(order) {
                attempt.outputs = back.outputs;
            }
        }
        if attempt.kill && process.orders.try_send(Order::Kill).is_ok() {
            attempt.kill = false;
        }
        if let Some(progress) = attempt.held_progress.take() {
            self.pass_on(id, progress);
        }
    }

    /// What a driver tells.
    pub(super) fn happened(&mut self, process: ProcessId, happened: Happened) {
        match happened {
            Happened::Progress(progress) => {
                let id = progress.attempt_id.clone();
                self.progress(&id, progress);
            }
            Happened::FetchFailed(report) => self.send(ToTracker::FetchFailed(report)),
            Happened::Done(done) => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.idle = true;
                }
                self.done(done);
            }
            Happened::Failed(id, failed) => self.failed(&id, failed),
            Happened::Gone(unstarted) => {
                self.processes.remove(&process);
                if let Some(work) = unstarted {
                    self.start_again(*work);
                }
            }
        }
    }

    /// A process left before it took this work: another one will.
    fn start_again(&mut self, work: Work) {
        let id = work.launch.attempt_id.clone();
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.launch = Some(work.launch);
            attempt.stage = Stage::Localizing;
            self.localize(&id);
        }
    }

    fn progress(&mut self, id: &str, progress: Progress) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let soon = attempt.last_progress.as_ref().is_some_and(|(at, phase)| {
            at.elapsed() < PROGRESS_INTERVAL && *phase == progress.phase
        });
        if soon {
            attempt.held_progress = Some(progress);
        } else {
            attempt.held_progress = None;
            self.pass_on(id, progress);
        }
    }

    fn pass_on(&mut self, id: &str, progress: Progress) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.last_progress = Some((Instant::now(), progress.phase.clone()));
        }
        self.send(ToTracker::Progress(AttemptProgress { progress: Some(progress) }));
    }

    fn done(&mut self, done: Done) {
        let id = done.attempt_id.clone();
        let Some(attempt) = self.attempts.get(&id) else { return };
        if attempt.leaves_segment {
            let path = PathBuf::from(&done.map_output_path);
            let own = path.starts_with(&attempt.work_dir) && path.is_file();
            if !own {
                let message = format!(
                    "it says that its output is in '{}', which is not a file in its directory {}",
                    done.map_output_path,
                    attempt.work_dir.display()
                );
                return self.failed(&id, Failed { message, ..Failed::default() });
            }
            self.parts.segments.add(&id, path);
        } else {
            remove_dir(attempt.work_dir.clone());
        }
        self.report(&id, ToTracker::Done(AttemptDone { done: Some(done) }));
    }

    pub(super) fn failed(&mut self, id: &str, failed: Failed) {
        let Some(attempt) = self.attempts.get(id) else { return };
        let record = (attempt.skips && !failed.killed)
            .then(|| RecordAtWork::read(&attempt.work_dir))
            .flatten();
        remove_dir(attempt.work_dir.clone());
        let Failed { message, log_tail, killed, fatal } = failed;
        // An attempt that ended before it had a process: whoever asks for its log hears why.
        let log = self.parts.dirs.log(&attempt.job, id);
        if !log.exists() {
            let mut log = AttemptLog::create(&log, self.parts.limits.log_limit);
            log.write(format!("[hfs: it did not start: {message}]\n").as_bytes());
            log.finish();
        }
        if !killed {
            self.parts.counts.failed.inc();
            tracing::warn!("{id} failed: {message}");
        }
        let attempt_id = id.to_owned();
        let report = AttemptFailed { attempt_id, message, log_tail, killed, fatal, record };
        self.report(id, ToTracker::Failed(report));
    }

    /// Prepares what the tracker sent for a process on this node.
    pub(super) fn prepare(&mut self, mut launch: Launch) -> Result<(), String> {
        let job = launch.job.as_ref().map(|job| job.job_id.clone()).unwrap_or_default();
        let id = launch.attempt_id.clone();
        let work_dir = self.parts.dirs.attempt(&job, &id);
        let has_reduces = launch.job.as_ref().is_some_and(|job| job.reduces > 0);
        let leaves_segment = has_reduces && matches!(launch.task, Some(LaunchTask::Map(_)));
        launch.work_dir = work_dir.to_string_lossy().into_owned();
        launch.local_address =
            self.parts.local_address.map(|ip| ip.to_string()).unwrap_or_default();
        if let Some(job) = &launch.job {
            launch.cached = cache::places(&self.parts.dirs, job);
        }
        let skips = launch.skip.is_some();
        let default = MemoryLimit { bytes: self.parts.task_memory, property: "" };
        let memory = MemoryLimit::of(&launch, self.parts.task_memory);
        let made = std::fs::create_dir_all(&work_dir);
        let attempt = Attempt {
            launch: Some(launch),
            job,
            stage: Stage::Localizing,
            work_dir: work_dir.clone(),
            leaves_segment,
            skips,
            memory: *memory.as_ref().unwrap_or(&default),
            outputs: Vec::new(),
            kill: false,
            held_progress: None,
            last_progress: None,
        };
        self.attempts.insert(id, attempt);
        memory?;
        made.map_err(|e| format!("can't make the directory {}: {e}", work_dir.display()))
    }
}

/// Deletes a directory of local files, elsewhere: it may be large.
pub(super) fn remove_dir(path: PathBuf) {
    tokio::task::spawn_blocking(move || {
        if let Err(e) = std::fs::remove_dir_all(&path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("can't delete {}: {e}", path.display());
        }
    });
}
