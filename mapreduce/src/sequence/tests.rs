#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::conf;
use crate::input::{SplitContext, pieces};
use crate::output::{OutputFormat, RecordWriter};
use crate::record::Text;
use crate::sequence::SequenceFileOutput;

type Pairs = Vec<(Vec<u8>, i64)>;

const CODECS: [&str; 5] = ["deflate", "gzip", "bzip2", "zstd", "lz4"];

fn conf(kind: &str, codec: &str) -> Conf {
    let mut conf = Conf::default();
    if kind != "NONE" {
        conf.set(conf::OUTPUT_COMPRESS, "true");
        conf.set(conf::OUTPUT_COMPRESS_TYPE, kind);
        conf.set(conf::OUTPUT_CODEC, codec);
        conf.set(conf::SEQUENCE_BLOCK_BYTES, "20000");
    }
    conf
}

fn write(path: &str, pairs: &Pairs, conf: &Conf) {
    let file = Files::local().create(path).unwrap();
    let mut writer = OutputFormat::<Text, i64>::writer(&SequenceFileOutput, file, conf).unwrap();
    for (key, value) in pairs {
        RecordWriter::<Text, i64>::write(&mut writer, key, *value).unwrap();
    }
    let bytes = RecordWriter::<Text, i64>::close(writer).unwrap();
    assert_eq!(bytes, std::fs::metadata(path).unwrap().len());
}

/// The records of a file that is read as splits of at most so many bytes, in order.
fn read<K: Writable, V: Writable, T>(
    path: &str,
    split_bytes: u64,
    each: impl Fn(K::Ref<'_>, V::Ref<'_>) -> T,
) -> Result<Vec<T>> {
    let input = SequenceFileInput::<K, V>::default();
    let (mut conf, inputs) = (Conf::default(), [path.to_owned()]);
    conf.set(conf::SPLIT_MAX_BYTES, split_bytes.to_string());
    let context =
        SplitContext { files: &Files::local(), conf: &conf, inputs: &inputs, parallelism: None };
    let mut splits = input.splits(&context)?;
    splits.sort_by_key(|split| pieces(split).unwrap()[0].start);
    let mut found = Vec::new();
    for split in splits {
        let mut reader = input.open(&split, &Files::local(), &conf)?;
        let before = found.len();
        while let Some(batch) = reader.next_batch()? {
            found.extend(batch.map(|(key, value)| each(key, value)));
        }
        assert_eq!(reader.take_counts().records as usize, found.len() - before);
    }
    Ok(found)
}

fn read_pairs(path: &str, split_bytes: u64) -> Result<Pairs> {
    read::<Text, i64, _>(path, split_bytes, |key, value| (key.to_vec(), value))
}

fn sample(count: i64) -> Pairs {
    (0..count)
        .map(|n| {
            (format!("key {n} {}", "x".repeat((n * n % 90) as usize)).into_bytes(), n * n - 50)
        })
        .collect()
}

fn with_path(check: impl FnOnce(&str)) {
    let dir = tempfile::tempdir().unwrap();
    check(dir.path().join("f.seq").to_str().unwrap());
}

#[test]
fn every_record_once_for_every_kind_of_compression_and_split_size() {
    with_path(|path| {
        for kind in ["NONE", "RECORD", "BLOCK"] {
            for codec in CODECS.iter().take(if kind == "NONE" { 1 } else { 5 }) {
                let count = if kind == "RECORD" { 500 } else { 12_000 };
                let pairs = sample(count);
                write(path, &pairs, &conf(kind, codec));
                for split in [1_000, 7_001, 150_000, u64::MAX] {
                    assert!(read_pairs(path, split).unwrap() == pairs, "{kind} {codec} {split}");
                }
            }
        }
        write(path, &Vec::new(), &conf("BLOCK", "gzip"));
        assert_eq!(read_pairs(path, u64::MAX).unwrap(), []);
    });
}

#[test]
fn damage_and_cuts_are_errors_with_file_and_byte() {
    let pairs = sample(300);
    with_path(|path| {
        for (kind, codec) in [("BLOCK", "deflate"), ("BLOCK", "zstd"), ("RECORD", "gzip")] {
            write(path, &pairs, &conf(kind, codec));
            let whole = std::fs::read(path).unwrap();
            let blocks = whole.len() - whole.len() / 3;
            for at in (0..whole.len()).step_by(whole.len() / 60) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x10;
                std::fs::write(path, &damaged).unwrap();
                match read_pairs(path, u64::MAX) {
                    Err(error) => {
                        let said = format!("{error:#}");
                        assert!(said.contains("f.seq") || said.contains("a record"), "{said}");
                    }
                    // A record's key has no checksum of its own, nor have a gzip header's time and system;
                    // what else is changed is seen.
                    Ok(found) => {
                        assert!(found == pairs || kind == "RECORD", "{kind} {codec}: byte {at}");
                    }
                }
            }
            for cut in [20, blocks, whole.len() - 1] {
                std::fs::write(path, &whole[..cut]).unwrap();
                let said = format!("{:#}", read_pairs(path, u64::MAX).unwrap_err());
                assert!(
                    said.contains("cut short") && said.contains("f.seq"),
                    "cut at {cut}: {said}"
                );
            }
        }
        std::fs::write(path, "this is no sequence file at all").unwrap();
        let said = format!("{:#}", read_pairs(path, u64::MAX).unwrap_err());
        assert!(said.contains("does not begin as a sequence file"), "{said}");
    });
}

#[test]
fn other_classes_than_the_jobs_are_refused() {
    with_path(|path| {
        write(path, &sample(10), &Conf::default());
        let said = read::<Text, Text, _>(path, u64::MAX, |_, _| ()).unwrap_err().to_string();
        assert!(said.contains("values of the class org.apache.hadoop.io.LongWritable"), "{said}");
        // A negative number is no u64.
        let said = format!("{:#}", read::<Text, u64, _>(path, u64::MAX, |_, _| ()).unwrap_err());
        assert!(said.contains("-50 is negative"), "{said}");
    });
}

/// Files that Hadoop 3.5.0 wrote with `SequenceFile.Writer`: `Text` keys `key N`, and `N * N` as
/// `IntWritable`, for N from 0 to 599.
#[test]
fn files_that_hadoop_wrote_are_read() {
    let files: [(&str, &[u8]); 3] = [
        ("none", include_bytes!("testdata/none.seq")),
        ("record", include_bytes!("testdata/record.seq")),
        ("block", include_bytes!("testdata/block.seq")),
    ];
    let expected: Pairs = (0..600).map(|n| (format!("key {n}").into_bytes(), n * n)).collect();
    with_path(|path| {
        for (name, bytes) in files {
            std::fs::write(path, bytes).unwrap();
            for split in [999, u64::MAX] {
                assert!(read_pairs(path, split).unwrap() == expected, "{name}");
            }
            let ints = read::<String, i32, _>(path, u64::MAX, |key, value| (key.to_owned(), value));
            assert_eq!(ints.unwrap().last(), Some(&("key 599".to_owned(), 599 * 599)));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn anything_written_is_read_back(
        pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<i64>()), 0..200),
        kind in 0usize..3, codec in 0usize..5, split in 1u64..5000,
    ) {
        with_path(|path| {
            write(path, &pairs, &conf(["NONE", "RECORD", "BLOCK"][kind], CODECS[codec]));
            assert_eq!(read_pairs(path, split).unwrap(), pairs);
        });
    }
}
