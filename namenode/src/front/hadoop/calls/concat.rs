//! `concat`: moves the blocks of files to the end of another.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{ConcatRequestProto, ConcatResponseProto};

use crate::front::hadoop::Call;
use crate::namesystem::ops::concat;

/// Moves the blocks of files to the end of another.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: ConcatRequestProto = call.decode()?;
    let audit = call.audit(&request.trg, None);
    let sources: Vec<&str> = request.srcs.iter().map(String::as_str).collect();
    let op = concat::Request { target: &request.trg, sources: &sources };
    let seen = call.service.concat(&call.info, &op);
    call.reply(audit, seen, |()| ConcatResponseProto {})
}
