//! A reducer's side of the shuffle: a few threads that fetch runs from shuffle servers or map them
//! from this node's disk, each with a budget of tries.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use hfs_protocol::proto::task::{FetchFailed, MapOutput};
use hfs_protocol::shuffle::{FetchAnswer, FetchRequest, MAX_MESSAGE_BYTES};
use parking_lot::{Condvar, Mutex};

use super::attempt::Environment;
use super::reduce::{Fetched, ReduceInputs};
use super::run::{Run, map_file};
use super::segment::MappedSegment;
use crate::conf;
use crate::context::Context;
use crate::counters::TaskCounter;

/// Threads that fetch, unless configured.
const DEFAULT_PARALLEL_COPIES: usize = 5;
/// Bounds what a configuration can ask for.
const MAX_PARALLEL_COPIES: usize = 64;
/// Tries at one map output before its worker's loss is reported.
const TRIES: u32 = 3;
/// Wait before the second try; doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// After a report the same output is tried again this much later, if no newer one has come.
const AFTER_REPORT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that sends nothing for so long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read from a socket at once.
const READ_BYTES: usize = 256 << 10;
/// How often a waiting reducer looks whether it should stop.
const WAIT_STEP: Duration = Duration::from_millis(100);
/// A run above this share of the sort memory goes to disk at once.
const LARGEST_MEMORY_SHARE: u64 = 4;

/// What fetchers and the reducer share.
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    ready: VecDeque<MapOutput>,
    later: Vec<(Instant, MapOutput)>,
    closed: bool,
}

enum Outcome {
    Fetched(u32, Fetched),
    Failed(MapOutput, String),
}

/// What one fetcher needs.
#[derive(Clone)]
struct Order {
    partition: u32,
    work_dir: PathBuf,
    memory_bytes: u64,
}

/// Gives a reducer its runs while maps finish.
pub(crate) struct Fetcher {
    queue: Arc<Queue>,
    outcomes: Receiver<Outcome>,
    arrivals: Receiver<Vec<MapOutput>>,
    report: Box<dyn Fn(FetchFailed) + Send>,
    threads: Vec<JoinHandle<()>>,
    /// The newest known output of each map that is not fetched yet; `None` once it is.
    wanted: HashMap<u32, Option<String>>,
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
        let copies = env.conf.parsed_or(conf::PARALLEL_COPIES, DEFAULT_PARALLEL_COPIES);
        let copies = copies.unwrap_or(DEFAULT_PARALLEL_COPIES).clamp(1, MAX_PARALLEL_COPIES);
        let queue =
            Arc::new(Queue { state: Mutex::new(QueueState::default()), changed: Condvar::new() });
        let order = Order {
            partition,
            work_dir: env.work_dir.clone(),
            memory_bytes: env.sort_bytes / LARGEST_MEMORY_SHARE,
        };
        let (sender, outcomes) = channel();
        let threads = (0..copies.min(maps.max(1) as usize))
            .map(|_| {
                let (queue, sender, order) = (Arc::clone(&queue), sender.clone(), order.clone());
                std::thread::spawn(move || fetch_loop(&queue, &sender, &order))
            })
            .collect();
        Self {
            queue,
            outcomes,
            arrivals,
            report,
            threads,
            wanted: HashMap::new(),
            maps,
            given: 0,
            attempt_id,
        }
    }

    fn take_arrivals(&mut self) {
        let mut new = Vec::new();
        while let Ok(outputs) = self.arrivals.try_recv() {
            for output in outputs {
                match self.wanted.get(&output.map_index) {
                    Some(None) => {}
                    Some(Some(known)) if *known == output.attempt_id => {}
                    _ => {
                        self.wanted.insert(output.map_index, Some(output.attempt_id.clone()));
                        new.push(output);
                    }
                }
            }
        }
        if !new.is_empty() {
            self.queue.state.lock().ready.extend(new);
            self.queue.changed.notify_all();
        }
    }

    fn failed(&mut self, output: MapOutput, message: String, context: &mut Context) {
        context.count(TaskCounter::FailedShuffle, 1);
        let newest = self.wanted.get(&output.map_index);
        if newest != Some(&Some(output.attempt_id.clone())) {
            return;
        }
        (self.report)(FetchFailed {
            attempt_id: self.attempt_id.clone(),
            map_index: output.map_index,
            map_attempt_id: output.attempt_id.clone(),
            message,
        });
        self.queue.state.lock().later.push((Instant::now() + AFTER_REPORT, output));
    }

    /// Outputs whose pause is over are tried again, unless a newer one has come.
    fn requeue(&mut self) {
        let now = Instant::now();
        let mut state = self.queue.state.lock();
        let (due, later) = std::mem::take(&mut state.later).into_iter().partition(|l| l.0 <= now);
        state.later = later;
        let due: Vec<(Instant, MapOutput)> = due;
        let wanted = &self.wanted;
        state.ready.extend(due.into_iter().map(|(_, output)| output).filter(|output| {
            wanted.get(&output.map_index) == Some(&Some(output.attempt_id.clone()))
        }));
        drop(state);
        self.queue.changed.notify_all();
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
                    // Two attempts of one map give the same records: the first one counts.
                    if self.wanted.insert(map, None) != Some(None) {
                        self.given += 1;
                        return Ok(Some(fetched));
                    }
                }
                Ok(Outcome::Failed(output, message)) => self.failed(output, message, context),
                Err(RecvTimeoutError::Timeout) => {
                    self.requeue();
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
        self.queue.state.lock().closed = true;
        self.queue.changed.notify_all();
        // Threads end after at most one read time-out; nobody waits for them.
        self.threads.clear();
    }
}

fn fetch_loop(queue: &Queue, outcomes: &Sender<Outcome>, order: &Order) {
    let mut connections = HashMap::new();
    loop {
        let output = {
            let mut state = queue.state.lock();
            loop {
                if state.closed {
                    return;
                }
                if let Some(output) = state.ready.pop_front() {
                    break output;
                }
                queue.changed.wait(&mut state);
            }
        };
        let outcome = match fetch(&output, order, &mut connections) {
            Ok(fetched) => Outcome::Fetched(output.map_index, fetched),
            Err(error) => Outcome::Failed(output, format!("{error:#}")),
        };
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}

fn fetch(
    output: &MapOutput,
    order: &Order,
    connections: &mut HashMap<String, TcpStream>,
) -> Result<Fetched> {
    if !output.local_path.is_empty() {
        let local = MappedSegment::open(Path::new(&output.local_path))
            .and_then(|segment| segment.run(order.partition));
        match local {
            Ok((run, records)) => return Ok(Fetched { run, records, remote: false }),
            Err(error) if output.shuffle_address.is_empty() => return Err(error),
            Err(error) => tracing::warn!("{error:#}; asking the shuffle server instead"),
        }
    }
    let mut transfer = Transfer::default();
    let mut backoff = FIRST_BACKOFF;
    let mut tries = 1;
    loop {
        let error = match transfer.run(output, order, connections) {
            Ok(fetched) => return Ok(fetched),
            Err(error) => error,
        };
        connections.remove(&output.shuffle_address);
        if tries == TRIES {
            return Err(error.context(format!(
                "the output of {} could not be fetched from {} in {TRIES} tries",
                output.attempt_id, output.shuffle_address
            )));
        }
        tries += 1;
        std::thread::sleep(backoff);
        backoff *= 2;
    }
}

/// A run on its way; what has come survives a broken connection.
#[derive(Default)]
struct Transfer {
    /// Length, records and checksum of the run, as the first answer says.
    announced: Option<(u64, u64, u32)>,
    hasher: crc32fast::Hasher,
    received: u64,
    memory: Vec<u8>,
    file: Option<(File, PathBuf)>,
}

impl Transfer {
    fn run(
        &mut self,
        output: &MapOutput,
        order: &Order,
        connections: &mut HashMap<String, TcpStream>,
    ) -> Result<Fetched> {
        let address = &output.shuffle_address;
        if !connections.contains_key(address) {
            connections.insert(address.clone(), connect(address)?);
        }
        let stream = connections.get_mut(address).context("invariant: it was just inserted")?;
        let mut request = Vec::new();
        FetchRequest {
            attempt_id: output.attempt_id.clone(),
            partition: order.partition,
            offset: self.received,
        }
        .encode(&mut request);
        stream.write_all(&request)?;
        let (answer, mut rest) = read_answer(stream)?;
        let announced = match answer {
            FetchAnswer::Found { length, records, crc32 } => (length, records, crc32),
            FetchAnswer::Refused { message, .. } => bail!("{message}"),
        };
        if *self.announced.get_or_insert(announced) != announced {
            *self = Self::default();
            bail!("the map output changed while it was fetched");
        }
        let (length, records, crc32) = announced;
        if self.received == 0 && length > order.memory_bytes {
            let path = order.work_dir.join(format!("fetch-{}", output.map_index));
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            self.file = Some((options.open(&path)?, path));
        }
        self.take(&std::mem::take(&mut rest), length)?;
        let mut buffer = vec![0; READ_BYTES];
        while self.received < length {
            let most = (length - self.received).min(READ_BYTES as u64) as usize;
            let got = match stream.read(&mut buffer[..most]) {
                Ok(0) => bail!("the connection closed after {} of {length} bytes", self.received),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.take(&buffer[..got], length)?;
        }
        let done = std::mem::take(self);
        if done.hasher.finalize() != crc32 {
            bail!("the bytes of {} do not match their checksum", output.attempt_id);
        }
        let run = match done.file {
            None => Run::Memory(Arc::new(done.memory)),
            Some((file, path)) => {
                let map = map_file(&file)?;
                std::fs::remove_file(path)?;
                Run::Mapped(map, 0..usize::try_from(length)?)
            }
        };
        Ok(Fetched { run, records, remote: true })
    }

    fn take(&mut self, bytes: &[u8], length: u64) -> Result<()> {
        if self.received + bytes.len() as u64 > length {
            bail!("the server sent more bytes than it announced");
        }
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        match &mut self.file {
            Some((file, _)) => file.write_all(bytes)?,
            None => self.memory.extend_from_slice(bytes),
        }
        Ok(())
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let mut last = anyhow!("{address} is no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(READ_TIMEOUT))?;
                stream.set_write_timeout(Some(READ_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// The next answer, and bytes of the run that came with it.
fn read_answer(stream: &mut TcpStream) -> Result<(FetchAnswer, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 2 * MAX_MESSAGE_BYTES];
    loop {
        if let Some((answer, used)) = FetchAnswer::decode(&bytes)? {
            return Ok((answer, bytes.split_off(used)));
        }
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            bail!("the shuffle server closed the connection");
        }
        bytes.extend_from_slice(&buffer[..got]);
    }
}
