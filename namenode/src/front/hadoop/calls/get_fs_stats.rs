//! `getFsStats`: space and block totals.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetFsStatsResponseProto, GetFsStatusRequestProto};

use crate::front::hadoop::Call;

/// Space and block totals.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: GetFsStatusRequestProto = call.decode()?;
    let (space, totals) = call.service.fs_stats();
    let message = GetFsStatsResponseProto {
        capacity: space.capacity,
        used: space.used,
        remaining: space.remaining,
        under_replicated: totals.under_replicated + totals.missing,
        corrupt_blocks: totals.corrupt,
        missing_blocks: totals.missing,
        missing_repl_one_blocks: Some(totals.missing_single),
        blocks_in_future: Some(totals.future),
        pending_deletion_blocks: Some(totals.pending_invalidations),
    };
    call.answer(&message)
}
