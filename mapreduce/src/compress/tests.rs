#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::files::Files;

const ALL: [Codec; 5] = [Codec::Deflate, Codec::Gzip, Codec::Bzip2, Codec::Zstd, Codec::Lz4];

/// Files that the formats' own programs wrote; all hold [`fixture_text`].
const FIXTURES: [(&str, &[u8]); 9] = [
    ("two-members.gz", include_bytes!("testdata/two-members.gz")),
    ("name-and-padding.gz", include_bytes!("testdata/name-and-padding.gz")),
    ("small-blocks.bz2", include_bytes!("testdata/small-blocks.bz2")),
    ("two-streams.bz2", include_bytes!("testdata/two-streams.bz2")),
    ("checksum.zst", include_bytes!("testdata/checksum.zst")),
    ("two-frames-no-checksum.zst", include_bytes!("testdata/two-frames-no-checksum.zst")),
    ("linked-size.lz4", include_bytes!("testdata/linked-size.lz4")),
    ("independent-block-checksums.lz4", include_bytes!("testdata/independent-block-checksums.lz4")),
    ("python.deflate", include_bytes!("testdata/python.deflate")),
];

fn fixture_text() -> Vec<u8> {
    let line = |n| format!("line {} of the text, part {} of it\n", n / 40, n % 40).into_bytes();
    (0..8000).flat_map(line).collect()
}

/// What a file of these bytes decodes to.
fn decode(codec: Codec, bytes: &[u8]) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    std::fs::write(&path, bytes)?;
    let path = path.to_str().unwrap();
    let file = Files::local().open(path)?;
    let length = file.len();
    let mut decoder = Decoder::new(codec, path, file, 0, length);
    let mut out = Vec::new();
    while decoder.decode(&mut out)? {}
    assert_eq!(decoder.position(), length, "all bytes are looked at");
    Ok(out)
}

fn encode(codec: Codec, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(codec);
    let mut file = Vec::new();
    for piece in bytes.chunks(piece) {
        encoder.write(piece).unwrap();
        file.append(encoder.compressed());
    }
    file.append(&mut encoder.finish().unwrap());
    file
}

/// Bytes that compress somewhat, of several of every format's blocks.
fn mixed(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    (0..count)
        .map(|n| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if n / 1000 % 3 == 0 { (state >> 60) as u8 } else { (state >> 32) as u8 & 0x3f }
        })
        .collect()
}

#[test]
fn files_of_the_formats_own_programs_are_read() {
    let text = fixture_text();
    for (name, bytes) in FIXTURES {
        let codec = Codec::of_path(name).unwrap().unwrap();
        assert!(decode(codec, bytes).unwrap() == text, "{name}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    for codec in ALL {
        // Several zstd frames, several blocks of the others.
        let most = if codec == Codec::Zstd { 5 << 20 } else { 1_200_000 };
        for count in [0, 1, 100_000, most] {
            let bytes = mixed(count);
            let file = encode(codec, &bytes, 70_001);
            assert!(!file.is_empty(), "{codec:?} of {count} bytes");
            assert!(decode(codec, &file).unwrap() == bytes, "{codec:?} of {count} bytes");
            // Two files one after the other are one, as with the formats' programs.
            let twice = [&file[..], &file].concat();
            assert!(decode(codec, &twice).unwrap() == [&bytes[..], &bytes].concat(), "{codec:?}");
        }
    }
}

#[test]
fn a_file_that_was_cut_short_is_an_error_wherever_the_cut_is() {
    let text: Vec<u8> = fixture_text()[..10_000].to_vec();
    for codec in ALL {
        let file = encode(codec, &text, 4096);
        let step = (file.len() / 100).max(1);
        let cuts = (1..file.len()).step_by(step).chain(file.len().saturating_sub(20)..file.len());
        for cut in cuts {
            let error = decode(codec, &file[..cut]).expect_err(&format!("{codec:?} cut at {cut}"));
            let said = error.to_string();
            assert!(said.contains("/file ends at byte") && said.contains("cut short"), "{said}");
        }
    }
    for (name, bytes) in FIXTURES {
        let codec = Codec::of_path(name).unwrap().unwrap();
        // Between two members, streams or frames is where a whole file may end.
        let between = name.starts_with("two-") || name.contains("padding");
        for cut in (1..bytes.len()).step_by(bytes.len() / 20).filter(|_| !between) {
            let error = decode(codec, &bytes[..cut]).expect_err(&format!("{name} cut at {cut}"));
            assert!(error.to_string().contains("cut short"), "{name} cut at {cut}: {error}");
        }
    }
}

#[test]
fn a_flipped_bit_is_an_error_that_names_file_and_byte() {
    let text: Vec<u8> = fixture_text()[..20_000].to_vec();
    for codec in ALL {
        let file = encode(codec, &text, 4096);
        // A gzip header's time and system may be anything.
        let from = if codec == Codec::Gzip { 10 } else { 0 };
        for at in (from..file.len()).step_by((file.len() / 300).max(1)) {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << (at % 8);
            match decode(codec, &damaged) {
                Ok(decoded) => {
                    // bzip2's level and unused bits say nothing about the data.
                    assert!(decoded == text, "{codec:?}: bit of byte {at} changes the data unseen");
                }
                Err(error) => {
                    let said = format!("{error:#}");
                    assert!(said.contains("/file "), "{codec:?}, byte {at}: {said}");
                    assert!(said.contains("byte"), "{codec:?}, byte {at}: {said}");
                }
            }
        }
    }
}

#[test]
fn noise_is_refused_as_what_it_is() {
    for codec in ALL {
        let noise = [&b"plain text is not compressed"[..], &mixed(1000)].concat();
        let said = decode(codec, &noise).unwrap_err().to_string();
        assert!(said.contains("is damaged at byte"), "{codec:?}: {said}");
    }
    let legacy = [&0x184c_2102u32.to_le_bytes()[..], &[0; 20]].concat();
    assert!(decode(Codec::Lz4, &legacy).unwrap_err().to_string().contains("legacy"));
    // A window of 2 GiB, as of zstd --long=31.
    let long = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0, 0];
    let said = decode(Codec::Zstd, &long).unwrap_err().to_string();
    assert!(said.contains("window of 2147483648 bytes"), "{said}");
    let trailing = [&encode(Codec::Gzip, b"text", 9)[..], b"more"].concat();
    let said = decode(Codec::Gzip, &trailing).unwrap_err().to_string();
    assert!(said.contains("not another one"), "{said}");
}

#[test]
fn hadoops_own_lz4_files_are_read_too() {
    let text = fixture_text();
    let mut file = Vec::new();
    for block in text.chunks(100_000) {
        file.extend_from_slice(&(block.len() as u32).to_be_bytes());
        for chunk in block.chunks(30_000) {
            let packed = lz4_flex::block::compress(chunk);
            file.extend_from_slice(&(packed.len() as u32).to_be_bytes());
            file.extend_from_slice(&packed);
        }
    }
    assert!(decode(Codec::Lz4, &file).unwrap() == text);
    let said = decode(Codec::Lz4, &file[..file.len() - 1]).unwrap_err().to_string();
    assert!(said.contains("cut short"), "{said}");
}

#[test]
fn blocks_of_a_bzip2_file_belong_to_one_split_each() {
    let file = include_bytes!("testdata/small-blocks.bz2");
    let text = fixture_text();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.bz2");
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    for size in [97, 1000, 10_000, file.len() as u64 / 2, file.len() as u64] {
        let mut joined = Vec::new();
        let mut start = 0;
        while start < file.len() as u64 {
            let end = start + size;
            let mut decoder =
                Decoder::new(Codec::Bzip2, path, Files::local().open(path).unwrap(), start, end);
            let mut out = Vec::new();
            while decoder.owned().is_none() && decoder.decode(&mut out).unwrap() {}
            if let Some(owned) = decoder.owned() {
                assert_eq!(owned, out.len() as u64);
            }
            joined.append(&mut out);
            start = end;
        }
        assert!(joined == text, "splits of {size}");
    }
}

#[test]
fn names_and_endings() {
    for codec in ALL {
        assert_eq!(codec.name().parse::<Codec>().unwrap(), codec);
        assert_eq!(codec.hadoop_class().parse::<Codec>().unwrap(), codec);
        assert_eq!(Codec::of_path(&format!("/a/b{}", codec.extension())).unwrap(), Some(codec));
    }
    assert_eq!(
        "org.apache.hadoop.io.compress.DeflateCodec".parse::<Codec>().unwrap(),
        Codec::Deflate
    );
    assert_eq!("GzipCodec".parse::<Codec>().unwrap(), Codec::Gzip);
    assert_eq!(Codec::of_path("/a.gz/b").unwrap(), None);
    assert!("org.apache.hadoop.io.compress.SnappyCodec".parse::<Codec>().is_err());
    let said = Codec::of_path("/logs/a.snappy").unwrap_err().to_string();
    assert!(said.contains("/logs/a.snappy is compressed with Snappy"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn anything_written_is_read_back(
        runs in prop::collection::vec((any::<u8>(), 1usize..3000), 0..40), piece in 1usize..5000,
    ) {
        let bytes: Vec<u8> = runs
            .iter()
            .flat_map(|&(byte, count)| (0..count).map(move |n| byte.wrapping_add((n % 7 * n / 50) as u8)))
            .collect();
        for codec in ALL {
            prop_assert!(decode(codec, &encode(codec, &bytes, piece)).unwrap() == bytes);
        }
    }
}
