//! `getQuotaUsage`: the sums of a subtree; there are no quotas.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetQuotaUsageRequestProto, GetQuotaUsageResponseProto, QuotaUsageProto};

use crate::front::hadoop::Call;

/// The sums of a subtree; there are no quotas.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetQuotaUsageRequestProto = call.decode()?;
    let audit = call.audit_read(&request.path);
    let seen = call.service.content_summary(&call.info, &request.path);
    call.reply(audit, seen, |sum| GetQuotaUsageResponseProto {
        usage: QuotaUsageProto {
            file_and_directory_count: sum.files + sum.directories,
            quota: u64::MAX,
            space_consumed: sum.space,
            space_quota: u64::MAX,
            ..Default::default()
        },
    })
}
