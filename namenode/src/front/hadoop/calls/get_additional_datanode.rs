//! `getAdditionalDatanode`: more nodes for a pipeline that lost some.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetAdditionalDatanodeRequestProto, GetAdditionalDatanodeResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::service::MoreNodes;

/// More nodes for a pipeline that lost some.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetAdditionalDatanodeRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let pool = call.service.identity.block_pool_id.clone();
    let ask = MoreNodes {
        file: convert::file_id(request.file_id),
        block: convert::block(&pool, &request.blk)?,
        existing: convert::uuids(&request.existings),
        excluded: convert::uuids(&request.excludes),
        count: usize::try_from(request.num_additional_nodes).unwrap_or(usize::MAX),
        path: request.src,
        client_name: request.client_name,
    };
    let seen = call.service.additional_datanodes(&call.info, &ask);
    call.reply(audit, seen, |block| GetAdditionalDatanodeResponseProto {
        block: convert::located(&pool, &block),
    })
}
