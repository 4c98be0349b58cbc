//! `create`: makes a file and opens it for writing.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{CreateFlagProto, CreateRequestProto, CreateResponseProto};

use crate::front::hadoop::Call;
use crate::front::hadoop::convert;
use crate::namesystem::ops::create;

/// Makes a file and opens it for writing.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: CreateRequestProto = call.decode()?;
    let audit = call.audit(&request.src, None);
    let op = create::Request {
        path: &request.src,
        mode: convert::mode(request.masked),
        client_name: &request.client_name,
        create: request.create_flag & CreateFlagProto::Create as u32 != 0,
        overwrite: request.create_flag & CreateFlagProto::Overwrite as u32 != 0,
        create_parent: request.create_parent,
        replication: convert::replication(request.replication)?,
        block_size: request.block_size,
    };
    let seen = call.service.create(&call.info, &op);
    call.reply(audit, seen, |status| CreateResponseProto {
        fs: Some(convert::status(&status, None)),
    })
}
