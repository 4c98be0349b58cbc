//! `setTimes`: changes times; -1 leaves one as it is.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{SetTimesRequestProto, SetTimesResponseProto};

use crate::front::hadoop::Call;
use crate::namesystem::ops::set_times;

/// Changes times; -1 leaves one as it is.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: SetTimesRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let given = |time: u64| (time != u64::MAX).then_some(time);
    let op = set_times::Request {
        path: &request.src,
        mtime_ms: given(request.mtime),
        atime_ms: given(request.atime),
    };
    let seen = call.service.set_times(&call.info, &op);
    call.reply(audit, seen, |()| SetTimesResponseProto {})
}
