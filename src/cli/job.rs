//! `hfs job`: jobs, as a client of the jobtracker.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use hfs_jobtracker::front::json;
use hfs_mapreduce::JOB_ANNOUNCE;
use hfs_protocol::proto::job::job_service_client::JobServiceClient;
use hfs_protocol::proto::job::{
    ClusterRequest, EndAttemptRequest, JobRequest, JobState, JobStatus, KillRequest, ListRequest,
    LogsRequest, PriorityRequest, TaskCounts,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tonic::transport::{Channel, Endpoint};

use super::global::GlobalArgs;
use crate::cluster;

/// How long to wait for the jobtracker.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The largest status that is taken: a large job with all its attempts.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// The exit code after an interrupt (Ctrl-C), as a shell sees it (128 + SIGINT).
const INTERRUPTED_EXIT: i32 = 130;

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Run a job program on the cluster and show its progress
    Submit {
        /// The program, built with the crate hfs-mapreduce, and its own arguments
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            required = true,
            value_names = ["PROGRAM", "ARGS"],
            num_args = 1..
        )]
        program: Vec<OsString>,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// List jobs, newest last
    List {
        /// Without those that are over
        #[arg(long)]
        running: bool,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// Show how a job is doing, its failures and its attempts
    Status {
        /// The job's id
        id: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// End a job and delete what it has written
    Kill {
        /// The job's id
        id: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// Print what a job's attempts have printed
    Logs {
        /// The job's id
        id: String,
        /// Only this attempt
        #[arg(long)]
        attempt: Option<String>,
        /// Only the last so many bytes of each
        #[arg(long, default_value_t = 0, value_name = "BYTES")]
        tail: u64,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// Change how urgent a job is
    #[command(name = "set-priority")]
    SetPriority {
        /// The job's id
        id: String,
        /// VERY_HIGH, HIGH, NORMAL, LOW or VERY_LOW
        priority: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// End an attempt; its task tries again, as if nothing had happened
    #[command(name = "kill-task")]
    KillTask {
        /// The attempt's id, as `hfs job status` shows it
        attempt: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// End an attempt as failed; its task tries again if it has a try left
    #[command(name = "fail-task")]
    FailTask {
        /// The attempt's id, as `hfs job status` shows it
        attempt: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// List the queues and how full they are
    Queues {
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// Draw what the tasks of a job did when, as SVG
    Timeline {
        /// The jobs' ids; several that ran one after the other share a picture
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// The file to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
    /// Print a job's counters
    Counters {
        /// The job's id
        id: String,
        /// Where the jobtracker is
        #[command(flatten)]
        tracker: Tracker,
    },
}

/// Where the jobtracker is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Tracker {
    /// The jobtracker's address, HOST:PORT; else that of the running local cluster
    #[arg(long, env = "HFS_JOBTRACKER", value_name = "ADDR")]
    pub jobtracker: Option<String>,
}

pub(super) type Client = JobServiceClient<Channel>;

impl Tracker {
    fn address(&self) -> Result<String> {
        if let Some(address) = self.jobtracker.as_ref().filter(|address| !address.is_empty()) {
            return Ok(address.clone());
        }
        let dir = cluster::default_dir()?;
        let running = cluster::running_jobtracker(&dir)?;
        running.map(|address| address.to_string()).with_context(|| {
            format!(
                "no jobtracker: no --jobtracker, no HFS_JOBTRACKER, and no local cluster runs in {}; \
                 start one with `hfs cluster start`",
                dir.display()
            )
        })
    }

    pub(super) async fn connect(&self) -> Result<Client> {
        let address = self.address()?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("'{address}' is not the address of a jobtracker"))?
            .connect_timeout(CONNECT_WAIT);
        let channel = endpoint.connect().await.with_context(|| {
            format!(
                "the jobtracker at {address} can't be reached; check that it runs and that the \
                 address is right (--jobtracker or HFS_JOBTRACKER)"
            )
        })?;
        Ok(Client::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }
}

/// What the jobtracker refused, in its own words.
pub(super) fn told(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

/// Does what the command says.
///
/// # Errors
/// A sentence. A submitted program's own failure is passed on as this process's exit code.
pub async fn run(command: JobCommand, global: &GlobalArgs) -> Result<()> {
    match command {
        JobCommand::Submit { program, tracker } => submit(program, &tracker, global).await,
        JobCommand::List { running, tracker } => list(running, &tracker, global.json).await,
        JobCommand::Status { id, tracker } => status(id, &tracker, global.json).await,
        JobCommand::Kill { id, tracker } => kill(id, &tracker, global).await,
        JobCommand::SetPriority { id, priority, tracker } => {
            set_priority(id, priority, &tracker, global).await
        }
        JobCommand::KillTask { attempt, tracker } => {
            end_attempt(attempt, false, &tracker, global).await
        }
        JobCommand::FailTask { attempt, tracker } => {
            end_attempt(attempt, true, &tracker, global).await
        }
        JobCommand::Queues { tracker } => queues(&tracker, global.json).await,
        JobCommand::Logs { id, attempt, tail, tracker } => {
            logs(id, attempt.unwrap_or_default(), tail, &tracker, global.json).await
        }
        JobCommand::Timeline { ids, output, tracker } => timeline(ids, output, &tracker).await,
        JobCommand::Counters { id, tracker } => counters(id, &tracker, global.json).await,
    }
}

/// Runs the program here: it is its own driver, and is told by its environment where the cluster is.
/// One that ends without having announced itself, whatever its exit code, is no job program.
async fn submit(words: Vec<OsString>, tracker: &Tracker, global: &GlobalArgs) -> Result<()> {
    let mut words = words.into_iter();
    let program = PathBuf::from(words.next().context("name the job program to run")?);
    let address = tracker.address()?;
    let fs_url = global.fs_url(&global.client_config()?)?;
    // A bare name means a file here, as for every other file argument, not a command of the PATH.
    let path = if program.components().count() == 1 {
        PathBuf::from(".").join(&program)
    } else {
        program.clone()
    };
    let private = tempfile::Builder::new()
        .prefix("hfs-job-")
        .tempdir()
        .context("can't create a temporary directory for the job program's announcement")?;
    let announcement = private.path().join("announced");
    let mut child = tokio::process::Command::new(&path)
        .args(words)
        .env("HFS_FS", fs_url)
        .env("HFS_JOBTRACKER", address)
        .env(JOB_ANNOUNCE, &announcement)
        .spawn()
        .with_context(|| format!("can't run the job program {}", program.display()))?;
    let status = tokio::select! {
        status = child.wait() => status?,
        // The terminal interrupts the program, too.
        Ok(()) = tokio::signal::ctrl_c() => {
            drop(private);
            std::process::exit(INTERRUPTED_EXIT);
        }
    };
    let announced = announcement.exists();
    // `exit` would leave it behind.
    drop(private);
    let ended = match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => format!("was ended by signal {}", status.signal().unwrap_or_default()),
    };
    let program = program.display();
    if !announced {
        eprintln!(
            "hfs job submit: {program} is not an hfs job program (it {ended} without announcing a \
             job); build one with the crate hfs-mapreduce"
        );
        std::process::exit(status.code().filter(|code| *code != 0).unwrap_or(1));
    }
    match status.code() {
        Some(0) => Ok(()),
        // It has said itself what went wrong.
        Some(code) => std::process::exit(code),
        None => bail!("{program} {ended}"),
    }
}

async fn list(running_only: bool, tracker: &Tracker, as_json: bool) -> Result<()> {
    let mut client = tracker.connect().await?;
    let jobs = client.list(ListRequest { running_only }).await.map_err(told)?.into_inner().jobs;
    let mut out = io::stdout().lock();
    if as_json {
        let jobs: Vec<_> = jobs.iter().map(json::job).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&jobs)?)?;
        return Ok(());
    }
    for job in jobs {
        let (maps, reduces) = (of(job.maps.as_ref()), of(job.reduces.as_ref()));
        writeln!(
            out,
            "{}  {:<10}  maps {maps}  reduces {reduces}  {}  {}  {}  {}  {}",
            job.job_id,
            job.state().as_str_name(),
            at(job.submit_ms),
            job.queue,
            job.priority,
            job.user,
            job.name,
        )?;
    }
    Ok(())
}

async fn one(client: &mut Client, id: String) -> Result<JobStatus> {
    let request = JobRequest { job_id: id };
    Ok(client.status(request).await.map_err(told)?.into_inner())
}

async fn status(id: String, tracker: &Tracker, as_json: bool) -> Result<()> {
    let job = one(&mut tracker.connect().await?, id).await?;
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json::job(&job))?)?;
        return Ok(());
    }
    let locality = job.locality.unwrap_or_default();
    writeln!(out, "{} {}", job.job_id, job.name)?;
    writeln!(out, "state      {}", job.state().as_str_name())?;
    if !job.message.is_empty() {
        writeln!(out, "message    {}", job.message)?;
    }
    writeln!(out, "user       {}", job.user)?;
    writeln!(out, "queue      {}, priority {}", job.queue, job.priority)?;
    writeln!(out, "output     {}", job.output_dir)?;
    writeln!(out, "submitted  {}", at(job.submit_ms))?;
    if job.finish_ms > 0 {
        let took = job.finish_ms.saturating_sub(job.submit_ms);
        writeln!(out, "ended      {}, after {:.3} s", at(job.finish_ms), took as f64 / 1000.0)?;
    }
    writeln!(
        out,
        "maps       {}; {} on the node of their input, {} in its rack, {} elsewhere",
        counted(job.maps.as_ref()),
        locality.node,
        locality.rack,
        locality.any
    )?;
    writeln!(out, "reduces    {}", counted(job.reduces.as_ref()))?;
    if job.speculative_attempts > 0 {
        let (all, running) = (job.speculative_attempts, job.speculative_running);
        writeln!(out, "speculative {all} attempts that raced slower ones, {running} running")?;
    }
    for failure in &job.failures {
        writeln!(
            out,
            "failure    {} on {}: {}",
            failure.attempt_id, failure.worker, failure.message
        )?;
        for line in failure.log_tail.lines() {
            writeln!(out, "           | {line}")?;
        }
    }
    for attempt in &job.attempts {
        let took = match attempt.end_ms {
            0 => "not ended".to_owned(),
            end => format!("{} ms", end.saturating_sub(attempt.start_ms)),
        };
        writeln!(
            out,
            "attempt    {}  {:<9}  {:<4}  {took:>9}  {}{}",
            attempt.attempt_id,
            attempt.state,
            attempt.locality,
            attempt.worker,
            if attempt.speculative { "  speculative" } else { "" }
        )?;
    }
    Ok(())
}

async fn kill(id: String, tracker: &Tracker, global: &GlobalArgs) -> Result<()> {
    let mut client = tracker.connect().await?;
    let user = global.client_config()?.user;
    let request = KillRequest { job_id: id, reason: "killed by hfs job kill".to_owned(), user };
    let job = client.kill(request).await.map_err(told)?.into_inner();
    let mut out = io::stdout().lock();
    if global.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json::job(&job))?)?;
        return Ok(());
    }
    match job.state() {
        JobState::Killed => writeln!(out, "{} is killed", job.job_id)?,
        JobState::Succeeded | JobState::Failed | JobState::Committing => {
            bail!("{} can't be killed any more: it is {}", job.job_id, job.state().as_str_name());
        }
        JobState::Preparing | JobState::Running => {
            writeln!(out, "{} is being killed; its attempts have not all ended yet", job.job_id)?;
        }
    }
    Ok(())
}

async fn set_priority(
    id: String,
    priority: String,
    tracker: &Tracker,
    global: &GlobalArgs,
) -> Result<()> {
    let user = global.client_config()?.user;
    let mut client = tracker.connect().await?;
    let request = PriorityRequest { job_id: id, priority, user };
    let job = client.set_priority(request).await.map_err(told)?.into_inner();
    let mut out = io::stdout().lock();
    if global.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json::job(&job))?)?;
    } else {
        writeln!(out, "{} has priority {}", job.job_id, job.priority)?;
    }
    Ok(())
}

async fn end_attempt(
    attempt_id: String,
    fail: bool,
    tracker: &Tracker,
    global: &GlobalArgs,
) -> Result<()> {
    let user = global.client_config()?.user;
    let mut client = tracker.connect().await?;
    let request = EndAttemptRequest { attempt_id: attempt_id.clone(), fail, user };
    let job = client.end_attempt(request).await.map_err(told)?.into_inner();
    let mut out = io::stdout().lock();
    if global.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json::job(&job))?)?;
    } else {
        writeln!(out, "{attempt_id} is {}", if fail { "failed" } else { "killed" })?;
    }
    Ok(())
}

async fn queues(tracker: &Tracker, as_json: bool) -> Result<()> {
    let mut client = tracker.connect().await?;
    let cluster = client.cluster(ClusterRequest {}).await.map_err(told)?.into_inner();
    let mut out = io::stdout().lock();
    if as_json {
        let queues: Vec<_> = cluster.queues.iter().map(json::queue).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&queues)?)?;
        return Ok(());
    }
    for queue in cluster.queues {
        let most = match queue.max_running_jobs {
            0 => String::new(),
            most => format!(" of at most {most}"),
        };
        writeln!(
            out,
            "{:<16}  {:<4}  weight {}  least share {}  jobs {} running{most}, {} waiting  {} vcores held",
            queue.name,
            queue.policy,
            queue.weight,
            queue.min_share,
            queue.running_jobs,
            queue.waiting_jobs,
            queue.held_vcores,
        )?;
    }
    Ok(())
}

async fn logs(
    id: String,
    attempt_id: String,
    tail_bytes: u64,
    tracker: &Tracker,
    as_json: bool,
) -> Result<()> {
    let mut client = tracker.connect().await?;
    let request = LogsRequest { job_id: id, attempt_id, tail_bytes };
    let mut chunks = client.logs(request).await.map_err(told)?.into_inner();
    let mut shown = String::new();
    let mut missing = 0;
    let mut out = io::stdout().lock();
    while let Some(chunk) = chunks.message().await.map_err(told)? {
        if as_json {
            let text = String::from_utf8_lossy(&chunk.data);
            let line = serde_json::json!({
                "attempt": chunk.attempt_id, "worker": chunk.worker, "data": text,
                "error": chunk.error,
            });
            writeln!(out, "{line}")?;
        } else {
            if chunk.attempt_id != shown {
                writeln!(out, "==> {} on {} <==", chunk.attempt_id, chunk.worker)?;
                shown.clone_from(&chunk.attempt_id);
            }
            out.write_all(&chunk.data)?;
        }
        if !chunk.error.is_empty() {
            missing += 1;
            out.flush()?;
            eprintln!("hfs: the log of {} can't be had: {}", chunk.attempt_id, chunk.error);
        }
    }
    out.flush()?;
    if missing > 0 {
        bail!("{missing} logs can't be had");
    }
    Ok(())
}

async fn timeline(ids: Vec<String>, output: Option<PathBuf>, tracker: &Tracker) -> Result<()> {
    let mut client = tracker.connect().await?;
    let mut jobs = Vec::new();
    for id in ids {
        jobs.push(one(&mut client, id).await?);
    }
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let svg = hfs_jobtracker::front::timeline::timeline(&jobs, now);
    match output {
        Some(path) => std::fs::write(&path, svg)
            .with_context(|| format!("can't write the picture to {}", path.display())),
        None => Ok(io::stdout().lock().write_all(svg.as_bytes())?),
    }
}

async fn counters(id: String, tracker: &Tracker, as_json: bool) -> Result<()> {
    let job = one(&mut tracker.connect().await?, id).await?;
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json::counters(&job))?)?;
        return Ok(());
    }
    let mut group = "";
    for counter in &job.counters {
        if counter.group != group {
            writeln!(out, "{}", counter.group)?;
            group = &counter.group;
        }
        writeln!(out, "  {}={}", counter.name, counter.value)?;
    }
    Ok(())
}

fn of(counts: Option<&TaskCounts>) -> String {
    let counts = counts.copied().unwrap_or_default();
    format!("{}/{}", counts.succeeded, counts.total)
}

fn counted(counts: Option<&TaskCounts>) -> String {
    let counts = counts.copied().unwrap_or_default();
    format!(
        "{} of {} done, {} running, {} attempts failed, {} killed or lost",
        counts.succeeded,
        counts.total,
        counts.running,
        counts.failed_attempts,
        counts.killed_attempts
    )
}

fn at(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let zoned = stamp.map(|stamp| stamp.to_zoned(TimeZone::system()));
    zoned.map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}
