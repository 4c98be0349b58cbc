//! The machine drives a model of datanodes whose failures come from a random tape; after every
//! step the promises in the module's head are checked against the model.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings(replication: usize) -> Settings {
    Settings {
        replication,
        policy: ReplacePolicy::Default,
        best_effort: true,
        ack_timeout: 60 * SECOND,
        heartbeat_interval: 30 * SECOND,
    }
}

fn packet(seqno: i64, end: u64) -> PacketInfo {
    PacketInfo { seqno, end, last: false }
}

fn last(seqno: i64, end: u64) -> PacketInfo {
    PacketInfo { seqno, end, last: true }
}

fn feed(pipeline: &mut Pipeline, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    pipeline.handle(SECOND, event, &mut out);
    out
}

fn add(pipeline: &mut Pipeline, info: PacketInfo) -> Vec<Action> {
    let mut out = Vec::new();
    pipeline.enqueue(SECOND, info, &mut out);
    out
}

fn acked(seqno: i64, nodes: usize) -> Event {
    Event::Ack(PipelineAck::success(seqno, nodes))
}

/// A pipeline of three new replicas that is up.
fn streaming(settings: Settings) -> Pipeline {
    let (mut pipeline, actions) = Pipeline::create(settings, vec![0, 1, 2], 1001);
    assert!(matches!(actions[..], [Action::Connect { stage: Stage::Create, .. }]));
    assert_eq!(feed(&mut pipeline, Event::SetupDone), []);
    pipeline
}

#[test]
fn a_block_is_written_and_closed() {
    let mut pipeline = streaming(settings(3));
    assert_eq!(add(&mut pipeline, packet(0, 10)), [Action::Send(0)]);
    assert_eq!(add(&mut pipeline, packet(1, 20)), [Action::Send(1)]);
    assert_eq!(add(&mut pipeline, last(2, 20)), [], "the last packet waits for the others");
    assert_eq!(feed(&mut pipeline, acked(0, 3)), [Action::Acked(0)]);
    assert_eq!(feed(&mut pipeline, acked(1, 3)), [Action::Acked(1), Action::Send(2)]);
    let end = feed(&mut pipeline, acked(2, 3));
    assert_eq!(end, [Action::Acked(2), Action::Disconnect, Action::Finished]);
    assert_eq!(pipeline.acked(), 20);
    assert_eq!(pipeline.deadline(), None);
}

#[test]
fn a_new_block_that_no_node_takes_is_abandoned() {
    let (mut pipeline, _) = Pipeline::create(settings(3), vec![7, 8, 9], 1001);
    assert_eq!(add(&mut pipeline, packet(0, 10)), []);
    let cause = "refused".to_owned();
    let failed = Event::SetupFailed { bad: Some(1), cause: cause.clone() };
    assert_eq!(
        feed(&mut pipeline, failed),
        [Action::Disconnect, Action::Abandon { bad: 8, cause }]
    );
    assert_eq!(feed(&mut pipeline, Event::SetupDone), [], "late news is ignored");
}

#[test]
fn a_failed_node_is_left_out_and_unacked_packets_are_sent_again() {
    let mut pipeline = streaming(settings(3));
    for seqno in 0..3 {
        add(&mut pipeline, packet(seqno, 10 * (seqno as u64 + 1)));
    }
    feed(&mut pipeline, acked(0, 3));
    let ack = PipelineAck::new(1, vec![Status::Success, Status::Error]);
    // Two of three are left, and nobody has seen the bytes: no replacement.
    assert_eq!(
        feed(&mut pipeline, Event::Ack(ack)),
        [Action::Disconnect, Action::Stamp { stamp: 1001, length: 10 }]
    );
    assert_eq!(
        feed(&mut pipeline, Event::Stamped(1002)),
        [Action::Connect {
            stage: Stage::StreamingRecovery,
            nodes: vec![0, 2],
            stamp: 1001,
            new_stamp: 1002,
            min: 10,
            max: 30
        }]
    );
    assert_eq!(
        feed(&mut pipeline, Event::SetupDone),
        [Action::Update { stamp: 1001, new_stamp: 1002, length: 10, nodes: vec![0, 2] }]
    );
    assert_eq!(feed(&mut pipeline, Event::Updated), [Action::Send(1), Action::Send(2)]);
    assert_eq!(pipeline.stamp(), 1002);
    assert_eq!(feed(&mut pipeline, acked(1, 2)), [Action::Acked(1)]);
}

#[test]
fn a_flushed_block_gets_a_replacement_that_takes_over_the_acked_bytes() {
    let mut pipeline = streaming(settings(3));
    pipeline.set_durable();
    add(&mut pipeline, packet(0, 10));
    feed(&mut pipeline, acked(0, 3));
    assert_eq!(
        feed(&mut pipeline, Event::Broken("reset".into())),
        [Action::Disconnect, Action::Replace { nodes: vec![1, 2], failed: vec![0] }]
    );
    assert_eq!(
        feed(&mut pipeline, Event::Replacement(Some(3))),
        [Action::Transfer { source: 2, target: 3, stamp: 1001, length: 10 }]
    );
    // The first replacement can't take it over; the second can.
    assert_eq!(
        feed(&mut pipeline, Event::Transferred(Err("full".into()))),
        [Action::Replace { nodes: vec![1, 2], failed: vec![0, 3] }]
    );
    feed(&mut pipeline, Event::Replacement(Some(4)));
    let stamp = feed(&mut pipeline, Event::Transferred(Ok(())));
    assert_eq!(stamp, [Action::Stamp { stamp: 1001, length: 10 }]);
    let connect = feed(&mut pipeline, Event::Stamped(1002));
    assert!(matches!(&connect[..], [Action::Connect { nodes, .. }] if nodes == &[1, 2, 4]));
}

#[test]
fn without_a_replacement_the_rest_goes_on_or_not_as_configured() {
    let mut pipeline = streaming(settings(3));
    pipeline.set_durable();
    feed(&mut pipeline, Event::Broken("reset".into()));
    let stamp = feed(&mut pipeline, Event::Replacement(None));
    assert_eq!(stamp, [Action::Stamp { stamp: 1001, length: 0 }]);

    let mut pipeline = streaming(Settings { best_effort: false, ..settings(3) });
    pipeline.set_durable();
    feed(&mut pipeline, Event::Broken("reset".into()));
    assert!(matches!(feed(&mut pipeline, Event::Replacement(None))[..], [Action::Fail(_)]));
}

#[test]
fn a_node_that_failed_is_not_taken_as_its_own_replacement() {
    let mut pipeline = streaming(settings(3));
    pipeline.set_durable();
    feed(&mut pipeline, Event::Broken("reset".into()));
    let stamp = feed(&mut pipeline, Event::Replacement(Some(0)));
    assert!(matches!(stamp[..], [Action::Stamp { .. }]));
}

#[test]
fn a_failure_while_closing_only_repeats_the_close() {
    let mut pipeline = streaming(settings(3));
    pipeline.set_durable();
    add(&mut pipeline, packet(0, 10));
    add(&mut pipeline, last(1, 10));
    assert_eq!(feed(&mut pipeline, acked(0, 3)), [Action::Acked(0), Action::Send(1)]);
    let stamp = feed(&mut pipeline, Event::Broken("reset".into()));
    assert_eq!(stamp, [Action::Disconnect, Action::Stamp { stamp: 1001, length: 10 }]);
    assert!(matches!(
        feed(&mut pipeline, Event::Stamped(1002))[..],
        [Action::Connect { stage: Stage::CloseRecovery, min: 10, max: 10, .. }]
    ));
    feed(&mut pipeline, Event::SetupDone);
    assert_eq!(
        feed(&mut pipeline, Event::Updated),
        [Action::Disconnect, Action::Acked(1), Action::Finished]
    );
}

#[test]
fn an_append_starts_with_a_new_stamp_and_recovers_as_an_append() {
    let (mut pipeline, actions) = Pipeline::append(settings(3), vec![0, 1, 2], 1001, 700);
    assert_eq!(actions, [Action::Stamp { stamp: 1001, length: 700 }]);
    add(&mut pipeline, packet(0, 800));
    assert!(matches!(
        feed(&mut pipeline, Event::Stamped(1002))[..],
        [Action::Connect { stage: Stage::Append, min: 700, max: 700, .. }]
    ));
    let failed = Event::SetupFailed { bad: Some(2), cause: "gone".into() };
    assert_eq!(
        feed(&mut pipeline, failed),
        [Action::Disconnect, Action::Replace { nodes: vec![0, 1], failed: vec![2] }]
    );
    feed(&mut pipeline, Event::Replacement(None));
    assert!(matches!(
        feed(&mut pipeline, Event::Stamped(1003))[..],
        [Action::Connect { stage: Stage::AppendRecovery, stamp: 1001, new_stamp: 1003, .. }]
    ));
    feed(&mut pipeline, Event::SetupDone);
    assert_eq!(feed(&mut pipeline, Event::Updated), [Action::Send(0)]);
}

#[test]
fn recoveries_without_progress_end() {
    let mut pipeline = streaming(Settings { policy: ReplacePolicy::Always, ..settings(3) });
    add(&mut pipeline, packet(0, 10));
    for round in 0..RECOVERIES_MAX as usize {
        feed(&mut pipeline, Event::Broken("reset".into()));
        feed(&mut pipeline, Event::Replacement(Some(3 + round)));
        feed(&mut pipeline, Event::Transferred(Ok(())));
        feed(&mut pipeline, Event::Stamped(1002 + round as u64));
        feed(&mut pipeline, Event::SetupDone);
        assert_eq!(feed(&mut pipeline, Event::Updated), [Action::Send(0)]);
    }
    let end = feed(&mut pipeline, Event::Broken("reset".into()));
    assert!(matches!(&end[..], [Action::Disconnect, Action::Fail(cause)] if cause.contains("5")));
}

#[test]
fn idle_pipelines_beat_and_silent_ones_are_given_up() {
    let mut pipeline = streaming(settings(3));
    let mut out = Vec::new();
    assert_eq!(pipeline.deadline(), Some(31 * SECOND));
    pipeline.handle(31 * SECOND, Event::Tick, &mut out);
    assert_eq!(out, [Action::Heartbeat]);
    assert_eq!(pipeline.deadline(), Some(91 * SECOND));
    pipeline.handle(32 * SECOND, acked(-1, 3), &mut out);
    assert_eq!(pipeline.deadline(), Some(61 * SECOND));
    out.clear();
    pipeline.enqueue(40 * SECOND, packet(0, 5), &mut out);
    pipeline.handle(99 * SECOND, Event::Tick, &mut out);
    assert_eq!(out, [Action::Send(0)], "an early tick does nothing");
    out.clear();
    pipeline.handle(100 * SECOND, Event::Tick, &mut out);
    assert_eq!(out, [Action::Disconnect, Action::Stamp { stamp: 1001, length: 0 }]);
}

#[test]
fn acks_blame_the_right_node() {
    use Status::{Error, ErrorChecksum, Success};
    let blamed = |replies: &[Status]| failed_node(&PipelineAck::new(0, replies.to_vec()), 3);
    assert_eq!(blamed(&[Success, Success, Success]), None);
    assert_eq!(blamed(&[Success, Error]).map(|b| b.0), Some(1));
    assert_eq!(blamed(&[Success, Error, Error]).map(|b| b.0), Some(1));
    assert_eq!(blamed(&[Error, Success, Success]).map(|b| b.0), Some(0));
    assert_eq!(blamed(&[Success, ErrorChecksum, ErrorChecksum]).map(|b| b.0), Some(2));
    assert_eq!(blamed(&[Success, Success]).map(|b| b.0), Some(2));
    assert_eq!(blamed(&[]).map(|b| b.0), Some(0));
}

#[test]
fn an_ack_out_of_turn_breaks_the_connection() {
    let mut pipeline = streaming(settings(3));
    add(&mut pipeline, packet(0, 10));
    let actions = feed(&mut pipeline, acked(5, 3));
    assert!(matches!(actions[..], [Action::Disconnect, Action::Stamp { .. }]));
}

/// A datanode of the model.
#[derive(Debug, Clone, Copy, Default)]
struct Replica {
    dead: bool,
    exists: bool,
    length: u64,
    stamp: u64,
    closed: bool,
}

/// What the tape decides at each step.
struct Tape {
    bytes: Vec<u8>,
    at: usize,
}

impl Tape {
    /// A number below `limit`; 0 ("all goes well") when the tape has ended.
    fn next(&mut self, limit: u8) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte % limit
    }
}

struct World {
    tape: Tape,
    nodes: Vec<Replica>,
    /// The pipeline as connected now.
    connected: Vec<Node>,
    next_stamp: u64,
    /// The namenode's record.
    stamp: u64,
    packets: Vec<PacketInfo>,
    acked: u64,
    finished: bool,
    failed: Option<String>,
}

impl World {
    /// Performs an action and says what happened, if anything at once.
    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Connect { stage, nodes, stamp, new_stamp, min, max } => {
                Some(self.connect(stage, nodes, stamp, new_stamp, (min, max)))
            }
            Action::Send(seqno) => Some(self.send(seqno)),
            Action::Heartbeat => None,
            Action::Disconnect => {
                self.connected.clear();
                None
            }
            Action::Replace { nodes, failed } => {
                let free = (0..self.nodes.len())
                    .find(|node| !nodes.contains(node) && !failed.contains(node));
                let found = if self.tape.next(4) == 3 { None } else { free };
                Some(Event::Replacement(found))
            }
            Action::Transfer { source, target, length, .. } => {
                assert!(self.nodes[source].exists && self.nodes[source].length >= length);
                if self.nodes[source].dead || self.nodes[target].dead || self.tape.next(4) == 3 {
                    return Some(Event::Transferred(Err("broken".into())));
                }
                self.nodes[target] = Replica { closed: false, ..self.nodes[source] };
                Some(Event::Transferred(Ok(())))
            }
            Action::Stamp { .. } => {
                self.next_stamp += 1;
                Some(Event::Stamped(self.next_stamp))
            }
            Action::Update { stamp, new_stamp, .. } => {
                assert_eq!(stamp, self.stamp);
                self.stamp = new_stamp;
                Some(Event::Updated)
            }
            Action::Acked(seqno) => {
                let end = self.packets[seqno as usize].end;
                self.acked = self.acked.max(end);
                None
            }
            Action::Finished => {
                self.finished = true;
                None
            }
            Action::Abandon { cause, .. } | Action::Fail(cause) => {
                self.failed = Some(cause);
                None
            }
        }
    }

    fn connect(
        &mut self,
        stage: Stage,
        nodes: Vec<Node>,
        stamp: u64,
        new_stamp: u64,
        (min, max): (u64, u64),
    ) -> Event {
        assert_eq!(stamp, self.stamp);
        assert!(self.acked <= min && min <= max);
        for (index, &node) in nodes.iter().enumerate() {
            if self.tape.next(8) == 7 {
                self.nodes[node].dead = true;
            }
            if self.nodes[node].dead {
                let bad = (self.tape.next(3) != 2).then_some(index);
                return Event::SetupFailed { bad, cause: "dead".into() };
            }
            let replica = &mut self.nodes[node];
            if stage == Stage::Create {
                assert!(!replica.exists);
                replica.exists = true;
            } else {
                // Promise 2: whoever stays in the pipeline has every acked byte.
                assert!(replica.exists && min <= replica.length && replica.length <= max);
                assert!(replica.stamp < new_stamp);
            }
            replica.stamp = if stage == Stage::Create { stamp } else { new_stamp };
            replica.closed = stage == Stage::CloseRecovery;
        }
        self.connected = nodes;
        Event::SetupDone
    }

    /// The packet travels down the pipeline; a node may die before or after it has taken it.
    fn send(&mut self, seqno: i64) -> Event {
        let info = self.packets[seqno as usize];
        let start = seqno
            .checked_sub(1)
            .map_or(0, |before| if before < 0 { 0 } else { self.packets[before as usize].end });
        for (index, node) in self.connected.clone().into_iter().enumerate() {
            let fate = self.tape.next(10);
            if fate == 9 {
                self.nodes[node].dead = true;
            }
            if !self.nodes[node].dead {
                let replica = &mut self.nodes[node];
                assert!(start <= replica.length, "a packet leaves a gap in a replica");
                assert!(!replica.closed);
                replica.length = replica.length.max(info.end);
                replica.closed = info.last;
            }
            if fate == 8 {
                self.nodes[node].dead = true;
            }
            if self.nodes[node].dead {
                return if index == 0 {
                    Event::Broken("reset".into())
                } else {
                    let mut replies = vec![Status::Success; index];
                    replies.push(Status::Error);
                    Event::Ack(PipelineAck::new(seqno, replies))
                };
            }
        }
        acked(seqno, self.connected.len())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_acked_byte_is_ever_lost(
        tape in proptest::collection::vec(any::<u8>(), 0..120),
        nodes in 1usize..6,
        replication in 1usize..4,
        sizes in proptest::collection::vec(1u64..100, 0..12),
        durable: bool,
    ) {
        let width = replication.min(nodes);
        let mut packets: Vec<PacketInfo> = Vec::new();
        let mut end = 0;
        for (seqno, size) in sizes.iter().enumerate() {
            end += size;
            packets.push(packet(seqno as i64, end));
        }
        packets.push(last(packets.len() as i64, end));
        let mut world = World {
            tape: Tape { bytes: tape, at: 0 },
            nodes: vec![Replica::default(); nodes],
            connected: Vec::new(),
            next_stamp: 1001,
            stamp: 1001,
            packets: packets.clone(),
            acked: 0,
            finished: false,
            failed: None,
        };
        let (mut pipeline, first) = Pipeline::create(settings(replication), (0..width).collect(), 1001);
        if durable {
            pipeline.set_durable();
        }
        let mut actions: VecDeque<Action> = first.into();
        let mut to_send: VecDeque<PacketInfo> = packets.into();
        let mut steps = 0;
        while !world.finished && world.failed.is_none() {
            steps += 1;
            prop_assert!(steps < 10_000, "the machine does not come to an end");
            let mut out = Vec::new();
            match actions.pop_front() {
                Some(action) => {
                    // What was to be sent on a connection that is gone is not sent.
                    let stale = matches!(action, Action::Send(_)) && world.connected.is_empty();
                    if let Some(event) = (!stale).then(|| world.perform(action)).flatten() {
                        pipeline.handle(SECOND, event, &mut out);
                    }
                }
                None => match to_send.pop_front() {
                    Some(info) => pipeline.enqueue(SECOND, info, &mut out),
                    None => prop_assert!(false, "the machine stands still"),
                },
            }
            if out.contains(&Action::Disconnect) {
                actions.retain(|action| !matches!(action, Action::Send(_)));
            }
            actions.extend(out);
            prop_assert_eq!(pipeline.acked() >= world.acked, true);
            for node in &world.connected {
                // Promise 1, for whoever is in the pipeline.
                prop_assert!(world.nodes[*node].length >= world.acked);
            }
        }
        if world.finished {
            prop_assert_eq!(world.acked, end);
            prop_assert!(pipeline.is_drained());
            // Promise: a closed block is whole and closed on every node that acked the close.
            let whole = world.nodes.iter()
                .filter(|node| node.closed && node.length == end && node.stamp == world.stamp)
                .count();
            prop_assert!(whole >= 1);
        }
    }
}
