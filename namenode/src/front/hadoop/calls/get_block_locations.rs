//! `getBlockLocations`: where the bytes of a range are.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetBlockLocationsRequestProto, GetBlockLocationsResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;

/// Where the bytes of a range are.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetBlockLocationsRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let pool = &call.service.identity.block_pool_id;
    let seen = call.service.locate(&call.info, &request.src, request.offset, request.length);
    call.reply(audit, seen, |file| GetBlockLocationsResponseProto {
        locations: Some(convert::located_file(pool, &file)),
    })
}
