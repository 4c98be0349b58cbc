//! A jobtracker from its start to its stop.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use hfs_daemon::clock::{Clock, SystemClock};
use hfs_daemon::http::{self, Pages};
use hfs_daemon::lock_dir::DirLock;
use hfs_daemon::port_file::{self, Ports};
use hfs_daemon::shutdown::Shutdown;
use hfs_daemon::{bind, metrics};
use hfs_protocol::proto::job::job_service_server::JobServiceServer;
use hfs_protocol::proto::job::{JobState, JobStatus};
use hfs_protocol::proto::worker::worker_service_server::WorkerServiceServer;
use tonic::transport::server::TcpIncoming;

use crate::Config;
use crate::front::{MESSAGE_BYTES_MAX, jobs, web, workers};
use crate::history::{self, Start, Writer};
use crate::job::replay::{self, Outcome};
use crate::scheduler::{Action, EndedJob, Now, Scheduler};
use crate::tracker::store::Store;
use crate::tracker::systems::Systems;
use crate::tracker::{Counts, DrainedFile, Edges, Tracker};

/// Runs a jobtracker until `shutdown`. Jobs that an earlier one left unfinished go on.
///
/// # Errors
/// When the directory is in use or damaged as a whole, or a port can't be had. Each is a sentence.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let jobs_dir = config.dir.join("jobs");
    fs::create_dir_all(&jobs_dir)
        .with_context(|| format!("can't make the directory {}", jobs_dir.display()))?;
    let _lock = DirLock::acquire(&config.dir, "jobtracker")?;

    let change = "--port (port in hfs.toml)";
    let grpc = bind::tcp(SocketAddr::new(config.bind, config.port), "jobtracker", change).await?;
    let change = "--http-port (http-port in hfs.toml)";
    let address = SocketAddr::new(config.bind, config.http_port);
    let web = bind::tcp(address, "jobtracker web pages", change).await?;
    let (grpc_address, web_address) = (grpc.local_addr()?, web.local_addr()?);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let history = Writer::start(jobs_dir.clone())?;
    let queues = config.queues.settings(config.scheduling);
    let mut scheduler = Scheduler::with_queues(config.settings(), &queues);
    let drained = DrainedFile::in_dir(&config.dir);
    scheduler.restore_drained(drained.read().map_err(anyhow::Error::msg)?);
    let restored = restore(&config, &jobs_dir, &*clock, &history, &mut scheduler)?;

    let store: Arc<dyn Store> = Arc::new(Systems::new(config.local_output));
    let mut registry = metrics::registry("jobtracker");
    let counts = Counts::new(&mut registry);
    let edges = Edges {
        clock,
        store: Arc::clone(&store),
        history,
        commit_timeout: config.commit_timeout,
        counts,
        drained,
    };
    let Restored { start, actions } = restored;
    let (tracker, handle) = Tracker::new(scheduler, edges, start.tracker, start.last_job);

    let host = config.advertise.clone().unwrap_or_else(|| web_address.ip().to_string());
    let jobs = jobs::Jobs {
        tracker: handle.clone(),
        store,
        web_url: format!("http://{host}:{}", web_address.port()),
        fs_url: config.fs_url.clone(),
        access: Arc::new(config.access(process_user())),
    };
    let workers =
        workers::Workers { tracker: handle.clone(), heartbeat_interval: config.heartbeat_interval };
    // The builder's own setting does not reach sockets that it is handed; without this a short answer
    // waits 40 ms for the other side's delayed ack.
    let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder()
        .add_service(JobServiceServer::new(jobs).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(WorkerServiceServer::new(workers).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .serve_with_incoming(incoming);
    // Streams to workers never end by themselves, so the server is not asked to wait for them.
    let server = tokio::spawn(server);
    let pages = Pages::new(web::router(handle)).conf(&config);
    let web = tokio::spawn(http::serve(web, Arc::new(registry), pages, shutdown.clone()));

    if let Some(path) = &config.port_file {
        let ports = Ports { grpc: Some(grpc_address), http: Some(web_address), ..Ports::default() };
        port_file::write(path, &ports)?;
    }
    tracing::info!("jobtracker ready on {grpc_address}, web pages on http://{web_address}");
    tracker.run(actions, shutdown).await;
    server.abort();
    web.abort();
    Ok(())
}

/// The user that this process runs as: its name, or its number where nothing names it.
fn process_user() -> String {
    let uid = fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or_default().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or(uid)
}

struct Restored {
    start: Start,
    actions: Vec<Action>,
}

/// Reads the histories. A job whose history can't be read is told to have failed; it stops nobody else.
fn restore(
    config: &Config,
    jobs_dir: &Path,
    clock: &dyn Clock,
    writer: &Writer,
    scheduler: &mut Scheduler,
) -> anyhow::Result<Restored> {
    let found = history::read_jobs(jobs_dir)?;
    let last_job = found.iter().map(|read| read.job.number).max().unwrap_or(0);
    let start = Start::note(&config.dir, clock.now_ms(), last_job)?;
    let steady_ms = u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX);
    let now = Now { steady_ms, wall_ms: clock.now_ms() };
    let mut actions = Vec::new();
    let mut unfinished = 0;
    for read in found {
        let job = read.job;
        let whole_bytes = read.whole_bytes;
        if read.torn_bytes > 0 {
            tracing::warn!("cut {} bytes of an unfinished record of {job}", read.torn_bytes);
        }
        let told = match read.records {
            // Not even the submission is whole: its client got no answer.
            Ok(records) if records.is_empty() => {
                writer.remove(job);
                continue;
            }
            Ok(records) => replay::replay(records),
            Err(e) => Err(e.to_string()),
        };
        match told {
            Ok(Outcome::Ended(ended)) => scheduler.restore_ended(job, *ended, &mut actions),
            Ok(Outcome::Unfinished(mut replayed)) => {
                unfinished += 1;
                writer.reopen(job, whole_bytes);
                replayed.job.attempt_base = start.starts.saturating_sub(1).saturating_mul(1000);
                scheduler.restore(now, *replayed, &mut actions);
            }
            Err(why) => {
                tracing::error!("{job} is given up: {why}");
                let status = JobStatus {
                    job_id: job.to_string(),
                    state: JobState::Failed.into(),
                    message: format!("its history can't be used: {why}"),
                    ..JobStatus::default()
                };
                let ended = EndedJob { status, submit_token: String::new() };
                scheduler.restore_ended(job, ended, &mut actions);
            }
        }
    }
    if unfinished > 0 {
        tracing::info!("going on with {unfinished} unfinished jobs");
    }
    Ok(Restored { start, actions })
}
