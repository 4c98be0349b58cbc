//! A task process: does what its worker says over the socket named in `HFS_TASK_SOCKET`.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hfs_client::blocking;
use hfs_protocol::proto::task::{
    Done, Failed, FetchFailed, FromTask, Hello, JobSpec, Launch, MapOutput, ToTask, from_task,
    launch, to_task,
};
use parking_lot::Mutex;
use prost::Message;

use super::attempt;
use super::fetch::Fetcher;
use crate::cache::WorkingDir;
use crate::context::Shared;
use crate::counters::LimitExceeded;
use crate::files::{Files, client_config};
use crate::job::Job;

/// The version of the messages; the worker refuses another.
pub(crate) const PROTOCOL_VERSION: u32 = 1;
/// The longest message from a worker. A split of many small files is the largest there is.
const MAX_MESSAGE_BYTES: u64 = 64 << 20;
/// At most so often progress is reported, unless the job's task timeout is very short.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);
/// A task that did something is reported at least this often, and so known to be alive.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// And at least so many times within the job's task timeout.
const SIGNS_IN_TIMEOUT: u32 = 4;
/// How often a finished attempt is noticed by the reporting thread.
const REPORT_STEP: Duration = Duration::from_millis(100);
/// After this long an aborted attempt that does not stop takes the process with it.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// The sending side, shared by the threads of the process.
#[derive(Clone)]
struct Worker(Arc<Mutex<UnixStream>>);

impl Worker {
    fn send(&self, message: from_task::Message) -> Result<()> {
        let bytes = FromTask { message: Some(message) }.encode_length_delimited_to_vec();
        self.0.lock().write_all(&bytes).context("the worker can't be reached any more")
    }
}

/// What the reading thread tells the one that works.
enum Order {
    Launch(Box<Launch>, Arc<Shared>, Receiver<Vec<MapOutput>>),
    Exit,
}

/// The attempt that runs, as the reading thread sees it. It is registered when its launch is read,
/// not when it begins: what the worker sends next may be for it already.
#[derive(Default)]
struct Running {
    attempt: Option<(Arc<Shared>, Sender<Vec<MapOutput>>)>,
}

/// Runs attempts until the worker says that there are no more. `build` makes the job from the
/// program's arguments and its number, in every process alike.
///
/// `enter` makes a directory the current one of this process: an attempt's working directory while it
/// runs. One attempt runs at a time.
pub(crate) fn serve(
    stream: UnixStream,
    build: impl Fn(&JobSpec) -> Result<Job>,
    enter: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<()> {
    let worker = Worker(Arc::new(Mutex::new(stream.try_clone()?)));
    worker.send(from_task::Message::Hello(Hello {
        pid: std::process::id(),
        protocol_version: PROTOCOL_VERSION,
    }))?;
    let running = Arc::new(Mutex::new(Running::default()));
    let (orders, received) = channel();
    let reader_running = Arc::clone(&running);
    std::thread::Builder::new().name("worker-messages".into()).spawn(move || {
        read_orders(BufReader::new(stream), &orders, &reader_running);
    })?;
    let mut connected: Option<(String, String, Files)> = None;
    while let Ok(Order::Launch(launch, shared, arrived)) = received.recv() {
        let outcome = with_reports(&worker, &launch, &shared, || {
            let files = connect(&launch, &mut connected)?;
            let attempt_dir = Path::new(&launch.work_dir);
            let working = WorkingDir::make(attempt_dir, &launch.cached)?;
            let unusable = || format!("the directory {} can't be used", working.path().display());
            enter(working.path()).with_context(unusable)?;
            let place = (files, working.path());
            let done = run_attempt(&build, &launch, place, Arc::clone(&shared), arrived, &worker);
            // Nobody should stand in a directory that goes.
            enter(attempt_dir.parent().unwrap_or(Path::new("/"))).with_context(unusable)?;
            done
        });
        running.lock().attempt = None;
        worker.send(match outcome {
            Ok(done) => from_task::Message::Done(done),
            Err(error) => from_task::Message::Failed(Failed {
                attempt_id: launch.attempt_id.clone(),
                message: format!("{error:#}"),
                fatal: error.is::<LimitExceeded>(),
            }),
        })?;
    }
    Ok(())
}

/// Connects to the job's file system, once for many attempts; to others that it names when they are
/// used. `file:///` is this machine's files, for workers that share them.
fn connect(launch: &Launch, connected: &mut Option<(String, String, Files)>) -> Result<Files> {
    let spec = launch.job.as_ref().context("the worker sent a launch without a job")?;
    if let Some((url, address, files)) = connected
        && *url == spec.fs_url
        && *address == launch.local_address
    {
        return Ok(files.clone());
    }
    let properties = spec.conf.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut config = client_config(properties)?;
    config.user.clone_from(&spec.user);
    if !launch.local_address.is_empty() {
        let address = launch.local_address.parse().with_context(|| {
            format!("the worker's address '{}' is no IP address", launch.local_address)
        })?;
        config.local_address = Some(address);
    }
    let files = if spec.fs_url.starts_with("file:") {
        Files::local_with(config)
    } else {
        Files::of_hdfs(blocking::FileSystem::connect(spec.fs_url.as_str(), config)?)
    };
    *connected = Some((spec.fs_url.clone(), launch.local_address.clone(), files.clone()));
    Ok(files)
}

fn run_attempt(
    build: &impl Fn(&JobSpec) -> Result<Job>,
    launch: &Launch,
    (files, working_dir): (Files, &Path),
    shared: Arc<Shared>,
    arrived: Receiver<Vec<MapOutput>>,
    worker: &Worker,
) -> Result<Done> {
    let spec = launch.job.as_ref().context("the worker sent a launch without a job")?;
    let job = super::guard::guarded(|| build(spec))
        .context("the program could not build its job from its arguments")?;
    if matches!(launch.task, Some(launch::Task::Reduce(_))) && spec.reduces == 0 {
        bail!("the worker sent a reduce of a job without reducers");
    }
    let (maps, worker) = (spec.maps, worker.clone());
    attempt::run(&job, launch, files, shared, working_dir, |env, partition| {
        let report = Box::new(move |failed: FetchFailed| {
            // A worker that is gone is noticed by the reading thread.
            let _ = worker.send(from_task::Message::FetchFailed(failed));
        });
        let attempt_id = launch.attempt_id.clone();
        Box::new(Fetcher::start(env, partition, maps, attempt_id, arrived, report))
    })
}

/// Runs `work` while another thread reports its progress: when there is any, and never more often
/// than [`REPORT_INTERVAL`]. An attempt that stands still is not reported, so that its worker's
/// time-out finds it.
fn with_reports<T>(
    worker: &Worker,
    launch: &Launch,
    shared: &Shared,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let timeout_ms = launch.job.as_ref().map_or(0, |job| job.task_timeout_ms);
    let alive = match Duration::from_millis(timeout_ms) / SIGNS_IN_TIMEOUT {
        Duration::ZERO => ALIVE_INTERVAL,
        part => part.min(ALIVE_INTERVAL),
    };
    let interval = REPORT_INTERVAL.min(alive);
    std::thread::scope(|scope| {
        let (finished, wait) = channel::<()>();
        scope.spawn(move || {
            let mut reported_signs = 0;
            let mut last_state = None;
            let mut last_report: Option<Instant> = None;
            while let Err(RecvTimeoutError::Timeout) = wait.recv_timeout(REPORT_STEP.min(alive)) {
                let since = last_report.map_or(Duration::MAX, |at| at.elapsed());
                let signs = shared.signs_of_life();
                if signs == reported_signs || since < interval {
                    continue;
                }
                let progress = shared.progress(&launch.attempt_id);
                if last_state.as_ref() == Some(&progress) && since < alive {
                    continue;
                }
                reported_signs = signs;
                last_report = Some(Instant::now());
                last_state = Some(progress.clone());
                if worker.send(from_task::Message::Progress(progress)).is_err() {
                    return;
                }
            }
        });
        let result = work();
        drop(finished);
        result
    })
}

fn read_orders(mut stream: impl Read, orders: &Sender<Order>, running: &Mutex<Running>) {
    loop {
        let message = match read_message(&mut stream) {
            Ok(Some(message)) => message.message,
            Ok(None) | Err(_) => {
                // Without its worker a task is an orphan that nobody waits for.
                if running.lock().attempt.is_some() {
                    eprintln!("the worker is gone; the task ends");
                    std::process::exit(1);
                }
                return;
            }
        };
        match message {
            Some(to_task::Message::Launch(launch)) => {
                let shared = Arc::new(Shared::default());
                let (arrivals, arrived) = channel();
                running.lock().attempt = Some((Arc::clone(&shared), arrivals));
                // The receiver is gone when the process is about to leave; the next read ends this.
                let _ = orders.send(Order::Launch(Box::new(launch), shared, arrived));
            }
            Some(to_task::Message::MapOutputs(outputs)) => {
                let running = running.lock();
                if let Some((_, arrivals)) = &running.attempt {
                    // The receiver is gone once the reducer has all it needs.
                    let _ = arrivals.send(outputs.outputs);
                }
            }
            Some(to_task::Message::Abort(abort)) => {
                eprintln!("told to stop: {}", abort.reason);
                let attempt = running.lock().attempt.as_ref().map(|(shared, _)| Arc::clone(shared));
                if let Some(shared) = attempt {
                    shared.abort();
                    end_unless_stopped(shared);
                }
            }
            Some(to_task::Message::Exit(_)) => {
                // An error means that nobody works any more.
                let _ = orders.send(Order::Exit);
                return;
            }
            None => {}
        }
    }
}

/// User code that does not come back can't be stopped in any other way.
fn end_unless_stopped(shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let deadline = Instant::now() + ABORT_GRACE;
        while Instant::now() < deadline {
            // The working thread holds one reference more while the attempt runs.
            if Arc::strong_count(&shared) == 1 {
                return;
            }
            std::thread::sleep(REPORT_STEP);
        }
        std::process::exit(1);
    });
}

/// The next length-delimited message; `None` at the end of the stream.
fn read_message(stream: &mut impl Read) -> Result<Option<ToTask>> {
    let mut length = 0u64;
    for shift in (0..).step_by(7) {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        length |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            break;
        }
        if shift >= 28 || length > MAX_MESSAGE_BYTES {
            bail!("the worker sent a message that is too long");
        }
    }
    if length > MAX_MESSAGE_BYTES {
        bail!("the worker sent a message of {length} bytes, more than {MAX_MESSAGE_BYTES}");
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(Some(ToTask::decode(&bytes[..])?))
}

#[cfg(test)]
#[path = "process_tests.rs"]
pub(crate) mod tests;
