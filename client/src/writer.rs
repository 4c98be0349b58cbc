//! Writing files: bytes are put straight into packets, and a task of the file's own
//! ([`crate::pipeline`]) sends them, so that writing and sending overlap.

use std::sync::Arc;

use hfs_protocol::proto::hadoop::hdfs as proto;
use hfs_protocol::transfer::checksum::{ChecksumType, DataChecksum};
use hfs_protocol::transfer::packet::PacketHeader;
use hfs_protocol::transfer::packet_buffer::PacketBuffer;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::{FileSystem, normalize};
use crate::pipeline::state::PacketInfo;
use crate::pipeline::streamer::{Command, FileBeingWritten, Start, Streamer};
use crate::status::{CreateOptions, FileStatus};

/// HDFS `CreateFlag` bits.
const CREATE: u32 = 1;
const OVERWRITE: u32 = 2;
const APPEND: u32 = 4;

/// Where the streamer leaves the reason why it stopped.
pub(crate) type Verdict = Arc<Mutex<Option<Error>>>;

/// A file open for writing. Close it: dropping it without [`FileWriter::close`] leaves the file
/// open until the namenode takes the lease away.
///
/// An error is final: every later call gives the same one.
pub struct FileWriter {
    path: String,
    commands: mpsc::Sender<Command>,
    /// Packets that come back when they are acked. Their number bounds the writer's memory.
    free: mpsc::Receiver<PacketBuffer>,
    packets: usize,
    packets_max: usize,
    verdict: Verdict,
    block_size: u64,
    checksum: DataChecksum,
    packet_data_bytes: usize,
    /// Bytes of the file so far.
    length: u64,
    packet: Option<Filling>,
    /// Where the next packet begins, bytes of its block.
    block_position: u64,
    /// The end of a chunk that was flushed before it was full: it is sent again, whole, in front
    /// of what comes next, because a checksum covers a whole chunk.
    tail: Vec<u8>,
    next_seqno: i64,
    /// Every block's last packet asks for the bytes to be on disk.
    sync_blocks: bool,
    closed: bool,
}

/// The packet being filled.
struct Filling {
    buffer: PacketBuffer,
    /// Where its data begins, bytes of the block.
    start: u64,
    /// How many bytes at its beginning were sent before.
    stale: usize,
}

impl FileSystem {
    /// Creates a file and opens it for writing.
    ///
    /// # Errors
    /// `AlreadyExists` unless `overwrite`, `NotFound` without a parent, `AccessDenied`, `Quota`
    /// and others.
    pub async fn create(&self, path: &str, options: &CreateOptions) -> Result<FileWriter> {
        let path = normalize(path)?;
        let config = &self.inner.config;
        let block_size = options.block_size.unwrap_or(config.block_size);
        let checksum = self.checksum()?;
        if block_size == 0 || !block_size.is_multiple_of(u64::from(config.bytes_per_checksum)) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "a block size of {block_size} bytes is not a multiple of {} \
                     (dfs.bytes-per-checksum)",
                    config.bytes_per_checksum
                ),
            )
            .on(&path));
        }
        let (masked, unmasked) = self.file_permission(options);
        let request = proto::CreateRequestProto {
            src: path.clone(),
            masked,
            client_name: self.inner.client_name.clone(),
            create_flag: if options.overwrite { CREATE | OVERWRITE } else { CREATE },
            create_parent: !options.no_parents,
            replication: u32::from(options.replication.unwrap_or(config.replication)),
            block_size,
            crypto_protocol_version: Vec::new(),
            unmasked,
            ec_policy_name: None,
            storage_policy: None,
        };
        let response: proto::CreateResponseProto =
            self.inner.call("create", &request).await.map_err(|error| error.on(&path))?;
        let status = response
            .fs
            .map(|status| FileStatus::from_proto(path.clone(), &status))
            .ok_or_else(|| Error::new(ErrorKind::Io, "create was not answered").on(&path))?;
        Ok(self.writer(&status, None, checksum, options))
    }

    /// Opens an existing file for writing after its end.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyBeingCreated` while another writer has it, `RecoveryInProgress` while
    /// the namenode takes it away from one that is gone.
    pub async fn append(&self, path: &str) -> Result<FileWriter> {
        let path = normalize(path)?;
        let checksum = self.checksum()?;
        let request = proto::AppendRequestProto {
            src: path.clone(),
            client_name: self.inner.client_name.clone(),
            flag: Some(APPEND),
        };
        let response: proto::AppendResponseProto =
            self.inner.call("append", &request).await.map_err(|error| error.on(&path))?;
        let status = match response.stat {
            Some(status) => FileStatus::from_proto(path.clone(), &status),
            None => self.status(&path).await?,
        };
        Ok(self.writer(&status, response.block, checksum, &CreateOptions::default()))
    }

    fn checksum(&self) -> Result<DataChecksum> {
        let bytes = self.inner.config.bytes_per_checksum;
        DataChecksum::new(ChecksumType::Crc32c, bytes)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))
    }

    fn writer(
        &self,
        status: &FileStatus,
        last_block: Option<proto::LocatedBlockProto>,
        checksum: DataChecksum,
        options: &CreateOptions,
    ) -> FileWriter {
        let config = &self.inner.config;
        let packets_max = config.packets_in_flight_max.max(2);
        let (commands, receiver) = mpsc::channel(packets_max + 2);
        let (sender, free) = mpsc::channel(packets_max);
        let verdict = Verdict::default();
        let block_position = last_block.as_ref().map_or(0, |block| block.b.num_bytes());
        let file = FileBeingWritten {
            path: status.path.clone(),
            file_id: status.file_id,
            replication: usize::from(status.replication),
            block_size: status.block_size,
            no_local_write: options.no_local_write,
            checksum,
        };
        let start = last_block.map_or(Start::Empty, |block| Start::Append(Box::new(block)));
        let streamer =
            Streamer::new(self.inner.clone(), file, start, receiver, sender, verdict.clone());
        tokio::spawn(streamer.run());
        FileWriter {
            path: status.path.clone(),
            commands,
            free,
            packets: 0,
            packets_max,
            verdict,
            block_size: status.block_size,
            checksum,
            packet_data_bytes: config.packet_data_bytes,
            length: status.length,
            packet: None,
            block_position,
            tail: Vec::new(),
            next_seqno: 0,
            sync_blocks: options.sync_blocks,
            closed: false,
        }
    }
}

impl FileWriter {
    /// The file's path, as it was when it was opened.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes of the file, those written and not yet sent included.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether the file is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes as many bytes as fit the packet being filled; waits when all packets are in flight.
    ///
    /// # Errors
    /// What stopped the file's writing, here or in the background.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.make_room().await?;
        let Some(packet) = &mut self.packet else { return Err(self.stopped()) };
        let count = packet.buffer.push(bytes);
        self.length += count as u64;
        self.send_if_full().await?;
        Ok(count)
    }

    /// Takes all bytes.
    ///
    /// # Errors
    /// As [`FileWriter::write`].
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Room in the packet being filled, to read into directly (it is never empty); then say how
    /// much was filled with [`FileWriter::filled`]. Spares a copy.
    ///
    /// # Errors
    /// As [`FileWriter::write`].
    pub async fn room(&mut self) -> Result<&mut [u8]> {
        self.make_room().await?;
        match &mut self.packet {
            Some(packet) => Ok(packet.buffer.spare()),
            None => Err(Error::new(ErrorKind::Closed, "the file is closed")),
        }
    }

    /// Counts bytes that were put into the [`FileWriter::room`].
    ///
    /// # Errors
    /// As [`FileWriter::write`].
    ///
    /// # Panics
    /// When there was less room.
    pub async fn filled(&mut self, count: usize) -> Result<()> {
        if let Some(packet) = &mut self.packet {
            packet.buffer.advance(count);
            self.length += count as u64;
        }
        self.send_if_full().await
    }

    /// Waits until every byte so far is at all datanodes of the pipeline: any reader that opens
    /// the file from now on sees them, and they survive the crash of any process.
    ///
    /// # Errors
    /// As [`FileWriter::write`].
    pub async fn hflush(&mut self) -> Result<()> {
        self.flush(false).await
    }

    /// [`FileWriter::hflush`], and the datanodes have put the bytes of this block onto their
    /// disks: they survive the loss of power. Blocks that begin after the first call are synced as
    /// they end; create the file with [`CreateOptions::sync_blocks`] to sync those before too.
    ///
    /// # Errors
    /// As [`FileWriter::write`].
    pub async fn hsync(&mut self) -> Result<()> {
        self.sync_blocks = true;
        self.flush(true).await
    }

    async fn flush(&mut self, sync: bool) -> Result<()> {
        self.check_open()?;
        let sent = self.send_packet(sync).await?;
        if sync && !sent && self.next_seqno > 0 {
            // Nothing new to carry the request: an empty packet does.
            self.send_empty(false, true).await?;
        }
        let (done, wait) = oneshot::channel();
        self.send(Command::Flush { done }).await?;
        wait.await.map_err(|_| self.stopped())
    }

    /// Sends what is left, closes the last block and the file. Only when this returns success is
    /// the file whole and the bytes safe at the datanodes.
    ///
    /// # Errors
    /// As [`FileWriter::write`]. The file then stays open on the namenode until its lease ends.
    pub async fn close(&mut self) -> Result<()> {
        self.check_open()?;
        self.send_packet(false).await?;
        if self.next_seqno > 0 {
            self.end_block().await?;
        }
        let (done, wait) = oneshot::channel();
        self.send(Command::Close { done }).await?;
        wait.await.map_err(|_| self.stopped())?;
        self.closed = true;
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::Closed, "the file is closed").on(&self.path));
        }
        match &*self.verdict.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Why the streamer is gone.
    fn stopped(&self) -> Error {
        self.verdict.lock().clone().unwrap_or_else(|| {
            Error::new(ErrorKind::Closed, "the file's writer was stopped").on(&self.path)
        })
    }

    async fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| self.stopped())
    }

    /// Sees to it that there is a packet with room.
    async fn make_room(&mut self) -> Result<()> {
        self.check_open()?;
        self.send_if_full().await?;
        if self.packet.is_some() {
            return Ok(());
        }
        let mut buffer = self.take_buffer().await?;
        let start = self.block_position - self.tail.len() as u64;
        buffer.reset(self.packet_limit(start));
        let stale = buffer.push(&self.tail);
        self.tail.clear();
        self.packet = Some(Filling { buffer, start, stale });
        Ok(())
    }

    /// How many bytes a packet that begins at `start` may have: it ends with its block; and one
    /// that begins inside a chunk (an append) ends with that chunk, because its one checksum
    /// covers only the new bytes.
    fn packet_limit(&self, start: u64) -> usize {
        let chunk = u64::from(self.checksum.bytes_per_checksum());
        let within = start % chunk;
        let most = if within == 0 { self.packet_data_bytes as u64 } else { chunk - within };
        most.min(self.block_size - start) as usize
    }

    async fn take_buffer(&mut self) -> Result<PacketBuffer> {
        if let Ok(buffer) = self.free.try_recv() {
            return Ok(buffer);
        }
        if self.packets < self.packets_max {
            self.packets += 1;
            return Ok(PacketBuffer::new(self.checksum, self.packet_data_bytes));
        }
        self.free.recv().await.ok_or_else(|| self.stopped())
    }

    async fn send_if_full(&mut self) -> Result<()> {
        if self.packet.as_ref().is_some_and(|packet| packet.buffer.is_full()) {
            self.send_packet(false).await?;
        }
        Ok(())
    }

    /// Sends the packet being filled, if it has anything new. Says whether it had.
    async fn send_packet(&mut self, sync: bool) -> Result<bool> {
        let Some(packet) = &mut self.packet else { return Ok(false) };
        if packet.buffer.len() <= packet.stale {
            return Ok(false);
        }
        // A place in the queue first: a caller that gives up waiting loses nothing.
        let place = match self.commands.reserve().await {
            Ok(place) => place,
            Err(_) => return Err(self.stopped()),
        };
        let Some(mut packet) = self.packet.take() else { return Ok(false) };
        let seqno = self.next_seqno;
        packet.buffer.finish(packet.start, seqno, false, sync);
        let end = packet.start + packet.buffer.len() as u64;
        // Keep what a checksum does not cover whole yet. A chunk may have begun before this packet
        // only when the packet itself began inside a chunk, and then its start is the boundary.
        let chunk = u64::from(self.checksum.bytes_per_checksum());
        let boundary = (end - end % chunk).max(packet.start);
        self.tail.extend_from_slice(&packet.buffer.data()[(boundary - packet.start) as usize..]);
        if end == self.block_size || end.is_multiple_of(chunk) {
            self.tail.clear();
        }
        place.send(Command::Packet {
            info: PacketInfo { seqno, end, last: false },
            buffer: packet.buffer,
        });
        self.next_seqno += 1;
        self.block_position = end;
        if end == self.block_size {
            self.end_block().await?;
        }
        Ok(true)
    }

    /// Ends the block: what comes next begins a new one.
    async fn end_block(&mut self) -> Result<()> {
        self.send_empty(true, self.sync_blocks).await?;
        self.next_seqno = 0;
        self.block_position = 0;
        self.tail.clear();
        self.packet = None;
        Ok(())
    }

    async fn send_empty(&mut self, last: bool, sync: bool) -> Result<()> {
        let info = PacketInfo { seqno: self.next_seqno, end: self.block_position, last };
        let header = PacketHeader {
            offset_in_block: self.block_position,
            seqno: self.next_seqno,
            last_packet_in_block: last,
            data_len: 0,
            sync_block: sync,
        };
        self.send(Command::Empty { info, bytes: header.encode_empty() }).await?;
        self.next_seqno += 1;
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.closed && self.verdict.lock().is_none() {
            tracing::debug!(path = %self.path, "a file was dropped before it was closed");
        }
    }
}
