//! Words counted, on a cluster or in one process, held against a program that does nothing else, measured in turns with
//! it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hfs_mapreduce::TaskCounter;
use serde::Serialize;

use super::measure::{Row, Samples, Work, in_turns, timed};
use super::report::{Report, Show, Table};
use super::site::JobRun;
use super::{At, Benchmark, limit, text};

/// The most reduces.
const TASKS_MAX: u32 = 10_000;
/// The most turns.
const RUNS_MAX: u32 = 1000;
/// The most text that is made, MB.
const MEGABYTES_MAX: u64 = 1 << 20;
/// What our share of the limit should be.
const GOAL: f64 = 0.8;

/// `hfs bench wordcount`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// MB of text to make
    #[arg(long, default_value_t = 256, value_name = "N")]
    megabytes: u64,
    /// Distinct words of it; many make the shuffle heavy
    #[arg(long, default_value_t = text::WORDS, value_name = "N")]
    words: u64,
    /// Count this text instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["megabytes", "words"])]
    text: Option<PathBuf>,
    /// Reduces
    #[arg(long, default_value_t = 2, value_name = "N")]
    reduces: u32,
    /// Replicas of text and output
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
    bytes: u64,
    words: i64,
    distinct_words: i64,
    reduces: u32,
    /// Of each count, from the start of the driver to its end; the first is not among them.
    count_s: Vec<f64>,
    count_median_s: f64,
    count_mb_per_s: f64,
    shuffled_bytes: i64,
    spilled_records: i64,
    /// Of each count by hand, in turns with the others.
    limit_s: Vec<f64>,
    limit_median_s: f64,
    /// The limit's time over ours.
    share_of_limit: f64,
    /// The last job.
    job: String,
}

impl Figures {
    fn table(&self) -> Table {
        let megabytes = |bytes: f64| format!("{:.2}", bytes / 1e6);
        Table::new("Word count")
            .line("Total MB", megabytes(self.bytes as f64))
            .line("Words", self.words)
            .line("Distinct words", self.distinct_words)
            .line("Reduces", self.reduces)
            .line("Median, s", format!("{:.3}", self.count_median_s))
            .line("MB/s", format!("{:.2}", self.count_mb_per_s))
            .line("Shuffled MB", megabytes(self.shuffled_bytes as f64))
            .line("Spilled records", self.spilled_records)
            .line("By hand, median, s", format!("{:.3}", self.limit_median_s))
            .line("Share of it", format!("{:.2}", self.share_of_limit))
    }

    fn row(&self) -> Row {
        let place = if self.local { "--local" } else { "on the cluster" };
        Row {
            name: format!("word count of {} MB {place}", self.bytes / 1_000_000),
            work: Work::Bytes(self.bytes),
            ours: Samples(self.count_s.clone()),
            peer: Some(("two threads, no framework".to_owned(), Samples(self.limit_s.clone()))),
            goal: Some(GOAL),
        }
    }
}

impl Options {
    fn figures(&self, bytes: u64, last: &JobRun, ours: Samples, limit: Samples) -> Figures {
        let count = |counter: TaskCounter| last.counter(counter.group(), counter.name());
        let (median, limit_median) = (ours.median(), limit.median());
        Figures {
            bench: "wordcount",
            local: self.local,
            bytes,
            words: count(TaskCounter::MapOutputRecords),
            distinct_words: count(TaskCounter::ReduceOutputRecords),
            reduces: self.reduces,
            count_s: ours.0,
            count_median_s: median,
            count_mb_per_s: bytes as f64 / 1e6 / median.max(1e-9),
            shuffled_bytes: count(TaskCounter::ReduceShuffleBytes),
            spilled_records: count(TaskCounter::SpilledRecords),
            limit_s: limit.0,
            limit_median_s: limit_median,
            share_of_limit: limit_median / median.max(1e-9),
            job: last.id.clone(),
        }
    }
}

impl Benchmark for Options {
    const DIR: &'static str = "WordCount";

    fn check(&self, _: bool) -> Result<()> {
        for (name, number, most) in [
            ("--megabytes", self.megabytes, MEGABYTES_MAX),
            ("--words", self.words, u64::from(u32::MAX)),
            ("--reduces", u64::from(self.reduces), u64::from(TASKS_MAX)),
            ("--runs", u64::from(self.runs), u64::from(RUNS_MAX)),
        ] {
            ensure!((1..=most).contains(&number), "{name} is {number}, but must be 1 to {most}");
        }
        ensure!(self.replication > 0, "--replication is 0; a file has at least one replica");
        if let Some(text) = &self.text {
            ensure!(text.is_file(), "--text {} is no file that can be read", text.display());
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        self.local
    }

    /// The counts must be those of the program by hand.
    fn run(&self, at: &At<'_>, show: Show<'_>) -> Result<Vec<String>> {
        let site = at.site;
        let named = self.text.as_deref();
        let (file, bytes) =
            text::named_or_made(named, at.scratch, self.megabytes * 1_000_000, self.words)?;
        let local_name = file.to_str().context("the text's path is not UTF-8")?;
        let replication = format!("dfs.replication={}", self.replication);
        let (input, output) = (format!("{}/text", at.dir), format!("{}/counts", at.dir));
        let input = if self.local { local_name } else { input.as_str() };
        if !self.local {
            site.hfs(&["mkdir", "-p", at.dir])?;
            site.hfs(&["put", "-f", &format!("-D{replication}"), local_name, input])?;
        }
        let by_hand = at.scratch.join("limit-counts");
        std::fs::create_dir_all(&by_hand)
            .with_context(|| format!("cannot make {}", by_hand.display()))?;
        let properties = [replication, format!("mapreduce.job.reduces={}", self.reduces)];
        let mut jobs = Vec::new();
        let ours = || -> Result<Duration> {
            site.remove(&output)?;
            let run = site.job(&properties, &["wordcount", input, &output], &[])?;
            let took = run.took;
            jobs.push(run);
            Ok(took)
        };
        let peer =
            || timed(|| limit::word_count(&file, &by_hand).context("the count by hand failed"));
        let (ours, limit) = in_turns(self.runs as usize, ours, peer)?;
        let mut counted = Vec::new();
        site.read_parts(&output, |parts| Ok(parts.read_to_end(&mut counted)?))?;
        ensure!(
            text::counts(&counted) == text::counts(&text::parts(&by_hand)?),
            "the counts are not those of the program by hand"
        );
        if self.text.is_none() {
            std::fs::remove_file(&file)
                .with_context(|| format!("cannot remove {}", file.display()))?;
        }
        std::fs::remove_dir_all(&by_hand)
            .with_context(|| format!("cannot remove {}", by_hand.display()))?;
        let Some(last) = jobs.last() else { bail!("nothing was counted") };
        let figures = self.figures(bytes, last, ours, limit);
        show(Report::new(&figures.table(), &figures)?)?;
        show(Report::of_row(&figures.row())?)?;
        Ok(jobs.into_iter().map(|run| run.id).collect())
    }
}
