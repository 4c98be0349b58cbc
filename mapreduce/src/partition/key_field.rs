//! Partitions by fields of a text key, as Hadoop's `KeyFieldBasedPartitioner`.

use anyhow::{Result, bail};

use super::Partitioner;
use crate::conf::{self, Conf};
use crate::record::Text;

/// How many fields at the front of a key decide its partition.
const KEY_FIELDS_FOR_PARTITION: &str = "num.key.fields.for.partition";

/// Chooses the partition by some fields of keys that are text (Hadoop's
/// `KeyFieldBasedPartitioner`), with the same result as Hadoop. Fields are separated by
/// `mapreduce.map.output.key.field.separator` (a tab unless set), and
/// `mapreduce.partition.keypartitioner.options` names them as `sort` does: `-k2,3`, `-k1.2,1.5`,
/// several of these. Without it the whole key decides.
///
/// ```
/// use hfs_mapreduce::{
///     Emit, Identity, Job, KeyFieldPartitioner, Line, Mapper, Result, Text, TextInput, conf,
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
///     .partition(KeyFieldPartitioner::default())
///     .reduce(Identity)
///     .set(conf::KEY_FIELD_SEPARATOR, ".")
///     .set(conf::KEY_PARTITIONER_OPTIONS, "-k1,2")
///     .input("/hosts")
///     .output("/by-network")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFieldPartitioner {
    separator: Vec<u8>,
    fields: Vec<KeyFields>,
}

/// One `-k` option. Numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyFields {
    begin: usize,
    begin_byte: usize,
    /// The last field; 0: to the end of the key.
    end: usize,
    /// The last byte in it; 0: its last one.
    end_byte: usize,
}

impl Default for KeyFieldPartitioner {
    fn default() -> Self {
        Self { separator: b"\t".into(), fields: Vec::new() }
    }
}

/// `2.3nr` as field, byte and whether anything else follows that is not an order to sort by.
fn position(text: &str) -> Option<(usize, Option<usize>)> {
    let text = text.trim_end_matches(['n', 'r']);
    match text.split_once('.') {
        Some((field, byte)) => Some((field.parse().ok()?, Some(byte.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

impl KeyFields {
    /// The whole key.
    pub(crate) const ALL: Self = Self { begin: 1, begin_byte: 1, end: 0, end_byte: 0 };

    /// Reads `2.3,4.5`, with or without orders to sort by.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (begin, end) = match text.split_once(',') {
            Some((begin, end)) => (begin, Some(end)),
            None => (text, None),
        };
        let (begin, begin_byte) = position(begin)?;
        let (end, end_byte) = match end {
            Some(end) => position(end)?,
            None => (0, None),
        };
        let fields = Self {
            begin,
            begin_byte: begin_byte.unwrap_or(1),
            end,
            end_byte: end_byte.unwrap_or(0),
        };
        (begin > 0 && fields.begin_byte > 0).then_some(fields)
    }

    /// The bytes of `key` that these fields are; `None` if it has too few.
    pub(crate) fn of<'k>(&self, key: &'k [u8], separator: &[u8]) -> Option<&'k [u8]> {
        let start = field_start(key, separator, self.begin)? + self.begin_byte - 1;
        if start >= key.len() {
            return None;
        }
        let end = match self.end {
            0 => key.len(),
            field => match (field_start(key, separator, field), self.end_byte) {
                (None, _) => key.len(),
                (Some(at), 0) => at + field_bytes(&key[at..], separator),
                (Some(at), byte) => (at + byte).min(key.len()),
            },
        };
        Some(key.get(start..end).unwrap_or_default())
    }
}

/// Where the field with this number, from 1, begins.
fn field_start(key: &[u8], separator: &[u8], field: usize) -> Option<usize> {
    let mut start = 0;
    for _ in 1..field {
        start += memchr::memmem::find(&key[start..], separator)? + separator.len();
    }
    Some(start)
}

fn field_bytes(rest: &[u8], separator: &[u8]) -> usize {
    memchr::memmem::find(rest, separator).unwrap_or(rest.len())
}

/// Java's hash of bytes, which are signed there.
fn java_hash(bytes: &[u8], hash: i32) -> i32 {
    bytes.iter().fold(hash, |hash, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte as i8)))
}

impl KeyFieldPartitioner {
    /// The partition of a key.
    pub(crate) fn choose(&self, key: &[u8], partitions: u32) -> u32 {
        let hash = if self.fields.is_empty() {
            java_hash(key, 0)
        } else {
            let parts = self.fields.iter().filter_map(|fields| fields.of(key, &self.separator));
            parts.fold(0, |hash, part| java_hash(part, hash))
        };
        (hash as u32 & i32::MAX as u32) % partitions
    }

    /// Reads the properties.
    pub(crate) fn read(conf: &Conf) -> Result<Self> {
        let separator = conf.get(conf::KEY_FIELD_SEPARATOR).unwrap_or("\t").as_bytes().to_vec();
        if separator.is_empty() {
            bail!("the property {} is empty; fields need a separator", conf::KEY_FIELD_SEPARATOR);
        }
        // The older way to say it, which Hadoop still takes.
        let counted = conf.parsed::<usize>(KEY_FIELDS_FOR_PARTITION)?.filter(|count| *count > 0);
        if let Some(end) = counted {
            let fields = vec![KeyFields { end, ..KeyFields::ALL }];
            return Ok(Self { separator, fields });
        }
        let options = conf.get(conf::KEY_PARTITIONER_OPTIONS).unwrap_or_default();
        let mut fields = Vec::new();
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let spec = match word.strip_prefix("-k") {
                Some("") => words.next().and_then(KeyFields::parse),
                Some(spec) => KeyFields::parse(spec),
                // The orders of a comparator mean nothing here.
                None if ["-n", "-r", "-nr", "-rn"].contains(&word) => continue,
                None => None,
            };
            let Some(spec) = spec else {
                bail!(
                    "the property {} is '{options}', in which '{word}' is not understood; it takes \
                     options as -k1,2 or -k2.3,4.1",
                    conf::KEY_PARTITIONER_OPTIONS
                );
            };
            fields.push(spec);
        }
        Ok(Self { separator, fields })
    }
}

macro_rules! partition_text {
    ($($type:ty),+) => {$(
        impl Partitioner<$type> for KeyFieldPartitioner {
            #[inline]
            fn partition(
                &self,
                _: <$type as crate::record::Record>::Ref<'_>,
                encoded: &[u8],
                partitions: u32,
            ) -> u32 {
                // A text that is a whole key is its own encoding.
                self.choose(encoded, partitions)
            }

            fn plan(&self, _: &mut super::KeySampler<'_>, conf: &mut Conf, _: u32) -> Result<()> {
                Self::read(conf).map(drop)
            }

            fn configure(&mut self, conf: &Conf, _: u32) -> Result<()> {
                *self = Self::read(conf)?;
                Ok(())
            }
        }
    )+};
}

partition_text!(Text, String, Vec<u8>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(options: &str) -> Result<KeyFieldPartitioner> {
        let properties =
            [(conf::KEY_PARTITIONER_OPTIONS, options), (conf::KEY_FIELD_SEPARATOR, ".")];
        KeyFieldPartitioner::read(&properties.into_iter().collect())
    }

    #[test]
    fn fields_are_those_that_sort_would_take() {
        let part = |options: &str, key: &'static str| {
            let fields = read(options).unwrap().fields[0];
            fields.of(key.as_bytes(), b".").map(|part| std::str::from_utf8(part).unwrap())
        };
        assert_eq!(part("-k1,2", "11.12.1.2"), Some("11.12"));
        assert_eq!(part("-k2", "11.12.1.2"), Some("12.1.2"));
        assert_eq!(part("-k 2,2nr", "11.12.1.2"), Some("12"));
        assert_eq!(part("-k2.2,3.1", "11.12.34.2"), Some("2.3"));
        assert_eq!(part("-k3,9", "11.12.34.2"), Some("34.2"));
        assert_eq!(part("-k5", "11.12.34.2"), None);
        assert_eq!(part("-k3,2", "11.12.34.2"), Some(""));
        assert_eq!(part("-k2,2", "11."), None);
    }

    #[test]
    fn the_partition_is_the_one_that_hadoop_chooses() {
        // "ab".hashCode() is 3105, "12".hashCode() is 1569, and -128 * 31 + 65 is negative.
        let whole = KeyFieldPartitioner::default();
        assert_eq!(whole.choose(b"ab", 1000), 105);
        assert_eq!(read("-k2,2").unwrap().choose(b"x.12.y", 1000), 569);
        assert_eq!(whole.choose(&[128, 65], 1 << 20), (-3903i32 as u32 & 0x7fff_ffff) % (1 << 20));
        assert_eq!(read("-k7").unwrap().choose(b"x.12", 5), 0);
        for key in ["a.b.c", "a.b", "a.b.d.e"] {
            let by = read("-k1,2").unwrap();
            assert_eq!(by.choose(key.as_bytes(), 7), by.choose(b"a.b", 7));
        }
    }

    #[test]
    fn a_wrong_option_is_named() {
        for options in ["-k", "-k0", "-k1.0", "2", "-kx", "-k1,y"] {
            let error = read(options).unwrap_err().to_string();
            assert!(error.contains("is not understood"), "{options}: {error}");
        }
    }
}
