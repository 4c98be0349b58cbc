//! Files written here and read back, and files that another program wrote are in `tests/parquet`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::conf::{self, Conf};
use crate::files::Files;
use crate::input::{BatchReader, InputFormat, SplitContext};
use crate::local::run_local;
use crate::output::{OutputFormat, RecordWriter};
use crate::record::Text;
use crate::{Emit, Job, Mapper, Result, Sum};

type Cells = (Option<i64>, (f64, bool));

const SCHEMA: &str = "message rows {
    required binary name (STRING);
    optional int64 size;
    required double ratio;
    required boolean odd;
}";

fn name(number: usize) -> String {
    format!("name {}", number % 97)
}

fn size(number: usize) -> Option<i64> {
    (!number.is_multiple_of(5)).then_some(number as i64 - 50)
}

/// Writes rows with the numbers from 0 on, in row groups of about `block` bytes.
fn write(path: &Path, rows: usize, block: &str, compression: &str) {
    let conf: Conf = [(BLOCK_SIZE, block), (COMPRESSION, compression)].into_iter().collect();
    let file = Files::local().create(path.to_str().unwrap()).unwrap();
    let output = ParquetOutput::new(SCHEMA).unwrap();
    let mut writer = OutputFormat::<String, Cells>::writer(&output, file, &conf).unwrap();
    for number in 0..rows {
        let cells = (size(number), (number as f64 / 4.0, number % 2 == 1));
        RecordWriter::<String, Cells>::write(&mut writer, &name(number), cells).unwrap();
    }
    let bytes = RecordWriter::<String, Cells>::close(writer).unwrap();
    assert_eq!(bytes, std::fs::metadata(path).unwrap().len());
}

/// All rows of a directory, read in splits of `split` bytes; also how many splits there were.
fn read(dir: &Path, input: &ParquetInput, split: &str) -> Result<(Vec<serde_json::Value>, usize)> {
    let conf: Conf = [(conf::SPLIT_MAX_BYTES, split)].into_iter().collect();
    let files = Files::local();
    let inputs = [dir.to_str().unwrap().to_owned()];
    let context = SplitContext { files: &files, conf: &conf, inputs: &inputs, parallelism: None };
    let splits = input.splits(&context)?;
    let mut rows = Vec::new();
    for split in &splits {
        let mut reader = input.open(split, &files, &conf)?;
        let mut records = 0;
        while let Some(batch) = reader.next_batch()? {
            for row in batch {
                rows.push(row.to_json());
                records += 1;
            }
        }
        assert!((reader.fraction() - 1.0).abs() < 1e-9);
        assert_eq!(reader.take_counts().records, records);
    }
    Ok((rows, splits.len()))
}

#[test]
fn rows_read_back_once_however_the_file_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    for compression in ["UNCOMPRESSED", "SNAPPY", "GZIP", "LZ4_RAW"] {
        let path = dir.path().join("rows.parquet");
        write(&path, 20_000, "100000", compression);
        let length = std::fs::metadata(&path).unwrap().len();
        for split in [length / 7, length / 3, length * 2] {
            let (rows, splits) =
                read(dir.path(), &ParquetInput::default(), &split.to_string()).unwrap();
            assert!(splits as u64 >= length / split / 2, "{splits} splits");
            assert_eq!(rows.len(), 20_000, "{compression} {split}");
            // Splits come in no order.
            let mut ratios: Vec<_> =
                rows.iter().map(|row| row["ratio"].as_f64().unwrap()).collect();
            ratios.sort_by(f64::total_cmp);
            assert!(ratios.iter().enumerate().all(|(number, ratio)| *ratio == number as f64 / 4.0));
            for row in &rows {
                let number = (row["ratio"].as_f64().unwrap() * 4.0) as usize;
                assert_eq!(row["name"], name(number));
                assert_eq!(row["size"].as_i64(), size(number));
                assert_eq!(row["odd"], number % 2 == 1);
            }
        }
    }
}

#[test]
fn columns_that_are_not_asked_for_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a"), 10, "1000000", "SNAPPY");
    let (rows, _) = read(dir.path(), &ParquetInput::columns(["odd", "name"]), "1000000").unwrap();
    assert_eq!(rows[1], serde_json::json!({"name": "name 1", "odd": true}));
    let error = read(dir.path(), &ParquetInput::columns(["colour"]), "1000000").unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("no column 'colour'; it has name, size, ratio, odd"), "{error}");
}

#[derive(Clone)]
struct Sizes;

impl Mapper for Sizes {
    type Input = ParquetInput;
    type Key = Text;
    type Value = i64;

    fn map(&mut self, row: ParquetRow<'_>, out: &mut impl Emit<Text, i64>) -> Result<()> {
        assert_eq!(row.bytes("name")?, row.text("name")?.map(str::as_bytes));
        for (column, error) in [("name", row.long("name")), ("ratio", row.long("ratio"))] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(column) && error.contains("whole number"), "{error}");
        }
        assert!(row.get("none").unwrap_err().to_string().contains("'none'"));
        assert!(row.double("ratio")?.is_some() && row.boolean("odd")?.is_some());
        match (row.text("name")?, row.long("size")?) {
            (Some(name), Some(size)) => out.emit(name.as_bytes(), size),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_job_reads_rows_and_writes_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("in")).unwrap();
    write(&path("in/a"), 3000, "20000", "SNAPPY");
    write(&path("in/b"), 1000, "20000", "GZIP");
    let schema = "message sums { required binary name (STRING); required int64 sum; }";
    let job = Job::map(Sizes)
        .combine(Sum)
        .reduce(Sum)
        .output_format(ParquetOutput::new(schema).unwrap())
        .reduces(1)
        .input(path("in").to_str().unwrap())
        .output(path("out").to_str().unwrap())
        .build()
        .unwrap();
    run_local(&job, &Files::local(), &|_| {}).unwrap();
    assert!(path("out/part-r-00000.parquet").exists());
    let (rows, _) = read(&path("out"), &ParquetInput::default(), "1000000").unwrap();
    let mut expected = BTreeMap::new();
    for number in (0..3000).chain(0..1000) {
        *expected.entry(name(number)).or_insert(0) += size(number).unwrap_or(0);
    }
    let sums = rows
        .iter()
        .map(|row| (row["name"].as_str().unwrap().to_owned(), row["sum"].as_i64().unwrap()));
    assert_eq!(sums.collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn records_that_do_not_fit_the_schema_are_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x").to_str().unwrap().to_owned();
    let refused = |schema: &str, key: &[u8], value: Option<i64>| {
        let file = Files::local().create(&path).unwrap();
        let output = ParquetOutput::new(schema).unwrap();
        let mut writer =
            OutputFormat::<Text, Option<i64>>::writer(&output, file, &Conf::default()).unwrap();
        let error = RecordWriter::<Text, Option<i64>>::write(&mut writer, key, value);
        error.unwrap_err().to_string()
    };
    let two = "message m { required binary a (STRING); required int32 b; }";
    assert!(refused(two, b"x", None).contains("'b' of the schema can't hold a null"));
    assert!(refused(two, b"x", Some(1 << 40)).contains("too large"));
    assert!(refused(two, b"\xff", Some(1)).contains("not UTF-8"));
    assert!(refused("message m { required binary a; }", b"x", Some(1)).contains("more columns"));
    let three = "message m { required binary a; optional int64 b; optional int64 c; }";
    assert!(refused(three, b"x", Some(1)).contains("the next one would be 'c'"));
    assert!(refused("message m { required double a; }", b"x", Some(1)).contains("text or bytes"));
    assert!(refused("message m { required binary a (UTF8); }", b"\xff", Some(1)).contains("UTF-8"));
    for schema in [
        "message m { repeated int32 a; }",
        "message m { required int32 a (INTEGER(8,true)); }",
        "message m { }",
        "table t",
        "",
    ] {
        assert!(ParquetOutput::new(schema).is_err(), "{schema}");
    }
    let conf: Conf = [(COMPRESSION, "BEST")].into_iter().collect();
    let file = Files::local().create(&path).unwrap();
    let output = ParquetOutput::new(two).unwrap();
    let error = OutputFormat::<Text, i64>::writer(&output, file, &conf).err().unwrap();
    assert!(error.to_string().contains("BEST") && error.to_string().contains("SNAPPY"), "{error}");
}

#[test]
fn damaged_files_are_errors_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    write(&path, 5000, "50000", "SNAPPY");
    let whole = std::fs::read(&path).unwrap();
    let all = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read(dir.path(), &ParquetInput::default(), "100000000")
    };
    for bytes in [&b"not Parquet at all"[..], b"PAR1", &whole[..whole.len() / 2]] {
        let error = format!("{:#}", all(bytes).unwrap_err());
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    // Whatever byte is another one: rows, or an error, and no panic that takes the process along.
    for at in (0..whole.len()).step_by(whole.len() / 50) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let _ = std::panic::catch_unwind(|| all(&bytes));
    }
}
