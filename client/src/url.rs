//! Where a file system is: `hdfs://host[:port]/path`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// The schemes that mean a bucket of an object store: S3A's own and those of the clients before it.
pub const BUCKET_SCHEMES: [&str; 3] = ["s3a", "s3", "s3n"];

/// The namenode's port when a URL names none (HDFS `dfs.namenode.rpc-address`).
pub const DEFAULT_PORT: u16 = 8020;

/// A namenode as a URL names it: a host with a port, or the name of a nameservice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    /// A host name, an address (IPv6 without brackets), or a nameservice.
    pub host: String,
    /// The port that was written, if one was.
    pub port: Option<u16>,
}

impl Authority {
    /// The port to dial: the one written, else [`DEFAULT_PORT`].
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// Reads `host`, `host:port` or `[v6]:port`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::new(
                ErrorKind::Config,
                format!("'{text}' {what}; write host:port, for example 127.0.0.1:{DEFAULT_PORT}"),
            )
        };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("has no closing ']'"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(wrong("has something after ']' that is not a port")),
            }
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        if let Some(odd) =
            host.chars().find(|c| c.is_whitespace() || c.is_control() || "@?#%\\".contains(*c))
        {
            return Err(wrong(&format!("has {odd:?} in its host name")));
        }
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(0) | Err(_) => {
                    return Err(wrong(&format!("has '{port}' where a port from 1 to 65535 goes")));
                }
                Ok(port) => Some(port),
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A file system's URL, with a path in it. `hdfs:///path` names no namenode and means the
/// configured default (`fs.defaultFS`). Paths are taken as they are written, as Hadoop does:
/// nothing is percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FsUrl {
    authority: Option<Authority>,
    path: String,
}

impl FsUrl {
    /// A URL of its parts. The path must start with `/`; an empty one means `/`.
    #[must_use]
    pub fn new(authority: Option<Authority>, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { authority, path: if path.is_empty() { "/".to_owned() } else { path } }
    }

    /// The namenode or nameservice, if the URL names one.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The path, always absolute; `/` if the URL has none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same file system with another path.
    #[must_use]
    pub fn with_path(&self, path: impl Into<String>) -> Self {
        Self::new(self.authority.clone(), path)
    }

    /// Whether a text is a URL of this kind (begins with `hdfs:`), as opposed to a plain path.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("hdfs:"))
    }
}

impl FromStr for FsUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: String| {
            Error::new(
                ErrorKind::Config,
                format!(
                    "'{text}' is not a file system URL: {what}; \
                     write hdfs://host:{DEFAULT_PORT}/path"
                ),
            )
        };
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(wrong("it has no scheme".to_owned()));
        };
        if !scheme.eq_ignore_ascii_case("hdfs") {
            return Err(wrong(format!("the scheme '{scheme}' is not hdfs")));
        }
        let Some(rest) = rest.strip_prefix("//") else {
            return if rest.starts_with('/') {
                Ok(Self::new(None, rest))
            } else {
                Err(wrong("'//' is missing after 'hdfs:'".to_owned()))
            };
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let authority = match authority {
            "" => None,
            text => Some(Authority::parse(text)?),
        };
        if authority.is_none() && path.is_empty() {
            return Err(wrong("it names neither a host nor a path".to_owned()));
        }
        Ok(Self::new(authority, path))
    }
}

impl TryFrom<&str> for FsUrl {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<&String> for FsUrl {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<&Self> for FsUrl {
    fn from(url: &Self) -> Self {
        url.clone()
    }
}

impl fmt::Display for FsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hdfs://")?;
        if let Some(authority) = &self.authority {
            authority.fmt(f)?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_read_and_print() {
        for (text, host, port, path) in [
            ("hdfs://nn:9000/a/b", Some("nn"), Some(9000), "/a/b"),
            ("hdfs://nn", Some("nn"), None, "/"),
            ("HDFS://127.0.0.1:8020/", Some("127.0.0.1"), Some(8020), "/"),
            ("hdfs://[::1]:8020/x y", Some("::1"), Some(8020), "/x y"),
            ("hdfs:///only/path", None, None, "/only/path"),
            ("hdfs:/only/path", None, None, "/only/path"),
            ("hdfs://h/a%20b?c#d", Some("h"), None, "/a%20b?c#d"),
        ] {
            let url: FsUrl = text.parse().unwrap();
            assert_eq!(url.authority().map(|a| a.host.as_str()), host, "{text}");
            assert_eq!(url.authority().and_then(|a| a.port), port, "{text}");
            assert_eq!(url.path(), path, "{text}");
            assert_eq!(url.to_string().parse::<FsUrl>().unwrap(), url);
        }
    }

    #[test]
    fn wrong_urls_say_what_is_wrong() {
        for (text, part) in [
            ("", "no scheme"),
            ("/a/b", "no scheme"),
            ("s3://bucket/x", "'s3' is not hdfs"),
            ("hdfs:a", "'//' is missing"),
            ("hdfs://", "neither a host nor a path"),
            ("hdfs://:8020/", "names no host"),
            ("hdfs://h:port/", "'port' where a port"),
            ("hdfs://h:0/", "'0' where a port"),
            ("hdfs://h:65536/", "'65536' where a port"),
            ("hdfs://[::1/", "no closing ']'"),
            ("hdfs://[::1]x/", "after ']'"),
            ("hdfs://user@h/", "'@' in its host name"),
            ("hdfs://a b/", "' ' in its host name"),
        ] {
            let error = text.parse::<FsUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
