//! `rename2`: renames by the new rules: an error says why it can not be.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{Rename2RequestProto, Rename2ResponseProto};

use crate::front::hadoop::Call;
use crate::namesystem::ops::rename2;

/// Renames by the new rules: an error says why it can not be.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: Rename2RequestProto = call.decode()?;
    let audit = call.audit(&request.src, Some(&request.dst));
    let op = rename2::Request {
        src: &request.src,
        dst: &request.dst,
        overwrite: request.overwrite_dest,
    };
    let seen = call.service.rename2(&call.info, &op);
    call.reply(audit, seen, |()| Rename2ResponseProto {})
}
