//! What the datanode has to say to its namenode, in order.
//!
//! While connected, a message goes straight into the stream's queue, so that it is under way before
//! the caller acknowledges anything. It waits here instead while a full block report is being sent
//! (a change that overtook the report's snapshot would be undone by it) and while the stream's queue
//! is full. While not connected, changes need not be kept: registration is followed by a full
//! report. Reports of bad replicas are kept.

use std::collections::VecDeque;

use hfs_protocol::proto::datanode::datanode_message::Message;
use hfs_protocol::proto::datanode::{DatanodeMessage, IncrementalReport, ReplicaChange};
use parking_lot::Mutex;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Changes in one message at most.
const BATCH_CHANGES_MAX: usize = 1000;

/// Messages that wait at most. Beyond this, changes are dropped and a full report takes their place.
const WAITING_MAX: usize = 10_000;

/// Messages kept while not connected.
const KEPT_MAX: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<Sender<DatanodeMessage>>,
    /// A full report is being sent: everything else waits.
    reporting: bool,
    waiting: VecDeque<Message>,
    /// Changes were dropped: a full report must be sent.
    report_due: bool,
    /// To be said after the next registration.
    kept: VecDeque<Message>,
}

impl Outbox {
    /// A session has registered. Everything waits until [`Self::report_sent`]: a full report comes
    /// first.
    pub fn connect(&self, stream: Sender<DatanodeMessage>) {
        let mut state = self.state.lock();
        state.stream = Some(stream);
        state.reporting = true;
        state.report_due = false;
        state.waiting = std::mem::take(&mut state.kept);
    }

    /// The session has ended.
    pub fn disconnect(&self) {
        let mut state = self.state.lock();
        state.stream = None;
        state.reporting = false;
        let waiting = std::mem::take(&mut state.waiting);
        for message in waiting {
            state.keep(message);
        }
    }

    /// A full report is about to be taken: changes wait from here on. False if there is no session.
    pub fn begin_report(&self) -> bool {
        let mut state = self.state.lock();
        state.reporting = state.stream.is_some();
        state.report_due = false;
        state.reporting
    }

    /// The full report is in the stream: what waited follows.
    pub fn report_sent(&self) {
        let mut state = self.state.lock();
        state.reporting = false;
        state.flush();
    }

    /// Sends what waits, as far as the stream's queue takes it. True if a full report is due.
    pub fn flush(&self) -> bool {
        let mut state = self.state.lock();
        state.flush();
        state.report_due && !state.reporting
    }

    /// A full report must be sent: the next [`Self::flush`] says so.
    pub fn require_report(&self) {
        self.state.lock().report_due = true;
    }

    /// A replica has changed.
    pub fn change(&self, change: ReplicaChange) {
        let mut state = self.state.lock();
        if state.stream.is_none() {
            return;
        }
        match state.waiting.back_mut() {
            Some(Message::Incremental(batch)) if batch.changes.len() < BATCH_CHANGES_MAX => {
                batch.changes.push(change);
            }
            _ => state
                .waiting
                .push_back(Message::Incremental(IncrementalReport { changes: vec![change] })),
        }
        state.bound();
        state.flush();
    }

    /// Says something to the namenode that it will ask for again if it is lost.
    pub fn say(&self, message: Message) {
        let mut state = self.state.lock();
        if state.stream.is_some() {
            state.waiting.push_back(message);
            state.bound();
            state.flush();
        }
    }

    /// Says something that is not lost while there is no session.
    pub fn keep(&self, message: Message) {
        let mut state = self.state.lock();
        if state.stream.is_some() {
            state.waiting.push_back(message);
            state.bound();
            state.flush();
        } else {
            state.keep(message);
        }
    }
}

impl State {
    fn flush(&mut self) {
        if self.reporting {
            return;
        }
        let Some(stream) = &self.stream else { return };
        while let Some(message) = self.waiting.pop_front() {
            match stream.try_send(DatanodeMessage { message: Some(message) }) {
                Ok(()) => {}
                Err(TrySendError::Full(message) | TrySendError::Closed(message)) => {
                    self.waiting.extend(message.message);
                    // It was the first: the others come after it.
                    self.waiting.rotate_right(1);
                    return;
                }
            }
        }
    }

    fn bound(&mut self) {
        if self.waiting.len() > WAITING_MAX {
            self.waiting.retain(|message| !matches!(message, Message::Incremental(_)));
            self.waiting.truncate(WAITING_MAX);
            self.report_due = true;
        }
    }

    fn keep(&mut self, message: Message) {
        if matches!(message, Message::BadReplicas(_)) && self.kept.len() < KEPT_MAX {
            self.kept.push_back(message);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hfs_protocol::proto::datanode::{BadReplicas, Block};
    use tokio::sync::mpsc;

    fn change(id: u64) -> ReplicaChange {
        let block = Block { block_id: id, generation_stamp: 1, length: 0 };
        ReplicaChange { kind: 0, block: Some(block), storage_uuid: String::new() }
    }

    fn ids(message: DatanodeMessage) -> Vec<u64> {
        match message.message {
            Some(Message::Incremental(batch)) => {
                batch.changes.iter().map(|change| change.block.unwrap().block_id).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn changes_wait_for_the_report_and_then_go_at_once() {
        let outbox = Outbox::default();
        outbox.change(change(1));
        let (tx, mut rx) = mpsc::channel(2);
        outbox.connect(tx);
        outbox.change(change(2));
        outbox.change(change(3));
        assert!(rx.try_recv().is_err());
        outbox.report_sent();
        assert_eq!(ids(rx.try_recv().unwrap()), [2, 3]);
        outbox.change(change(4));
        assert_eq!(ids(rx.try_recv().unwrap()), [4]);
    }

    #[test]
    fn a_full_queue_makes_batches_in_order() {
        let outbox = Outbox::default();
        let (tx, mut rx) = mpsc::channel(1);
        outbox.connect(tx);
        outbox.report_sent();
        for id in 1..=4 {
            outbox.change(change(id));
        }
        assert_eq!(ids(rx.try_recv().unwrap()), [1]);
        assert!(!outbox.flush());
        assert_eq!(ids(rx.try_recv().unwrap()), [2, 3, 4]);
    }

    #[test]
    fn bad_replicas_are_told_after_the_next_registration() {
        let outbox = Outbox::default();
        outbox.keep(Message::BadReplicas(BadReplicas::default()));
        let (tx, mut rx) = mpsc::channel(8);
        outbox.connect(tx);
        outbox.report_sent();
        assert!(matches!(rx.try_recv().unwrap().message, Some(Message::BadReplicas(_))));
    }
}
