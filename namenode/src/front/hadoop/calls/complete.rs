//! `complete`: closes a file.

use std::sync::Arc;

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{CompleteRequestProto, CompleteResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::{convert, later};
use crate::namesystem::ops::complete;

/// Closes a file.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: CompleteRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let pool = &call.service.identity.block_pool_id;
    let last = request.last.as_ref().map(|b| convert::block(pool, b)).transpose()?;
    let (service, info) = (Arc::clone(call.service), call.info);
    let answer = async move {
        let op = complete::Request {
            path: &request.src,
            file: convert::file_id(request.file_id),
            client_name: &request.client_name,
            last,
        };
        let seen = service.complete(&info, &op).await;
        service.settle(seen).await
    };
    later(audit, answer, |result| CompleteResponseProto { result })
}
