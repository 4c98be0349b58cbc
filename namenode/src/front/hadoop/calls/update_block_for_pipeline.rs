//! `updateBlockForPipeline`: a new version for a block whose pipeline is rebuilt.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{UpdateBlockForPipelineRequestProto, UpdateBlockForPipelineResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;

/// A new version for a block whose pipeline is rebuilt.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: UpdateBlockForPipelineRequestProto = call.decode()?;
    let audit = call.audit_block(request.block.block_id);
    let pool = call.service.identity.block_pool_id.clone();
    let block = convert::block(&pool, &request.block)?;
    let seen = call.service.update_block_for_pipeline(&call.info, &request.client_name, block);
    call.reply(audit, seen, |block| UpdateBlockForPipelineResponseProto {
        block: convert::located(&pool, &block),
    })
}
