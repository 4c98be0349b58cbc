//! Values with a unit: `10s`, `500ms`, `128MiB`. Spelled the same in files, environment and flags.

use std::time::Duration;

/// The units of time, longest first, in nanoseconds.
const TIME_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// The units of size, largest first, in bytes. All are powers of 1024, as in HDFS.
const SIZE_UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads `10s`, `500ms`, `5min`, `1h`, `7d`, `20us`. A bare number is refused: its unit would be a guess.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (digits, unit) = split_number(text);
    let number: u64 =
        digits.parse().map_err(|_| format!("{text:?} is not a time such as 10s or 500ms"))?;
    if unit.is_empty() && number == 0 {
        return Ok(Duration::ZERO);
    }
    let unit = match unit {
        "m" => "min",
        other => other,
    };
    let (_, ns) = TIME_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| format!("{text:?} needs a unit of time: us, ms, s, min, h or d"))?;
    number.checked_mul(*ns).map(Duration::from_nanos).ok_or_else(|| format!("{text:?} is too long"))
}

/// Writes a duration so that [`parse_duration`] reads it back; anything below a microsecond is cut.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if ns == 0 {
        return "0s".to_owned();
    }
    for (name, unit) in TIME_UNITS {
        if ns.is_multiple_of(unit) {
            return format!("{}{name}", ns / unit);
        }
    }
    format!("{}us", ns / 1_000)
}

/// Reads a number of bytes: `65536`, `128MiB`, `128m`, `1g` (HDFS's one-letter units, powers of 1024).
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (digits, unit) = split_number(text);
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a number of bytes such as 65536 or 128MiB"))?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("{text:?} has an unknown unit: use KiB, MiB, GiB or TiB")),
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too large"))
}

/// Writes a number of bytes so that [`parse_size`] reads the same number back.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    for (name, unit) in SIZE_UNITS {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start())
}

/// For serde: `#[serde(with = "hfs_daemon::config::duration")]` on a [`Duration`].
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `10s`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_duration(*duration))
    }

    /// Reads `10s`.
    ///
    /// # Errors
    /// When the text is not a time with its unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// For serde: `#[serde(with = "hfs_daemon::config::size")]` on a number of bytes (`u64`).
pub mod size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }

    /// Writes `128MiB`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_size(*bytes))
    }

    /// Reads `128MiB`, or a bare number of bytes.
    ///
    /// # Errors
    /// When it is not a size.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        match Written::deserialize(from)? {
            Written::Number(bytes) => Ok(bytes),
            Written::Text(text) => super::parse_size(&text).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_need_units() {
        assert_eq!(parse_duration("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(parse_duration("500 ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("5m").unwrap(), Duration::from_secs(300));
        assert!(parse_duration("10").unwrap_err().contains("needs a unit"));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("99999999999999d").is_err());
    }

    #[test]
    fn sizes_take_hdfs_letters() {
        assert_eq!(parse_size("128m").unwrap(), 128 << 20);
        assert_eq!(parse_size("128MiB").unwrap(), 128 << 20);
        assert_eq!(parse_size("7").unwrap(), 7);
        assert!(parse_size("1x").is_err());
        assert!(parse_size("99999999999t").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(us in 0..u64::MAX / 1_000, bytes in any::<u64>()) {
            let duration = Duration::from_micros(us);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn nothing_typed_panics(text in "\\PC{0,20}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
