//! Partitions in the order of the keys, so that the output files one after another are sorted.

use anyhow::{Result, anyhow, bail};

use super::{KeySampler, Partitioner, SampleAmount};
use crate::conf::Conf;
use crate::grouping::{Grouping, WholeKey};
use crate::record::Record;
use crate::task::run::prefix;

/// The property that takes the split points to the tasks: hexadecimal, separated by commas.
const POINTS: &str = "hfs.totalorderpartitioner.points";
/// Sampled unless the program says otherwise: what Hadoop's TeraSort samples.
const SAMPLE: SampleAmount = SampleAmount { splits: 10, keys: 100_000 };
/// Longer points are cut: every task is told all of them.
const MAX_POINT_BYTES: usize = 64;

/// Gives every partition a range of keys, the ranges in the order of the partitions: output files
/// read one after another are sorted (Hadoop's `TotalOrderPartitioner` with its `InputSampler`).
///
/// Where the ranges meet is decided from a sample of what the mapper emits, taken when the job is
/// submitted, so that partitions are about equally large if the sample is like the rest.
///
/// ```
/// use hfs_mapreduce::{
///     Emit, Identity, Job, Line, Mapper, Result, Text, TextInput, TotalOrderPartitioner,
/// };
///
/// #[derive(Clone)]
/// struct Lines;
///
/// impl Mapper for Lines {
///     type Input = TextInput;
///     type Key = Text;
///     type Value = ();
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, ()>) -> Result<()> {
///         out.emit(line.bytes, ())
///     }
/// }
///
/// let job = Job::map(Lines)
///     .partition(TotalOrderPartitioner::sampled())
///     .reduce(Identity)
///     .reduces(4)
///     .input("/lines")
///     .output("/sorted")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone)]
pub struct TotalOrderPartitioner<G = WholeKey> {
    grouping: G,
    source: Source,
    points: Points,
}

/// Where split points come from.
#[derive(Debug, Clone)]
enum Source {
    Sample(SampleAmount),
    Given(Vec<Vec<u8>>),
}

/// Keys from the n-th point on belong to partition n + 1 or a later one.
#[derive(Debug, Clone, Default)]
struct Points {
    /// The first eight bytes of each, which decide almost always.
    prefixes: Vec<u64>,
    points: Vec<Vec<u8>>,
}

impl TotalOrderPartitioner {
    /// Samples 100 000 keys from up to ten splits.
    #[must_use]
    pub fn sampled() -> Self {
        Self::by_groups(WholeKey)
    }

    /// Splits where the program says: the first keys of the second and all later partitions.
    /// Their number must be the number of reduce tasks less one.
    ///
    /// ```
    /// use hfs_mapreduce::{Text, TotalOrderPartitioner};
    ///
    /// let three_files = TotalOrderPartitioner::at::<Text>([&b"h"[..], b"r"]);
    /// ```
    #[must_use]
    pub fn at<'k, K: Record>(points: impl IntoIterator<Item = K::Ref<'k>>) -> Self {
        let encoded = |point| {
            let mut bytes = Vec::new();
            K::encode(point, &mut bytes);
            bytes
        };
        let points = points.into_iter().map(encoded).collect();
        Self { source: Source::Given(points), ..Self::sampled() }
    }
}

impl<G> TotalOrderPartitioner<G> {
    /// As [`TotalOrderPartitioner::sampled`], but never tears apart what `grouping`, the one that the
    /// job groups by, holds together.
    #[must_use]
    pub fn by_groups(grouping: G) -> Self {
        Self { grouping, source: Source::Sample(SAMPLE), points: Points::default() }
    }

    /// How much to sample.
    #[must_use]
    pub fn sample(mut self, amount: SampleAmount) -> Self {
        self.source = Source::Sample(amount);
        self
    }
}

impl Points {
    fn new(points: Vec<Vec<u8>>) -> Self {
        Self { prefixes: points.iter().map(|point| prefix(point)).collect(), points }
    }

    #[inline]
    fn partition(&self, key: &[u8]) -> u32 {
        let front = prefix(key);
        let mut at = self.prefixes.partition_point(|&point| point < front);
        while self.prefixes.get(at) == Some(&front) && *self.points[at] <= *key {
            at += 1;
        }
        at as u32
    }

    fn to_property(&self) -> String {
        let hex = |point: &Vec<u8>| point.iter().map(|byte| format!("{byte:02x}")).collect();
        self.points.iter().map(hex).collect::<Vec<String>>().join(",")
    }

    fn from_property(text: &str) -> Option<Self> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let point = |hex: &str| hex.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
        let points = text.split(',').filter(|point| !point.is_empty()).map(point);
        Some(Self::new(points.collect::<Option<_>>()?))
    }
}

/// At most `partitions - 1` different points that cut the sample into equal shares.
fn choose(mut sample: Vec<Vec<u8>>, partitions: u32) -> Vec<Vec<u8>> {
    sample.sort_unstable();
    let mut points: Vec<Vec<u8>> = Vec::new();
    let count = partitions as usize;
    for number in 1..count {
        let Some(key) = sample.get(number * sample.len() / count) else { break };
        // No sampled key lies between `key` and the one before it, so any point between the two cuts
        // alike: the shortest. A key before which there is none begins no partition.
        let Some(before) = sample.partition_point(|other| other < key).checked_sub(1) else {
            continue;
        };
        let common = key.iter().zip(&sample[before]).take_while(|(a, b)| a == b).count();
        let point = &key[..=common];
        if points.last().is_none_or(|last| last[..] < *point) {
            points.push(point.to_vec());
        }
    }
    points
}

impl<K: Record, G: Grouping<K>> Partitioner<K> for TotalOrderPartitioner<G> {
    #[inline]
    fn partition(&self, _: K::Ref<'_>, encoded: &[u8], _: u32) -> u32 {
        self.points.partition(self.grouping.part(encoded))
    }

    fn plan(&self, sampler: &mut KeySampler<'_>, conf: &mut Conf, partitions: u32) -> Result<()> {
        let points = match &self.source {
            Source::Given(points) => {
                let wanted = partitions as usize - 1;
                if points.len() != wanted || !points.is_sorted() {
                    bail!(
                        "a job with {partitions} reduce tasks needs {wanted} split points in order, \
                         but its total order partitioner was given {}{}",
                        points.len(),
                        if points.is_sorted() { "" } else { ", not in order" },
                    );
                }
                points.clone()
            }
            Source::Sample(_) if partitions == 1 => Vec::new(),
            Source::Sample(amount) => {
                let mut sample = Vec::new();
                sampler.sample(*amount, |key| {
                    let part = self.grouping.part(key);
                    sample.push(part[..part.len().min(MAX_POINT_BYTES)].to_vec());
                })?;
                choose(sample, partitions)
            }
        };
        conf.set(POINTS, Points::new(points).to_property());
        Ok(())
    }

    fn configure(&mut self, conf: &Conf, _: u32) -> Result<()> {
        self.points = conf.get(POINTS).and_then(Points::from_property).ok_or_else(|| {
            anyhow!("the property {POINTS} holds no split points; don't set it by hand")
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::grouping::First;
    use crate::record::Text;
    use proptest::prelude::*;

    fn planned<K: Record, G: Grouping<K>>(
        mut partitioner: TotalOrderPartitioner<G>,
        sample: &[Vec<u8>],
        partitions: u32,
    ) -> Result<TotalOrderPartitioner<G>> {
        let mut conf = Conf::default();
        let mut sampler = KeySampler::new(|amount, keep| {
            sample.iter().take(amount.keys).for_each(|key| keep(key));
            Ok(())
        });
        Partitioner::<K>::plan(&partitioner, &mut sampler, &mut conf, partitions)?;
        Partitioner::<K>::configure(&mut partitioner, &conf, partitions)?;
        Ok(partitioner)
    }

    proptest! {
        #[test]
        fn partitions_are_in_the_order_of_the_keys(
            sample in prop::collection::vec(prop::collection::vec(0u8..3, 0..12), 0..60),
            mut keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..12), 0..60),
            partitions in 1u32..9,
        ) {
            let order = planned::<Text, _>(TotalOrderPartitioner::sampled(), &sample, partitions).unwrap();
            let of = |key: &[u8]| Partitioner::<Text>::partition(&order, key, key, partitions);
            keys.sort();
            let parts: Vec<u32> = keys.iter().map(|key| of(key)).collect();
            prop_assert!(parts.is_sorted());
            prop_assert!(parts.iter().all(|&part| part < partitions));
        }

        #[test]
        fn equal_shares_of_different_keys(count in 100usize..3000, partitions in 1u32..20) {
            let sample: Vec<_> = (0..count).map(|n| format!("key-{n:08}").into_bytes()).collect();
            let order = planned::<Text, _>(TotalOrderPartitioner::sampled(), &sample, partitions).unwrap();
            let mut sizes = vec![0usize; partitions as usize];
            for key in &sample {
                sizes[Partitioner::<Text>::partition(&order, key, key, partitions) as usize] += 1;
            }
            let share = count / partitions as usize;
            prop_assert!(sizes.iter().all(|&size| size.abs_diff(share) <= 1), "{sizes:?}");
        }
    }

    #[test]
    fn groups_stay_whole() {
        type Key = (Text, u64);
        let encoded = |user: &[u8], n| {
            let mut bytes = Vec::new();
            Key::encode((user, n), &mut bytes);
            bytes
        };
        let sample: Vec<_> = (0..1000).map(|n| encoded(b"all the same", n)).collect();
        let order = planned::<Key, _>(TotalOrderPartitioner::by_groups(First), &sample, 4).unwrap();
        let of = |n| {
            let key = encoded(b"all the same", n);
            Partitioner::<Key>::partition(&order, (b"all the same", n), &key, 4)
        };
        assert!((0..1000).all(|n| of(n) == of(0)));
    }

    #[test]
    fn given_points_begin_partitions_and_must_fit_their_number() {
        let given = || TotalOrderPartitioner::at::<Text>([&b"h"[..], b"r"]);
        let order = planned::<Text, _>(given(), &[], 3).unwrap();
        let of = |key: &[u8]| Partitioner::<Text>::partition(&order, key, key, 3);
        assert_eq!([&b""[..], b"gz", b"h", b"q", b"r", b"z"].map(of), [0, 0, 1, 1, 2, 2]);
        let error = planned::<Text, _>(given(), &[], 4).unwrap_err().to_string();
        assert!(error.contains("4 reduce tasks needs 3 split points"), "{error}");
    }
}
