//! Grep: how often each text that matches a pattern occurs, the most frequent first.
//!
//! The output is that of Hadoop's example: a line for every matched text, its number of matches, a tab, the
//! text. Patterns are those of the `regex` crate, on bytes: like Java's, without look-around and
//! back-references. Matches never span lines.

use anyhow::Context as _;
use hfs_mapreduce::{
    Emit, Job, Line, Lines, Mapper, Reducer, Result, Sum, Text, TextInput, Values, conf,
};
use memchr::{memchr, memmem, memrchr};
use regex::bytes::{Regex, RegexBuilder};

/// What is searched for, and where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file, directory or pattern to read
    #[arg(value_name = "INPUT")]
    input: String,
    /// The directory to make
    #[arg(value_name = "OUTPUT")]
    output: String,
    /// The regular expression to search for
    #[arg(value_name = "REGEX")]
    regex: String,
    /// Count what this group of the expression has matched, not the whole
    #[arg(value_name = "GROUP", default_value_t = 0)]
    group: usize,
}

/// How matches are found in a block of lines.
#[derive(Debug, Clone)]
enum Search {
    /// The pattern is a plain text: it is searched for in the block as if there were no lines.
    Literal(Box<memmem::Finder<'static>>),
    /// `block` finds every line with a match, and perhaps a few more, without cutting the block into
    /// lines; `None` where it could miss one.
    Regex { line: Regex, block: Option<Regex>, group: usize },
}

impl Search {
    fn new(pattern: &str, group: usize) -> Result<Self> {
        let wrong = || format!("'{pattern}' is no regular expression");
        let line = Regex::new(pattern).with_context(wrong)?;
        if group >= line.captures_len() {
            anyhow::bail!(
                "'{pattern}' has no group {group}; its last is {}",
                line.captures_len() - 1
            );
        }
        let plain = regex::escape(pattern) == pattern && !pattern.contains(['\r', '\n']);
        if plain && !pattern.is_empty() {
            let finder = memmem::Finder::new(pattern.as_bytes()).into_owned();
            return Ok(Self::Literal(Box::new(finder)));
        }
        // What means something else in a block of lines: the ends of the text, flags that say what a line
        // is, and patterns that match nothing, which are everywhere.
        let harmless = pattern.replace("(?:", "(").replace("(?i", "(");
        let of_a_line = ["\\A", "\\z", "(?"].iter().any(|part| harmless.contains(part));
        let block = if of_a_line || line.is_match(b"") {
            None
        } else {
            Some(RegexBuilder::new(pattern).multi_line(true).build().with_context(wrong)?)
        };
        Ok(Self::Regex { line, block, group })
    }

    /// Calls `found` with every match in whole lines.
    fn lines(&self, lines: Lines<'_>, mut found: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let bytes = lines.bytes();
        match self {
            Self::Literal(finder) => {
                finder.find_iter(bytes).try_for_each(|_| found(finder.needle()))
            }
            // A line ends before its carriage return, which the pattern for blocks knows nothing of.
            Self::Regex { block: Some(block), .. } if memchr(b'\r', bytes).is_none() => {
                let mut from = 0;
                while let Some(first) = block.find_at(bytes, from) {
                    let start = memrchr(b'\n', &bytes[..first.start()]).map_or(0, |at| at + 1);
                    let rest = &bytes[first.start()..];
                    let end = memchr(b'\n', rest).map_or(bytes.len(), |at| first.start() + at);
                    self.line(&bytes[start..end], &mut found)?;
                    from = end + 1;
                    if from > bytes.len() {
                        break;
                    }
                }
                Ok(())
            }
            Self::Regex { .. } => {
                lines.into_iter().try_for_each(|line| self.line(line.bytes, &mut found))
            }
        }
    }

    /// Calls `found` with every match in a line.
    fn line(&self, line: &[u8], mut found: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Literal(finder) => {
                finder.find_iter(line).try_for_each(|_| found(finder.needle()))
            }
            Self::Regex { line: regex, group: 0, .. } => {
                regex.find_iter(line).try_for_each(|matched| found(matched.as_bytes()))
            }
            Self::Regex { line: regex, group, .. } => regex
                .captures_iter(line)
                .filter_map(|captures| captures.get(*group))
                .try_for_each(|matched| found(matched.as_bytes())),
        }
    }
}

/// Emits every match with a one.
#[derive(Debug, Clone)]
struct Matches(Search);

impl Mapper for Matches {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        self.0.line(line.bytes, |matched| out.emit(matched, 1))
    }

    fn map_batch(&mut self, lines: Lines<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        self.0.lines(lines, |matched| out.emit(matched, 1))
    }
}

/// Keeps every matched text with its number, and emits them in the order of their numbers at the end. It holds
/// all different texts in memory, which Hadoop's second job does not: a pattern is expected to match far fewer
/// of them than there are lines.
#[derive(Debug, Clone, Default)]
struct MostFrequentFirst {
    counted: Vec<(u64, Vec<u8>)>,
}

impl Reducer<Text, u64> for MostFrequentFirst {
    type OutKey = u64;
    type OutValue = Text;

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, u64>,
        _: &mut impl Emit<u64, Text>,
    ) -> Result<()> {
        self.counted.push((values.sum(), key.to_vec()));
        Ok(())
    }

    fn cleanup(&mut self, out: &mut impl Emit<u64, Text>) -> Result<()> {
        // Texts came in their order; a stable sort keeps it where numbers are equal.
        self.counted.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        self.counted.iter().try_for_each(|(count, text)| out.emit(*count, text))
    }
}

/// The job.
///
/// # Errors
/// When the pattern is none, has no such group, or the output is empty.
pub fn job(arguments: Arguments) -> Result<Job> {
    Job::map(Matches(Search::new(&arguments.regex, arguments.group)?))
        .combine(Sum)
        .reduce(MostFrequentFirst::default())
        .name("grep")
        .set(conf::REDUCES, "1")
        .input(arguments.input)
        .output(arguments.output)
        .build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hfs_mapreduce::files::Files;
    use hfs_mapreduce::run_local;
    use proptest::prelude::*;

    fn grep(text: &[u8], regex: &str, group: usize) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("in"), text).unwrap();
        let arguments =
            Arguments { input: path("in"), output: path("out"), regex: regex.into(), group };
        run_local(&job(arguments).unwrap(), &Files::local(), &|_| ()).unwrap();
        std::fs::read(path("out") + "/part-r-00000").unwrap()
    }

    #[test]
    fn matches_are_counted_the_most_frequent_first() {
        let text = b"the dog\r\nthe cat, the dogs\n\nno t\nhe end of dog\r\n";
        assert_eq!(grep(text, "the", 0), b"3\tthe\n");
        assert_eq!(grep(text, "dog|cat", 0), b"3\tdog\n1\tcat\n");
        assert_eq!(grep(text, "dog$", 0), b"2\tdog\n");
        assert_eq!(grep(text, r"the (\w+)", 1), b"1\tcat\n1\tdog\n1\tdogs\n");
        assert_eq!(grep(text, r"t\s+he", 0), b"");
        assert_eq!(grep(text, "zebra", 0), b"");
    }

    #[test]
    fn a_wrong_pattern_or_group_is_a_sentence() {
        let error = |regex: &str, group| Search::new(regex, group).unwrap_err().to_string();
        assert_eq!(error("(", 0), "'(' is no regular expression");
        assert_eq!(error("(a)", 2), "'(a)' has no group 2; its last is 1");
    }

    proptest! {
        /// Searching a block of lines at once finds what searching line by line does.
        #[test]
        fn blocks_are_their_lines(
            text in prop::collection::vec(prop::sample::select(b"ab \n\rc".to_vec()), 0..400),
            pattern in prop::sample::select(vec![
                "a", "ab", "a.b", "^a", "b$", "^a.*b$", r"a\s+b", "[^a]b", r"\bab\b", "a*", "(?:a|b)+", "(?i)A", "(?-m)^a",
                r"\Aa", r"c\z", r"(a)(b)?", "[^b]+",
            ]),
        ) {
            let plain = Regex::new(pattern).unwrap();
            let mut expected = std::collections::BTreeMap::<Vec<u8>, u64>::new();
            for line in text.split(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.is_empty() && text.is_empty() {
                    continue;
                }
                for matched in plain.find_iter(line) {
                    *expected.entry(matched.as_bytes().to_vec()).or_default() += 1;
                }
            }
            // A line end at the end of the text does not begin another line.
            if text.last() == Some(&b'\n') && plain.is_match(b"") {
                let empty = expected.entry(Vec::new()).or_default();
                *empty -= 1;
            }
            expected.retain(|_, count| *count > 0);
            let mut lines: Vec<_> = expected.into_iter().collect();
            lines.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            let expected: Vec<u8> = lines
                .iter()
                .flat_map(|(text, count)| [count.to_string().as_bytes(), b"\t", text, b"\n"].concat())
                .collect();
            prop_assert_eq!(grep(&text, pattern, 0), expected);
        }
    }
}
