//! A connection to a shuffle server: asks for many runs at once and takes them in order.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use hfs_protocol::shuffle::{ANSWER_HEAD_BYTES, FetchAnswer, FetchRequest, RefusalReason};

use super::plan::Wanted;
use super::transfer::{Announced, Trouble};

/// Bytes read from a socket at once where runs are small.
const BUFFER_BYTES: usize = 64 << 10;
/// In each window of the read time-out at least so many bytes must come, or the rest of what was asked for: some
/// 8 KiB/s with the default of 30 s.
const LEAST_BYTES: u64 = 256 << 10;
/// How often a reading thread looks whether the reduce has ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long servers have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) read: Duration,
}

/// How fast a server sends.
#[derive(Debug)]
struct Pace {
    window: Duration,
    since: Instant,
    received: u64,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, since: Instant::now(), received: 0 }
    }

    fn restart(&mut self) {
        (self.since, self.received) = (Instant::now(), 0);
    }

    fn took(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if self.received >= LEAST_BYTES {
            self.restart();
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        if self.since.elapsed() < self.window {
            return Ok(());
        }
        let (bytes, seconds) = (self.received, self.window.as_secs_f64());
        Err(Trouble::Server(anyhow!("the server sent no more than {bytes} bytes in {seconds} s")))
    }
}

/// A connection, and what has been read from it and not used yet.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    pace: Pace,
}

impl Connection {
    pub(super) fn open(address: &str, patience: Patience) -> Result<Self> {
        let mut last = anyhow!("{address} is no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience.connect) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(patience.read.min(LOOK_INTERVAL)))?;
                    stream.set_write_timeout(Some(patience.read))?;
                    let stream = BufReader::with_capacity(BUFFER_BYTES, stream);
                    return Ok(Self { stream, pace: Pace::new(patience.read) });
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Asks for the rest of these outputs' runs.
    pub(super) fn ask<'w>(
        &mut self,
        partition: u32,
        wanted: impl Iterator<Item = &'w Wanted>,
    ) -> Result<(), Trouble> {
        let mut requests = Vec::new();
        for wanted in wanted {
            FetchRequest {
                attempt_id: wanted.output.attempt_id.clone(),
                partition,
                offset: wanted.transfer.received(),
            }
            .encode(&mut requests);
        }
        self.pace.restart();
        Ok(self.stream.get_mut().write_all(&requests)?)
    }

    /// The server's answer for the next run that was asked for.
    pub(super) fn answer(&mut self, closed: &AtomicBool) -> Result<Answer, Trouble> {
        let mut bytes = vec![0; ANSWER_HEAD_BYTES];
        let mut filled = 0;
        loop {
            while filled < bytes.len() {
                let got = self.read(&mut bytes[filled..], closed)?;
                if got == 0 {
                    return Err(Trouble::Server(anyhow!("the server closed the connection")));
                }
                filled += got;
                // What is foreign shows at once, and may be shorter than an answer.
                decode(&bytes[..filled])?;
            }
            match decode(&bytes)? {
                None => bytes.push(0),
                Some(FetchAnswer::Found { length, records, crc32 }) => {
                    self.pace.restart();
                    return Ok(Answer::Found(Announced { length, records, crc32 }));
                }
                Some(FetchAnswer::Refused { reason, message }) => {
                    self.pace.restart();
                    return Ok(Answer::Refused(reason, message));
                }
            }
        }
    }

    /// Bytes of a run; 0 at the connection's end.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        closed: &AtomicBool,
    ) -> Result<usize, Trouble> {
        loop {
            match self.stream.read(buffer) {
                Ok(got) => {
                    self.pace.check()?;
                    self.pace.took(got);
                    return Ok(got);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => self.pace.check()?,
                    _ => return Err(error.into()),
                },
            }
            if closed.load(Ordering::Relaxed) {
                return Err(Trouble::Closed);
            }
        }
    }

    /// Time that this side has taken does not count against the server.
    pub(super) fn resume(&mut self) {
        self.pace.restart();
    }
}

/// What a server says of one run.
#[derive(Debug)]
pub(super) enum Answer {
    Found(Announced),
    Refused(RefusalReason, String),
}

fn decode(bytes: &[u8]) -> Result<Option<FetchAnswer>, Trouble> {
    match FetchAnswer::decode(bytes) {
        Ok(answer) => Ok(answer.map(|(answer, _)| answer)),
        Err(error) => Err(Trouble::Server(error.into())),
    }
}
