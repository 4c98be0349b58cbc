//! Files that are open: read at any position, written from front to back.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
#[cfg(feature = "object-store")]
use hfs_client::objects::Upload;
use hfs_client::{MappedRange, blocking};
use memmap2::Mmap;

use super::behind::WriteBehind;
#[cfg(feature = "object-store")]
use super::{bucket::Object, uploads::Keep};
use crate::compress::{Codec, Encoder};

/// Compressed bytes gathered before they are written.
const COMPRESSED_BUFFER_BYTES: usize = 1 << 20;

pub(super) enum InputKind {
    Local(Arc<Mmap>),
    Hdfs(Box<blocking::FileReader>),
    #[cfg(feature = "object-store")]
    Object(Box<Object>),
}

/// A file open for reading at any position.
pub struct InputFile {
    pub(super) length: u64,
    pub(super) kind: InputKind,
}

/// Part of a file that lies in memory without having been copied.
pub struct MappedPart(MappedKind);

enum MappedKind {
    Local { map: Arc<Mmap>, from: usize, length: usize },
    Replica(MappedRange),
}

impl InputFile {
    /// Bytes of the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Fills `buffer` from `position` on; fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// When no replica can be read.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize> {
        match &self.kind {
            InputKind::Local(map) => {
                // The map of an empty file has a byte all the same.
                let end = usize::try_from(self.length).unwrap_or(map.len()).min(map.len());
                let rest = usize::try_from(position).ok().and_then(|at| map.get(at..end));
                let rest = rest.unwrap_or_default();
                let bytes = rest.len().min(buffer.len());
                buffer[..bytes].copy_from_slice(&rest[..bytes]);
                Ok(bytes)
            }
            InputKind::Hdfs(reader) => {
                if position >= self.length {
                    return Ok(0);
                }
                Ok(reader.read_at(position, buffer)?)
            }
            #[cfg(feature = "object-store")]
            InputKind::Object(object) => object.read_at(position, buffer),
        }
    }

    /// Maps a range, or the front of it, if its bytes lie on this machine.
    ///
    /// # Errors
    /// When the file system can't say where the bytes lie.
    pub fn map(&self, position: u64, length: u64) -> Result<Option<MappedPart>> {
        match &self.kind {
            InputKind::Local(map) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX).min(map.len());
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(map.len() - from);
                Ok(Some(MappedPart(MappedKind::Local { map: Arc::clone(map), from, length })))
            }
            InputKind::Hdfs(reader) => {
                let mapped = reader.map_range(position, length)?;
                Ok(mapped.map(|range| MappedPart(MappedKind::Replica(range))))
            }
            #[cfg(feature = "object-store")]
            InputKind::Object(_) => Ok(None),
        }
    }
}

impl MappedPart {
    /// Bytes of the part.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            MappedKind::Local { length, .. } => *length,
            MappedKind::Replica(range) => range.len(),
        }
    }

    /// Whether the part is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of its bytes, verified.
    ///
    /// # Errors
    /// When they do not match their checksums: read them with [`InputFile::read_at`], which takes
    /// another replica.
    pub fn slice(&self, part: std::ops::Range<usize>) -> Result<&[u8]> {
        match &self.0 {
            MappedKind::Local { map, from, length } => {
                if part.start > part.end || part.end > *length {
                    bail!("{part:?} is not a part of the {length} bytes mapped");
                }
                Ok(&map[from + part.start..from + part.end])
            }
            MappedKind::Replica(range) => Ok(range.slice(part)?),
        }
    }
}

pub(super) enum OutputKind {
    Local(std::fs::File, String),
    Hdfs(Box<blocking::FileWriter>),
    /// An object, and where it is kept how to complete it; `None`: it is completed when it is closed.
    #[cfg(feature = "object-store")]
    Object(Box<Upload>, Option<Box<Keep>>),
}

/// A file open for writing. It counts only after [`OutputFile::close`].
pub struct OutputFile {
    kind: OutputKind,
    /// Bytes of the file so far.
    length: u64,
    encoder: Option<Box<Encoder>>,
    behind: Option<WriteBehind>,
}

impl OutputFile {
    pub(super) fn new(kind: OutputKind) -> Self {
        Self { kind, length: 0, encoder: None, behind: None }
    }

    /// The same file, sent on to the disk while more is written, if it is one of this machine.
    pub(super) fn writing_behind(self) -> Self {
        Self { behind: Some(WriteBehind::default()), ..self }
    }

    /// The same file, compressed. Nothing may have been written before.
    #[must_use]
    pub fn compressed(self, codec: Codec) -> Self {
        Self { encoder: Some(Box::new(Encoder::new(codec))), ..self }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(encoder) = &mut self.encoder else { return self.append(bytes) };
        encoder.write(bytes)?;
        if encoder.compressed().len() < COMPRESSED_BUFFER_BYTES {
            return Ok(());
        }
        let mut compressed = std::mem::take(encoder.compressed());
        self.append(&compressed)?;
        if let Some(encoder) = &mut self.encoder {
            // The same memory for what comes.
            compressed.clear();
            *encoder.compressed() = compressed;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        match &mut self.kind {
            OutputKind::Local(file, path) => {
                file.write_all(bytes).with_context(|| {
                    format!("the file {path} can't be written; is the disk full?")
                })?;
                if let Some(behind) = &mut self.behind {
                    behind.wrote(file, self.length);
                }
                Ok(())
            }
            OutputKind::Hdfs(writer) => Ok(writer.write_all(bytes)?),
            #[cfg(feature = "object-store")]
            OutputKind::Object(upload, _) => Ok(blocking::wait(upload.write(bytes))??),
        }
    }

    /// Makes the file whole; says how many bytes it has.
    ///
    /// # Errors
    /// When its last bytes can't be written.
    pub fn close(mut self) -> Result<u64> {
        if let Some(encoder) = self.encoder.take() {
            let rest = encoder.finish()?;
            self.append(&rest)?;
        }
        match self.kind {
            OutputKind::Local(..) => {}
            OutputKind::Hdfs(writer) => writer.close()?,
            #[cfg(feature = "object-store")]
            OutputKind::Object(upload, None) => blocking::wait(upload.publish())??,
            #[cfg(feature = "object-store")]
            OutputKind::Object(upload, Some(keep)) => {
                keep.keep(&blocking::wait(upload.finish())??)?;
            }
        }
        Ok(self.length)
    }
}
