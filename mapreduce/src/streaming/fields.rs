//! Lines as keys and values. Pure.

use anyhow::{Result, bail};

use crate::conf::Conf;

/// What parts the fields of lines, and how many of them are the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    separator: Vec<u8>,
    key_fields: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self { separator: b"\t".into(), key_fields: 1 }
    }
}

impl Fields {
    /// Reads the two properties; a tab and one field unless they are set.
    pub(super) fn read(conf: &Conf, separator: &str, key_fields: &str) -> Result<Self> {
        let fields = conf.parsed_or(key_fields, 1usize)?;
        if fields == 0 {
            bail!("the property {key_fields} is 0; a key has at least one field");
        }
        Ok(Self { separator: read_separator(conf, separator)?, key_fields: fields })
    }

    /// A key that ends at the first separator.
    pub(super) fn first(separator: Vec<u8>) -> Self {
        Self { separator, key_fields: 1 }
    }

    /// The key and the value. A line with too few separators is all key (Hadoop's `TextOutputReader`).
    #[inline]
    pub(super) fn split<'l>(&self, line: &'l [u8]) -> (&'l [u8], &'l [u8]) {
        if let ([byte], 1) = (&self.separator[..], self.key_fields) {
            return match memchr::memchr(*byte, line) {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &[]),
            };
        }
        let mut from = 0;
        for number in 1..=self.key_fields {
            let Some(at) = memchr::memmem::find(&line[from..], &self.separator) else {
                return (line, &[]);
            };
            if number == self.key_fields {
                return (&line[..from + at], &line[from + at + self.separator.len()..]);
            }
            from += at + self.separator.len();
        }
        (line, &[])
    }
}

/// A separator; a tab unless set.
pub(super) fn read_separator(conf: &Conf, property: &str) -> Result<Vec<u8>> {
    match conf.get(property) {
        None => Ok(b"\t".into()),
        Some("") => bail!("the property {property} is empty; fields need a separator"),
        Some(separator) => Ok(separator.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn split(separator: &str, key_fields: &str, line: &'static str) -> (String, String) {
        let conf: Conf = [("s", separator), ("n", key_fields)].into_iter().collect();
        let fields = Fields::read(&conf, "s", "n").unwrap();
        let (key, value) = fields.split(line.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(key), text(value))
    }

    #[test]
    fn the_key_ends_at_the_nth_separator() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(split("\t", "1", "a\tb\tc"), pair("a", "b\tc"));
        assert_eq!(split("\t", "2", "a\tb\tc"), pair("a\tb", "c"));
        assert_eq!(split("\t", "3", "a\tb\tc"), pair("a\tb\tc", ""));
        assert_eq!(split("\t", "1", "abc"), pair("abc", ""));
        assert_eq!(split(".", "4", "11.12.1.2.rest.x"), pair("11.12.1.2", "rest.x"));
        assert_eq!(split("::", "1", "a:b::c"), pair("a:b", "c"));
        assert_eq!(split("::", "2", "a::b::c"), pair("a::b", "c"));
        assert_eq!(split("\t", "1", ""), pair("", ""));
        assert_eq!(split("\t", "1", "\t"), pair("", ""));
    }

    #[test]
    fn wrong_properties_are_named() {
        let read = |s: &str, n: &str| {
            let conf: Conf = [("s", s), ("n", n)].into_iter().collect();
            Fields::read(&conf, "s", "n").unwrap_err().to_string()
        };
        assert!(read("", "1").contains("property s is empty"));
        assert!(read(",", "0").contains("property n is 0"));
        assert!(read(",", "x").contains("property n is 'x'"));
        assert_eq!(Fields::read(&Conf::default(), "s", "n").unwrap(), Fields::default());
    }
}
