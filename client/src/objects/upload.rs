//! Multipart uploads: objects whose bytes are in the store and which are not there yet.

use object_store::PutPayload;
use object_store::multipart::PartId;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::bucket::Bucket;
use super::commit::complete;
use crate::error::{Error, ErrorKind, Result};

/// The most parts of an upload that stores take.
const PARTS_MAX: usize = 10_000;

/// An upload that somebody will complete or give up: all that is needed for either. It is kept as
/// JSON, in a file of the task that uploaded the parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PendingUpload {
    /// `s3a://bucket`.
    pub bucket: String,
    /// The object's path in the bucket.
    pub path: String,
    /// The store's name for the upload.
    pub upload_id: String,
    /// The store's name for each part, in order. Empty while parts are still uploaded: such an upload
    /// can only be given up.
    pub parts: Vec<String>,
    /// Bytes of the object.
    pub length: u64,
}

impl PendingUpload {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: text and numbers always have a JSON form")
    }

    /// Reads what [`PendingUpload::to_json`] gave.
    ///
    /// # Errors
    /// `Corrupt` when it is something else.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("it describes no upload: {error}"))
        })
    }
}

/// An object that is being uploaded. While one part is on its way the next one is gathered.
pub struct Upload {
    bucket: Bucket,
    pending: PendingUpload,
    buffer: Vec<u8>,
    on_its_way: Option<JoinHandle<Result<PartId>>>,
    begun_parts: usize,
}

impl Upload {
    pub(super) async fn begin(bucket: Bucket, path: &str) -> Result<Self> {
        let begun = bucket.store.create_multipart(&bucket.key(path)?).await;
        let upload_id = begun.map_err(|error| bucket.explain(path, &error))?;
        let pending = PendingUpload {
            bucket: bucket.url().to_owned(),
            path: path.to_owned(),
            upload_id,
            parts: Vec::new(),
            length: 0,
        };
        Ok(Self { bucket, pending, buffer: Vec::new(), on_its_way: None, begun_parts: 0 })
    }

    /// What is needed to give it up.
    #[must_use]
    pub fn pending(&self) -> &PendingUpload {
        &self.pending
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When an earlier part can't be uploaded, or there are too many.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let part_bytes = self.bucket.sizes.part_bytes;
        while !bytes.is_empty() {
            let taken = bytes.len().min(part_bytes - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            self.pending.length += taken as u64;
            bytes = &bytes[taken..];
            if self.buffer.len() == part_bytes {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Sends what is gathered, once the part before has arrived.
    async fn send(&mut self) -> Result<()> {
        self.arrive().await?;
        let index = self.begun_parts;
        let path = self.pending.path.clone();
        if index == PARTS_MAX {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "it has more than {PARTS_MAX} parts of {} bytes; raise fs.s3a.multipart.size",
                    self.bucket.sizes.part_bytes
                ),
            )
            .on(&format!("{}{path}", self.bucket.url())));
        }
        self.begun_parts += 1;
        let (bucket, id) = (self.bucket.clone(), self.pending.upload_id.clone());
        let payload = PutPayload::from(std::mem::take(&mut self.buffer));
        self.on_its_way = Some(tokio::spawn(async move {
            let part = bucket.store.put_part(&bucket.key(&path)?, &id, index, payload).await;
            part.map_err(|error| bucket.explain(&path, &error))
        }));
        Ok(())
    }

    async fn arrive(&mut self) -> Result<()> {
        if let Some(part) = self.on_its_way.take() {
            let part = part.await.map_err(|error| {
                Error::new(ErrorKind::Io, format!("a part was not uploaded: {error}"))
            })??;
            self.pending.parts.push(part.content_id);
        }
        Ok(())
    }

    /// Uploads the rest. The object is still not there: it is when this is published.
    ///
    /// # Errors
    /// When a part can't be uploaded.
    pub async fn finish(mut self) -> Result<PendingUpload> {
        // An object without bytes has one part without bytes.
        if !self.buffer.is_empty() || self.begun_parts == 0 {
            self.send().await?;
        }
        self.arrive().await?;
        Ok(self.pending)
    }

    /// Uploads the rest and makes the object: for what no job commits.
    ///
    /// # Errors
    /// When a part can't be uploaded or the store refuses the object. The upload is given up then.
    pub async fn publish(self) -> Result<()> {
        let (bucket, begun) = (self.bucket.clone(), self.pending.clone());
        let done = async { complete(&bucket, &self.finish().await?).await }.await;
        if done.is_err() {
            // The error says more than one about what is left in the store.
            let _ = bucket.store.abort_multipart(&bucket.key(&begun.path)?, &begun.upload_id).await;
        }
        done
    }
}
