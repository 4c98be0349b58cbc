//! How long a small job takes when many run in a row: Hadoop's `MRBench`, its figures and its line.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::measure::Samples;
use super::report::{Report, Show, Table};
use super::site::Site;
use super::{At, Benchmark};

/// The most jobs, maps, reduces, and lines of a map.
const MOST: u32 = 100_000;
/// Digits of a line; all lines are equally long, so that every file is a split.
const DIGITS: usize = 20;

/// The order in which the lines are handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The first line is the smallest
    Ascending,
    /// The first line is the largest
    Descending,
    /// As chance has it, the same at every run
    Random,
}

/// `hfs bench mrbench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Jobs, one after the other
    #[arg(long, default_value_t = 10, value_name = "N")]
    runs: u32,
    /// Maps of each
    #[arg(long, default_value_t = 2, value_name = "N")]
    maps: u32,
    /// Reduces of each
    #[arg(long, default_value_t = 1, value_name = "N")]
    reduces: u32,
    /// Lines of each map
    #[arg(long, default_value_t = 1, value_name = "N")]
    lines: u32,
    /// The order in which the lines are handed in
    #[arg(long, value_enum, default_value = "ascending")]
    order: Order,
}

impl Options {
    /// The lines of a map's file, each with its end.
    fn text(&self, map: u32) -> String {
        let all = u64::from(self.maps) * u64::from(self.lines);
        let first = u64::from(map) * u64::from(self.lines);
        let line = |at: u64| match self.order {
            Order::Ascending => at,
            Order::Descending => all - 1 - at,
            Order::Random => hfs_mapreduce::hash(&at.to_le_bytes()),
        };
        let lines = (first..first + u64::from(self.lines)).map(line);
        lines.map(|number| format!("{number:0DIGITS$}\n")).collect()
    }
}

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    bench: &'static str,
    data_lines: u64,
    maps: u32,
    reduces: u32,
    runs: u32,
    order: Order,
    average_ms: f64,
    median_ms: f64,
    least_ms: f64,
    /// Of each job, from the start of the driver to its end.
    times_ms: Vec<f64>,
}

fn figures(options: &Options, times_ms: Vec<f64>) -> Figures {
    let samples = Samples(times_ms.clone());
    Figures {
        bench: "mrbench",
        data_lines: u64::from(options.maps) * u64::from(options.lines),
        maps: options.maps,
        reduces: options.reduces,
        runs: options.runs,
        order: options.order,
        average_ms: times_ms.iter().sum::<f64>() / times_ms.len().max(1) as f64,
        median_ms: samples.median(),
        least_ms: samples.min(),
        times_ms,
    }
}

impl Figures {
    fn table(&self) -> Table {
        Table::new("MRBench")
            .line("DataLines", self.data_lines)
            .line("Maps", self.maps)
            .line("Reduces", self.reduces)
            .line("Jobs", self.runs)
            .line("AvgTime (milliseconds)", format!("{:.1}", self.average_ms))
            .line("Median (milliseconds)", format!("{:.1}", self.median_ms))
            .line("Least (milliseconds)", format!("{:.1}", self.least_ms))
    }
}

impl Benchmark for Options {
    const DIR: &'static str = "MRBench";

    fn check(&self, _: bool) -> Result<()> {
        let numbers = [
            ("--runs", self.runs),
            ("--maps", self.maps),
            ("--reduces", self.reduces),
            ("--lines", self.lines),
        ];
        for (name, number) in numbers {
            ensure!((1..=MOST).contains(&number), "{name} is {number}, but must be 1 to {MOST}");
        }
        Ok(())
    }

    /// The output of each job must be its input, sorted within each file.
    fn run(&self, at: &At<'_>, show: Show<'_>) -> Result<Vec<String>> {
        let (site, input) = (at.site, format!("{}/input", at.dir));
        let output = format!("{}/output", at.dir);
        site.remove(&input)?;
        site.hfs(&["mkdir", "-p", &input])?;
        let local = at.scratch.join("mrbench-input");
        let mut expected = Vec::new();
        for map in 0..self.maps {
            let text = self.text(map);
            std::fs::write(&local, &text)
                .with_context(|| format!("cannot write {}", local.display()))?;
            site.hfs(&["put", &local.to_string_lossy(), &format!("{input}/{map}")])?;
            expected.extend(text.lines().map(|line| line.as_bytes().to_vec()));
        }
        expected.sort_unstable();
        let split = u64::from(self.lines) * (DIGITS as u64 + 1);
        let properties = [
            format!("mapreduce.job.reduces={}", self.reduces),
            format!("mapreduce.input.fileinputformat.split.maxsize={split}"),
        ];
        let (mut jobs, mut times) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            site.remove(&output)?;
            let run = site.job(&properties, &["mrbench", &input, &output], &[])?;
            times.push(run.took.as_secs_f64() * 1e3);
            jobs.push(run.id);
            check_output(site, self, &output, &expected)?;
        }
        let figures = figures(self, times);
        show(Report::new(&figures.table(), &figures)?)?;
        Ok(jobs)
    }
}

/// Looks whether a job has done its work.
fn check_output(site: &Site, options: &Options, output: &str, expected: &[Vec<u8>]) -> Result<()> {
    let printed = site.hfs(&["cat", &format!("{output}/part-*")])?;
    let mut lines: Vec<&[u8]> =
        printed.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()).collect();
    let descents = lines.windows(2).filter(|pair| pair[0] > pair[1]).count();
    ensure!(
        descents < options.reduces as usize,
        "the files in {output} are not sorted: {descents} lines are smaller than the one before"
    );
    lines.sort_unstable();
    ensure!(lines == expected, "the lines in {output} are not those of the input");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(order: Order) -> Options {
        Options { runs: 3, maps: 2, reduces: 1, lines: 2, order }
    }

    #[test]
    fn files_go_on_where_the_one_before_ended() {
        let both = |order| options(order).text(0) + &options(order).text(1);
        let ascending: Vec<String> = (0..4).map(|n| format!("{n:020}\n")).collect();
        assert_eq!(both(Order::Ascending), ascending.concat());
        let descending: Vec<String> = ascending.into_iter().rev().collect();
        assert_eq!(both(Order::Descending), descending.concat());
        assert!(both(Order::Random).lines().all(|line| line.len() == DIGITS));
    }

    #[test]
    fn the_average_is_over_all_jobs() {
        let figures = figures(&options(Order::Ascending), vec![10.0, 40.0, 10.0]);
        assert_eq!((figures.average_ms, figures.median_ms, figures.least_ms), (20.0, 10.0, 10.0));
        assert!(figures.table().to_string().contains("AvgTime (milliseconds): 20.0\n"));
    }
}
