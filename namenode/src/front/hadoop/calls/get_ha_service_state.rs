//! `getHAServiceState`: active: there is no other.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{HaServiceStateProto, HaServiceStateRequestProto, HaServiceStateResponseProto};

use crate::front::hadoop::Call;

/// Active: there is no other.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: HaServiceStateRequestProto = call.decode()?;
    call.answer(&HaServiceStateResponseProto { state: HaServiceStateProto::Active as i32 })
}
