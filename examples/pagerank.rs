//! PageRank: which pages are linked to by pages that are linked to, as many jobs as it takes.
//!
//! Input: text lines `page link link …`. Output: lines `rank<TAB>page`, the highest rank first, over all files.
//! A rank of 1 is the average.
//!
//! One program, several jobs. The first makes the graph, and its counter says how many pages there are. Then each
//! round spreads every page's rank over its links. Pages without links would lose theirs: what they have is
//! counted, and the next round gives it to all pages alike. The rounds end when the ranks, by another
//! counter, hardly move. The last job sorts: keys in `Reverse` order, and split points sampled from the ranks.
//!
//! ```text
//! cargo run --release --example pagerank -- /links /ranks
//! cargo run --release --example pagerank -- --local links.txt /tmp/ranks
//! ```

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use hfs_mapreduce::{
    Context, Emit, Job, Line, Mapper, OneOf, Reducer, Result, Reverse, Side, TaskCounter, Text,
    TextInput, TotalOrderPartitioner, Values, job_counters, run_jobs, words,
};

/// Ranks pages by their links.
#[derive(Debug, Args)]
struct Arguments {
    /// Lines of a page and the pages it links to: a file, a directory or a pattern
    input: String,
    /// The directory to make; beside it, with a number at the end, stand the rounds while it runs
    output: String,
    /// The share of a rank that goes through links
    #[arg(long, default_value_t = 0.85)]
    damping: f64,
    /// The most rounds
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// End when a page's rank moves less than this in a round, on average
    #[arg(long, default_value_t = 1e-6)]
    epsilon: f64,
}

job_counters! {
    /// Sums of ranks, in units of a billionth: counters are whole numbers.
    enum Ranks: "pagerank" {
        /// What pages without links had.
        Lost = "rank without links",
        /// By how much ranks changed.
        Moved = "rank moved",
    }
}

const UNIT: f64 = 1e9;

/// The property with the share of each page in what the last round lost.
const SHARE: &str = "pagerank.share";
/// The property with the damping factor.
const DAMPING: &str = "pagerank.damping";

fn count(rank: f64, counter: Ranks, context: &mut Context) {
    context.count_in(counter, (rank * UNIT).round() as i64);
}

/// Links from the input's lines; every page that is named gets a line of its own.
#[derive(Clone)]
struct Graph;

impl Mapper for Graph {
    type Input = TextInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let mut words = words(line.bytes);
        let Some(page) = words.next() else { return Ok(()) };
        out.emit(page, b"")?;
        for link in words {
            out.emit(page, link)?;
            out.emit(link, b"")?;
        }
        Ok(())
    }
}

impl Reducer<Text, Text> for Graph {
    type OutKey = Text;
    type OutValue = (f64, Text);

    fn reduce(
        &mut self,
        page: &[u8],
        links: &mut Values<'_, '_, Text>,
        out: &mut impl Emit<Text, (f64, Text)>,
    ) -> Result<()> {
        let links: Vec<_> = links.filter(|link| !link.is_empty()).collect();
        out.emit(page, (1.0, &links.join(&b' ')))
    }
}

/// A line `page rank links` of the round before.
struct Page<'a> {
    name: &'a [u8],
    rank: f64,
    links: &'a [u8],
}

impl<'a> Page<'a> {
    fn parse(line: &'a [u8]) -> Result<Self> {
        let mut fields = line.splitn(3, |&byte| byte == b'\t');
        let mut field = || fields.next().context("the line does not have three fields");
        let (name, rank, links) = (field()?, field()?, field()?);
        Ok(Self { name, rank: std::str::from_utf8(rank)?.parse()?, links })
    }
}

/// One round. What a page is given of the lost rank is added when its line is read.
#[derive(Clone, Default)]
struct Round {
    share: f64,
    damping: f64,
}

impl Round {
    fn read(&mut self, context: &Context) -> Result<()> {
        self.share = context.conf().parsed_or(SHARE, 0.0)?;
        self.damping = context.conf().parsed_or(DAMPING, 0.0)?;
        Ok(())
    }
}

/// What a page hears: from itself its rank and its links, from others what they give it.
type News = OneOf<(f64, Text), f64>;

impl Mapper for Round {
    type Input = TextInput;
    type Key = Text;
    type Value = News;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.read(context)
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, News>) -> Result<()> {
        let page = Page::parse(line.bytes)?;
        out.emit(page.name, Side::First((page.rank, page.links)))?;
        let rank = page.rank + self.share;
        let links = words(page.links).count();
        if links == 0 {
            count(rank, Ranks::Lost, out.context());
        }
        words(page.links).try_for_each(|link| out.emit(link, Side::Second(rank / links as f64)))
    }
}

impl Reducer<Text, News> for Round {
    type OutKey = Text;
    type OutValue = (f64, Text);

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.read(context)
    }

    fn reduce(
        &mut self,
        page: &[u8],
        news: &mut Values<'_, '_, News>,
        out: &mut impl Emit<Text, (f64, Text)>,
    ) -> Result<()> {
        let (mut own, mut given) = (None, 0.0);
        for news in news {
            match news {
                Side::First(known) => own = Some(known),
                Side::Second(rank) => given += rank,
            }
        }
        let (before, links) = own.ok_or_else(|| anyhow!("a page without a line is linked to"))?;
        let rank = 1.0 - self.damping + self.damping * given;
        count((rank - before).abs(), Ranks::Moved, out.context());
        out.emit(page, (rank, links))
    }
}

/// The highest rank first.
#[derive(Clone, Default)]
struct Highest(Round);

impl Mapper for Highest {
    type Input = TextInput;
    type Key = (Reverse<f64>, Text);
    type Value = ();

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.0.read(context)
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Self::Key, ()>) -> Result<()> {
        let page = Page::parse(line.bytes)?;
        out.emit((page.rank + self.0.share, page.name), ())
    }
}

impl Reducer<(Reverse<f64>, Text), ()> for Highest {
    type OutKey = f64;
    type OutValue = Text;

    fn reduce(
        &mut self,
        (rank, page): (f64, &[u8]),
        _: &mut Values<'_, '_, ()>,
        out: &mut impl Emit<f64, Text>,
    ) -> Result<()> {
        out.emit(rank, page)
    }
}

fn main() -> ExitCode {
    run_jobs(|arguments: Arguments, jobs| {
        let round_dir = |round: u32| format!("{}-{round}", arguments.output);
        let graph = Job::map(Graph)
            .reduce(Graph)
            .name("pagerank: graph")
            .input(&arguments.input)
            .output(round_dir(0))
            .build()?;
        let pages = jobs.run(graph)?.count_of(TaskCounter::ReduceOutputRecords).max(1) as f64;
        let (mut round, mut share) = (0, 0.0);
        while round < arguments.rounds {
            let job = Job::map(Round::default())
                .reduce(Round::default())
                .name(format!("pagerank: round {}", round + 1))
                .input(round_dir(round))
                .output(round_dir(round + 1))
                .set(SHARE, share.to_string())
                .set(DAMPING, arguments.damping.to_string())
                .build()?;
            let done = jobs.run(job)?;
            jobs.remove(&round_dir(round))?;
            round += 1;
            share = arguments.damping * done.count_of(Ranks::Lost) as f64 / UNIT / pages;
            if done.count_of(Ranks::Moved) as f64 / UNIT / pages < arguments.epsilon {
                break;
            }
        }
        let last = Job::map(Highest::default())
            .partition(TotalOrderPartitioner::sampled())
            .reduce(Highest::default())
            .name("pagerank: highest first")
            .input(round_dir(round))
            .output(&arguments.output)
            .set(SHARE, share.to_string())
            .build()?;
        jobs.run(last)?;
        jobs.remove(&round_dir(round))
    })
}
