//! Writing sequence files.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use super::header::{Compression, Header};
use super::{MARK_BYTES, MAX_PART_BYTES, SYNC_BYTES};
use crate::compress::{Codec, Encoder};
use crate::conf::{self, Conf};
use crate::files::OutputFile;
use crate::output::{OutputFormat, RecordWriter};
use crate::writable::{Writable, put_vlong};

/// Bytes between two sync marks, as in Hadoop.
const SYNC_INTERVAL: u64 = 5 * 1024 * MARK_BYTES as u64;
/// Keys and values of a block, bytes before compression, unless configured.
const BLOCK_BYTES: usize = 1_000_000;
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes Hadoop's sequence files, version 6 (`SequenceFileOutputFormat`), which
/// [`SequenceFileInput`](crate::SequenceFileInput) and every Hadoop program read. With
/// `mapreduce.output.fileoutputformat.compress` they are compressed:
/// `mapreduce.output.fileoutputformat.compress.type` is `RECORD` (each value alone; the default, as in
/// Hadoop) or `BLOCK` (many records at once, `io.seqfile.compress.blocksize` bytes: smaller and faster),
/// `.compress.codec` the format.
///
/// ```
/// use hfs_mapreduce::{
///     Codec, Emit, Job, Line, Mapper, Result, SequenceFileOutput, Sum, Text, TextInput,
///     words,
/// };
///
/// #[derive(Clone)]
/// struct WordCount;
///
/// impl Mapper for WordCount {
///     type Input = TextInput;
///     type Key = Text;
///     type Value = u64;
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
///         words(line.bytes).try_for_each(|word| out.emit(word, 1))
///     }
/// }
///
/// let job = Job::map(WordCount)
///     .combine(Sum)
///     .reduce(Sum)
///     .output_format(SequenceFileOutput)
///     .compress_output(Codec::Zstd)
///     .set("mapreduce.output.fileoutputformat.compress.type", "BLOCK")
///     .input("/books")
///     .output("/counts")
///     .build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SequenceFileOutput;

/// Writes one sequence file.
pub struct SequenceFileWriter<K, V> {
    file: OutputFile,
    header: Header,
    /// Bytes that were not given to the file yet.
    buffer: Vec<u8>,
    /// Bytes of the file up to the buffer's end.
    length: u64,
    last_mark: u64,
    /// The records of the next block, or the one record at hand.
    keys: Vec<u8>,
    values: Vec<u8>,
    key_lengths: Vec<u8>,
    value_lengths: Vec<u8>,
    records: i64,
    block_bytes: usize,
    types: PhantomData<fn(K, V)>,
}

impl<K: Writable, V: Writable> OutputFormat<K, V> for SequenceFileOutput {
    type Writer = SequenceFileWriter<K, V>;

    fn writer(&self, file: OutputFile, conf: &Conf) -> Result<SequenceFileWriter<K, V>> {
        let header = Header {
            key_class: K::CLASS.to_owned(),
            value_class: V::CLASS.to_owned(),
            compression: compression(conf)?,
            sync: new_sync(),
        };
        let mut buffer = Vec::new();
        header.write(&mut buffer);
        Ok(SequenceFileWriter {
            file,
            length: buffer.len() as u64,
            last_mark: buffer.len() as u64,
            buffer,
            header,
            keys: Vec::new(),
            values: Vec::new(),
            key_lengths: Vec::new(),
            value_lengths: Vec::new(),
            records: 0,
            block_bytes: conf.parsed_or(conf::SEQUENCE_BLOCK_BYTES, BLOCK_BYTES)?,
            types: PhantomData,
        })
    }
}

fn compression(conf: &Conf) -> Result<Compression> {
    let Some(codec) = Codec::of_output(conf)? else { return Ok(Compression::None) };
    let kind = conf.get(conf::OUTPUT_COMPRESS_TYPE).unwrap_or("RECORD");
    match kind.trim().to_ascii_uppercase().as_str() {
        "NONE" => Ok(Compression::None),
        "RECORD" => Ok(Compression::Record(codec)),
        "BLOCK" => Ok(Compression::Block(codec)),
        _ => bail!(
            "the property {} is '{kind}'; it can be NONE, RECORD or BLOCK",
            conf::OUTPUT_COMPRESS_TYPE
        ),
    }
}

/// A mark that no other file has, and no data by chance.
fn new_sync() -> [u8; SYNC_BYTES] {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{} {} {number}", since.as_nanos(), std::process::id());
    let digest = Sha256::digest(unique.as_bytes());
    let mut sync = [0; SYNC_BYTES];
    sync.copy_from_slice(&digest[..SYNC_BYTES]);
    sync
}

/// Compresses bytes as one stream of a codec of Hadoop's.
fn compressed(codec: Codec, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = Encoder::of_hadoop(codec);
    encoder.write(bytes)?;
    encoder.finish()
}

impl<K, V> SequenceFileWriter<K, V> {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn put_mark(&mut self) -> Result<()> {
        let mark = self.header.mark();
        self.append(&mark)?;
        self.last_mark = self.length;
        Ok(())
    }

    /// Writes the record at hand.
    fn put_record(&mut self, codec: Option<Codec>) -> Result<()> {
        if self.length >= self.last_mark + SYNC_INTERVAL {
            self.put_mark()?;
        }
        if let Some(codec) = codec {
            self.values = compressed(codec, &self.values)?;
        }
        let length = self.keys.len() + self.values.len();
        if length > MAX_PART_BYTES {
            bail!("a record of {length} bytes is too long for a sequence file");
        }
        let mut lengths = [0; 8];
        lengths[..4].copy_from_slice(&(length as u32).to_be_bytes());
        lengths[4..].copy_from_slice(&(self.keys.len() as u32).to_be_bytes());
        self.append(&lengths)?;
        let (keys, values) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.values));
        self.append(&keys)?;
        self.append(&values)?;
        (self.keys, self.values) = (keys, values);
        self.keys.clear();
        self.values.clear();
        Ok(())
    }

    /// Writes the block of the records at hand.
    fn put_block(&mut self, codec: Codec) -> Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        self.put_mark()?;
        let mut front = Vec::new();
        put_vlong(self.records, &mut front);
        let parts =
            [&mut self.key_lengths, &mut self.keys, &mut self.value_lengths, &mut self.values];
        for part in parts {
            let packed = compressed(codec, part)?;
            put_vlong(packed.len() as i64, &mut front);
            front.extend_from_slice(&packed);
            part.clear();
        }
        self.records = 0;
        self.append(&front)
    }
}

impl<K: Writable, V: Writable> RecordWriter<K, V> for SequenceFileWriter<K, V> {
    fn write(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        let (key_from, value_from) = (self.keys.len(), self.values.len());
        K::write(key, &mut self.keys)?;
        V::write(value, &mut self.values)?;
        match self.header.compression {
            Compression::None => self.put_record(None),
            Compression::Record(codec) => self.put_record(Some(codec)),
            Compression::Block(codec) => {
                put_vlong((self.keys.len() - key_from) as i64, &mut self.key_lengths);
                put_vlong((self.values.len() - value_from) as i64, &mut self.value_lengths);
                self.records += 1;
                if self.keys.len() + self.values.len() >= self.block_bytes {
                    self.put_block(codec)?;
                }
                Ok(())
            }
        }
    }

    fn close(mut self) -> Result<u64> {
        if let Compression::Block(codec) = self.header.compression {
            self.put_block(codec)?;
        }
        self.file.write_all(&self.buffer)?;
        self.file.close()
    }
}
