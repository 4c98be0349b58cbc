//! Rows made, sorted and checked: Hadoop's TeraGen, TeraSort and TeraValidate, on a cluster or in one process. The sort
//! is held against one in memory, measured in turns with it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::measure::{Row, Samples, Work, in_turns, timed};
use super::report::{Report, Show, Table};
use super::site::JobRun;
use super::{At, Benchmark, limit};
use crate::jobs::tera::{ROW_BYTES, Random, rows, write_row};

/// The most rows: the sort in memory numbers them with 32 bits.
const ROWS_MAX: u64 = u32::MAX as u64;
/// The most maps or reduces.
const TASKS_MAX: u32 = 10_000;
/// The most turns.
const RUNS_MAX: u32 = 1000;
/// What our share of the limit should be.
const GOAL: f64 = 0.6;
/// Bytes compared at once.
const COMPARED_BYTES: usize = 1 << 20;

/// `hfs bench terasort`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Rows of 100 bytes; k, m and b stand for thousands, millions and billions
    #[arg(long, default_value = "1m", value_name = "N", value_parser = rows)]
    rows: u64,
    /// Maps that make them, and so files
    #[arg(long, default_value_t = 2, value_name = "N")]
    maps: u32,
    /// Reduces of the sort
    #[arg(long, default_value_t = 2, value_name = "N")]
    reduces: u32,
    /// Replicas of rows and output; TeraSort's output has one
    #[arg(long, default_value_t = 1, value_name = "N")]
    replication: u16,
    /// Measured turns of each side
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: u32,
    /// Run each job in one process over local files instead of on a cluster
    #[arg(long)]
    local: bool,
}

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    bench: &'static str,
    local: bool,
    rows: u64,
    bytes: u64,
    maps: u32,
    reduces: u32,
    generate_s: f64,
    /// Of each sort, from the start of the driver to its end; the first is not among them.
    sort_s: Vec<f64>,
    sort_median_s: f64,
    sort_mb_per_s: f64,
    spilled_records: i64,
    validate_s: f64,
    /// Of each sort in memory, in turns with the others.
    limit_s: Vec<f64>,
    limit_median_s: f64,
    /// The limit's time over ours.
    share_of_limit: f64,
    /// The last sort.
    job: String,
}

impl Figures {
    fn table(&self) -> Table {
        let mb = |seconds: f64| format!("{:.2}", self.bytes as f64 / 1e6 / seconds.max(1e-9));
        Table::new("TeraSort")
            .line("Rows", self.rows)
            .line("Total MB", format!("{:.2}", self.bytes as f64 / 1e6))
            .line("Maps that made them", self.maps)
            .line("Reduces", self.reduces)
            .line("TeraGen MB/s", mb(self.generate_s))
            .line("TeraSort median, s", format!("{:.3}", self.sort_median_s))
            .line("TeraSort MB/s", format!("{:.2}", self.sort_mb_per_s))
            .line("Spilled records", self.spilled_records)
            .line("TeraValidate MB/s", mb(self.validate_s))
            .line("Sort in memory median, s", format!("{:.3}", self.limit_median_s))
            .line("Share of it", format!("{:.2}", self.share_of_limit))
    }
}

/// The jobs of one run.
struct Runs {
    generate: JobRun,
    /// Of the sort that came last.
    sort: JobRun,
    validate: JobRun,
    ours: Samples,
    limit: Samples,
}

impl Options {
    fn bytes(&self) -> u64 {
        self.rows * ROW_BYTES as u64
    }

    fn figures(&self, runs: &Runs) -> Figures {
        let (ours, limit) = (runs.ours.median(), runs.limit.median());
        let spilled = hfs_mapreduce::TaskCounter::SpilledRecords;
        Figures {
            bench: "terasort",
            local: self.local,
            rows: self.rows,
            bytes: self.bytes(),
            maps: self.maps,
            reduces: self.reduces,
            generate_s: runs.generate.took.as_secs_f64(),
            sort_s: runs.ours.0.clone(),
            sort_median_s: ours,
            sort_mb_per_s: self.bytes() as f64 / 1e6 / ours.max(1e-9),
            spilled_records: runs.sort.counter(spilled.group(), spilled.name()),
            validate_s: runs.validate.took.as_secs_f64(),
            limit_s: runs.limit.0.clone(),
            limit_median_s: limit,
            share_of_limit: limit / ours.max(1e-9),
            job: runs.sort.id.clone(),
        }
    }

    fn row(&self, figures: &Figures) -> Row {
        let place = if self.local { "--local" } else { "on the cluster" };
        Row {
            name: format!("terasort of {} MB {place}", self.bytes() / 1_000_000),
            work: Work::Bytes(self.bytes()),
            ours: Samples(figures.sort_s.clone()),
            peer: Some(("key sort in memory".to_owned(), Samples(figures.limit_s.clone()))),
            goal: Some(GOAL),
        }
    }
}

impl Benchmark for Options {
    const DIR: &'static str = "TeraSort";

    fn check(&self, _: bool) -> Result<()> {
        ensure!(
            (1..=ROWS_MAX).contains(&self.rows),
            "--rows is {}, but must be 1 to {ROWS_MAX}",
            self.rows
        );
        for (name, number, most) in [
            ("--maps", self.maps, TASKS_MAX),
            ("--reduces", self.reduces, TASKS_MAX),
            ("--runs", self.runs, RUNS_MAX),
        ] {
            ensure!((1..=most).contains(&number), "{name} is {number}, but must be 1 to {most}");
        }
        ensure!(self.replication > 0, "--replication is 0; a file has at least one replica");
        Ok(())
    }

    fn is_local(&self) -> bool {
        self.local
    }

    /// The output must be that of the sort in memory, byte for byte, and TeraValidate must find the rows that TeraGen
    /// has made.
    fn run(&self, at: &At<'_>, show: Show<'_>) -> Result<Vec<String>> {
        let site = at.site;
        let path = |name: &str| format!("{}/{name}", at.dir);
        let (made, sorted, report) = (path("rows"), path("sorted"), path("report"));
        let properties = [
            format!("dfs.replication={}", self.replication),
            format!("mapreduce.job.reduces={}", self.reduces),
        ];
        let job = |words: &[&str], given: &[(&str, String)]| site.job(&properties, words, given);
        [&made, &sorted, &report].into_iter().try_for_each(|dir| site.remove(dir))?;
        let maps = [("--maps", self.maps.to_string())];
        let generate = job(&["teragen", &self.rows.to_string(), &made], &maps)?;

        let (input, output) = (at.scratch.join("limit-rows"), at.scratch.join("limit-sorted"));
        write_rows(&input, self.rows)?;
        let mut sorts = Vec::new();
        let ours = || -> Result<Duration> {
            site.remove(&sorted)?;
            let run = job(&["terasort", &made, &sorted], &[])?;
            let took = run.took;
            sorts.push(run);
            Ok(took)
        };
        let peer =
            || timed(|| limit::key_sort(&input, &output).context("the sort in memory failed"));
        let (ours, limit) = in_turns(self.runs as usize, ours, peer)?;
        site.read_parts(&sorted, |parts| compare(parts, &output))?;
        for file in [&input, &output] {
            std::fs::remove_file(file)
                .with_context(|| format!("cannot remove {}", file.display()))?;
        }

        let validate = job(&["teravalidate", &sorted, &report], &[])?;
        let mut said = String::new();
        site.read_parts(&report, |parts| Ok(parts.read_to_string(&mut said)?))?;
        check_report(&said, generate.counter("TeraGen", "CHECKSUM"))?;
        let Some(sort) = sorts.last().cloned() else { bail!("nothing was sorted") };
        let ids = [&generate].into_iter().chain(&sorts).chain([&validate]);
        let jobs = ids.map(|run| run.id.clone()).collect();
        let figures = self.figures(&Runs { generate, sort, validate, ours, limit });
        show(Report::new(&figures.table(), &figures)?)?;
        show(Report::of_row(&self.row(&figures))?)?;
        Ok(jobs)
    }
}

/// Writes TeraGen's rows into a local file.
fn write_rows(path: &Path, rows: u64) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(COMPARED_BYTES, File::create(path)?);
        let (mut random, mut row) = (Random::after(0), [0; ROW_BYTES]);
        for number in 0..rows {
            write_row(&mut row, number, random.next_number());
            out.write_all(&row)?;
        }
        out.flush()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Fails unless `parts` give the bytes of the file.
fn compare(parts: &mut dyn Read, file: &Path) -> Result<()> {
    let name = file.display();
    let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
    let mut expected = BufReader::with_capacity(COMPARED_BYTES, opened);
    let (mut ours, mut theirs) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    let mut at = 0;
    loop {
        let got = parts.read(&mut ours).context("the sorted rows can't be read")?;
        if got == 0 {
            break;
        }
        let read = expected.read_exact(&mut theirs[..got]);
        ensure!(
            read.is_ok() && ours[..got] == theirs[..got],
            "the sorted rows are not those of the sort in memory, somewhere in {got} bytes from byte {at}"
        );
        at += got as u64;
    }
    let rest = expected.read(&mut theirs).with_context(|| format!("cannot read {name}"))?;
    ensure!(rest == 0, "the sorted rows end after {at} bytes, before those of the sort in memory");
    Ok(())
}

/// Fails unless TeraValidate has found nothing wrong, and the checksum whose low half TeraGen counted.
fn check_report(said: &str, made: i64) -> Result<()> {
    let sum = said.trim_end().strip_prefix("checksum\t");
    let sum = sum.and_then(|sum| u128::from_str_radix(sum, 16).ok());
    let Some(sum) = sum else { bail!("teravalidate found: {}", said.trim_end()) };
    ensure!(
        sum as i64 == made,
        "teravalidate found rows with the checksum {sum:x}, but teragen made others: {made:x}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_that_are_others_or_fewer_or_more_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rows");
        write_rows(&file, 30).unwrap();
        let rows = std::fs::read(&file).unwrap();
        assert_eq!(rows.len(), 30 * ROW_BYTES);
        compare(&mut &rows[..], &file).unwrap();
        for wrong in [&rows[..2900], &rows[1..], &[&rows[..], b"x"].concat(), b""] {
            assert!(compare(&mut &wrong[..], &file).is_err());
        }
    }

    #[test]
    fn a_report_is_of_the_rows_that_were_made_or_an_error() {
        check_report("checksum\t1000000000000002a\n", 42).unwrap();
        assert!(check_report("checksum\t2b\n", 42).is_err());
        let wrong =
            check_report("error\tmisorder in part-r-00000\nchecksum\t2a\n", 42).unwrap_err();
        assert!(wrong.to_string().contains("misorder"), "{wrong}");
        assert!(check_report("", 42).is_err());
    }
}
