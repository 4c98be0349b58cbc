//! Join: two sources of `key<TAB>value` lines, side by side.
//!
//! Input: text, two sources; a line without a tab is a key with an empty value. Output: text lines
//! `key<TAB>first value<TAB>second value`, one for every pair of values of the same key, sorted by key within each
//! file. What becomes of keys that only one source has, `--kind` says; the missing value is empty.
//!
//! Both sources meet in the reducers. The values of the second source stream past those of the first, which are
//! held in memory for one key at a time; so the source with fewer values for each key should come first.
//!
//! ```text
//! cargo run --release --example join -- /users /orders /orders-with-users
//! cargo run --release --example join -- --local --kind full users.txt orders.txt /tmp/joined
//! ```

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hfs_mapreduce::{
    Emit, Job, JoinKind, JoinReducer, Joiner, Line, Mapper, Result, Source, Text, TextInput,
};

/// Joins two sources by their keys.
#[derive(Debug, Args)]
struct Arguments {
    /// Which keys to keep
    #[arg(long, value_enum, default_value_t = Kind::Inner)]
    kind: Kind,
    /// The source with fewer values for each key: a file, a directory or a pattern
    first: String,
    /// The other source
    second: String,
    /// The directory to make
    output: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Those that both sources have
    Inner,
    /// Those of the first source
    Left,
    /// Those of the second source
    Right,
    /// All
    Full,
}

impl From<Kind> for JoinKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Inner => Self::Inner,
            Kind::Left => Self::LeftOuter,
            Kind::Right => Self::RightOuter,
            Kind::Full => Self::FullOuter,
        }
    }
}

/// Splits lines at their first tab.
#[derive(Clone)]
struct Fields;

impl Mapper for Fields {
    type Input = TextInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        match line.bytes.iter().position(|byte| *byte == b'\t') {
            Some(tab) => out.emit(&line.bytes[..tab], &line.bytes[tab + 1..]),
            None => out.emit(line.bytes, b""),
        }
    }
}

/// Puts two values into one line.
#[derive(Clone, Default)]
struct SideBySide {
    line: Vec<u8>,
}

impl Joiner<Text, Text, Text> for SideBySide {
    type OutKey = Text;
    type OutValue = Text;

    fn pair(
        &mut self,
        key: &[u8],
        first: Option<&[u8]>,
        second: Option<&[u8]>,
        out: &mut impl Emit<Text, Text>,
    ) -> Result<()> {
        self.line.clear();
        self.line.extend_from_slice(first.unwrap_or_default());
        self.line.push(b'\t');
        self.line.extend_from_slice(second.unwrap_or_default());
        out.emit(key, &self.line)
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        let first = Source::new(Fields).input(arguments.first);
        let second = Source::new(Fields).input(arguments.second);
        Job::join(first, second)
            .name("join")
            .reduce(JoinReducer::new(arguments.kind.into(), SideBySide::default()))
            .output(arguments.output)
            .build()
    })
}
