//! Serves map output to reducers: byte ranges of segment files, straight from the page cache.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hfs_daemon::metrics::Counter;
use hfs_daemon::shutdown::Shutdown;
use hfs_protocol::shuffle::{FetchAnswer, FetchRequest, RefusalReason, SegmentError, SegmentIndex};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a reducer may be silent, or not take what it asked for.
const IDLE_WAIT: Duration = Duration::from_secs(60);
/// How long a reducer above the limit waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(30);
/// The most that one sendfile is asked for.
const SEND_BYTES: usize = 4 << 20;
/// How long to wait after a failed accept (out of descriptors, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A finished map's segment.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// Read at the first fetch.
    index: RwLock<Option<Arc<SegmentIndex>>>,
}

/// The segments this worker has, by map attempt. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    by_attempt: Arc<RwLock<HashMap<String, Arc<Segment>>>>,
}

impl Segments {
    /// A map attempt is done and this is its output.
    pub fn add(&self, attempt: &str, path: PathBuf) {
        let segment = Segment { path, index: RwLock::new(None) };
        self.by_attempt.write().insert(attempt.to_owned(), Arc::new(segment));
    }

    /// Nobody needs the output of these attempts any more.
    pub fn forget(&self, is_gone: impl Fn(&str) -> bool) {
        self.by_attempt.write().retain(|attempt, _| !is_gone(attempt));
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<(String, PathBuf)> {
        let segments = self.by_attempt.read();
        segments.iter().map(|(attempt, segment)| (attempt.clone(), segment.path.clone())).collect()
    }

    fn get(&self, attempt: &str) -> Option<Arc<Segment>> {
        self.by_attempt.read().get(attempt).cloned()
    }
}

/// The server.
#[derive(Debug)]
pub struct Server {
    /// What it serves.
    pub segments: Segments,
    /// Connections served at once.
    pub connections: usize,
    /// Bytes sent.
    pub bytes_sent: Counter,
    /// Fetches refused.
    pub refused: Counter,
}

impl Server {
    /// Serves until `shutdown`.
    pub async fn run(self, listener: TcpListener, shutdown: Shutdown) {
        let turns = Arc::new(Semaphore::new(self.connections.max(1)));
        let server = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.triggered() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    tracing::warn!("can't accept shuffle connections: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (server, turns, stop) = (Arc::clone(&server), Arc::clone(&turns), shutdown.clone());
            tokio::spawn(async move {
                let Ok(Ok(_turn)) = timeout(TURN_WAIT, turns.acquire()).await else {
                    return tracing::warn!("shuffle: closed {peer}, too many connections");
                };
                tokio::select! {
                    result = server.serve(stream) => {
                        if let Err(e) = result {
                            log_end(peer, &e);
                        }
                    }
                    () = stop.triggered() => {}
                }
            });
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer: Vec<u8> = Vec::with_capacity(1024);
        loop {
            let decoded = FetchRequest::decode(&buffer)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let Some((request, size)) = decoded else {
                let read = timeout(IDLE_WAIT, stream.read_buf(&mut buffer)).await;
                match read {
                    Ok(Ok(0)) if buffer.is_empty() => return Ok(()),
                    Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(Ok(_)) => continue,
                    Ok(Err(e)) => return Err(e),
                    // A reducer that has nothing to ask may close or not; a half request is odd.
                    Err(_) if buffer.is_empty() => return Ok(()),
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                }
            };
            buffer.drain(..size);
            self.answer(&mut stream, &request).await?;
        }
    }

    async fn answer(&self, stream: &mut TcpStream, request: &FetchRequest) -> io::Result<()> {
        let segments = self.segments.clone();
        let wanted = request.clone();
        // Opening may wait for a disk.
        let found = tokio::task::spawn_blocking(move || find(&segments, &wanted)).await;
        let found = found.map_err(io::Error::other)?;
        let mut head = Vec::with_capacity(64);
        let run = match found {
            Ok(run) => {
                let (length, records, crc32) = (run.length, run.records, run.crc32);
                FetchAnswer::Found { length, records, crc32 }.encode(&mut head);
                Some(run)
            }
            Err((reason, message)) => {
                self.refused.inc();
                FetchAnswer::Refused { reason, message }.encode(&mut head);
                None
            }
        };
        write(stream, &head).await?;
        if let Some(run) = run {
            let from = run.offset + request.offset;
            let left = run.length - request.offset;
            self.bytes_sent.inc_by(left);
            send_file(stream, &run.file, from, left).await?;
        }
        Ok(())
    }
}

/// A run that was found.
struct Run {
    file: File,
    offset: u64,
    length: u64,
    records: u64,
    crc32: u32,
}

fn find(segments: &Segments, request: &FetchRequest) -> Result<Run, (RefusalReason, String)> {
    let attempt = &request.attempt_id;
    let segment = segments.get(attempt).ok_or_else(|| {
        (RefusalReason::NotFound, format!("the output of {attempt} is not on this worker"))
    })?;
    let damaged = |e: &dyn std::fmt::Display| {
        let path = segment.path.display();
        (RefusalReason::Damaged, format!("the output of {attempt} in {path} can't be used: {e}"))
    };
    let file = File::open(&segment.path).map_err(|e| damaged(&e))?;
    let known = segment.index.read().clone();
    let index = match known {
        Some(index) => index,
        None => {
            let read = SegmentIndex::read(&file).map_err(|e: SegmentError| damaged(&e))?;
            let index = Arc::new(read);
            *segment.index.write() = Some(Arc::clone(&index));
            index
        }
    };
    let entry = index.partitions.get(request.partition as usize).ok_or_else(|| {
        let (asked, count) = (request.partition, index.partitions.len());
        (RefusalReason::BadRequest, format!("{attempt} has {count} partitions and none {asked}"))
    })?;
    if request.offset > entry.length {
        let (asked, length) = (request.offset, entry.length);
        let why = format!("the run has {length} bytes and none at {asked}");
        return Err((RefusalReason::BadRequest, why));
    }
    let (offset, length) = (entry.offset, entry.length);
    Ok(Run { file, offset, length, records: entry.records, crc32: entry.crc32 })
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    timeout(IDLE_WAIT, stream.write_all(bytes))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn send_file(stream: &TcpStream, file: &File, from: u64, length: u64) -> io::Result<()> {
    let mut offset = from;
    let end = from + length;
    while offset < end {
        let want = usize::try_from(end - offset).unwrap_or(usize::MAX).min(SEND_BYTES);
        timeout(IDLE_WAIT, stream.writable())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let sent = rustix::fs::sendfile(stream, file, Some(&mut offset), want)?;
            Ok(sent)
        });
        match sent {
            // The file is shorter than its index says: the reducer sees a short run and a closed stream.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn log_end(peer: SocketAddr, error: &io::Error) {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData};
    match error.kind() {
        // A reducer that was killed.
        BrokenPipe | ConnectionReset => tracing::debug!("shuffle: {peer} left: {error}"),
        InvalidData => tracing::warn!("shuffle: closed {peer}: {error}"),
        _ => tracing::info!("shuffle: closed {peer}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hfs_protocol::shuffle::{HEADER, PartitionEntry};

    use super::*;

    fn segment_file(runs: &[&[u8]]) -> Vec<u8> {
        let mut file = HEADER.to_vec();
        let mut index = SegmentIndex::default();
        for run in runs {
            index.partitions.push(PartitionEntry {
                offset: file.len() as u64,
                length: run.len() as u64,
                records: 1,
                crc32: 7,
            });
            file.extend_from_slice(run);
        }
        index.encode(&mut file);
        file
    }

    async fn started(segments: Segments) -> (SocketAddr, Shutdown) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let server = Server {
            segments,
            connections: 2,
            bytes_sent: Counter::default(),
            refused: Counter::default(),
        };
        tokio::spawn(server.run(listener, shutdown.clone()));
        (address, shutdown)
    }

    async fn ask(stream: &mut TcpStream, attempt: &str, partition: u32, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let attempt_id = attempt.to_owned();
        FetchRequest { attempt_id, partition, offset }.encode(&mut bytes);
        stream.write_all(&bytes).await.unwrap();
        let mut buffer = Vec::new();
        loop {
            if let Some((answer, size)) = FetchAnswer::decode(&buffer).unwrap() {
                let FetchAnswer::Found { length, .. } = answer else { return b"refused".into() };
                let mut run = buffer.split_off(size);
                let at = run.len();
                run.resize(usize::try_from(length - offset).unwrap(), 0);
                stream.read_exact(&mut run[at..]).await.unwrap();
                return run;
            }
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            buffer.push(byte[0]);
        }
    }

    #[tokio::test]
    async fn runs_are_sent_whole_or_from_an_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        std::fs::write(&path, segment_file(&[b"first", b"", &large])).unwrap();
        let segments = Segments::default();
        segments.add("a", path);
        let (address, shutdown) = started(segments.clone()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut stream, "a", 0, 0).await, b"first");
        assert_eq!(ask(&mut stream, "a", 0, 3).await, b"st");
        assert_eq!(ask(&mut stream, "a", 1, 0).await, b"");
        assert_eq!(ask(&mut stream, "a", 2, 0).await, large);
        assert_eq!(ask(&mut stream, "a", 3, 0).await, b"refused");
        assert_eq!(ask(&mut stream, "a", 0, 6).await, b"refused");
        assert_eq!(ask(&mut stream, "b", 0, 0).await, b"refused");
        segments.forget(|attempt| attempt == "a");
        assert_eq!(ask(&mut stream, "a", 0, 0).await, b"refused");
        shutdown.trigger();
    }

    #[tokio::test]
    async fn garbage_closes_the_connection_and_nothing_else() {
        let (address, shutdown) = started(Segments::default()).await;
        for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\x00", &[0xff; 5000]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may close before it has read everything.
            let _ = stream.write_all(garbage).await;
            let mut rest = Vec::new();
            let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok() && rest.is_empty());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut stream, "x", 0, 0).await, b"refused");
        shutdown.trigger();
    }
}
