//! `getFileInfo`: the status of a path; absent when there is nothing.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetFileInfoRequestProto, GetFileInfoResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;

/// The status of a path; absent when there is nothing.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetFileInfoRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let seen = call.service.stat(&call.info, &request.src);
    call.reply(audit, seen, |status| GetFileInfoResponseProto {
        fs: status.map(|status| convert::status(&status, None)),
    })
}
