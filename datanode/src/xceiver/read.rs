//! READ_BLOCK: a range of a replica, with the checksums that its writer sent.

use std::io::{self, Cursor, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use hfs_protocol::delimited;
use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::hadoop::hdfs::{ClientReadStatusProto, OpReadBlockProto, Status};
use hfs_protocol::transfer::checksum::{ChecksumType, DataChecksum};
use hfs_protocol::transfer::op;
use prost::Message;

use super::Xceiver;
use super::serve::{After, refuse_with};
use super::socket::is_gone;
use super::stream::{CHUNK_BYTES_MAX, ChunkRange, send_packets};
use crate::store::StoreError;
use crate::store::reader::ReplicaReader;

/// How long a reader waits for bytes of a replica that is being written to be acknowledged.
const VISIBLE_PATIENCE: Duration = Duration::from_secs(3);

/// The longest status a client sends after a read, bytes.
const STATUS_BYTES_MAX: usize = 1024;

/// Serves one read.
///
/// # Errors
/// If the connection or the disk fails in the middle: the client goes on with another replica.
pub fn read_block(
    xceiver: &Arc<Xceiver>,
    op: &OpReadBlockProto,
    stream: TcpStream,
    leftover: Vec<u8>,
) -> io::Result<After> {
    let block = &op.header.base_header.block;
    let (id, stamp) = (BlockId(block.block_id), GenStamp(block.generation_stamp));
    let (reader, range) = match open(xceiver, op, id, stamp) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::info!("refused to read blk_{id}: {error}");
            return refuse_with(&stream, &error.to_string());
        }
    };
    let with_sums = op.send_checksums.unwrap_or(true);
    let stored = reader.checksum();
    let sent = if with_sums {
        stored
    } else {
        DataChecksum::new(ChecksumType::Null, stored.bytes_per_checksum())
            .map_err(io::Error::other)?
    };
    let ready = op::read_ready(sent, range.start).encode_length_delimited_to_vec();
    match send_packets(&stream, &reader, range, with_sums, ready) {
        Ok(sent) => {
            xceiver.metrics.reads.inc();
            xceiver.metrics.bytes_read.inc_by(sent);
        }
        // The client has what it wanted, or went elsewhere.
        Err(error) if is_gone(&error) => return Ok(After::Close),
        Err(error) => {
            tracing::warn!("reading blk_{id} failed: {error}");
            if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                xceiver.verify_later(id, reader.stamp);
            }
            return Ok(After::Close);
        }
    }
    let mut incoming = Cursor::new(leftover).chain(&stream);
    let status: ClientReadStatusProto = match delimited::read(&mut incoming, STATUS_BYTES_MAX) {
        Ok(status) => status,
        // It may close without a word.
        Err(_) => return Ok(After::Close),
    };
    let (rest, _) = incoming.into_inner();
    let at = usize::try_from(rest.position()).unwrap_or(usize::MAX);
    let leftover = rest.into_inner().get(at..).unwrap_or_default().to_vec();
    if status.status() == Status::ErrorChecksum {
        xceiver.metrics.checksum_errors.inc();
        tracing::warn!("a client found that blk_{id} does not match its checksums; checking it");
        xceiver.verify_later(id, reader.stamp);
    }
    Ok(After::KeepAlive(stream, leftover))
}

fn open(
    xceiver: &Xceiver,
    op: &OpReadBlockProto,
    block: BlockId,
    stamp: GenStamp,
) -> Result<(ReplicaReader, ChunkRange), StoreError> {
    let store = &xceiver.store;
    store.check_pool(&op.header.base_header.block.pool_id)?;
    let wanted = op.offset.saturating_add(op.len);
    store.slot(block)?.wait_visible(wanted, VISIBLE_PATIENCE)?;
    let reader = store.open_reader(block, stamp)?;
    let checksum = reader.checksum();
    if checksum.bytes_per_checksum() > CHUNK_BYTES_MAX {
        return Err(StoreError::Corrupt {
            block,
            reason: format!("its chunks are larger than {CHUNK_BYTES_MAX} bytes"),
        });
    }
    let range = ChunkRange::covering(checksum, op.offset, op.len, reader.visible, reader.end)
        .ok_or_else(|| StoreError::Length {
            block,
            have: reader.visible,
            expected: format!("{} from offset {}", op.len, op.offset),
        })?;
    Ok((reader, range))
}
