//! bzip2 files, of any number of streams, whole or from a split's first block on.
//!
//! A stream is a header, blocks and an end mark. Blocks begin with a mark of 48 bits at any bit, and
//! need nothing of what is before them. A split owns the blocks whose marks begin in its range (as
//! Hadoop's `BZip2Codec` has it). Every block is decompressed as a stream of its own, so the library
//! verifies its checksum, and must end where the next mark begins: no byte is left out between splits.

use anyhow::{Result, anyhow};
use bzip2::{Decompress, Status};

use super::Source;
use super::decoder::CHUNK_BYTES;

/// What a block begins with: pi.
const BLOCK: u64 = 0x3141_5926_5359;
/// What ends a stream: the square root of pi.
const END: u64 = 0x1772_4538_5090;
const MARK_BITS: usize = 48;
/// A block's mark and checksum; also the end mark and the stream's checksum.
const MARK_AND_CRC_BITS: usize = MARK_BITS + 32;
const STREAM_HEADER_BYTES: usize = 4;
/// No compressed block is longer: 18,002 groups of 50 symbols of up to 20 bits, and its tables.
const MAX_BLOCK_BYTES: usize = 3 << 20;
/// A header for blocks of every size.
const HEADER: [u8; STREAM_HEADER_BYTES] = *b"BZh9";

pub(super) struct Bzip2 {
    /// Where the split ends in the file.
    end: u64,
    next: Next,
    /// The bit of the source's next byte at which `next` begins.
    bit: usize,
    decoded: u64,
    owned: Option<u64>,
    /// The checksum of the stream's blocks so far; `None` when its front was not read.
    combined: Option<u32>,
}

/// What comes next in the source.
enum Next {
    /// The first mark behind the split's start, somewhere.
    FirstMark,
    /// A stream's header, or the end of the file.
    Stream { first: bool },
    /// A block's mark or the end mark.
    Mark,
}

impl Bzip2 {
    pub(super) fn new(start: u64, end: u64) -> Self {
        let next = if start == 0 { Next::Stream { first: true } } else { Next::FirstMark };
        Self { end, next, bit: 0, decoded: 0, owned: None, combined: None }
    }

    pub(super) fn owned(&self) -> Option<u64> {
        self.owned
    }

    /// Decodes the next block. Says so without decoding it if it is the first that the split does not
    /// own.
    pub(super) fn decode(&mut self, source: &mut Source, out: &mut Vec<u8>) -> Result<bool> {
        loop {
            match self.next {
                Next::FirstMark => match find_mark(source, 0, usize::MAX)? {
                    Found::Mark(bits, _) => self.go_to(source, bits),
                    // The split lies within the last block, which is another split's.
                    Found::Nothing | Found::EndOfFile => return Ok(false),
                },
                Next::Stream { first } => {
                    let header = source.ensure(STREAM_HEADER_BYTES)?;
                    if header.is_empty() && !first {
                        return Ok(false);
                    }
                    if header.len() < STREAM_HEADER_BYTES {
                        return Err(source.cut_short("bzip2"));
                    }
                    let level = header[STREAM_HEADER_BYTES - 1];
                    if !header.starts_with(&HEADER[..3]) || !(b'1'..=b'9').contains(&level) {
                        let what = if first {
                            "it does not begin as a bzip2 file does"
                        } else {
                            "what follows the last bzip2 stream is not another one"
                        };
                        return Err(source.damaged(source.position(), what));
                    }
                    source.consume(STREAM_HEADER_BYTES);
                    self.combined = Some(0);
                    self.next = Next::Mark;
                }
                Next::Mark => {
                    let at = source.position();
                    let bytes =
                        source.exactly((self.bit + MARK_AND_CRC_BITS).div_ceil(8), "bzip2")?;
                    let mark = bits_at(bytes, self.bit, MARK_BITS);
                    let crc = bits_at(bytes, self.bit + MARK_BITS, 32) as u32;
                    match mark {
                        END if self.combined.is_some_and(|combined| combined != crc) => {
                            let what =
                                "the bzip2 stream that ends here does not match its checksum";
                            return Err(source.damaged(at, what));
                        }
                        END => {
                            source.consume((self.bit + MARK_AND_CRC_BITS).div_ceil(8));
                            self.bit = 0;
                            self.next = Next::Stream { first: false };
                        }
                        BLOCK if at >= self.end && self.owned.is_none() => {
                            self.owned = Some(self.decoded);
                            return Ok(true);
                        }
                        BLOCK => {
                            self.block(source, crc, out)?;
                            return Ok(true);
                        }
                        _ => {
                            let what =
                                "neither a bzip2 block nor the end of the stream begins here";
                            return Err(source.damaged(at, what));
                        }
                    }
                }
            }
        }
    }

    /// Goes on `bits` bits behind the source's next byte, at a mark.
    fn go_to(&mut self, source: &mut Source, bits: usize) {
        source.consume(bits / 8);
        self.bit = bits % 8;
        self.next = Next::Mark;
    }

    fn block(&mut self, source: &mut Source, crc: u32, out: &mut Vec<u8>) -> Result<()> {
        let at = source.position();
        let before = out.len();
        let mut look_from = self.bit + MARK_AND_CRC_BITS;
        loop {
            let (end, bytes) = match find_mark(source, look_from, MAX_BLOCK_BYTES)? {
                Found::Mark(end, bytes) => (end, bytes),
                Found::EndOfFile if look_from == self.bit + MARK_AND_CRC_BITS => {
                    return Err(source.cut_short("bzip2"));
                }
                Found::EndOfFile | Found::Nothing => break,
            };
            if unpack(bytes, self.bit, end, crc, out).is_ok() {
                self.decoded += (out.len() - before) as u64;
                self.combined = self.combined.map(|combined| combined.rotate_left(1) ^ crc);
                self.go_to(source, end);
                return Ok(());
            }
            // Compressed data may contain a mark by chance, once in some terabytes: the block may be
            // longer than it looks.
            out.truncate(before);
            look_from = end + 1;
        }
        Err(source.damaged(at, "the bzip2 block that begins here can't be decompressed"))
    }
}

enum Found<'a> {
    /// A mark begins so many bits behind the source's next byte; and the bytes at hand.
    Mark(usize, &'a [u8]),
    /// There is none in so many bytes.
    Nothing,
    /// There is none up to the end of the file.
    EndOfFile,
}

/// Finds the first mark that begins `from_bit` bits or more behind the source's next byte.
fn find_mark(source: &mut Source, from_bit: usize, most_bytes: usize) -> Result<Found<'_>> {
    let mut from_bit = from_bit;
    loop {
        let have = source.ensure(from_bit / 8 + 16)?.len();
        if let Some(bit) = mark_in(source.fill()?, from_bit) {
            return Ok(Found::Mark(bit, source.fill()?));
        }
        if have > most_bytes {
            return Ok(Found::Nothing);
        }
        // A mark may have begun in the last bytes.
        from_bit = from_bit.max(have.saturating_sub(8) * 8);
        if source.ensure(have + 1)?.len() == have {
            return Ok(Found::EndOfFile);
        }
        if most_bytes == usize::MAX {
            // A search needs nothing of what is behind it.
            let behind = from_bit / 8;
            source.consume(behind);
            from_bit -= behind * 8;
        }
    }
}

/// Whether a byte can be the last but one that a mark, shifted by up to seven bits, touches: few can,
/// so most places need no closer look.
const MAY_END_MARK: [bool; 256] = {
    let mut may = [false; 256];
    let mut shift = 0;
    while shift < 8 {
        may[((BLOCK << shift) >> 8 & 0xff) as usize] = true;
        may[((END << shift) >> 8 & 0xff) as usize] = true;
        shift += 1;
    }
    may
};

/// The first bit, `from_bit` or later, at which a whole mark begins.
fn mark_in(bytes: &[u8], from_bit: usize) -> Option<usize> {
    const MASK: u64 = (1 << MARK_BITS) - 1;
    let start = from_bit / 8;
    let mut window = 0u64;
    for (at, &byte) in bytes.iter().enumerate().skip(start) {
        window = window << 8 | u64::from(byte);
        let end_bit = (at + 1) * 8;
        if !MAY_END_MARK[(window >> 8 & 0xff) as usize] || end_bit < from_bit + MARK_BITS {
            continue;
        }
        // The largest shift is the earliest mark.
        for shift in (0..8).rev() {
            let begins = end_bit.checked_sub(MARK_BITS + shift);
            let candidate = window >> shift & MASK;
            if (candidate == BLOCK || candidate == END) && begins.is_some_and(|bit| bit >= from_bit)
            {
                return begins;
            }
        }
    }
    None
}

/// `count` bits, at most 48, from `bit` on.
fn bits_at(bytes: &[u8], bit: usize, count: usize) -> u64 {
    let mut value = 0;
    for &byte in &bytes[bit / 8..(bit + count).div_ceil(8)] {
        value = value << 8 | u64::from(byte);
    }
    let behind = (8 - (bit + count) % 8) % 8;
    value >> behind & ((1 << count) - 1)
}

/// Decompresses the block in the bits `from` to `to` as a stream of its own.
fn unpack(bytes: &[u8], from: usize, to: usize, crc: u32, out: &mut Vec<u8>) -> Result<()> {
    let stream = stream_of_block(bytes, from, to, crc);
    let mut decompress = Decompress::new(false);
    loop {
        out.reserve(CHUNK_BYTES);
        let (before_in, before_out) = (decompress.total_in(), out.len());
        let status = decompress.decompress_vec(&stream[before_in as usize..], out)?;
        match status {
            Status::StreamEnd => return Ok(()),
            Status::Ok if out.len() > before_out || decompress.total_in() > before_in => {}
            _ => return Err(anyhow!("the block does not end where the next one begins")),
        }
    }
}

/// Header, block, end mark; the checksum of a stream of one block is the block's.
fn stream_of_block(bytes: &[u8], from: usize, to: usize, crc: u32) -> Vec<u8> {
    let mut stream = Vec::with_capacity(HEADER.len() + (to - from + MARK_AND_CRC_BITS).div_ceil(8));
    stream.extend_from_slice(&HEADER);
    let whole = (to - from) / 8;
    let (first, shift) = (from / 8, from % 8);
    if shift == 0 {
        stream.extend_from_slice(&bytes[first..first + whole]);
    } else {
        let pairs = bytes[first..=first + whole].windows(2);
        stream.extend(pairs.map(|pair| pair[0] << shift | pair[1] >> (8 - shift)));
    }
    // The bits that are left, and then what ends the stream.
    let rest = (to - from) % 8;
    let mut pending = if rest == 0 { 0 } else { bits_at(bytes, to - rest, rest) };
    let mut count = rest;
    for (value, bits) in [(END >> 24, 24), (END & 0xff_ffff, 24), (u64::from(crc), 32)] {
        pending = pending << bits | value;
        count += bits;
        while count >= 8 {
            count -= 8;
            stream.push((pending >> count) as u8);
        }
        pending &= (1 << count) - 1;
    }
    stream.push((pending << (8 - count)) as u8);
    stream
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_found_at_every_bit(
            noise in prop::collection::vec(any::<u8>(), 0..40), place in 0usize..200, end: bool,
            from in 0usize..200,
        ) {
            // The mark is put over the noise, bit by bit.
            let mut bytes = noise;
            bytes.resize(40, 0);
            let (mark, place) = (if end { END } else { BLOCK }, place.min(40 * 8 - MARK_BITS));
            for bit in 0..MARK_BITS {
                let value = (mark >> (MARK_BITS - 1 - bit) & 1) as u8;
                let at = place + bit;
                bytes[at / 8] = bytes[at / 8] & !(0x80 >> (at % 8)) | value << (7 - at % 8);
            }
            prop_assert_eq!(bits_at(&bytes, place, MARK_BITS), mark);
            let expected = (from <= place).then_some(place);
            prop_assert_eq!(mark_in(&bytes, from), expected);
        }
    }
}
