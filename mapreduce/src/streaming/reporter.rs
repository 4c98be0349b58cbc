//! What a command tells its task through lines on standard error. Pure.

/// Begins such a line, unless `stream.stderr.reporter.prefix` says otherwise.
pub(super) const DEFAULT_PREFIX: &str = "reporter:";

/// A line of standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// `reporter:counter:GROUP,COUNTER,AMOUNT`
    Counter { group: String, name: String, amount: i64 },
    /// `reporter:status:MESSAGE`
    Status(String),
    /// It begins as one of the above, and makes no sense.
    Unclear,
    /// Anything else, which belongs into the log.
    Other,
}

/// Reads a line without its end.
pub(super) fn read(line: &[u8], prefix: &str) -> Said {
    let Some(rest) = line.strip_prefix(prefix.as_bytes()) else { return Said::Other };
    let rest = String::from_utf8_lossy(rest);
    if let Some(status) = rest.strip_prefix("status:") {
        return Said::Status(status.trim().to_owned());
    }
    let Some(counter) = rest.strip_prefix("counter:") else { return Said::Unclear };
    let columns: Vec<&str> = counter.trim().split(',').collect();
    match columns[..] {
        [group, name, amount] => match amount.parse() {
            Ok(amount) => Said::Counter { group: group.into(), name: name.into(), amount },
            Err(_) => Said::Unclear,
        },
        _ => Said::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let read = |line: &str| read(line.as_bytes(), DEFAULT_PREFIX);
        let counter = |group: &str, name: &str, amount| Said::Counter {
            group: group.into(),
            name: name.into(),
            amount,
        };
        assert_eq!(read("reporter:counter:my group,lines,3"), counter("my group", "lines", 3));
        assert_eq!(read("reporter:counter: g,n,-1 "), counter("g", "n", -1));
        assert_eq!(read("reporter:status: at 5 "), Said::Status("at 5".into()));
        for unclear in [
            "reporter:counter:g,n",
            "reporter:counter:g,n,x",
            "reporter:what",
            "reporter:counter:a,b,c,1",
        ] {
            assert_eq!(read(unclear), Said::Unclear, "{unclear}");
        }
        assert_eq!(read("Traceback"), Said::Other);
        assert_eq!(read(" reporter:status:x"), Said::Other);
        assert_eq!(super::read(b"r!status:x", "r!"), Said::Status("x".into()));
    }
}
