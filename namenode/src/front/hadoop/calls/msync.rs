//! `msync`: nothing to catch up with: this namenode is the active one.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{MsyncRequestProto, MsyncResponseProto};

use crate::front::hadoop::Call;

/// Nothing to catch up with: this namenode is the active one.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: MsyncRequestProto = call.decode()?;
    call.answer(&MsyncResponseProto {})
}
