//! A connected file system: the calls about names. Reading and writing begin here
//! ([`FileSystem::open`], [`FileSystem::create`]) and live in their own modules.

use std::sync::Arc;

use hfs_protocol::proto::hadoop::hdfs as proto;
use prost::Message;

use crate::config::ClientConfig;
use crate::dial::Datanodes;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::LeaseRenewer;
use crate::namenode::Namenode;
use crate::reader::pool::BufferPool;
use crate::status::{
    Access, BlockLocation, ContentSummary, CreateOptions, DatanodeFilter, DatanodeStatus,
    FileStatus, FsStatus, SafeModeAction, ServerDefaults,
};
use crate::url::{Authority, FsUrl};

/// What a permission is before the umask when a caller gives none (HDFS `FsPermission`).
const DIRECTORY_PERMISSION: u16 = 0o777;
const FILE_PERMISSION: u16 = 0o666;

/// A connected HDFS file system. Cheap to clone; clones share connections and the lease.
///
/// Paths are absolute UTF-8. Doubled and trailing slashes are forgiven.
#[derive(Clone)]
pub struct FileSystem {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones, readers and writers of a file system share.
pub(crate) struct Inner {
    pub(crate) url: FsUrl,
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) namenode: Namenode,
    pub(crate) datanodes: Datanodes,
    pub(crate) buffers: Arc<BufferPool>,
    pub(crate) leases: LeaseRenewer,
    /// The holder of this client's lease (HDFS `clientName`).
    pub(crate) client_name: String,
}

impl Inner {
    pub(crate) async fn call<Req: Message, Resp: Message + Default>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Resp> {
        self.namenode.call(method, request).await
    }
}

/// A path as the namenode wants it: absolute, without doubled or trailing slashes.
///
/// # Errors
/// `InvalidPath` when it is not absolute or has a NUL.
pub fn normalize(path: &str) -> Result<String> {
    let wrong = |what: &str| Err(Error::new(ErrorKind::InvalidPath, format!("{path:?} {what}")));
    if !path.starts_with('/') {
        return wrong("is not an absolute path: it must start with '/'");
    }
    if path.contains('\0') {
        return wrong("has a NUL character in it");
    }
    let mut plain = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        plain.push('/');
        plain.push_str(part);
    }
    if plain.is_empty() {
        plain.push('/');
    }
    Ok(plain)
}

/// A path of the operating system as the file system's text.
///
/// # Errors
/// `InvalidPath` when it is not UTF-8, which HDFS names must be.
pub fn utf8_path(path: &std::path::Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidPath,
            format!("{path:?} is not UTF-8, and names in HDFS must be: rename it first"),
        )
    })
}

impl FileSystem {
    /// Connects to the namenode that a URL (`&FsUrl` or `&str`) names. `hdfs:///` means the
    /// configured `fs.defaultFS`.
    ///
    /// # Errors
    /// `Config` for a URL or setting that makes no sense, `Unreachable` when no namenode answers
    /// within [`ClientConfig::connect_budget`].
    pub async fn connect<U>(url: U, config: ClientConfig) -> Result<Self>
    where
        U: TryInto<FsUrl>,
        Error: From<U::Error>,
    {
        let url: FsUrl = url.try_into()?;
        let authority = Self::authority(&url, &config)?;
        let addresses = config.namenodes(&authority)?;
        let config = Arc::new(config);
        let id = uuid::Uuid::new_v4().simple().to_string();
        let inner = Inner {
            url: FsUrl::new(Some(authority), "/"),
            namenode: Namenode::new(addresses, config.clone()),
            datanodes: Datanodes::new(config.clone()),
            buffers: Arc::default(),
            leases: LeaseRenewer::default(),
            client_name: format!("DFSClient_NONMAPREDUCE_{}_{}", &id[..12], std::process::id()),
            config,
        };
        let fs = Self { inner: Arc::new(inner) };
        fs.status("/").await?;
        Ok(fs)
    }

    fn authority(url: &FsUrl, config: &ClientConfig) -> Result<Authority> {
        url.authority()
            .or_else(|| config.default_fs.as_ref().and_then(FsUrl::authority))
            .cloned()
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!(
                        "{url} names no namenode and fs.defaultFS is not set: write \
                         hdfs://host:port/path, or set fs.defaultFS in \
                         $HADOOP_CONF_DIR/core-site.xml"
                    ),
                )
            })
    }

    /// Where this file system is, with the path `/`.
    #[must_use]
    pub fn url(&self) -> &FsUrl {
        &self.inner.url
    }

    /// The settings it was connected with.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The name this client's lease is held under.
    #[must_use]
    pub fn client_name(&self) -> &str {
        &self.inner.client_name
    }

    pub(crate) async fn call<Req: Message, Resp: Message + Default>(
        &self,
        method: &str,
        path: &str,
        request: &Req,
    ) -> Result<Resp> {
        self.inner.call(method, request).await.map_err(|error| error.on(path))
    }

    /// What a path is, or nothing when it does not exist (HDFS `getFileInfo`).
    pub async fn try_status(&self, path: &str) -> Result<Option<FileStatus>> {
        let src = normalize(path)?;
        let request = proto::GetFileInfoRequestProto { src: src.clone() };
        let response: proto::GetFileInfoResponseProto =
            self.call("getFileInfo", &src, &request).await?;
        Ok(response.fs.map(|status| FileStatus::from_proto(src, &status)))
    }

    /// What a path is.
    ///
    /// # Errors
    /// `NotFound` when it does not exist.
    pub async fn status(&self, path: &str) -> Result<FileStatus> {
        self.try_status(path).await?.ok_or_else(|| no_such(path))
    }

    /// Whether a path exists.
    pub async fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.try_status(path).await?.is_some())
    }

    /// Makes a directory and all that are missing above it. Existing directories are fine.
    /// `permission` is before the umask; `None` means 0o777.
    ///
    /// # Errors
    /// `AlreadyExists` when the path is a file, `ParentNotDirectory` when one above it is.
    pub async fn mkdirs(&self, path: &str, permission: Option<u16>) -> Result<()> {
        self.make_directory(path, permission, true).await
    }

    /// Makes one directory in an existing one.
    ///
    /// # Errors
    /// As [`FileSystem::mkdirs`], and `NotFound` when the parent does not exist.
    pub async fn mkdir(&self, path: &str, permission: Option<u16>) -> Result<()> {
        self.make_directory(path, permission, false).await
    }

    async fn make_directory(
        &self,
        path: &str,
        permission: Option<u16>,
        create_parent: bool,
    ) -> Result<()> {
        let src = normalize(path)?;
        let (masked, unmasked) = self.permission(permission.unwrap_or(DIRECTORY_PERMISSION));
        let request = proto::MkdirsRequestProto { src, masked, create_parent, unmasked };
        let response: proto::MkdirsResponseProto = self.call("mkdirs", path, &request).await?;
        if response.result {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Io, "the namenode did not make the directory").on(path))
        }
    }

    fn permission(
        &self,
        bits: u16,
    ) -> (proto::FsPermissionProto, Option<proto::FsPermissionProto>) {
        let unmasked = proto::FsPermissionProto { perm: u32::from(bits) };
        let masked = proto::FsPermissionProto { perm: u32::from(bits & !self.inner.config.umask) };
        (masked, Some(unmasked))
    }

    /// Deletes a file or directory at once (no trash). Returns whether there was one.
    ///
    /// # Errors
    /// `DirectoryNotEmpty` for a directory with entries unless `recursive`.
    pub async fn delete(&self, path: &str, recursive: bool) -> Result<bool> {
        let request = proto::DeleteRequestProto { src: normalize(path)?, recursive };
        let response: proto::DeleteResponseProto = self.call("delete", path, &request).await?;
        Ok(response.result)
    }

    /// Renames as HDFS's first `rename` does: into `dst` when that is a directory, never over
    /// a file. Returns whether it was done; the namenode gives no reason when not.
    pub async fn rename(&self, src: &str, dst: &str) -> Result<bool> {
        let request = proto::RenameRequestProto { src: normalize(src)?, dst: normalize(dst)? };
        let response: proto::RenameResponseProto = self.call("rename", src, &request).await?;
        Ok(response.result)
    }

    /// Renames `src` to exactly `dst` in one step; with `overwrite` a file or an empty directory
    /// that is there is replaced (HDFS `rename2`).
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `DirectoryNotEmpty`, `ParentNotDirectory` and others, each
    /// with its reason.
    pub async fn rename2(&self, src: &str, dst: &str, overwrite: bool) -> Result<()> {
        self.rename_exactly(src, dst, overwrite, false).await
    }

    /// Renames into the trash: [`FileSystem::rename2`] that tells the namenode what it is for.
    pub async fn rename_to_trash(&self, src: &str, dst: &str) -> Result<()> {
        self.rename_exactly(src, dst, false, true).await
    }

    async fn rename_exactly(
        &self,
        src: &str,
        dst: &str,
        overwrite_dest: bool,
        to_trash: bool,
    ) -> Result<()> {
        let request = proto::Rename2RequestProto {
            src: normalize(src)?,
            dst: normalize(dst)?,
            overwrite_dest,
            move_to_trash: to_trash.then_some(true),
        };
        let _: proto::Rename2ResponseProto = self.call("rename2", src, &request).await?;
        Ok(())
    }

    /// Sets the permission bits (up to 0o1777). The umask does not apply.
    pub async fn set_permission(&self, path: &str, permission: u16) -> Result<()> {
        let request = proto::SetPermissionRequestProto {
            src: normalize(path)?,
            permission: proto::FsPermissionProto { perm: u32::from(permission) },
        };
        let _: proto::SetPermissionResponseProto =
            self.call("setPermission", path, &request).await?;
        Ok(())
    }

    /// Sets the owner, the group or both.
    pub async fn set_owner(
        &self,
        path: &str,
        owner: Option<&str>,
        group: Option<&str>,
    ) -> Result<()> {
        let request = proto::SetOwnerRequestProto {
            src: normalize(path)?,
            username: owner.map(str::to_owned),
            groupname: group.map(str::to_owned),
        };
        let _: proto::SetOwnerResponseProto = self.call("setOwner", path, &request).await?;
        Ok(())
    }

    /// Sets modification and access time, milliseconds since the epoch; `None` leaves one as it is.
    pub async fn set_times(
        &self,
        path: &str,
        modification_ms: Option<u64>,
        access_ms: Option<u64>,
    ) -> Result<()> {
        // "Leave it" is -1 in Java, and all ones on the wire.
        let request = proto::SetTimesRequestProto {
            src: normalize(path)?,
            mtime: modification_ms.unwrap_or(u64::MAX),
            atime: access_ms.unwrap_or(u64::MAX),
        };
        let _: proto::SetTimesResponseProto = self.call("setTimes", path, &request).await?;
        Ok(())
    }

    /// Sets the number of replicas wanted of a file. Returns false for a directory.
    pub async fn set_replication(&self, path: &str, replication: u16) -> Result<bool> {
        let request = proto::SetReplicationRequestProto {
            src: normalize(path)?,
            replication: u32::from(replication),
        };
        let response: proto::SetReplicationResponseProto =
            self.call("setReplication", path, &request).await?;
        Ok(response.result)
    }

    /// What is below a path: files, directories, bytes, quotas.
    pub async fn content_summary(&self, path: &str) -> Result<ContentSummary> {
        let request = proto::GetContentSummaryRequestProto { path: normalize(path)? };
        let response: proto::GetContentSummaryResponseProto =
            self.call("getContentSummary", path, &request).await?;
        Ok(response.summary.into())
    }

    /// The file system's space and the health of its blocks.
    pub async fn fs_status(&self) -> Result<FsStatus> {
        let request = proto::GetFsStatusRequestProto {};
        let response: proto::GetFsStatsResponseProto =
            self.inner.call("getFsStats", &request).await?;
        Ok(response.into())
    }

    /// What the server would use for a new file.
    pub async fn server_defaults(&self) -> Result<ServerDefaults> {
        let request = proto::GetServerDefaultsRequestProto {};
        let response: proto::GetServerDefaultsResponseProto =
            self.inner.call("getServerDefaults", &request).await?;
        Ok(response.server_defaults.into())
    }

    /// Where the blocks that overlap a range of a file lie, in their order.
    ///
    /// # Errors
    /// `NotFound` when the file does not exist.
    pub async fn block_locations(
        &self,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<Vec<BlockLocation>> {
        let src = normalize(path)?;
        let located = self.inner.located_blocks(&src, offset, length).await?;
        let mut locations: Vec<_> = located.blocks.iter().map(BlockLocation::from).collect();
        locations.sort_by_key(|location| location.offset);
        Ok(locations)
    }

    /// Takes a file away from a writer that is gone (HDFS `recoverLease`). Returns whether the
    /// file is closed now; if not, ask again.
    pub async fn recover_lease(&self, path: &str) -> Result<bool> {
        let request = proto::RecoverLeaseRequestProto {
            src: normalize(path)?,
            client_name: self.inner.client_name.clone(),
        };
        let response: proto::RecoverLeaseResponseProto =
            self.call("recoverLease", path, &request).await?;
        Ok(response.result)
    }

    /// Whether nobody is writing a file.
    pub async fn is_file_closed(&self, path: &str) -> Result<bool> {
        let request = proto::IsFileClosedRequestProto { src: normalize(path)? };
        let response: proto::IsFileClosedResponseProto =
            self.call("isFileClosed", path, &request).await?;
        Ok(response.result)
    }

    /// Moves the blocks of files to the end of another and removes the files (HDFS `concat`).
    pub async fn concat(&self, target: &str, sources: &[&str]) -> Result<()> {
        let srcs = sources.iter().map(|src| normalize(src)).collect::<Result<_>>()?;
        let request = proto::ConcatRequestProto { trg: normalize(target)?, srcs };
        let _: proto::ConcatResponseProto = self.call("concat", target, &request).await?;
        Ok(())
    }

    /// Cuts a file to a shorter length. Returns whether it is done already; if not, the last
    /// block is being recovered: ask [`FileSystem::is_file_closed`].
    pub async fn truncate(&self, path: &str, new_length: u64) -> Result<bool> {
        let request = proto::TruncateRequestProto {
            src: normalize(path)?,
            new_length,
            client_name: self.inner.client_name.clone(),
        };
        let response: proto::TruncateResponseProto = self.call("truncate", path, &request).await?;
        Ok(response.result)
    }

    /// The datanodes the namenode knows.
    pub async fn datanode_report(&self, filter: DatanodeFilter) -> Result<Vec<DatanodeStatus>> {
        let kind = match filter {
            DatanodeFilter::All => proto::DatanodeReportTypeProto::All,
            DatanodeFilter::Live => proto::DatanodeReportTypeProto::Live,
            DatanodeFilter::Dead => proto::DatanodeReportTypeProto::Dead,
        };
        let request = proto::GetDatanodeReportRequestProto { r#type: kind as i32 };
        let response: proto::GetDatanodeReportResponseProto =
            self.inner.call("getDatanodeReport", &request).await?;
        Ok(response.di.into_iter().map(DatanodeStatus::from).collect())
    }

    /// Asks whether this user may use a path in a way (HDFS `checkAccess`).
    ///
    /// # Errors
    /// `AccessDenied` when not, `NotFound` when there is no such path.
    pub async fn check_access(&self, path: &str, access: Access) -> Result<()> {
        let mode = match access {
            Access::Read => proto::acl_entry_proto::FsActionProto::Read,
            Access::Write => proto::acl_entry_proto::FsActionProto::Write,
            Access::Execute => proto::acl_entry_proto::FsActionProto::Execute,
        };
        let request = proto::CheckAccessRequestProto { path: normalize(path)?, mode: mode as i32 };
        let _: proto::CheckAccessResponseProto = self.call("checkAccess", path, &request).await?;
        Ok(())
    }

    /// Enters, leaves or asks for safe mode. Returns whether it is on afterwards.
    pub async fn set_safe_mode(&self, action: SafeModeAction) -> Result<bool> {
        let action = match action {
            SafeModeAction::Leave => proto::SafeModeActionProto::SafemodeLeave,
            SafeModeAction::Enter => proto::SafeModeActionProto::SafemodeEnter,
            SafeModeAction::Get => proto::SafeModeActionProto::SafemodeGet,
            SafeModeAction::ForceExit => proto::SafeModeActionProto::SafemodeForceExit,
        };
        let request =
            proto::SetSafeModeRequestProto { action: action as i32, checked: Some(false) };
        let response: proto::SetSafeModeResponseProto =
            self.inner.call("setSafeMode", &request).await?;
        Ok(response.result)
    }

    /// The permission a new file gets from these options: after the umask, and before it.
    pub(crate) fn file_permission(
        &self,
        options: &CreateOptions,
    ) -> (proto::FsPermissionProto, Option<proto::FsPermissionProto>) {
        self.permission(options.permission.unwrap_or(FILE_PERMISSION))
    }
}

impl std::fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSystem").field("url", &self.inner.url.to_string()).finish()
    }
}

pub(crate) fn no_such(path: &str) -> Error {
    Error::new(ErrorKind::NotFound, "no such file or directory").on(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_lose_needless_slashes() {
        for (path, plain) in
            [("/", "/"), ("//", "/"), ("/a/", "/a"), ("//a//b/", "/a/b"), ("/a b", "/a b")]
        {
            assert_eq!(normalize(path).unwrap(), plain);
        }
        for path in ["", "a", "./a", "/a\0b"] {
            assert_eq!(normalize(path).unwrap_err().kind(), ErrorKind::InvalidPath);
        }
    }
}
