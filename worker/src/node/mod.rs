//! The node: what runs here, what has ended here, and the talk with the jobtracker about both.
//!
//! One task owns it all and handles one event at a time. Attempts live in processes that have
//! drivers of their own ([`crate::process`]); programs are brought by tasks that come back with an
//! event; so nothing in the loop waits.
//!
//! Every attempt that was launched here ends with exactly one report. Reports are kept until the
//! job is over, because the stream may break with a report in it: a new registration repeats them.

mod attempt;
mod logs;
mod orders;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hfs_daemon::metrics::{self, Counter, Gauge, Registry};
use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::proto::worker::worker_message::Message as ToTracker;
use hfs_protocol::proto::worker::{
    AttemptDone, AttemptFailed, Heartbeat, MapOutputHere, Register, WorkerMessage,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::link::LinkEvent;
use crate::localize::Programs;
use crate::process::{Happened, Limits, Order, ProcessId};
use crate::shuffle::Segments;
use attempt::{Attempt, Process, Stage};

pub use attempt::Seen;

/// Events that may wait for the loop. Whoever sends into a full queue waits.
const QUEUE: usize = 4096;
/// How long killed processes have to be gone when the worker stops.
const STOP_WAIT: Duration = Duration::from_secs(3);
/// How often the worker says that it is there, until the jobtracker says how often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Who this worker is, as it registers.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// New at every start.
    pub id: String,
    /// Matched against the hosts of splits.
    pub host: String,
    /// Its rack.
    pub rack: String,
    /// How many attempts at once.
    pub slots: u32,
    /// How many processors they may ask for together.
    pub vcores: u32,
    /// How much memory they may ask for together, MiB.
    pub memory_mb: u64,
    /// What an attempt that does not ask gets of it, MiB.
    pub task_memory_mb: u64,
    /// host:port of the shuffle server.
    pub shuffle_address: String,
    /// host:port of the web page.
    pub http_address: String,
}

/// What a node is made of.
pub struct Parts {
    /// Who it is.
    pub identity: Identity,
    /// The address tasks dial out from.
    pub local_address: Option<IpAddr>,
    /// Where things lie.
    pub dirs: Dirs,
    /// The programs on this node.
    pub programs: Arc<Programs>,
    /// The cache items of jobs on this node.
    pub cache: Arc<Cache>,
    /// What the shuffle server serves.
    pub segments: Segments,
    /// Times and limits of processes.
    pub limits: Limits,
    /// The memory of an attempt whose job does not say, bytes.
    pub task_memory: u64,
    /// Programs kept.
    pub keep_programs: usize,
    /// Jobs whose logs are kept.
    pub keep_logs: usize,
    /// What is counted.
    pub counts: Counts,
}

/// What `/metrics` says about attempts.
#[derive(Debug, Clone)]
pub struct Counts {
    running: Gauge,
    launched: Counter,
    failed: Counter,
    processes: Counter,
    reused: Counter,
}

impl Counts {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            running: metrics::gauge(registry, "attempts_running", "Attempts at work"),
            launched: metrics::counter(registry, "attempts_launched", "Attempts begun here"),
            failed: metrics::counter(registry, "attempts_failed", "Attempts that failed here"),
            processes: metrics::counter(registry, "processes_started", "Task processes started"),
            reused: metrics::counter(
                registry,
                "processes_reused",
                "Attempts that took over a running process",
            ),
        }
    }
}

/// What happens to a node.
#[derive(Debug)]
pub enum NodeEvent {
    /// The stream to the jobtracker.
    Link(LinkEvent),
    /// A program is here, or can't be had.
    Localized(String, Result<std::path::PathBuf, String>),
    /// Somebody wants to see what runs.
    Look(oneshot::Sender<Vec<Seen>>),
}

/// The owner of everything that runs here.
pub struct Node {
    parts: Parts,
    outgoing: Option<mpsc::Sender<WorkerMessage>>,
    heartbeat: Duration,
    attempts: HashMap<String, Attempt>,
    /// Reports by attempt, until the job is forgotten.
    ended: BTreeMap<String, ToTracker>,
    processes: HashMap<ProcessId, Process>,
    last_process: u64,
    own: mpsc::Sender<NodeEvent>,
    events: mpsc::Receiver<NodeEvent>,
    happenings: mpsc::Receiver<(ProcessId, Happened)>,
    drivers: mpsc::Sender<(ProcessId, Happened)>,
}

impl Node {
    /// A node and the way to send it events.
    #[must_use]
    pub fn new(parts: Parts) -> (Self, mpsc::Sender<NodeEvent>) {
        let (own, events) = mpsc::channel(QUEUE);
        let (drivers, happenings) = mpsc::channel(QUEUE);
        let sender = own.clone();
        let node = Self {
            parts,
            outgoing: None,
            heartbeat: HEARTBEAT,
            attempts: HashMap::new(),
            ended: BTreeMap::new(),
            processes: HashMap::new(),
            last_process: 0,
            own,
            events,
            happenings,
            drivers,
        };
        (node, sender)
    }

    /// Runs until `shutdown`, then ends all processes.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut beat = self.beats();
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => {
                        let before = self.heartbeat;
                        self.take(event);
                        if self.heartbeat != before {
                            beat = self.beats();
                        }
                    }
                    None => break,
                },
                Some((process, happened)) = self.happenings.recv() => {
                    self.happened(process, happened);
                }
                _ = beat.tick() => self.beat(),
                () = shutdown.triggered() => break,
            }
            self.parts.counts.running.set(self.attempts.len() as i64);
        }
        self.stop().await;
    }

    fn beats(&self) -> tokio::time::Interval {
        let mut beat = interval(self.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat
    }

    async fn stop(&mut self) {
        for process in self.processes.values() {
            let _ = process.orders.try_send(Order::Kill);
        }
        let gone = async {
            while !self.processes.is_empty() {
                match self.happenings.recv().await {
                    Some((process, Happened::Gone(_))) => {
                        self.processes.remove(&process);
                    }
                    Some(_) => {}
                    None => break,
                }
            }
        };
        // Who is left dies with this process.
        let _ = timeout(STOP_WAIT, gone).await;
        self.parts.dirs.clear_sockets();
    }

    fn take(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Link(LinkEvent::Opening(outgoing, reply)) => {
                self.outgoing = Some(outgoing);
                let _ = reply.send(self.register());
            }
            NodeEvent::Link(LinkEvent::Said(message)) => self.obey(*message),
            NodeEvent::Link(LinkEvent::Closed) => self.outgoing = None,
            NodeEvent::Localized(attempt, result) => self.localized(&attempt, result),
            NodeEvent::Look(reply) => {
                let _ = reply.send(self.look());
            }
        }
    }

    /// All that the jobtracker has to know of this worker.
    fn register(&self) -> Register {
        let identity = self.parts.identity.clone();
        let mut finished: Vec<AttemptDone> = Vec::new();
        let mut failed: Vec<AttemptFailed> = Vec::new();
        for report in self.ended.values() {
            match report {
                ToTracker::Done(done) => finished.push(done.clone()),
                ToTracker::Failed(failure) => failed.push(failure.clone()),
                _ => {}
            }
        }
        let outputs = self.parts.segments.all().into_iter();
        Register {
            worker_id: identity.id,
            host: identity.host,
            rack: identity.rack,
            slots: identity.slots,
            vcores: identity.vcores,
            memory_mb: identity.memory_mb,
            task_memory_mb: identity.task_memory_mb,
            shuffle_address: identity.shuffle_address,
            http_address: identity.http_address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running_attempts: self.attempts.keys().cloned().collect(),
            map_outputs: outputs
                .map(|(attempt_id, path)| MapOutputHere {
                    attempt_id,
                    path: path.to_string_lossy().into_owned(),
                })
                .collect(),
            finished,
            failed,
        }
    }

    fn beat(&mut self) {
        let running = self.attempts.len() as u32;
        self.send(ToTracker::Heartbeat(Heartbeat { running }));
        let waiting: Vec<String> = self.attempts.keys().cloned().collect();
        for attempt in waiting {
            self.flush(&attempt);
        }
    }

    /// Sends a message, if there is a stream. When the stream is full it is dropped: the link opens
    /// another one, and the registration says all that counts.
    fn send(&mut self, message: ToTracker) {
        let Some(outgoing) = &self.outgoing else { return };
        let message = WorkerMessage { message: Some(message) };
        if outgoing.try_send(message).is_err() {
            self.outgoing = None;
        }
    }

    /// The one end of an attempt.
    fn report(&mut self, attempt: &str, report: ToTracker) {
        self.attempts.remove(attempt);
        self.ended.insert(attempt.to_owned(), report.clone());
        self.send(report);
    }

    fn look(&self) -> Vec<Seen> {
        let mut seen: Vec<Seen> =
            self.attempts.iter().map(|(id, attempt)| attempt.seen(id)).collect();
        seen.sort();
        seen
    }

    fn stage_of(&self, attempt: &str) -> Option<Stage> {
        self.attempts.get(attempt).map(|attempt| attempt.stage)
    }
}
