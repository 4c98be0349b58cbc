//! Making the uploads of a job's tasks its output, or giving them up. Both can be done again, whatever
//! became of an earlier try.
//!
//! There is no step that makes several objects appear at once. So the rule is that of Hadoop's S3A
//! committers: `_SUCCESS` is written last, and what lies in a directory without it is not whole.

use futures::{StreamExt, TryStreamExt, stream};
use object_store::multipart::PartId;
use object_store::{Error as StoreError, ObjectStoreExt};

use super::bucket::Bucket;
use super::upload::PendingUpload;
use crate::error::{Error, ErrorKind, Result};

/// The object that says that the output is whole.
const SUCCESS: &str = "_SUCCESS";
/// Uploads completed at once.
const AT_ONCE: usize = 16;
/// The longest `_SUCCESS` that is looked at.
const MARKER_MAX_BYTES: u64 = 4096;

/// Completes the uploads and then writes `_SUCCESS` with the text `marker`, which tells this job from
/// every other.
///
/// # Errors
/// `AlreadyExists` when another job's `_SUCCESS` is there, before anything is done; what the store says, after
/// which it can be tried again.
pub async fn publish(
    bucket: &Bucket,
    dir: &str,
    uploads: Vec<PendingUpload>,
    marker: &str,
) -> Result<()> {
    match found_marker(bucket, dir).await? {
        Some(found) if found == marker.as_bytes() => return Ok(()),
        Some(_) => {
            let what = "it is the output of another job now and is not replaced";
            let error = Error::new(ErrorKind::AlreadyExists, what);
            return Err(error.on(&format!("{}{dir}", bucket.url())));
        }
        None => {}
    }
    let completed = stream::iter(uploads).map(async |upload| complete(bucket, &upload).await);
    completed.buffer_unordered(AT_ONCE).try_for_each(|()| std::future::ready(Ok(()))).await?;
    bucket.write(&format!("{dir}/{SUCCESS}"), marker.as_bytes().to_vec()).await
}

/// Gives up the uploads, and deletes the objects of those that an unfinished [`publish`] has completed. True:
/// that had finished, and the output stays; uploads that are no part of it are given up all the same.
///
/// # Errors
/// What the store says.
pub async fn withdraw(
    bucket: &Bucket,
    dir: &str,
    uploads: Vec<PendingUpload>,
    marker: &str,
) -> Result<bool> {
    let of = match found_marker(bucket, dir).await? {
        None => Output::Nobodys,
        Some(found) if found == marker.as_bytes() => Output::Ours,
        Some(_) => Output::Others,
    };
    let given_up = stream::iter(uploads).map(async |upload| give_up(bucket, &upload, of).await);
    given_up.buffer_unordered(AT_ONCE).try_for_each(|()| std::future::ready(Ok(()))).await?;
    Ok(of == Output::Ours)
}

/// Whose output is in the directory, by its `_SUCCESS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// Nobody's yet: an object of ours there is a leftover.
    Nobodys,
    Ours,
    Others,
}

async fn found_marker(bucket: &Bucket, dir: &str) -> Result<Option<Vec<u8>>> {
    let path = format!("{dir}/{SUCCESS}");
    let length = match bucket.status(&path).await? {
        Some(entry) if !entry.is_dir => entry.length.min(MARKER_MAX_BYTES),
        _ => return Ok(None),
    };
    match length {
        0 => Ok(Some(Vec::new())),
        length => Ok(Some(bucket.read(&path, 0..length).await?.to_vec())),
    }
}

pub(super) async fn complete(bucket: &Bucket, upload: &PendingUpload) -> Result<()> {
    if upload.parts.is_empty() {
        let what = "its upload was never finished, so it can't be completed";
        let error = Error::new(ErrorKind::Corrupt, what);
        return Err(error.on(&format!("{}{}", bucket.url(), upload.path)));
    }
    let parts = upload.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
    let key = bucket.key(&upload.path)?;
    match bucket.store.complete_multipart(&key, &upload.upload_id, parts).await {
        Ok(_) => Ok(()),
        // An earlier try may have done it, and the store knows the upload no more.
        Err(_) if is_complete(bucket, upload).await? => Ok(()),
        Err(error) => Err(bucket.explain(&upload.path, &error)),
    }
}

/// Whether the object is there as it was uploaded. Its directory was empty when the job began.
async fn is_complete(bucket: &Bucket, upload: &PendingUpload) -> Result<bool> {
    match bucket.store.head(&bucket.key(&upload.path)?).await {
        Ok(found) => Ok(found.size == upload.length),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(bucket.explain(&upload.path, &error)),
    }
}

async fn give_up(bucket: &Bucket, upload: &PendingUpload, of: Output) -> Result<()> {
    let key = bucket.key(&upload.path)?;
    let Err(error) = bucket.store.abort_multipart(&key, &upload.upload_id).await else {
        return Ok(());
    };
    let may_be_done = !upload.parts.is_empty() && is_complete(bucket, upload).await?;
    match of {
        // It was completed, and is part of the output.
        Output::Ours if may_be_done => Ok(()),
        Output::Nobodys if may_be_done => {
            let deleted = bucket.store.delete(&key).await;
            deleted.map_err(|error| bucket.explain(&upload.path, &error))
        }
        // Somebody has given it up before.
        _ if matches!(error, StoreError::NotFound { .. }) => Ok(()),
        _ => Err(bucket.explain(&upload.path, &error)),
    }
}
