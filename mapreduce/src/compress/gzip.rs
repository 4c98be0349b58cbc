//! gzip files (RFC 1952), of any number of members, and zlib streams (RFC 1950).

use anyhow::Result;
use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

use super::Source;
use super::decoder::CHUNK_BYTES;

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
/// Bits of the header's flags.
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;
const FIXED_HEADER_BYTES: usize = 10;

pub(super) struct Gzip {
    inflate: Decompress,
    /// Whether members have gzip's header and trailer; zlib streams have their own, which the library
    /// looks at.
    gzip: bool,
    /// Whether the next byte belongs to a member.
    inside: bool,
    members: u64,
    /// Where the member begins, for the sentence of a failure.
    member_at: u64,
    crc: Hasher,
    /// Bytes of the member, modulo 2^32.
    length: u32,
}

impl Gzip {
    /// A decoder of gzip members, or of zlib streams.
    pub(super) fn new(gzip: bool) -> Self {
        Self {
            inflate: Decompress::new(!gzip),
            gzip,
            inside: false,
            members: 0,
            member_at: 0,
            crc: Hasher::new(),
            length: 0,
        }
    }

    fn kind(&self) -> &'static str {
        if self.gzip { "gzip" } else { "zlib" }
    }

    pub(super) fn decode(&mut self, source: &mut Source, out: &mut Vec<u8>) -> Result<bool> {
        out.reserve(CHUNK_BYTES);
        let full = out.len() + CHUNK_BYTES;
        while out.len() < full {
            if !self.inside && !self.begin_member(source)? {
                return Ok(false);
            }
            let input = source.fill()?;
            let at_end = input.is_empty();
            let (before_in, before_out) = (self.inflate.total_in(), out.len());
            let inflated = self.inflate.decompress_vec(input, out, FlushDecompress::None);
            source.consume((self.inflate.total_in() - before_in) as usize);
            let decoded = &out[before_out..];
            if self.gzip {
                self.crc.update(decoded);
            }
            self.length = self.length.wrapping_add(decoded.len() as u32);
            match inflated {
                Ok(Status::StreamEnd) => self.end_member(source)?,
                Ok(_) if at_end && out.len() == before_out => {
                    return Err(source.cut_short(self.kind()));
                }
                // The room that was reserved is used up.
                Ok(_) if out.len() == out.capacity() => break,
                Ok(_) => {}
                Err(error) => {
                    let what = format!(
                        "the {} data that begins at byte {} can't be decompressed ({error})",
                        self.kind(),
                        self.member_at
                    );
                    return Err(source.damaged(source.position(), &what));
                }
            }
        }
        Ok(true)
    }

    /// Reads a member's header; false at the end of the file.
    fn begin_member(&mut self, source: &mut Source) -> Result<bool> {
        let at = source.position();
        if source.fill()?.is_empty() {
            return Ok(false);
        }
        if self.gzip && !self.read_header(source, at)? {
            return Ok(false);
        }
        if self.members > 0 {
            self.inflate.reset(!self.gzip);
            self.crc = Hasher::new();
            self.length = 0;
        }
        self.members += 1;
        self.member_at = at;
        self.inside = true;
        Ok(true)
    }

    /// False when only zeros follow: tapes and some copying programs pad files with them.
    fn read_header(&self, source: &mut Source, at: u64) -> Result<bool> {
        let front = source.ensure(FIXED_HEADER_BYTES)?;
        if self.members > 0 && front[0] == 0 {
            skip_zeros(source)?;
            return Ok(false);
        }
        if !front.starts_with(&MAGIC[..front.len().min(2)]) {
            let what = if self.members == 0 {
                "it does not begin as a gzip file does"
            } else {
                "what follows the last gzip member is not another one"
            };
            return Err(source.damaged(at, what));
        }
        let header: [u8; FIXED_HEADER_BYTES] = source.take("gzip")?;
        let mut crc = Hasher::new();
        crc.update(&header);
        let flags = header[3];
        if header[2] != DEFLATE || flags & RESERVED != 0 {
            return Err(source.damaged(at, "the gzip header is of an unknown kind"));
        }
        if flags & EXTRA != 0 {
            let length: [u8; 2] = source.take("gzip")?;
            crc.update(&length);
            let length = usize::from(u16::from_le_bytes(length));
            crc.update(source.exactly(length, "gzip")?);
            source.consume(length);
        }
        for text in [NAME, COMMENT] {
            if flags & text == 0 {
                continue;
            }
            loop {
                let [byte] = source.take("gzip")?;
                crc.update(&[byte]);
                if byte == 0 {
                    break;
                }
            }
        }
        if flags & HEADER_CRC != 0 {
            let expected = u16::from_le_bytes(source.take("gzip")?);
            if expected != crc.finalize() as u16 {
                return Err(source.damaged(at, "the gzip header does not match its checksum"));
            }
        }
        Ok(true)
    }

    fn end_member(&mut self, source: &mut Source) -> Result<()> {
        self.inside = false;
        if !self.gzip {
            return Ok(());
        }
        let at = source.position();
        let crc = u32::from_le_bytes(source.take("gzip")?);
        let length = u32::from_le_bytes(source.take("gzip")?);
        if crc != self.crc.clone().finalize() || length != self.length {
            let what = format!(
                "the gzip data that begins at byte {} does not match its checksum",
                self.member_at
            );
            return Err(source.damaged(at, &what));
        }
        Ok(())
    }
}

fn skip_zeros(source: &mut Source) -> Result<()> {
    loop {
        let at = source.position();
        let bytes = source.fill()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(other) = bytes.iter().position(|&byte| byte != 0) {
            let what = "bytes follow the zeros behind the last gzip member";
            return Err(source.damaged(at + other as u64, what));
        }
        let count = bytes.len();
        source.consume(count);
    }
}
