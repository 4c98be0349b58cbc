//! Buckets of S3-like object stores (`s3a://bucket/key`), with Hadoop's S3A settings. Behind the cargo feature
//! `object-store`.
//!
//! A bucket has no directories and no rename. A directory is here whatever a key goes on after with a
//! slash. Output is written as multipart uploads to its final keys, which are not there until
//! they are completed: tasks upload the parts, and whoever commits a job completes the uploads and then
//! writes `_SUCCESS` ([`publish`], [`withdraw`]), as S3A's committers do.

mod bucket;
mod commit;
mod settings;
mod upload;

pub use bucket::{Bucket, Entry};
pub use commit::{publish, withdraw};
pub use upload::{PendingUpload, Upload};

use crate::url::BUCKET_SCHEMES;

/// The bucket and the path of `s3a://bucket/path`; `None` for another URL or a path.
#[must_use]
pub fn parse(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !BUCKET_SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let (bucket, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (!bucket.is_empty()).then_some((bucket, if path.is_empty() { "/" } else { path }))
}

#[cfg(test)]
mod tests;
