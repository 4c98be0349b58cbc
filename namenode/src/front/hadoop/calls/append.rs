//! `append`: opens a file for writing at its end.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{AppendRequestProto, AppendResponseProto, CreateFlagProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::namesystem::ops::append;

/// Opens a file for writing at its end.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: AppendRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let op = append::Request {
        path: &request.src,
        client_name: &request.client_name,
        new_block: request.flag.unwrap_or(0) & CreateFlagProto::NewBlock as u32 != 0,
    };
    let pool = call.service.identity.block_pool_id.clone();
    let seen = call.service.append(&call.info, &op);
    call.reply(audit, seen, move |(status, block)| AppendResponseProto {
        block: block.map(|block| convert::located(&pool, &block)),
        stat: Some(convert::status(&status, None)),
    })
}
