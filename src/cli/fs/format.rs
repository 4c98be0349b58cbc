//! How FsShell writes sizes, times, permissions and tables.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A size as FsShell's `-h` writes it: `512`, `1.5 K`, `128 M`
/// (`StringUtils.TraditionalBinaryPrefix.long2String` with one decimal).
#[must_use]
pub fn human(bytes: u64) -> String {
    const PREFIXES: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut power = ((63 - bytes.leading_zeros()) / 10) as usize;
    let unit = 1u64 << (10 * power);
    if bytes.is_multiple_of(unit) {
        return format!("{} {}", bytes / unit, PREFIXES[power - 1]);
    }
    let mut text = format!("{:.1}", bytes as f64 / unit as f64);
    if text == "1024.0" && power < PREFIXES.len() {
        power += 1;
        text = "1.0".to_owned();
    }
    format!("{text} {}", PREFIXES[power - 1])
}

/// A size with or without `-h`.
#[must_use]
pub fn size(bytes: u64, in_human_form: bool) -> String {
    if in_human_form { human(bytes) } else { bytes.to_string() }
}

/// Permission bits as `rwxr-xr-t`.
#[must_use]
pub fn permission(bits: u16) -> String {
    let mut text: String = (0..9)
        .map(|i| if bits & (0o400 >> i) != 0 { ['r', 'w', 'x'][i % 3] } else { '-' })
        .collect();
    if bits & 0o1000 != 0 {
        text.pop();
        text.push(if bits & 1 != 0 { 't' } else { 'T' });
    }
    text
}

fn formatted(ms: u64, zone: TimeZone, form: &str) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match time {
        Some(time) => time.to_zoned(zone).strftime(form).to_string(),
        None => ms.to_string(),
    }
}

/// `2026-11-21 08:30` in this machine's time zone, as `ls` has it.
#[must_use]
pub fn minute(ms: u64) -> String {
    formatted(ms, TimeZone::system(), "%Y-%m-%d %H:%M")
}

/// `2026-11-21 08:30:12` in UTC, as `stat` has it.
#[must_use]
pub fn second_utc(ms: u64) -> String {
    formatted(ms, TimeZone::UTC, "%Y-%m-%d %H:%M:%S")
}

/// Rows with columns two spaces apart, as FsShell's `TableBuilder` prints them. `right[i]` aligns column
/// i to the right; the last column is not padded.
#[must_use]
pub fn table(rows: &[Vec<String>], right: &[bool]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            rows.iter().filter_map(|row| row.get(c)).map(|t| t.chars().count()).max().unwrap_or(0)
        })
        .collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .enumerate()
                .map(|(c, text)| {
                    let width = widths[c];
                    match right.get(c) {
                        Some(true) => format!("{text:>width$}"),
                        _ if c + 1 == row.len() => text.clone(),
                        _ => format!("{text:<width$}"),
                    }
                })
                .collect();
            cells.join("  ")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hadoops() {
        assert_eq!(human(0), "0");
        assert_eq!(human(1023), "1023");
        assert_eq!(human(1024), "1 K");
        assert_eq!(human(1536), "1.5 K");
        assert_eq!(human(128 << 20), "128 M");
        assert_eq!(human((1 << 20) - 1), "1.0 M");
        assert_eq!(human(u64::MAX), "16.0 E");
    }

    #[test]
    fn permissions() {
        assert_eq!(permission(0o755), "rwxr-xr-x");
        assert_eq!(permission(0o1777), "rwxrwxrwt");
        assert_eq!(permission(0o1776), "rwxrwxrwT");
        assert_eq!(permission(0), "---------");
    }

    #[test]
    fn times() {
        assert_eq!(second_utc(0), "1970-01-01 00:00:00");
        assert_eq!(second_utc(1_700_000_000_000), "2023-11-14 22:13:20");
    }

    #[test]
    fn tables() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "22".into()]];
        assert_eq!(table(&rows, &[false, true]), ["a      1", "long  22"]);
        assert_eq!(table(&rows, &[]), ["a     1", "long  22"]);
    }
}
