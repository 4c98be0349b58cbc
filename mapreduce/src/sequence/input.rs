//! Reading sequence files.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::slice;

use anyhow::{Context as _, Error, Result, bail};
use hfs_protocol::proto::task::InputSplit;
use memchr::memmem;

use super::header::{Compression, Header, WHAT, number};
use super::{MARK_BYTES, MAX_PART_BYTES, SYNC_ESCAPE};
use crate::compress::{Codec, Decoder, Source};
use crate::conf::Conf;
use crate::files::Files;
use crate::input::{
    BatchReader, CurrentSplit, Cut, FileSplit, InputFormat, ReadCounts, SplitContext, file_splits,
    pieces,
};
use crate::writable::{Writable, vlong};

/// Bytes of a batch, about, where the file has no blocks.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes looked at in one go for a sync mark.
const SEARCH_BYTES: usize = 1 << 20;

/// Reads Hadoop's sequence files, version 6 (`SequenceFileInputFormat`): keys of type `K` and values of
/// type `V`, plain, or compressed by record or by block with any [`Codec`]. A file with keys or values
/// of another class is refused. Large files are cut at their sync marks.
///
/// ```
/// use hfs_mapreduce::{Emit, Job, Mapper, Result, SequenceFileInput, Sum, Text};
///
/// #[derive(Clone)]
/// struct Long;
///
/// impl Mapper for Long {
///     type Input = SequenceFileInput<Text, u64>;
///     type Key = Text;
///     type Value = u64;
///
///     fn map(&mut self, (word, count): (&[u8], u64), out: &mut impl Emit<Text, u64>) -> Result<()> {
///         if word.len() > 10 { out.emit(word, count) } else { Ok(()) }
///     }
/// }
///
/// let job = Job::map(Long).combine(Sum).reduce(Sum).input("/counts").output("/long").build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug)]
pub struct SequenceFileInput<K, V>(PhantomData<fn(K, V)>);

impl<K, V> Clone for SequenceFileInput<K, V> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<K, V> Default for SequenceFileInput<K, V> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K: Writable, V: Writable> InputFormat for SequenceFileInput<K, V> {
    type Record<'a> = (K::Ref<'a>, V::Ref<'a>);
    type Batch<'a> = SequenceRecords<'a, K, V>;
    type Reader = SequenceFileReader<K, V>;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        file_splits(context, |_| Ok(Cut::Anywhere))
    }

    fn open(&self, split: &InputSplit, files: &Files, _: &Conf) -> Result<Self::Reader> {
        let pieces = pieces(split)?;
        let at = CurrentSplit::default();
        if let Some(first) = pieces.first() {
            at.set(first.clone());
        }
        Ok(SequenceFileReader {
            files: files.clone(),
            pieces,
            next_piece: 0,
            current: None,
            held: Held::default(),
            split_bytes: split.length_bytes.max(1),
            done_bytes: 0,
            counts: ReadCounts::default(),
            at,
            types: PhantomData,
        })
    }
}

/// Records of one file that follow one another.
pub struct SequenceRecords<'a, K, V> {
    held: &'a Held,
    ends: slice::Iter<'a, (usize, usize)>,
    key_from: usize,
    value_from: usize,
    types: PhantomData<fn(K, V)>,
}

impl<'a, K: Writable, V: Writable> Iterator for SequenceRecords<'a, K, V> {
    type Item = (K::Ref<'a>, V::Ref<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let &(key_end, value_end) = self.ends.next()?;
        let key = K::read(&self.held.keys[self.key_from..key_end]);
        let value = V::read(&self.held.values[self.value_from..value_end]);
        (self.key_from, self.value_from) = (key_end, value_end);
        match key.and_then(|key| Ok((key, value?))) {
            Ok(record) => Some(record),
            Err(error) => {
                // Told when the reader is asked for the next records, which it always is.
                self.held.failed.replace(Some(error));
                self.ends = [].iter();
                None
            }
        }
    }
}

/// The records at hand, as they lie in the file but without compression.
#[derive(Default)]
pub(super) struct Held {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Where each record's key and value end.
    ends: Vec<(usize, usize)>,
    /// Where they begin in the file.
    at: u64,
    /// A record that was not one of the types.
    failed: RefCell<Option<Error>>,
}

impl Held {
    /// Keys and values, as they are written.
    pub(super) fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = (0, 0);
        self.ends.iter().map(move |&(key_end, value_end)| {
            let (key, value) = from;
            from = (key_end, value_end);
            (&self.keys[key..key_end], &self.values[value..value_end])
        })
    }

    fn clear(&mut self, at: u64) {
        self.keys.clear();
        self.values.clear();
        self.ends.clear();
        self.at = at;
    }
}

/// Reads the records of one split.
pub struct SequenceFileReader<K, V> {
    files: Files,
    pieces: Vec<FileSplit>,
    next_piece: usize,
    current: Option<Piece>,
    held: Held,
    split_bytes: u64,
    /// Bytes of the pieces before the current one.
    done_bytes: u64,
    counts: ReadCounts,
    at: CurrentSplit,
    types: PhantomData<fn(K, V)>,
}

impl<K: Writable, V: Writable> SequenceFileReader<K, V> {
    fn open_piece(&self, piece: &FileSplit) -> Result<Piece> {
        let mut source = Source::new(&piece.path, self.files.open(&piece.path)?, 0);
        let header = Header::read(&mut source)?;
        let wanted = [
            ("keys", &header.key_class, K::reads(&header.key_class), K::CLASS),
            ("values", &header.value_class, V::reads(&header.value_class), V::CLASS),
        ];
        for (what, class, readable, expected) in wanted {
            if !readable {
                bail!(
                    "{} has {what} of the class {class}, and the job reads {expected}",
                    piece.path
                );
            }
        }
        let mut opened =
            Piece { mark: header.mark(), header, source, end: piece.start + piece.length };
        if piece.start > 0 {
            opened.source = Source::new(&piece.path, self.files.open(&piece.path)?, piece.start);
            opened.seek_mark()?;
        }
        Ok(opened)
    }

    /// Gets records; false at the end of the split.
    fn fill(&mut self) -> Result<bool> {
        loop {
            if let Some(current) = &mut self.current {
                let before = current.source.position();
                let found = current.read(&mut self.held)?;
                self.counts.bytes += current.source.position() - before;
                if found {
                    return Ok(true);
                }
                self.done_bytes += self.pieces[self.next_piece - 1].length;
                self.current = None;
            }
            let Some(piece) = self.pieces.get(self.next_piece).cloned() else { return Ok(false) };
            self.held.clear(piece.start);
            let opened = self.open_piece(&piece)?;
            self.at.set(piece);
            self.current = Some(opened);
            self.next_piece += 1;
        }
    }
}

impl<K: Writable, V: Writable> BatchReader<SequenceFileInput<K, V>> for SequenceFileReader<K, V> {
    fn next_batch(&mut self) -> Result<Option<SequenceRecords<'_, K, V>>> {
        if let Some(error) = self.held.failed.take() {
            return Err(error)
                .context("a record is damaged, or of another type than its file says");
        }
        if !self.fill()? {
            return Ok(None);
        }
        self.counts.records += self.held.ends.len() as u64;
        Ok(Some(SequenceRecords {
            held: &self.held,
            ends: self.held.ends.iter(),
            key_from: 0,
            value_from: 0,
            types: PhantomData,
        }))
    }

    fn fraction(&self) -> f64 {
        let current = self.current.as_ref().zip(self.pieces.get(self.next_piece.wrapping_sub(1)));
        let current =
            current.map_or(0, |(open, piece)| open.source.position().saturating_sub(piece.start));
        ((self.done_bytes + current) as f64 / self.split_bytes as f64).min(1.0)
    }

    fn position(&self) -> String {
        match self.at.get() {
            Some(split) => format!("{}, in the records from byte {} on", split.path, self.held.at),
            None => "the start of the split".to_owned(),
        }
    }

    fn take_counts(&mut self) -> ReadCounts {
        std::mem::take(&mut self.counts)
    }

    fn current_split(&self) -> CurrentSplit {
        self.at.clone()
    }
}

/// A file range that is being read. It owns the records behind the header, if it begins at the file's
/// front, and those behind every sync mark that begins in it.
pub(super) struct Piece {
    pub(super) source: Source,
    pub(super) header: Header,
    pub(super) mark: [u8; MARK_BYTES],
    pub(super) end: u64,
}

impl Piece {
    /// Goes to the first mark; to the end of the file if there is none.
    fn seek_mark(&mut self) -> Result<()> {
        let finder = memmem::Finder::new(&self.mark);
        loop {
            let bytes = self.source.ensure(SEARCH_BYTES)?;
            if let Some(at) = finder.find(bytes) {
                self.source.consume(at);
                return Ok(());
            }
            // The mark may have begun in the last bytes.
            let at_end = bytes.len() < SEARCH_BYTES;
            let searched = if at_end { bytes.len() } else { bytes.len() - (MARK_BYTES - 1) };
            self.source.consume(searched);
            if at_end || self.source.position() >= self.end {
                self.end = 0;
                return Ok(());
            }
        }
    }

    /// Reads a batch; false at the range's end.
    pub(super) fn read(&mut self, held: &mut Held) -> Result<bool> {
        held.clear(self.source.position());
        match self.header.compression {
            Compression::Block(codec) => self.read_block(codec, held),
            Compression::Record(codec) => self.read_records(Some(codec), held),
            Compression::None => self.read_records(None, held),
        }
    }

    /// Whether another range begins here, or the file ends. Goes behind a mark.
    fn is_at_end(&mut self) -> Result<bool> {
        let at = self.source.position();
        let bytes = self.source.ensure(4)?;
        // A range that has no mark ends at once.
        if bytes.is_empty() || self.end == 0 {
            return Ok(true);
        }
        if !bytes.starts_with(&SYNC_ESCAPE.to_be_bytes()) {
            return Ok(false);
        }
        if at >= self.end {
            return Ok(true);
        }
        if self.source.exactly(MARK_BYTES, WHAT)? != self.mark {
            return Err(self
                .source
                .damaged(at, "the sync mark that begins here is not the file's"));
        }
        self.source.consume(MARK_BYTES);
        // A mark may be the last thing in a file.
        Ok(self.source.ensure(1)?.is_empty())
    }

    fn read_records(&mut self, codec: Option<Codec>, held: &mut Held) -> Result<bool> {
        while held.keys.len() + held.values.len() < BATCH_BYTES {
            if self.is_at_end()? {
                break;
            }
            let at = self.source.position();
            let mut lengths = [0; 8];
            lengths.copy_from_slice(self.source.exactly(8, WHAT)?);
            let [l0, l1, l2, l3, k0, k1, k2, k3] = lengths;
            let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            let key = u32::from_be_bytes([k0, k1, k2, k3]) as usize;
            if length > MAX_PART_BYTES || key > length {
                return Err(self
                    .source
                    .damaged(at, "the record that begins here has no possible length"));
            }
            let record = &self.source.exactly(8 + length, WHAT)?[8..];
            held.keys.extend_from_slice(&record[..key]);
            match codec {
                None => held.values.extend_from_slice(&record[key..]),
                Some(codec) => {
                    let (packed, from) = (record[key..].to_vec(), at + 8 + key as u64);
                    unpack(codec, self.source.path(), packed, from, &mut held.values)?;
                }
            }
            held.ends.push((held.keys.len(), held.values.len()));
            self.source.consume(8 + length);
        }
        Ok(!held.ends.is_empty())
    }

    fn read_block(&mut self, codec: Codec, held: &mut Held) -> Result<bool> {
        let at = self.source.position();
        if self.is_at_end()? {
            return Ok(false);
        }
        if self.source.position() == at {
            return Err(self
                .source
                .damaged(at, "no sync mark is before the block that begins here"));
        }
        let records = number(&mut self.source)?;
        let (mut key_lengths, mut value_lengths) = (Vec::new(), Vec::new());
        for part in [&mut key_lengths, &mut held.keys, &mut value_lengths, &mut held.values] {
            let length = number(&mut self.source)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MAX_PART_BYTES {
                return Err(self
                    .source
                    .damaged(at, "the block that begins here has no possible length"));
            }
            let packed = self.source.exactly(length, WHAT)?.to_vec();
            let from = self.source.position();
            unpack(codec, self.source.path(), packed, from, part)?;
            self.source.consume(length);
        }
        let ends = ends(records, &key_lengths, held.keys.len(), &value_lengths, held.values.len());
        match ends {
            Some(ends) => held.ends = ends,
            None => {
                let what = "the lengths in the block that begins here are not those of its records";
                return Err(self.source.damaged(at, what));
            }
        }
        Ok(true)
    }
}

/// Where a block's records end; `None` unless they fill it exactly.
fn ends(
    records: i64,
    mut key_lengths: &[u8],
    keys: usize,
    mut value_lengths: &[u8],
    values: usize,
) -> Option<Vec<(usize, usize)>> {
    let next = |lengths: &mut &[u8], end: usize| {
        let (length, taken) = vlong(lengths)?;
        *lengths = &lengths[taken..];
        end.checked_add(usize::try_from(length).ok()?)
    };
    // Every record has a length of at least a byte.
    let records = usize::try_from(records).ok().filter(|count| *count <= key_lengths.len())?;
    let mut ends = Vec::with_capacity(records);
    let (mut key_end, mut value_end) = (0, 0);
    for _ in 0..records {
        key_end = next(&mut key_lengths, key_end)?;
        value_end = next(&mut value_lengths, value_end)?;
        ends.push((key_end, value_end));
    }
    let whole = key_lengths.is_empty() && value_lengths.is_empty();
    (whole && key_end == keys && value_end == values).then_some(ends)
}

/// Decompresses what lies at the byte `at` of a file.
fn unpack(codec: Codec, path: &str, packed: Vec<u8>, at: u64, out: &mut Vec<u8>) -> Result<()> {
    let most = out.len() + MAX_PART_BYTES;
    let mut decoder = Decoder::of_bytes(codec, path, packed, at);
    while decoder.decode(out)? {
        if out.len() > most {
            bail!(
                "{path} has more than {MAX_PART_BYTES} bytes in one record or block at byte {at}"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
