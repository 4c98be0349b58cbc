//! The single exchanges of a write: each one call or one operation, with its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hfs_protocol::error::ErrorKind as RemoteKind;
use hfs_protocol::proto::hadoop::hdfs as proto;
use hfs_protocol::proto::hadoop::hdfs::op_write_block_proto::BlockConstructionStage;
use hfs_protocol::transfer::op::Op;
use tokio::net::TcpStream;

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::Inner;
use crate::pipeline::state::Stage;
use crate::pipeline::streamer::FileBeingWritten;
use crate::retry::Budget;

/// What each node of a pipeline adds to the wait for its setup (HDFS
/// `READ_TIMEOUT_EXTENSION`).
const NODE_EXTENSION: Duration = Duration::from_secs(5);
/// The slowest copy that a transfer between datanodes is waited for.
const TRANSFER_BYTES_PER_SECOND_MIN: u64 = 10 << 20;

/// A datanode as a place for a replica.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) info: proto::DatanodeInfoProto,
    pub(super) storage_id: String,
    pub(super) storage_type: i32,
}

impl Place {
    /// The places of a located block, in pipeline order.
    pub(super) fn all(block: &proto::LocatedBlockProto) -> Vec<Self> {
        let place = |(index, info): (usize, &proto::DatanodeInfoProto)| Self {
            info: info.clone(),
            storage_id: block.storage_i_ds.get(index).cloned().unwrap_or_default(),
            storage_type: block
                .storage_types
                .get(index)
                .copied()
                .unwrap_or(proto::StorageTypeProto::Disk as i32),
        };
        block.locs.iter().enumerate().map(place).collect()
    }

    /// The data transfer address as datanodes write it.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.info.id.ip_addr, self.info.id.xfer_port)
    }
}

/// How long an ack or a setup of this many nodes is waited for.
pub(super) fn patience(fs: &Inner, nodes: usize) -> Duration {
    fs.config.socket_timeout + NODE_EXTENSION * u32::try_from(nodes).unwrap_or(u32::MAX)
}

/// What a pipeline's setup is about.
pub(super) struct Setup {
    pub(super) places: Vec<Place>,
    pub(super) block: proto::ExtendedBlockProto,
    pub(super) token: proto::TokenProto,
    pub(super) stage: Stage,
    pub(super) new_stamp: u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// Dials the first node and sets up the pipeline. A failure comes with the index of the node to
/// blame, if known.
pub(super) async fn set_up(
    fs: Arc<Inner>,
    file: Arc<FileBeingWritten>,
    setup: Setup,
) -> Result<TcpStream, (Option<usize>, String)> {
    let Some((first, rest)) = setup.places.split_first() else {
        return Err((None, "the pipeline has no datanode".to_owned()));
    };
    let mut block = setup.block.clone();
    // The file's block size, as Java sends it: a datanode reserves that much room.
    block.num_bytes = Some(file.block_size);
    let create = setup.stage == Stage::Create;
    let stage = match setup.stage {
        Stage::Create => BlockConstructionStage::PipelineSetupCreate,
        Stage::Append => BlockConstructionStage::PipelineSetupAppend,
        Stage::AppendRecovery => BlockConstructionStage::PipelineSetupAppendRecovery,
        Stage::StreamingRecovery => BlockConstructionStage::PipelineSetupStreamingRecovery,
        Stage::CloseRecovery => BlockConstructionStage::PipelineCloseRecovery,
    };
    let request = Op::WriteBlock(Box::new(proto::OpWriteBlockProto {
        header: operation_header(&fs, block, setup.token.clone()),
        targets: rest.iter().map(|place| place.info.clone()).collect(),
        stage: stage as i32,
        pipeline_size: setup.places.len() as u32,
        min_bytes_rcvd: setup.min,
        max_bytes_rcvd: setup.max,
        latest_generation_stamp: if create { 0 } else { setup.new_stamp },
        requested_checksum: file.checksum.into(),
        storage_type: Some(first.storage_type),
        target_storage_types: rest.iter().map(|place| place.storage_type).collect(),
        storage_id: Some(first.storage_id.clone()),
        target_storage_ids: rest.iter().map(|place| place.storage_id.clone()).collect(),
        target_pinnings: vec![false; rest.len()],
        ..Default::default()
    }))
    .encode();
    let to_first = |cause: std::io::Error| (Some(0), format!("{}: {cause}", first.address()));
    let mut stream = fs.datanodes.dial(&first.info.id).await.map_err(to_first)?;
    let deadline = patience(&fs, setup.places.len());
    let response = crate::reader::ask(&mut stream, &request, deadline).await.map_err(to_first)?;
    let bad_link = response.first_bad_link();
    if response.status() == proto::Status::Success && bad_link.is_empty() {
        return Ok(stream);
    }
    let blamed = setup.places.iter().position(|place| place.address() == bad_link);
    let address = if bad_link.is_empty() { first.address() } else { bad_link.to_owned() };
    let cause = format!("{address}: {} {}", response.status().as_str_name(), response.message());
    Err((blamed, cause.trim_end().to_owned()))
}

fn operation_header(
    fs: &Inner,
    block: proto::ExtendedBlockProto,
    token: proto::TokenProto,
) -> proto::ClientOperationHeaderProto {
    proto::ClientOperationHeaderProto {
        base_header: proto::BaseHeaderProto { block, token: Some(token), trace_info: None },
        client_name: fs.client_name.clone(),
    }
}

/// Has `source` copy its replica to `target` (OP_TRANSFER_BLOCK).
pub(super) async fn transfer(
    fs: Arc<Inner>,
    source: Place,
    target: Place,
    block: proto::ExtendedBlockProto,
    token: proto::TokenProto,
) -> Result<(), String> {
    let copying = Duration::from_secs(block.num_bytes() / TRANSFER_BYTES_PER_SECOND_MIN);
    let request = Op::TransferBlock(Box::new(proto::OpTransferBlockProto {
        header: operation_header(&fs, block, token),
        targets: vec![target.info.clone()],
        target_storage_types: vec![target.storage_type],
        target_storage_ids: vec![target.storage_id.clone()],
    }))
    .encode();
    let from = |cause: std::io::Error| format!("{}: {cause}", source.address());
    let mut stream = fs.datanodes.dial(&source.info.id).await.map_err(from)?;
    let deadline = patience(&fs, 2) + copying;
    let response = crate::reader::ask(&mut stream, &request, deadline).await.map_err(from)?;
    if response.status() == proto::Status::Success {
        return Ok(());
    }
    let status = response.status().as_str_name();
    Err(format!("{}: {status} {}", source.address(), response.message()))
}

/// Asks for the next block of a file. While the block before it is not yet known to have
/// enough replicas, asks again within the budget.
pub(super) async fn add_block(
    fs: Arc<Inner>,
    file: Arc<FileBeingWritten>,
    previous: Option<proto::ExtendedBlockProto>,
    excluded: Vec<proto::DatanodeInfoProto>,
) -> Result<proto::LocatedBlockProto> {
    let flags = if file.no_local_write {
        vec![proto::AddBlockFlagProto::NoLocalWrite as i32]
    } else {
        Vec::new()
    };
    let request = proto::AddBlockRequestProto {
        src: file.path.clone(),
        client_name: fs.client_name.clone(),
        previous,
        exclude_nodes: excluded,
        file_id: Some(file.file_id),
        favored_nodes: Vec::new(),
        flags,
    };
    let started = Instant::now();
    let mut budget = Budget::new(fs.config.retry_budget);
    loop {
        let answer: Result<proto::AddBlockResponseProto> = fs.call("addBlock", &request).await;
        match answer {
            Ok(answer) if answer.block.locs.is_empty() => {
                return Err(Error::new(
                    ErrorKind::NoReplica,
                    "the namenode gave a block without datanodes",
                ));
            }
            Ok(answer) => return Ok(answer.block),
            Err(error) if error.kind() == ErrorKind::from(RemoteKind::NotReplicatedYet) => {
                match budget.wait(started.elapsed()) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Gives a block back to which nothing was written.
pub(super) async fn abandon_block(
    fs: &Inner,
    file: &FileBeingWritten,
    block: proto::ExtendedBlockProto,
) -> Result<()> {
    let request = proto::AbandonBlockRequestProto {
        b: block,
        src: file.path.clone(),
        holder: fs.client_name.clone(),
        file_id: Some(file.file_id),
    };
    let _: proto::AbandonBlockResponseProto = fs.call("abandonBlock", &request).await?;
    Ok(())
}

/// Asks for a datanode that is in neither list. `None` when the namenode has none.
pub(super) async fn additional_datanode(
    fs: Arc<Inner>,
    file: Arc<FileBeingWritten>,
    block: proto::ExtendedBlockProto,
    existing: Vec<Place>,
    excluded: Vec<proto::DatanodeInfoProto>,
) -> Option<Place> {
    let request = proto::GetAdditionalDatanodeRequestProto {
        src: file.path.clone(),
        blk: block,
        existings: existing.iter().map(|place| place.info.clone()).collect(),
        excludes: excluded,
        num_additional_nodes: 1,
        client_name: fs.client_name.clone(),
        existing_storage_uuids: existing.iter().map(|place| place.storage_id.clone()).collect(),
        file_id: Some(file.file_id),
    };
    let answer: Result<proto::GetAdditionalDatanodeResponseProto> =
        fs.call("getAdditionalDatanode", &request).await;
    match answer {
        Ok(answer) => Place::all(&answer.block).into_iter().find(|place| {
            let uuid = &place.info.id.datanode_uuid;
            existing.iter().all(|known| known.info.id.datanode_uuid != *uuid)
        }),
        Err(error) => {
            tracing::debug!(path = %file.path, %error, "no replacement for a failed datanode");
            None
        }
    }
}

/// Asks for a new generation stamp for a block whose pipeline is to be rebuilt.
pub(super) async fn new_stamp(
    fs: Arc<Inner>,
    block: proto::ExtendedBlockProto,
) -> Result<(u64, proto::TokenProto)> {
    let request =
        proto::UpdateBlockForPipelineRequestProto { block, client_name: fs.client_name.clone() };
    let answer: proto::UpdateBlockForPipelineResponseProto =
        fs.call("updateBlockForPipeline", &request).await?;
    Ok((answer.block.b.generation_stamp, answer.block.block_token))
}

/// Tells the namenode a rebuilt pipeline.
pub(super) async fn update_pipeline(
    fs: Arc<Inner>,
    old: proto::ExtendedBlockProto,
    new: proto::ExtendedBlockProto,
    places: Vec<Place>,
) -> Result<()> {
    let request = proto::UpdatePipelineRequestProto {
        client_name: fs.client_name.clone(),
        old_block: old,
        new_block: new,
        new_nodes: places.iter().map(|place| place.info.id.clone()).collect(),
        storage_i_ds: places.into_iter().map(|place| place.storage_id).collect(),
    };
    let _: proto::UpdatePipelineResponseProto = fs.call("updatePipeline", &request).await?;
    Ok(())
}

/// Makes the namenode's record of a file's blocks durable, so that readers find the last one.
pub(super) async fn fsync(fs: Arc<Inner>, file: Arc<FileBeingWritten>) -> Result<()> {
    let request = proto::FsyncRequestProto {
        src: file.path.clone(),
        client: fs.client_name.clone(),
        last_block_length: Some(-1),
        file_id: Some(file.file_id),
    };
    let _: proto::FsyncResponseProto = fs.call("fsync", &request).await?;
    Ok(())
}

/// Closes the file. While its last block is not yet known to have enough replicas, asks again
/// within the budget.
pub(super) async fn complete(
    fs: Arc<Inner>,
    file: Arc<FileBeingWritten>,
    last: Option<proto::ExtendedBlockProto>,
) -> Result<()> {
    let request = proto::CompleteRequestProto {
        src: file.path.clone(),
        client_name: fs.client_name.clone(),
        last,
        file_id: Some(file.file_id),
    };
    let started = Instant::now();
    let mut budget = Budget::new(fs.config.retry_budget);
    loop {
        let answer: proto::CompleteResponseProto = fs.call("complete", &request).await?;
        if answer.result {
            return Ok(());
        }
        let Some(wait) = budget.wait(started.elapsed()) else {
            return Err(Error::new(
                ErrorKind::NoReplica,
                format!(
                    "the file could not be closed within {:?}: its last block has too few \
                     replicas; check that the datanodes reach the namenode",
                    budget.total()
                ),
            ));
        };
        tokio::time::sleep(wait).await;
    }
}
