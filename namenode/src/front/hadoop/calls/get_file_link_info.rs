//! `getFileLinkInfo`: As getFileInfo: there are no symbolic links.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetFileLinkInfoRequestProto, GetFileLinkInfoResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;

/// As getFileInfo: there are no symbolic links.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetFileLinkInfoRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let seen = call.service.stat(&call.info, &request.src);
    call.reply(audit, seen, |status| GetFileLinkInfoResponseProto {
        fs: status.map(|status| convert::status(&status, None)),
    })
}
