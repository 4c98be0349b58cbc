//! `getErasureCodingPolicy`: absent: every file is replicated.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetErasureCodingPolicyRequestProto, GetErasureCodingPolicyResponseProto};

use crate::front::hadoop::Call;

/// Absent: every file is replicated.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: GetErasureCodingPolicyRequestProto = call.decode()?;
    let audit = call.audit_read(&request.src);
    let seen = call.service.existing(&call.info, &request.src);
    call.reply(audit, seen, |_| GetErasureCodingPolicyResponseProto { ec_policy: None })
}
