//! Bytes that are known by where they stand, so that whoever reads a part of a file can tell whether it is right.

/// Bytes after which the pattern begins again: a prime, so that it is in no step with buffers, packets or blocks.
const PERIOD: usize = 65_521;

/// Numbers that look like chance and are the same at every run (xorshift).
#[derive(Debug, Clone, Copy)]
pub struct Draws(u64);

impl Draws {
    /// Another row of numbers for every seed.
    pub fn new(seed: u64) -> Self {
        // No state may be 0; multiplying by an odd number keeps seeds apart.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_number().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The bytes of a file at any offset, up to a number of them at once. They do not compress.
#[derive(Debug, Clone)]
pub struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    /// A pattern of which up to `most` bytes are wanted at once.
    pub fn new(most: usize) -> Self {
        let mut period = vec![0; PERIOD];
        Draws::new(0).fill(&mut period);
        let bytes = period.iter().copied().cycle().take(PERIOD + most).collect();
        Self { bytes }
    }

    /// `count` bytes (at most those of [`Pattern::new`]) from `offset` on.
    pub fn at(&self, offset: u64, count: usize) -> &[u8] {
        let from = (offset % PERIOD as u64) as usize;
        &self.bytes[from..from + count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_same_wherever_the_reading_began() {
        let pattern = Pattern::new(1000);
        for offset in [0, 1, PERIOD as u64 - 1, 5 * PERIOD as u64 - 400, 1 << 40] {
            let whole = pattern.at(offset, 1000);
            for (i, byte) in whole.iter().enumerate().step_by(97) {
                assert_eq!(pattern.at(offset + i as u64, 1), [*byte]);
            }
        }
        assert_ne!(pattern.at(0, 1000), pattern.at(1, 1000));
    }
}
