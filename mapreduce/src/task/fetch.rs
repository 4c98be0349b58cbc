//! A reducer's side of the shuffle: a few threads that fetch runs from shuffle servers, many small ones at once, or
//! map them from this node's disk; each output with a budget of tries, all in a budget of memory.
//!
//! ```text
//!  outputs of maps ──► Plan ──batches──► threads ──runs──► Fetcher::next ──► reduce
//!                       ▲                   │ Budget: room for runs in memory │
//!                       └── tries, pauses ──┘◄──────── given back when merged ┘
//! ```

pub(crate) mod budget;
mod connection;
mod plan;
mod transfer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use hfs_protocol::proto::task::{FetchFailed, MapOutput};
use hfs_protocol::shuffle::RefusalReason;
use parking_lot::{Condvar, Mutex};

use self::budget::{Budget, Held};
use self::connection::{Answer, Connection, Patience};
use self::plan::{Batch, Contact, Next, Plan, Wanted};
use self::transfer::{Announced, Place, Transfer, Trouble};
use super::attempt::Environment;
use super::reduce::{Fetched, ReduceInputs};
use super::run::Run;
use super::segment::MappedSegment;
use crate::conf;
use crate::context::Context;
use crate::counters::TaskCounter;

/// Threads that fetch, unless configured.
const DEFAULT_PARALLEL_COPIES: usize = 5;
/// Bounds what a configuration can ask for.
const MAX_PARALLEL_COPIES: usize = 64;
/// Tries at one map output before it is reported.
const TRIES: u32 = 3;
/// After a report the same output is tried again this much later, if no newer one has come.
const AFTER_REPORT: Duration = Duration::from_secs(5);
/// How long a connection may take to come about, unless configured, milliseconds.
const DEFAULT_CONNECT_TIMEOUT_MS: u64 = 5_000;
/// How long a server may send (nearly) nothing, unless configured, milliseconds.
const DEFAULT_READ_TIMEOUT_MS: u64 = 30_000;
/// Bytes read from a socket at once for a run that goes to a file.
const FILE_BUFFER_BYTES: usize = 256 << 10;
/// How often a waiting reducer looks whether it should stop.
const WAIT_STEP: Duration = Duration::from_millis(100);
/// Fetched runs that wait for the reducer. Those in memory are bounded by the budget as well.
const WAITING_RUNS: usize = 128;
/// A run of this node's own that is shorter is copied: a mapping costs more, and a process may have only so many.
const LEAST_MAPPED_BYTES: usize = 64 << 10;

enum Outcome {
    Fetched(u32, Fetched),
    /// All tries have failed, or no other could help.
    Failed(Wanted, String),
    /// This node's own trouble.
    Broken(anyhow::Error),
}

/// What fetching threads and the reducer share.
struct Shared {
    plan: Mutex<Plan<Connection>>,
    changed: Condvar,
    closed: AtomicBool,
    partition: u32,
    place: Place,
    patience: Patience,
}

/// Gives a reducer its runs while maps finish.
pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    outcomes: Receiver<Outcome>,
    arrivals: Receiver<Vec<MapOutput>>,
    report: Box<dyn Fn(FetchFailed) + Send>,
    maps: u32,
    given: u32,
    attempt_id: String,
}

impl Fetcher {
    /// Starts the fetching threads. `arrivals` brings outputs of finished maps; `report` tells the
    /// worker about those that can't be had.
    pub(crate) fn start(
        env: &Environment,
        partition: u32,
        maps: u32,
        attempt_id: String,
        arrivals: Receiver<Vec<MapOutput>>,
        report: Box<dyn Fn(FetchFailed) + Send>,
    ) -> Self {
        let number =
            |name: &str, default: u64| env.conf.parsed_or(name, default).unwrap_or(default);
        let copies = number(conf::PARALLEL_COPIES, DEFAULT_PARALLEL_COPIES as u64);
        let copies = usize::try_from(copies).unwrap_or(usize::MAX).clamp(1, MAX_PARALLEL_COPIES);
        let ms = |name, default| Duration::from_millis(number(name, default).max(1));
        let patience = Patience {
            connect: ms(conf::SHUFFLE_CONNECT_TIMEOUT_MS, DEFAULT_CONNECT_TIMEOUT_MS),
            read: ms(conf::SHUFFLE_READ_TIMEOUT_MS, DEFAULT_READ_TIMEOUT_MS),
        };
        let shared = Arc::new(Shared {
            plan: Mutex::new(Plan::new(partition, copies)),
            changed: Condvar::new(),
            closed: AtomicBool::new(false),
            partition,
            place: Place::new(&env.work_dir, Budget::new(env.sort_bytes), env.packing),
            patience,
        });
        let (sender, outcomes) = sync_channel(WAITING_RUNS);
        for _ in 0..copies {
            let (shared, sender) = (Arc::clone(&shared), sender.clone());
            // Ends with the fetcher: soon after it is dropped, whatever its server does.
            std::thread::spawn(move || fetch_loop(&shared, &sender));
        }
        Self { shared, outcomes, arrivals, report, maps, given: 0, attempt_id }
    }

    fn take_arrivals(&mut self) {
        let mut arrived = false;
        while let Ok(outputs) = self.arrivals.try_recv() {
            let mut plan = self.shared.plan.lock();
            outputs.into_iter().for_each(|output| plan.arrived(output));
            arrived = true;
        }
        if arrived {
            self.shared.changed.notify_all();
        }
    }

    fn failed(&mut self, wanted: Wanted, message: String, context: &mut Context) {
        context.count(TaskCounter::FailedShuffle, 1);
        let mut plan = self.shared.plan.lock();
        if !plan.wants(&wanted.output) {
            return;
        }
        (self.report)(FetchFailed {
            attempt_id: self.attempt_id.clone(),
            map_index: wanted.output.map_index,
            map_attempt_id: wanted.output.attempt_id.clone(),
            message,
        });
        let afresh = Wanted { tries: 0, transfer: Transfer::default(), ..wanted };
        plan.later(Instant::now() + AFTER_REPORT, afresh);
        drop(plan);
        self.shared.changed.notify_all();
    }
}

impl ReduceInputs for Fetcher {
    fn maps(&self) -> u32 {
        self.maps
    }

    fn next(&mut self, context: &mut Context) -> Result<Option<Fetched>> {
        while self.given < self.maps {
            self.take_arrivals();
            match self.outcomes.recv_timeout(WAIT_STEP) {
                Ok(Outcome::Fetched(map, fetched)) => {
                    if self.shared.plan.lock().had(map) {
                        self.given += 1;
                        return Ok(Some(fetched));
                    }
                }
                Ok(Outcome::Failed(wanted, message)) => self.failed(wanted, message, context),
                Ok(Outcome::Broken(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {
                    // Waiting for maps is no sign of trouble.
                    let fraction = f64::from(self.given) / f64::from(self.maps) / 3.0;
                    context.step(fraction)?;
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the fetching threads have ended"),
            }
        }
        Ok(None)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.place.budget.close();
        // The lock keeps a thread that is about to wait from missing this.
        drop(self.shared.plan.lock());
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// The next batch; None: the reduce has ended.
    fn batch(&self) -> Option<Batch<Connection>> {
        let mut plan = self.plan.lock();
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return None;
            }
            match plan.next(Instant::now()) {
                Next::Batch(batch) => return Some(batch),
                Next::At(moment) => {
                    self.changed.wait_until(&mut plan, moment);
                }
                Next::Nothing => self.changed.wait(&mut plan),
            }
        }
    }
}

/// A thread's work. Ends when nobody hears it any more.
fn fetch_loop(shared: &Shared, outcomes: &SyncSender<Outcome>) {
    while let Some(batch) = shared.batch() {
        let heard = if batch.address.is_empty() {
            read_own(batch, shared, outcomes)
        } else {
            Ask::new(shared, outcomes).run(batch)
        };
        shared.changed.notify_all();
        if !heard {
            return;
        }
    }
}

/// Takes runs from this node's own segments. False: nobody hears.
fn read_own(batch: Batch<Connection>, shared: &Shared, outcomes: &SyncSender<Outcome>) -> bool {
    let mut heard = true;
    for mut wanted in batch.outputs {
        let outcome = match own_run(&wanted.output.local_path, shared) {
            Ok(fetched) => Outcome::Fetched(wanted.output.map_index, fetched),
            Err(Trouble::Closed) => return false,
            Err(Trouble::Own(error)) => Outcome::Broken(error),
            Err(Trouble::Server(error)) if wanted.output.shuffle_address.is_empty() => {
                Outcome::Failed(wanted, format!("{error:#}"))
            }
            Err(Trouble::Server(error)) => {
                tracing::warn!("{error:#}; asking the shuffle server instead");
                wanted.output.local_path = String::new();
                shared.plan.lock().again(wanted);
                continue;
            }
        };
        heard &= outcomes.send(outcome).is_ok();
    }
    let _none = shared.plan.lock().over("", None, Contact::Good, None, Instant::now());
    heard
}

fn own_run(path: &str, shared: &Shared) -> Result<Fetched, Trouble> {
    let opened = MappedSegment::open(Path::new(path));
    let taken = opened.and_then(|segment| segment.run(shared.partition));
    let (taken, records) = taken.map_err(Trouble::Server)?;
    let taken_bytes = taken.len() as u64;
    let mut run = shared.place.unpacked(taken)?;
    let length = run.len();
    let budget = &shared.place.budget;
    if let Run::Mapped(map, range) = &run
        && !shared.place.packed()
        && length < LEAST_MAPPED_BYTES
        && budget.allows(length as u64)
    {
        let room = budget.take(length as u64).ok_or(Trouble::Closed)?;
        run = Run::Memory(Arc::new(Held::new(map[range.clone()].to_vec(), room)));
    }
    Ok(Fetched { run, taken_bytes, records, remote: false, last: true })
}

/// The talk with a server about one batch.
struct Ask<'s> {
    shared: &'s Shared,
    outcomes: &'s SyncSender<Outcome>,
    /// Runs that came, and their bytes.
    runs: (u64, u64),
    /// The server has said something that made sense.
    answered: bool,
    busy: bool,
}

impl<'s> Ask<'s> {
    fn new(shared: &'s Shared, outcomes: &'s SyncSender<Outcome>) -> Self {
        Self { shared, outcomes, runs: (0, 0), answered: false, busy: false }
    }

    /// Fetches a batch. False: nobody hears.
    fn run(mut self, mut batch: Batch<Connection>) -> bool {
        let used_before = batch.connection.is_some();
        let mut ended = self.talk(&mut batch);
        if used_before && !self.answered && matches!(ended, Err(Trouble::Server(_))) {
            // A server may close a connection that was idle; that is no failure.
            batch.connection = None;
            ended = self.talk(&mut batch);
        }
        let mut contact = if self.busy { Contact::Uneasy } else { Contact::Good };
        let mut heard = true;
        let mut why = String::new();
        match ended {
            Ok(()) => {}
            Err(Trouble::Closed) => heard = false,
            Err(Trouble::Own(error)) => heard = self.outcomes.send(Outcome::Broken(error)).is_ok(),
            Err(Trouble::Server(error)) => {
                batch.connection = None;
                if !self.answered {
                    contact = Contact::Lost;
                    why = format!("{error:#}");
                } else if let Some(wanted) = batch.outputs.pop_front() {
                    // The others of the batch are not to blame.
                    contact = Contact::Uneasy;
                    heard = self.failed_try(wanted, &error, TRIES);
                }
            }
        }
        let bytes = self.runs.1.checked_div(self.runs.0);
        let mut plan = self.shared.plan.lock();
        batch.outputs.into_iter().for_each(|wanted| plan.again(wanted));
        let given_up = plan.over(&batch.address, batch.connection, contact, bytes, Instant::now());
        drop(plan);
        for wanted in given_up {
            heard &= self.give_up(wanted, &why);
        }
        heard
    }

    /// Asks for all of the batch and takes what comes. Outputs that came, or that the server has refused, leave the
    /// batch; at a trouble the first that is left is the one that had it.
    fn talk(&mut self, batch: &mut Batch<Connection>) -> Result<(), Trouble> {
        let connection = match &mut batch.connection {
            Some(connection) => connection,
            none => none.insert(
                Connection::open(&batch.address, self.shared.patience).map_err(Trouble::Server)?,
            ),
        };
        connection.ask(self.shared.partition, batch.outputs.iter())?;
        let mut buffer = Vec::new();
        while let Some(wanted) = batch.outputs.front_mut() {
            let answer = connection.answer(&self.shared.closed)?;
            self.answered = true;
            let taken = match answer {
                Answer::Found(announced) => {
                    take(connection, announced, &mut wanted.transfer, &mut buffer, self.shared)
                        .map(Ok)?
                }
                Answer::Refused(reason, message) => Err((reason, anyhow!(message))),
            };
            let Some(wanted) = batch.outputs.pop_front() else { break };
            let heard = match taken {
                Ok(fetched) => {
                    self.runs = (self.runs.0 + 1, self.runs.1 + fetched.taken_bytes);
                    self.outcomes.send(Outcome::Fetched(wanted.output.map_index, fetched)).is_ok()
                }
                Err((RefusalReason::Busy, error)) => {
                    self.busy = true;
                    self.failed_try(wanted, &error, TRIES)
                }
                // Whoever asks again hears the same.
                Err((_, error)) => self.failed_try(wanted, &error, 1),
            };
            if !heard {
                return Err(Trouble::Closed);
            }
            // The time that the reducer took does not count against the server.
            connection.resume();
        }
        Ok(())
    }

    /// A try at an output failed. False: nobody hears.
    fn failed_try(&self, mut wanted: Wanted, error: &anyhow::Error, tries: u32) -> bool {
        wanted.tries += 1;
        if wanted.tries >= tries {
            return self.give_up(wanted, &format!("{error:#}"));
        }
        self.shared.plan.lock().again(wanted);
        true
    }

    fn give_up(&self, wanted: Wanted, why: &str) -> bool {
        let MapOutput { attempt_id, shuffle_address, .. } = &wanted.output;
        let tries = match wanted.tries {
            1 => String::new(),
            _ => format!(" in {TRIES} tries"),
        };
        let message = format!(
            "the output of {attempt_id} could not be fetched from {shuffle_address}{tries}: {why}"
        );
        self.outcomes.send(Outcome::Failed(wanted, message)).is_ok()
    }
}

/// Takes the bytes of a run that was announced.
fn take(
    connection: &mut Connection,
    announced: Announced,
    transfer: &mut Transfer,
    buffer: &mut Vec<u8>,
    shared: &Shared,
) -> Result<Fetched, Trouble> {
    transfer.begin(announced, &shared.place)?;
    if !shared.place.budget.allows(announced.length) {
        buffer.resize(FILE_BUFFER_BYTES, 0);
    }
    // Room may have been waited for.
    connection.resume();
    transfer.receive(buffer, |room| connection.read(room, &shared.closed))?;
    let (taken, records) = transfer.finish()?;
    let taken_bytes = taken.len() as u64;
    let run = shared.place.unpacked(taken)?;
    Ok(Fetched { run, taken_bytes, records, remote: true, last: true })
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
