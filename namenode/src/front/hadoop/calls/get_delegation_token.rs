//! `getDelegationToken`: absent: security is off, nobody needs one.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetDelegationTokenRequestProto, GetDelegationTokenResponseProto};

use crate::front::hadoop::Call;

/// Absent: security is off, nobody needs one.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: GetDelegationTokenRequestProto = call.decode()?;
    call.answer(&GetDelegationTokenResponseProto { token: None })
}
