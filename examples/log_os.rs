//! Log analysis: how many requests came from each operating system.
//!
//! Input: access logs, a request a line, of web servers (the combined format of Apache and nginx, the user
//! agent being the last quoted field) or of a content delivery network (the tab-separated W3C format of
//! Amazon CloudFront, the user agent being the eleventh field, percent-encoded). The two may be mixed; each line
//! shows by itself which it is. Output: text lines `system<TAB>requests`, sorted by system within each file.
//!
//! Real logs have broken lines. They are skipped and counted, never fatal: see the counters `Log lines` at the
//! end of the job (`broken`, `headers`, and `without a user agent`; the latter count as `Unknown`).
//!
//! ```text
//! cargo run --release --example log_os -- /logs /requests
//! cargo run --release --example log_os -- --local access.log /tmp/requests
//! ```

use std::borrow::Cow;
use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{Emit, Job, Line, Mapper, Result, Sum, Text, TextInput};

/// Counts the requests of access logs by operating system.
#[derive(Debug, Args)]
struct Arguments {
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// The directory to make
    #[arg(required = true)]
    output: String,
}

/// Where CloudFront has the user agent, counted from 0.
const CLOUDFRONT_AGENT: usize = 10;
/// The least fields of a CloudFront line, which grew over the years.
const CLOUDFRONT_FIELDS: usize = 12;

/// What a line turned out to be.
#[derive(Debug, PartialEq)]
enum Parsed<'a> {
    /// A request, with the user agent it named.
    Request(Cow<'a, str>),
    /// A request that named none.
    Anonymous,
    /// A line that tells about the log.
    Header,
    Broken,
}

fn parse(line: &[u8]) -> Parsed<'_> {
    if line.starts_with(b"#") {
        return Parsed::Header;
    }
    let agent = if line.contains(&b'\t') { cloudfront_agent(line) } else { combined_agent(line) };
    match agent {
        None => Parsed::Broken,
        Some(agent) if agent.is_empty() || agent == "-" => Parsed::Anonymous,
        Some(agent) => Parsed::Request(agent),
    }
}

fn cloudfront_agent(line: &[u8]) -> Option<Cow<'_, str>> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
    if fields.len() < CLOUDFRONT_FIELDS {
        return None;
    }
    let encoded = std::str::from_utf8(fields[CLOUDFRONT_AGENT]).ok()?;
    // CloudFront encodes the percent signs of its own encoding, too.
    Some(Cow::Owned(percent_decoded(&percent_decoded(encoded))))
}

/// Replaces `%20` and the like by what they stand for; a percent sign that stands for nothing stays.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 "http://from" "agent"`, perhaps with
/// more after it.
fn combined_agent(line: &[u8]) -> Option<Cow<'_, str>> {
    let quoted = quoted_fields(line)?;
    let [request, .., _, agent] = quoted.as_slice() else { return None };
    let before = &line[..position_of(line, request)];
    let has_time = before.contains(&b'[') && before.contains(&b']');
    has_time.then(|| String::from_utf8_lossy(agent))
}

/// Where a part of a line begins in it.
fn position_of(line: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - line.as_ptr() as usize
}

/// The fields in quotation marks; `None` when the last one does not end. A quotation mark after a
/// backslash is part of the field.
fn quoted_fields(line: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (at, byte) in line.iter().enumerate() {
        match (byte, start) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', None) => start = Some(at + 1),
            (b'"', Some(from)) => {
                fields.push(&line[from..at]);
                start = None;
            }
            _ => {}
        }
    }
    start.is_none().then_some(fields)
}

/// What user agents say of themselves, and the system that means. The first that occurs counts: Android names
/// Linux, too, and iPhones say that they are like Mac OS X.
const SIGNS: [(&str, &str); 14] = [
    ("Windows Phone", "Windows Phone"),
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("iPod", "iOS"),
    ("CrOS", "Chrome OS"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("FreeBSD", "BSD"),
    ("OpenBSD", "BSD"),
    ("NetBSD", "BSD"),
    ("Linux", "Linux"),
    ("X11", "Linux"),
];

fn system(agent: &str) -> &'static str {
    SIGNS.iter().find(|(sign, _)| agent.contains(sign)).map_or("Other", |(_, system)| system)
}

#[derive(Clone)]
struct Systems;

impl Mapper for Systems {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        let counter = match parse(line.bytes) {
            Parsed::Request(agent) => return out.emit(system(&agent).as_bytes(), 1),
            Parsed::Anonymous => {
                out.emit(b"Unknown", 1)?;
                "without a user agent"
            }
            Parsed::Header => "headers",
            Parsed::Broken => "broken",
        };
        out.context().increment("Log lines", counter, 1);
        Ok(())
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(Systems)
            .name("requests by operating system")
            .combine(Sum)
            .reduce(Sum)
            .inputs(arguments.inputs)
            .output(arguments.output)
            .build()
    })
}
