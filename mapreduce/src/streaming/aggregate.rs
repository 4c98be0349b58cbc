//! Hadoop's Aggregate package (`-reducer aggregate`): the key says how its values are put together.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};

/// Values of one key, put together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Aggregate {
    LongSum(i64),
    LongMax(i64),
    LongMin(i64),
    DoubleSum(f64),
    StringMax(Option<Vec<u8>>),
    StringMin(Option<Vec<u8>>),
    Unique(BTreeSet<Vec<u8>>),
    Histogram(BTreeMap<Vec<u8>, i64>),
}

/// A key as `LongValueSum:word` as how and what.
pub(super) fn split_key(key: &[u8]) -> Result<(&[u8], &[u8])> {
    match memchr::memchr(b':', key) {
        Some(at) => Ok((&key[..at], &key[at + 1..])),
        None => bail!(
            "the key '{}' has no ':'; with the reducer aggregate keys are as LongValueSum:word",
            String::from_utf8_lossy(key)
        ),
    }
}

impl Aggregate {
    /// Begins with no values. `how` is the part of the key before the colon, in any case of letters.
    pub(super) fn begin(how: &[u8]) -> Result<Self> {
        let how = String::from_utf8_lossy(how);
        Ok(match how.to_ascii_lowercase().as_str() {
            "longvaluesum" => Self::LongSum(0),
            "longvaluemax" => Self::LongMax(i64::MIN),
            "longvaluemin" => Self::LongMin(i64::MAX),
            "doublevaluesum" => Self::DoubleSum(0.0),
            "stringvaluemax" => Self::StringMax(None),
            "stringvaluemin" => Self::StringMin(None),
            "uniqvaluecount" => Self::Unique(BTreeSet::new()),
            "valuehistogram" => Self::Histogram(BTreeMap::new()),
            _ => bail!(
                "there is no aggregator '{how}'; there are LongValueSum, LongValueMax, LongValueMin, \
                 DoubleValueSum, StringValueMax, StringValueMin, UniqValueCount and ValueHistogram"
            ),
        })
    }

    /// Adds a value.
    pub(super) fn add(&mut self, value: &[u8]) -> Result<()> {
        match self {
            Self::LongSum(sum) => *sum = sum.wrapping_add(long(value)?),
            Self::LongMax(max) => *max = long(value)?.max(*max),
            Self::LongMin(min) => *min = long(value)?.min(*min),
            Self::DoubleSum(sum) => {
                let text = std::str::from_utf8(value).ok();
                let number: Option<f64> = text.and_then(|text| text.trim().parse().ok());
                *sum += number.with_context(|| not_a("number", value))?;
            }
            Self::StringMax(max) => {
                if max.as_ref().is_none_or(|max| &max[..] < value) {
                    *max = Some(value.to_vec());
                }
            }
            Self::StringMin(min) => {
                if min.as_ref().is_none_or(|min| &min[..] > value) {
                    *min = Some(value.to_vec());
                }
            }
            Self::Unique(values) => {
                if !values.contains(value) {
                    values.insert(value.to_vec());
                }
            }
            Self::Histogram(counts) => {
                let (value, count) = match memchr::memrchr(b'\t', value) {
                    Some(at) => (&value[..at], long(&value[at + 1..])?),
                    None => (value, 1),
                };
                match counts.get_mut(value) {
                    Some(known) => *known += count,
                    None => {
                        counts.insert(value.to_vec(), count);
                    }
                }
            }
        }
        Ok(())
    }

    /// The result, as text.
    pub(super) fn report(&self) -> Vec<u8> {
        match self {
            Self::LongSum(value) | Self::LongMax(value) | Self::LongMin(value) => {
                value.to_string().into()
            }
            Self::DoubleSum(sum) => format!("{sum:?}").into(),
            Self::StringMax(value) | Self::StringMin(value) => value.clone().unwrap_or_default(),
            Self::Unique(values) => values.len().to_string().into(),
            Self::Histogram(counts) => histogram(counts.values().copied().collect()).into(),
        }
    }

    /// What a combiner passes on: values that give the same result.
    pub(super) fn parts(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Unique(values) => values.iter().cloned().collect(),
            Self::Histogram(counts) => counts
                .iter()
                .map(|(value, count)| [value, &b"\t"[..], count.to_string().as_bytes()].concat())
                .collect(),
            _ => vec![self.report()],
        }
    }
}

/// How many values there are, the smallest, median and largest of their counts, and the counts' mean and
/// standard deviation.
fn histogram(mut counts: Vec<i64>) -> String {
    counts.sort_unstable();
    let number = counts.len();
    let (Some(first), Some(last)) = (counts.first(), counts.last()) else { return "0".to_owned() };
    let mean = counts.iter().sum::<i64>() as f64 / number as f64;
    let squares: f64 = counts.iter().map(|&count| (count as f64 - mean).powi(2)).sum();
    let deviation = (squares / number as f64).sqrt();
    format!("{number}\t{first}\t{}\t{last}\t{mean:?}\t{deviation:?}", counts[number / 2])
}

fn long(value: &[u8]) -> Result<i64> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    number.with_context(|| not_a("whole number", value))
}

fn not_a(what: &str, value: &[u8]) -> String {
    format!("the value '{}' is no {what}", String::from_utf8_lossy(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(how: &str, values: &[&str]) -> String {
        let mut whole = Aggregate::begin(how.as_bytes()).unwrap();
        // Combined in two parts it must be the same.
        let mut combined = whole.clone();
        for half in values.chunks(values.len().div_ceil(2).max(1)) {
            let mut part = Aggregate::begin(how.as_bytes()).unwrap();
            for value in half {
                part.add(value.as_bytes()).unwrap();
                whole.add(value.as_bytes()).unwrap();
            }
            part.parts().iter().for_each(|value| combined.add(value).unwrap());
        }
        assert_eq!(whole, combined);
        String::from_utf8(whole.report()).unwrap()
    }

    #[test]
    fn every_aggregator_gives_hadoops_result() {
        assert_eq!(of("LongValueSum", &["3", "-1", "40"]), "42");
        assert_eq!(of("longvaluemax", &["3", "-1", "40"]), "40");
        assert_eq!(of("LongValueMin", &["3", "-1", "40"]), "-1");
        assert_eq!(of("DoubleValueSum", &["1.5", "2"]), "3.5");
        assert_eq!(of("DoubleValueSum", &["1", "1"]), "2.0");
        assert_eq!(of("StringValueMax", &["b", "c", "a"]), "c");
        assert_eq!(of("StringValueMin", &["b", "c", "a"]), "a");
        assert_eq!(of("UniqValueCount", &["b", "c", "b", "b"]), "2");
        assert_eq!(of("ValueHistogram", &["a", "b", "a", "a\t2"]), "2\t1\t4\t4\t2.5\t1.5");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        assert!(split_key(b"word").is_err());
        assert_eq!(split_key(b"LongValueSum:a:b").unwrap(), (&b"LongValueSum"[..], &b"a:b"[..]));
        assert!(Aggregate::begin(b"Sum").unwrap_err().to_string().contains("no aggregator 'Sum'"));
        let mut sum = Aggregate::begin(b"LongValueSum").unwrap();
        assert!(sum.add(b"x").unwrap_err().to_string().contains("'x' is no whole number"));
    }
}
