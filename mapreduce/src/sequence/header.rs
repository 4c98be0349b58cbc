//! What a sequence file begins with.

use anyhow::{Result, bail};

use super::{MARK_BYTES, SYNC_BYTES, SYNC_ESCAPE};
use crate::compress::{Codec, Source};
use crate::writable::{put_vlong, vlong};

const MAGIC: [u8; 3] = *b"SEQ";
const VERSION: u8 = 6;
/// What the data is called in a sentence about a file that was cut short.
pub(super) const WHAT: &str = "sequence file";
/// The longest name or text in a header.
const MAX_TEXT_BYTES: i64 = 1 << 20;
/// The most pairs of metadata.
const MAX_METADATA: u32 = 1 << 16;

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    /// Each value alone.
    Record(Codec),
    /// Blocks of many records.
    Block(Codec),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key_class: String,
    pub(super) value_class: String,
    pub(super) compression: Compression,
    pub(super) sync: [u8; SYNC_BYTES],
}

impl Header {
    /// Appends the header, without metadata.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        put_text(&self.key_class, out);
        put_text(&self.value_class, out);
        let (compressed, blocks) = match self.compression {
            Compression::None => (0, 0),
            Compression::Record(_) => (1, 0),
            Compression::Block(_) => (1, 1),
        };
        out.extend_from_slice(&[compressed, blocks]);
        if let Compression::Record(codec) | Compression::Block(codec) = self.compression {
            put_text(&codec.hadoop_class(), out);
        }
        out.extend_from_slice(&0u32.to_be_bytes());
        out.extend_from_slice(&self.sync);
    }

    /// Reads the header at the front of a file.
    pub(super) fn read(source: &mut Source) -> Result<Self> {
        let [m0, m1, m2, version] = source.take(WHAT)?;
        if [m0, m1, m2] != MAGIC {
            return Err(source.damaged(0, "it does not begin as a sequence file does"));
        }
        if version != VERSION {
            bail!(
                "{} is a sequence file of version {version}, and only version {VERSION} can be read; \
                 write it again with a Hadoop of this century",
                source.path()
            );
        }
        let key_class = text(source)?;
        let value_class = text(source)?;
        let [compressed, blocks] = source.take(WHAT)?;
        let compression = if compressed == 0 {
            Compression::None
        } else {
            let class = text(source)?;
            let Ok(codec) = class.parse() else {
                bail!("{} is compressed with {class}, which can't be read", source.path());
            };
            if blocks == 0 { Compression::Record(codec) } else { Compression::Block(codec) }
        };
        let at = source.position();
        let pairs = u32::from_be_bytes(source.take(WHAT)?);
        if pairs > MAX_METADATA {
            return Err(source.damaged(at, "there is too much metadata"));
        }
        for _ in 0..pairs {
            text(source)?;
            text(source)?;
        }
        Ok(Self { key_class, value_class, compression, sync: source.take(WHAT)? })
    }

    /// What stands before a sync mark, and the mark.
    pub(super) fn mark(&self) -> [u8; MARK_BYTES] {
        let mut mark = [0; MARK_BYTES];
        mark[..4].copy_from_slice(&SYNC_ESCAPE.to_be_bytes());
        mark[4..].copy_from_slice(&self.sync);
        mark
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_vlong(text.len() as i64, out);
    out.extend_from_slice(text.as_bytes());
}

fn text(source: &mut Source) -> Result<String> {
    let at = source.position();
    let length = number(source)?;
    if !(0..=MAX_TEXT_BYTES).contains(&length) {
        return Err(source.damaged(at, "a text of the header has no possible length"));
    }
    let bytes = source.exactly(length as usize, WHAT)?.to_vec();
    source.consume(length as usize);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => Err(source.damaged(at, "a text of the header is not UTF-8")),
    }
}

/// Takes a number of Hadoop's short form.
pub(super) fn number(source: &mut Source) -> Result<i64> {
    match vlong(source.ensure(9)?) {
        Some((number, taken)) => {
            source.consume(taken);
            Ok(number)
        }
        None => Err(source.cut_short(WHAT)),
    }
}
