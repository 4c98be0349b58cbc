//! WRITE_BLOCK: takes a place in a write pipeline, or receives a copy from another datanode.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::hadoop::hdfs::op_write_block_proto::BlockConstructionStage;
use hfs_protocol::proto::hadoop::hdfs::{
    BlockOpResponseProto, DatanodeInfoProto, OpWriteBlockProto, Status,
};
use hfs_protocol::transfer::checksum::DataChecksum;
use hfs_protocol::transfer::op::{self, Op};

use super::copy::CONNECT_PATIENCE;
use super::receive::{Mirror, Outcome, receive_copy, receive_pipeline};
use super::serve::{After, refuse_with};
use super::socket::{dial, linger, send_message};
use super::stream::CHUNK_BYTES_MAX;
use super::{Xceiver, dial_address, transfer_address};
use crate::store::StoreError;
use crate::store::pipeline::NewReplica;
use crate::store::replica::PipelineRecovery;
use crate::store::writer::ReplicaWriter;

/// What each node further down adds to a wait for the pipeline (HDFS `READ_TIMEOUT_EXTENSION`).
const PER_NODE_PATIENCE: Duration = Duration::from_secs(5);

/// No real pipeline is longer; the request names every node.
const PIPELINE_NODES_MAX: usize = 128;

/// What a write does with the replica before the first packet.
enum Opened {
    /// Packets follow.
    Writer(ReplicaWriter),
    /// Nothing follows: the replica was completed (close recovery).
    Closed,
}

/// Serves one write.
///
/// # Errors
/// If the connection upstream fails.
pub fn write_block(
    xceiver: &Arc<Xceiver>,
    op: &OpWriteBlockProto,
    stream: TcpStream,
    leftover: &[u8],
    peer: SocketAddr,
) -> io::Result<After> {
    let id = op.header.base_header.block.block_id;
    let copy = is_copy(op);
    let opened = match open(xceiver, op) {
        Ok(opened) => opened,
        Err(error) => {
            xceiver.metrics.writes_failed.inc();
            tracing::info!("refused to write blk_{id} for {peer}: {error}");
            return refuse_with(&stream, &error.to_string());
        }
    };
    if copy {
        return match opened {
            Opened::Writer(writer) => {
                let as_rbw = op.stage() == BlockConstructionStage::TransferRbw;
                receive_copy(xceiver, writer, as_rbw, &stream, leftover, peer)?;
                Ok(After::Close)
            }
            Opened::Closed => refuse_with(&stream, "a close recovery copies nothing"),
        };
    }
    let mirror = match mirror(xceiver, op) {
        Ok(mirror) => mirror,
        Err(refusal) => {
            tracing::info!(
                "the pipeline of blk_{id} broke at its setup: {}",
                refusal.message.as_deref().unwrap_or("refused downstream")
            );
            if let (Opened::Writer(writer), BlockConstructionStage::PipelineSetupCreate) =
                (opened, op.stage())
            {
                // The client will ask for another block; nobody ever hears of this one.
                writer.discard();
            }
            xceiver.metrics.writes_failed.inc();
            send_message(&stream, &*refusal)?;
            linger(&stream);
            return Ok(After::Close);
        }
    };
    send_message(&stream, &op::write_ready())?;
    match opened {
        Opened::Closed => Ok(After::Close),
        Opened::Writer(writer) => {
            match receive_pipeline(xceiver, writer, mirror, &stream, leftover) {
                Outcome::Complete => {
                    xceiver.metrics.writes.inc();
                }
                Outcome::Broken(reason) => {
                    xceiver.metrics.writes_failed.inc();
                    tracing::info!("the write of blk_{id} from {peer} ended early: {reason}");
                }
            }
            Ok(After::Close)
        }
    }
}

/// True for a copy from another datanode: no answer to the setup, no acks, one answer at the end.
fn is_copy(op: &OpWriteBlockProto) -> bool {
    op.header.client_name.is_empty()
        || matches!(
            op.stage(),
            BlockConstructionStage::TransferRbw | BlockConstructionStage::TransferFinalized
        )
}

fn open(xceiver: &Xceiver, op: &OpWriteBlockProto) -> Result<Opened, StoreError> {
    let store = &xceiver.store;
    let block = &op.header.base_header.block;
    store.check_pool(&block.pool_id)?;
    let id = BlockId(block.block_id);
    let stamp = GenStamp(block.generation_stamp);
    let refuse = |sentence: String| StoreError::Directory(sentence);
    let checksum = DataChecksum::from_proto(&op.requested_checksum)
        .map_err(|error| refuse(error.to_string()))?;
    if checksum.bytes_per_checksum() > CHUNK_BYTES_MAX {
        return Err(refuse(format!(
            "{} bytes per checksum are too many; at most {CHUNK_BYTES_MAX} can be",
            checksum.bytes_per_checksum()
        )));
    }
    if op.targets.len() > PIPELINE_NODES_MAX {
        return Err(refuse(format!("a pipeline of {} nodes is too long", op.targets.len() + 1)));
    }
    if is_copy(op) && !op.targets.is_empty() {
        return Err(refuse("a copy goes to one datanode; it can't be passed on".to_owned()));
    }
    let expected_bytes = block.num_bytes.unwrap_or(0);
    let asked = PipelineRecovery {
        block: id,
        stamp,
        new_stamp: stamp.max(GenStamp(op.latest_generation_stamp)),
        min_bytes: op.min_bytes_rcvd,
        max_bytes: op.max_bytes_rcvd.max(op.min_bytes_rcvd),
    };
    let new = NewReplica {
        block: id,
        stamp,
        expected_bytes,
        storage_uuid: op.storage_id.as_deref(),
        checksum,
        copy: is_copy(op),
    };
    match op.stage() {
        BlockConstructionStage::TransferRbw
        | BlockConstructionStage::TransferFinalized
        | BlockConstructionStage::PipelineSetupCreate => store.create(&new).map(Opened::Writer),
        _ if new.copy => Err(refuse("a copy can only make a new replica".to_owned())),
        BlockConstructionStage::PipelineSetupAppend => {
            let exact = PipelineRecovery { max_bytes: asked.min_bytes, ..asked };
            store.append(&exact, checksum, expected_bytes).map(Opened::Writer)
        }
        BlockConstructionStage::PipelineSetupAppendRecovery
        | BlockConstructionStage::PipelineSetupStreamingRecovery => {
            store.recover(&asked, checksum, expected_bytes).map(Opened::Writer)
        }
        BlockConstructionStage::PipelineCloseRecovery => {
            store.recover_close(&asked).map(|()| Opened::Closed)
        }
        BlockConstructionStage::DataStreaming | BlockConstructionStage::PipelineClose => {
            Err(refuse(format!("stage {} opens no pipeline", op.stage().as_str_name())))
        }
    }
}

/// Sets up the rest of the pipeline. The refusal is what goes upstream.
fn mirror(
    xceiver: &Xceiver,
    op: &OpWriteBlockProto,
) -> Result<Option<Mirror>, Box<BlockOpResponseProto>> {
    let Some((next, rest)) = op.targets.split_first() else { return Ok(None) };
    let address = transfer_address(&next.id);
    let patience = xceiver.patience + PER_NODE_PATIENCE * (rest.len() as u32 + 1);
    let connect = || -> io::Result<(TcpStream, BlockOpResponseProto)> {
        let stream = dial(dial_address(&next.id)?, CONNECT_PATIENCE, patience)?;
        (&stream).write_all(&Op::WriteBlock(Box::new(forwarded(op, rest))).encode())?;
        let response = op::read_response(&mut &stream)?;
        Ok((stream, response))
    };
    match connect() {
        Ok((stream, response)) if response.status() == Status::Success => {
            Ok(Some(Mirror { stream, address, nodes: op.targets.len() }))
        }
        Ok((_, response)) => {
            let further = response.first_bad_link.as_deref().filter(|link| !link.is_empty());
            let reason = response.message.as_deref().unwrap_or("it gave no reason");
            Err(Box::new(op::write_refused(
                response.status(),
                further.unwrap_or(&address),
                format!("datanode {address} refused its place in the pipeline: {reason}"),
            )))
        }
        Err(error) => Err(Box::new(op::write_refused(
            Status::Error,
            &address,
            format!("datanode {address} could not be reached for the pipeline: {error}"),
        ))),
    }
}

/// The request for the next node: it is the first of the rest.
fn forwarded(op: &OpWriteBlockProto, rest: &[DatanodeInfoProto]) -> OpWriteBlockProto {
    let shift = |storages: &[String]| storages.iter().skip(1).cloned().collect();
    OpWriteBlockProto {
        targets: rest.to_vec(),
        storage_type: op.target_storage_types.first().copied().or(op.storage_type),
        target_storage_types: op.target_storage_types.iter().skip(1).copied().collect(),
        storage_id: op.target_storage_ids.first().cloned(),
        target_storage_ids: shift(&op.target_storage_ids),
        pinning: op.target_pinnings.first().copied().or(op.pinning),
        target_pinnings: op.target_pinnings.iter().skip(1).copied().collect(),
        ..op.clone()
    }
}
