//! Words of a text, found with a bitmask per 64 bytes instead of a test per byte.

/// Positions kept at once: several blocks' worth, so that the refill branch is rare.
const POSITIONS: usize = 512;
/// Bytes classified at once.
const BLOCK: usize = 64;

/// The words of `text`: runs of bytes that are not space, tab, line feed, carriage return or form
/// feed (the delimiters of Java's `StringTokenizer`, which Hadoop's word count uses).
///
/// ```
/// let found: Vec<&[u8]> = hfs_mapreduce::words(b" to be,\r\n or\tnot").collect();
/// assert_eq!(found, [b"to".as_slice(), b"be,", b"or", b"not"]);
/// ```
#[must_use]
pub fn words(text: &[u8]) -> Words<'_> {
    Words {
        text,
        scanned: 0,
        in_word: false,
        positions: [0; POSITIONS + BLOCK],
        next: 0,
        filled: 0,
        classify: classifier(),
    }
}

/// Iterator over [`words`].
#[derive(Clone)]
pub struct Words<'a> {
    text: &'a [u8],
    /// Bytes classified so far.
    scanned: usize,
    /// Whether the last classified byte belongs to a word.
    in_word: bool,
    /// Where words begin and end, in turn, relative to the start of `text`.
    positions: [usize; POSITIONS + BLOCK],
    next: usize,
    filled: usize,
    classify: fn(&[u8; BLOCK]) -> u64,
}

impl std::fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words").field("scanned", &self.scanned).finish_non_exhaustive()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next + 1 >= self.filled && !self.refill() {
            return None;
        }
        let (start, end) = (self.positions[self.next], self.positions[self.next + 1]);
        self.next += 2;
        debug_assert!(start < end && end <= self.text.len());
        // SAFETY: `refill` stores positions of `text` in ascending order, none beyond its length.
        Some(unsafe { self.text.get_unchecked(start..end) })
    }
}

impl Words<'_> {
    /// Finds the next words' ends; false when there are none. A word whose end is not found yet
    /// keeps its start at the front of the buffer.
    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> bool {
        let mut filled = 0;
        if self.next < self.filled {
            self.positions[0] = self.positions[self.next];
            filled = 1;
        }
        self.next = 0;
        while filled < POSITIONS && self.scanned < self.text.len() {
            let rest = &self.text[self.scanned..];
            let (spaces, bytes) = match rest.first_chunk::<BLOCK>() {
                Some(block) => ((self.classify)(block), BLOCK),
                None => {
                    let mut padded = [b' '; BLOCK];
                    padded[..rest.len()].copy_from_slice(rest);
                    ((self.classify)(&padded), rest.len())
                }
            };
            let letters = !spaces;
            // A bit wherever a byte differs from the one before it: starts and ends of words.
            let mut edges = letters ^ ((letters << 1) | u64::from(self.in_word));
            self.in_word = letters >> (BLOCK - 1) == 1;
            while edges != 0 {
                self.positions[filled] = self.scanned + edges.trailing_zeros() as usize;
                filled += 1;
                edges &= edges - 1;
            }
            self.scanned += bytes;
        }
        if self.scanned >= self.text.len() && filled % 2 == 1 {
            self.positions[filled] = self.text.len();
            self.in_word = false;
            filled += 1;
        }
        self.filled = filled;
        filled >= 2
    }
}

/// The fastest way to classify on this machine.
fn classifier() -> fn(&[u8; BLOCK]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return |block| {
            // SAFETY: the processor has AVX2, as just detected.
            unsafe { spaces_avx2(block) }
        };
    }
    spaces_portable
}

/// A bit for every white-space byte.
fn spaces_portable(block: &[u8; BLOCK]) -> u64 {
    let mut mask = 0;
    for (at, byte) in block.iter().enumerate() {
        mask |= u64::from(matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)) << at;
    }
    mask
}

/// As [`spaces_portable`]. The five delimiters have different low halves, so a table that gives for
/// a low half the one delimiter that has it decides with one shuffle and one comparison.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn spaces_avx2(block: &[u8; BLOCK]) -> u64 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_setr_epi8,
        _mm256_shuffle_epi8,
    };
    // Unused low halves get a byte with another low half, which no byte looked up there equals.
    let table = _mm256_setr_epi8(
        0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0x09, 0x0a, 0, 0x0c, 0x0d, 0, 0, //
        0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0x09, 0x0a, 0, 0x0c, 0x0d, 0, 0,
    );
    let half = |at: usize| {
        // SAFETY: 32 bytes from `at` (0 or 32) lie in the 64 of the block; any alignment will do.
        let bytes = unsafe { _mm256_loadu_si256(block.as_ptr().add(at).cast::<__m256i>()) };
        let found = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, bytes), bytes);
        u64::from(_mm256_movemask_epi8(found) as u32)
    };
    half(0) | (half(32) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(text: &[u8]) -> Vec<&[u8]> {
        text.split(|byte| b" \t\n\r\x0c".contains(byte)).filter(|word| !word.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn words_are_those_of_a_plain_split(
            text in prop::collection::vec(
                prop_oneof![3 => Just(b'a'), 1 => Just(b' '), 1 => Just(b'\n'), 1 => any::<u8>()],
                0..3000,
            ),
        ) {
            prop_assert_eq!(words(&text).collect::<Vec<_>>(), naive(&text));
        }
    }

    #[test]
    fn every_byte_is_classified_alike() {
        for byte in 0..=255 {
            let block = [byte; BLOCK];
            assert_eq!(classifier()(&block), spaces_portable(&block), "byte {byte:#x}");
        }
    }

    #[test]
    fn long_words_and_long_gaps_cross_refills() {
        let mut text = vec![b' '; 5000];
        text.extend_from_slice(&[b'x'; 70_000]);
        text.extend_from_slice(&[b'\n'; 9000]);
        text.push(b'y');
        let found: Vec<_> = words(&text).map(<[u8]>::len).collect();
        assert_eq!(found, [70_000, 1]);
    }
}
