//! Writing a compressed file, whatever its format.

use std::io::Write;

use anyhow::{Context as _, Result};
use bzip2::write::BzEncoder;
use flate2::write::{GzEncoder, ZlibEncoder};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::Codec;

/// Bytes of a zstd frame before compression. Frames are made whole, so this is memory of a writer.
const ZSTD_FRAME_BYTES: usize = 4 << 20;
/// Bytes of a block of Hadoop's LZ4 format. Its reader's buffer is 256 KiB and must hold a block that grew.
const HADOOP_LZ4_BYTES: usize = 128 << 10;

/// Compresses a file as it is written.
pub(crate) struct Encoder(Format);

enum Format {
    Deflate(ZlibEncoder<Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
    Bzip2(BzEncoder<Vec<u8>>),
    Zstd {
        frame: Vec<u8>,
        /// Finished frames.
        done: Vec<u8>,
        empty: bool,
    },
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    /// What Hadoop's `Lz4Codec` writes.
    HadoopLz4(Vec<u8>),
}

impl Encoder {
    pub(crate) fn new(codec: Codec) -> Self {
        Self(match codec {
            Codec::Deflate => Format::Deflate(ZlibEncoder::new(Vec::new(), <_>::default())),
            Codec::Gzip => Format::Gzip(GzEncoder::new(Vec::new(), <_>::default())),
            Codec::Bzip2 => Format::Bzip2(BzEncoder::new(Vec::new(), bzip2::Compression::best())),
            Codec::Zstd => Format::Zstd { frame: Vec::new(), done: Vec::new(), empty: true },
            Codec::Lz4 => {
                let info = FrameInfo::new()
                    .block_size(BlockSize::Max256KB)
                    .block_mode(BlockMode::Linked)
                    .content_checksum(true);
                Format::Lz4(Box::new(FrameEncoder::with_frame_info(info, Vec::new())))
            }
        })
    }

    /// As Hadoop's class of this name writes it: for LZ4 it is not the format of `.lz4` files.
    pub(crate) fn of_hadoop(codec: Codec) -> Self {
        match codec {
            Codec::Lz4 => Self(Format::HadoopLz4(Vec::new())),
            other => Self::new(other),
        }
    }

    /// Takes bytes of the file before compression.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.0 {
            Format::Deflate(encoder) => encoder.write_all(bytes),
            Format::Gzip(encoder) => encoder.write_all(bytes),
            Format::Bzip2(encoder) => encoder.write_all(bytes),
            Format::Lz4(encoder) => encoder.write_all(bytes),
            Format::HadoopLz4(done) => {
                bytes.chunks(HADOOP_LZ4_BYTES).for_each(|chunk| hadoop_lz4_block(chunk, done));
                Ok(())
            }
            Format::Zstd { frame, done, empty } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let (now, later) =
                        rest.split_at(rest.len().min(ZSTD_FRAME_BYTES - frame.len()));
                    frame.extend_from_slice(now);
                    if frame.len() == ZSTD_FRAME_BYTES {
                        end_frame(frame, done, empty);
                    }
                    rest = later;
                }
                Ok(())
            }
        };
        written.context("the output can't be compressed")
    }

    /// The compressed bytes so far; the caller writes them and empties the buffer.
    pub(crate) fn compressed(&mut self) -> &mut Vec<u8> {
        match &mut self.0 {
            Format::Deflate(encoder) => encoder.get_mut(),
            Format::Gzip(encoder) => encoder.get_mut(),
            Format::Bzip2(encoder) => encoder.get_mut(),
            Format::Zstd { done, .. } => done,
            Format::Lz4(encoder) => encoder.get_mut(),
            Format::HadoopLz4(done) => done,
        }
    }

    /// Ends the file; gives the compressed bytes that are left.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        const WHAT: &str = "the output can't be compressed";
        match self.0 {
            Format::Deflate(encoder) => encoder.finish().context(WHAT),
            Format::Gzip(encoder) => encoder.finish().context(WHAT),
            Format::Bzip2(encoder) => encoder.finish().context(WHAT),
            Format::Zstd { mut frame, mut done, mut empty } => {
                // A file of no frame at all would not be a zstd file.
                if empty || !frame.is_empty() {
                    end_frame(&mut frame, &mut done, &mut empty);
                }
                Ok(done)
            }
            Format::Lz4(encoder) => encoder.finish().context(WHAT),
            Format::HadoopLz4(done) => Ok(done),
        }
    }
}

/// Length before compression, length after it, data.
fn hadoop_lz4_block(chunk: &[u8], out: &mut Vec<u8>) {
    let packed = lz4_flex::block::compress(chunk);
    for length in [chunk.len(), packed.len()] {
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
    out.extend_from_slice(&packed);
}

fn end_frame(frame: &mut Vec<u8>, done: &mut Vec<u8>, empty: &mut bool) {
    done.append(&mut compress_to_vec(&frame[..], CompressionLevel::Fastest));
    frame.clear();
    *empty = false;
}
