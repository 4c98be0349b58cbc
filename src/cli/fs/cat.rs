//! `cat`, `text`, `head`, `tail`: files on standard output.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use flate2::write::MultiGzDecoder;
use hfs_client::FileReader;

use super::shell::{Complaint, Done, Item, Shell, Target};
use super::transfer::stream_to_stdout;

/// What `head` and `tail` show, bytes.
const SHOWN_BYTES: u64 = 1024;

/// How often `tail -f` looks for more unless `-s` says otherwise, milliseconds.
const FOLLOW_MS_DEFAULT: u64 = 5000;

/// Prints files as they are.
#[derive(Debug, Clone, Args)]
pub struct Cat {
    /// Files; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Cat {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        shell
            .each(&self.paths, async |item| {
                stream_to_stdout(shell, file(&item)?, 0).await.map(|_| ())
            })
            .await;
    }
}

/// The item's place if it is a file.
fn file(item: &Item) -> Done<&Target> {
    if item.status.is_dir() {
        return Err(Complaint::path(&item.target.shown, "Is a directory"));
    }
    Ok(&item.target)
}

/// Prints files as text: those in gzip form are unpacked, other packed forms are refused by name.
#[derive(Debug, Clone, Args)]
pub struct Text {
    /// Files; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

/// What a file in gzip form begins with.
const GZIP: &[u8] = b"\x1f\x8b";

/// Forms that would have to be decoded, by their first bytes, and what decodes them.
const ENCODED: [(&[u8], &str, &str); 5] = [
    (b"BZh", "bzip2", "bzcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
    (b"PK\x03\x04", "zip", "funzip"),
    (b"SEQ", "a Hadoop sequence file", "a program that knows its records"),
    (b"Obj\x01", "Avro", "avro cat -"),
];

/// The form of a file that begins so, if it would have to be decoded: its name and what reads it.
fn encoded(beginning: &[u8]) -> Option<(&'static str, &'static str)> {
    ENCODED
        .iter()
        .find(|(magic, ..)| beginning.starts_with(magic))
        .map(|(_, form, reader)| (*form, *reader))
}

impl Text {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        shell.each(&self.paths, async |item| Self::one(shell, &item).await).await;
    }

    async fn gzip(shell: &Shell, target: &Target, mut reader: FileReader) -> Done {
        let damaged = |e: io::Error| {
            Complaint::path(&target.shown, &format!("begins as gzip but can't be unpacked: {e}"))
        };
        let mut decoder = MultiGzDecoder::new(Vec::new());
        loop {
            let chunk = reader.read_chunk().await.map_err(|e| target.complaint(&e))?;
            let mut packed = &chunk[..];
            while !packed.is_empty() {
                let taken = decoder.write(packed).map_err(damaged)?;
                packed = &packed[taken..];
                shell.bytes(decoder.get_ref());
                decoder.get_mut().clear();
            }
            if chunk.is_empty() {
                shell.bytes(&decoder.finish().map_err(damaged)?);
                return Ok(());
            }
        }
    }

    async fn one(shell: &Shell, item: &Item) -> Done {
        let target = file(item)?;
        let reader = target.fs.open(&target.path).await.map_err(|e| target.complaint(&e))?;
        let mut beginning = [0; 4];
        let read = reader.read_at(0, &mut beginning).await.map_err(|e| target.complaint(&e))?;
        if beginning[..read].starts_with(GZIP) {
            return Self::gzip(shell, target, reader).await;
        }
        if let Some((form, with)) = encoded(&beginning[..read]) {
            return Err(Complaint::path(
                &target.shown,
                &format!(
                    "is {form}, which hfs does not decode; use `hfs cat {} | {with}`",
                    target.shown
                ),
            ));
        }
        stream_to_stdout(shell, target, 0).await.map(|_| ())
    }
}

/// Prints the first kilobyte of a file.
#[derive(Debug, Clone, Args)]
pub struct Head {
    /// The file
    pub path: String,
}

impl Head {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        shell
            .each(std::slice::from_ref(&self.path), async |item| {
                let target = file(&item)?;
                let complain = |e: hfs_client::Error| target.complaint(&e);
                let reader = target.fs.open(&target.path).await.map_err(complain)?;
                let mut beginning = [0; SHOWN_BYTES as usize];
                let read = reader.read_at(0, &mut beginning).await.map_err(complain)?;
                shell.bytes(&beginning[..read]);
                Ok(())
            })
            .await;
    }
}

/// Prints the last kilobyte of a file.
#[derive(Debug, Clone, Args)]
pub struct Tail {
    /// Go on printing what is appended
    #[arg(short = 'f')]
    pub follow: bool,
    /// With -f: how often to look, milliseconds
    #[arg(short = 's', value_name = "MS", default_value_t = FOLLOW_MS_DEFAULT)]
    pub sleep_ms: u64,
    /// The file
    pub path: String,
}

impl Tail {
    /// Runs the verb. With `-f` it ends when it is interrupted or the file is gone.
    pub async fn run(&self, shell: &Shell) {
        shell
            .each(std::slice::from_ref(&self.path), async |item| self.one(shell, &item).await)
            .await;
    }

    async fn one(&self, shell: &Shell, item: &Item) -> Done {
        let target = file(item)?;
        let mut position = item.status.length.saturating_sub(SHOWN_BYTES);
        position += stream_to_stdout(shell, target, position).await?;
        if !self.follow {
            return Ok(());
        }
        loop {
            shell.flush();
            tokio::time::sleep(Duration::from_millis(self.sleep_ms.max(1))).await;
            // Opened anew each time: a file being written grows for those who open it.
            position += stream_to_stdout(shell, target, position).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_files_are_told_by_their_first_bytes() {
        assert_eq!(encoded(b"BZh91AY"), Some(("bzip2", "bzcat")));
        assert_eq!(encoded(b"SEQ\x06").map(|(form, _)| form), Some("a Hadoop sequence file"));
        assert_eq!(encoded(b"plain"), None);
        assert_eq!(encoded(b""), None);
    }
}
