//! The stream to the jobtracker: opened again whenever it breaks, with everything the worker has.

use std::convert::Infallible;
use std::time::Duration;

use hfs_protocol::proto::worker::tracker_message::Message as FromTracker;
use hfs_protocol::proto::worker::worker_message::Message as ToTracker;
use hfs_protocol::proto::worker::worker_service_client::WorkerServiceClient;
use hfs_protocol::proto::worker::{Register, WorkerMessage};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// The first pause before another try, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long one try may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How often a silent connection is tested, and how long the answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
/// Messages that may wait to be sent. More, and the connection is made anew: the registration tells all.
const OUTGOING: usize = 4096;
/// The largest message from the jobtracker: a launch with its job, or the outputs of many maps.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Complaints about an absent jobtracker: at once, then one in so many tries.
const COMPLAIN_EVERY: u32 = 30;

/// What the node hears of the stream.
#[derive(Debug)]
pub enum LinkEvent {
    /// A stream is about to open: what shall the worker register with? What is sent from now on
    /// goes over this stream.
    Opening(mpsc::Sender<WorkerMessage>, oneshot::Sender<Register>),
    /// The jobtracker said something.
    Said(Box<FromTracker>),
    /// The stream is gone.
    Closed,
}

/// Keeps the stream up until the node is gone.
pub async fn keep(jobtracker: String, events: mpsc::Sender<LinkEvent>) {
    let mut pause = BACKOFF.0;
    let mut tries = 0;
    loop {
        let was_open = match session(&jobtracker, &events).await {
            Err(Broken::NodeGone) => return,
            Err(Broken::After(why)) => {
                tracing::warn!("lost the jobtracker {jobtracker}: {why}");
                true
            }
            Err(Broken::Before(why)) => {
                if tries % COMPLAIN_EVERY == 0 {
                    tracing::warn!("can't reach the jobtracker {jobtracker}, trying on: {why}");
                }
                false
            }
        };
        if events.send(LinkEvent::Closed).await.is_err() {
            return;
        }
        if was_open {
            (pause, tries) = (BACKOFF.0, 0);
        }
        tries += 1;
        sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

enum Broken {
    NodeGone,
    Before(String),
    After(String),
}

async fn session(jobtracker: &str, events: &mpsc::Sender<LinkEvent>) -> Result<Infallible, Broken> {
    let before = |e: &dyn std::error::Error| Broken::Before(causes(e));
    let endpoint = Endpoint::from_shared(format!("http://{jobtracker}"))
        .map_err(|e| before(&e))?
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let channel = timeout(CONNECT_WAIT, endpoint.connect())
        .await
        .map_err(|_| Broken::Before(format!("no answer within {} s", CONNECT_WAIT.as_secs())))?
        .map_err(|e| before(&e))?;
    let mut client = WorkerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);

    let (outgoing, to_send) = mpsc::channel(OUTGOING);
    let (reply, register) = oneshot::channel();
    let opening = LinkEvent::Opening(outgoing.clone(), reply);
    events.send(opening).await.map_err(|_| Broken::NodeGone)?;
    let register = register.await.map_err(|_| Broken::NodeGone)?;
    let first = WorkerMessage { message: Some(ToTracker::Register(register)) };
    let stream = {
        use futures::StreamExt;
        futures::stream::once(async move { first }).chain(ReceiverStream::new(to_send))
    };
    drop(outgoing);
    let opened = timeout(CONNECT_WAIT, client.connect(stream)).await;
    let mut incoming = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(Broken::Before(status.message().to_owned())),
        Err(_) => return Err(Broken::Before("it does not answer the registration".to_owned())),
    };
    loop {
        match incoming.message().await {
            Ok(Some(message)) => {
                let Some(message) = message.message else { continue };
                let said = LinkEvent::Said(Box::new(message));
                events.send(said).await.map_err(|_| Broken::NodeGone)?;
            }
            Ok(None) => return Err(Broken::After("it closed the stream".to_owned())),
            Err(status) => return Err(Broken::After(status.message().to_owned())),
        }
    }
}

/// The innermost cause says what happened; the outer ones only that something did.
fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
