//! `setPermission`: changes mode bits.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{SetPermissionRequestProto, SetPermissionResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::namesystem::ops::set_permission;

/// Changes mode bits.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: SetPermissionRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let mode = convert::mode(request.permission);
    let op = set_permission::Request { path: &request.src, mode };
    let seen = call.service.set_permission(&call.info, &op);
    call.reply(audit, seen, |()| SetPermissionResponseProto {})
}
