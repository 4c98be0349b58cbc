//! `abandonBlock`: gives back a block that could not be written.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{AbandonBlockRequestProto, AbandonBlockResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::namesystem::ops::abandon_block;

/// Gives back a block that could not be written.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: AbandonBlockRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let block = convert::block(&call.service.identity.block_pool_id, &request.b)?;
    let op = abandon_block::Request {
        path: &request.src,
        file: convert::file_id(request.file_id),
        client_name: &request.holder,
        block: block.id,
    };
    let seen = call.service.abandon_block(&call.info, &op);
    call.reply(audit, seen, |()| AbandonBlockResponseProto {})
}
