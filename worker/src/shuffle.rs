//! Serves map output to reducers: byte ranges of segment files, straight from the page cache.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
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
/// How long a request above the limit waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(30);
/// The most that one sendfile is asked for.
const SEND_BYTES: usize = 4 << 20;
/// Requests that are answered together.
const BATCH_MAX: usize = 64;
/// A run up to this size is copied beside its answer; a larger one is sent from the file.
const COPY_BYTES: u64 = 16 << 10;
/// Bytes copied for requests that are answered together. Bounds the memory of a turn.
const COPY_BYTES_OF_BATCH: u64 = 256 << 10;
/// Open connections for each turn: most of them are idle most of the time.
const OPEN_PER_TURN: usize = 16;
/// The most open connections.
const OPEN_MAX: usize = 16 << 10;
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
    /// Requests answered at once. So many times [`OPEN_PER_TURN`] connections may be open.
    pub connections: usize,
    /// Bytes sent.
    pub bytes_sent: Counter,
    /// Fetches refused.
    pub refused: Counter,
}

impl Server {
    /// Serves until `shutdown`.
    pub async fn run(self, listener: TcpListener, shutdown: Shutdown) {
        let most = self.connections.max(1);
        let turns = Arc::new(Semaphore::new(most));
        let open = Arc::new(Semaphore::new(most.saturating_mul(OPEN_PER_TURN).min(OPEN_MAX)));
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
            let Ok(one_more) = Arc::clone(&open).try_acquire_owned() else {
                tracing::warn!("shuffle: closed {peer}, too many connections are open");
                continue;
            };
            let (server, turns, stop) = (Arc::clone(&server), Arc::clone(&turns), shutdown.clone());
            tokio::spawn(async move {
                let _one_more = one_more;
                tokio::select! {
                    result = server.serve(stream, &turns) => {
                        if let Err(e) = result {
                            log_end(peer, &e);
                        }
                    }
                    () = stop.triggered() => {}
                }
            });
        }
    }

    /// Answers requests in order, as many at once as have arrived.
    async fn serve(&self, mut stream: TcpStream, turns: &Semaphore) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer: Vec<u8> = Vec::with_capacity(1024);
        loop {
            let requests = take_requests(&mut buffer)?;
            if !requests.is_empty() {
                // An idle connection holds no turn.
                match timeout(TURN_WAIT, turns.acquire()).await {
                    Ok(Ok(_turn)) => self.answer(&mut stream, requests).await?,
                    _ => self.refuse(&mut stream, requests.len()).await?,
                }
                continue;
            }
            let read = timeout(IDLE_WAIT, stream.read_buf(&mut buffer)).await;
            match read {
                Ok(Ok(0)) if buffer.is_empty() => return Ok(()),
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(e),
                // A reducer that has nothing to ask may close or not; a half request is odd.
                Err(_) if buffer.is_empty() => return Ok(()),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    async fn answer(&self, stream: &mut TcpStream, requests: Vec<FetchRequest>) -> io::Result<()> {
        let segments = self.segments.clone();
        // Opening may wait for a disk.
        let prepared = tokio::task::spawn_blocking(move || prepare(&segments, &requests)).await;
        let Prepared { pieces, refused } = prepared.map_err(io::Error::other)?;
        self.refused.inc_by(refused);
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => {
                    self.bytes_sent.inc_by(bytes.len() as u64);
                    write(stream, &bytes).await?;
                }
                Piece::File { file, offset, length } => {
                    self.bytes_sent.inc_by(length);
                    send_file(stream, &file, offset, length).await?;
                }
            }
        }
        Ok(())
    }

    /// Says that there is no turn for these requests.
    async fn refuse(&self, stream: &mut TcpStream, requests: usize) -> io::Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..requests {
            let message = "the shuffle server has too many fetches to answer".to_owned();
            FetchAnswer::Refused { reason: RefusalReason::Busy, message }.encode(&mut bytes);
        }
        self.refused.inc_by(requests as u64);
        write(stream, &bytes).await
    }
}

/// The requests that have arrived whole, at most [`BATCH_MAX`].
fn take_requests(buffer: &mut Vec<u8>) -> io::Result<Vec<FetchRequest>> {
    let (mut requests, mut used) = (Vec::new(), 0);
    while requests.len() < BATCH_MAX
        && let Some((request, size)) = FetchRequest::decode(&buffer[used..])
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?
    {
        used += size;
        requests.push(request);
    }
    buffer.drain(..used);
    Ok(requests)
}

/// What answers some requests.
struct Prepared {
    pieces: Vec<Piece>,
    refused: u64,
}

enum Piece {
    /// Heads of answers, and runs that are so small that a system call for each costs more than a copy.
    Bytes(Vec<u8>),
    File {
        file: File,
        offset: u64,
        length: u64,
    },
}

fn prepare(segments: &Segments, requests: &[FetchRequest]) -> Prepared {
    let mut prepared = Prepared { pieces: Vec::new(), refused: 0 };
    let mut bytes = Vec::new();
    let mut copied = 0;
    for request in requests {
        let run = match find(segments, request) {
            Ok(run) => run,
            Err((reason, message)) => {
                prepared.refused += 1;
                FetchAnswer::Refused { reason, message }.encode(&mut bytes);
                continue;
            }
        };
        let (length, records, crc32) = (run.length, run.records, run.crc32);
        FetchAnswer::Found { length, records, crc32 }.encode(&mut bytes);
        let (offset, left) = (run.offset + request.offset, length - request.offset);
        if left <= COPY_BYTES && copied + left <= COPY_BYTES_OF_BATCH {
            let from = bytes.len();
            bytes.resize(from + left as usize, 0);
            if run.file.read_exact_at(&mut bytes[from..], offset).is_ok() {
                copied += left;
                continue;
            }
            // It shrank this very moment: what is promised and does not come closes the connection.
            bytes.truncate(from);
        }
        prepared.pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
        prepared.pieces.push(Piece::File { file: run.file, offset, length: left });
    }
    if !bytes.is_empty() {
        prepared.pieces.push(Piece::Bytes(bytes));
    }
    prepared
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
    // The index may have been read before the file was cut.
    let size = file.metadata().map_err(|e| damaged(&e))?.len();
    if size < offset + length {
        return Err(damaged(&format!("it was cut to {size} bytes; its map must run again")));
    }
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

    /// Asks for partitions of attempt "a" all at once, and gives what comes until `bytes` have.
    async fn ask_at_once(stream: &mut TcpStream, partitions: &[u32], bytes: usize) -> Vec<u8> {
        let mut requests = Vec::new();
        for &partition in partitions {
            FetchRequest { attempt_id: "a".into(), partition, offset: 0 }.encode(&mut requests);
        }
        stream.write_all(&requests).await.unwrap();
        let mut answers = vec![0; bytes];
        stream.read_exact(&mut answers).await.unwrap();
        answers
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
    async fn many_requests_at_once_are_answered_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        // Small runs, which are copied, around a large one, which is sent from the file.
        let mut runs: Vec<Vec<u8>> = (0..200u32).map(|n| vec![n as u8; n as usize * 20]).collect();
        runs[100] = vec![100; 200_000];
        let slices: Vec<&[u8]> = runs.iter().map(Vec::as_slice).collect();
        std::fs::write(&path, segment_file(&slices)).unwrap();
        let segments = Segments::default();
        segments.add("a", path.clone());
        let (address, shutdown) = started(segments).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Two rounds on one connection, the second with a partition that there is not.
        for last in [199, 200] {
            let mut expected = Vec::new();
            let asked: Vec<u32> = (0..199).chain([last]).collect();
            for partition in &asked {
                match runs.get(*partition as usize) {
                    Some(run) => {
                        let length = run.len() as u64;
                        FetchAnswer::Found { length, records: 1, crc32: 7 }.encode(&mut expected);
                        expected.extend_from_slice(run);
                    }
                    None => FetchAnswer::Refused {
                        reason: RefusalReason::BadRequest,
                        message: "a has 200 partitions and none 200".into(),
                    }
                    .encode(&mut expected),
                }
            }
            let got = ask_at_once(&mut stream, &asked, expected.len()).await;
            assert!(got == expected, "the answers are not those of the requests");
        }
        // FAULTS 47: cut on disk after its index was read.
        File::options().write(true).open(&path).unwrap().set_len(2000).unwrap();
        assert_eq!(ask(&mut stream, "a", 3, 0).await, [3; 60]);
        assert_eq!(ask(&mut stream, "a", 150, 0).await, b"refused");
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
