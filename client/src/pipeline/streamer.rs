//! The task that writes one file: takes packets in order, gets blocks for them, drives each
//! block's [`Pipeline`] and closes the file.
//!
//! One owner, one loop: it waits for the next of (a command, the socket, a call that is under
//! way, a deadline), turns it into an event, and performs the actions that come back. At most one
//! call or setup is under way at a time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hfs_protocol::proto::hadoop::hdfs as proto;
use hfs_protocol::transfer::checksum::DataChecksum;
use hfs_protocol::transfer::packet::HEARTBEAT_SEQNO;
use hfs_protocol::transfer::packet_buffer::PacketBuffer;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::Inner;
use crate::lease::LeaseGuard;
use crate::pipeline::connection::{Body, Connection, Item};
use crate::pipeline::state::{Action, Event, PacketInfo, Pipeline, Settings};
use crate::pipeline::wire::{self, Place};
use crate::writer::Verdict;

/// How long a datanode that failed is not asked for again (HDFS
/// `dfs.client.write.exclude.nodes.cache.expiry.interval.millis`).
const EXCLUDED_EXPIRY: Duration = Duration::from_secs(600);

/// What a file needs said about it in every call.
pub(crate) struct FileBeingWritten {
    pub(crate) path: String,
    pub(crate) file_id: u64,
    pub(crate) replication: usize,
    pub(crate) block_size: u64,
    pub(crate) no_local_write: bool,
    pub(crate) checksum: DataChecksum,
}

/// Where writing begins.
pub(crate) enum Start {
    /// With a new block.
    Empty,
    /// In the last block, which is not full.
    Append(Box<proto::LocatedBlockProto>),
}

/// What the writer asks of its streamer.
pub(crate) enum Command {
    /// Send a packet of data.
    Packet { info: PacketInfo, buffer: PacketBuffer },
    /// Send a packet without data: the last of its block, or a request to sync.
    Empty { info: PacketInfo, bytes: Vec<u8> },
    /// Say when everything so far is acked.
    Flush { done: oneshot::Sender<()> },
    /// Close the file; its last block has ended.
    Close { done: oneshot::Sender<()> },
}

/// What ended well or badly of the one thing that was under way.
enum Outcome {
    Event(Event),
    /// A pipeline is up.
    Connected(TcpStream),
    /// A new node for the pipeline.
    Place(Option<Box<Place>>),
    /// A new stamp and the token that goes with it.
    Stamp(u64, proto::TokenProto),
    /// The namenode gave a block.
    Block(Box<proto::LocatedBlockProto>),
    /// A flush's record is durable on the namenode.
    Flushed,
    /// The file is closed.
    Completed,
}

type Work = Pin<Box<dyn Future<Output = Result<Outcome>> + Send>>;

/// The block that is being written.
struct Current {
    block: proto::ExtendedBlockProto,
    token: proto::TokenProto,
    /// Every datanode this block has seen; the pipeline's nodes are indexes into it.
    places: Vec<Place>,
    pipeline: Pipeline,
    /// Whether the namenode's record of it has been made durable by a flush.
    recorded: bool,
}

pub(crate) struct Streamer {
    fs: Arc<Inner>,
    file: Arc<FileBeingWritten>,
    commands: mpsc::Receiver<Command>,
    free: mpsc::Sender<PacketBuffer>,
    verdict: Verdict,
    _lease: LeaseGuard,
    started: Instant,
    /// The last block of the file to append to, until the first packet comes.
    append: Option<Box<proto::LocatedBlockProto>>,
    current: Option<Current>,
    /// The last block that was finished.
    previous: Option<proto::ExtendedBlockProto>,
    /// Packets of the current block that are not acked yet, in order.
    window: VecDeque<Item>,
    connection: Option<Connection>,
    work: Option<Work>,
    /// Datanodes that failed in this file, and when.
    excluded: Vec<(Instant, proto::DatanodeInfoProto)>,
    blocks_abandoned: u32,
    flush: Option<oneshot::Sender<()>>,
    close: Option<oneshot::Sender<()>>,
    closed: bool,
}

impl Streamer {
    pub(crate) fn new(
        fs: Arc<Inner>,
        file: FileBeingWritten,
        start: Start,
        commands: mpsc::Receiver<Command>,
        free: mpsc::Sender<PacketBuffer>,
        verdict: Verdict,
    ) -> Self {
        let append = match start {
            Start::Empty => None,
            Start::Append(block) => Some(block),
        };
        Self {
            _lease: fs.leases.hold(&fs),
            fs,
            file: Arc::new(file),
            commands,
            free,
            verdict,
            started: Instant::now(),
            previous: append.as_ref().map(|block| block.b.clone()),
            append,
            current: None,
            window: VecDeque::new(),
            connection: None,
            work: None,
            excluded: Vec::new(),
            blocks_abandoned: 0,
            flush: None,
            close: None,
            closed: false,
        }
    }

    /// Runs until the file is closed, its writer is dropped, or writing fails for good.
    pub(crate) async fn run(mut self) {
        while !self.closed {
            match self.step().await {
                Ok(true) => {}
                // The writer was dropped: the file stays open until its lease is taken away.
                Ok(false) => return,
                Err(error) => {
                    let error = error.on(&self.file.path);
                    tracing::warn!(path = %self.file.path, %error, "writing a file has failed");
                    *self.verdict.lock() = Some(error);
                    return;
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for the next thing and deals with it. False when the writer is gone.
    async fn step(&mut self) -> Result<bool> {
        // While a block is being closed, a flush awaited or a call is to be made for a new block,
        // commands wait in their queue.
        let closing = self.window.back().is_some_and(|item| item.info.last);
        let takes_commands =
            !closing && self.flush.is_none() && self.close.is_none() && !self.needs_block();
        let pipeline = self.current.as_ref().map(|current| &current.pipeline);
        let deadline = pipeline.and_then(Pipeline::deadline).map(|at| self.started + at);
        let tick = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let work = async {
            match &mut self.work {
                Some(work) => work.await,
                None => std::future::pending().await,
            }
        };
        // Before the namenode knows a rebuilt pipeline nothing is due on its connection; if it
        // breaks meanwhile, that is found as soon as packets flow.
        let streaming = pipeline.is_some_and(Pipeline::is_streaming);
        let socket = async {
            match &mut self.connection {
                Some(connection) if streaming => connection.progress(&self.window).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = work => {
                self.work = None;
                self.outcome(outcome?)?;
            }
            progress = socket => {
                let event = match progress {
                    Ok(ack) => Event::Ack(ack),
                    Err(error) => Event::Broken(error.to_string()),
                };
                self.event(event)?;
            }
            command = self.commands.recv(), if takes_commands => match command {
                Some(command) => self.command(command)?,
                None => return Ok(false),
            },
            () = tick => self.event(Event::Tick)?,
        }
        self.settle();
        Ok(true)
    }

    /// Whether packets wait for a block that has yet to be asked for.
    fn needs_block(&self) -> bool {
        self.current.is_none() && !self.window.is_empty()
    }

    fn command(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Packet { info, buffer } => {
                self.packet(Item { info, body: Body::Data(buffer) })
            }
            Command::Empty { info, bytes } => self.packet(Item { info, body: Body::Empty(bytes) }),
            Command::Flush { done } => {
                self.flush = Some(done);
                Ok(())
            }
            Command::Close { done } => {
                self.close = Some(done);
                Ok(())
            }
        }
    }

    fn packet(&mut self, item: Item) -> Result<()> {
        let info = item.info;
        self.window.push_back(item);
        if let Some(current) = &mut self.current {
            let mut actions = Vec::new();
            current.pipeline.enqueue(self.started.elapsed(), info, &mut actions);
            return self.perform(actions);
        }
        match self.append.take() {
            Some(located) => {
                self.previous = None;
                self.begin(&located, true)
            }
            None => {
                self.ask_block();
                Ok(())
            }
        }
    }

    fn ask_block(&mut self) {
        let (fs, file) = (self.fs.clone(), self.file.clone());
        let (previous, excluded) = (self.previous.clone(), self.excluded());
        self.work = Some(Box::pin(async move {
            let block = wire::add_block(fs, file, previous, excluded).await?;
            Ok(Outcome::Block(Box::new(block)))
        }));
    }

    /// Starts the pipeline of a block, with all packets that wait for it.
    fn begin(&mut self, located: &proto::LocatedBlockProto, append: bool) -> Result<()> {
        let places = Place::all(located);
        let nodes: Vec<usize> = (0..places.len()).collect();
        if nodes.is_empty() {
            return Err(Error::new(
                ErrorKind::NoReplica,
                "no datanode that is alive has the file's last block",
            ));
        }
        let config = &self.fs.config;
        let settings = Settings {
            replication: self.file.replication,
            policy: config.replace_policy,
            best_effort: config.replace_best_effort,
            ack_timeout: wire::patience(&self.fs, nodes.len()),
            heartbeat_interval: config.socket_timeout / 2,
        };
        let stamp = located.b.generation_stamp;
        let (mut pipeline, mut actions) = if append {
            Pipeline::append(settings, nodes, stamp, located.b.num_bytes())
        } else {
            Pipeline::create(settings, nodes, stamp)
        };
        let now = self.now();
        for item in &self.window {
            pipeline.enqueue(now, item.info, &mut actions);
        }
        self.current = Some(Current {
            block: located.b.clone(),
            token: located.block_token.clone(),
            places,
            pipeline,
            recorded: false,
        });
        self.perform(actions)
    }

    fn outcome(&mut self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Event(event) => self.event(event),
            Outcome::Connected(stream) => {
                self.connection = Some(Connection::new(stream));
                self.event(Event::SetupDone)
            }
            Outcome::Place(place) => {
                let node = match (&mut self.current, place) {
                    (Some(current), Some(place)) => {
                        current.places.push(*place);
                        Some(current.places.len() - 1)
                    }
                    _ => None,
                };
                self.event(Event::Replacement(node))
            }
            Outcome::Stamp(stamp, token) => {
                if let Some(current) = &mut self.current {
                    current.token = token;
                }
                self.event(Event::Stamped(stamp))
            }
            Outcome::Block(located) => self.begin(&located, false),
            Outcome::Flushed => {
                if let Some(done) = self.flush.take() {
                    // A writer that has stopped waiting misses nothing.
                    let _ = done.send(());
                }
                Ok(())
            }
            Outcome::Completed => {
                self.closed = true;
                if let Some(done) = self.close.take() {
                    let _ = done.send(());
                }
                Ok(())
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<()> {
        let now = self.now();
        let Some(current) = &mut self.current else { return Ok(()) };
        let event = match event {
            // A packet can't be acked before it was sent whole.
            Event::Ack(ack)
                if self.connection.as_ref().is_some_and(|c| c.is_due(ack.seqno))
                    && ack.seqno != HEARTBEAT_SEQNO
                    && ack.is_success() =>
            {
                Event::Broken(format!("packet {} was acked before it was sent", ack.seqno))
            }
            event => event,
        };
        let mut actions = Vec::new();
        current.pipeline.handle(now, event, &mut actions);
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<()> {
        for action in actions {
            let Some(current) = &mut self.current else { return Ok(()) };
            match action {
                Action::Send(seqno) => {
                    if let Some(connection) = &mut self.connection {
                        connection.send(seqno);
                    }
                }
                Action::Heartbeat => {
                    if let Some(connection) = &mut self.connection {
                        connection.send(HEARTBEAT_SEQNO);
                    }
                }
                Action::Acked(_) => {
                    if let Some(Item { body: Body::Data(buffer), .. }) = self.window.pop_front() {
                        // The channel has room for every packet there is.
                        let _ = self.free.try_send(buffer);
                    }
                }
                Action::Disconnect => self.connection = None,
                Action::Finished => self.finish_block(),
                Action::Abandon { bad, cause } => self.abandon(bad, &cause)?,
                Action::Fail(cause) => {
                    let block = current.block.block_id;
                    return Err(Error::new(
                        ErrorKind::NoReplica,
                        format!("block {block} can't be written any more: {cause}"),
                    ));
                }
                Action::Connect { .. }
                | Action::Replace { .. }
                | Action::Transfer { .. }
                | Action::Stamp { .. }
                | Action::Update { .. } => self.work = Some(self.start(action)),
            }
        }
        Ok(())
    }

    /// The exchange an action asks for, as work to be awaited.
    fn start(&self, action: Action) -> Work {
        let (fs, file) = (self.fs.clone(), self.file.clone());
        let Some(current) = &self.current else {
            return Box::pin(async { Err(Error::new(ErrorKind::Io, "no block is being written")) });
        };
        let block = |stamp: u64, length: u64| proto::ExtendedBlockProto {
            generation_stamp: stamp,
            num_bytes: Some(length),
            ..current.block.clone()
        };
        let places = |nodes: &[usize]| -> Vec<Place> {
            nodes.iter().filter_map(|node| current.places.get(*node).cloned()).collect()
        };
        let token = current.token.clone();
        match action {
            Action::Connect { stage, nodes, stamp, new_stamp, min, max } => {
                let (places, block) = (places(&nodes), block(stamp, max));
                let setup = wire::Setup { places, block, token, stage, new_stamp, min, max };
                Box::pin(async move {
                    Ok(match wire::set_up(fs, file, setup).await {
                        Ok(stream) => Outcome::Connected(stream),
                        Err((bad, cause)) => Outcome::Event(Event::SetupFailed { bad, cause }),
                    })
                })
            }
            Action::Replace { nodes, failed } => {
                let mut excluded = self.excluded();
                excluded.extend(places(&failed).into_iter().map(|place| place.info));
                let block = block(current.pipeline.stamp(), current.pipeline.acked());
                let existing = places(&nodes);
                Box::pin(async move {
                    let place = wire::additional_datanode(fs, file, block, existing, excluded);
                    Ok(Outcome::Place(place.await.map(Box::new)))
                })
            }
            Action::Transfer { source, target, stamp, length } => {
                let (block, both) = (block(stamp, length), places(&[source, target]));
                Box::pin(async move {
                    let [source, target] = <[Place; 2]>::try_from(both)
                        .map_err(|_| Error::new(ErrorKind::Io, "a transfer needs two datanodes"))?;
                    let copied = wire::transfer(fs, source, target, block, token).await;
                    Ok(Outcome::Event(Event::Transferred(copied)))
                })
            }
            Action::Stamp { stamp, length } => {
                let block = block(stamp, length);
                Box::pin(async move {
                    let (stamp, token) = wire::new_stamp(fs, block).await?;
                    Ok(Outcome::Stamp(stamp, token))
                })
            }
            Action::Update { stamp, new_stamp, length, nodes } => {
                let (old, new) = (block(stamp, length), block(new_stamp, length));
                let places = places(&nodes);
                Box::pin(async move {
                    wire::update_pipeline(fs, old, new, places).await?;
                    Ok(Outcome::Event(Event::Updated))
                })
            }
            // The caller passes no other action.
            _ => Box::pin(async { Ok(Outcome::Event(Event::Tick)) }),
        }
    }

    /// The datanodes that failed lately. Later blocks may try the others again.
    fn excluded(&self) -> Vec<proto::DatanodeInfoProto> {
        let lately = self.excluded.iter().filter(|(since, _)| since.elapsed() < EXCLUDED_EXPIRY);
        lately.map(|(_, node)| node.clone()).collect()
    }

    fn finish_block(&mut self) {
        self.connection = None;
        if let Some(current) = self.current.take() {
            let failed = current.pipeline.failed().iter().filter_map(|node| {
                let place = current.places.get(*node)?;
                Some((Instant::now(), place.info.clone()))
            });
            self.excluded.extend(failed);
            let mut block = current.block;
            block.generation_stamp = current.pipeline.stamp();
            block.num_bytes = Some(current.pipeline.acked());
            self.previous = Some(block);
            self.blocks_abandoned = 0;
        }
    }

    /// Gives back a block whose pipeline could not be set up and asks for another one.
    fn abandon(&mut self, bad: usize, cause: &str) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        if let Some(place) = current.places.get(bad) {
            self.excluded.push((Instant::now(), place.info.clone()));
        }
        self.blocks_abandoned += 1;
        let give_up = self.blocks_abandoned > self.fs.config.block_write_retries;
        tracing::info!(path = %self.file.path, cause, "a block's pipeline could not be set up");
        let failed = Error::new(
            ErrorKind::NoReplica,
            format!("no pipeline of datanodes could be set up; last: {cause}"),
        );
        let (fs, file) = (self.fs.clone(), self.file.clone());
        let (previous, excluded) = (self.previous.clone(), self.excluded());
        self.work = Some(Box::pin(async move {
            wire::abandon_block(&fs, &file, current.block).await?;
            if give_up {
                return Err(failed);
            }
            let block = wire::add_block(fs, file, previous, excluded).await?;
            Ok(Outcome::Block(Box::new(block)))
        }));
        Ok(())
    }

    /// Answers a flush or a close whose turn has come.
    fn settle(&mut self) {
        if self.work.is_some() || !self.window.is_empty() {
            return;
        }
        if let Some(current) = &mut self.current {
            if !current.pipeline.is_drained() || self.flush.is_none() {
                return;
            }
            current.pipeline.set_durable();
            if !current.recorded {
                current.recorded = true;
                let (fs, file) = (self.fs.clone(), self.file.clone());
                self.work = Some(Box::pin(async move {
                    wire::fsync(fs, file).await?;
                    Ok(Outcome::Flushed)
                }));
                return;
            }
        }
        if let Some(done) = self.flush.take() {
            // A writer that has stopped waiting misses nothing.
            let _ = done.send(());
        }
        if self.close.is_some() {
            let (fs, file, last) = (self.fs.clone(), self.file.clone(), self.previous.clone());
            self.work = Some(Box::pin(async move {
                wire::complete(fs, file, last).await?;
                Ok(Outcome::Completed)
            }));
        }
    }
}
