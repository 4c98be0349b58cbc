//! The open streams to workers.

use std::collections::HashMap;

use hfs_protocol::proto::worker::tracker_message::Message as ToWorker;
use hfs_protocol::proto::worker::{LogData, ReadLog, Refused, TrackerMessage};
use tokio::sync::mpsc;

use super::handle::{LogRoute, SessionId};
use crate::workers::WorkerKey;

/// Logs that are being sent at once. More are refused with a sentence.
const LOGS_AT_ONCE: usize = 256;

struct Link {
    session: SessionId,
    outgoing: mpsc::Sender<Result<TrackerMessage, tonic::Status>>,
}

struct Transfer {
    worker: WorkerKey,
    pieces: mpsc::Sender<LogData>,
}

/// Streams by worker, at most one each.
#[derive(Default)]
pub(super) struct Links {
    by_worker: HashMap<WorkerKey, Link>,
    by_session: HashMap<SessionId, WorkerKey>,
    last_session: u64,
    logs: HashMap<u64, Transfer>,
    last_log: u64,
}

impl Links {
    /// Takes over a worker's new stream. An older one of the same worker ends.
    pub(super) fn open(
        &mut self,
        worker: WorkerKey,
        outgoing: mpsc::Sender<Result<TrackerMessage, tonic::Status>>,
    ) -> SessionId {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        if let Some(old) = self.by_worker.insert(worker, Link { session, outgoing }) {
            self.by_session.remove(&old.session);
        }
        self.by_session.insert(session, worker);
        session
    }

    /// The worker whose current stream this is.
    pub(super) fn worker(&self, session: SessionId) -> Option<WorkerKey> {
        self.by_session.get(&session).copied()
    }

    /// Forgets a stream that ended. None when it was not the current one.
    pub(super) fn close(&mut self, session: SessionId) -> Option<WorkerKey> {
        let worker = self.by_session.remove(&session)?;
        self.by_worker.remove(&worker);
        self.logs.retain(|_, transfer| transfer.worker != worker);
        Some(worker)
    }

    /// Ends a worker's stream after a last word.
    pub(super) fn refuse(&mut self, worker: WorkerKey, reason: String) {
        if let Some(link) = self.by_worker.remove(&worker) {
            self.by_session.remove(&link.session);
            let last = TrackerMessage { message: Some(ToWorker::Refused(Refused { reason })) };
            // A stream that is full ends without the last word.
            let _ = link.outgoing.try_send(Ok(last));
        }
        self.logs.retain(|_, transfer| transfer.worker != worker);
    }

    /// Tells a worker something. When its stream is full the worker does not keep up: the stream is
    /// closed (true), and what the worker missed is put right when it registers again.
    #[must_use]
    pub(super) fn send(&mut self, worker: WorkerKey, message: ToWorker) -> Sent {
        let Some(link) = self.by_worker.get(&worker) else { return Sent::NotConnected };
        let message = TrackerMessage { message: Some(message) };
        if link.outgoing.try_send(Ok(message)).is_ok() {
            return Sent::Queued;
        }
        let session = link.session;
        self.close(session);
        Sent::Overflowed
    }

    /// Asks a worker for a log. Gives the request back when that can't be.
    pub(super) fn read_log(
        &mut self,
        worker: WorkerKey,
        route: LogRoute,
    ) -> Result<Sent, (LogRoute, &'static str)> {
        self.logs.retain(|_, transfer| !transfer.pieces.is_closed());
        if self.logs.len() >= LOGS_AT_ONCE {
            return Err((route, "too many logs are being read; try again soon"));
        }
        self.last_log += 1;
        let request_id = self.last_log;
        let order = ReadLog {
            request_id,
            attempt_id: route.attempt.to_string(),
            tail_bytes: route.tail_bytes,
        };
        match self.send(worker, ToWorker::ReadLog(order)) {
            Sent::Queued => {
                self.logs.insert(request_id, Transfer { worker, pieces: route.pieces });
                Ok(Sent::Queued)
            }
            sent => Ok(sent),
        }
    }

    /// Passes on a piece of a log.
    pub(super) fn log_data(&mut self, data: LogData) {
        let (id, last) = (data.request_id, data.last || !data.error.is_empty());
        if let Some(transfer) = self.logs.get(&id)
            && (transfer.pieces.try_send(data).is_err() || last)
        {
            self.logs.remove(&id);
        }
    }
}

/// What became of a message to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Queued,
    /// The worker has no stream now. When it comes back it is told what counts then.
    NotConnected,
    /// The stream was full and is closed.
    Overflowed,
}
