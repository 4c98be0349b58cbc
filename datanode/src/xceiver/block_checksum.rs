//! BLOCK_CHECKSUM: one checksum over a replica's chunk checksums (HDFS `BlockChecksumHelper`).

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::hadoop::hdfs::{
    BlockChecksumOptionsProto, BlockChecksumTypeProto, OpBlockChecksumProto,
    OpBlockChecksumResponseProto,
};
use hfs_protocol::transfer::file_checksum::BlockMd5;
use hfs_protocol::transfer::op;

use super::Xceiver;
use super::serve::{After, refuse_with};
use super::socket::send_message;
use crate::store::StoreError;
use crate::store::reader::ReplicaReader;

/// Chunks whose checksums are read at a time.
const STEP_CHUNKS: u64 = 64 * 1024;

/// Serves one request.
///
/// # Errors
/// If the connection fails.
pub fn block_checksum(
    xceiver: &Arc<Xceiver>,
    request: &OpBlockChecksumProto,
    stream: TcpStream,
    leftover: Vec<u8>,
) -> io::Result<After> {
    match compute(xceiver, request) {
        Ok(response) => {
            send_message(&stream, &op::checksum_ready(response))?;
            Ok(After::KeepAlive(stream, leftover))
        }
        Err(error) => {
            let block = request.header.block.block_id;
            tracing::info!("no checksum of blk_{block}: {error}");
            refuse_with(&stream, &error.to_string())
        }
    }
}

fn compute(
    xceiver: &Xceiver,
    request: &OpBlockChecksumProto,
) -> Result<OpBlockChecksumResponseProto, StoreError> {
    let block = &request.header.block;
    xceiver.store.check_pool(&block.pool_id)?;
    let reader =
        xceiver.store.open_reader(BlockId(block.block_id), GenStamp(block.generation_stamp))?;
    let asked = block.num_bytes.unwrap_or(0);
    let length = if asked == 0 { reader.visible } else { asked.min(reader.visible) };
    let options = request.block_checksum_options.unwrap_or(BlockChecksumOptionsProto {
        block_checksum_type: Some(BlockChecksumTypeProto::Md5crc as i32),
        stripe_length: None,
    });
    let checksum = reader.checksum();
    let bpc = u64::from(checksum.bytes_per_checksum());
    let (bytes, crc_per_block) = match options.block_checksum_type() {
        BlockChecksumTypeProto::Md5crc => {
            let mut md5 = BlockMd5::default();
            for_each_sums(&reader, length, |sums, _| md5.update(sums))?;
            (md5.finish().to_vec(), reader.end.div_ceil(bpc))
        }
        BlockChecksumTypeProto::CompositeCrc => {
            let mut crc = 0;
            for_each_sums(&reader, length, |sums, len| {
                crc = checksum.checksum_type.combine(crc, checksum.composite(sums, len), len);
            })?;
            (crc.to_be_bytes().to_vec(), reader.end.div_ceil(bpc))
        }
    };
    Ok(OpBlockChecksumResponseProto {
        bytes_per_crc: checksum.bytes_per_checksum(),
        crc_per_block: if checksum.checksum_size() == 0 { 0 } else { crc_per_block },
        block_checksum: bytes.into(),
        crc_type: Some(checksum.checksum_type.to_proto() as i32),
        block_checksum_options: Some(options),
    })
}

/// Gives the stored checksums of the first `length` bytes, piece by piece, with the bytes that each
/// piece covers. The checksum of a chunk that `length` cuts through is computed.
fn for_each_sums(
    reader: &ReplicaReader,
    length: u64,
    mut take: impl FnMut(&[u8], u64),
) -> Result<(), StoreError> {
    let checksum = reader.checksum();
    let bpc = u64::from(checksum.bytes_per_checksum());
    let whole = if length == reader.end { length } else { checksum.chunk_start(length) };
    let mut sums = Vec::new();
    let mut position = 0;
    while position < whole {
        let len = (STEP_CHUNKS * bpc).min(whole - position);
        reader.checksums(position, len, &mut sums)?;
        take(&sums, len);
        position += len;
    }
    if whole < length {
        let crc = reader.files().last_crc(length)?;
        if checksum.checksum_size() > 0 {
            take(&crc.to_be_bytes(), length - whole);
        }
    }
    Ok(())
}
