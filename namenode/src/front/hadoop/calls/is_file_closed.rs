//! `isFileClosed`: whether nobody writes a file.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{IsFileClosedRequestProto, IsFileClosedResponseProto};

use crate::front::hadoop::Call;

/// Whether nobody writes a file.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: IsFileClosedRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let seen = call.service.is_file_closed(&call.info, &request.src);
    call.reply(audit, seen, |result| IsFileClosedResponseProto { result })
}
