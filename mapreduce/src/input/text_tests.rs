#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn read_all(path: &str, cuts: &[u64], length: u64) -> Vec<(u64, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut bounds = vec![0];
    bounds.extend(cuts.iter().copied());
    bounds.push(length);
    for bounds in bounds.windows(2) {
        let packed = super::super::pack::Packed {
            pieces: vec![Piece {
                path: path.to_owned(),
                offset: bounds[0],
                length: bounds[1] - bounds[0],
                at_line: false,
            }],
            hosts: Vec::new(),
        };
        let conf = Conf::default();
        let mut reader = TextInput.open(&message(&packed), &Files::Local, &conf).unwrap();
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

#[test]
fn a_line_above_the_limit_is_refused() {
    with_file(&vec![b'x'; 1 << 20], |path| {
        let packed = super::super::pack::Packed {
            pieces: vec![Piece {
                path: path.to_owned(),
                offset: 0,
                length: 1 << 19,
                at_line: false,
            }],
            hosts: Vec::new(),
        };
        let conf: Conf = [(conf::LINE_MAX_BYTES, "1000")].into_iter().collect();
        let mut reader = TextInput.open(&message(&packed), &Files::Local, &conf).unwrap();
        let error = reader.next_batch().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("line of more than 1000 bytes at byte 0"), "{error}");
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

#[test]
fn shares_are_equal_and_bounded() {
    assert_eq!(share(100 << 20, 2), 50 << 20);
    assert_eq!(share(0, 2), LEAST_LOCAL_SPLIT_BYTES);
    assert!(share(10 << 30, 2) <= LOCAL_SPLIT_BYTES);
    assert_eq!((3u64 << 30).div_ceil(share(3 << 30, 2)) % 2, 0);
}
