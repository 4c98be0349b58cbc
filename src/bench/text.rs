//! The text that is counted, and what comes out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Distinct words of made text, unless somebody says another number: about those of natural text.
pub const WORDS: u64 = 300_000;

/// A file of text, and its bytes: the one that somebody names, or one of so many bytes, made in `dir`.
///
/// # Errors
/// A file that can't be read, or made.
pub fn named_or_made(
    named: Option<&Path>,
    dir: &Path,
    bytes: u64,
    words: u64,
) -> Result<(PathBuf, u64)> {
    let text = match named {
        Some(text) => text.to_owned(),
        None => {
            let text = dir.join("text");
            write_text(&text, bytes, words)?;
            text
        }
    };
    let file = text.metadata().with_context(|| format!("cannot read {}", text.display()))?;
    Ok((text, file.len()))
}

/// What the parts of an output in a local directory hold, one after another.
///
/// # Errors
/// When they can't be read.
pub fn parts(dir: &Path) -> Result<Vec<u8>> {
    let mut held = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("part-") {
            held.extend(std::fs::read(entry.path())?);
        }
    }
    Ok(held)
}

/// Words with their counts, whatever the order of the lines.
#[must_use]
pub fn counts(output: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    output
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let tab = line.iter().rposition(|byte| *byte == b'\t')?;
            Some((&line[..tab], &line[tab + 1..]))
        })
        .collect()
}

/// Writes text whose words are as often as in natural text: the n-th most frequent about 1/n as often as the
/// first (Zipf), longer the rarer. The same at every call.
fn write_text(path: &Path, bytes: u64, words: u64) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).with_context(cannot)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let scale = (words as f64).ln();
    let (mut written, mut column) = (0, 0);
    while written < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // exp of an even draw from [0, ln words) is a rank with density 1/rank.
        let draw = (state >> 11) as f64 / (1u64 << 53) as f64;
        let rank = (draw * scale).exp() as u64;
        let word = word_of(rank);
        out.write_all(&word).with_context(cannot)?;
        column += word.len() + 1;
        let end = if column > 72 { b"\n" } else { b" " };
        if column > 72 {
            column = 0;
        }
        out.write_all(end).with_context(cannot)?;
        written += word.len() as u64 + 1;
    }
    out.flush().with_context(cannot)
}

/// The word of a rank: letters that spell the rank, so that frequent words are short.
fn word_of(mut rank: u64) -> Vec<u8> {
    let mut word = Vec::new();
    loop {
        word.extend_from_slice(&[
            b"etaoinshrdlu"[(rank % 12) as usize],
            b"aeiouy"[(rank % 6) as usize],
        ]);
        rank /= 12;
        if rank == 0 {
            return word;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn made_text_has_the_words_that_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = named_or_made(None, dir.path(), 100_000, 50).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert_eq!(text.len() as u64, bytes);
        assert!((100_000..100_010).contains(&bytes));
        let distinct: std::collections::BTreeSet<_> = hfs_mapreduce::words(&text).collect();
        assert!((40..=50).contains(&distinct.len()), "{} words", distinct.len());
        assert!(text.split(|byte| *byte == b'\n').all(|line| line.len() < 100));
        assert_eq!(named_or_made(Some(&path), dir.path(), 1, 1).unwrap(), (path, bytes));
    }
}
