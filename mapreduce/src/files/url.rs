//! Paths with a file system in front: `scheme://authority/path`. Pure.

use hfs_client::BUCKET_SCHEMES;

/// A path that names its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    /// `hdfs`, `file`, as it was written.
    pub(crate) scheme: &'a str,
    /// `host:port`, or empty.
    pub(crate) authority: &'a str,
    /// From its first slash on; `/` where nothing is written.
    pub(crate) path: &'a str,
}

impl<'a> Url<'a> {
    /// Reads `scheme://authority/path` and `scheme:/path`; `None` for a plain path. Nothing is
    /// percent-decoded, as in Hadoop.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(":/")?;
        let mut letters = scheme.bytes();
        let sound = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !sound {
            return None;
        }
        let Some(rest) = rest.strip_prefix('/') else {
            return Some(Self { scheme, authority: "", path: &text[scheme.len() + 1..] });
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some(Self { scheme, authority, path: if path.is_empty() { "/" } else { path } })
    }

    /// Whether it names a bucket of an object store.
    pub(crate) fn is_bucket(&self) -> bool {
        BUCKET_SCHEMES.iter().any(|scheme| self.is(scheme))
    }

    /// Whether the scheme is this one, however it is written.
    pub(crate) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }
}

/// Whether a path names a bucket of an object store.
pub(crate) fn is_bucket(path: &str) -> bool {
    Url::parse(path).is_some_and(|url| url.is_bucket())
}

/// Whether a path names its file system.
pub(crate) fn is_url(path: &str) -> bool {
    Url::parse(path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        let parts = |text| Url::parse(text).map(|url| (url.scheme, url.authority, url.path));
        assert_eq!(parts("hdfs://nn:8020/a/b"), Some(("hdfs", "nn:8020", "/a/b")));
        assert_eq!(parts("hdfs://nn"), Some(("hdfs", "nn", "/")));
        assert_eq!(parts("file:///a"), Some(("file", "", "/a")));
        assert_eq!(parts("file:/a"), Some(("file", "", "/a")));
        assert_eq!(parts("s3a://bucket/a:/b"), Some(("s3a", "bucket", "/a:/b")));
        for plain in ["/a", "a/b", "", "/a:/b", "a b:/c", ":/a", "file:a", "1:/a"] {
            assert_eq!(parts(plain), None, "{plain}");
        }
    }
}
