//! Compressed map output, for networks that are slower than the processors at hand: off unless the job asks for it
//! (`mapreduce.map.output.compress`). Spills of the map's own are never compressed, they stay on its node.
//!
//! A packed run is a sequence of frames, `length u32, packed length u32, packed bytes` with little-endian numbers;
//! the frames' contents one after the other are the run. Every attempt of a job knows the format from its
//! configuration; the shuffle server, which sends bytes as they lie, need not know it, and a run's checksum covers the
//! packed bytes.

use anyhow::{Result, anyhow, bail};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::compress::Codec;
use crate::conf::{self, Conf};

/// Bytes of a frame before its contents.
const FRAME_HEAD: usize = 8;
/// LZ4 makes at least one byte of so many. A frame that claims to hold more is damaged, and no reason to take memory.
const LZ4_RATIO_MAX: usize = 256;

/// How map output is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Lz4,
    Zstd,
}

impl Packing {
    /// What the job asks for: `None`, or LZ4 unless it names Zstandard.
    pub(crate) fn of(conf: &Conf) -> Result<Option<Self>> {
        if !conf.parsed_or(conf::MAP_OUTPUT_COMPRESS, false)? {
            return Ok(None);
        }
        let Some(name) = conf.get(conf::MAP_OUTPUT_CODEC) else { return Ok(Some(Self::Lz4)) };
        match name.parse::<Codec>() {
            Ok(Codec::Lz4) => Ok(Some(Self::Lz4)),
            Ok(Codec::Zstd) => Ok(Some(Self::Zstd)),
            _ => bail!(
                "the property {} is '{name}', but map output can be compressed with lz4 or zstd only; correct it \
                 with -D {0}=lz4",
                conf::MAP_OUTPUT_CODEC
            ),
        }
    }

    /// Appends a frame of these bytes; none for no bytes.
    pub(crate) fn pack(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(bytes.len())
            .map_err(|_| anyhow!("{} bytes of records are too much to compress", bytes.len()))?;
        let start = out.len();
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        match self {
            Self::Lz4 => {
                let from = out.len();
                out.resize(from + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
                let packed = lz4_flex::block::compress_into(bytes, &mut out[from..])?;
                out.truncate(from + packed);
            }
            Self::Zstd => out.extend(compress_to_vec(bytes, CompressionLevel::Fastest)),
        }
        let packed = u32::try_from(out.len() - start - FRAME_HEAD)
            .map_err(|_| anyhow!("{} bytes of records are too much to compress", bytes.len()))?;
        out[start + 4..start + FRAME_HEAD].copy_from_slice(&packed.to_le_bytes());
        Ok(())
    }

    /// Appends the contents of the frame at the front of `packed`; gives what follows the frame.
    pub(crate) fn unpack<'p>(self, packed: &'p [u8], out: &mut Vec<u8>) -> Result<&'p [u8]> {
        let (length, frame, rest) = split_frame(packed)?;
        let from = out.len();
        match self {
            Self::Lz4 => {
                if length / LZ4_RATIO_MAX > frame.len() {
                    return Err(damaged());
                }
                out.resize(from + length, 0);
                let got = lz4_flex::block::decompress_into(frame, &mut out[from..]);
                if got.ok() != Some(length) {
                    return Err(damaged());
                }
            }
            Self::Zstd => {
                let mut frame = frame;
                let decoder = StreamingDecoder::new(&mut frame).map_err(|_| damaged())?;
                // One more byte than there should be shows a frame that has it.
                let most = length as u64 + 1;
                let got = std::io::copy(&mut std::io::Read::take(decoder, most), out);
                if got.ok() != Some(length as u64) {
                    return Err(damaged());
                }
            }
        }
        Ok(rest)
    }
}

/// Bytes of the run in these frames.
pub(crate) fn unpacked_length(mut packed: &[u8]) -> Result<u64> {
    let mut sum = 0;
    while !packed.is_empty() {
        let (length, _, rest) = split_frame(packed)?;
        sum += length as u64;
        packed = rest;
    }
    Ok(sum)
}

/// The length of the contents, the packed contents, and what follows them.
fn split_frame(packed: &[u8]) -> Result<(usize, &[u8], &[u8])> {
    let number = |at: usize| {
        let bytes = packed.get(at..at + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    let (Some(length), Some(taken)) = (number(0), number(4)) else { return Err(damaged()) };
    let rest = &packed[FRAME_HEAD..];
    if taken > rest.len() {
        return Err(damaged());
    }
    let (frame, rest) = rest.split_at(taken);
    Ok((length, frame, rest))
}

#[cold]
fn damaged() -> anyhow::Error {
    anyhow!("the compressed map output is damaged; its map must run again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn unpacked(packing: Packing, mut packed: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let length = unpacked_length(packed)?;
        while !packed.is_empty() {
            packed = packing.unpack(packed, &mut out)?;
        }
        assert_eq!(out.len() as u64, length);
        Ok(out)
    }

    proptest! {
        #[test]
        fn frames_read_back_and_damage_is_an_error_or_other_bytes(
            pieces in prop::collection::vec((any::<u8>(), 0usize..70_000), 0..5),
            zstd in any::<bool>(), at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let packing = if zstd { Packing::Zstd } else { Packing::Lz4 };
            let (mut all, mut packed) = (Vec::new(), Vec::new());
            for (seed, length) in pieces {
                // Bytes that compress, but not to nothing.
                let piece: Vec<u8> =
                    (0..length).map(|n| seed.wrapping_add(((n * n) >> 7) as u8)).collect();
                packing.pack(&piece, &mut packed).unwrap();
                all.extend(piece);
            }
            prop_assert!(unpacked(packing, &packed).unwrap() == all);
            if !packed.is_empty() {
                // The run's checksum finds what the format lets pass; here it must only end.
                let at = at.index(packed.len());
                let _ = unpacked(packing, &packed[..at]);
                packed[at] ^= flip;
                let _ = unpacked(packing, &packed);
            }
        }
    }

    #[test]
    fn the_longest_run_of_one_byte_reads_back() {
        for packing in [Packing::Lz4, Packing::Zstd] {
            let mut packed = Vec::new();
            packing.pack(&vec![0; 1 << 20], &mut packed).unwrap();
            assert!(unpacked(packing, &packed).unwrap() == vec![0; 1 << 20]);
        }
    }

    #[test]
    fn jobs_that_ask_for_another_codec_hear_which_there_are() {
        let of = |pairs: &[(&str, &str)]| Packing::of(&pairs.iter().copied().collect());
        let (on, codec) = ((conf::MAP_OUTPUT_COMPRESS, "true"), conf::MAP_OUTPUT_CODEC);
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[(codec, "snappy")]).unwrap(), None);
        assert_eq!(of(&[on]).unwrap(), Some(Packing::Lz4));
        let class = "org.apache.hadoop.io.compress.ZStandardCodec";
        assert_eq!(of(&[on, (codec, class)]).unwrap(), Some(Packing::Zstd));
        for other in ["gzip", "org.apache.hadoop.io.compress.SnappyCodec"] {
            let why = of(&[on, (codec, other)]).unwrap_err().to_string();
            assert!(why.contains(other) && why.contains("lz4 or zstd"), "{why}");
        }
    }
}
