//! `setOwner`: changes owner and group.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{SetOwnerRequestProto, SetOwnerResponseProto};

use crate::front::hadoop::Call;
use crate::namesystem::ops::set_owner;

/// Changes owner and group.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: SetOwnerRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let op = set_owner::Request {
        path: &request.src,
        user: request.username.as_deref(),
        group: request.groupname.as_deref(),
    };
    let seen = call.service.set_owner(&call.info, &op);
    call.reply(audit, seen, |()| SetOwnerResponseProto {})
}
