//! What all inputs of files share: which files there are, how they are cut, and what a split says.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hfs_protocol::proto::task::InputSplit;
use parking_lot::Mutex;
use prost::Message;

use super::SplitContext;
use super::pack::{Cut, Located, Packed, pack};
use crate::conf;
use crate::files::FileInfo;

/// Bytes of a split where files have no blocks and nobody says how many tasks run at once.
const DEFAULT_SPLIT_BYTES: u64 = 128 << 20;
/// Bytes of a local run's split: larger than a cluster's, as nothing is gained by retrying less.
const LOCAL_SPLIT_BYTES: u64 = 512 << 20;
/// A local run cuts no smaller than this: below it a task costs more than it computes.
const LEAST_LOCAL_SPLIT_BYTES: u64 = 1 << 20;
/// The most file ranges that a split message may name.
const MAX_PIECES_IN_MESSAGE: usize = 1 << 20;

/// A range of a file that a task reads (Hadoop's `FileSplit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSplit {
    /// The file (`mapreduce.map.input.file`).
    pub path: String,
    /// Where the range begins, bytes (`mapreduce.map.input.start`).
    pub start: u64,
    /// The bytes of the range, before decompression (`mapreduce.map.input.length`).
    pub length: u64,
}

pub(super) type Piece = FileSplit;

/// Which range a reader is at; its clones show the same.
#[derive(Debug, Clone, Default)]
pub struct CurrentSplit(Arc<Mutex<Place>>);

#[derive(Debug, Default)]
struct Place {
    split: Option<FileSplit>,
    /// How often the reader has come to a range.
    moves: u64,
}

impl CurrentSplit {
    /// Says that the reader has come to a range.
    pub fn set(&self, split: FileSplit) {
        let mut place = self.0.lock();
        place.split = Some(split);
        place.moves += 1;
    }

    /// What `look` makes of the path of the file that the reader is at; of an empty one without a file.
    pub(crate) fn with_path<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        look(self.0.lock().split.as_ref().map_or("", |split| &split.path))
    }

    /// The range that the reader is at, or will begin with.
    #[must_use]
    pub fn get(&self) -> Option<FileSplit> {
        self.0.lock().split.clone()
    }

    /// The range that the reader is at, if it has come to one since `seen` moves.
    pub(crate) fn moved(&self, seen: &mut u64) -> Option<FileSplit> {
        let place = self.0.lock();
        let moved = std::mem::replace(seen, place.moves) != place.moves;
        place.split.clone().filter(|_| moved)
    }
}

#[derive(Clone, PartialEq, Message)]
struct PieceMessage {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint64, tag = "2")]
    start: u64,
    #[prost(uint64, tag = "3")]
    length: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SplitMessage {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceMessage>,
    #[prost(bool, tag = "2")]
    at_lines: bool,
}

/// Cuts the input files and packs small ones into common splits. `cut` says where a file may be cut;
/// empty files are left out.
pub(crate) fn file_splits(
    context: &SplitContext<'_>,
    cut: impl Fn(&FileInfo) -> Result<Cut>,
) -> Result<Vec<InputSplit>> {
    let mut files = input_files(context)?;
    files.retain(|file| file.length > 0);
    splits_of(files, context, cut)
}

/// As [`file_splits`], with empty files.
pub(super) fn file_splits_with_empty(
    context: &SplitContext<'_>,
    cut: impl Fn(&FileInfo) -> Result<Cut>,
) -> Result<Vec<InputSplit>> {
    splits_of(input_files(context)?, context, cut)
}

fn splits_of(
    files: Vec<FileInfo>,
    context: &SplitContext<'_>,
    cut: impl Fn(&FileInfo) -> Result<Cut>,
) -> Result<Vec<InputSplit>> {
    let least: u64 = context.conf.parsed_or(conf::SPLIT_MIN_BYTES, 1)?;
    let most: u64 = context.conf.parsed_or(conf::SPLIT_MAX_BYTES, u64::MAX)?;
    let total: u64 = files.iter().map(|file| file.length).sum();
    let unblocked = context.unblocked_split_bytes(total);
    let locate = |file: FileInfo| {
        let natural = if file.block_bytes > 0 { file.block_bytes } else { unblocked };
        Ok(Located {
            blocks: context.files.block_hosts(&file)?,
            cut: cut(&file)?,
            target: natural.min(most).max(least).max(1),
            file,
        })
    };
    let located = files.into_iter().map(locate).collect::<Result<Vec<_>>>()?;
    Ok(pack(located).iter().map(message).collect())
}

/// Whether lines are known to begin where the ranges of a split do, so that none is to be skipped.
pub(super) fn begins_at_lines(split: &InputSplit) -> Result<bool> {
    Ok(decode(split)?.at_lines)
}

fn decode(split: &InputSplit) -> Result<SplitMessage> {
    SplitMessage::decode(&split.payload[..]).context("the split is not one of files")
}

/// The file ranges of a split.
pub(crate) fn pieces(split: &InputSplit) -> Result<Vec<FileSplit>> {
    let message = decode(split)?;
    if message.pieces.len() > MAX_PIECES_IN_MESSAGE {
        bail!("the split names {} file ranges, too many for one task", message.pieces.len());
    }
    let piece =
        |piece: PieceMessage| Piece { path: piece.path, start: piece.start, length: piece.length };
    Ok(message.pieces.into_iter().map(piece).collect())
}

impl SplitContext<'_> {
    /// Bytes of a split of files without blocks, of which there are `total` bytes.
    #[must_use]
    pub fn unblocked_split_bytes(&self, total: u64) -> u64 {
        self.parallelism.map_or(DEFAULT_SPLIT_BYTES, |tasks| share(total, tasks.max(1) as u64))
    }
}

/// Equal shares for tasks that run at once, each between [`LEAST_LOCAL_SPLIT_BYTES`] and
/// [`LOCAL_SPLIT_BYTES`].
fn share(total: u64, tasks: u64) -> u64 {
    let rounds = total.div_ceil(LOCAL_SPLIT_BYTES * tasks).max(1);
    total.div_ceil(rounds * tasks).max(LEAST_LOCAL_SPLIT_BYTES)
}

/// A split that any reader of files understands.
pub(super) fn message(packed: &Packed) -> InputSplit {
    described(packed, false)
}

/// A split whose ranges begin where lines do.
pub(super) fn message_at_lines(packed: &Packed) -> InputSplit {
    described(packed, true)
}

fn described(packed: &Packed, at_lines: bool) -> InputSplit {
    let pieces = packed.pieces.iter().map(|piece| PieceMessage {
        path: piece.path.clone(),
        start: piece.start,
        length: piece.length,
    });
    let description = match packed.pieces.as_slice() {
        [piece] => format!("{}:{}+{}", piece.path, piece.start, piece.length),
        pieces => format!("{} files, the first {}", pieces.len(), pieces[0].path),
    };
    InputSplit {
        payload: SplitMessage { pieces: pieces.collect(), at_lines }.encode_to_vec().into(),
        length_bytes: packed.bytes(),
        hosts: packed.hosts.clone(),
        description,
    }
}

/// The files that the input paths mean. Names that begin with `_` or `.` inside directories are
/// not input, as in Hadoop.
pub(super) fn input_files(context: &SplitContext<'_>) -> Result<Vec<FileInfo>> {
    if context.inputs.is_empty() {
        bail!("the job has no input; give it a file or a directory");
    }
    let recursive: bool = context.conf.parsed_or(conf::INPUT_RECURSIVE, true)?;
    let mut found = Vec::new();
    for input in context.inputs {
        let mut open = context.files.glob(input)?;
        open.reverse();
        let mut depth_first = true;
        while let Some(info) = open.pop() {
            if !info.is_dir {
                found.push(info);
                continue;
            }
            if !recursive && !depth_first {
                bail!(
                    "the input {} is a directory inside a directory; allow that with -D {}=true",
                    info.path,
                    conf::INPUT_RECURSIVE
                );
            }
            depth_first = recursive;
            let mut entries = context.files.list(&info.path)?;
            entries.retain(|entry| !entry.name().starts_with(['_', '.']));
            open.extend(entries.into_iter().rev());
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_bounded() {
        assert_eq!(share(100 << 20, 2), 50 << 20);
        assert_eq!(share(0, 2), LEAST_LOCAL_SPLIT_BYTES);
        assert!(share(10 << 30, 2) <= LOCAL_SPLIT_BYTES);
        assert_eq!((3u64 << 30).div_ceil(share(3 << 30, 2)) % 2, 0);
    }
}
