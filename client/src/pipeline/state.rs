//! The write pipeline of one block as a pure state machine: events in, actions out.
//!
//! ```text
//!          create                     setup refused: Abandon (ask for another block)
//!  start ─────────► Setup ──────────────────────────────────────────► Over
//!    │ append         │ done                  last packet acked        ▲
//!    │                └─────────► Streaming ───────────────────────────┤
//!    │                               │ a node failed   ▲               │
//!    │           replacement wanted  ▼                 │ Updated       │ nobody left, or
//!    │          ┌──────────────── recover ─────────┐   │               │ budget used up
//!    │          ▼                                  ▼   │               │
//!    │       Replacing ──► Transferring ──────► Stamping ─► Setup ─► Updating
//!    └──────────────────────────────────────────►          (new stamp)
//! ```
//!
//! Promises: 1. a byte counts as acked only when every node of the pipeline at that time acked it;
//! 2. a recovered pipeline starts from at least the acked bytes (`min_bytes`), and every byte
//! beyond them is sent again; 3. a node that failed never comes back into this block's pipeline;
//! 4. every recovery removes a node or counts against a budget, so recovery ends.
//! The machine knows no socket and no clock: the caller performs the actions one by one, tells how
//! they went, and says what time it is.

#![deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]

use std::collections::VecDeque;
use std::time::Duration;

use hfs_protocol::proto::hadoop::hdfs::Status;
use hfs_protocol::transfer::ack::PipelineAck;

use crate::config::ReplacePolicy;

#[cfg(test)]
mod tests;

/// Recoveries in a row without one more packet acked (HDFS: 5).
pub(crate) const RECOVERIES_MAX: u32 = 5;
/// Replacement nodes tried within one recovery.
pub(crate) const REPLACEMENTS_MAX: u32 = 3;

/// A datanode, as an index into the caller's table.
pub(crate) type Node = usize;

/// What a packet is to the pipeline; its bytes stay with the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PacketInfo {
    /// Counts the packets of the block.
    pub(crate) seqno: i64,
    /// Where its data ends, bytes from the start of the block.
    pub(crate) end: u64,
    /// It closes the block and has no data.
    pub(crate) last: bool,
}

/// What does not change while the block is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Replicas the file wants.
    pub(crate) replication: usize,
    pub(crate) policy: ReplacePolicy,
    /// Go on with fewer nodes when none can be had.
    pub(crate) best_effort: bool,
    /// The longest wait for an ack.
    pub(crate) ack_timeout: Duration,
    /// How long the connection may be idle before a heartbeat is sent.
    pub(crate) heartbeat_interval: Duration,
}

/// Why a pipeline is set up (HDFS `BlockConstructionStage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Create,
    Append,
    AppendRecovery,
    StreamingRecovery,
    CloseRecovery,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The pipeline that [`Action::Connect`] asked for is up.
    SetupDone,
    /// It is not; `bad` is the index in its node list of the node to blame, if known.
    SetupFailed { bad: Option<usize>, cause: String },
    /// An ack came.
    Ack(PipelineAck),
    /// The connection to the first node broke.
    Broken(String),
    /// The namenode named a new node, or has none.
    Replacement(Option<Node>),
    /// The replica was copied to the new node, or not.
    Transferred(Result<(), String>),
    /// The namenode gave a new generation stamp.
    Stamped(u64),
    /// The namenode knows the new pipeline.
    Updated,
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Dial the first node and set up the pipeline.
    Connect { stage: Stage, nodes: Vec<Node>, stamp: u64, new_stamp: u64, min: u64, max: u64 },
    /// Send this packet.
    Send(i64),
    /// Send a heartbeat.
    Heartbeat,
    /// Close the connection and forget what is half sent.
    Disconnect,
    /// Ask the namenode for a node that is none of these.
    Replace { nodes: Vec<Node>, failed: Vec<Node> },
    /// Have `source` copy its replica, at least `length` bytes, to `target`.
    Transfer { source: Node, target: Node, stamp: u64, length: u64 },
    /// Ask the namenode for a new generation stamp.
    Stamp { stamp: u64, length: u64 },
    /// Tell the namenode the new pipeline.
    Update { stamp: u64, new_stamp: u64, length: u64, nodes: Vec<Node> },
    /// This packet is acked by all: forget its bytes.
    Acked(i64),
    /// The block is closed on all nodes.
    Finished,
    /// Nothing was written: give the block back and ask for another without this node.
    Abandon { bad: Node, cause: String },
    /// The block can't be written any more.
    Fail(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Setup { stage: Stage, new_stamp: u64 },
    Streaming,
    Replacing { stage: Stage },
    Transferring { stage: Stage, target: Node },
    Stamping { stage: Stage },
    Updating { stage: Stage, new_stamp: u64 },
    Over,
}

/// The pipeline of one block.
#[derive(Debug)]
pub(crate) struct Pipeline {
    settings: Settings,
    state: State,
    nodes: Vec<Node>,
    failed: Vec<Node>,
    /// The generation stamp the namenode knows.
    stamp: u64,
    /// Bytes every node has acked.
    acked: u64,
    /// Bytes ever sent: a node may hold up to this many.
    sent: u64,
    /// Packets not acked yet, oldest first.
    queue: VecDeque<PacketInfo>,
    /// How many of the queue have been sent on the present connection.
    in_flight: usize,
    /// The block was appended to, or flushed: its readers may know bytes of it.
    durable: bool,
    /// Whether an append's first setup has succeeded (or the block is new).
    opened: bool,
    recoveries: u32,
    replacements: u32,
    /// Since when an ack is awaited, if one is.
    awaiting_since: Option<Duration>,
    /// When something was last sent.
    last_send: Duration,
}

impl Pipeline {
    /// A new block's pipeline. Returns it with what to do first.
    pub(crate) fn create(settings: Settings, nodes: Vec<Node>, stamp: u64) -> (Self, Vec<Action>) {
        let stage = Stage::Create;
        let mut pipeline =
            Self::new(settings, nodes, stamp, 0, State::Setup { stage, new_stamp: stamp });
        pipeline.opened = true;
        let mut actions = Vec::new();
        pipeline.connect(stage, stamp, &mut actions);
        (pipeline, actions)
    }

    /// The pipeline of a file's last block, to which bytes are appended after `length`.
    pub(crate) fn append(
        settings: Settings,
        nodes: Vec<Node>,
        stamp: u64,
        length: u64,
    ) -> (Self, Vec<Action>) {
        let state = State::Stamping { stage: Stage::Append };
        let mut pipeline = Self::new(settings, nodes, stamp, length, state);
        pipeline.durable = true;
        (pipeline, vec![Action::Stamp { stamp, length }])
    }

    fn new(settings: Settings, nodes: Vec<Node>, stamp: u64, length: u64, state: State) -> Self {
        Self {
            settings,
            state,
            nodes,
            failed: Vec::new(),
            stamp,
            acked: length,
            sent: length,
            queue: VecDeque::new(),
            in_flight: 0,
            durable: false,
            opened: false,
            recoveries: 0,
            replacements: 0,
            awaiting_since: None,
            last_send: Duration::ZERO,
        }
    }

    /// Bytes every node has acked.
    pub(crate) const fn acked(&self) -> u64 {
        self.acked
    }

    /// The generation stamp the namenode knows.
    pub(crate) const fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Whether packets and acks flow, so that the connection is to be watched.
    pub(crate) fn is_streaming(&self) -> bool {
        self.state == State::Streaming
    }

    /// Whether all that was queued is acked.
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    /// The nodes that failed.
    pub(crate) fn failed(&self) -> &[Node] {
        &self.failed
    }

    /// Readers may know bytes of this block from now on, so a lost node is replaced sooner.
    pub(crate) const fn set_durable(&mut self) {
        self.durable = true;
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.state != State::Streaming {
            return None;
        }
        let heartbeat = self.last_send + self.settings.heartbeat_interval;
        match self.awaiting_since {
            Some(since) => Some(since + self.settings.ack_timeout),
            None => Some(heartbeat),
        }
    }

    /// Takes the next packet of the block.
    pub(crate) fn enqueue(&mut self, now: Duration, packet: PacketInfo, out: &mut Vec<Action>) {
        if self.state == State::Over {
            return;
        }
        self.queue.push_back(packet);
        if self.state == State::Streaming {
            self.send_more(now, out);
        }
    }

    /// Takes an event. One that does not belong to the present state is late news and ignored.
    pub(crate) fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Action>) {
        match (self.state, event) {
            (State::Setup { stage, new_stamp }, Event::SetupDone) => {
                self.set_up(now, stage, new_stamp, out);
            }
            (State::Setup { stage, .. }, Event::SetupFailed { bad, cause }) => {
                self.setup_failed(stage, bad, cause, out);
            }
            (State::Streaming, Event::Ack(ack)) => self.acknowledge(now, &ack, out),
            (State::Streaming, Event::Broken(cause)) => self.node_failed(0, cause, out),
            (State::Streaming, Event::Tick) => self.tick(now, out),
            (State::Replacing { stage }, Event::Replacement(found)) => {
                self.replacement(stage, found, out);
            }
            (State::Transferring { stage, target }, Event::Transferred(result)) => {
                self.transferred(stage, target, result, out);
            }
            (State::Stamping { stage }, Event::Stamped(new_stamp)) => {
                self.state = State::Setup { stage, new_stamp };
                self.connect(stage, new_stamp, out);
            }
            (State::Updating { stage, new_stamp }, Event::Updated) => {
                self.updated(now, stage, new_stamp, out);
            }
            _ => {}
        }
    }

    fn connect(&self, stage: Stage, new_stamp: u64, out: &mut Vec<Action>) {
        out.push(Action::Connect {
            stage,
            nodes: self.nodes.clone(),
            stamp: self.stamp,
            new_stamp,
            min: self.acked,
            max: self.sent,
        });
    }

    fn stream(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.state = State::Streaming;
        self.opened = true;
        self.in_flight = 0;
        self.awaiting_since = None;
        self.last_send = now;
        self.send_more(now, out);
    }

    fn send_more(&mut self, now: Duration, out: &mut Vec<Action>) {
        while let Some(packet) = self.queue.get(self.in_flight) {
            // The packet that closes the block waits until all data is acked. So a failure after
            // it was sent finds the same bytes on every node, and only the close is repeated.
            if packet.last && self.in_flight > 0 {
                break;
            }
            self.sent = self.sent.max(packet.end);
            out.push(Action::Send(packet.seqno));
            self.in_flight += 1;
            self.last_send = now;
            self.awaiting_since.get_or_insert(now);
        }
    }

    fn set_up(&mut self, now: Duration, stage: Stage, new_stamp: u64, out: &mut Vec<Action>) {
        if stage == Stage::Create {
            self.stream(now, out);
            return;
        }
        self.state = State::Updating { stage, new_stamp };
        out.push(Action::Update {
            stamp: self.stamp,
            new_stamp,
            length: self.acked,
            nodes: self.nodes.clone(),
        });
    }

    fn updated(&mut self, now: Duration, stage: Stage, new_stamp: u64, out: &mut Vec<Action>) {
        self.stamp = new_stamp;
        if stage != Stage::CloseRecovery {
            self.stream(now, out);
            return;
        }
        // The nodes closed their replicas at setup; there is nothing to send.
        out.push(Action::Disconnect);
        if let Some(last) = self.queue.pop_front() {
            out.push(Action::Acked(last.seqno));
        }
        self.state = State::Over;
        out.push(Action::Finished);
    }

    fn setup_failed(
        &mut self,
        stage: Stage,
        bad: Option<usize>,
        cause: String,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Disconnect);
        let index = bad.filter(|index| *index < self.nodes.len()).unwrap_or(0);
        if stage == Stage::Create {
            self.state = State::Over;
            match self.nodes.get(index) {
                Some(bad) => out.push(Action::Abandon { bad: *bad, cause }),
                None => out.push(Action::Fail(cause)),
            }
            return;
        }
        let stage = if stage == Stage::Append { Stage::AppendRecovery } else { stage };
        self.exclude(index, stage, cause, out);
    }

    fn acknowledge(&mut self, now: Duration, ack: &PipelineAck, out: &mut Vec<Action>) {
        if let Some((index, status)) = failed_node(ack, self.nodes.len()) {
            let cause = format!(
                "a datanode answered a packet with {status} (its log says why; a full disk is the \
                 usual reason)"
            );
            self.node_failed(index, cause, out);
            return;
        }
        if ack.is_heartbeat() {
            self.awaiting_since = (self.in_flight > 0).then_some(now);
            return;
        }
        let front = self.queue.front().copied().filter(|_| self.in_flight > 0);
        let Some(packet) = front.filter(|packet| packet.seqno == ack.seqno) else {
            let cause = format!("an ack for packet {} came out of its turn", ack.seqno);
            self.node_failed(0, cause, out);
            return;
        };
        self.queue.pop_front();
        self.in_flight -= 1;
        self.acked = self.acked.max(packet.end);
        self.recoveries = 0;
        self.awaiting_since = (self.in_flight > 0).then_some(now);
        out.push(Action::Acked(packet.seqno));
        if packet.last {
            self.state = State::Over;
            out.push(Action::Disconnect);
            out.push(Action::Finished);
        } else {
            self.send_more(now, out);
        }
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Action>) {
        match self.awaiting_since {
            Some(since) if now >= since + self.settings.ack_timeout => {
                let waited = self.settings.ack_timeout;
                self.node_failed(0, format!("no ack came for {waited:?}"), out);
            }
            Some(_) => {}
            None if now >= self.last_send + self.settings.heartbeat_interval => {
                self.last_send = now;
                self.awaiting_since = Some(now);
                out.push(Action::Heartbeat);
            }
            None => {}
        }
    }

    /// A node of the streaming pipeline failed: leave it out and build the pipeline anew.
    fn node_failed(&mut self, index: usize, cause: String, out: &mut Vec<Action>) {
        out.push(Action::Disconnect);
        let closing = self.in_flight > 0 && self.queue.front().is_some_and(|packet| packet.last);
        self.in_flight = 0;
        self.awaiting_since = None;
        self.recoveries += 1;
        if self.recoveries > RECOVERIES_MAX {
            self.fail(
                format!("{RECOVERIES_MAX} recoveries in a row brought no progress; last: {cause}"),
                out,
            );
            return;
        }
        let stage = if closing { Stage::CloseRecovery } else { Stage::StreamingRecovery };
        self.replacements = 0;
        self.exclude(index, stage, cause, out);
    }

    fn exclude(&mut self, index: usize, stage: Stage, cause: String, out: &mut Vec<Action>) {
        if index < self.nodes.len() {
            self.failed.push(self.nodes.remove(index));
        }
        if self.nodes.is_empty() {
            self.fail(format!("every datanode of its pipeline failed; last: {cause}"), out);
        } else {
            self.replace_or_stamp(stage, out);
        }
    }

    fn replace_or_stamp(&mut self, stage: Stage, out: &mut Vec<Action>) {
        if self.wants_replacement(stage) && self.replacements < REPLACEMENTS_MAX {
            self.replacements += 1;
            self.state = State::Replacing { stage };
            out.push(Action::Replace { nodes: self.nodes.clone(), failed: self.failed.clone() });
        } else {
            self.state = State::Stamping { stage };
            out.push(Action::Stamp { stamp: self.stamp, length: self.acked });
        }
    }

    /// HDFS `ReplaceDatanodeOnFailure`: a closing block is left to the namenode.
    fn wants_replacement(&self, stage: Stage) -> bool {
        let (wanted, left) = (self.settings.replication, self.nodes.len());
        if stage == Stage::CloseRecovery || left >= wanted {
            return false;
        }
        match self.settings.policy {
            ReplacePolicy::Never => false,
            ReplacePolicy::Always => true,
            ReplacePolicy::Default => wanted >= 3 && (left <= wanted / 2 || self.durable),
        }
    }

    fn replacement(&mut self, stage: Stage, found: Option<Node>, out: &mut Vec<Action>) {
        let target = found.filter(|node| !self.nodes.contains(node) && !self.failed.contains(node));
        match (target, self.nodes.last()) {
            (Some(target), Some(&source)) => {
                self.state = State::Transferring { stage, target };
                let (stamp, length) = (self.stamp, self.acked);
                out.push(Action::Transfer { source, target, stamp, length });
            }
            _ if self.settings.best_effort => self.stamp_now(stage, out),
            _ => self.fail(
                "no other datanode can take the place of the failed one, and \
                 replace-datanode-on-failure.best-effort is off"
                    .to_owned(),
                out,
            ),
        }
    }

    fn stamp_now(&mut self, stage: Stage, out: &mut Vec<Action>) {
        self.state = State::Stamping { stage };
        out.push(Action::Stamp { stamp: self.stamp, length: self.acked });
    }

    fn transferred(
        &mut self,
        stage: Stage,
        target: Node,
        result: Result<(), String>,
        out: &mut Vec<Action>,
    ) {
        match result {
            Ok(()) => {
                self.nodes.push(target);
                self.stamp_now(stage, out);
            }
            Err(cause) => {
                self.failed.push(target);
                if self.replacements < REPLACEMENTS_MAX {
                    self.replace_or_stamp(stage, out);
                } else if self.settings.best_effort {
                    self.stamp_now(stage, out);
                } else {
                    self.fail(format!("no replacement could take over the replica: {cause}"), out);
                }
            }
        }
    }

    fn fail(&mut self, cause: String, out: &mut Vec<Action>) {
        self.state = State::Over;
        out.push(Action::Fail(cause));
    }
}

/// Which node an ack blames, if any. The first node that did not say success failed; but when a
/// checksum was wrong the nodes before the last complaint only repeat it, and the bytes may have
/// been damaged on the way to that node. A node that gave no reply at all is blamed too.
fn failed_node(ack: &PipelineAck, nodes: usize) -> Option<(usize, &'static str)> {
    let checksum = ack.replies.iter().rposition(|status| *status == Status::ErrorChecksum);
    if let Some(index) = checksum {
        return Some((index.min(nodes.saturating_sub(1)), Status::ErrorChecksum.as_str_name()));
    }
    if let Some((index, status)) = ack.first_failure() {
        return Some((index.min(nodes.saturating_sub(1)), status.as_str_name()));
    }
    (ack.replies.len() < nodes).then_some((ack.replies.len(), "silence"))
}
