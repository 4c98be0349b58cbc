//! One bucket: what lies under its keys.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};

use super::settings::{self, Sizes};
use super::upload::Upload;
use crate::config::ClientConfig;
use crate::error::{Error, ErrorKind, Result};

/// What a bucket is reached through.
pub(super) trait Store: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Store for T {}

/// A bucket. Cheap to clone. Paths begin with a slash, as elsewhere, which the keys do not have.
#[derive(Clone)]
pub struct Bucket {
    pub(super) store: Arc<dyn Store>,
    url: String,
    pub(super) sizes: Sizes,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// An object, or what counts as a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the bucket.
    pub path: String,
    /// Whether keys go on after it.
    pub is_dir: bool,
    /// Bytes; 0 of a directory.
    pub length: u64,
}

impl Bucket {
    /// The bucket of a URL, `s3a://bucket`. Nothing is asked of the store yet.
    ///
    /// # Errors
    /// `Config` for a URL or settings that make no sense.
    pub fn new(url: &str, config: &ClientConfig) -> Result<Self> {
        let Some((name, _)) = super::parse(url) else {
            return Err(Error::new(ErrorKind::Config, format!("{url} names no bucket")));
        };
        let store = Arc::new(settings::store(config, name)?);
        Ok(Self::of_store(store, url, settings::sizes(config, name)?))
    }

    pub(super) fn of_store(store: Arc<dyn Store>, url: &str, sizes: Sizes) -> Self {
        let front = url.find("://").map_or(0, |at| at + 3);
        let end = url[front..].find('/').map_or(url.len(), |at| front + at);
        Self { store, url: url[..end].to_owned(), sizes }
    }

    /// The URL without a path.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Bytes of what counts as a file's block.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        self.sizes.block_bytes
    }

    pub(super) fn key(&self, path: &str) -> Result<Path> {
        Path::parse(path.trim_start_matches('/')).map_err(|error| {
            Error::new(ErrorKind::InvalidPath, format!("{}{path} is no key: {error}", self.url))
        })
    }

    /// What an error of the store means for a path.
    pub(super) fn explain(&self, path: &str, error: &object_store::Error) -> Error {
        use object_store::Error as Of;
        let (kind, what) = match error {
            Of::NotFound { .. } => (ErrorKind::NotFound, "it does not exist".to_owned()),
            Of::AlreadyExists { .. } => (ErrorKind::AlreadyExists, "it is there".to_owned()),
            Of::PermissionDenied { .. } | Of::Unauthenticated { .. } => (
                ErrorKind::AccessDenied,
                format!(
                    "the store refuses it; check fs.s3a.access.key and fs.s3a.secret.key, or the \
                     AWS_* variables ({error})"
                ),
            ),
            Of::InvalidPath { .. } => (ErrorKind::InvalidPath, error.to_string()),
            Of::NotSupported { .. } | Of::NotImplemented { .. } => {
                (ErrorKind::Unsupported, error.to_string())
            }
            _ => (ErrorKind::Io, error.to_string()),
        };
        Error::new(kind, what).on(&format!("{}{path}", self.url))
    }

    /// What is at a path, if anything.
    ///
    /// # Errors
    /// When the store can't say.
    pub async fn status(&self, path: &str) -> Result<Option<Entry>> {
        let key = self.key(path)?;
        let directory = Entry { path: plain(path), is_dir: true, length: 0 };
        if key.is_root() {
            return Ok(Some(directory));
        }
        match self.store.head(&key).await {
            Ok(found) => return Ok(Some(entry(&found))),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(self.explain(path, &error)),
        }
        match self.store.list(Some(&key)).next().await {
            None => Ok(None),
            Some(Ok(_)) => Ok(Some(directory)),
            Some(Err(error)) => Err(self.explain(path, &error)),
        }
    }

    /// What lies in a directory.
    ///
    /// # Errors
    /// When the store can't say.
    pub async fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let key = self.key(path)?;
        let prefix = (!key.is_root()).then_some(&key);
        let found = self.store.list_with_delimiter(prefix).await;
        let found = found.map_err(|error| self.explain(path, &error))?;
        let directories = found.common_prefixes.iter().map(|prefix| Entry {
            path: format!("/{prefix}"),
            is_dir: true,
            length: 0,
        });
        // Some programs mark a directory with an empty object of its name.
        let files = found.objects.iter().filter(|object| object.location != key).map(entry);
        Ok(directories.chain(files).collect())
    }

    /// A range of an object.
    ///
    /// # Errors
    /// When it does not exist or can't be read.
    pub async fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        let key = self.key(path)?;
        self.store.get_range(&key, range).await.map_err(|error| self.explain(path, &error))
    }

    /// Writes a small object, over an older one.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn write(&self, path: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let key = self.key(path)?;
        let payload = PutPayload::from_bytes(bytes.into());
        let written = self.store.put(&key, payload).await;
        written.map(drop).map_err(|error| self.explain(path, &error))
    }

    /// Deletes an object and all whose keys go on after it with a slash.
    ///
    /// # Errors
    /// When one can't be deleted.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let key = self.key(path)?;
        let explain = |error: object_store::Error| self.explain(path, &error);
        let prefix = (!key.is_root()).then_some(&key);
        let below = self.store.list(prefix).map_ok(|object| object.location).boxed();
        let deleted = self.store.delete_stream(below);
        deleted.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(explain)?;
        if key.is_root() {
            return Ok(());
        }
        match self.store.delete(&key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(explain(error)),
        }
    }

    /// Begins an object that will not be there before it is published.
    ///
    /// # Errors
    /// When the store refuses it.
    pub async fn upload(&self, path: &str) -> Result<Upload> {
        Upload::begin(self.clone(), path).await
    }
}

fn entry(found: &ObjectMeta) -> Entry {
    Entry { path: format!("/{}", found.location), is_dir: false, length: found.size }
}

/// A directory's path without a slash at its end.
fn plain(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }
}
