//! The combiner of a streaming job: run over the sorted records of every spill and every merge, and of
//! each partition for itself, as in Hadoop.

use anyhow::{Context as _, Result, bail};

use super::aggregate::{Aggregate, split_key};
use super::command::Step;
use super::key_order::decode;
use super::pipe::{Lines, Pipe, Start};
use super::reducer::{BLOCK_BYTES, put_line};
use super::settings::Settings;
use crate::context::Context;
use crate::counters::TaskCounter;
use crate::task::combine::{GroupCombiner, Pass};
use crate::task::merge::Merger;

/// Bytes of a combiner's output that are sorted at once.
const HELD_BYTES: usize = 32 << 20;

/// Shrinks map output with a command or an aggregator.
pub(super) struct StreamCombiner {
    pub(super) step: Step,
    pub(super) environment: Vec<(String, String)>,
    /// Whether keys are the numbers of an identity mapper.
    pub(super) numbered: bool,
}

impl GroupCombiner for StreamCombiner {
    fn combine(
        &self,
        source: &mut Merger<'_>,
        context: &mut Context,
        pass: &mut Pass<'_>,
    ) -> Result<()> {
        if source.peek().is_none() {
            return Ok(());
        }
        let settings = Settings::read(context.conf(), self.numbered)?;
        let (taken, passed) = match &self.step {
            Step::Command(command) => {
                run(self.start(command, context)?, source, &settings, context, pass)
            }
            Step::Aggregate => aggregate(source, &settings, pass),
            Step::Identity => copy(source, pass),
        }
        .context("the combiner failed")?;
        context.count(TaskCounter::CombineInputRecords, taken);
        context.count(TaskCounter::CombineOutputRecords, passed);
        Ok(())
    }
}

impl StreamCombiner {
    fn start(&self, command: &str, context: &Context) -> Result<Pipe> {
        let environment = &self.environment;
        Pipe::start(Start { role: "combiner", command, environment, properties: &[] }, context)
    }
}

fn plain<'k>(key: &'k [u8], settings: &Settings) -> Result<&'k [u8]> {
    if settings.order.is_some() { decode(key) } else { Ok(key) }
}

fn run(
    mut pipe: Pipe,
    source: &mut Merger<'_>,
    settings: &Settings,
    context: &mut Context,
    pass: &mut Pass<'_>,
) -> Result<(u64, u64)> {
    let mut input = Vec::new();
    let mut taken = 0;
    let mut lines = PassLines {
        context,
        pass,
        settings,
        held: Vec::new(),
        records: Vec::new(),
        last: Vec::new(),
        passed: 0,
    };
    while let Some((key, value)) = source.peek() {
        put_line(plain(key, settings)?, &settings.reduce_input_separator, value, &mut input);
        taken += 1;
        source.advance()?;
        if input.len() >= BLOCK_BYTES {
            pipe.feed(&input, &mut lines)?;
            input.clear();
        }
    }
    pipe.feed(&input, &mut lines)?;
    pipe.finish(&mut lines)?;
    lines.flush()?;
    Ok((taken, lines.passed))
}

/// Passes on what a combiner's command writes, which is map output, in the order of its keys. Commands
/// that count in a table write keys in any order: up to [`HELD_BYTES`] at a time are sorted here.
struct PassLines<'a, 'p> {
    context: &'a mut Context,
    pass: &'a mut Pass<'p>,
    settings: &'a Settings,
    held: Vec<u8>,
    /// Where each record in `held` begins, the bytes of its key and of its value.
    records: Vec<(usize, usize, usize)>,
    /// The key that was passed on last.
    last: Vec<u8>,
    passed: u64,
}

impl PassLines<'_, '_> {
    fn flush(&mut self) -> Result<()> {
        let Self { held, records, last, pass, .. } = self;
        let key = |&(from, length, _): &(usize, usize, usize)| &held[from..from + length];
        records.sort_by(|a, b| key(a).cmp(key(b)));
        // What is written here is merged and never sorted again.
        if records.first().is_some_and(|first| key(first) < &last[..]) {
            bail!(
                "it wrote a key after larger ones, in more than {HELD_BYTES} bytes of output; a combiner \
                 writes the keys it was given, in the same order"
            );
        }
        for record in records.iter() {
            let (from, length, value) = *record;
            pass(key(record), &held[from + length..from + length + value])?;
        }
        if let Some(record) = records.last() {
            last.clear();
            last.extend_from_slice(key(record));
        }
        self.passed += records.len() as u64;
        records.clear();
        held.clear();
        Ok(())
    }
}

impl Lines for PassLines<'_, '_> {
    fn line(&mut self, line: &[u8]) -> Result<()> {
        let (key, value) = self.settings.map_output.split(line);
        let from = self.held.len();
        match &self.settings.order {
            Some(order) => order.encode(key, &mut self.held),
            None => self.held.extend_from_slice(key),
        }
        self.records.push((from, self.held.len() - from, value.len()));
        self.held.extend_from_slice(value);
        if self.held.len() >= HELD_BYTES { self.flush() } else { Ok(()) }
    }

    fn context(&mut self) -> &mut Context {
        self.context
    }
}

fn aggregate(
    source: &mut Merger<'_>,
    settings: &Settings,
    pass: &mut Pass<'_>,
) -> Result<(u64, u64)> {
    let (mut taken, mut passed) = (0, 0);
    while let Some((key, _)) = source.peek() {
        let (how, _) = split_key(plain(key, settings)?)?;
        let mut aggregate = Aggregate::begin(how)?;
        while let Some((next, value)) = source.peek() {
            if next != key {
                break;
            }
            aggregate.add(value)?;
            taken += 1;
            source.advance()?;
        }
        for value in aggregate.parts() {
            pass(key, &value)?;
            passed += 1;
        }
    }
    Ok((taken, passed))
}

fn copy(source: &mut Merger<'_>, pass: &mut Pass<'_>) -> Result<(u64, u64)> {
    let mut records = 0;
    while let Some((key, value)) = source.peek() {
        pass(key, value)?;
        records += 1;
        source.advance()?;
    }
    Ok((records, records))
}
