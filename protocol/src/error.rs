//! The errors that cross a process boundary, and the one table that names them on each wire.
//!
//! Inside a crate errors are narrow; outside they say what to do. [`ErrorKind`] is the outside:
//! each kind has exactly one Java exception class (what HDFS clients act on), one gRPC status and
//! one HTTP code.

use std::fmt;

/// What went wrong, by what the caller can do about it. The variants follow the exception classes
/// that HDFS clients tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The path, its parent or its inode does not exist.
    NotFound,
    /// The caller may not do this.
    AccessDenied,
    /// Something is there already.
    AlreadyExists,
    /// The file is being written by a client whose lease is good.
    AlreadyBeingCreated,
    /// The file's last writer is gone and its last block is being recovered: try again.
    RecoveryInProgress,
    /// An ancestor of the path is a file.
    ParentNotDirectory,
    /// The directory has entries and the call was not recursive.
    DirectoryNotEmpty,
    /// The path is not one the file system can hold.
    InvalidPath,
    /// An argument is out of its bounds.
    InvalidArgument,
    /// The namespace can't change now.
    SafeMode,
    /// The file's previous block has too few replicas yet: try again soon.
    NotReplicatedYet,
    /// The caller no longer holds the lease of this file.
    LeaseExpired,
    /// This server is not the active one.
    Standby,
    /// Something passing: the same call may succeed later.
    Retriable,
    /// The feature is off or absent.
    Unsupported,
    /// There is no such method in this protocol.
    NoSuchMethod,
    /// There is no such protocol on this port.
    NoSuchProtocol,
    /// The protocol's version is not one this server speaks.
    VersionMismatch,
    /// The name quota would be exceeded.
    NamespaceQuota,
    /// The space quota would be exceeded.
    SpaceQuota,
    /// The datanode has no such replica.
    ReplicaNotFound,
    /// Writing below a snapshot.
    SnapshotReadOnly,
    /// A snapshot operation could not be done.
    Snapshot,
    /// An ACL operation could not be done.
    Acl,
    /// Anything else a file system operation can fail with.
    Io,
}

impl ErrorKind {
    /// Every kind, so that the table can be read backwards.
    pub const ALL: [Self; 25] = [
        Self::NotFound,
        Self::AccessDenied,
        Self::AlreadyExists,
        Self::AlreadyBeingCreated,
        Self::RecoveryInProgress,
        Self::ParentNotDirectory,
        Self::DirectoryNotEmpty,
        Self::InvalidPath,
        Self::InvalidArgument,
        Self::SafeMode,
        Self::NotReplicatedYet,
        Self::LeaseExpired,
        Self::Standby,
        Self::Retriable,
        Self::Unsupported,
        Self::NoSuchMethod,
        Self::NoSuchProtocol,
        Self::VersionMismatch,
        Self::NamespaceQuota,
        Self::SpaceQuota,
        Self::ReplicaNotFound,
        Self::SnapshotReadOnly,
        Self::Snapshot,
        Self::Acl,
        Self::Io,
    ];

    /// The Java class HDFS throws, fully qualified: clients act on it by name.
    #[must_use]
    pub const fn java_class(self) -> &'static str {
        match self {
            Self::NotFound => "java.io.FileNotFoundException",
            Self::AccessDenied => "org.apache.hadoop.security.AccessControlException",
            Self::AlreadyExists => "org.apache.hadoop.fs.FileAlreadyExistsException",
            Self::AlreadyBeingCreated => {
                "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException"
            }
            Self::RecoveryInProgress => {
                "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException"
            }
            Self::ParentNotDirectory => "org.apache.hadoop.fs.ParentNotDirectoryException",
            Self::DirectoryNotEmpty => "org.apache.hadoop.fs.PathIsNotEmptyDirectoryException",
            Self::InvalidPath => "org.apache.hadoop.fs.InvalidPathException",
            Self::InvalidArgument => "org.apache.hadoop.HadoopIllegalArgumentException",
            Self::SafeMode => "org.apache.hadoop.hdfs.server.namenode.SafeModeException",
            Self::NotReplicatedYet => {
                "org.apache.hadoop.hdfs.server.namenode.NotReplicatedYetException"
            }
            Self::LeaseExpired => "org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException",
            Self::Standby => "org.apache.hadoop.ipc.StandbyException",
            Self::Retriable => "org.apache.hadoop.ipc.RetriableException",
            Self::Unsupported => "java.lang.UnsupportedOperationException",
            Self::NoSuchMethod => "org.apache.hadoop.ipc.RpcNoSuchMethodException",
            Self::NoSuchProtocol => "org.apache.hadoop.ipc.RpcNoSuchProtocolException",
            Self::VersionMismatch => "org.apache.hadoop.ipc.RPC$VersionMismatch",
            Self::NamespaceQuota => "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException",
            Self::SpaceQuota => "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException",
            Self::ReplicaNotFound => {
                "org.apache.hadoop.hdfs.server.datanode.ReplicaNotFoundException"
            }
            Self::SnapshotReadOnly => {
                "org.apache.hadoop.hdfs.protocol.SnapshotAccessControlException"
            }
            Self::Snapshot => "org.apache.hadoop.hdfs.protocol.SnapshotException",
            Self::Acl => "org.apache.hadoop.hdfs.protocol.AclException",
            Self::Io => "java.io.IOException",
        }
    }

    /// The kind a Java class stands for. A class this table does not name is [`ErrorKind::Io`],
    /// as every one of them is an `IOException` to the caller.
    #[must_use]
    pub fn from_java_class(class: &str) -> Self {
        if class == "java.lang.IllegalArgumentException" {
            return Self::InvalidArgument;
        }
        Self::ALL.into_iter().find(|kind| kind.java_class() == class).unwrap_or(Self::Io)
    }

    /// The gRPC status of this kind.
    #[must_use]
    pub const fn grpc_code(self) -> tonic::Code {
        match self {
            Self::NotFound | Self::ReplicaNotFound => tonic::Code::NotFound,
            Self::AccessDenied | Self::SnapshotReadOnly => tonic::Code::PermissionDenied,
            Self::AlreadyExists => tonic::Code::AlreadyExists,
            Self::AlreadyBeingCreated
            | Self::ParentNotDirectory
            | Self::DirectoryNotEmpty
            | Self::SafeMode
            | Self::LeaseExpired
            | Self::Snapshot
            | Self::Acl => tonic::Code::FailedPrecondition,
            Self::RecoveryInProgress | Self::NotReplicatedYet | Self::Standby | Self::Retriable => {
                tonic::Code::Unavailable
            }
            Self::InvalidPath | Self::InvalidArgument => tonic::Code::InvalidArgument,
            Self::Unsupported | Self::NoSuchMethod | Self::NoSuchProtocol => {
                tonic::Code::Unimplemented
            }
            Self::VersionMismatch => tonic::Code::FailedPrecondition,
            Self::NamespaceQuota | Self::SpaceQuota => tonic::Code::ResourceExhausted,
            Self::Io => tonic::Code::Internal,
        }
    }

    /// The HTTP code WebHDFS answers with for this kind (HDFS `ExceptionHandler`).
    #[must_use]
    pub const fn http_code(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::InvalidPath | Self::InvalidArgument | Self::Unsupported => 400,
            Self::NoSuchMethod | Self::NoSuchProtocol | Self::VersionMismatch => 400,
            Self::AccessDenied
            | Self::AlreadyExists
            | Self::AlreadyBeingCreated
            | Self::RecoveryInProgress
            | Self::ParentNotDirectory
            | Self::DirectoryNotEmpty
            | Self::SafeMode
            | Self::NotReplicatedYet
            | Self::LeaseExpired
            | Self::Standby
            | Self::Retriable
            | Self::NamespaceQuota
            | Self::SpaceQuota
            | Self::ReplicaNotFound
            | Self::SnapshotReadOnly
            | Self::Snapshot
            | Self::Acl
            | Self::Io => 403,
        }
    }
}

/// An error as it crosses a wire: its kind and one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteError {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// What failed, on which path or node, and what to do.
    pub message: String,
}

impl RemoteError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RemoteError {}

impl From<RemoteError> for tonic::Status {
    fn from(error: RemoteError) -> Self {
        Self::new(error.kind.grpc_code(), error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_reads_back_as_its_kind() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_java_class(kind.java_class()), kind);
        }
        assert_eq!(ErrorKind::from_java_class("com.example.Odd"), ErrorKind::Io);
    }
}
