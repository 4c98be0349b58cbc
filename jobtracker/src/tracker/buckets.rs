//! Job output in buckets of object stores.

use futures::future::BoxFuture;
use hfs_client::objects::{self, Bucket, PendingUpload};
use hfs_client::{ClientConfig, FileSystem};
use hfs_protocol::proto::task::JobSpec;

use super::hdfs::explain;
use super::place::Place;
use super::store::StoreError;

/// The longest description of an upload: 10,000 parts with their names.
const DESCRIPTION_BYTES_MAX: u64 = 4 << 20;

fn other(error: impl ToString) -> StoreError {
    StoreError::Other(error.to_string())
}

/// The bucket of the job's output, reached with the settings of this process and the job's own.
fn bucket(job: &JobSpec, url: &str) -> Result<Bucket, StoreError> {
    let mut config = ClientConfig::load().map_err(other)?;
    for (name, value) in job.conf.iter().filter(|(name, _)| name.starts_with("fs.s3a.")) {
        config.set(name, value).map_err(other)?;
    }
    Bucket::new(url, &config).map_err(other)
}

/// What tells the job from every other in its `_SUCCESS`.
fn marker(job: &JobSpec) -> String {
    serde_json::json!({ "jobId": job.job_id, "name": job.name, "staging": job.staging_dir })
        .to_string()
}

/// Whether something is in a bucket: it has no id, only that.
pub(super) async fn file_id(
    job: &JobSpec,
    url: &str,
    path: &str,
) -> Result<Option<u64>, StoreError> {
    let found = bucket(job, url)?.status(path).await.map_err(explain)?;
    Ok(found.map(|_| 1))
}

/// The uploads that the files below a directory describe. None may lead out of the job's output directory:
/// this process may be allowed more than the job's user.
async fn uploads(
    fs: &FileSystem,
    dir: &str,
    output: &Place<'_>,
) -> Result<Vec<PendingUpload>, StoreError> {
    let Place::Bucket(url, path) = output else { return Err(other("the output is in no bucket")) };
    let below = format!("{path}/");
    let (mut open, mut uploads) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = open.pop() {
        let entries = match fs.list(&dir).await.map_err(explain) {
            Ok(entries) => entries,
            // No task has written anything, or an earlier try has removed it.
            Err(StoreError::NotFound(_)) => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            if entry.is_dir() {
                // What was brought for the tasks.
                if entry.name() != "_cache" {
                    open.push(entry.path);
                }
                continue;
            }
            // An attempt that was killed at once leaves it empty, and so does the mark that all are there.
            if entry.length == 0 {
                continue;
            }
            if entry.length > DESCRIPTION_BYTES_MAX {
                return Err(other(format!("{} describes no upload: it is too long", entry.path)));
            }
            let mut reader = fs.open(&entry.path).await.map_err(explain)?;
            let mut json = Vec::new();
            loop {
                let chunk = reader.read_chunk().await.map_err(explain)?;
                if chunk.is_empty() {
                    break;
                }
                json.extend_from_slice(&chunk);
            }
            let upload = PendingUpload::from_json(&json)
                .map_err(|e| other(format!("{}: {e}", entry.path)))?;
            let odd = |part: &str| part.is_empty() || part == "." || part == "..";
            let rest = upload.path.strip_prefix(&below);
            if upload.bucket != *url || rest.is_none_or(|rest| rest.split('/').any(odd)) {
                return Err(other(format!(
                    "{} leads to {}{}, which is not in the job's output directory",
                    entry.path, upload.bucket, upload.path
                )));
            }
            uploads.push(upload);
        }
    }
    Ok(uploads)
}

pub(super) fn publish<'a>(
    fs: FileSystem,
    job: &'a JobSpec,
    dir: &'a str,
) -> BoxFuture<'a, Result<(), StoreError>> {
    Box::pin(async move {
        let output = Place::parse(&job.output_dir).map_err(StoreError::Other)?;
        let uploads = uploads(&fs, dir, &output).await?;
        let Place::Bucket(url, path) = output else { return Err(other("no bucket")) };
        let bucket = bucket(job, url)?;
        objects::publish(&bucket, path, uploads, &marker(job)).await.map_err(explain)
    })
}

pub(super) fn withdraw<'a>(
    fs: FileSystem,
    job: &'a JobSpec,
    dir: &'a str,
) -> BoxFuture<'a, Result<bool, StoreError>> {
    Box::pin(async move {
        let output = Place::parse(&job.output_dir).map_err(StoreError::Other)?;
        let uploads = uploads(&fs, dir, &output).await?;
        let Place::Bucket(url, path) = output else { return Err(other("no bucket")) };
        let bucket = bucket(job, url)?;
        objects::withdraw(&bucket, path, uploads, &marker(job)).await.map_err(explain)
    })
}
