//! The driver of one task process.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::BytesMut;
use hfs_protocol::delimited;
use hfs_protocol::proto::task::from_task::Message as FromTaskMessage;
use hfs_protocol::proto::task::launch::Task as LaunchTask;
use hfs_protocol::proto::task::to_task::Message as ToTaskMessage;
use hfs_protocol::proto::task::{Exit, FromTask, MapOutputs, ToTask};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    AttemptLog, Child, Failed, Happened, Limits, MESSAGE_BYTES_MAX, Order, ProcessId, Start,
    TASK_SOCKET_ENV, Work, describe, spawn,
};

/// How long a process may take to leave when told to.
const LEAVE_WAIT: Duration = Duration::from_secs(2);
/// How long a task may take to read a message before it counts as stuck.
const SEND_WAIT: Duration = Duration::from_secs(60);
/// Bytes of output taken at once.
const OUTPUT_BYTES: usize = 64 << 10;

struct Driver {
    id: ProcessId,
    name: String,
    limits: Limits,
    child: Child,
    output: Option<pipe::Receiver>,
    log: AttemptLog,
    /// What the attempt works on, for the sentence of a failure that the task can't tell itself.
    doing: String,
    /// How long the attempt may report nothing. None: for ever.
    silence: Option<Duration>,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<(ProcessId, Happened)>,
    /// Map outputs that were told before the process could be told anything.
    early: Vec<MapOutputs>,
}

/// How a stretch of a driver's life ended.
enum Ended {
    /// The process is gone or to be ended, and the attempt with it.
    Failed(Failed),
    /// The attempt is done.
    Done,
}

/// What happened while an attempt was at work.
enum Next {
    Message(io::Result<Option<FromTask>>),
    Order(Option<Order>),
    Exited(io::Result<ExitStatus>),
    Printed,
    Silent,
}

pub(super) async fn drive(
    start: Start,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<(ProcessId, Happened)>,
) {
    let Start { id, mut program, socket, work, limits } = start;
    let name = program_name(&work);
    let attempt = work.launch.attempt_id.clone();
    let fail = async |message: String| {
        let failed = Failed { message, ..Failed::default() };
        // The node is gone only when the worker is stopping.
        let _ = events.send((id, Happened::Failed(attempt.clone(), failed))).await;
        let _ = events.send((id, Happened::Gone(None))).await;
    };
    let listener = match UnixListener::bind(&socket) {
        Ok(listener) => listener,
        Err(e) => return fail(format!("can't make the socket {}: {e}", socket.display())).await,
    };
    program.environment.push((TASK_SOCKET_ENV.into(), socket.clone().into()));
    let spawned = spawn(program).await;
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => {
            let _ = std::fs::remove_file(&socket);
            return fail(format!("the program {name} can't be run here: {e}")).await;
        }
    };
    let output = child.output.take().and_then(|fd| pipe::Receiver::from_owned_fd(fd).ok());
    child.allow(work.memory, limits.processes);
    let log = AttemptLog::create(&work.log, limits.log_limit);
    let events_of_driver = events.clone();
    let mut driver = Driver {
        id,
        name,
        limits,
        child,
        output,
        log,
        doing: doing(&work),
        silence: silence(&work),
        orders,
        events: events_of_driver,
        early: Vec::new(),
    };
    let connected = driver.greet(&listener).await;
    drop(listener);
    let _ = std::fs::remove_file(&socket);
    let unstarted = match connected {
        Ok(task) => driver.serve(task, work).await,
        Err(failed) => {
            driver.fail(&attempt, failed).await;
            None
        }
    };
    driver.child.kill();
    let unstarted = unstarted.or_else(|| driver.leftover());
    let _ = events.send((id, Happened::Gone(unstarted))).await;
}

/// The part of the job that an attempt has.
fn doing(work: &Work) -> String {
    match &work.launch.task {
        Some(LaunchTask::Map(map)) => match &map.split {
            Some(split) => format!("in the split {}", split.description),
            None => format!("in split {}", map.index),
        },
        Some(LaunchTask::Reduce(reduce)) => format!("in partition {}", reduce.partition),
        None => "at the start".to_owned(),
    }
}

/// The job's `mapreduce.task.timeout`.
fn silence(work: &Work) -> Option<Duration> {
    let ms = work.launch.job.as_ref().map_or(0, |job| job.task_timeout_ms);
    (ms > 0).then(|| Duration::from_millis(ms))
}

fn program_name(work: &Work) -> String {
    work.launch.job.as_ref().map(|job| job.program_path.clone()).unwrap_or_default()
}

impl Driver {
    /// Waits for the program to say hello.
    async fn greet(&mut self, listener: &UnixListener) -> Result<Task, Failed> {
        let deadline = sleep(self.limits.hello_timeout);
        tokio::pin!(deadline);
        let mut task: Option<Task> = None;
        loop {
            let hello = async {
                match &mut task {
                    None => listener.accept().await.map(|(stream, _)| Greeting::Stream(stream)),
                    Some(task) => task.read().await.map(Greeting::Said),
                }
            };
            let why = tokio::select! {
                said = hello => match said {
                    Ok(Greeting::Stream(stream)) => {
                        task = Some(Task::new(stream));
                        continue;
                    }
                    Ok(Greeting::Said(Some(FromTask { message: Some(FromTaskMessage::Hello(_)) })))
                        if let Some(task) = task.take() => return Ok(task),
                    Ok(Greeting::Said(None)) => {
                        // It closed the socket: its exit says more.
                        let exit = timeout(LEAVE_WAIT, &mut self.child.exit).await;
                        match exit {
                            Ok(Ok(Ok(status))) => format!("it ended with {}", describe(status)),
                            _ => "it closed its socket before it said hello".to_owned(),
                        }
                    }
                    Ok(Greeting::Said(Some(_))) => "it did not say hello first".to_owned(),
                    Err(e) => format!("what it says makes no sense: {e}"),
                },
                exited = &mut self.child.exit => match exited {
                    Ok(Ok(status)) => {
                        format!("it ended with {} before it said hello", describe(status))
                    }
                    _ => "it ended before it said hello".to_owned(),
                },
                order = self.orders.recv() => match order {
                    Some(Order::Kill) | None => return Err(self.killed()),
                    Some(Order::Outputs(outputs)) => {
                        self.early.push(outputs);
                        continue;
                    }
                    Some(Order::Exit | Order::Work(_)) => continue,
                },
                () = printed(self.output.as_ref()) => {
                    self.take_output();
                    continue;
                }
                () = &mut deadline => {
                    let seconds = self.limits.hello_timeout.as_secs_f64();
                    format!("it did not say hello within {seconds} s")
                }
            };
            self.take_output();
            let message = format!(
                "{} is not an hfs job program, or could not start: {why}; build it with the crate \
                 hfs-mapreduce and call hfs_mapreduce::run in main",
                self.name
            );
            return Err(Failed { message, ..Failed::default() });
        }
    }

    /// Works on attempts until there are none. Gives back one that came too late.
    async fn serve(&mut self, mut task: Task, first: Work) -> Option<Box<Work>> {
        let mut work = Box::new(first);
        loop {
            let attempt = work.launch.attempt_id.clone();
            match self.attend(&mut task, *work).await {
                Ended::Failed(failed) => {
                    self.fail(&attempt, failed).await;
                    return None;
                }
                Ended::Done => {}
            }
            if !self.child.kill_started().await {
                // The next attempt may not have such neighbours.
                return None;
            }
            work = self.idle(&mut task).await?;
            self.child.allow(work.memory, self.limits.processes);
            self.doing = doing(&work);
            self.silence = silence(&work);
            self.log = AttemptLog::create(&work.log, self.limits.log_limit);
        }
    }

    /// One attempt, from its launch to its end.
    async fn attend(&mut self, task: &mut Task, work: Work) -> Ended {
        let attempt = work.launch.attempt_id.clone();
        if let Err(e) = task.send(ToTaskMessage::Launch(work.launch)).await {
            return Ended::Failed(self.lost_contact(&e).await);
        }
        for outputs in std::mem::take(&mut self.early) {
            if let Err(e) = self.feed(task, outputs).await {
                return Ended::Failed(self.lost_contact(&e).await);
            }
        }
        let mut heard_at = Instant::now();
        loop {
            let silence = self.silence.map(|silence| heard_at + silence);
            let next = tokio::select! {
                message = task.read() => Next::Message(message),
                order = self.orders.recv() => Next::Order(order),
                exited = &mut self.child.exit => Next::Exited(exited.unwrap_or_else(|_| {
                    Err(io::Error::other("the thread that waits for the process died"))
                })),
                () = printed(self.output.as_ref()) => Next::Printed,
                () = passed(silence) => Next::Silent,
            };
            match next {
                Next::Printed => self.take_output(),
                Next::Silent => return Ended::Failed(self.silent()),
                Next::Message(Ok(Some(FromTask { message: Some(message) }))) => {
                    heard_at = Instant::now();
                    if let Some(ended) = self.heard(&attempt, message).await {
                        return ended;
                    }
                }
                Next::Message(Ok(Some(FromTask { message: None }))) => {}
                Next::Message(Ok(None)) => {
                    let e = io::ErrorKind::UnexpectedEof.into();
                    return Ended::Failed(self.lost_contact(&e).await);
                }
                Next::Message(Err(e)) => return Ended::Failed(self.lost_contact(&e).await),
                Next::Order(Some(Order::Outputs(outputs))) => {
                    if let Err(e) = self.feed(task, outputs).await {
                        return Ended::Failed(self.lost_contact(&e).await);
                    }
                }
                Next::Order(Some(Order::Kill) | None) => return Ended::Failed(self.killed()),
                // An idle process was meant; this one will be idle and leave by itself.
                Next::Order(Some(Order::Exit | Order::Work(_))) => {}
                Next::Exited(status) => return Ended::Failed(self.exited(status)),
            }
        }
    }

    async fn feed(&mut self, task: &mut Task, outputs: MapOutputs) -> io::Result<()> {
        task.send(ToTaskMessage::MapOutputs(outputs)).await
    }

    /// Passes on what the task says of its attempt. What it says of others is not heard.
    async fn heard(&mut self, attempt: &str, message: FromTaskMessage) -> Option<Ended> {
        match message {
            FromTaskMessage::Progress(progress) if progress.attempt_id == attempt => {
                self.tell(Happened::Progress(progress)).await;
            }
            FromTaskMessage::FetchFailed(report) if report.attempt_id == attempt => {
                self.tell(Happened::FetchFailed(report)).await;
            }
            FromTaskMessage::Done(done) if done.attempt_id == attempt => {
                // What it printed before it was done is in the pipe already.
                self.take_output();
                self.log.finish();
                self.tell(Happened::Done(done)).await;
                return Some(Ended::Done);
            }
            FromTaskMessage::Failed(failed) if failed.attempt_id == attempt => {
                self.take_output();
                let (message, fatal) = (failed.message, failed.fatal);
                return Some(Ended::Failed(Failed { message, fatal, ..Failed::default() }));
            }
            _ => {}
        }
        None
    }

    /// Waits for another attempt. None: the process has left or must.
    async fn idle(&mut self, task: &mut Task) -> Option<Box<Work>> {
        let deadline = sleep(self.limits.idle_timeout);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Work(work)) => return Some(work),
                    Some(Order::Outputs(_)) => {}
                    Some(Order::Kill) => return None,
                    Some(Order::Exit) | None => break,
                },
                _ = task.read() => return None,
                _ = &mut self.child.exit => return None,
                () = printed(self.output.as_ref()) => self.discard_output(),
                () = &mut deadline => break,
            }
        }
        // Work that was sent while this was decided comes back from the closed channel.
        self.orders.close();
        if task.send(ToTaskMessage::Exit(Exit {})).await.is_ok() {
            let _ = timeout(LEAVE_WAIT, &mut self.child.exit).await;
        }
        None
    }

    /// Work that nobody took.
    fn leftover(&mut self) -> Option<Box<Work>> {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Work(work) = order {
                return Some(work);
            }
        }
        None
    }

    async fn tell(&self, happened: Happened) {
        let _ = self.events.send((self.id, happened)).await;
    }

    async fn fail(&mut self, attempt: &str, mut failed: Failed) {
        self.child.kill();
        // Killed or not, it must be gone before its slot is free.
        if !self.child.exit.is_terminated() {
            let _ = timeout(LEAVE_WAIT, &mut self.child.exit).await;
        }
        self.take_output();
        if let Some(excess) = self.child.excess().filter(|_| !failed.killed) {
            failed.message = format!("{excess}; it was {}", self.doing);
        }
        failed.log_tail = self.log.excerpt();
        self.log.finish();
        self.tell(Happened::Failed(attempt.to_owned(), failed)).await;
    }

    fn killed(&self) -> Failed {
        Failed { message: "killed".to_owned(), killed: true, ..Failed::default() }
    }

    /// The worker knows best when it last heard of a task and has its last words; the jobtracker's own
    /// clock is for workers that hang.
    fn silent(&self) -> Failed {
        let seconds = self.silence.unwrap_or_default().as_secs_f64();
        let message = format!(
            "the task was killed because it reported nothing for {seconds} s, {}; let it call \
             Context::progress between long steps, or raise the limit with -D \
             mapreduce.task.timeout=MILLISECONDS",
            self.doing
        );
        Failed { message, ..Failed::default() }
    }

    /// The socket broke: most likely the process has died, and how is what people want to know.
    async fn lost_contact(&mut self, error: &io::Error) -> Failed {
        if let Ok(Ok(status)) = timeout(LEAVE_WAIT, &mut self.child.exit).await {
            return self.exited(status);
        }
        let message = format!("the task process stopped talking to its worker: {error}");
        Failed { message, ..Failed::default() }
    }

    fn exited(&mut self, status: io::Result<ExitStatus>) -> Failed {
        self.take_output();
        let how = match status {
            Ok(status) => describe(status),
            Err(e) => format!("an end that could not be seen ({e})"),
        };
        let last = last_words(&self.log.excerpt());
        let message = format!(
            "the task process ended with {how} before its work was done, {}{last}",
            self.doing
        );
        Failed { message, ..Failed::default() }
    }

    fn take_output(&mut self) {
        self.read_output(true);
    }

    fn discard_output(&mut self) {
        self.read_output(false);
    }

    /// Takes what is in the pipe now, and no more: a task that prints without end must not keep the
    /// driver from its other duties.
    fn read_output(&mut self, keep: bool) {
        let mut buffer = [0; OUTPUT_BYTES];
        for _ in 0..4 {
            let Some(output) = &self.output else { return };
            // The runtime only tries where it has heard that there is something; what a process said
            // just before it died it may not have heard of yet, so the pipe itself has the last word.
            let read = match output.try_read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    rustix::io::read(output, &mut buffer[..]).map_err(io::Error::from)
                }
                read => read,
            };
            match read {
                Ok(0) => self.output = None,
                Ok(n) if keep => self.log.write(&buffer[..n]),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }
}

fn last_words(excerpt: &str) -> String {
    let line = excerpt.lines().rev().find(|line| !line.trim().is_empty());
    line.map(|line| format!("; the last it said: {}", line.trim())).unwrap_or_default()
}

/// Waits until there is output to take; for ever when there will be none.
async fn printed(output: Option<&pipe::Receiver>) {
    match output {
        // An error shows itself at the read that follows.
        Some(output) => {
            let _ = output.readable().await;
        }
        None => std::future::pending().await,
    }
}

/// Waits until a moment has passed; for ever when there is none.
async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

enum Greeting {
    Stream(UnixStream),
    Said(Option<FromTask>),
}

/// The socket to a task process.
struct Task {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    buffer: BytesMut,
}

impl Task {
    fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer, buffer: BytesMut::new() }
    }

    /// The next message; None at a clean end. Cancel-safe: what has arrived stays in the buffer.
    async fn read(&mut self) -> io::Result<Option<FromTask>> {
        loop {
            if let Some(message) = delimited::decode(&mut self.buffer, MESSAGE_BYTES_MAX)? {
                return Ok(Some(message));
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                let clean = self.buffer.is_empty();
                return if clean { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    async fn send(&mut self, message: ToTaskMessage) -> io::Result<()> {
        let bytes = ToTask { message: Some(message) }.encode_length_delimited_to_vec();
        timeout(SEND_WAIT, self.writer.write_all(&bytes))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it does not read its socket"))?
    }
}
