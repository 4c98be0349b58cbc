//! What streaming jobs read: lines of text, in splits as the input format says.

use anyhow::{Result, bail};
use hfs_protocol::proto::task::InputSplit;

use crate::conf::Conf;
use crate::files::Files;
use crate::input::{InputFormat, Line, Lines, NLineInput, SplitContext, TextInput, TextReader};

/// The input formats of `-inputformat`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// Lines (`TextInputFormat`).
    #[default]
    Text,
    /// Lines with a key before the first tab (`KeyValueTextInputFormat`).
    KeyValue,
    /// Lines, a fixed number for each map (`NLineInputFormat`).
    Numbered,
}

impl Format {
    /// Reads a class name, with its package or without.
    pub(super) fn read(name: &str) -> Result<Self> {
        match name.rsplit('.').next().unwrap_or_default() {
            "TextInputFormat" | "CombineTextInputFormat" => Ok(Self::Text),
            "KeyValueTextInputFormat" => Ok(Self::KeyValue),
            "NLineInputFormat" => Ok(Self::Numbered),
            _ => bail!(
                "there is no input format {name}; there are TextInputFormat, KeyValueTextInputFormat and \
                 NLineInputFormat"
            ),
        }
    }
}

/// The input of streaming jobs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamInput(pub(super) Format);

impl InputFormat for StreamInput {
    type Record<'a> = Line<'a>;
    type Batch<'a> = Lines<'a>;
    type Reader = TextReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        if self.0 == Format::Numbered {
            return NLineInput.splits(context);
        }
        let mut splits = TextInput.splits(context)?;
        if splits.is_empty() {
            // As in Hadoop the mapper hears that there is nothing: it may have something to say to that.
            let description = "no bytes at all".to_owned();
            splits.push(InputSplit { description, ..InputSplit::default() });
        }
        Ok(splits)
    }

    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<TextReader> {
        TextInput.open(split, files, conf)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::conf;

    /// Which lines each split gives.
    fn lines_of_splits(text: &str, lines: &str) -> Vec<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        std::fs::write(&path, text).unwrap();
        let conf: Conf = [(conf::LINES_PER_MAP, lines)].into_iter().collect();
        let input = StreamInput(Format::Numbered);
        let inputs = [path.to_str().unwrap().to_owned()];
        let context = SplitContext {
            files: &Files::local(),
            conf: &conf,
            inputs: &inputs,
            parallelism: Some(2),
        };
        let mut found = Vec::new();
        for split in input.splits(&context).unwrap() {
            let mut reader = input.open(&split, &Files::local(), &conf).unwrap();
            let mut lines = Vec::new();
            while let Some(batch) = reader.next_batch().unwrap() {
                lines.extend(batch.map(|line| String::from_utf8(line.bytes.to_vec()).unwrap()));
            }
            found.push(lines);
        }
        found
    }

    #[test]
    fn every_map_gets_its_number_of_lines() {
        assert_eq!(
            lines_of_splits("a\nb\nc\nd\ne", "2"),
            [vec!["a", "b"], vec!["c", "d"], vec!["e"]]
        );
        assert_eq!(lines_of_splits("a\n\n\nb\n", "1"), [vec!["a"], vec![""], vec![""], vec!["b"]]);
        assert_eq!(lines_of_splits("\n\n", "1"), [vec![""], vec![""]]);
        assert_eq!(lines_of_splits("a\nb\n", "9"), [vec!["a", "b"]]);
        assert!(lines_of_splits("", "1").is_empty());
        assert_eq!(lines_of_splits("x", "3"), [vec!["x"]]);
    }

    #[test]
    fn formats_have_their_class_names() {
        assert_eq!(Format::read("TextInputFormat").unwrap(), Format::Text);
        assert_eq!(
            Format::read("org.apache.hadoop.mapred.lib.NLineInputFormat").unwrap(),
            Format::Numbered
        );
        assert!(Format::read("SequenceFileAsTextInputFormat").is_err());
    }
}
