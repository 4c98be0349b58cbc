//! `recoverLease`: closes a file whose writer is thought gone.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{RecoverLeaseRequestProto, RecoverLeaseResponseProto};

use crate::front::hadoop::Call;

/// Closes a file whose writer is thought gone.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: RecoverLeaseRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let seen = call.service.recover_lease(&call.info, &request.src, &request.client_name);
    call.reply(audit, seen, |result| RecoverLeaseResponseProto { result })
}
