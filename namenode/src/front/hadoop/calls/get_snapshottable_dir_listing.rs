//! `getSnapshottableDirListing`: absent: no directory is snapshottable.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetSnapshottableDirListingRequestProto, GetSnapshottableDirListingResponseProto};

use crate::front::hadoop::Call;

/// Absent: no directory is snapshottable.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: GetSnapshottableDirListingRequestProto = call.decode()?;
    call.answer(&GetSnapshottableDirListingResponseProto { snapshottable_dir_list: None })
}
