#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::Path;

use clap::{Args, FromArgMatches};
use hfs_mapreduce::files::Files;
use hfs_mapreduce::{Job, Result, run_local};

use super::*;

/// Runs one of the three programs here, with its own command line.
fn run<A: Args>(build: impl Fn(A) -> Result<Job>, reduces: u32, arguments: &[&str]) -> Vec<u8> {
    let command = A::augment_args(clap::Command::new("tera").no_binary_name(true));
    let mut matches = command.try_get_matches_from(arguments).unwrap();
    let mut job = build(A::from_arg_matches_mut(&mut matches).unwrap()).unwrap();
    if reduces > 0 {
        job.conf_mut().set(hfs_mapreduce::conf::REDUCES, reduces.to_string());
    }
    run_local(&job, &Files::local(), &|_| ()).unwrap();
    parts(Path::new(arguments[1]))
}

/// What the files of an output hold, in the order of their names.
fn parts(dir: &Path) -> Vec<u8> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.file_name().unwrap().to_str().unwrap().starts_with("part-"));
    names.sort();
    names.iter().flat_map(|name| fs::read(name).unwrap()).collect()
}

#[test]
fn rows_are_those_of_hadoop() {
    let mut random = Random::after(0);
    let mut row = [0; ROW_BYTES];
    let mut sum = 0;
    for number in 0..100_000 {
        write_row(&mut row, number, random.next_number());
        sum += checksum(&row);
        if number == 1 {
            let key = [0x95, 0xe0, 0xe4, 0x82, 0x62, 0xb3, 0xed, 0xfe, 0x04, 0x47];
            let text = b"00000000000000000000000000000001";
            let filler = b"999944448888555 5CCCC77775555555 5BBBB66664444666 6";
            let filler: Vec<u8> = filler.iter().copied().filter(|byte| *byte != b' ').collect();
            assert_eq!(row[..10], key);
            assert_eq!(row[12..44], *text);
            assert_eq!(row[48..96], filler[..]);
        }
    }
    // What Hadoop's TeraValidate says about the 100 000 rows that its TeraGen makes.
    assert_eq!(format!("{sum:x}"), "c327a1c42c28");
}

#[test]
fn made_rows_are_sorted_and_found_to_be_the_same_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = run(generate, 0, &["20k", &path("in"), "--maps", "3"]);
    assert_eq!(made.len(), 20_000 * ROW_BYTES);
    let sorted = run(sort, 4, &[&path("in"), &path("out")]);
    let mut expected: Vec<_> = made.chunks(ROW_BYTES).collect();
    expected.sort();
    assert!(sorted == expected.concat());

    let report = |input: &str| {
        let report = run(validate, 0, &[&path(input), &path(&format!("{input}-report"))]);
        String::from_utf8(report).unwrap()
    };
    let sum = made.chunks(ROW_BYTES).map(checksum).sum::<u128>();
    assert_eq!(report("out"), format!("checksum\t{sum:x}\n"));

    // Rows out of order within a file and files out of order are both found.
    let unsorted = report("in");
    assert!(unsorted.starts_with(&format!("checksum\t{sum:x}\nerror\tmisorder in part-m-0000")));
    fs::create_dir(path("swapped")).unwrap();
    for (from, to) in [("part-r-00001", "part-r-00002"), ("part-r-00002", "part-r-00001")] {
        fs::copy(dir.path().join("out").join(from), dir.path().join("swapped").join(to)).unwrap();
    }
    let swapped = report("swapped");
    assert_eq!(swapped.matches("error\tbad key partitioning:").count(), 1, "{swapped}");
}

#[test]
fn a_file_with_half_a_row_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows");
    fs::write(&file, [0; 150]).unwrap();
    let arguments = ["tera", file.to_str().unwrap(), dir.path().join("out").to_str().unwrap()]
        .map(ToOwned::to_owned);
    let command = clap::Command::new("tera");
    let job = sort::Arguments::from_arg_matches_mut(
        &mut sort::Arguments::augment_args(command).try_get_matches_from(arguments).unwrap(),
    );
    let error = run_local(&sort(job.unwrap()).unwrap(), &Files::local(), &|_| ()).unwrap_err();
    assert!(error.to_string().contains("150 bytes"), "{error}");
}
