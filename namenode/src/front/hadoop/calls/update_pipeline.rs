//! `updatePipeline`: the rebuilt pipeline of a block stands.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{UpdatePipelineRequestProto, UpdatePipelineResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::service::PipelineUpdate;

/// The rebuilt pipeline of a block stands.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: UpdatePipelineRequestProto = call.decode()?;
    let audit = call.audit_block(request.old_block.block_id);
    let pool = &call.service.identity.block_pool_id;
    let nodes: Vec<String> =
        request.new_nodes.into_iter().map(|node| node.datanode_uuid).collect();
    let update = PipelineUpdate {
        client_name: request.client_name,
        old: convert::block(pool, &request.old_block)?,
        new: convert::block(pool, &request.new_block)?,
        nodes,
        storages: request.storage_i_ds,
    };
    let seen = call.service.update_pipeline(&call.info, &update);
    call.reply(audit, seen, |()| UpdatePipelineResponseProto {})
}
