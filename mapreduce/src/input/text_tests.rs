#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::super::file_splits::message;
use super::super::pack::Packed;
use super::super::plain_lines::{BATCH_BYTES, LOOK_AHEAD_BYTES};
use super::*;

fn read_all(path: &str, cuts: &[u64], length: u64) -> Vec<(u64, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut bounds = vec![0];
    bounds.extend(cuts.iter().copied());
    bounds.push(length);
    for bounds in bounds.windows(2) {
        let packed = Packed {
            pieces: vec![Piece {
                path: path.to_owned(),
                start: bounds[0],
                length: bounds[1] - bounds[0],
            }],
            hosts: Vec::new(),
        };
        let conf = Conf::default();
        let mut reader = TextInput.open(&message(&packed), &Files::local(), &conf).unwrap();
        let before = lines.len();
        while let Some(batch) = reader.next_batch().unwrap() {
            lines.extend(batch.map(|line| (line.offset, line.bytes.to_vec())));
        }
        assert_eq!(reader.take_counts().records as usize, lines.len() - before);
    }
    lines
}

/// What a file's lines are, by the simplest means.
fn naive(text: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut at = 0;
    text.split_inclusive(|&byte| byte == b'\n')
        .map(|line| {
            let offset = at;
            at += line.len() as u64;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            (offset, line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        })
        .collect()
}

fn with_file(text: &[u8], check: impl Fn(&str)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, text).unwrap();
    check(path.to_str().unwrap());
}

#[test]
fn every_line_once_for_every_split_size() {
    let text = "one\r\ntwo\n\nvier äöü 文字\r\n\n\nlast without end".as_bytes();
    with_file(text, |path| {
        for size in 1..=text.len() as u64 {
            let cuts: Vec<u64> =
                (1..).map(|n| n * size).take_while(|&c| c < text.len() as u64).collect();
            assert_eq!(read_all(path, &cuts, text.len() as u64), naive(text), "splits of {size}");
        }
    });
}

#[test]
fn lines_longer_than_any_buffer_are_whole() {
    let mut text = vec![b'a'; 3 * BATCH_BYTES];
    text.push(b'\n');
    text.extend_from_slice(&vec![b'b'; 2 * LOOK_AHEAD_BYTES]);
    text.extend_from_slice(b"\nc\n");
    let length = text.len() as u64;
    with_file(&text, |path| {
        for cuts in
            [vec![], vec![10], vec![length / 2], vec![length - 3], vec![length - 2, length - 1]]
        {
            assert_eq!(read_all(path, &cuts, length), naive(&text), "cuts at {cuts:?}");
        }
    });
}

/// A reader of one range of a file.
fn reader(path: &str, length: u64, conf: &Conf) -> TextReader {
    let pieces = vec![Piece { path: path.to_owned(), start: 0, length }];
    let split = message(&Packed { pieces, hosts: Vec::new() });
    TextInput.open(&split, &Files::local(), conf).unwrap()
}

#[test]
fn longer_lines_than_configured_are_left_out_and_counted() {
    let long = vec![b'x'; 1 << 20];
    let text =
        [&b"first\n"[..], &long, b"\nshort\n", &long[..3000], b"\n\n", &long[..1001], b"\nend"]
            .concat();
    let conf: Conf = [(conf::LINE_MAX_BYTES, "1000")].into_iter().collect();
    with_file(&text, |path| {
        let mut reader = reader(path, text.len() as u64, &conf);
        let mut lines = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            lines.extend(batch.map(|line| line.bytes.to_vec()));
        }
        assert_eq!(lines, [&b"first"[..], b"short", b"", b"end"]);
        let counts = reader.take_counts();
        assert_eq!((counts.records, counts.skipped), (4, 3));
    });
}

#[test]
fn a_line_that_would_fill_the_memory_is_an_error() {
    with_file(&vec![b'x'; 1 << 20], |path| {
        let mut reader = reader(path, 1 << 19, &Conf::default());
        reader.line_max_bytes = 1000;
        let error = reader.next_batch().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("line of more than 1000 bytes at byte 0"), "{error}");
        assert!(error.contains(path), "{error}");
    });
}

#[test]
fn noise_is_lines_like_any_others() {
    let noise: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    with_file(&noise, |path| {
        assert_eq!(read_all(path, &[1000, 50_000], noise.len() as u64), naive(&noise));
    });
}

proptest! {
    #[test]
    fn every_line_once_for_any_cuts(
        text in prop::collection::vec(
            prop_oneof![2 => Just(b'\n'), 1 => Just(b'\r'), 3 => any::<u8>()], 1..200,
        ),
        cuts in prop::collection::btree_set(1u64..200, 0..8),
    ) {
        let cuts: Vec<u64> = cuts.into_iter().filter(|&cut| cut < text.len() as u64).collect();
        with_file(&text, |path| {
            assert_eq!(read_all(path, &cuts, text.len() as u64), naive(&text));
        });
    }
}

/// Lines of a compressed file, read as splits of these ends.
fn read_compressed(path: &str, length: u64, split: u64, conf: &Conf) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    let mut start = 0;
    while start < length {
        let pieces =
            vec![Piece { path: path.to_owned(), start, length: split.min(length - start) }];
        let split_message = message(&Packed { pieces, hosts: Vec::new() });
        let mut reader = TextInput.open(&split_message, &Files::local(), conf).unwrap();
        let mut expected = 0;
        while let Some(batch) = reader.next_batch().unwrap() {
            for line in batch {
                assert!(line.offset >= expected, "offsets grow");
                expected = line.offset + 1;
                lines.push(line.bytes.to_vec());
            }
        }
        bytes += reader.take_counts().bytes;
        start += split;
    }
    assert!(bytes >= length, "{bytes} of {length} bytes were read");
    lines
}

fn compressed(codec: Codec, text: &[u8]) -> Vec<u8> {
    let mut encoder = crate::compress::Encoder::new(codec);
    encoder.write(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_files_have_the_lines_of_the_text() {
    let mut text = Vec::new();
    for number in 0..60_000u32 {
        text.extend_from_slice(
            format!("{} größe {number}\r\n", number.wrapping_mul(77)).as_bytes(),
        );
        if number == 30_000 {
            text.extend_from_slice(&vec![b'z'; 3 * BATCH_BYTES]);
        }
    }
    text.extend_from_slice(b"\n\nno end");
    let expected: Vec<_> = naive(&text).into_iter().map(|(_, line)| line).collect();
    let dir = tempfile::tempdir().unwrap();
    for codec in [Codec::Deflate, Codec::Gzip, Codec::Bzip2, Codec::Zstd, Codec::Lz4] {
        let path = dir.path().join(format!("text{}", codec.extension()));
        let path = path.to_str().unwrap();
        let file = compressed(codec, &text);
        std::fs::write(path, &file).unwrap();
        let length = file.len() as u64;
        let found = read_compressed(path, length, length, &Conf::default());
        assert!(found == expected, "{codec:?}");
    }
}

/// Two streams of one and of several blocks, lines over blocks' ends, a line of several blocks, and
/// splits that have no block at all.
#[test]
fn every_line_of_a_bzip2_file_once_for_every_split_size() {
    let mut text = Vec::new();
    for number in 0..3_000u64 {
        let length = 10 + number.wrapping_mul(number) % 400;
        text.extend((0..length).map(|n| b'a' + (n * number % 26) as u8));
        text.push(b'\n');
    }
    let long = 400_000..400_000 + 330_000;
    let noise = long.map(|n: u64| b'A' + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as u8);
    text.extend(noise);
    text.extend_from_slice(b"\n\nlast\n");
    let expected: Vec<_> = naive(&text).into_iter().map(|(_, line)| line).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.bz2");
    let path = path.to_str().unwrap();
    let (front, back) = text.split_at(470_001);
    // Blocks of 100 kB.
    let compressed = |text: &[u8]| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text).unwrap();
        encoder.finish().unwrap()
    };
    let file = [compressed(front), compressed(back)].concat();
    std::fs::write(path, &file).unwrap();
    let length = file.len() as u64;
    for size in [7_000, 30_000, 111_111, length / 2, length - 1, length] {
        let found = read_compressed(path, length, size, &Conf::default());
        assert!(found == expected, "splits of {size} of {length}: {} lines", found.len());
    }
    // Longer lines than wanted are left out here, too.
    let conf: Conf = [(conf::LINE_MAX_BYTES, "300")].into_iter().collect();
    let short: Vec<_> = expected.iter().filter(|line| line.len() <= 300).cloned().collect();
    assert!(read_compressed(path, length, 50_000, &conf) == short);
}

#[test]
fn a_long_line_of_a_small_file_does_not_fill_the_memory() {
    // 64 MiB of one byte are 64 KiB of gzip.
    let file = compressed(Codec::Gzip, &vec![b'x'; 64 << 20]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.gz");
    std::fs::write(&path, &file).unwrap();
    let mut reader = reader(path.to_str().unwrap(), file.len() as u64, &Conf::default());
    reader.line_max_bytes = 1 << 20;
    let error = reader.next_batch().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("bomb.gz has a line of more than 1048576 bytes at byte 0"), "{error}");
}
