//! Where a job's output is: in its own file system, in another HDFS, or on this machine. Pure.

use hfs_client::{BUCKET_SCHEMES, FsUrl};

/// What an output path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// A path of the job's own file system.
    Own(&'a str),
    /// A path of another HDFS.
    Hdfs(FsUrl),
    /// A path of this machine's files, which the workers must share.
    Local(&'a str),
    /// A path in a bucket of an object store, and the URL of the bucket.
    Bucket(&'a str, &'a str),
}

impl<'a> Place<'a> {
    /// Reads `/path`, `hdfs://host:port/path` or `file:///path`.
    ///
    /// # Errors
    /// A sentence about what it is instead.
    pub fn parse(path: &'a str) -> Result<Self, String> {
        if path.starts_with('/') {
            return Ok(Self::Own(path));
        }
        if let Some(local) = path.strip_prefix("file://").filter(|rest| rest.starts_with('/')) {
            return Ok(Self::Local(local));
        }
        if let Some((url, key)) = bucket(path) {
            return Ok(Self::Bucket(url, key));
        }
        if FsUrl::is_url(path) {
            let url: FsUrl = path.parse().map_err(|e: hfs_client::Error| e.to_string())?;
            if url.authority().is_some() {
                return Ok(Self::Hdfs(url));
            }
        }
        Err(format!(
            "'{path}' is none of /path, hdfs://host:port/path, file:///path and s3a://bucket/key, which \
             job output can be committed to"
        ))
    }

    /// The path in its file system.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Own(path) | Self::Local(path) | Self::Bucket(_, path) => path,
            Self::Hdfs(url) => url.path(),
        }
    }
}

/// The bucket's URL and the path in it of `s3a://bucket/path`.
fn bucket(path: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = path.split_once("://").filter(|(s, _)| BUCKET_SCHEMES.contains(s))?;
    let name = rest.find('/').filter(|length| *length > 0)?;
    Some(path.split_at(scheme.len() + "://".len() + name))
}

/// Whether output at this path is uploaded, and completed where other output is renamed.
#[must_use]
pub fn is_uploaded(path: &str) -> bool {
    bucket(path).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_read_from_its_path() {
        assert_eq!(Place::parse("/a"), Ok(Place::Own("/a")));
        assert_eq!(Place::parse("file:///a/b"), Ok(Place::Local("/a/b")));
        let other = Place::parse("hdfs://nn:9000/a");
        assert!(matches!(&other, Ok(Place::Hdfs(url)) if url.path() == "/a"), "{other:?}");
        assert_eq!(Place::parse("s3a://b/a/c"), Ok(Place::Bucket("s3a://b", "/a/c")));
        for wrong in ["", "a", "file://a", "hdfs:///a", "hdfs://", "s3a:///a", "s3a://b"] {
            let why = Place::parse(wrong).unwrap_err();
            assert!(why.contains(wrong), "{wrong}: {why}");
        }
    }
}
