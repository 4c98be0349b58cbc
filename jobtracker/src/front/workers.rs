//! gRPC for workers: one stream each way.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use hfs_protocol::ids::AttemptId;
use hfs_protocol::proto::worker::tracker_message::Message as ToWorker;
use hfs_protocol::proto::worker::worker_message::Message as FromWorker;
use hfs_protocol::proto::worker::worker_service_server::WorkerService;
use hfs_protocol::proto::worker::{
    AttemptFailed, Register, Registered, TrackerMessage, WorkerMessage,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::scheduler::{Failure, Registration, Report};
use crate::tracker::{Handle, Message, SessionId, WorkerEvent};
use crate::workers::Profile;

/// How long a worker may take over its first message.
const REGISTER_WAIT: Duration = Duration::from_secs(10);
/// Messages that may wait for a worker. More and its stream is closed.
const OUTGOING: usize = 4096;
/// The most slots a worker may have.
const SLOTS_MAX: u32 = 4096;
/// The rack of a worker that names none (HDFS `NetworkTopology.DEFAULT_RACK`).
const DEFAULT_RACK: &str = "/default-rack";

/// The service.
#[derive(Debug, Clone)]
pub struct Workers {
    /// The loop.
    pub tracker: Handle,
    /// How often a worker shall say that it is there.
    pub heartbeat_interval: Duration,
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<TrackerMessage, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut incoming = request.into_inner();
        let first = timeout(REGISTER_WAIT, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("a worker must register at once"))??;
        let Some(FromWorker::Register(register)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("a worker's first message must register it"));
        };
        let registration = registration(register).map_err(Status::invalid_argument)?;
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let interval_ms = u64::try_from(self.heartbeat_interval.as_millis()).unwrap_or(u64::MAX);
        let registered = Registered { heartbeat_interval_ms: interval_ms };
        let message = TrackerMessage { message: Some(ToWorker::Registered(registered)) };
        // The queue is new: there is room.
        let _ = outgoing.try_send(Ok(message));
        let (id, host) = (registration.profile.id.clone(), registration.profile.host.clone());
        let slots = registration.profile.slots;
        let registration = Box::new(registration);
        let session = self
            .tracker
            .ask(|reply| Message::Register { registration, outgoing, reply })
            .await
            .map_err(|_| Status::unavailable("the jobtracker is stopping"))?;
        tracing::info!("worker {id} on {host} registered with {slots} slots");
        let tracker = self.tracker.clone();
        tokio::spawn(async move {
            if let Err(why) = listen(&tracker, session, incoming).await {
                tracing::info!("the stream of worker {id} ended: {}", why.message());
            }
            let _ = tracker.send(Message::Gone(session)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn listen(
    tracker: &Handle,
    session: SessionId,
    mut incoming: Streaming<WorkerMessage>,
) -> Result<(), Status> {
    while let Some(message) = incoming.message().await? {
        let Some(message) = message.message else { continue };
        let event = match message {
            FromWorker::Heartbeat(_) => WorkerEvent::Heartbeat,
            FromWorker::Progress(progress) => match progress.progress {
                Some(progress) => WorkerEvent::Progress(progress),
                None => continue,
            },
            FromWorker::Done(done) => match done.done {
                Some(done) => WorkerEvent::Report(Report::Done(done)),
                None => continue,
            },
            FromWorker::Failed(failed) => match failure(failed) {
                Some(report) => WorkerEvent::Report(report),
                None => continue,
            },
            FromWorker::FetchFailed(report) => WorkerEvent::FetchFailed(report),
            FromWorker::LogData(data) => {
                if tracker.send(Message::LogData(data)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            FromWorker::Register(_) => {
                return Err(Status::invalid_argument("a stream registers once"));
            }
        };
        if tracker.send(Message::FromWorker(session, event)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn failure(failed: AttemptFailed) -> Option<Report> {
    let AttemptFailed { attempt_id, message, log_tail, killed, fatal, record } = failed;
    let id: AttemptId = attempt_id.parse().ok()?;
    Some(Report::Failed(id, Failure { message, log_tail, killed, fatal, record }))
}

fn registration(register: Register) -> Result<Registration, String> {
    if register.worker_id.is_empty() || register.host.is_empty() {
        return Err("a worker must say its id and its host".to_owned());
    }
    if register.slots == 0 || register.slots > SLOTS_MAX {
        let slots = register.slots;
        return Err(format!("a worker with {slots} slots can't be used: 1 to {SLOTS_MAX}"));
    }
    let rack = if register.rack.is_empty() { DEFAULT_RACK.to_owned() } else { register.rack };
    let mut reports: Vec<Report> =
        register.finished.into_iter().filter_map(|done| done.done).map(Report::Done).collect();
    reports.extend(register.failed.into_iter().filter_map(failure));
    Ok(Registration {
        profile: Profile {
            id: register.worker_id,
            host: register.host,
            rack,
            slots: register.slots,
            vcores: register.vcores,
            memory_mb: register.memory_mb,
            task_memory_mb: register.task_memory_mb,
            shuffle_address: register.shuffle_address,
            http_address: register.http_address,
        },
        running: register.running_attempts.iter().filter_map(|id| id.parse().ok()).collect(),
        segments: register
            .map_outputs
            .into_iter()
            .filter_map(|output| Some((output.attempt_id.parse().ok()?, output.path)))
            .collect(),
        reports,
    })
}
