//! Reading files: the nearest good replica, and another one when it fails, without the caller
//! noticing. Bytes that fail their checksum are never given out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hfs_protocol::proto::hadoop::hdfs as proto;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::{FileSystem, Inner, normalize};

mod layout;
mod local;
pub(crate) mod pool;
mod remote;

pub use local::{MappedRange, WINDOW_BYTES};
pub(crate) use remote::ask;

use layout::Layout;
use local::LocalReplica;
use remote::{ReadFailure, RemoteBlock};

/// Verified pieces that wait for a sequential reader, at most: the rest waits in the socket.
const READ_AHEAD: usize = 4;
/// The wait before the first round of asking for locations again; each further one is four times
/// as long.
const FIRST_ROUND_WAIT: Duration = Duration::from_millis(250);
/// Mapped replicas a reader keeps.
const MAPPED_MAX: usize = 8;

/// An open file. Sequential reading goes through `&mut self`; [`FileReader::read_at`] and
/// [`FileReader::map_range`] take `&self` and may run side by side.
///
/// The length is that at the time of opening. A file that is being written is readable up to
/// what its datanodes had acknowledged then.
pub struct FileReader {
    shared: Arc<Shared>,
    position: u64,
    /// Bytes that arrived and were not asked for yet; they begin at `position`.
    rest: Bytes,
    stream: Option<BlockStream>,
}

/// What sequential and positional reads share.
struct Shared {
    fs: Arc<Inner>,
    path: String,
    layout: Mutex<Layout>,
    /// Datanodes that failed this reader, until locations are fetched again.
    dead: Mutex<HashSet<String>>,
    mapped: Mutex<Vec<(u64, Option<Arc<LocalReplica>>)>>,
}

/// Pieces of one block from `position` on, made by a task of its own.
struct BlockStream {
    pieces: mpsc::Receiver<Result<Bytes, ReadFailure>>,
    node: Option<proto::DatanodeInfoProto>,
    located: proto::LocatedBlockProto,
}

/// What is tried for one read: ends after a number of rounds without a byte.
#[derive(Default)]
struct Attempts {
    rounds: u32,
    last: Option<ReadFailure>,
}

impl FileSystem {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound` when it does not exist or is a directory, `AccessDenied`, `Unsupported` when it
    /// is encrypted or erasure coded.
    pub async fn open(&self, path: &str) -> Result<FileReader> {
        let path = normalize(path)?;
        let layout = self.inner.layout(&path).await?;
        let shared = Shared {
            fs: self.inner.clone(),
            path,
            layout: Mutex::new(layout),
            dead: Mutex::default(),
            mapped: Mutex::default(),
        };
        Ok(FileReader { shared: Arc::new(shared), position: 0, rest: Bytes::new(), stream: None })
    }
}

impl FileReader {
    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.shared.path
    }

    /// Readable bytes, as of opening.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.layout.lock().length
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the next sequential read begins.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Moves the sequential position. Beyond the end is allowed and reads nothing.
    pub fn seek(&mut self, position: u64) {
        let ahead = position.checked_sub(self.position);
        match ahead {
            Some(ahead) if ahead <= self.rest.len() as u64 => {
                self.rest = self.rest.slice(ahead as usize..);
            }
            _ => {
                self.rest = Bytes::new();
                self.stream = None;
            }
        }
        self.position = position;
    }

    /// The next bytes, as many as arrived together (up to a packet or 1 MiB); empty at the end.
    /// Nothing is copied.
    ///
    /// # Errors
    /// `NoReplica` or `Corrupt` when no replica could be read.
    pub async fn read_chunk(&mut self) -> Result<Bytes> {
        let mut attempts = Attempts::default();
        loop {
            if !self.rest.is_empty() {
                let chunk = std::mem::take(&mut self.rest);
                self.position += chunk.len() as u64;
                return Ok(chunk);
            }
            if self.position >= self.len() {
                self.stream = None;
                return Ok(Bytes::new());
            }
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.shared.stream(self.position, &mut attempts).await?,
            };
            match stream.pieces.recv().await {
                Some(Ok(bytes)) => {
                    self.rest = bytes;
                    self.stream = Some(stream);
                    attempts = Attempts::default();
                }
                // The block has ended; the next turn opens the next one.
                None => {}
                Some(Err(failure)) => {
                    self.shared.failed(&stream.located, stream.node.as_ref(), &failure);
                    attempts.last = Some(failure);
                }
            }
        }
    }

    /// Reads into a buffer from the sequential position on; 0 bytes at the end.
    ///
    /// # Errors
    /// As [`FileReader::read_chunk`].
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut chunk = self.read_chunk().await?;
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        self.put_back(chunk.split_off(count));
        Ok(count)
    }

    /// Gives back the unread end of the last chunk.
    pub(crate) fn put_back(&mut self, rest: Bytes) {
        self.position -= rest.len() as u64;
        self.rest = rest;
    }

    /// Fills a buffer from the sequential position on.
    ///
    /// # Errors
    /// As [`FileReader::read_chunk`], and `InvalidArgument` when the file ends before.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => return Err(self.shared.past_end(self.position)),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// The rest of the file from the sequential position on. Holds all of it: for small files.
    ///
    /// # Errors
    /// As [`FileReader::read_chunk`].
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let left = self.len().saturating_sub(self.position);
        let mut all = Vec::with_capacity(usize::try_from(left).unwrap_or_default());
        loop {
            let chunk = self.read_chunk().await?;
            if chunk.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&chunk);
        }
    }

    /// Reads into a buffer from any position; fewer bytes than asked for only at the end of the
    /// file. The sequential position stays.
    ///
    /// # Errors
    /// As [`FileReader::read_chunk`].
    pub async fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize> {
        let left = self.len().saturating_sub(position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let mut attempts = Attempts::default();
        let mut filled = 0;
        while filled < wanted {
            let at = position + filled as u64;
            let part = &mut buffer[filled..wanted];
            filled += self.shared.read_part(at, part, &mut attempts).await?;
        }
        Ok(wanted)
    }

    /// Maps a range of the file from a replica on this machine, without copying it: the part of
    /// it that lies in the block of `offset`, which may be shorter than `length`. `None` when
    /// that block has no replica here that may be read directly, or the range is empty.
    ///
    /// # Errors
    /// When the namenode can't be asked.
    pub async fn map_range(&self, offset: u64, length: u64) -> Result<Option<MappedRange>> {
        let length = length.min(self.len().saturating_sub(offset));
        if length == 0 {
            return Ok(None);
        }
        let located = self.shared.block_at(offset).await?;
        let Some(replica) = self.shared.local(&located).await else { return Ok(None) };
        let within = offset - located.offset;
        let length = length.min(located.b.num_bytes() - within);
        Ok(Some(MappedRange::new(replica, within as usize, length as usize)))
    }
}

impl Shared {
    fn past_end(&self, position: u64) -> Error {
        let length = self.layout.lock().length;
        Error::new(
            ErrorKind::InvalidArgument,
            format!("the file ends at {length}, but more was to be read from {position} on"),
        )
        .on(&self.path)
    }

    /// The block that holds a position; asks the namenode when it is not known.
    async fn block_at(&self, position: u64) -> Result<proto::LocatedBlockProto> {
        let known = self.layout.lock().find(position).cloned();
        if let Some(block) = known {
            return Ok(block);
        }
        self.fs.more_blocks(&self.path, position, &self.layout).await?;
        self.layout.lock().find(position).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Io,
                format!("the file was cut or replaced while it was read (at {position})"),
            )
            .on(&self.path)
        })
    }

    /// The mapped replica of a block, if there is one on this machine.
    async fn local(&self, located: &proto::LocatedBlockProto) -> Option<Arc<LocalReplica>> {
        let id = located.b.block_id;
        if self.layout.lock().unfinished_block == Some(id) {
            return None;
        }
        let known = self.mapped.lock().iter().find(|(block, _)| *block == id).cloned();
        if let Some((_, replica)) = known {
            return replica;
        }
        let mut found = None;
        for node in self.fs.datanodes.nearest_first(&located.locs) {
            found = LocalReplica::open(&self.fs, node, located).await;
            if found.is_some() {
                break;
            }
        }
        self.keep(id, found.clone());
        found
    }

    fn keep(&self, block: u64, replica: Option<Arc<LocalReplica>>) {
        let mut mapped = self.mapped.lock();
        mapped.retain(|(known, _)| *known != block);
        if mapped.len() >= MAPPED_MAX {
            mapped.remove(0);
        }
        mapped.push((block, replica));
    }

    /// Takes note of a failure: another node next time, and the namenode hears of corruption.
    fn failed(
        &self,
        located: &proto::LocatedBlockProto,
        node: Option<&proto::DatanodeInfoProto>,
        failure: &ReadFailure,
    ) {
        let Some(node) = node else {
            // A direct read. Whether the replica is bad is for its datanode's answer to show, as
            // the checksum may have been replaced by an append between our two reads.
            self.keep(located.b.block_id, None);
            tracing::warn!(path = %self.path, cause = failure.cause(), "a direct read failed");
            return;
        };
        let cause = failure.cause();
        tracing::warn!(path = %self.path, node = %node.id.ip_addr, cause, "a replica failed");
        self.dead.lock().insert(node.id.datanode_uuid.clone());
        if matches!(failure, ReadFailure::Corrupt(_)) {
            let mut bad = located.clone();
            bad.locs = vec![node.clone()];
            bad.storage_i_ds = storage_of(located, node);
            bad.storage_types.clear();
            bad.is_cached.clear();
            let fs = self.fs.clone();
            tokio::spawn(async move {
                let request = proto::ReportBadBlocksRequestProto { blocks: vec![bad] };
                let told: Result<proto::ReportBadBlocksResponseProto> =
                    fs.call("reportBadBlocks", &request).await;
                if let Err(error) = told {
                    tracing::warn!(%error, "a corrupt replica could not be reported");
                }
            });
        }
    }

    /// The nearest node of a block that has not failed; when all have, asks for locations again
    /// after a while, up to a number of rounds.
    async fn choose(
        &self,
        position: u64,
        attempts: &mut Attempts,
    ) -> Result<(proto::LocatedBlockProto, proto::DatanodeInfoProto)> {
        loop {
            let located = self.block_at(position).await?;
            let node = {
                let dead = self.dead.lock();
                let ordered = self.fs.datanodes.nearest_first(&located.locs);
                ordered.into_iter().find(|node| !dead.contains(&node.id.datanode_uuid)).cloned()
            };
            if let Some(node) = node.filter(|_| !located.corrupt) {
                return Ok((located, node));
            }
            if attempts.rounds >= self.fs.config.block_acquire_failures_max {
                return Err(self.unreadable(&located, position, attempts));
            }
            tokio::time::sleep(FIRST_ROUND_WAIT * 4u32.pow(attempts.rounds.min(5))).await;
            attempts.rounds += 1;
            self.dead.lock().clear();
            self.fs.more_blocks(&self.path, position, &self.layout).await?;
            let now = self.block_at(position).await?;
            if now.b.block_id != located.b.block_id {
                return Err(Error::new(
                    ErrorKind::Io,
                    "the file was replaced by another one while it was read",
                )
                .on(&self.path));
            }
        }
    }

    fn unreadable(
        &self,
        located: &proto::LocatedBlockProto,
        position: u64,
        attempts: &Attempts,
    ) -> Error {
        let nodes: Vec<_> =
            located.locs.iter().map(|n| format!("{}:{}", n.id.ip_addr, n.id.xfer_port)).collect();
        let block = located.b.block_id;
        let (kind, cause) = match &attempts.last {
            Some(ReadFailure::Corrupt(cause)) => (ErrorKind::Corrupt, cause.as_str()),
            _ if located.corrupt => (ErrorKind::Corrupt, "every replica is known to be corrupt"),
            Some(ReadFailure::Broken(cause)) => (ErrorKind::NoReplica, cause.as_str()),
            None => (ErrorKind::NoReplica, "no datanode that is alive has it"),
        };
        let where_ = if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") };
        Error::new(
            kind,
            format!(
                "block {block} can't be read at file offset {position}: {cause} (datanodes: \
                 {where_}); check that they are running"
            ),
        )
        .on(&self.path)
    }

    /// Pieces of the block of `position` from there to its end, from the best source.
    async fn stream(&self, position: u64, attempts: &mut Attempts) -> Result<BlockStream> {
        loop {
            let located = self.block_at(position).await?;
            let within = position - located.offset;
            if let Some(replica) = self.local(&located).await {
                let (sender, pieces) = mpsc::channel(READ_AHEAD);
                let end = (located.b.num_bytes() as usize).min(replica.len());
                tokio::task::spawn_blocking(move || {
                    send_windows(&replica, within as usize, end, &sender);
                });
                return Ok(BlockStream { pieces, node: None, located });
            }
            let (located, node) = self.choose(position, attempts).await?;
            let length = located.b.num_bytes() - within;
            match RemoteBlock::open(&self.fs, &node.id, &located, within, length).await {
                Ok(remote) => {
                    let (sender, pieces) = mpsc::channel(READ_AHEAD);
                    tokio::spawn(send_packets(remote, sender));
                    return Ok(BlockStream { pieces, node: Some(node), located });
                }
                Err(failure) => {
                    self.failed(&located, Some(&node), &failure);
                    attempts.last = Some(failure);
                }
            }
        }
    }

    /// Fills a buffer from one position, up to the end of that block; says how much that was.
    async fn read_part(
        &self,
        position: u64,
        buffer: &mut [u8],
        attempts: &mut Attempts,
    ) -> Result<usize> {
        let located = self.block_at(position).await?;
        let within = position - located.offset;
        let count =
            usize::try_from(located.b.num_bytes() - within).unwrap_or(usize::MAX).min(buffer.len());
        if let Some(replica) = self.local(&located).await {
            let start = within as usize;
            match replica.slice(start..start + count) {
                Ok(bytes) => {
                    buffer[..count].copy_from_slice(bytes);
                    return Ok(count);
                }
                Err(error) => {
                    self.failed(&located, None, &ReadFailure::Corrupt(error.to_string()));
                }
            }
        }
        let (located, node) = self.choose(position, attempts).await?;
        let mut filled = 0;
        let fetched = self.fetch(&located, &node, within, &mut buffer[..count], &mut filled).await;
        let Err(failure) = fetched else {
            *attempts = Attempts::default();
            return Ok(count);
        };
        self.failed(&located, Some(&node), &failure);
        attempts.last = Some(failure);
        if filled > 0 {
            attempts.rounds = 0;
        }
        Ok(filled)
    }
}

impl Shared {
    /// Fills a buffer from one datanode; `filled` counts also what came before a failure.
    async fn fetch(
        &self,
        located: &proto::LocatedBlockProto,
        node: &proto::DatanodeInfoProto,
        within: u64,
        buffer: &mut [u8],
        filled: &mut usize,
    ) -> Result<(), ReadFailure> {
        let length = buffer.len() as u64;
        let mut remote = RemoteBlock::open(&self.fs, &node.id, located, within, length).await?;
        while let Some(bytes) = remote.next().await? {
            buffer[*filled..*filled + bytes.len()].copy_from_slice(&bytes);
            *filled += bytes.len();
        }
        remote.finish().await;
        Ok(())
    }
}

/// The storage id that goes with a node, for a report about it.
fn storage_of(located: &proto::LocatedBlockProto, node: &proto::DatanodeInfoProto) -> Vec<String> {
    let index = located.locs.iter().position(|n| n.id.datanode_uuid == node.id.datanode_uuid);
    index.and_then(|index| located.storage_i_ds.get(index)).cloned().into_iter().collect()
}

/// Reads a datanode's packets ahead of the reader.
async fn send_packets(mut remote: RemoteBlock, sender: mpsc::Sender<Result<Bytes, ReadFailure>>) {
    loop {
        match remote.next().await {
            Ok(Some(bytes)) => {
                if sender.send(Ok(bytes)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return remote.finish().await,
            Err(failure) => {
                // A reader that has gone misses nothing.
                let _ = sender.send(Err(failure)).await;
                return;
            }
        }
    }
}

/// Verifies a mapped replica's windows ahead of the reader.
fn send_windows(
    replica: &Arc<LocalReplica>,
    mut at: usize,
    end: usize,
    sender: &mpsc::Sender<Result<Bytes, ReadFailure>>,
) {
    while at < end {
        let stop = ((at / WINDOW_BYTES + 1) * WINDOW_BYTES).min(end);
        let piece =
            replica.bytes(at..stop).map_err(|error| ReadFailure::Corrupt(error.to_string()));
        let failed = piece.is_err();
        if sender.blocking_send(piece).is_err() || failed {
            return;
        }
        at = stop;
    }
}
