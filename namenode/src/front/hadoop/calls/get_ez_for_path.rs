//! `getEZForPath`: absent: there are no encryption zones.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetEzForPathRequestProto, GetEzForPathResponseProto};

use crate::front::hadoop::Call;

/// Absent: there are no encryption zones.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: GetEzForPathRequestProto = call.decode()?;
    call.answer(&GetEzForPathResponseProto { zone: None })
}
