//! The client's error: what a caller can do about it, the path it is about, and one sentence.

use std::convert::Infallible;
use std::fmt;

use hfs_protocol::error::{ErrorKind as RemoteKind, RemoteError};

/// What a caller can do about an [`Error`]. The first group is what a namenode or datanode
/// answered (one variant per family of HDFS exceptions), the second is found by the client itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The path or its parent does not exist (`FileNotFoundException`).
    NotFound,
    /// The user may not do this (`AccessControlException`).
    AccessDenied,
    /// Something is there already (`FileAlreadyExistsException`).
    AlreadyExists,
    /// Another writer has the file open (`AlreadyBeingCreatedException`).
    AlreadyBeingCreated,
    /// The last writer's lease is being recovered: try again (`RecoveryInProgressException`).
    RecoveryInProgress,
    /// An ancestor of the path is a file (`ParentNotDirectoryException`).
    ParentNotDirectory,
    /// The directory has entries and the call was not recursive.
    DirectoryNotEmpty,
    /// The path is not one the file system can hold.
    InvalidPath,
    /// An argument is out of its bounds.
    InvalidArgument,
    /// The namenode accepts no change now (`SafeModeException`).
    SafeMode,
    /// This writer no longer owns the file (`LeaseExpiredException`).
    LeaseExpired,
    /// A name or space quota would be exceeded.
    Quota,
    /// The server does not offer this.
    Unsupported,
    /// No namenode could be reached within the budget.
    Unreachable,
    /// No replica of a block passed its checksums.
    Corrupt,
    /// No replica of a block could be reached or written.
    NoReplica,
    /// Something took longer than its deadline.
    TimedOut,
    /// A setting or an address makes no sense.
    Config,
    /// The file or file system was closed before.
    Closed,
    /// Anything else.
    Io,
}

impl From<RemoteKind> for ErrorKind {
    fn from(kind: RemoteKind) -> Self {
        match kind {
            RemoteKind::NotFound | RemoteKind::ReplicaNotFound => Self::NotFound,
            RemoteKind::AccessDenied | RemoteKind::SnapshotReadOnly => Self::AccessDenied,
            RemoteKind::AlreadyExists => Self::AlreadyExists,
            RemoteKind::AlreadyBeingCreated => Self::AlreadyBeingCreated,
            RemoteKind::RecoveryInProgress => Self::RecoveryInProgress,
            RemoteKind::ParentNotDirectory => Self::ParentNotDirectory,
            RemoteKind::DirectoryNotEmpty => Self::DirectoryNotEmpty,
            RemoteKind::InvalidPath => Self::InvalidPath,
            RemoteKind::InvalidArgument | RemoteKind::Snapshot | RemoteKind::Acl => {
                Self::InvalidArgument
            }
            RemoteKind::SafeMode => Self::SafeMode,
            RemoteKind::LeaseExpired => Self::LeaseExpired,
            RemoteKind::NamespaceQuota | RemoteKind::SpaceQuota => Self::Quota,
            RemoteKind::Unsupported
            | RemoteKind::NoSuchMethod
            | RemoteKind::NoSuchProtocol
            | RemoteKind::VersionMismatch => Self::Unsupported,
            RemoteKind::Standby => Self::Unreachable,
            RemoteKind::NotReplicatedYet => Self::NoReplica,
            RemoteKind::Retriable | RemoteKind::Io => Self::Io,
        }
    }
}

/// An error of the client. Cheap to clone, because a writer that failed in the background tells
/// every later call the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    path: Option<String>,
    message: String,
}

/// A result of the client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind, in one sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, path: None, message: message.into() }
    }

    /// The same error, said about a path (kept as it is when it names one already).
    #[must_use]
    pub fn on(mut self, path: &str) -> Self {
        if self.path.is_none() {
            self.path = Some(path.to_owned());
        }
        self
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The path it is about, if it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The sentence without the path in front of it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) if !self.message.contains(path.as_str()) => {
                write!(f, "{path}: {}", self.message)
            }
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<RemoteError> for Error {
    fn from(error: RemoteError) -> Self {
        // A Java namenode sends a whole stack trace; its first line is the message.
        let first = error.message.lines().next().unwrap_or_default().trim();
        let message = if first.is_empty() { error.kind.java_class() } else { first };
        Self::new(error.kind.into(), message)
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind {
            ErrorKind::NotFound => Io::NotFound,
            ErrorKind::AccessDenied => Io::PermissionDenied,
            ErrorKind::AlreadyExists => Io::AlreadyExists,
            ErrorKind::InvalidPath | ErrorKind::InvalidArgument | ErrorKind::Config => {
                Io::InvalidInput
            }
            ErrorKind::DirectoryNotEmpty => Io::DirectoryNotEmpty,
            ErrorKind::Corrupt => Io::InvalidData,
            ErrorKind::TimedOut => Io::TimedOut,
            ErrorKind::Unsupported => Io::Unsupported,
            ErrorKind::Unreachable => Io::NotConnected,
            ErrorKind::AlreadyBeingCreated
            | ErrorKind::RecoveryInProgress
            | ErrorKind::ParentNotDirectory
            | ErrorKind::SafeMode
            | ErrorKind::LeaseExpired
            | ErrorKind::Quota
            | ErrorKind::NoReplica
            | ErrorKind::Closed
            | ErrorKind::Io => Io::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_said_once() {
        let error = Error::new(ErrorKind::NotFound, "no such file").on("/a");
        assert_eq!(error.to_string(), "/a: no such file");
        let error = Error::new(ErrorKind::NotFound, "/a does not exist").on("/a").on("/b");
        assert_eq!(error.to_string(), "/a does not exist");
        assert_eq!(error.path(), Some("/a"));
    }

    #[test]
    fn a_java_stack_trace_is_cut_to_its_message() {
        let remote = RemoteError::new(RemoteKind::NotFound, "File /x\n\tat org.apache.Foo(Foo:1)");
        assert_eq!(Error::from(remote).to_string(), "File /x");
        let silent = RemoteError::new(RemoteKind::SafeMode, "");
        assert!(Error::from(silent).to_string().ends_with("SafeModeException"));
    }
}
