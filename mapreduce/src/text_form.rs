//! A file as text, whatever it is packed in: what `hadoop fs -text` prints.

use anyhow::{Result, bail};

use crate::compress::{Codec, Decoder};
use crate::files::{Files, InputFile};
use crate::sequence::records_as_text;

/// Bytes of one read of a plain file.
const READ_BYTES: usize = 1 << 20;

/// Forms that are told by their first bytes, beside gzip, whatever the file is called.
const MAGIC: [(&[u8], Codec); 4] = [
    (b"\x1f\x8b", Codec::Gzip),
    (b"BZh", Codec::Bzip2),
    (b"\x28\xb5\x2f\xfd", Codec::Zstd),
    (b"\x04\x22\x4d\x18", Codec::Lz4),
];

/// Forms that can't be decoded here, and what decodes them.
const ELSEWHERE: [(&[u8], &str, &str); 3] = [
    (b"PK\x03\x04", "zip", "funzip"),
    (b"Obj\x01", "Avro", "avro cat -"),
    (b"PAR1", "Parquet", "a program that reads Parquet"),
];

/// Gives the bytes of a file to `sink`, piece by piece: decompressed if it is compressed (told by its
/// first bytes, else by its name), the records of a sequence file as lines of key, tab and value, and
/// a plain file as it is (HDFS's `FsShell -text`).
///
/// # Errors
/// When the file can't be read or its data is damaged, with the file's name; of a form that can't be decoded,
/// what reads it; and the sink's own.
pub fn read_as_text(
    files: &Files,
    path: &str,
    sink: &mut dyn FnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let file = files.open(path)?;
    let mut front = [0; 4];
    let read = file.read_at(0, &mut front)?;
    let front = &front[..read];
    if front.starts_with(b"SEQ") {
        return records_as_text(path, file, sink);
    }
    if let Some((_, form, with)) = ELSEWHERE.iter().find(|(magic, ..)| front.starts_with(magic)) {
        bail!("{path} is {form}, which is not decoded here; use `hfs cat {path} | {with}`");
    }
    let codec = MAGIC.iter().find(|(magic, _)| front.starts_with(magic)).map(|(_, codec)| *codec);
    match codec.map_or_else(|| Codec::of_path(path), |codec| Ok(Some(codec)))? {
        // An empty file is the empty text, whatever its name.
        Some(codec) if !file.is_empty() => decoded(codec, path, file, sink),
        _ => plain(&file, sink),
    }
}

fn decoded(
    codec: Codec,
    path: &str,
    file: InputFile,
    sink: &mut dyn FnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let end = file.len();
    let mut decoder = Decoder::new(codec, path, file, 0, end);
    loop {
        let mut bytes = Vec::new();
        let more = decoder.decode(&mut bytes)?;
        if !bytes.is_empty() {
            sink(bytes)?;
        }
        if !more {
            return Ok(());
        }
    }
}

fn plain(file: &InputFile, sink: &mut dyn FnMut(Vec<u8>) -> Result<()>) -> Result<()> {
    let mut position = 0;
    loop {
        let mut bytes = vec![0; READ_BYTES];
        let read = file.read_at(position, &mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        bytes.truncate(read);
        position += read as u64;
        sink(bytes)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::conf::{self, Conf};
    use crate::output::{OutputFormat, RecordWriter};
    use crate::record::Text;
    use crate::sequence::SequenceFileOutput;

    fn text_of(path: &str) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        read_as_text(&Files::local(), path, &mut |bytes| {
            text.extend(bytes);
            Ok(())
        })?;
        Ok(text)
    }

    #[test]
    fn every_compressed_form_is_text_under_its_own_name_and_under_another() {
        let dir = tempfile::tempdir().unwrap();
        let lines = b"some words\n".repeat(60_000);
        for codec in [Codec::Deflate, Codec::Gzip, Codec::Bzip2, Codec::Zstd, Codec::Lz4] {
            let path = dir.path().join(format!("x{}", codec.extension()));
            let path = path.to_str().unwrap();
            let mut file = Files::local().create(path).unwrap().compressed(codec);
            file.write_all(&lines).unwrap();
            file.close().unwrap();
            assert!(text_of(path).unwrap() == lines, "{path}");
            if codec != Codec::Deflate {
                let other = dir.path().join("renamed");
                std::fs::copy(path, &other).unwrap();
                assert!(text_of(other.to_str().unwrap()).unwrap() == lines, "{path} renamed");
            }
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            let error = text_of(path).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
    }

    #[test]
    fn plain_and_empty_files_are_what_they_are_and_others_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a.txt", &b"plain"[..]), ("b.gz", b""), ("c", b"BZ"), ("d", b"")] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(text_of(path.to_str().unwrap()).unwrap(), bytes, "{name}");
        }
        let zip = dir.path().join("z");
        std::fs::write(&zip, b"PK\x03\x04...").unwrap();
        assert!(text_of(zip.to_str().unwrap()).unwrap_err().to_string().contains("funzip"));
    }

    #[test]
    fn records_of_a_sequence_file_are_lines() {
        let dir = tempfile::tempdir().unwrap();
        for kind in ["NONE", "RECORD", "BLOCK"] {
            let conf: Conf = [
                (conf::OUTPUT_COMPRESS, if kind == "NONE" { "false" } else { "true" }),
                (conf::OUTPUT_COMPRESS_TYPE, kind),
            ]
            .into_iter()
            .collect();
            let path = dir.path().join(kind);
            let path = path.to_str().unwrap();
            let file = Files::local().create(path).unwrap();
            let mut writer =
                OutputFormat::<Text, i64>::writer(&SequenceFileOutput, file, &conf).unwrap();
            let mut expected = Vec::new();
            for number in 0..70_000i64 {
                let key = format!("key {number}");
                RecordWriter::<Text, i64>::write(&mut writer, key.as_bytes(), -number).unwrap();
                expected.extend_from_slice(format!("{key}\t{}\n", -number).as_bytes());
            }
            RecordWriter::<Text, i64>::close(writer).unwrap();
            assert!(text_of(path).unwrap() == expected, "{kind}");
        }
        let path = dir.path().join("other");
        let path = path.to_str().unwrap();
        let file = Files::local().create(path).unwrap();
        let mut writer =
            OutputFormat::<Vec<u8>, ()>::writer(&SequenceFileOutput, file, &Conf::default())
                .unwrap();
        RecordWriter::<Vec<u8>, ()>::write(&mut writer, b"\x01\xff", ()).unwrap();
        RecordWriter::<Vec<u8>, ()>::close(writer).unwrap();
        assert_eq!(text_of(path).unwrap(), b"01 ff\t(null)\n");
    }
}
