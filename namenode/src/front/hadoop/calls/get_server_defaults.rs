//! `getServerDefaults`: what a client uses where its user chose nothing.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::proto::hadoop::hdfs::{ChecksumTypeProto, FsServerDefaultsProto, GetServerDefaultsRequestProto, GetServerDefaultsResponseProto};

use crate::front::hadoop::Call;

/// What a client uses where its user chose nothing.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let _: GetServerDefaultsRequestProto = call.decode()?;
    let config = &call.service.config;
    let server_defaults = FsServerDefaultsProto {
        block_size: config.block_size,
        bytes_per_checksum: 512,
        write_packet_size: 65_536,
        replication: u32::from(config.replication),
        file_buffer_size: 4_096,
        encrypt_data_transfer: Some(false),
        trash_interval: Some(config.trash_interval_min),
        checksum_type: Some(ChecksumTypeProto::ChecksumCrc32c as i32),
        // Empty, not absent: absent makes Java look into its own configuration.
        key_provider_uri: Some(String::new()),
        policy_id: Some(0),
        snapshot_trash_root_enabled: Some(false),
    };
    call.answer(&GetServerDefaultsResponseProto { server_defaults })
}
