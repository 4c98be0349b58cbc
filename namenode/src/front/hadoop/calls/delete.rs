//! `delete`: deletes a file or tree.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{DeleteRequestProto, DeleteResponseProto};

use crate::front::hadoop::Call;
use crate::namesystem::ops::delete;

/// Deletes a file or tree.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: DeleteRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let op = delete::Request { path: &request.src, recursive: request.recursive };
    let seen = call.service.delete(&call.info, &op);
    call.reply(audit, seen, |result| DeleteResponseProto { result })
}
