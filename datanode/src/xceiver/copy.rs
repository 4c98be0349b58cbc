//! Copies a replica to another datanode: for a client that replaces a dead node of its pipeline
//! (TRANSFER_BLOCK), and for the namenode that wants one more replica.
//!
//! The copy travels as WRITE_BLOCK followed by a stream like a read's. The receiver acks no packet;
//! it answers once, after the end: both ends are this datanode's code, so that also a copy for the
//! namenode, which HDFS leaves unanswered, ends with a yes or a reason.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::hadoop::hdfs::op_write_block_proto::BlockConstructionStage;
use hfs_protocol::proto::hadoop::hdfs::{
    BaseHeaderProto, ClientOperationHeaderProto, DatanodeInfoProto, ExtendedBlockProto,
    OpTransferBlockProto, OpWriteBlockProto, Status, StorageTypeProto, TokenProto,
};
use hfs_protocol::transfer::op::{self, Op};

use super::serve::{After, refuse_with};
use super::socket::{dial, send_message};
use super::stream::{ChunkRange, send_packets};
use super::{Xceiver, dial_address, transfer_address};
use crate::store::reader::ReplicaReader;

/// How long a datanode may take to accept a connection from another one.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long to look for the receiver's reason after it hung up.
const REASON_PATIENCE: Duration = Duration::from_secs(2);

/// Who a copy is for and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct CopyTarget<'a> {
    /// The node.
    pub node: &'a DatanodeInfoProto,
    /// The storage the namenode has in mind, if any.
    pub storage_uuid: Option<&'a str>,
    /// The client whose pipeline is repaired; empty for the namenode.
    pub client: &'a str,
    /// The client's token, passed on as it is.
    pub token: Option<&'a TokenProto>,
}

/// Serves TRANSFER_BLOCK.
///
/// # Errors
/// If the client can't be answered.
pub fn transfer_block(
    xceiver: &Arc<Xceiver>,
    request: &OpTransferBlockProto,
    stream: &TcpStream,
) -> io::Result<After> {
    let header = &request.header;
    let block = &header.base_header.block;
    let (id, stamp) = (BlockId(block.block_id), GenStamp(block.generation_stamp));
    let copy_all = || -> io::Result<()> {
        xceiver.store.check_pool(&block.pool_id).map_err(io::Error::other)?;
        for (index, node) in request.targets.iter().enumerate() {
            let reader = xceiver.store.open_reader(id, stamp).map_err(io::Error::other)?;
            let target = CopyTarget {
                node,
                storage_uuid: request.target_storage_ids.get(index).map(String::as_str),
                client: &header.client_name,
                token: header.base_header.token.as_ref(),
            };
            copy_replica(xceiver, &reader, &target)?;
        }
        Ok(())
    };
    match copy_all() {
        Ok(()) => {
            send_message(stream, &op::plain(Status::Success))?;
            Ok(After::Close)
        }
        Err(error) => {
            tracing::warn!("blk_{id} was not copied for a client: {error}");
            refuse_with(stream, &error.to_string())
        }
    }
}

/// Copies one replica to one node and waits until the node has it.
///
/// # Errors
/// Why the node does not have it, with its address.
pub fn copy_replica(
    xceiver: &Xceiver,
    reader: &ReplicaReader,
    target: &CopyTarget<'_>,
) -> io::Result<()> {
    let name = transfer_address(&target.node.id);
    let failed = |error: io::Error| {
        let sentence = format!("copying blk_{} to datanode {name} failed: {error}", reader.block);
        io::Error::new(error.kind(), sentence)
    };
    let stream =
        dial(dial_address(&target.node.id)?, CONNECT_PATIENCE, xceiver.patience).map_err(failed)?;
    let checksum = reader.checksum();
    // Of a replica being written also what is not acked yet goes along: its last checksum covers it.
    let range = ChunkRange { start: 0, end: reader.end };
    let request = Op::WriteBlock(Box::new(request(xceiver, reader, target)));
    let sent = send_packets(&stream, reader, range, checksum.checksum_size() > 0, request.encode());
    if let Err(error) = &sent {
        // The receiver may have said why before it hung up.
        let reason = stream
            .set_read_timeout(Some(REASON_PATIENCE))
            .and_then(|()| op::read_response(&mut &stream));
        return Err(failed(match reason {
            Ok(response) => io::Error::other(sentence(response.message)),
            Err(_) => io::Error::new(error.kind(), error.to_string()),
        }));
    }
    let answer = op::read_response(&mut &stream).map_err(failed)?;
    match answer.status() {
        Status::Success => {
            xceiver.metrics.copies.inc();
            xceiver.metrics.bytes_read.inc_by(range.end);
            Ok(())
        }
        status => {
            if status == Status::ErrorChecksum {
                // Either this disk or the way was bad; only this disk can be asked.
                xceiver.verify_later(reader.block, reader.stamp);
            }
            Err(failed(io::Error::other(sentence(answer.message))))
        }
    }
}

fn sentence(message: Option<String>) -> String {
    message.unwrap_or_else(|| "it refused without a reason".to_owned())
}

fn request(
    xceiver: &Xceiver,
    reader: &ReplicaReader,
    target: &CopyTarget<'_>,
) -> OpWriteBlockProto {
    let stage = match (target.client.is_empty(), reader.finalized) {
        (true, _) => BlockConstructionStage::PipelineSetupCreate,
        (false, true) => BlockConstructionStage::TransferFinalized,
        (false, false) => BlockConstructionStage::TransferRbw,
    };
    let pool_id = xceiver.store.pool().map(|pool| pool.pool_id.clone()).unwrap_or_default();
    OpWriteBlockProto {
        header: ClientOperationHeaderProto {
            base_header: BaseHeaderProto {
                block: ExtendedBlockProto {
                    pool_id,
                    block_id: reader.block.0,
                    generation_stamp: reader.stamp.0,
                    num_bytes: Some(reader.end),
                },
                token: target.token.cloned(),
                trace_info: None,
            },
            client_name: target.client.to_owned(),
        },
        targets: Vec::new(),
        source: xceiver.node.get().cloned(),
        stage: stage as i32,
        pipeline_size: 1,
        min_bytes_rcvd: 0,
        max_bytes_rcvd: reader.end,
        latest_generation_stamp: 0,
        requested_checksum: reader.checksum().into(),
        caching_strategy: None,
        storage_type: Some(StorageTypeProto::Disk as i32),
        target_storage_types: Vec::new(),
        allow_lazy_persist: None,
        pinning: None,
        target_pinnings: Vec::new(),
        storage_id: target.storage_uuid.filter(|id| !id.is_empty()).map(str::to_owned),
        target_storage_ids: Vec::new(),
    }
}
