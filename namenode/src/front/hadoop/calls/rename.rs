//! `rename`: renames by the old rules: false where it can not be.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{RenameRequestProto, RenameResponseProto};

use crate::front::hadoop::Call;
use crate::namesystem::ops::rename;

/// Renames by the old rules: false where it can not be.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: RenameRequestProto = call.decode()?;
    let audit = call.audit(&request.src, Some(&request.dst));
    let op = rename::Request { src: &request.src, dst: &request.dst };
    let seen = call.service.rename(&call.info, &op);
    call.reply(audit, seen, |result| RenameResponseProto { result })
}
