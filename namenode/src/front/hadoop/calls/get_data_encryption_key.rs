//! `getDataEncryptionKey`: absent: transfers are not encrypted.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{GetDataEncryptionKeyRequestProto, GetDataEncryptionKeyResponseProto};

use crate::front::hadoop::Call;

/// Absent: transfers are not encrypted.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: GetDataEncryptionKeyRequestProto = call.decode()?;
    call.answer(&GetDataEncryptionKeyResponseProto { data_encryption_key: None })
}
