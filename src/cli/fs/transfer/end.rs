//! The two ends of a copy: a local path or a path on a file system, behind one type.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use hfs_client::ErrorKind;

use super::super::shell::{Complaint, Done, Item, Target};
use super::Preserve;
use super::local::{self, LocalPath, io_complaint};

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A device, a pipe or a socket: written to as it is, never replaced.
    Special,
}

/// Where bytes come from or go to.
#[derive(Debug, Clone)]
pub enum End {
    /// A path of this machine.
    Local(LocalPath),
    /// A path of a file system.
    Remote(Target),
}

/// What a copy may keep of its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Last change, milliseconds since the epoch.
    pub modification_ms: u64,
    /// Last read, milliseconds since the epoch; 0 when it is not kept.
    pub access_ms: u64,
    /// The owner's name.
    pub owner: String,
    /// The group's name.
    pub group: String,
    /// Permission bits.
    pub permission: u16,
}

/// A source that is there.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it is.
    pub end: End,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub length: u64,
    /// What a copy may keep.
    pub attributes: Attributes,
}

/// The local path that an argument with the scheme `file:` names.
#[must_use]
pub fn local_argument(argument: &str) -> Option<LocalPath> {
    let rest = argument.strip_prefix("file:")?;
    let path = match rest.strip_prefix("//") {
        Some(with_authority) => &with_authority[with_authority.find('/')?..],
        None => rest,
    };
    path.starts_with('/').then(|| LocalPath::new(path))
}

fn kind_of(metadata: &Metadata) -> Kind {
    if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_file() {
        Kind::File
    } else {
        Kind::Special
    }
}

impl Node {
    /// The local source at `path`; a symbolic link is what it points to.
    ///
    /// # Errors
    /// There is nothing, or it may not be seen.
    pub fn local(path: LocalPath) -> Done<Self> {
        let metadata = fs::metadata(&path.path).map_err(|e| io_complaint(&path.shown, &e))?;
        let (modification_ms, access_ms) = local::times(&metadata);
        Ok(Self {
            kind: kind_of(&metadata),
            length: if metadata.is_file() { metadata.len() } else { 0 },
            attributes: Attributes {
                modification_ms,
                access_ms,
                owner: local::name_of(&local::users(), metadata.uid()),
                group: local::name_of(&local::groups(), metadata.gid()),
                permission: (metadata.mode() & 0o1777) as u16,
            },
            end: End::Local(path),
        })
    }

    /// A source that the file system has listed.
    #[must_use]
    pub fn remote(item: Item) -> Self {
        let Item { target, status } = item;
        Self {
            kind: if status.is_dir() { Kind::Directory } else { Kind::File },
            length: status.length,
            attributes: Attributes {
                modification_ms: status.modification_time_ms,
                access_ms: status.access_time_ms,
                owner: status.owner,
                group: status.group,
                permission: status.permission,
            },
            end: End::Remote(target),
        }
    }

    /// Its name: what its copy in a directory is called.
    ///
    /// # Errors
    /// A local name that is not UTF-8.
    pub fn name(&self) -> Done<String> {
        match &self.end {
            End::Local(path) => path.name(),
            End::Remote(target) => Ok(target.name().to_owned()),
        }
    }
}

impl End {
    /// The path as the user knows it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Local(path) => path.shown.clone(),
            Self::Remote(target) => target.shown.clone(),
        }
    }

    /// Whether the user wrote it as a directory: with a slash or a dot at the end.
    #[must_use]
    pub fn says_directory(&self) -> bool {
        let shown = self.shown();
        matches!(shown.rsplit('/').next(), Some("" | "." | ".."))
    }

    /// The entry of this name in this directory.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.child(name)),
            Self::Remote(target) if name.is_empty() => Self::Remote(target.clone()),
            Self::Remote(target) => Self::Remote(target.child(name)),
        }
    }

    /// What is there, or `None`.
    ///
    /// # Errors
    /// It can't be found out.
    pub async fn kind(&self) -> Done<Option<Kind>> {
        match self {
            Self::Local(path) => match fs::metadata(&path.path) {
                Ok(metadata) => Ok(Some(kind_of(&metadata))),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(io_complaint(&path.shown, &e)),
            },
            Self::Remote(target) => Ok(target
                .try_status()
                .await?
                .map(|status| if status.is_dir() { Kind::Directory } else { Kind::File })),
        }
    }

    /// Whether the directory that would hold it is there.
    ///
    /// # Errors
    /// It can't be found out.
    pub async fn parent_exists(&self) -> Done<bool> {
        match self {
            Self::Local(path) => Ok(local::parent_exists(&path.path)),
            Self::Remote(target) => {
                let parent = target.fs.try_status(target.parent()).await;
                Ok(parent.map_err(|e| target.complaint(&e))?.is_some_and(|status| status.is_dir()))
            }
        }
    }

    /// FsShell's words for a target that can't be made because its directory, or it as a
    /// directory, is missing.
    #[must_use]
    pub fn not_there(&self) -> Complaint {
        let what = match self {
            Self::Local(_) => "No such file or directory".to_owned(),
            Self::Remote(target) => format!(
                "No such file or directory: `{}'",
                target.fs.url().with_path(target.path.as_str())
            ),
        };
        Complaint::path(&self.shown(), &what)
    }

    /// Refuses to copy something onto itself or a directory into itself.
    ///
    /// # Errors
    /// That is what was asked for.
    pub fn may_hold(&self, target: &Self, kind: Kind) -> Done {
        let (same, inside) = match (self, target) {
            (Self::Remote(source), Self::Remote(target)) if source.fs.url() == target.fs.url() => {
                let below = format!("{}/", source.path.trim_end_matches('/'));
                (source.path == target.path, target.path.starts_with(&below))
            }
            _ => (false, false),
        };
        let clash = |what: &str| {
            Err(Complaint(format!("`{}' to `{}': {what}", self.shown(), target.shown())))
        };
        if same {
            clash("are the same file")
        } else if inside && kind == Kind::Directory {
            clash("is a subdirectory of itself")
        } else {
            Ok(())
        }
    }

    /// Makes the directory unless it is there. Whether it was made, so that it is known to be empty.
    ///
    /// # Errors
    /// Something else is there, or it can't be made.
    pub async fn make_directory(&self, is_new: bool) -> Done<bool> {
        let kind = if is_new { None } else { self.kind().await? };
        match kind {
            Some(Kind::Directory) => return Ok(false),
            Some(_) => return Err(Complaint::path(&self.shown(), "Is not a directory")),
            None => {}
        }
        match self {
            Self::Local(path) => {
                fs::create_dir(&path.path).map_err(|e| io_complaint(&path.shown, &e))?;
            }
            Self::Remote(target) => {
                target.fs.mkdirs(&target.path, None).await.map_err(|e| target.complaint(&e))?;
            }
        }
        Ok(true)
    }

    /// The entries of a directory, in order of their names.
    ///
    /// # Errors
    /// It can't be read. Single entries may fail by themselves.
    pub async fn children(&self) -> Done<Vec<Done<Node>>> {
        match self {
            Self::Local(path) => {
                let entries =
                    fs::read_dir(&path.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                let mut entries = entries.map_err(|e| io_complaint(&path.shown, &e))?;
                entries.sort_by_key(fs::DirEntry::file_name);
                Ok(entries
                    .into_iter()
                    .map(|entry| Node::local(LocalPath::new(entry.path())))
                    .collect())
            }
            Self::Remote(target) => {
                let entries = match target.fs.list(&target.path).await {
                    Ok(entries) => entries,
                    // It was deleted while we walked: nothing is left to copy.
                    Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
                    Err(e) => return Err(target.complaint(&e)),
                };
                Ok(entries
                    .into_iter()
                    .map(|status| {
                        Ok(Node::remote(Item { target: target.child(status.name()), status }))
                    })
                    .collect())
            }
        }
    }

    /// Gives the copy what it keeps of its source.
    ///
    /// # Errors
    /// An attribute can't be set.
    pub async fn preserve(&self, attributes: &Attributes, what: Preserve) -> Done {
        match self {
            Self::Local(path) => preserve_local(path, attributes, what),
            Self::Remote(target) => {
                preserve_remote(target, attributes, what).await.map_err(|e| target.complaint(&e))
            }
        }
    }

    /// Deletes a local file; a path of a file system is left alone.
    ///
    /// # Errors
    /// It can't be deleted.
    pub fn remove_file(&self) -> Done {
        match self {
            Self::Local(path) => {
                fs::remove_file(&path.path).map_err(|e| io_complaint(&path.shown, &e))
            }
            Self::Remote(_) => Ok(()),
        }
    }

    /// Deletes an empty local directory; a path of a file system is left alone.
    ///
    /// # Errors
    /// It can't be deleted.
    pub fn remove_directory(&self) -> Done {
        match self {
            Self::Local(path) => {
                fs::remove_dir(&path.path).map_err(|e| io_complaint(&path.shown, &e))
            }
            Self::Remote(_) => Ok(()),
        }
    }
}

/// Owner before permission: changing the owner may clear bits. Times last: nothing changes them then.
async fn preserve_remote(
    target: &Target,
    attributes: &Attributes,
    what: Preserve,
) -> hfs_client::Result<()> {
    let (fs, path) = (&target.fs, target.path.as_str());
    if what.ownership {
        fs.set_owner(path, Some(&attributes.owner), Some(&attributes.group)).await?;
    }
    if what.permission {
        fs.set_permission(path, attributes.permission).await?;
    }
    if what.times {
        fs.set_times(path, Some(attributes.modification_ms), Some(attributes.access_ms)).await?;
    }
    Ok(())
}

fn preserve_local(path: &LocalPath, attributes: &Attributes, what: Preserve) -> Done {
    let failed = |e: &std::io::Error| io_complaint(&path.shown, e);
    if what.ownership {
        let uid = known(
            path,
            "user",
            &attributes.owner,
            local::id_of(&local::users(), &attributes.owner),
        )?;
        let gid = known(
            path,
            "group",
            &attributes.group,
            local::id_of(&local::groups(), &attributes.group),
        )?;
        let is = fs::metadata(&path.path).map_err(|e| failed(&e))?;
        if (is.uid(), is.gid()) != (uid, gid) {
            std::os::unix::fs::chown(&path.path, Some(uid), Some(gid)).map_err(|e| {
                let owner = format!("{}:{}", attributes.owner, attributes.group);
                Complaint::path(&path.shown, &format!("cannot be given to {owner}: {e}"))
            })?;
        }
    }
    if what.permission {
        let bits = fs::Permissions::from_mode(u32::from(attributes.permission));
        fs::set_permissions(&path.path, bits).map_err(|e| failed(&e))?;
    }
    if what.times {
        let time = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        // A namenode that does not keep access times says 0.
        let accessed = attributes.access_ms.max(attributes.modification_ms);
        let times = fs::FileTimes::new()
            .set_modified(time(attributes.modification_ms))
            .set_accessed(time(accessed));
        let file = fs::File::open(&path.path).map_err(|e| failed(&e))?;
        file.set_times(times).map_err(|e| failed(&e))?;
    }
    Ok(())
}

fn known(path: &LocalPath, what: &str, name: &str, id: Option<u32>) -> Done<u32> {
    id.ok_or_else(|| {
        let sentence =
            format!("cannot be given to {what} '{name}', whom this machine does not know");
        Complaint::path(&path.shown, &sentence)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn file_urls_are_local_paths() {
        let path = |text| local_argument(text).map(|path| path.shown);
        assert_eq!(path("file:///a/b"), Some("/a/b".into()));
        assert_eq!(path("file:/a"), Some("/a".into()));
        assert_eq!(path("file://localhost/a"), Some("/a".into()));
        assert_eq!(path("file:a"), None);
        assert_eq!(path("/a"), None);
        assert_eq!(path("hdfs://x/a"), None);
    }

    #[test]
    fn local_attributes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = LocalPath::new(dir.path().join("x"));
        fs::write(&path.path, "x").unwrap();
        let before = Node::local(path.clone()).unwrap().attributes;
        let wanted = Attributes {
            modification_ms: 1_700_000_000_123,
            access_ms: 1_700_000_001_000,
            permission: 0o640,
            ..before
        };
        preserve_local(&path, &wanted, Preserve::ALL).unwrap();
        assert_eq!(Node::local(path).unwrap().attributes, wanted);
    }
}
