//! `checkAccess`: whether the caller may do this.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{CheckAccessRequestProto, CheckAccessResponseProto};

use crate::front::hadoop::Call;
use crate::namesystem::Access;

/// Whether the caller may do this.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: CheckAccessRequestProto = call.decode()?;
    let audit = call.audit_read(&request.path);
    let access = Access(u16::try_from(request.mode & 7).unwrap_or(0));
    let seen = call.service.check_access(&call.info, &request.path, access);
    call.reply(audit, seen, |()| CheckAccessResponseProto {})
}
