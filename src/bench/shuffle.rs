//! Throughput of the shuffle: records of given sizes from every map to every reduce, counted and thrown away there.

use anyhow::{Context, Result, ensure};
use hfs_daemon::config::parse_size;
use hfs_mapreduce::TaskCounter;
use serde::Serialize;
use serde_json::Value;

use super::report::{Report, Show, Table};
use super::site::{JobRun, Site};
use super::{At, Benchmark};
use crate::jobs::bench::shuffle::{GROUP, MADE, MADE_SUM, Partition, SEEN, SEEN_SUM};

/// The most maps or reduces.
const TASKS_MAX: u32 = 10_000;
/// The most bytes of a key or a value.
const FIELD_MAX: u64 = 1 << 20;
/// The most records: so many checksums add up without overflow.
const RECORDS_MAX: u64 = 1 << 31;

/// `hfs bench shuffle`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Maps
    #[arg(long, default_value_t = 4, value_name = "N")]
    maps: u32,
    /// Reduces
    #[arg(long, default_value_t = 4, value_name = "N")]
    reduces: u32,
    /// Bytes of keys and values that each map makes
    #[arg(long, default_value = "64m", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// Bytes of a key
    #[arg(long, default_value = "10", value_name = "BYTES", value_parser = parse_size)]
    key_bytes: u64,
    /// Bytes of a value
    #[arg(long, default_value = "90", value_name = "BYTES", value_parser = parse_size)]
    value_bytes: u64,
}

impl Options {
    /// Records of each map.
    fn records(&self) -> u64 {
        self.size / (self.key_bytes + self.value_bytes).max(1)
    }
}

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    bench: &'static str,
    maps: u32,
    reduces: u32,
    records: i64,
    /// What reduces took over, with all that is around the records.
    shuffled_bytes: i64,
    /// From the end of the first map to the moment when the last reduce had all its input, merged.
    shuffle_s: f64,
    shuffle_mb_per_s: f64,
    /// Of that, what came after the end of the last map.
    after_maps_s: f64,
    exec_s: f64,
    job: String,
}

/// `map_ends_ms` and the partitions' times are of one clock, or of synchronous ones.
fn figures(
    options: &Options,
    run: &JobRun,
    map_ends_ms: &[u64],
    partitions: &[Partition],
) -> Figures {
    let shuffled_us = partitions.iter().map(|p| p.shuffled_us).max().unwrap_or(0);
    let since_s = |ms: Option<&u64>| {
        let begun_us = ms.copied().unwrap_or(0).saturating_mul(1000);
        shuffled_us.saturating_sub(begun_us) as f64 / 1e6
    };
    let bytes = TaskCounter::ReduceShuffleBytes;
    let shuffled_bytes = run.counter(bytes.group(), bytes.name());
    let shuffle_s = since_s(map_ends_ms.iter().min());
    Figures {
        bench: "shuffle",
        maps: options.maps,
        reduces: options.reduces,
        records: run.counter(GROUP, SEEN),
        shuffled_bytes,
        shuffle_s,
        shuffle_mb_per_s: shuffled_bytes as f64 / 1e6 / shuffle_s.max(1e-3),
        after_maps_s: since_s(map_ends_ms.iter().max()),
        exec_s: run.took.as_secs_f64(),
        job: run.id.clone(),
    }
}

impl Figures {
    fn table(&self) -> Table {
        Table::new("Shuffle")
            .line("Maps", self.maps)
            .line("Reduces", self.reduces)
            .line("Records", self.records)
            .line("Shuffled MB", format!("{:.2}", self.shuffled_bytes as f64 / 1e6))
            .line(
                "From the first map's end to the last reduce's input, s",
                format!("{:.3}", self.shuffle_s),
            )
            .line("Of that after the last map's end, s", format!("{:.3}", self.after_maps_s))
            .line("Shuffle throughput MB/s", format!("{:.2}", self.shuffle_mb_per_s))
            .line("Test exec time sec", format!("{:.2}", self.exec_s))
    }
}

impl Benchmark for Options {
    const DIR: &'static str = "Shuffle";

    fn check(&self, _: bool) -> Result<()> {
        for (name, number) in [("--maps", self.maps), ("--reduces", self.reduces)] {
            ensure!(
                (1..=TASKS_MAX).contains(&number),
                "{name} is {number}, but must be 1 to {TASKS_MAX}"
            );
        }
        let is_field = |bytes, least| (least..=FIELD_MAX).contains(&bytes);
        ensure!(
            is_field(self.key_bytes, 1),
            "--key-bytes is {}, but must be 1 to {FIELD_MAX}",
            self.key_bytes
        );
        ensure!(
            is_field(self.value_bytes, 0),
            "--value-bytes is {}, but must be at most {FIELD_MAX}",
            self.value_bytes
        );
        ensure!(
            self.size >= self.key_bytes + self.value_bytes,
            "--size is {} bytes, less than one record of {}",
            self.size,
            self.key_bytes + self.value_bytes
        );
        let records = self.records().saturating_mul(u64::from(self.maps));
        ensure!(
            records <= RECORDS_MAX,
            "these are {records} records, but at most {RECORDS_MAX} can be checked"
        );
        Ok(())
    }

    /// Reduces must see the records that maps made.
    fn run(&self, at: &At<'_>, show: Show<'_>) -> Result<Vec<String>> {
        let given = [
            ("--maps", self.maps.to_string()),
            ("--records", self.records().to_string()),
            ("--key-bytes", self.key_bytes.to_string()),
            ("--value-bytes", self.value_bytes.to_string()),
        ];
        let properties = [format!("mapreduce.job.reduces={}", self.reduces)];
        let (run, partitions) = at.measure::<Partition>(&properties, &["shuffle"], &given)?;
        let count = |name| run.counter(GROUP, name);
        ensure!(
            count(MADE) == count(SEEN) && count(MADE_SUM) == count(SEEN_SUM),
            "reduces saw {} records with checksum {:x}, but maps made {} with {:x}",
            count(SEEN),
            count(SEEN_SUM),
            count(MADE),
            count(MADE_SUM)
        );
        let figures = figures(self, &run, &map_ends(at.site, &run.id)?, &partitions);
        show(Report::new(&figures.table(), &figures)?)?;
        Ok(vec![run.id])
    }
}

/// When the maps that counted ended, milliseconds since the epoch.
fn map_ends(site: &Site, job: &str) -> Result<Vec<u64>> {
    let told: Value = serde_json::from_slice(&site.hfs(&["job", "status", "--json", job])?)
        .with_context(|| format!("the status of {job} is no JSON"))?;
    let attempts = told["attempts"].as_array().into_iter().flatten();
    let is_map = |a: &&Value| a["attempt"].as_str().is_some_and(|id| id.contains("_m_"));
    let maps = attempts.filter(is_map).filter(|a| a["state"] == "succeeded");
    Ok(maps.filter_map(|a| a["endMs"].as_u64()).collect())
}
