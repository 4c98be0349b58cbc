//! `getAclStatus`: owner, group and mode; there are no ACL entries.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{AclStatusProto, FsPermissionProto, GetAclStatusRequestProto, GetAclStatusResponseProto};

use crate::front::hadoop::Call;

/// Owner, group and mode; there are no ACL entries.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetAclStatusRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let seen = call.service.existing(&call.info, &request.src);
    call.reply(audit, seen, |status| GetAclStatusResponseProto {
        result: AclStatusProto {
            owner: status.owner.to_string(),
            group: status.group.to_string(),
            sticky: status.mode & 0o1000 != 0,
            entries: Vec::new(),
            permission: Some(FsPermissionProto { perm: u32::from(status.mode) }),
        },
    })
}
