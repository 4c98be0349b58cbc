//! Output to an object store, which has no rename: tasks upload to the final keys, and what is needed to
//! complete an upload lies in a small file where the task's output would be. So it is committed with the
//! task like any output, and completed with the job.

#[cfg(feature = "object-store")]
use std::sync::Arc;

use anyhow::{Context as _, Result};
#[cfg(feature = "object-store")]
use hfs_client::blocking;
#[cfg(feature = "object-store")]
use hfs_client::objects::{self, PendingUpload};

use super::Files;
#[cfg(feature = "object-store")]
use super::open::{OutputFile, OutputKind};
#[cfg(feature = "object-store")]
use super::system::System;
use super::url::is_bucket;

/// Where an attempt's output goes instead of its own directory.
#[derive(Debug)]
pub(super) struct Redirect {
    /// The attempt's directory.
    from: String,
    /// The job's output directory in a bucket.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code, reason = "only uploads need it"))]
    to: String,
}

impl Redirect {
    pub(super) fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.trim_end_matches('/').to_owned() }
    }

    pub(super) fn is_of(&self, dir: &str) -> bool {
        self.from == dir
    }

    /// The key of a file of the attempt.
    #[cfg(feature = "object-store")]
    fn target(&self, path: &str) -> Option<String> {
        let name = path.strip_prefix(&self.from)?.strip_prefix('/')?;
        Some(format!("{}/{name}", self.to))
    }
}

#[cfg(feature = "object-store")]
impl Files {
    /// Begins the upload of an attempt's file, if that is where it goes. From here on it is known how to give it up.
    pub(super) fn create_upload(&self, path: &str) -> Result<Option<OutputFile>> {
        let redirect = self.redirect.as_ref().map(Arc::clone);
        let Some((target, redirect)) = redirect.and_then(|r| Some((r.target(path)?, r))) else {
            return Ok(None);
        };
        let found = self.find(&target)?;
        let System::Bucket(bucket) = &found.system else {
            anyhow::bail!("{} is in no bucket", redirect.to)
        };
        let upload = blocking::wait(bucket.upload(found.path))??;
        self.keep(path, upload.pending())?;
        let keep = Keep { files: self.clone(), path: path.to_owned() };
        Ok(Some(OutputFile::new(OutputKind::Object(Box::new(upload), Some(Box::new(keep))))))
    }

    fn keep(&self, path: &str, pending: &PendingUpload) -> Result<()> {
        let found = self.find(path)?;
        let mut file = found.system.create(found.path)?;
        file.write_all(&pending.to_json())?;
        file.close()?;
        Ok(())
    }
}

/// Where it is kept how to complete an upload.
#[cfg(feature = "object-store")]
pub(super) struct Keep {
    files: Files,
    path: String,
}

#[cfg(feature = "object-store")]
impl Keep {
    pub(super) fn keep(&self, pending: &PendingUpload) -> Result<()> {
        self.files.keep(&self.path, pending)
    }
}

/// The directory of a local run's output until it is whole.
pub(crate) struct Staging {
    /// Where tasks write.
    pub(crate) dir: String,
    output: String,
    /// What tells this run from every other.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code, reason = "only uploads need it"))]
    marker: String,
}

impl Staging {
    /// Makes the directory: beside the output, or in `work_dir` of this machine when the output is in a bucket.
    pub(crate) fn make(
        files: &Files,
        output: &str,
        beside: &str,
        work_dir: &std::path::Path,
    ) -> Result<Self> {
        let dir = if is_bucket(output) {
            let dir =
                work_dir.to_str().context("the directory for temporary files is not UTF-8")?;
            format!("file://{dir}/uploads")
        } else {
            beside.to_owned()
        };
        files.mkdirs(&dir)?;
        let marker = serde_json::json!({ "localRun": work_dir.display().to_string() }).to_string();
        Ok(Self { dir, output: output.to_owned(), marker })
    }

    /// The files as the run's tasks see them.
    pub(crate) fn files(&self, files: &Files) -> Files {
        files.clone().uploading(&self.dir, &self.output)
    }

    /// Makes what tasks have written the output, whole.
    pub(crate) fn commit(&self, files: &Files) -> Result<()> {
        #[cfg(feature = "object-store")]
        if is_bucket(&self.output) {
            let (bucket, dir) = files.bucket(&self.output)?;
            let published = objects::publish(&bucket, dir, self.uploads(files)?, &self.marker);
            return Ok(blocking::wait(published)??);
        }
        files.create(&format!("{}/_SUCCESS", self.dir))?.close()?;
        files.rename(&self.dir, &self.output)
    }

    /// Removes what tasks have written.
    pub(crate) fn abandon(&self, files: &Files) -> Result<()> {
        #[cfg(feature = "object-store")]
        if is_bucket(&self.output) {
            let (bucket, dir) = files.bucket(&self.output)?;
            let withdrawn = objects::withdraw(&bucket, dir, self.uploads(files)?, &self.marker);
            blocking::wait(withdrawn)??;
        }
        files.remove(&self.dir)
    }

    #[cfg(feature = "object-store")]
    fn uploads(&self, files: &Files) -> Result<Vec<PendingUpload>> {
        let (mut open, mut uploads) = (vec![self.dir.clone()], Vec::new());
        while let Some(dir) = open.pop() {
            for entry in files.list(&dir)? {
                if entry.is_dir {
                    open.push(entry.path);
                    continue;
                }
                let file = files.open(&entry.path)?;
                let mut json = vec![0; file.len() as usize];
                file.read_at(0, &mut json)?;
                uploads.push(PendingUpload::from_json(&json)?);
            }
        }
        Ok(uploads)
    }
}
