//! Inverted index: for each word the documents that have it, and how often.
//!
//! Input: text lines `document<TAB>text`; a document may have several lines. Output: text lines
//! `word<TAB>document:count document:count`, documents and, within each file, words in the order of their bytes.
//! Lines without a tab are skipped and counted (`Inverted index: lines without a document`).
//!
//! The key is word and document, so that the combiner can add up a document's occurrences and the documents reach
//! the reducer sorted; groups are formed by the word alone.
//!
//! ```text
//! cargo run --release --example inverted_index -- /documents /index
//! cargo run --release --example inverted_index -- --local documents.txt /tmp/index
//! ```

use std::process::ExitCode;

use clap::Args;
use hfs_mapreduce::{
    Emit, First, Job, Line, Mapper, Reducer, Result, Sum, Text, TextInput, Values, words,
};

/// Lists the documents of each word.
#[derive(Debug, Args)]
struct Arguments {
    /// Files, directories or patterns to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// The directory to make
    #[arg(required = true)]
    output: String,
}

/// A word and a document that has it.
type Posting = (Text, Text);

#[derive(Clone)]
struct Postings;

impl Mapper for Postings {
    type Input = TextInput;
    type Key = Posting;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Posting, u64>) -> Result<()> {
        let Some(tab) = line.bytes.iter().position(|byte| *byte == b'\t') else {
            out.context().increment("Inverted index", "lines without a document", 1);
            return Ok(());
        };
        let document = &line.bytes[..tab];
        words(&line.bytes[tab + 1..]).try_for_each(|word| out.emit((word, document), 1))
    }
}

/// Makes a word's list. Of one document there may be several counts, from different maps: they are neighbours.
#[derive(Clone, Default)]
struct List {
    line: Vec<u8>,
    document: Vec<u8>,
}

impl List {
    /// Appends the document at hand.
    fn close_document(&mut self, count: u64) {
        if !self.line.is_empty() {
            self.line.push(b' ');
        }
        self.line.extend_from_slice(&self.document);
        self.line.extend_from_slice(format!(":{count}").as_bytes());
    }
}

impl Reducer<Posting, u64> for List {
    type OutKey = Text;
    type OutValue = Text;

    fn reduce(
        &mut self,
        (word, first): (&[u8], &[u8]),
        values: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, Text>,
    ) -> Result<()> {
        self.line.clear();
        self.document.clear();
        self.document.extend_from_slice(first);
        let mut count = 0;
        while let Some(((_, document), more)) = values.next_with_key::<Posting>() {
            if document != self.document {
                self.close_document(count);
                self.document.clear();
                self.document.extend_from_slice(document);
                count = 0;
            }
            count += more;
        }
        self.close_document(count);
        out.emit(word, &self.line)
    }
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        Job::map(Postings)
            .name("inverted index")
            .combine(Sum)
            .group_by(First)
            .reduce(List::default())
            .inputs(arguments.inputs)
            .output(arguments.output)
            .build()
    })
}
