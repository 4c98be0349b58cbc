//! Throughput of the file system seen by the tasks of a job, a file a task: Hadoop's `TestDFSIO`, its figures and its
//! lines.

use anyhow::{Result, bail, ensure};
use hfs_daemon::config::parse_size;
use serde::Serialize;

use super::report::{Report, Show, Table};
use super::{At, Benchmark, check_operations};
use crate::jobs::bench::Operation as _;
use crate::jobs::bench::io::{FileIo, Operation};

/// A mebibyte, which `TestDFSIO` calls MB.
const MB: f64 = (1 << 20) as f64;
/// The largest buffer.
const BUFFER_MAX: u64 = 1 << 30;
/// The most files: each is a map.
const FILES_MAX: u32 = 100_000;

/// `hfs bench dfsio`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to do, one after the other
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "OPERATION,...",
        default_values = ["write", "append", "read", "random-read"]
    )]
    operations: Vec<Operation>,
    /// Files, each of a map of its own
    #[arg(long, default_value_t = 4, value_name = "N")]
    files: u32,
    /// Bytes that each map writes or reads
    #[arg(long, default_value = "64m", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// Bytes of each call
    #[arg(long, default_value = "1m", value_name = "BYTES", value_parser = parse_size)]
    buffer: u64,
    /// Bytes that skip-read leaves out each time
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = parse_size)]
    skip: u64,
    /// Replicas [default: the file system's]
    #[arg(long, value_name = "N")]
    replication: Option<u16>,
}

/// The figures of one operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    bench: &'static str,
    operation: Operation,
    files: usize,
    bytes: u64,
    calls: u64,
    /// All bytes over the sum of the maps' times.
    throughput_mb_per_s: f64,
    /// The mean of the maps' rates.
    average_io_rate_mb_per_s: f64,
    io_rate_std_deviation: f64,
    slowest_mb_per_s: f64,
    fastest_mb_per_s: f64,
    /// From the start of the driver to its end.
    exec_s: f64,
    job: String,
}

/// Adds up what the maps have measured.
fn figures(operation: Operation, files: &[FileIo], exec_s: f64, job: String) -> Figures {
    let seconds = |file: &FileIo| file.nanos.max(1) as f64 / 1e9;
    let rates: Vec<f64> = files.iter().map(|file| file.bytes as f64 / MB / seconds(file)).collect();
    let count = files.len().max(1) as f64;
    let bytes = files.iter().map(|file| file.bytes).sum::<u64>();
    let time = files.iter().map(seconds).sum::<f64>();
    let mean = rates.iter().sum::<f64>() / count;
    // Of the whole population: the files are all there are.
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    Figures {
        bench: "dfsio",
        operation,
        files: files.len(),
        bytes,
        calls: files.iter().map(|file| file.calls).sum(),
        throughput_mb_per_s: if time > 0.0 { bytes as f64 / MB / time } else { 0.0 },
        average_io_rate_mb_per_s: mean,
        io_rate_std_deviation: variance.sqrt(),
        slowest_mb_per_s: rates.iter().copied().reduce(f64::min).unwrap_or(0.0),
        fastest_mb_per_s: rates.iter().copied().reduce(f64::max).unwrap_or(0.0),
        exec_s,
        job,
    }
}

impl Figures {
    fn table(&self) -> Table {
        Table::new(format!("TestDFSIO : {}", self.operation.word()))
            .line("Number of files", self.files)
            .line("Total MBytes processed", format!("{:.2}", self.bytes as f64 / MB))
            .line("Throughput mb/sec", format!("{:.2}", self.throughput_mb_per_s))
            .line("Average IO rate mb/sec", format!("{:.2}", self.average_io_rate_mb_per_s))
            .line("IO rate std deviation", format!("{:.2}", self.io_rate_std_deviation))
            .line("Test exec time sec", format!("{:.2}", self.exec_s))
    }
}

impl Benchmark for Options {
    const DIR: &'static str = "TestDFSIO";

    fn check(&self, found: bool) -> Result<()> {
        ensure!(
            (1..=FILES_MAX).contains(&self.files),
            "--files is {}, but must be 1 to {FILES_MAX}",
            self.files
        );
        ensure!(self.size > 0, "--size is 0; give each file at least a byte");
        ensure!(
            (1..=BUFFER_MAX).contains(&self.buffer),
            "--buffer is {} bytes, but must be 1 to {BUFFER_MAX}",
            self.buffer
        );
        ensure!(self.replication != Some(0), "--replication is 0; a file has at least one replica");
        if self.skip > 0 && !self.operations.contains(&Operation::SkipRead) {
            bail!("--skip is for the operation skip-read, which --operations does not name");
        }
        check_operations(&self.operations, found)
    }

    /// One job for each operation; it fails, among others, because a map read other bytes than were written.
    fn run(&self, at: &At<'_>, show: Show<'_>) -> Result<Vec<String>> {
        let replication = self.replication.map(|replicas| format!("dfs.replication={replicas}"));
        let properties: Vec<String> = replication.into_iter().collect();
        let given = [
            ("--files", self.files.to_string()),
            ("--bytes", self.size.to_string()),
            ("--buffer", self.buffer.to_string()),
            ("--skip", self.skip.to_string()),
            ("--dir", format!("{}/io_data", at.dir)),
        ];
        let mut jobs = Vec::new();
        for operation in &self.operations {
            let (run, files) = at.measure(&properties, &["dfsio", operation.word()], &given)?;
            let figures = figures(*operation, &files, run.took.as_secs_f64(), run.id.clone());
            show(Report::new(&figures.table(), &figures)?)?;
            jobs.push(run.id);
        }
        Ok(jobs)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(mb: u64, ms: u64) -> FileIo {
        FileIo { file: String::new(), bytes: mb << 20, calls: mb, nanos: ms * 1_000_000 }
    }

    #[test]
    fn figures_are_those_of_testdfsio() {
        // Rates 10, 20 and 30 MB/s; 80 MB in 3 s + 1 s + 1 s.
        let files = [file(30, 3_000), file(20, 1_000), file(30, 1_000)];
        let figures = figures(Operation::Write, &files, 3.5, "job_1_0001".to_owned());
        assert_eq!((figures.files, figures.bytes, figures.calls), (3, 80 << 20, 80));
        assert!((figures.throughput_mb_per_s - 16.0).abs() < 1e-9);
        assert!((figures.average_io_rate_mb_per_s - 20.0).abs() < 1e-9);
        assert!((figures.io_rate_std_deviation - (200.0f64 / 3.0).sqrt()).abs() < 1e-9);
        assert_eq!((figures.slowest_mb_per_s, figures.fastest_mb_per_s), (10.0, 30.0));
        let said = figures.table().to_string();
        for line in [
            "TestDFSIO : write",
            "     Throughput mb/sec: 16.00",
            "Average IO rate mb/sec: 20.00",
            "    Test exec time sec: 3.50",
        ] {
            assert!(said.contains(line), "{line:?} is not in\n{said}");
        }
    }

    #[test]
    fn nothing_measured_is_no_division_by_nothing() {
        let none = figures(Operation::Read, &[], 0.0, String::new());
        assert_eq!((none.throughput_mb_per_s, none.io_rate_std_deviation), (0.0, 0.0));
        let quick = figures(Operation::Read, &[file(0, 0)], 0.0, String::new());
        assert!(quick.throughput_mb_per_s.is_finite());
    }
}
