//! `setReplication`: changes the wanted number of replicas.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{SetReplicationRequestProto, SetReplicationResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::namesystem::ops::set_replication;

/// Changes the wanted number of replicas.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: SetReplicationRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let replication = convert::replication(request.replication)?;
    let op = set_replication::Request { path: &request.src, replication };
    let seen = call.service.set_replication(&call.info, &op);
    call.reply(audit, seen, |result| SetReplicationResponseProto { result })
}
