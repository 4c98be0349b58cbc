//! `getStoragePolicies`: the one policy: everything is on disks.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{BlockStoragePolicyProto, GetStoragePoliciesRequestProto, GetStoragePoliciesResponseProto, StorageTypeProto, StorageTypesProto};

use crate::front::hadoop::Call;

/// The one policy: everything is on disks.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: GetStoragePoliciesRequestProto = call.decode()?;
    let types = |types: &[StorageTypeProto]| StorageTypesProto {
        storage_types: types.iter().map(|kind| *kind as i32).collect(),
    };
    let hot = BlockStoragePolicyProto {
        policy_id: 7,
        name: "HOT".to_owned(),
        creation_policy: types(&[StorageTypeProto::Disk]),
        creation_fallback_policy: Some(types(&[])),
        replication_fallback_policy: Some(types(&[])),
    };
    call.answer(&GetStoragePoliciesResponseProto { policies: vec![hot] })
}
