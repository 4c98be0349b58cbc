//! Paths as text: normalised, bounded, and refused where HDFS refuses them.

use hfs_protocol::error::ErrorKind;

use super::types::{Result, fail};

/// The longest path in bytes (HDFS `MAX_PATH_LENGTH`).
pub const MAX_PATH_BYTES: usize = 8_000;
/// The most components of a path (HDFS `MAX_PATH_DEPTH`).
pub const MAX_DEPTH: usize = 1_000;
/// The root's child under which HDFS keeps names that are no files.
pub const RESERVED: &str = ".reserved";
/// Below [`RESERVED`]: files by inode id.
pub const INODES: &str = ".inodes";
/// The component that names a directory's snapshots.
pub const SNAPSHOT: &str = ".snapshot";

/// An absolute path without empty components and without a `/` at its end (except the root itself).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsPath {
    text: String,
}

impl FsPath {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self { text: "/".to_owned() }
    }

    /// Normalises what a client sent: `//` counts as `/`, a `/` at the end as nothing.
    ///
    /// # Errors
    /// `InvalidPath` when the path is not absolute, too long or too deep, or has a component `.` or `..`, a
    /// zero byte or a reserved name that this file system does not serve.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            // A path may be megabytes long; the sentence is not.
            let shown: String = text.chars().take(200).collect();
            fail(ErrorKind::InvalidPath, format!("Invalid path name {shown}: {why}"))
        };
        if !text.starts_with('/') {
            return invalid("it must begin with '/'");
        }
        if text.len() > MAX_PATH_BYTES {
            return invalid("it is longer than 8000 bytes");
        }
        let mut normal = String::with_capacity(text.len());
        let mut depth = 0;
        for component in text.split('/').filter(|component| !component.is_empty()) {
            match component {
                "." | ".." => return invalid("'.' and '..' are not file names"),
                SNAPSHOT => {
                    return invalid(
                        "'.snapshot' is reserved for snapshots, and this directory has none",
                    );
                }
                _ if component.contains('\0') => return invalid("it contains a zero byte"),
                _ => {}
            }
            depth += 1;
            if depth > MAX_DEPTH {
                return invalid("it has more than 1000 components");
            }
            normal.push('/');
            normal.push_str(component);
        }
        if normal.is_empty() {
            normal.push('/');
        }
        let path = Self { text: normal };
        let reserved = {
            let mut components = path.components();
            components.next() == Some(RESERVED) && components.next() != Some(INODES)
        };
        if reserved {
            return invalid("'/.reserved' holds nothing but '/.reserved/.inodes/<inode id>'");
        }
        Ok(path)
    }

    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.text == "/"
    }

    /// The names from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('/').filter(|component| !component.is_empty())
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// The directory above; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.text.rfind('/').unwrap_or_default();
        Some(if cut == 0 { Self::root() } else { Self { text: self.text[..cut].to_owned() } })
    }

    /// The entry `name` of this directory. The name is one that a path had before.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let text =
            if self.is_root() { format!("/{name}") } else { format!("{}/{name}", self.text) };
        Self { text }
    }

    /// Whether this path lies below `other`.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        if other.is_root() {
            return !self.is_root();
        }
        self.text.strip_prefix(&other.text).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The id and what follows it, of a path below `/.reserved/.inodes`.
    ///
    /// # Errors
    /// `InvalidPath` when the component after `.inodes` is no number.
    pub(crate) fn inode_reference(&self) -> Result<Option<(u64, Vec<&str>)>> {
        let mut components = self.components();
        if components.next() != Some(RESERVED) || components.next() != Some(INODES) {
            return Ok(None);
        }
        match components.next().map(str::parse) {
            Some(Ok(id)) => Ok(Some((id, components.collect()))),
            _ => fail(
                ErrorKind::InvalidPath,
                format!("Invalid inode path {self}: expected /.reserved/.inodes/<inode id>"),
            ),
        }
    }
}

impl std::fmt::Display for FsPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        FsPath::parse(text).unwrap().to_string()
    }

    #[test]
    fn slashes_are_normalised() {
        assert_eq!(normal("/"), "/");
        assert_eq!(normal("///"), "/");
        assert_eq!(normal("//a///b/"), "/a/b");
        assert_eq!(normal("/a b/ü:x/..."), "/a b/ü:x/...");
    }

    #[test]
    fn what_hdfs_refuses_is_refused() {
        let deep = "/a".repeat(1_001);
        let long = format!("/{}", "x".repeat(8_000));
        for text in
            ["", "a", "a/b", "/.", "/a/..", "/a/../b", "/a\0b", "/a/.snapshot/s", &deep, &long]
        {
            assert_eq!(FsPath::parse(text).unwrap_err().kind, ErrorKind::InvalidPath, "{text}");
        }
        for text in ["/.reserved", "/.reserved/raw/a"] {
            assert_eq!(FsPath::parse(text).unwrap_err().kind, ErrorKind::InvalidPath, "{text}");
        }
        assert_eq!(normal("/a/.reserved"), "/a/.reserved", "only the root has reserved names");
        normal(&"/a".repeat(1_000));
    }

    #[test]
    fn inode_paths_name_an_id() {
        let path = FsPath::parse("/.reserved/.inodes/16386/x").unwrap();
        assert_eq!(path.inode_reference().unwrap(), Some((16386, vec!["x"])));
        let path = FsPath::parse("/.reserved/.inodes/x").unwrap();
        assert_eq!(path.inode_reference().unwrap_err().kind, ErrorKind::InvalidPath);
        assert_eq!(FsPath::parse("/a").unwrap().inode_reference().unwrap(), None);
    }

    #[test]
    fn relations_between_paths() {
        let path = FsPath::parse("/a/bc").unwrap();
        assert_eq!(path.parent().unwrap().as_str(), "/a");
        assert_eq!(path.parent().unwrap().parent().unwrap(), FsPath::root());
        assert_eq!(path.name(), "bc");
        assert!(path.is_below(&FsPath::root()));
        assert!(!path.is_below(&FsPath::parse("/a/b").unwrap()));
        assert!(!path.is_below(&path));
        assert_eq!(FsPath::root().join("x").as_str(), "/x");
    }
}
