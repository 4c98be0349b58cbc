//! Which reducer a key goes to.

mod key_field;
mod total_order;

use anyhow::Result;

use crate::conf::Conf;
use crate::record::Record;
use crate::task::table::key_hash;

pub use key_field::KeyFieldPartitioner;
pub(crate) use key_field::KeyFields;
pub use total_order::TotalOrderPartitioner;

/// Chooses the partition of a key. Must give the same answer for the same key in every process.
///
/// ```
/// use hfs_mapreduce::{Job, Partitioner, Text};
///
/// /// Words by their first letter.
/// #[derive(Clone)]
/// struct FirstLetter;
///
/// impl Partitioner<Text> for FirstLetter {
///     fn partition(&self, word: &[u8], _: &[u8], partitions: u32) -> u32 {
///         u32::from(word.first().copied().unwrap_or(0)) % partitions
///     }
/// }
///
/// assert_eq!(FirstLetter.partition(b"a", b"a", 10), 7);
/// ```
pub trait Partitioner<K: Record>: Clone + Send + Sync + 'static {
    /// The partition of `key`, below `partitions`. `encoded` are the key's bytes.
    fn partition(&self, key: K::Ref<'_>, encoded: &[u8], partitions: u32) -> u32;

    /// As [`Partitioner::partition`], for a partitioner that only looks at a hash that the engine has already.
    #[doc(hidden)]
    fn of_hash(&self, _hash: u64, _partitions: u32) -> Option<u32> {
        None
    }

    /// Called once, when the job is submitted. What it sets in `conf` reaches every task.
    ///
    /// # Errors
    /// An error refuses the job.
    fn plan(
        &self,
        _sampler: &mut KeySampler<'_>,
        _conf: &mut Conf,
        _partitions: u32,
    ) -> Result<()> {
        Ok(())
    }

    /// Called in every map task before its first record.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn configure(&mut self, _conf: &Conf, _partitions: u32) -> Result<()> {
        Ok(())
    }
}

/// How much of a job's map output is looked at before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleAmount {
    /// The most splits, evenly chosen.
    pub splits: usize,
    /// The most keys in all, from the beginnings of the splits.
    pub keys: usize,
}

/// Reads a sample.
type ReadSample<'a> = dyn FnMut(SampleAmount, &mut dyn FnMut(&[u8])) -> Result<()> + 'a;

/// Samples the keys that a job's mapper emits, before the job runs (Hadoop's `InputSampler`).
pub struct KeySampler<'a>(Box<ReadSample<'a>>);

impl<'a> KeySampler<'a> {
    pub(crate) fn new(
        read: impl FnMut(SampleAmount, &mut dyn FnMut(&[u8])) -> Result<()> + 'a,
    ) -> Self {
        Self(Box::new(read))
    }

    /// Gives `keep` encoded keys (see [`Record::encode`]), in no order.
    ///
    /// # Errors
    /// When the input can't be read or the mapper fails.
    pub fn sample(&mut self, amount: SampleAmount, mut keep: impl FnMut(&[u8])) -> Result<()> {
        (self.0)(amount, &mut keep)
    }
}

/// Spreads keys evenly by a hash of their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct HashPartitioner;

impl<K: Record> Partitioner<K> for HashPartitioner {
    #[inline]
    fn partition(&self, _key: K::Ref<'_>, encoded: &[u8], partitions: u32) -> u32 {
        of_key_hash(key_hash(encoded), partitions)
    }

    #[inline]
    fn of_hash(&self, hash: u64, partitions: u32) -> Option<u32> {
        Some(of_key_hash(hash, partitions))
    }
}

/// The partition of a key's hash. Its high bits decide places in tables: a partition that is a job's input again must
/// not crowd in one part of them.
#[inline]
fn of_key_hash(hash: u64, partitions: u32) -> u32 {
    spread(hash << 32, partitions)
}

/// The partition of a hash: the high half of hash * partitions / 2^64. Even, and a multiplication
/// instead of a division.
#[inline]
pub(crate) fn spread(hash: u64, partitions: u32) -> u32 {
    ((u128::from(hash) * u128::from(partitions)) >> 64) as u32
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
