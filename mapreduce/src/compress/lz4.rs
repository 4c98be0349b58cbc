//! LZ4 frames, of any number in a file, and the blocks that Hadoop's `Lz4Codec` writes.
//!
//! The library's own frame reader takes a file that was cut off between two blocks for a whole one, so
//! the frames are read here, and the library decompresses their blocks.

use std::hash::Hasher;

use anyhow::{Result, anyhow};
use lz4_flex::block::decompress_into_with_dict;
use twox_hash::XxHash32;

use super::Source;

const MAGIC: u32 = 0x184d_2204;
/// The format of `lz4 -l`: without an end mark, so a cut can't be seen.
const LEGACY_MAGIC: u32 = 0x184c_2102;
/// Frames that are no data.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;
/// Bits of a frame's first flag byte.
const VERSION_BITS: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1;
/// Set in the length of a block that is stored as it is.
const STORED: u32 = 1 << 31;
/// How far back a block may refer.
const WINDOW_BYTES: usize = 64 << 10;
/// Bytes of a block of Hadoop's format: the most that its buffer size is ever set to.
const MAX_HADOOP_BLOCK_BYTES: usize = 64 << 20;

pub(super) struct Lz4 {
    state: State,
    /// The last bytes of a frame whose blocks refer to each other.
    window: Vec<u8>,
}

enum State {
    /// The file's first byte.
    Start,
    /// Between frames.
    Between,
    Frame(Frame),
    /// Hadoop's format; so many bytes of a block are still to come, in chunks.
    Hadoop {
        rest: usize,
    },
}

struct Frame {
    at: u64,
    flags: u8,
    max_block_bytes: usize,
    content_size: Option<u64>,
    content: XxHash32,
    given: u64,
}

impl Lz4 {
    pub(super) fn new() -> Self {
        Self { state: State::Start, window: Vec::new() }
    }

    /// Decodes the next block.
    pub(super) fn decode(&mut self, source: &mut Source, out: &mut Vec<u8>) -> Result<bool> {
        loop {
            match &mut self.state {
                State::Start | State::Between => {
                    if source.fill()?.is_empty() {
                        return Ok(false);
                    }
                    self.begin(source)?;
                }
                State::Frame(frame) => {
                    if frame.block(source, &mut self.window, out)? {
                        return Ok(true);
                    }
                    self.state = State::Between;
                }
                State::Hadoop { rest: 0 } => {
                    if source.fill()?.is_empty() {
                        return Ok(false);
                    }
                    let at = source.position();
                    let rest = u32::from_be_bytes(source.take("LZ4")?) as usize;
                    if rest > MAX_HADOOP_BLOCK_BYTES {
                        return Err(
                            source.damaged(at, "the LZ4 block that begins here is too long")
                        );
                    }
                    self.state = State::Hadoop { rest };
                }
                State::Hadoop { rest } => {
                    *rest -= hadoop_chunk(source, *rest, out)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Reads what a file or a frame begins with.
    fn begin(&mut self, source: &mut Source) -> Result<()> {
        let at = source.position();
        let mut magic = [0; 4];
        magic.copy_from_slice(source.exactly(4, "LZ4")?);
        let magic = u32::from_le_bytes(magic);
        let first = matches!(self.state, State::Start);
        if magic == MAGIC {
            source.consume(4);
            self.window.clear();
            self.state = State::Frame(Frame::begin(source, at)?);
        } else if SKIPPABLE.contains(&magic) {
            source.consume(4);
            let length = u32::from_le_bytes(source.take("LZ4")?);
            source.skip(u64::from(length), "LZ4")?;
            self.state = State::Between;
        } else if magic == LEGACY_MAGIC {
            return Err(anyhow!(
                "{} is in LZ4's legacy format, which does not show whether a file is whole; compress it \
                 with lz4 without -l",
                source.path()
            ));
        } else if first && magic.swap_bytes() as usize <= MAX_HADOOP_BLOCK_BYTES {
            self.state = State::Hadoop { rest: 0 };
        } else if first {
            return Err(source.damaged(at, "it does not begin as an LZ4 file does"));
        } else {
            let what = "what follows the last LZ4 frame is not another one";
            return Err(source.damaged(at, what));
        }
        Ok(())
    }
}

/// Decodes a chunk of a block of Hadoop's format; says how many bytes it gave.
fn hadoop_chunk(source: &mut Source, rest: usize, out: &mut Vec<u8>) -> Result<usize> {
    let at = source.position();
    let length = u32::from_be_bytes(source.take("LZ4")?) as usize;
    let before = out.len();
    let decoded = if length <= MAX_HADOOP_BLOCK_BYTES {
        out.resize(before + rest, 0);
        let chunk = source.exactly(length, "LZ4")?;
        decompress_into_with_dict(chunk, &mut out[before..], &[]).ok()
    } else {
        None
    };
    let Some(count) = decoded.filter(|&count| count > 0) else {
        return Err(source.damaged(at, "the LZ4 block that begins here can't be decompressed"));
    };
    out.truncate(before + count);
    source.consume(length);
    Ok(count)
}

impl Frame {
    /// Reads a frame's header behind its magic number.
    fn begin(source: &mut Source, at: u64) -> Result<Self> {
        let [flags, sizes] = source.take("LZ4")?;
        let max_block_bytes = match sizes >> 4 {
            code @ 4..=7 => 1 << (8 + 2 * u32::from(code)),
            _ => 0,
        };
        if flags & VERSION_BITS != VERSION || flags & RESERVED != 0 || max_block_bytes == 0 {
            return Err(source.damaged(at, "the LZ4 frame that begins here is of an unknown kind"));
        }
        if flags & DICTIONARY != 0 {
            return Err(anyhow!(
                "{} was compressed with an LZ4 dictionary, which is not part of it; compress it without",
                source.path()
            ));
        }
        let mut header = vec![flags, sizes];
        let mut content_size = None;
        if flags & CONTENT_SIZE != 0 {
            let size: [u8; 8] = source.take("LZ4")?;
            header.extend_from_slice(&size);
            content_size = Some(u64::from_le_bytes(size));
        }
        let [checksum] = source.take("LZ4")?;
        if checksum != (xxh32(&header) >> 8) as u8 {
            let what = "the header of the LZ4 frame that begins here does not match its checksum";
            return Err(source.damaged(at, what));
        }
        let content = XxHash32::with_seed(0);
        Ok(Self { at, flags, max_block_bytes, content_size, content, given: 0 })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Decodes the next block; false when the frame has ended.
    fn block(
        &mut self,
        source: &mut Source,
        window: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let at = source.position();
        let length = u32::from_le_bytes(source.take("LZ4")?);
        if length == 0 {
            self.end(source)?;
            return Ok(false);
        }
        let (stored, length) = (length & STORED != 0, (length & !STORED) as usize);
        if length > self.max_block_bytes {
            return Err(source.damaged(at, "the LZ4 block that begins here is too long"));
        }
        let checksum_bytes = if self.has(BLOCK_CHECKSUM) { 4 } else { 0 };
        let block = source.exactly(length + checksum_bytes, "LZ4")?;
        let (block, checksum) = block.split_at(length);
        let matches = checksum.is_empty() || checksum == xxh32(block).to_le_bytes();
        let before = out.len();
        let decoded = if !matches {
            None
        } else if stored {
            out.extend_from_slice(block);
            Some(length)
        } else {
            out.resize(before + self.max_block_bytes, 0);
            decompress_into_with_dict(block, &mut out[before..], window).ok()
        };
        let Some(count) = decoded else {
            let what = if matches {
                "the LZ4 block that begins here can't be decompressed"
            } else {
                "the LZ4 block that begins here does not match its checksum"
            };
            return Err(source.damaged(at, what));
        };
        out.truncate(before + count);
        source.consume(length + checksum_bytes);
        let decoded = &out[before..];
        self.given += count as u64;
        if self.has(CONTENT_CHECKSUM) {
            self.content.write(decoded);
        }
        if !self.has(INDEPENDENT) {
            let kept = window.len().min(WINDOW_BYTES.saturating_sub(count));
            window.drain(..window.len() - kept);
            window.extend_from_slice(&decoded[count.saturating_sub(WINDOW_BYTES)..]);
        }
        Ok(true)
    }

    fn end(&self, source: &mut Source) -> Result<()> {
        let at = source.position();
        let checksum = if self.has(CONTENT_CHECKSUM) {
            Some(u32::from_le_bytes(source.take("LZ4")?))
        } else {
            None
        };
        let wrong = if checksum.is_some_and(|checksum| checksum != self.content.finish() as u32) {
            "checksum"
        } else if self.content_size.is_some_and(|size| size != self.given) {
            "size"
        } else {
            return Ok(());
        };
        let what =
            format!("the LZ4 frame that begins at byte {} does not match its {wrong}", self.at);
        Err(source.damaged(at, &what))
    }
}

fn xxh32(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}
