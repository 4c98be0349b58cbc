//! Files as records.

use anyhow::{Result, bail};
use hfs_protocol::proto::task::InputSplit;

use super::file_splits::{CurrentSplit, Piece, file_splits_with_empty, pieces};
use super::pack::Cut;
use super::{BatchReader, InputFormat, ReadCounts, SplitContext};
use crate::conf::{self, Conf};
use crate::files::Files;

/// The largest file, unless configured: a record is in memory whole.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Gives each file as one record, its path and its bytes as they are: for images, documents, files of
/// formats of their own. Small files share tasks. Compressed files are not decompressed. Empty files
/// are records, too. A file of more than `hfs.input.wholefile.max.bytes`, 1 GiB unless set, is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct WholeFileInput;

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeFile<'a> {
    /// Its path.
    pub path: &'a str,
    /// All its bytes.
    pub bytes: &'a [u8],
}

impl InputFormat for WholeFileInput {
    type Record<'a> = WholeFile<'a>;
    type Batch<'a> = std::option::IntoIter<WholeFile<'a>>;
    type Reader = WholeFileReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        let most = context.conf.parsed_or(conf::WHOLE_FILE_MAX_BYTES, MAX_FILE_BYTES)?;
        file_splits_with_empty(context, |file| {
            if file.length > most {
                bail!(
                    "{} has {} bytes, and at most {most} are read as one record; allow more with -D {}=N",
                    file.path,
                    file.length,
                    conf::WHOLE_FILE_MAX_BYTES
                );
            }
            Ok(Cut::Nowhere)
        })
    }

    fn open(&self, split: &InputSplit, files: &Files, _: &Conf) -> Result<WholeFileReader> {
        let pieces = pieces(split)?;
        let at = CurrentSplit::default();
        if let Some(first) = pieces.first() {
            at.set(first.clone());
        }
        Ok(WholeFileReader {
            files: files.clone(),
            pieces,
            next_piece: 0,
            bytes: Vec::new(),
            counts: ReadCounts::default(),
            at,
        })
    }
}

/// Reads the files of one split.
pub struct WholeFileReader {
    files: Files,
    pieces: Vec<Piece>,
    next_piece: usize,
    bytes: Vec<u8>,
    counts: ReadCounts,
    at: CurrentSplit,
}

impl BatchReader<WholeFileInput> for WholeFileReader {
    fn next_batch(&mut self) -> Result<Option<std::option::IntoIter<WholeFile<'_>>>> {
        let Some(piece) = self.pieces.get(self.next_piece) else { return Ok(None) };
        self.next_piece += 1;
        self.at.set(piece.clone());
        let file = self.files.open(&piece.path)?;
        if file.len() != piece.length {
            bail!("{} was changed after the job began; run the job again", piece.path);
        }
        self.bytes.resize(file.len() as usize, 0);
        let got = file.read_at(0, &mut self.bytes)?;
        if got < self.bytes.len() {
            bail!("{} has become shorter while it was read", piece.path);
        }
        self.counts.records += 1;
        self.counts.bytes += file.len();
        Ok(Some(Some(WholeFile { path: &piece.path, bytes: &self.bytes }).into_iter()))
    }

    fn fraction(&self) -> f64 {
        self.next_piece as f64 / self.pieces.len().max(1) as f64
    }

    fn position(&self) -> String {
        let piece = self.pieces.get(self.next_piece.saturating_sub(1));
        piece.map_or_else(|| "the start of the split".to_owned(), |piece| piece.path.clone())
    }

    fn take_counts(&mut self) -> ReadCounts {
        std::mem::take(&mut self.counts)
    }

    fn current_split(&self) -> CurrentSplit {
        self.at.clone()
    }
}
