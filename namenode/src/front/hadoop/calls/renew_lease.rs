//! `renewLease`: says that a writer lives.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{RenewLeaseRequestProto, RenewLeaseResponseProto};

use crate::front::hadoop::Call;

/// Says that a writer lives.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: RenewLeaseRequestProto = call.decode()?;
    let audit = call.audit_read("");
    let seen = call.service.renew_lease(&request.client_name);
    call.reply(audit, seen, |()| RenewLeaseResponseProto {})
}
