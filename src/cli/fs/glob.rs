//! Hadoop's globs: `*`, `?`, `[a-z]`, `[^a-z]`, `{a,b}` and `\` before a character that means itself.
//! Follows `FileSystem.globStatus` and `GlobPattern`.

/// Alternatives of braces one argument may stand for, at most.
const ALTERNATIVES_MAX: usize = 10_000;

/// Whether a text has an unescaped character that is special in a glob.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '*' | '?' | '[' | '{' => return true,
            _ => {}
        }
    }
    false
}

/// The text that a glob without special characters means.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    plain
}

/// Every way to choose one alternative in each pair of braces; the text itself where there are none or
/// a brace is not closed. Alternatives may hold slashes and braces.
#[must_use]
pub fn expand_braces(text: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut waiting = vec![text.to_owned()];
    while let Some(text) = waiting.pop() {
        match first_braces(&text) {
            Some((before, alternatives, after))
                if done.len() + waiting.len() + alternatives.len() <= ALTERNATIVES_MAX =>
            {
                for alternative in alternatives.iter().rev() {
                    waiting.push(format!("{before}{alternative}{after}"));
                }
            }
            _ => done.push(text),
        }
    }
    done
}

/// The first braces of a text: what is before, the alternatives, what is after.
fn first_braces(text: &str) -> Option<(&str, Vec<&str>, &str)> {
    let bytes = text.as_bytes();
    let (mut depth, mut open, mut cuts) = (0usize, 0usize, Vec::new());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'{' => {
                if depth == 0 {
                    open = i;
                }
                depth += 1;
            }
            b',' if depth == 1 => cuts.push(i),
            b'}' if depth == 1 => {
                let mut alternatives = Vec::with_capacity(cuts.len() + 1);
                let mut start = open + 1;
                for cut in cuts {
                    alternatives.push(&text[start..cut]);
                    start = cut + 1;
                }
                alternatives.push(&text[start..i]);
                return Some((&text[..open], alternatives, &text[i + 1..]));
            }
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    None
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    One(char),
    AnyOne,
    AnyRun,
    Set { not: bool, ranges: Vec<(char, char)> },
}

impl Piece {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::One(one) => *one == c,
            Self::AnyOne => true,
            Self::AnyRun => false,
            Self::Set { not, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *not
            }
        }
    }
}

/// A glob for one path component, braces already expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

impl Pattern {
    /// Reads a glob.
    ///
    /// # Errors
    /// A sentence about a set that is not closed or a range that runs backwards.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::AnyRun,
                '?' => Piece::AnyOne,
                '\\' => match chars.next() {
                    Some(c) => Piece::One(c),
                    None => return Err("the pattern ends with a single '\\'".to_owned()),
                },
                '[' => read_set(&mut chars).ok_or_else(|| {
                    format!("the pattern {text} has a '[' that is not closed or a range that runs backwards")
                })?,
                c => Piece::One(c),
            });
        }
        pieces.dedup_by(|a, b| *a == Piece::AnyRun && *b == Piece::AnyRun);
        Ok(Self { pieces })
    }

    /// Whether a name matches, from its first to its last character.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let chars: Vec<char> = name.chars().collect();
        let (mut piece, mut at) = (0, 0);
        // Where to go on from when what came after the last `*` did not fit.
        let mut back: Option<(usize, usize)> = None;
        while at < chars.len() {
            match self.pieces.get(piece) {
                Some(Piece::AnyRun) => {
                    back = Some((piece, at));
                    piece += 1;
                }
                Some(p) if p.takes(chars[at]) => {
                    piece += 1;
                    at += 1;
                }
                _ => match &mut back {
                    Some((star, from)) => {
                        *from += 1;
                        (piece, at) = (*star + 1, *from);
                    }
                    None => return false,
                },
            }
        }
        self.pieces[piece..].iter().all(|p| *p == Piece::AnyRun)
    }
}

fn read_set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let not = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Piece::Set { not, ranges }),
            '\\' => chars.next()?,
            c => c,
        };
        if chars.next_if_eq(&'-').is_none() {
            ranges.push((low, low));
            continue;
        }
        match chars.next()? {
            ']' => {
                ranges.extend([(low, low), ('-', '-')]);
                return Some(Piece::Set { not, ranges });
            }
            '\\' => ranges.push((low, chars.next()?)),
            high => ranges.push((low, high)),
        }
        if ranges.last().is_some_and(|(low, high)| low > high) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn stars_and_questions() {
        assert!(fits("*", ""));
        assert!(fits("a*b*c", "aXbYbZc"));
        assert!(!fits("a*b*c", "aXbYbZ"));
        assert!(fits("part-?-0000?", "part-r-00001"));
        assert!(!fits("?", ""));
        assert!(fits("*.tx?", "é.txt"));
    }

    #[test]
    fn sets() {
        assert!(fits("[a-c]x", "bx"));
        assert!(!fits("[^a-c]x", "bx"));
        assert!(fits("[^a-c]x", "dx"));
        assert!(fits("[a-]", "-"));
        assert!(fits("[]a]", "]"));
        assert!(fits("\\*", "*"));
        assert!(!fits("\\*", "x"));
        assert!(Pattern::new("[a").is_err());
        assert!(Pattern::new("[z-a]").is_err());
    }

    #[test]
    fn braces() {
        assert_eq!(expand_braces("/a/{b,c/d}/e"), ["/a/b/e", "/a/c/d/e"]);
        assert_eq!(expand_braces("{a,b{c,d}}"), ["a", "bc", "bd"]);
        assert_eq!(expand_braces("{a"), ["{a"]);
        assert_eq!(expand_braces("\\{a,b}"), ["\\{a,b}"]);
        assert_eq!(expand_braces("plain"), ["plain"]);
    }

    #[test]
    fn escapes() {
        assert!(!is_pattern("a\\*b"));
        assert!(is_pattern("a*b"));
        assert_eq!(unescape("a\\*b"), "a*b");
    }
}
