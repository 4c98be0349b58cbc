//! One file per call, and the table that finds it by its name on the wire.
//!
//! A new call is a new file and a line below.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;

use super::Call;

/// A call of the protocol.
pub(super) struct Entry {
    /// Its name on the wire.
    pub method: &'static str,
    /// Decodes, asks the service, encodes.
    pub call: fn(Call<'_>) -> Result<Reply, RemoteError>,
}

macro_rules! calls {
    ($($module:ident => $method:literal),* $(,)?) => {
        $(mod $module;)*

        /// All calls, in the order of their names' bytes.
        pub(super) static TABLE: &[Entry] =
            &[$(Entry { method: $method, call: $module::call }),*];
    };
}

calls! {
    abandon_block => "abandonBlock",
    add_block => "addBlock",
    append => "append",
    check_access => "checkAccess",
    complete => "complete",
    concat => "concat",
    create => "create",
    delete => "delete",
    fsync => "fsync",
    get_acl_status => "getAclStatus",
    get_additional_datanode => "getAdditionalDatanode",
    get_block_locations => "getBlockLocations",
    get_content_summary => "getContentSummary",
    get_data_encryption_key => "getDataEncryptionKey",
    get_datanode_report => "getDatanodeReport",
    get_delegation_token => "getDelegationToken",
    get_ez_for_path => "getEZForPath",
    get_erasure_coding_policy => "getErasureCodingPolicy",
    get_file_info => "getFileInfo",
    get_file_link_info => "getFileLinkInfo",
    get_fs_stats => "getFsStats",
    get_ha_service_state => "getHAServiceState",
    get_listing => "getListing",
    get_located_file_info => "getLocatedFileInfo",
    get_preferred_block_size => "getPreferredBlockSize",
    get_quota_usage => "getQuotaUsage",
    get_server_defaults => "getServerDefaults",
    get_snapshottable_dir_listing => "getSnapshottableDirListing",
    get_storage_policies => "getStoragePolicies",
    is_file_closed => "isFileClosed",
    list_open_files => "listOpenFiles",
    mkdirs => "mkdirs",
    msync => "msync",
    recover_lease => "recoverLease",
    rename => "rename",
    rename2 => "rename2",
    renew_lease => "renewLease",
    report_bad_blocks => "reportBadBlocks",
    save_namespace => "saveNamespace",
    set_owner => "setOwner",
    set_permission => "setPermission",
    set_replication => "setReplication",
    set_safe_mode => "setSafeMode",
    set_times => "setTimes",
    update_block_for_pipeline => "updateBlockForPipeline",
    update_pipeline => "updatePipeline",
}

/// Where in [`TABLE`] a method stands.
pub(super) fn find(method: &str) -> Option<usize> {
    TABLE.binary_search_by(|entry| entry.method.cmp(method)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_name() {
        for (at, entry) in TABLE.iter().enumerate() {
            assert_eq!(find(entry.method), Some(at), "{} is out of order", entry.method);
        }
        assert_eq!(find("getEditsFromTxid"), None);
        assert_eq!(find(""), None);
    }
}
