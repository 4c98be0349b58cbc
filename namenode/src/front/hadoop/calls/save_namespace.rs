//! `saveNamespace`: makes a checkpoint now.

use std::sync::Arc;

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{SaveNamespaceRequestProto, SaveNamespaceResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::later;

/// Makes a checkpoint now.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: SaveNamespaceRequestProto = call.decode()?;
    let audit = call.audit("", None);
    let (service, info) = (Arc::clone(call.service), call.info);
    let answer = async move { service.save_namespace(&info).await };
    later(audit, answer, |()| SaveNamespaceResponseProto { saved: Some(true) })
}
