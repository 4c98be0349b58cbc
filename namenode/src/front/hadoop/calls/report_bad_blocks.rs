//! `reportBadBlocks`: replicas that a reader found corrupt.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{ReportBadBlocksRequestProto, ReportBadBlocksResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;

/// Replicas that a reader found corrupt.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: ReportBadBlocksRequestProto = call.decode()?;
    let audit = call.audit_read("");
    let mut bad = Vec::new();
    for located in &request.blocks {
        let block = convert::block(&call.service.identity.block_pool_id, &located.b)?;
        for uuid in convert::uuids(&located.locs) {
            bad.push((block.id, block.gen_stamp, uuid));
        }
    }
    let seen = call.service.report_bad_blocks(&call.info, &bad);
    call.reply(audit, seen, |()| ReportBadBlocksResponseProto {})
}
