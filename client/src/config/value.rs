//! How Hadoop writes values: sizes with binary suffixes, times with units, booleans, octal modes.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How often `${name}` may lead to another `${name}` (Hadoop `MAX_SUBST`).
const SUBSTITUTIONS_MAX: usize = 20;

/// A size in bytes: a number, or one with a binary suffix (`128m`, `1g`, `64k`; Hadoop
/// `TraditionalBinaryPrefix`).
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(split);
    let shift = match suffix.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err("it is not a size; write bytes or 64k, 128m, 1g".to_owned()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "it is not a size; write bytes or 64k, 128m, 1g".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| "it is more bytes than a file can have".to_owned())
}

/// A whole number within bounds.
pub(super) fn count<T>(text: &str, bounds: RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
        format!("it must be a whole number from {} to {}", bounds.start(), bounds.end())
    })
}

/// A time: milliseconds when it has no unit (Hadoop's time-duration keys).
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    let wrong = || "it is not a time; write milliseconds or 500ms, 30s, 2m".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs).ok_or_else(wrong);
    match unit.trim().to_ascii_lowercase().as_str() {
        "ns" => Ok(Duration::from_nanos(number)),
        "us" => Ok(Duration::from_micros(number)),
        "" | "ms" => Ok(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => Err(wrong()),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    one_of(text, &[("TRUE", true), ("FALSE", false)])
}

/// A mode in octal, at most 0777 (`022`, `0022`).
pub(super) fn octal(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|bits| *bits <= 0o777)
        .ok_or_else(|| "it is not an octal mode such as 022".to_owned())
}

/// One of several words, in any case.
pub(super) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            format!("it must be {}", words.join(" or "))
        })
}

/// Replaces `${name}` as Hadoop's `Configuration` does; a name nobody knows stays as written.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut text = text.to_owned();
    for _ in 0..SUBSTITUTIONS_MAX {
        let Some((start, end, value)) = next_reference(&text, lookup) else { break };
        text.replace_range(start..end, &value);
    }
    text
}

fn next_reference(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Option<(usize, usize, String)> {
    let mut from = 0;
    while let Some(start) = text[from..].find("${").map(|at| at + from) {
        let end = text[start..].find('}').map(|at| at + start + 1)?;
        if let Some(value) = lookup(&text[start + 2..end - 1]) {
            return Some((start, end, value));
        }
        from = end;
    }
    None
}
