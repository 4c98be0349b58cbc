//! gRPC for job clients.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use hfs_protocol::ids::{AttemptId, JobId};
use hfs_protocol::proto::job::job_service_server::JobService;
use hfs_protocol::proto::job::{
    ClusterRequest, ClusterStatus, DrainRequest, EndAttemptRequest, JobRequest, JobState,
    JobStatus, KillRequest, ListReply, ListRequest, LogChunk, LogsRequest, PriorityRequest,
    SubmitReply, SubmitRequest, TaskTiming, WorkerStatus,
};
use hfs_protocol::proto::worker::LogData;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::check::check;
use crate::access::{Access, Caller, Refused, system_groups};
use crate::job::{Detail, Priority, Wishes};
use crate::tracker::store::Store;
use crate::tracker::{Handle, LogRoute, Message, Refusal, Stopped, Version};

/// The least time between two statuses of a watch, unless the job has ended.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long a kill waits for the job to be gone before it answers with what is.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// How long to wait for the file system when a job is submitted.
const OUTPUT_CHECK_WAIT: Duration = Duration::from_secs(30);
/// How long a worker may take over the next piece of a log.
const LOG_WAIT: Duration = Duration::from_secs(10);
/// Statuses and log pieces that wait for a slow client.
const STREAM_QUEUE: usize = 64;

/// The service.
#[derive(Clone)]
pub struct Jobs {
    /// The loop.
    pub tracker: Handle,
    /// Where outputs are looked for.
    pub store: Arc<dyn Store>,
    /// The web pages, `http://host:port`.
    pub web_url: String,
    /// The file system that clients are told of.
    pub fs_url: String,
    /// Who may do what.
    pub access: Arc<Access>,
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn job_id(text: &str) -> Result<JobId, Status> {
    text.parse().map_err(|e| Status::invalid_argument(format!("{e}")))
}

fn stopping(_: Stopped) -> Status {
    Status::unavailable("the jobtracker is stopping")
}

fn no_such(job: JobId) -> Status {
    Status::not_found(format!("there is no {job} here; 'hfs job list' shows what there is"))
}

impl Jobs {
    async fn status_of(&self, job: JobId, detail: Detail) -> Result<JobStatus, Status> {
        let status = self.tracker.status(job, detail).await.map_err(stopping)?;
        status.map(|status| *status).ok_or_else(|| no_such(job))
    }

    async fn watch_of(&self, job: JobId) -> Result<watch::Receiver<Version>, Status> {
        let changes = self.tracker.ask(|reply| Message::Watch { job, reply }).await;
        changes.map_err(stopping)?.ok_or_else(|| no_such(job))
    }

    async fn refuse_existing_output(&self, request: &SubmitRequest) -> Result<(), Status> {
        let Some(job) = request.job.as_ref().filter(|job| !job.output_dir.is_empty()) else {
            return Ok(());
        };
        let there = timeout(OUTPUT_CHECK_WAIT, self.store.file_id(job, &job.output_dir)).await;
        match there {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(_))) => Err(Status::already_exists(format!(
                "the output directory {} exists already; remove it or choose another",
                job.output_dir
            ))),
            Ok(Err(e)) => Err(Status::failed_precondition(format!(
                "the output directory {} can't be used: {}",
                job.output_dir,
                e.message()
            ))),
            Err(_) => Err(Status::unavailable(format!(
                "the file system of the output directory {} did not answer within {} s",
                job.output_dir,
                OUTPUT_CHECK_WAIT.as_secs()
            ))),
        }
    }
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitReply>, Status> {
        let request = check(request.into_inner()).map_err(Status::invalid_argument)?;
        let spec = request.job.as_ref().ok_or_else(|| Status::invalid_argument("no job"))?;
        let queue = Wishes::read(spec).map_err(Status::invalid_argument)?.queue;
        self.access.submit(&queue, &caller(&spec.user)).map_err(refused)?;
        self.refuse_existing_output(&request).await?;
        let request = Box::new(request);
        let taken = self.tracker.ask(|reply| Message::Submit { request, reply }).await;
        let job = taken.map_err(stopping)?.map_err(|refusal| match refusal {
            Refusal::Busy(why) => Status::resource_exhausted(why),
            Refusal::Failed(why) => Status::internal(why),
        })?;
        let web_url = format!("{}/jobs/{job}", self.web_url);
        Ok(Response::new(SubmitReply { job_id: job.to_string(), web_url }))
    }

    async fn status(&self, request: Request<JobRequest>) -> Result<Response<JobStatus>, Status> {
        let job = job_id(&request.into_inner().job_id)?;
        Ok(Response::new(self.status_of(job, Detail::Full).await?))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let running_only = request.into_inner().running_only;
        let jobs = self.tracker.ask(|reply| Message::List { running_only, reply }).await;
        Ok(Response::new(ListReply { jobs: jobs.map_err(stopping)? }))
    }

    async fn kill(&self, request: Request<KillRequest>) -> Result<Response<JobStatus>, Status> {
        let KillRequest { job_id: id, reason, user } = request.into_inner();
        let job = job_id(&id)?;
        self.may_administer(job, &user).await?;
        let mut changes = self.watch_of(job).await?;
        let known = self.tracker.ask(|reply| Message::Kill { job, reason, reply }).await;
        if !known.map_err(stopping)? {
            return Err(no_such(job));
        }
        // The watch is closed when the job is over.
        let gone = async { while changes.changed().await.is_ok() {} };
        let _ = timeout(KILL_WAIT, gone).await;
        Ok(Response::new(self.status_of(job, Detail::Brief).await?))
    }

    async fn set_priority(
        &self,
        request: Request<PriorityRequest>,
    ) -> Result<Response<JobStatus>, Status> {
        let PriorityRequest { job_id: id, priority, user } = request.into_inner();
        let job = job_id(&id)?;
        let priority: Priority = priority.parse().map_err(Status::invalid_argument)?;
        self.may_administer(job, &user).await?;
        let set = self.tracker.ask(|reply| Message::SetPriority { job, priority, reply }).await;
        let refuse = |why| {
            Status::internal(format!(
                "the priority of {job} can't be written to its history: {why}"
            ))
        };
        if !set.map_err(stopping)?.map_err(refuse)? {
            let why = format!("{job} is over: its priority can't be changed any more");
            return Err(Status::failed_precondition(why));
        }
        Ok(Response::new(self.status_of(job, Detail::Brief).await?))
    }

    async fn end_attempt(
        &self,
        request: Request<EndAttemptRequest>,
    ) -> Result<Response<JobStatus>, Status> {
        let EndAttemptRequest { attempt_id, fail: fails, user } = request.into_inner();
        let id: AttemptId =
            attempt_id.parse().map_err(|e| Status::invalid_argument(format!("{e}")))?;
        self.may_administer(id.task.job, &user).await?;
        let verb = if fails { "failed" } else { "killed" };
        let reason = format!("{verb} by {user}");
        let ended =
            self.tracker.ask(|reply| Message::EndAttempt { id, fails, reason, reply }).await;
        if !ended.map_err(stopping)? {
            let job = id.task.job;
            return Err(Status::failed_precondition(format!(
                "{id} does not run; 'hfs job status {job}' shows what does"
            )));
        }
        Ok(Response::new(self.status_of(id.task.job, Detail::Brief).await?))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<ClusterStatus>, Status> {
        let DrainRequest { node, drained, user } = request.into_inner();
        self.access.administer_cluster(&caller(&user)).map_err(refused)?;
        if node.is_empty() || node.contains(char::is_whitespace) {
            let why = format!("'{node}' is neither a host nor a worker's id");
            return Err(Status::invalid_argument(why));
        }
        let named = node.clone();
        let done = self.tracker.ask(|reply| Message::Drain { node, drained, reply }).await;
        done.map_err(stopping)?.map_err(Status::internal)?;
        let status = self.cluster_status().await?;
        let known = |w: &WorkerStatus| w.worker_id == named || w.host == named;
        if drained && !status.workers.iter().any(known) {
            tracing::warn!("{named} is drained; no worker of that name or host is known");
        }
        Ok(Response::new(status))
    }

    type WatchStream = BoxStream<JobStatus>;

    async fn watch(
        &self,
        request: Request<JobRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let job = job_id(&request.into_inner().job_id)?;
        let changes = self.watch_of(job).await?;
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let service = self.clone();
        tokio::spawn(async move { service.send_changes(job, changes, sender).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type LogsStream = BoxStream<LogChunk>;

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let job = job_id(&request.job_id)?;
        let attempts = self.status_of(job, Detail::Full).await?.attempts;
        let wanted: Vec<TaskTiming> = attempts
            .into_iter()
            .filter(|a| request.attempt_id.is_empty() || a.attempt_id == request.attempt_id)
            .collect();
        if wanted.is_empty() && !request.attempt_id.is_empty() {
            let id = &request.attempt_id;
            return Err(Status::not_found(format!("{job} has no attempt '{id}'")));
        }
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let service = self.clone();
        tokio::spawn(async move {
            for attempt in wanted {
                if service.send_log(attempt, request.tail_bytes, &sender).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn cluster(&self, _: Request<ClusterRequest>) -> Result<Response<ClusterStatus>, Status> {
        Ok(Response::new(self.cluster_status().await?))
    }
}

fn caller(user: &str) -> Caller<'_> {
    Caller { user, groups: &system_groups }
}

fn refused(why: Refused) -> Status {
    match why {
        Refused::NoQueue(why) => Status::invalid_argument(why),
        Refused::NotAllowed(why) => Status::permission_denied(why),
    }
}

impl Jobs {
    async fn may_administer(&self, job: JobId, user: &str) -> Result<(), Status> {
        let JobStatus { queue, user: owner, .. } = self.status_of(job, Detail::Brief).await?;
        self.access.administer_job(&queue, &owner, &caller(user)).map_err(refused)
    }

    async fn cluster_status(&self) -> Result<ClusterStatus, Status> {
        let view = self.tracker.ask(|reply| Message::Cluster { reply }).await.map_err(stopping)?;
        Ok(ClusterStatus {
            workers: view.workers,
            running_jobs: view.running_jobs,
            fs_url: self.fs_url.clone(),
            queues: view.queues,
        })
    }

    /// The status now, then at changes, the last one without delay.
    async fn send_changes(
        &self,
        job: JobId,
        mut changes: watch::Receiver<Version>,
        sender: mpsc::Sender<Result<JobStatus, Status>>,
    ) {
        loop {
            changes.borrow_and_update();
            let status = self.status_of(job, Detail::Brief).await;
            let over = status.as_ref().is_ok_and(ended) || status.is_err();
            if sender.send(status).await.is_err() || over {
                return;
            }
            let next = Instant::now() + WATCH_INTERVAL;
            // An error means that the job is over and the watch closed: look once more.
            if changes.changed().await.is_ok() {
                tokio::select! {
                    () = sleep_until(next) => {}
                    _ = changes.wait_for(|version| version.ended) => {}
                    () = sender.closed() => return,
                }
            }
        }
    }

    /// The log of one attempt. An error means that the client is gone.
    async fn send_log(
        &self,
        attempt: TaskTiming,
        tail_bytes: u64,
        sender: &mpsc::Sender<Result<LogChunk, Status>>,
    ) -> Result<(), ()> {
        let TaskTiming { attempt_id, worker, .. } = attempt;
        let chunk = |data: LogData| LogChunk {
            attempt_id: attempt_id.clone(),
            worker: worker.clone(),
            data: data.data,
            error: data.error,
        };
        let error = |why: String| LogData { error: why, ..LogData::default() };
        let (pieces, mut received) = mpsc::channel(STREAM_QUEUE);
        let Ok(id) = attempt_id.parse::<AttemptId>() else { return Ok(()) };
        let route = LogRoute { attempt: id, worker: worker.clone(), tail_bytes, pieces };
        self.tracker.send(Message::ReadLog(route)).await.map_err(|_| ())?;
        loop {
            let piece = match timeout(LOG_WAIT, received.recv()).await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    error("the log broke off: its worker is gone or the reader too slow".into())
                }
                Err(_) => {
                    error(format!("its worker did not answer within {} s", LOG_WAIT.as_secs()))
                }
            };
            let last = piece.last || !piece.error.is_empty();
            sender.send(Ok(chunk(piece))).await.map_err(|_| ())?;
            if last {
                return Ok(());
            }
        }
    }
}

/// Whether nothing more will happen to the job.
fn ended(status: &JobStatus) -> bool {
    matches!(status.state(), JobState::Succeeded | JobState::Failed | JobState::Killed)
}
