//! Another order for keys: Hadoop's `KeyFieldBasedComparator`, as an encoding. Pure.
//!
//! The engine sorts keys by their bytes and never calls a comparator. So a key that is to be sorted by
//! its fields is given a front that sorts as the comparator would say; the key itself follows, which
//! makes the order of keys that compare as equal a definite one, and its length, which tells where it
//! begins.

use anyhow::{Result, bail};

use crate::conf::{self, Conf};
use crate::partition::KeyFields;

/// The fields to sort by (`mapreduce.partition.keycomparator.options`).
pub(super) const OPTIONS: &str = "mapreduce.partition.keycomparator.options";

/// Bytes of a key's length at its end.
const LENGTH_BYTES: usize = 4;

/// Of a field: there is none, or there is one. A key with too few fields sorts first.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;
/// Of a number.
const NEGATIVE: u8 = 0x7f;
const ZERO: u8 = 0x80;
const POSITIVE: u8 = 0x81;

/// How keys are sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyOrder {
    separator: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    fields: KeyFields,
    order: Order,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Order {
    numeric: bool,
    reverse: bool,
}

impl Order {
    fn read(text: &str) -> Self {
        Self { numeric: text.contains('n'), reverse: text.contains('r') }
    }
}

impl KeyOrder {
    /// Whole keys as numbers.
    pub(super) fn numbers() -> Self {
        let order = Order { numeric: true, reverse: false };
        Self { separator: b"\t".into(), parts: vec![Part { fields: KeyFields::ALL, order }] }
    }

    /// The order that the job's properties describe: options as `sort` has them, `-k2,2nr`, `-k1.2,1.5`,
    /// several of these, and `-n` and `-r` for those that have none of their own.
    pub(super) fn read(conf: &Conf) -> Result<Self> {
        let separator = conf.get(conf::KEY_FIELD_SEPARATOR).unwrap_or("\t").as_bytes().to_vec();
        if separator.is_empty() {
            bail!("the property {} is empty; fields need a separator", conf::KEY_FIELD_SEPARATOR);
        }
        let options = conf.get(OPTIONS).unwrap_or_default();
        let mut global = Order::default();
        let mut parts = Vec::new();
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let spec = match word.strip_prefix("-k") {
                Some("") => words.next(),
                Some(spec) => Some(spec),
                None if ["-n", "-r", "-nr", "-rn"].contains(&word) => {
                    let order = Order::read(word);
                    global.numeric |= order.numeric;
                    global.reverse |= order.reverse;
                    continue;
                }
                None => None,
            };
            let Some((spec, fields)) = spec.and_then(|spec| Some((spec, KeyFields::parse(spec)?)))
            else {
                bail!(
                    "the property {OPTIONS} is '{options}', in which '{word}' is not understood; it takes \
                     options as -k2,2nr, -k1.3,1.5, -n or -r"
                );
            };
            parts.push(Part { fields, order: Order::read(spec) });
        }
        for part in &mut parts {
            if part.order == Order::default() {
                part.order = global;
            }
        }
        if parts.is_empty() && global != Order::default() {
            parts.push(Part { fields: KeyFields::ALL, order: global });
        }
        Ok(Self { separator, parts })
    }

    /// Appends a key in the form that sorts.
    pub(super) fn encode(&self, key: &[u8], out: &mut Vec<u8>) {
        for part in &self.parts {
            let from = out.len();
            match part.fields.of(key, &self.separator) {
                None => out.push(ABSENT),
                Some(field) => {
                    out.push(PRESENT);
                    if part.order.numeric { put_number(field, out) } else { put_text(field, out) }
                }
            }
            if part.order.reverse {
                out[from..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        out.extend_from_slice(key);
        let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
    }
}

/// The key that [`KeyOrder::encode`] was given.
#[inline]
pub(super) fn decode(encoded: &[u8]) -> Result<&[u8]> {
    let key = encoded.split_last_chunk::<LENGTH_BYTES>().and_then(|(front, length)| {
        let start = front.len().checked_sub(u32::from_be_bytes(*length) as usize)?;
        front.get(start..)
    });
    match key {
        Some(key) => Ok(key),
        None => bail!("map output has a key of {} bytes that says it is longer", encoded.len()),
    }
}

/// Bytes that sort as they are, with an end that sorts before everything.
fn put_text(field: &[u8], out: &mut Vec<u8>) {
    let mut rest = field;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(0xff);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

/// A decimal number as it begins the field: a minus, digits, a point, digits; what is none counts as 0.
/// It may have any number of digits.
fn put_number(field: &[u8], out: &mut Vec<u8>) {
    let (negative, rest) = match field.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, field),
    };
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let fraction = rest.strip_prefix(b".").map_or(&[][..], |rest| &rest[..digits(rest)]);
    let zeros = whole.iter().take_while(|&&byte| byte == b'0').count();
    let whole = &whole[zeros..];
    let fraction =
        &fraction[..fraction.iter().rposition(|&byte| byte != b'0').map_or(0, |at| at + 1)];
    if whole.is_empty() && fraction.is_empty() {
        return out.push(ZERO);
    }
    let from = out.len();
    // More digits before the point are a larger number; then the first digit that differs decides.
    out.extend_from_slice(&u32::try_from(whole.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(whole);
    out.extend_from_slice(fraction);
    out.push(0);
    if negative {
        out[from..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    out.insert(from, if negative { NEGATIVE } else { POSITIVE });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn order(options: &str) -> Result<KeyOrder> {
        KeyOrder::read(
            &[(OPTIONS, options), (conf::KEY_FIELD_SEPARATOR, ".")].into_iter().collect(),
        )
    }

    fn encoded(options: &str, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        order(options).unwrap().encode(key, &mut out);
        out
    }

    fn sorted(options: &str, keys: &[&'static str]) -> Vec<&'static str> {
        let mut keys = keys.to_vec();
        keys.sort_by_key(|key| encoded(options, key.as_bytes()));
        keys
    }

    #[test]
    fn keys_are_sorted_as_the_options_say() {
        assert_eq!(sorted("-k2,2nr", &["a.2", "b.10", "c.9", "d"]), ["b.10", "c.9", "a.2", "d"]);
        assert_eq!(
            sorted("-k2,2n", &["a.2", "b.10", "c", "e.-3", "f.x"]),
            ["c", "e.-3", "f.x", "a.2", "b.10"]
        );
        assert_eq!(sorted("-k2 -r", &["a.2", "b.10", "c.9"]), ["c.9", "a.2", "b.10"]);
        assert_eq!(sorted("-k1,1 -k2,2nr", &["b.1", "a.1", "a.20"]), ["a.20", "a.1", "b.1"]);
        assert_eq!(sorted("-n", &["10", "9", "-1", "0"]), ["-1", "0", "9", "10"]);
        assert_eq!(sorted("-k 1.2,1.3", &["xbc", "yab", "z"]), ["z", "yab", "xbc"]);
        assert_eq!(sorted("", &["b", "a"]), ["a", "b"]);
        for wrong in ["-k", "-kx", "-x", "2"] {
            assert!(order(wrong).unwrap_err().to_string().contains("not understood"), "{wrong}");
        }
    }

    #[test]
    fn numbers_of_any_size_compare() {
        let mut out: Vec<_> = ["-12345678901234567890123", "-12", "-1.5", "-1.25", "-0.1"]
            .iter()
            .chain(&[
                "0",
                "0.001",
                "0.01",
                "1",
                "1.05",
                "1.5",
                "9",
                "10",
                "12345678901234567890123",
            ])
            .map(|number| {
                let mut out = Vec::new();
                put_number(number.as_bytes(), &mut out);
                out
            })
            .collect();
        let given = out.clone();
        out.sort();
        assert_eq!(out, given);
        let number = |text: &str| {
            let mut out = Vec::new();
            put_number(text.as_bytes(), &mut out);
            out
        };
        assert_eq!(number("-0.0"), number("000"));
        assert_eq!(number("1.50"), number("01.5x"));
        assert_eq!(number(""), number("abc"));
    }

    proptest! {
        #[test]
        fn an_encoded_key_sorts_by_its_field_and_gives_itself_back(
            a in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), Just(b'.'), any::<u8>()], 0..9),
            b in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), Just(b'.'), any::<u8>()], 0..9),
            reverse in any::<bool>(),
        ) {
            let options = if reverse { "-k2,2r" } else { "-k2,2" };
            let (x, y) = (encoded(options, &a), encoded(options, &b));
            prop_assert_eq!(decode(&x).unwrap(), &a[..]);
            prop_assert_eq!(x == y, a == b);
            // An absent field is smaller than every present one, also than an empty one.
            let field = |key: &[u8]| {
                let dot = key.iter().position(|&byte| byte == b'.')?;
                let rest = key.get(dot + 1..).filter(|rest| !rest.is_empty())?;
                Some(rest.split(|&byte| byte == b'.').next().unwrap_or_default().to_vec())
            };
            let expected = field(&a).cmp(&field(&b));
            let expected = if reverse { expected.reverse() } else { expected };
            if expected != Ordering::Equal {
                prop_assert_eq!(x.cmp(&y), expected);
            }
        }

        #[test]
        fn numbers_sort_by_value(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000, c in 0u32..1000, d in 0u32..1000) {
            let text = |n: i64, fraction: u32| format!("{n}.{fraction:03}");
            let value = |n: i64, fraction: u32| {
                let thousandths = n.abs() * 1000 + i64::from(fraction);
                if n < 0 { -thousandths } else { thousandths }
            };
            let (x, y) = (encoded("-n", text(a, c).as_bytes()), encoded("-n", text(b, d).as_bytes()));
            let by_value = value(a, c).cmp(&value(b, d));
            if by_value != Ordering::Equal {
                prop_assert_eq!(x.cmp(&y), by_value);
            }
        }
    }
}
