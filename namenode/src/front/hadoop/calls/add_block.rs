//! `addBlock`: gives a file its next block and the nodes to write it to.

use std::sync::Arc;

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{AddBlockFlagProto, AddBlockRequestProto, AddBlockResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::{convert, later};
use crate::service::NewBlock;

/// Gives a file its next block and the nodes to write it to.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: AddBlockRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let pool = call.service.identity.block_pool_id.clone();
    let previous = request.previous.as_ref().map(|b| convert::block(&pool, b)).transpose()?;
    let flagged = |flag: AddBlockFlagProto| request.flags.contains(&(flag as i32));
    let new = NewBlock {
        file: convert::file_id(request.file_id),
        previous,
        excluded: convert::uuids(&request.exclude_nodes),
        not_local: flagged(AddBlockFlagProto::NoLocalWrite)
            || flagged(AddBlockFlagProto::IgnoreClientLocality),
        path: request.src,
        client_name: request.client_name,
        favoured: request.favored_nodes,
    };
    let (service, info) = (Arc::clone(call.service), call.info);
    let answer = async move {
        let seen = service.add_block(&info, &new).await;
        service.settle(seen).await
    };
    later(audit, answer, move |block| AddBlockResponseProto {
        block: convert::located(&pool, &block),
    })
}
