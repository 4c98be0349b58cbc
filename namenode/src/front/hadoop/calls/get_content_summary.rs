//! `getContentSummary`: the sums of a subtree.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{ContentSummaryProto, GetContentSummaryRequestProto, GetContentSummaryResponseProto};

use crate::front::hadoop::Call;

/// The sums of a subtree.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetContentSummaryRequestProto = call.decode()?;
    let audit = call.audit_read(&request.path);
    let seen = call.service.content_summary(&call.info, &request.path);
    call.reply(audit, seen, |sum| GetContentSummaryResponseProto {
        summary: ContentSummaryProto {
            length: sum.len,
            file_count: sum.files,
            directory_count: sum.directories,
            quota: u64::MAX,
            space_consumed: sum.space,
            space_quota: u64::MAX,
            snapshot_length: Some(0),
            snapshot_file_count: Some(0),
            snapshot_directory_count: Some(0),
            snapshot_space_consumed: Some(0),
            erasure_coding_policy: Some(String::new()),
            ..Default::default()
        },
    })
}
