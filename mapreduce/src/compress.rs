//! Compressed files: which format a file has, and reading and writing it as a stream.
//!
//! A file's format is told by its name, as in Hadoop (`CompressionCodecFactory`). Reading is strict:
//! every checksum that a format has is verified, and a file that ends in the middle of its data is an
//! error that names the file and the byte, never a shorter input.

mod bzip2;
mod decoder;
mod encoder;
mod gzip;
mod lz4;
mod source;
#[cfg(test)]
mod tests;
mod zstd;

use std::str::FromStr;

use anyhow::{Result, bail};

use crate::conf::{self, Conf};

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
pub(crate) use source::Source;

/// A format of compressed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// A zlib stream, `.deflate` (Hadoop's `DefaultCodec`).
    Deflate,
    /// `.gz`, of one or several members.
    Gzip,
    /// `.bz2`, of one or several streams. The only one of which large files are cut into splits.
    Bzip2,
    /// `.zst`, of one or several frames, whose windows may be up to 128 MiB.
    Zstd,
    /// `.lz4`: LZ4 frames, as the `lz4` program writes them. Files of Hadoop's `Lz4Codec`, which have
    /// the same ending and a format of their own, are read as well.
    Lz4,
}

/// All formats, with their endings, short names and Hadoop classes.
const CODECS: [(Codec, &str, &str, &str); 5] = [
    (Codec::Deflate, ".deflate", "deflate", "DefaultCodec"),
    (Codec::Gzip, ".gz", "gzip", "GzipCodec"),
    (Codec::Bzip2, ".bz2", "bzip2", "BZip2Codec"),
    (Codec::Zstd, ".zst", "zstd", "ZStandardCodec"),
    (Codec::Lz4, ".lz4", "lz4", "Lz4Codec"),
];

/// The package of Hadoop's codec classes.
const PACKAGE: &str = "org.apache.hadoop.io.compress.";

/// Endings of formats that Hadoop reads and this crate does not: as text they would be noise.
const UNSUPPORTED: [(&str, &str); 3] =
    [(".snappy", "Snappy"), (".lzo", "LZO"), (".lzo_deflate", "LZO")];

impl Codec {
    /// The format of the file at `path`, by its ending; `None` for a plain file.
    ///
    /// # Errors
    /// When the ending is that of a compressed format which can't be read.
    pub fn of_path(path: &str) -> Result<Option<Self>> {
        if let Some((_, name)) = UNSUPPORTED.iter().find(|(ending, _)| path.ends_with(ending)) {
            bail!(
                "{path} is compressed with {name}, which can't be read; compress it with one of {} \
                 instead",
                short_names()
            );
        }
        let found = CODECS.iter().find(|(_, ending, ..)| path.ends_with(ending));
        Ok(found.map(|(codec, ..)| *codec))
    }

    /// The format of text output that the configuration asks for, if any
    /// (`mapreduce.output.fileoutputformat.compress`, `...compress.codec`; without a codec it is
    /// [`Codec::Deflate`], as in Hadoop).
    ///
    /// # Errors
    /// When the properties make no sense.
    pub fn of_output(conf: &Conf) -> Result<Option<Self>> {
        if !conf.parsed_or(conf::OUTPUT_COMPRESS, false)? {
            return Ok(None);
        }
        conf.get(conf::OUTPUT_CODEC).map_or(Ok(Self::Deflate), str::parse).map(Some)
    }

    /// The ending of its files, dot included.
    #[must_use]
    pub fn extension(self) -> &'static str {
        self.row().1
    }

    /// Its short name: `gzip`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The name of Hadoop's class for it.
    #[must_use]
    pub fn hadoop_class(self) -> String {
        format!("{PACKAGE}{}", self.row().3)
    }

    /// Whether a reader can begin in the middle of a file.
    #[must_use]
    pub fn is_splittable(self) -> bool {
        self == Self::Bzip2
    }

    fn row(self) -> &'static (Self, &'static str, &'static str, &'static str) {
        &CODECS[self as usize]
    }
}

impl FromStr for Codec {
    type Err = anyhow::Error;

    /// Reads a short name (`gzip`) or the name of Hadoop's class, with its package or without.
    fn from_str(text: &str) -> Result<Self> {
        let name = text.trim();
        let class = name.strip_prefix(PACKAGE).unwrap_or(name);
        // Hadoop has two names for one format.
        let class = if class == "DeflateCodec" { "DefaultCodec" } else { class };
        let found = CODECS.iter().find(|(_, _, short, of_hadoop)| {
            name.eq_ignore_ascii_case(short) || class == *of_hadoop
        });
        match found {
            Some((codec, ..)) => Ok(*codec),
            None => bail!(
                "there is no compression codec '{text}'; take one of {} or the name of Hadoop's class",
                short_names()
            ),
        }
    }
}

fn short_names() -> String {
    CODECS.map(|(_, _, name, _)| name).join(", ")
}
