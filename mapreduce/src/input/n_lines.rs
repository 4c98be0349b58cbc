//! So many lines for each map.

use anyhow::{Result, bail};
use hfs_protocol::proto::task::InputSplit;

use super::file_splits::{Piece, input_files, message_at_lines};
use super::pack::Packed;
use super::text::{TextInput, TextReader};
use super::{InputFormat, Lines, SplitContext};
use crate::compress::Codec;
use crate::conf::{self, Conf};
use crate::files::{FileInfo, Files};

/// The most splits: a slip of the keyboard gets a sentence, not gigabytes of splits.
const MAX_SPLITS: usize = 1_000_000;

/// Reads text files, and gives each map a fixed number of lines of one file (Hadoop's
/// `NLineInputFormat`): for lines that stand for long computations. The number is
/// `mapreduce.input.lineinputformat.linespermap`, 1 unless set. The files are read once to find the
/// lines before the job starts, so they should be small. Compressed files are refused: no map could
/// begin in the middle of one.
#[derive(Debug, Clone, Copy, Default)]
pub struct NLineInput;

impl InputFormat for NLineInput {
    type Record<'a> = super::Line<'a>;
    type Batch<'a> = Lines<'a>;
    type Reader = TextReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        let lines: u64 = context.conf.parsed_or(conf::LINES_PER_MAP, 1)?;
        if lines == 0 {
            bail!("the property {} is 0; a map needs at least one line", conf::LINES_PER_MAP);
        }
        splits_by_lines(context, lines)
    }

    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<TextReader> {
        TextInput.open(split, files, conf)
    }
}

/// Splits of text files with a number of lines each, the last one of a file with fewer. All files are
/// read for it.
fn splits_by_lines(context: &SplitContext<'_>, lines: u64) -> Result<Vec<InputSplit>> {
    let mut splits = Vec::new();
    for file in input_files(context)? {
        if Codec::of_path(&file.path)?.is_some() {
            bail!(
                "{} is compressed and can't be cut after every {lines} lines; decompress it first",
                file.path
            );
        }
        let mut blocks = context.files.block_hosts(&file)?;
        let hosts = blocks.drain(..).next().map(|block| block.hosts).unwrap_or_default();
        for piece in cut(&file, lines, context)? {
            if splits.len() == MAX_SPLITS {
                bail!(
                    "the input has more than {MAX_SPLITS} times {lines} lines, too many maps for a job; \
                     give a map more lines with -D {}=N",
                    conf::LINES_PER_MAP
                );
            }
            splits.push(message_at_lines(&Packed { pieces: vec![piece], hosts: hosts.clone() }));
        }
    }
    Ok(splits)
}

/// Ranges of so many lines each. They end at the last byte of their last line: a range owns a line that
/// begins exactly at its end.
fn cut(file: &FileInfo, lines: u64, context: &SplitContext<'_>) -> Result<Vec<Piece>> {
    let mut starts = Vec::new();
    if file.length > 0 {
        let whole = Piece { path: file.path.clone(), start: 0, length: file.length };
        let mut reader = TextReader::open(vec![whole], file.length, context.files, context.conf)?;
        let mut number = 0u64;
        while let Some(batch) = reader.next_batch()? {
            for line in batch {
                if number.is_multiple_of(lines) {
                    starts.push(line.offset);
                }
                number += 1;
            }
        }
    }
    let ends = starts.iter().skip(1).copied().chain([file.length]);
    let piece = |(&start, end)| Piece { path: file.path.clone(), start, length: end - 1 - start };
    Ok(starts.iter().zip(ends).map(piece).collect())
}
