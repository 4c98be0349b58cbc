//! Operations on names by the maps of a job, all at once: Hadoop's `NNBench`, its figures and its lines. Held against
//! an echo of the same messages.
//!
//! One thing is other than there: a map that comes too late for the common beginning works all the same, so that every
//! file is there for the next operation. The number of such maps is told.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hfs_daemon::config::{parse_duration, parse_size};
use serde::Serialize;

use super::measure::{Row, Samples, Work, timed};
use super::meta::{CHANGE_BYTES, READ_BYTES};
use super::peers;
use super::report::{Report, Show, Table};
use super::site::Site;
use super::{At, Benchmark, check_operations};
use crate::jobs::bench::names::{MapNames, Operation};
use crate::jobs::bench::{Operation as _, epoch_us};

/// The most maps.
const MAPS_MAX: u32 = 10_000;
/// The most bytes of a file: each map holds them.
const BYTES_MAX: u64 = 1 << 30;
/// Block sizes are a multiple of the checksum chunk.
const CHUNK: u64 = 512;
/// Maps that the echo has a connection for; more would be threads without end.
const CONNECTIONS_MAX: usize = 256;

/// `hfs bench nnbench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to do, one after the other
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "OPERATION,...",
        default_values = ["create_write", "open_read", "rename", "delete"]
    )]
    operations: Vec<Operation>,
    /// Maps
    #[arg(long, default_value_t = 4, value_name = "N")]
    maps: u32,
    /// Files of each map
    #[arg(long, default_value_t = 1000, value_name = "N")]
    files: u64,
    /// Bytes of each file
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = parse_size)]
    bytes: u64,
    /// Bytes of a block [default: the file system's]
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    block_size: Option<u64>,
    /// Replicas
    #[arg(long, default_value_t = 1, value_name = "N")]
    replication: u16,
    /// open_read reads what it has opened
    #[arg(long)]
    read: bool,
    /// How long after a job was started its maps begin
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = parse_duration)]
    barrier: Duration,
}

/// The figures of one operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    bench: &'static str,
    operation: Operation,
    maps: usize,
    files_per_map: u64,
    succeeded: u64,
    errors: u64,
    late_maps: usize,
    /// Operations (of create_write: two for each file, as `NNBench` counts) from the first map's beginning to the last
    /// one's end, by second.
    tps: f64,
    /// The maps' times over the operations, retries included.
    average_exec_ms: f64,
    average_first_ms: f64,
    average_second_ms: f64,
    /// From the first map's beginning to the last one's end.
    window_s: f64,
    exec_s: f64,
    job: String,
}

fn figures(
    operation: Operation,
    files: u64,
    maps: &[MapNames],
    exec_s: f64,
    job: String,
) -> Figures {
    let sum = |of: fn(&MapNames) -> u64| maps.iter().map(of).sum::<u64>();
    let succeeded = sum(|map| map.succeeded);
    let begun = maps.iter().map(|map| map.start_us).min().unwrap_or(0);
    let ended = maps.iter().map(|map| map.end_us).max().unwrap_or(0);
    let window_s = ended.saturating_sub(begun).max(1) as f64 / 1e6;
    let worked_us = sum(|map| map.end_us.saturating_sub(map.start_us));
    let each_ms = |total_ms: f64| if succeeded > 0 { total_ms / succeeded as f64 } else { 0.0 };
    let counted = match operation {
        Operation::CreateWrite => 2 * succeeded,
        _ => succeeded,
    };
    Figures {
        bench: "nnbench",
        operation,
        maps: maps.len(),
        files_per_map: files,
        succeeded,
        errors: sum(|map| map.errors),
        late_maps: maps.iter().filter(|map| map.late).count(),
        tps: counted as f64 / window_s,
        average_exec_ms: each_ms(worked_us as f64 / 1e3),
        average_first_ms: each_ms(sum(|map| map.first_nanos) as f64 / 1e6),
        average_second_ms: each_ms(sum(|map| map.second_nanos) as f64 / 1e6),
        window_s,
        exec_s,
        job,
    }
}

impl Figures {
    fn table(&self, options: &Options) -> Table {
        let (both, first, second) = match self.operation {
            Operation::CreateWrite => ("Create/Write/Close", "Create/Write", Some("Close")),
            Operation::OpenRead => ("Open/Read", "Open", options.read.then_some("Read")),
            Operation::Rename => ("Rename", "Rename", None),
            Operation::Delete => ("Delete", "Delete", None),
        };
        let mut table = Table::new("NNBench")
            .line("Test Operation", self.operation.word())
            .line("Maps to run", self.maps)
            .line("Bytes to write", options.bytes)
            .line("Number of files", self.files_per_map)
            .line("Replication factor", options.replication)
            .line("Successful file operations", self.succeeded)
            .line("# maps that missed the barrier", self.late_maps)
            .line("# exceptions", self.errors)
            .line(format!("TPS: {both}"), format!("{:.0}", self.tps))
            .line(format!("Avg exec time (ms): {both}"), format!("{:.3}", self.average_exec_ms))
            .line(format!("Avg Lat (ms): {first}"), format!("{:.3}", self.average_first_ms));
        if let Some(second) = second {
            table = table
                .line(format!("Avg Lat (ms): {second}"), format!("{:.3}", self.average_second_ms));
        }
        table.line("Test exec time sec", format!("{:.2}", self.exec_s))
    }
}

impl Benchmark for Options {
    const DIR: &'static str = "NNBench";

    fn check(&self, found: bool) -> Result<()> {
        ensure!(
            (1..=MAPS_MAX).contains(&self.maps),
            "--maps is {}, but must be 1 to {MAPS_MAX}",
            self.maps
        );
        ensure!(self.files > 0, "--files is 0; give each map at least a file");
        ensure!(
            self.bytes <= BYTES_MAX,
            "--bytes is {}, but a map holds its file in memory, so at most {BYTES_MAX}",
            self.bytes
        );
        ensure!(self.replication > 0, "--replication is 0; a file has at least one replica");
        if let Some(size) = self.block_size {
            ensure!(
                size > 0 && size % CHUNK == 0,
                "--block-size is {size}, but must be a multiple of the {CHUNK} bytes that a checksum is for"
            );
        }
        check_operations(&self.operations, found)
    }

    /// One job for each operation; it is wrong when an operation did not succeed for every file, or names are not
    /// there afterwards.
    fn run(&self, at: &At<'_>, show: Show<'_>) -> Result<Vec<String>> {
        let (site, data) = (at.site, format!("{}/data", at.dir));
        let all = u64::from(self.maps) * self.files;
        let mut jobs = Vec::new();
        for operation in &self.operations {
            if *operation == Operation::MAKES {
                site.remove(&data)?;
            }
            let renamed = *operation != Operation::MAKES
                && site.hfs(&["test", "-e", &format!("{data}/file_0_0.renamed")]).is_ok();
            let mut words = vec!["nnbench", operation.word()];
            words.extend(self.read.then_some("--read"));
            words.extend(renamed.then_some("--renamed"));
            let (run, maps) = at.measure::<MapNames>(&[], &words, &self.given(&data))?;
            let took = run.took.as_secs_f64();
            let figures = figures(*operation, self.files, &maps, took, run.id.clone());
            show(Report::new(&figures.table(self), &figures)?)?;
            if figures.succeeded != all {
                let first = maps.into_iter().find_map(|map| map.first_error).unwrap_or_default();
                bail!(
                    "{} did not succeed for {} of {all} files: {first}",
                    operation.word(),
                    all - figures.succeeded
                );
            }
            check_names(site, *operation, renamed, all, &data)?;
            show(Report::of_row(&against_echo(&figures)?)?)?;
            jobs.push(run.id);
        }
        Ok(jobs)
    }
}

impl Options {
    /// The options of a job that is started now.
    fn given(&self, data: &str) -> Vec<(&'static str, String)> {
        let barrier_us = u64::try_from(self.barrier.as_micros()).unwrap_or(u64::MAX);
        let mut given = vec![
            ("--maps", self.maps.to_string()),
            ("--files", self.files.to_string()),
            ("--bytes", self.bytes.to_string()),
            ("--replication", self.replication.to_string()),
            ("--start-us", epoch_us().saturating_add(barrier_us).to_string()),
            ("--dir", data.to_owned()),
        ];
        given.extend(self.block_size.map(|size| ("--block-size", size.to_string())));
        given
    }
}

/// Looks whether the namenode has done what it said.
fn check_names(
    site: &Site,
    operation: Operation,
    renamed: bool,
    all: u64,
    data: &str,
) -> Result<()> {
    let listed = site.hfs(&["ls", "-C", data])?;
    let names: Vec<&[u8]> =
        listed.split(|byte| *byte == b'\n').filter(|name| !name.is_empty()).collect();
    let is_new = operation == Operation::Rename || renamed;
    let right = names.iter().filter(|name| name.ends_with(b".renamed") == is_new).count() as u64;
    let expected = if operation == Operation::Delete { 0 } else { all };
    ensure!(
        names.len() as u64 == expected && right == expected,
        "after {} there are {} names in {data}, {right} of them right, not {expected}",
        operation.word(),
        names.len()
    );
    Ok(())
}

/// The same number of messages of the same sizes, with nothing done for them.
fn against_echo(figures: &Figures) -> Result<Row> {
    let (messages, sizes, goal) = match figures.operation {
        Operation::CreateWrite => (2, CHANGE_BYTES, 0.35),
        Operation::OpenRead => (1, READ_BYTES, 0.5),
        Operation::Rename | Operation::Delete => (1, CHANGE_BYTES, 0.35),
    };
    let connections = figures.maps.clamp(1, CONNECTIONS_MAX);
    let each = (figures.succeeded * messages).div_ceil(connections as u64);
    let each = usize::try_from(each).context("more operations than the echo can count")?;
    let echo = timed(|| peers::echo(connections, each, sizes.0, sizes.1))?;
    Ok(Row {
        name: format!("{} by {} maps", figures.operation.word(), figures.maps),
        work: Work::Operations(figures.succeeded),
        ours: Samples(vec![figures.window_s]),
        peer: Some(("TCP echo".to_owned(), Samples(vec![echo.as_secs_f64()]))),
        goal: Some(goal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(start_us: u64, end_us: u64, late: bool) -> MapNames {
        MapNames {
            succeeded: 100,
            errors: u64::from(late),
            late,
            start_us,
            end_us,
            first_nanos: 50_000_000,
            second_nanos: 25_000_000,
            ..MapNames::default()
        }
    }

    #[test]
    fn figures_are_those_of_nnbench() {
        let maps = [map(1_000_000, 1_400_000, false), map(1_200_000, 2_000_000, true)];
        let create = figures(Operation::CreateWrite, 100, &maps, 3.0, String::new());
        assert_eq!((create.succeeded, create.errors, create.late_maps), (200, 1, 1));
        assert!((create.window_s - 1.0).abs() < 1e-9);
        assert!((create.tps - 400.0).abs() < 1e-6, "a create is two operations: {}", create.tps);
        assert!((create.average_exec_ms - 6.0).abs() < 1e-9);
        assert!((create.average_first_ms - 0.5).abs() < 1e-9);
        assert!((create.average_second_ms - 0.25).abs() < 1e-9);
        let rename = figures(Operation::Rename, 100, &maps, 3.0, String::new());
        assert!((rename.tps - 200.0).abs() < 1e-6);
        let none = figures(Operation::Delete, 100, &[], 0.0, String::new());
        assert_eq!((none.tps, none.average_exec_ms), (0.0, 0.0));
    }
}
