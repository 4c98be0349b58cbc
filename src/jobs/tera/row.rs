//! One row: ten bytes of key out of a 128-bit random number, the row's number in hexadecimal, and filler. The
//! same bytes as gensort's binary records and Hadoop's TeraGen.

/// Bytes of a row.
pub const ROW_BYTES: usize = 100;
/// Bytes of the key at the front of a row.
pub const KEY_BYTES: usize = 10;

/// The linear congruential generator over 128 bits: the next number is this one times `MULTIPLIER` plus
/// `INCREMENT`, modulo 2^128. The sequence begins at 0.
const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
const INCREMENT: u128 = 0x4a69_6d47_7261_7952_4950_2020_2020_2001;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Where the sequence of random numbers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random(u128);

impl Random {
    /// The generator after `rows` numbers were taken: in steps that double, not one by one.
    #[must_use]
    pub fn after(mut rows: u64) -> Self {
        // `rows` steps are x * factor + term; doubling the steps composes the step with itself.
        let (mut factor, mut term) = (1_u128, 0_u128);
        let (mut step_factor, mut step_term) = (MULTIPLIER, INCREMENT);
        while rows > 0 {
            if rows & 1 == 1 {
                factor = factor.wrapping_mul(step_factor);
                term = term.wrapping_mul(step_factor).wrapping_add(step_term);
            }
            step_term = step_term.wrapping_mul(step_factor).wrapping_add(step_term);
            step_factor = step_factor.wrapping_mul(step_factor);
            rows >>= 1;
        }
        Self(term)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u128 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        self.0
    }
}

/// Makes the row with this number out of its random number.
pub fn write_row(row: &mut [u8; ROW_BYTES], number: u64, random: u128) {
    row[..KEY_BYTES].copy_from_slice(&random.to_be_bytes()[..KEY_BYTES]);
    row[10..12].copy_from_slice(&[0x00, 0x11]);
    for (place, byte) in row[12..44].iter_mut().enumerate() {
        *byte = digit(u128::from(number), place);
    }
    row[44..48].copy_from_slice(&[0x88, 0x99, 0xaa, 0xbb]);
    for (place, four) in row[48..96].chunks_exact_mut(4).enumerate() {
        four.fill(digit(random, 20 + place));
    }
    row[96..].copy_from_slice(&[0xcc, 0xdd, 0xee, 0xff]);
}

/// The hexadecimal digit at a place of 32, the highest first.
fn digit(number: u128, place: usize) -> u8 {
    DIGITS[(number >> (4 * (31 - place))) as usize & 0xf]
}

/// The CRC-32 of a row. The checksum of many rows is the sum of theirs, whatever their order.
#[must_use]
pub fn checksum(row: &[u8]) -> u128 {
    u128::from(crc32fast::hash(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_rows_is_taking_them() {
        let mut taken = Random::after(0);
        for rows in 0..300 {
            assert_eq!(Random::after(rows), taken);
            taken.next_number();
        }
        let mut far = Random::after(u64::MAX - 1);
        far.next_number();
        assert_eq!(far, Random::after(u64::MAX));
    }
}
