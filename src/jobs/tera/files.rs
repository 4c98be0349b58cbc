//! Files of rows: Hadoop's `TeraInputFormat` and `TeraOutputFormat`.

use anyhow::{Context as _, Result, bail};
use hfs_mapreduce::conf::{self, Conf};
use hfs_mapreduce::files::{BlockHosts, FileInfo, Files, InputFile, MappedPart, OutputFile};
use hfs_mapreduce::{
    BatchReader, InputFormat, OutputFormat, ReadCounts, Record, RecordWriter, SplitContext,
};
use hfs_protocol::proto::task::InputSplit;

use super::row::ROW_BYTES;

/// Bytes of a batch, a number of whole rows: small enough that a mapper finds it in the cache.
const BATCH_BYTES: u64 = 2500 * ROW_BYTES as u64;
/// Bytes of one read where a file can't be mapped, a number of batches.
const READ_BYTES: u64 = 16 * BATCH_BYTES;
/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;
/// The most hosts a split names.
const MAX_HOSTS: usize = 3;

/// Reads files of rows. A split owns the rows that begin in its range.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowInput {
    whole_files: bool,
}

impl RowInput {
    /// One split for each file.
    #[must_use]
    pub fn whole_files() -> Self {
        Self { whole_files: true }
    }
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a>(pub &'a [u8]);

/// Rows of one file that follow one another.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    path: &'a str,
    bytes: &'a [u8],
}

impl<'a> Rows<'a> {
    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    #[inline]
    fn next(&mut self) -> Option<Row<'a>> {
        let (row, rest) = self.bytes.split_at_checked(ROW_BYTES)?;
        self.bytes = rest;
        Some(Row(row))
    }
}

impl InputFormat for RowInput {
    type Record<'a> = Row<'a>;
    type Batch<'a> = Rows<'a>;
    type Reader = RowReader;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        if context.inputs.is_empty() {
            bail!("the job has no input; give it a file or a directory of rows");
        }
        let mut files = Vec::new();
        for input in context.inputs {
            for found in context.files.glob(input)? {
                if found.is_dir {
                    let mut entries = context.files.list(&found.path)?;
                    entries.retain(|e| !e.is_dir && !e.name().starts_with(['_', '.']));
                    files.extend(entries);
                } else {
                    files.push(found);
                }
            }
        }
        files.retain(|file| file.length > 0);
        let least: u64 = context.conf.parsed_or(conf::SPLIT_MIN_BYTES, 1)?;
        let most: u64 = context.conf.parsed_or(conf::SPLIT_MAX_BYTES, u64::MAX)?;
        let total: u64 = files.iter().map(|file| file.length).sum();
        let unblocked = context.unblocked_split_bytes(total).next_multiple_of(ROW_BYTES as u64);
        let mut splits = Vec::new();
        for file in &files {
            if file.length % ROW_BYTES as u64 != 0 {
                bail!(
                    "{} has {} bytes, which is no number of {ROW_BYTES}-byte rows; name files that \
                     teragen or terasort wrote",
                    file.path,
                    file.length
                );
            }
            let natural = if file.block_bytes > 0 { file.block_bytes } else { unblocked };
            let bytes = match self.whole_files {
                true => file.length,
                false => natural.min(most).max(least).max(ROW_BYTES as u64),
            };
            let blocks = context.files.block_hosts(file)?;
            let starts = (0..file.length).step_by(usize::try_from(bytes).unwrap_or(usize::MAX));
            splits.extend(starts.map(|at| split(file, at, bytes.min(file.length - at), &blocks)));
        }
        Ok(splits)
    }

    fn open(&self, split: &InputSplit, files: &Files, _: &Conf) -> Result<RowReader> {
        let (range, path) =
            split.payload.split_at_checked(16).context("the split is no row split")?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&range[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        let path = std::str::from_utf8(path).context("the split names a file that is not UTF-8")?;
        let file = files.open(path)?;
        let row = ROW_BYTES as u64;
        let begin = number(0).next_multiple_of(row);
        let end = number(0).saturating_add(number(8)).min(file.len()).next_multiple_of(row);
        if end > file.len() {
            bail!("{path} ends within a row; it was changed after the job began");
        }
        let window = Window::Read { from: begin, bytes: Vec::new() };
        Ok(RowReader {
            path: path.to_owned(),
            file,
            begin,
            end: end.max(begin),
            at: begin,
            window,
            counts: ReadCounts::default(),
        })
    }
}

fn split(file: &FileInfo, at: u64, bytes: u64, blocks: &[BlockHosts]) -> InputSplit {
    let payload = [&at.to_be_bytes()[..], &bytes.to_be_bytes(), file.path.as_bytes()].concat();
    let middle = at + bytes / 2;
    let block = blocks.iter().find(|b| (b.offset..b.offset + b.length).contains(&middle));
    let hosts = block.map(|block| block.hosts.iter().take(MAX_HOSTS).cloned().collect());
    InputSplit {
        payload: payload.into(),
        length_bytes: bytes,
        hosts: hosts.unwrap_or_default(),
        description: format!("{}, {bytes} bytes from byte {at}", file.path),
    }
}

/// Bytes of the file that are at hand.
enum Window {
    Mapped { from: u64, part: MappedPart },
    Read { from: u64, bytes: Vec<u8> },
}

impl Window {
    fn range(&self) -> (u64, u64) {
        match self {
            Self::Mapped { from, part } => (*from, from + part.len() as u64),
            Self::Read { from, bytes } => (*from, from + bytes.len() as u64),
        }
    }

    fn slice(&self, at: u64, bytes: u64) -> Result<&[u8]> {
        let part = |from: u64| (at - from) as usize..(at - from + bytes) as usize;
        match self {
            Self::Mapped { from, part: mapped } => mapped.slice(part(*from)),
            Self::Read { from, bytes } => Ok(&bytes[part(*from)]),
        }
    }
}

/// Reads the rows of one split.
pub struct RowReader {
    path: String,
    file: InputFile,
    begin: u64,
    end: u64,
    /// The next byte to give out.
    at: u64,
    window: Window,
    counts: ReadCounts,
}

impl RowReader {
    /// Makes whole rows from `self.at` on available; says how many bytes of them.
    fn fill(&mut self) -> Result<u64> {
        let rest = (self.end - self.at).min(BATCH_BYTES);
        let (from, to) = self.window.range();
        if !(from..to).contains(&self.at) {
            match self.file.map(self.at, self.end - self.at)? {
                Some(part) if !part.is_empty() => {
                    self.window = Window::Mapped { from: self.at, part };
                }
                _ => self.read(READ_BYTES)?,
            }
        }
        let (_, to) = self.window.range();
        let at_hand = rest.min(to - self.at) / ROW_BYTES as u64 * ROW_BYTES as u64;
        // A damaged replica, or a row that goes on in the next block: read the bytes, from another
        // replica if need be.
        if at_hand == 0 || self.window.slice(self.at, at_hand).is_err() {
            self.read(rest.min(at_hand.max(ROW_BYTES as u64)))?;
            return Ok(rest.min(self.window.range().1 - self.at));
        }
        Ok(at_hand)
    }

    fn read(&mut self, most: u64) -> Result<()> {
        let mut bytes = vec![0; most.min(self.end - self.at) as usize];
        let got = self.file.read_at(self.at, &mut bytes)?;
        if got < bytes.len() {
            bail!("{} has become shorter while it was read", self.path);
        }
        self.window = Window::Read { from: self.at, bytes };
        Ok(())
    }
}

impl BatchReader<RowInput> for RowReader {
    fn next_batch(&mut self) -> Result<Option<Rows<'_>>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let bytes = self.fill()?;
        let at = self.at;
        self.at += bytes;
        self.counts.records += bytes / ROW_BYTES as u64;
        self.counts.bytes += bytes;
        Ok(Some(Rows { path: &self.path, bytes: self.window.slice(at, bytes)? }))
    }

    fn fraction(&self) -> f64 {
        (self.at - self.begin) as f64 / (self.end - self.begin).max(1) as f64
    }

    fn position(&self) -> String {
        format!("{}, at byte {}", self.path, self.at)
    }

    fn take_counts(&mut self) -> ReadCounts {
        std::mem::take(&mut self.counts)
    }
}

/// Writes keys and values one after another, with nothing between.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowOutput;

/// Writes one file of rows.
pub struct RowWriter {
    file: OutputFile,
    buffer: Vec<u8>,
    written: u64,
}

impl<K: Record, V: Record> OutputFormat<K, V> for RowOutput {
    type Writer = RowWriter;

    fn writer(&self, file: OutputFile, _: &Conf) -> Result<RowWriter> {
        Ok(RowWriter { file, buffer: Vec::with_capacity(WRITE_BYTES + ROW_BYTES), written: 0 })
    }
}

impl RowWriter {
    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl<K: Record, V: Record> RecordWriter<K, V> for RowWriter {
    #[inline]
    fn write(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        K::print(key, &mut self.buffer);
        V::print(value, &mut self.buffer);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<u64> {
        self.flush()?;
        self.file.close()?;
        Ok(self.written)
    }
}
