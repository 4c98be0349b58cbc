//! Zstandard files (RFC 8878), of any number of frames.

use std::io::Read;

use anyhow::{Result, anyhow};
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Source;
use super::decoder::CHUNK_BYTES;

const MAGIC: u32 = 0xfd2f_b528;
/// Frames that are no data.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

pub(super) struct Zstd {
    decoder: FrameDecoder,
    inside: bool,
    frames: u64,
    /// Where the frame begins, for the sentence of a failure.
    frame_at: u64,
    /// Bytes of the frame that have been given out.
    given: u64,
}

impl Zstd {
    pub(super) fn new() -> Self {
        Self { decoder: FrameDecoder::new(), inside: false, frames: 0, frame_at: 0, given: 0 }
    }

    pub(super) fn decode(&mut self, source: &mut Source, out: &mut Vec<u8>) -> Result<bool> {
        let before = out.len();
        while out.len() == before {
            if !self.inside && !self.begin_frame(source)? {
                return Ok(false);
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let decoded =
                    self.decoder.decode_blocks(&mut *source, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(|error| self.failure(source, &error))?;
            }
            // A whole window of up to 128 MiB becomes available when a frame ends.
            let count = self.decoder.can_collect().min(CHUNK_BYTES);
            out.resize(before + count, 0);
            self.decoder.read_exact(&mut out[before..])?;
            self.given += count as u64;
            if self.decoder.is_finished() && self.decoder.can_collect() == 0 {
                self.end_frame(source)?;
            }
        }
        Ok(true)
    }

    /// Reads a frame's header; false at the end of the file.
    fn begin_frame(&mut self, source: &mut Source) -> Result<bool> {
        loop {
            let at = source.position();
            if source.fill()?.is_empty() {
                return Ok(false);
            }
            let mut magic = [0; 4];
            magic.copy_from_slice(source.exactly(4, "zstd")?);
            let magic = u32::from_le_bytes(magic);
            if SKIPPABLE.contains(&magic) {
                source.consume(4);
                let length = u32::from_le_bytes(source.take("zstd")?);
                source.skip(u64::from(length), "zstd")?;
                continue;
            }
            if magic != MAGIC {
                let what = if self.frames == 0 {
                    "it does not begin as a zstd file does"
                } else {
                    "what follows the last zstd frame is not another one"
                };
                return Err(source.damaged(at, what));
            }
            self.frame_at = at;
            let begun = self.decoder.reset(&mut *source);
            begun.map_err(|error| self.failure(source, &error))?;
            self.inside = true;
            self.frames += 1;
            self.given = 0;
            return Ok(true);
        }
    }

    fn end_frame(&mut self, source: &Source) -> Result<()> {
        self.inside = false;
        let expected = self.decoder.get_checksum_from_data();
        let wrong_checksum =
            expected.is_some() && expected != self.decoder.get_calculated_checksum();
        // 0 also says that the frame does not tell its size.
        let size = self.decoder.content_size();
        if wrong_checksum || (size > 0 && size != self.given) {
            let what = format!(
                "the zstd frame that begins at byte {} does not match its {}",
                self.frame_at,
                if wrong_checksum { "checksum" } else { "size" }
            );
            return Err(source.damaged(source.position(), &what));
        }
        Ok(())
    }

    fn failure(&self, source: &mut Source, error: &FrameDecoderError) -> anyhow::Error {
        match error {
            FrameDecoderError::WindowSizeTooBig { requested, max } => anyhow!(
                "{} needs a window of {requested} bytes to be decompressed at byte {}, and at most {max} \
                 are possible; compress it without zstd's --long and --ultra",
                source.path(),
                self.frame_at
            ),
            FrameDecoderError::DictNotProvided { .. } => anyhow!(
                "{} was compressed with a zstd dictionary, which is not part of it; compress it without",
                source.path()
            ),
            // The library reads exactly what it needs, so an end of file is the file's own.
            _ if source.fill().is_ok_and(<[u8]>::is_empty) => source.cut_short("zstd"),
            _ => {
                let what = format!(
                    "the zstd frame that begins at byte {} can't be decompressed ({error})",
                    self.frame_at
                );
                source.damaged(source.position(), &what)
            }
        }
    }
}
