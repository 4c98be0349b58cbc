//! `getPreferredBlockSize`: the block size of a file.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetPreferredBlockSizeRequestProto, GetPreferredBlockSizeResponseProto};

use crate::front::hadoop::Call;

/// The block size of a file.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetPreferredBlockSizeRequestProto = call.decode()?;
    let audit = call.audit_read(&request.filename);
    let seen = call.service.preferred_block_size(&call.info, &request.filename);
    call.reply(audit, seen, |bsize| GetPreferredBlockSizeResponseProto { bsize })
}
