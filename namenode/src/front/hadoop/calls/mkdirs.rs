//! `mkdirs`: makes a directory.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{MkdirsRequestProto, MkdirsResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::namesystem::ops::mkdirs;

/// Makes a directory.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: MkdirsRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let mode = convert::mode(request.masked);
    let op = mkdirs::Request { path: &request.src, mode, create_parent: request.create_parent };
    let seen = call.service.mkdirs(&call.info, &op);
    call.reply(audit, seen, |result| MkdirsResponseProto { result })
}
