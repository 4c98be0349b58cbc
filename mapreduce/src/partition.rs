//! Which reducer a key goes to.

use crate::record::Record;

/// Chooses the partition of a key. Must give the same answer for the same key in every process.
pub trait Partitioner<K: Record>: Clone + Send + Sync + 'static {
    /// The partition of `key`, below `partitions`. `encoded` are the key's bytes.
    fn partition(&self, key: K::Ref<'_>, encoded: &[u8], partitions: u32) -> u32;
}

/// Spreads keys evenly by a hash of their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct HashPartitioner;

impl<K: Record> Partitioner<K> for HashPartitioner {
    #[inline]
    fn partition(&self, _key: K::Ref<'_>, encoded: &[u8], partitions: u32) -> u32 {
        // The high half of hash * partitions / 2^64: even, and a multiplication instead of a
        // division.
        ((u128::from(hash(encoded)) * u128::from(partitions)) >> 64) as u32
    }
}

/// A hash of bytes that is the same on every machine and in every version: it decides where
/// records go while tasks of one job run in different processes.
#[inline]
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    let rest = chunks.remainder();
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    mix(state ^ u64::from_le_bytes(word))
}

#[inline]
fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Text;

    #[test]
    fn keys_spread_evenly_and_always_alike() {
        let mut counts = [0u32; 7];
        for number in 0..7000 {
            let key = format!("key-{number}");
            let at = |k: &str| {
                Partitioner::<Text>::partition(&HashPartitioner, k.as_bytes(), k.as_bytes(), 7)
            };
            assert_eq!(at(&key), at(&key));
            counts[at(&key) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
        assert_eq!(hash(b"hfs"), 5_563_128_478_375_920_360, "the hash must never change");
    }
}
