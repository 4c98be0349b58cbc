//! `fsync`: notes how far a writer has got.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{FsyncRequestProto, FsyncResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::namesystem::ops::fsync;

/// Notes how far a writer has got.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: FsyncRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let op = fsync::Request {
        path: &request.src,
        file: convert::file_id(request.file_id),
        client_name: &request.client,
        last_len: request.last_block_length.and_then(|len| u64::try_from(len).ok()).filter(|len| *len > 0),
    };
    let seen = call.service.fsync(&call.info, &op);
    call.reply(audit, seen, |()| FsyncResponseProto {})
}
