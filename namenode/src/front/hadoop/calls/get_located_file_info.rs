//! `getLocatedFileInfo`: the status of a path with its blocks and their places.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetLocatedFileInfoRequestProto, GetLocatedFileInfoResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;

/// The status of a path with its blocks and their places.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetLocatedFileInfoRequestProto = call.decode()?;
    let path = request.src.unwrap_or_default();
    let audit = call.audit_read(&path);
    let pool = &call.service.identity.block_pool_id;
    let seen = call.service.located_stat(&call.info, &path);
    call.reply(audit, seen, |found| GetLocatedFileInfoResponseProto {
        fs: found.map(|(status, blocks)| {
            convert::status(&status, blocks.map(|file| convert::located_file(pool, &file)))
        }),
    })
}
