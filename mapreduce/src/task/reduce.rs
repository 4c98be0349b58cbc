//! A reduce attempt: runs come in, are merged on disk when they would not fit, and are reduced.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use hfs_protocol::ids::TaskKind;

use super::attempt::{Environment, Written};
use super::combine::{Combining, Folder};
use super::fetch::budget::most_unmerged;
use super::guard::guarded;
use super::keep::Opened;
use super::map::WriterEmit;
use super::merge::Merger;
use super::run::Run;
use super::segment::{MappedSegment, SegmentWriter, SortedWriter as _};
use super::skip::Skipping;
use crate::context::Context;
use crate::counters::TaskCounter;
use crate::grouping::Grouping;
use crate::mapper::Emit;
use crate::output::{OutputFormat, RecordWriter};
use crate::record::{Record, Scratch};
use crate::reducer::{Combiner, Reducer};
use crate::values::{GroupPart, Values};

/// Groups between two looks at progress.
const GROUPS_PER_STEP: u64 = 1 << 12;
/// Shares of a reduce task's progress, as in Hadoop: a third each for shuffle, merge and reduce.
const SHUFFLE_SHARE: f64 = 1.0 / 3.0;
const MERGE_SHARE: f64 = 2.0 / 3.0;

/// A verified run of this reducer's partition.
pub(crate) struct Fetched {
    pub(crate) run: Run,
    /// Bytes that were taken over: fewer than the run has where they were compressed.
    pub(crate) taken_bytes: u64,
    pub(crate) records: u64,
    /// Whether the run came over the network into this process.
    pub(crate) remote: bool,
    /// Whether it is the last one of its map.
    pub(crate) last: bool,
}

/// Gives the runs of all maps, one by one, as they come.
pub(crate) trait ReduceInputs {
    /// How many maps there are.
    fn maps(&self) -> u32;

    /// The next map's run; `None` when all have been given.
    fn next(&mut self, context: &mut Context) -> Result<Option<Fetched>>;
}

/// Reduces one partition into an output file.
pub(crate) fn reduce<K, V, C, R, O, G>(
    mut reducer: R,
    combining: Combining<C>,
    grouping: &G,
    output: &O,
    inputs: &mut dyn ReduceInputs,
    env: &Environment,
    context: &mut Context,
) -> Result<Vec<Written>>
where
    K: Record,
    V: Record,
    C: Combiner<K, V>,
    R: Reducer<K, V>,
    O: OutputFormat<R::OutKey, R::OutValue>,
    G: Grouping<K>,
{
    context.phase("shuffle", 0.0);
    let mut folder = Folder::new(combining);
    let mut runs = Runs::new(env);
    let mut shuffled = 0u32;
    while let Some(fetched) = inputs.next(context)? {
        shuffled += u32::from(fetched.last);
        context.count(TaskCounter::ShuffledMaps, u64::from(fetched.last));
        context.count(TaskCounter::ReduceShuffleBytes, fetched.taken_bytes);
        runs.add(fetched, &mut folder, context)?;
        context.step(SHUFFLE_SHARE * f64::from(shuffled) / f64::from(inputs.maps().max(1)))?;
    }
    context.phase("merge", SHUFFLE_SHARE);
    let (runs, records) = runs.finish(&mut folder, context)?;
    context.count(TaskCounter::MergedMapOutputs, u64::from(shuffled));

    let mut merger = Merger::new(&runs, context.shared())?;
    context.last_phase("reduce", MERGE_SHARE, records);
    let mut out = WriterEmit::begin(output, TaskKind::Reduce, env, context)?;
    let part = of_keys(|key| grouping.part(key));
    let part = (!G::WHOLE).then_some(&part as GroupPart<'_>);
    let skipping = Skipping::begin(env)?;
    guarded(|| reducer.setup(Emit::<R::OutKey, R::OutValue>::context(&mut out)))
        .context("the reducer's setup failed")?;
    match skipping {
        None => reduce_groups(&mut reducer, &mut merger, part, &mut out)?,
        Some(skipping) => {
            reduce_groups_skipping(&mut reducer, &mut merger, part, skipping, &mut out)?;
        }
    }
    guarded(|| reducer.cleanup(&mut out)).context("the reducer's cleanup failed")?;
    out.close(TaskCounter::ReduceOutputRecords, env)
}

/// Makes the compiler see that the part borrows from the key.
pub(crate) fn of_keys<F: Fn(&[u8]) -> &[u8]>(part: F) -> F {
    part
}

fn reduce_groups<K, V, R, W>(
    reducer: &mut R,
    merger: &mut Merger<'_>,
    part: Option<GroupPart<'_>>,
    out: &mut WriterEmit<'_, W>,
) -> Result<()>
where
    K: Record,
    V: Record,
    R: Reducer<K, V>,
    W: RecordWriter<R::OutKey, R::OutValue>,
{
    let mut scratch = Scratch::default();
    let mut seen = 0;
    while merger.peek().is_some() {
        // One guard for many groups: setting it up costs a few nanoseconds each.
        let mut groups = 0;
        let mut at = None;
        let reduced = guarded(|| {
            while let Some((key, _)) = merger.peek() {
                at = Some(key);
                let mut values = Values::<V>::new::<K>(merger, &scratch, key, part);
                let reduced = reducer.reduce(K::decode(key, &scratch)?, &mut values, out);
                let finished = values.finish();
                reduced?;
                seen += finished?;
                scratch.clear();
                groups += 1;
                if groups == GROUPS_PER_STEP {
                    break;
                }
            }
            Ok(())
        });
        let failed = || "the reducer failed".to_owned();
        reduced.with_context(|| at.map_or_else(failed, at_key::<K>))?;
        let context = Emit::<R::OutKey, R::OutValue>::context(out);
        context.count(TaskCounter::ReduceInputGroups, groups);
        context.look_around()?;
    }
    Emit::<R::OutKey, R::OutValue>::context(out).count(TaskCounter::ReduceInputRecords, seen);
    Ok(())
}

/// As [`reduce_groups`], in skip mode.
fn reduce_groups_skipping<K, V, R, W>(
    reducer: &mut R,
    merger: &mut Merger<'_>,
    part: Option<GroupPart<'_>>,
    mut skipping: Skipping,
    out: &mut WriterEmit<'_, W>,
) -> Result<()>
where
    K: Record,
    V: Record,
    R: Reducer<K, V>,
    W: RecordWriter<R::OutKey, R::OutValue>,
{
    let mut scratch = Scratch::default();
    while let Some((key, _)) = merger.peek() {
        let mut values = Values::<V>::new::<K>(merger, &scratch, key, part);
        let decoded = K::decode(key, &scratch)?;
        let taken = skipping.take(out, "group", |held| reducer.reduce(decoded, &mut values, held));
        // Data that can't be read is no fault of the group.
        let records = values.finish()?;
        let taken = taken.with_context(|| at_key::<K>(key))?;
        scratch.clear();
        let context = Emit::<R::OutKey, R::OutValue>::context(out);
        let (groups_of, records_of) = if taken {
            (TaskCounter::ReduceInputGroups, TaskCounter::ReduceInputRecords)
        } else {
            (TaskCounter::ReduceSkippedGroups, TaskCounter::ReduceSkippedRecords)
        };
        context.count(groups_of, 1);
        context.count(records_of, records);
        context.look_around()?;
    }
    Ok(())
}

/// Where the reducer failed.
fn at_key<K: Record>(key: &[u8]) -> String {
    match K::decode(key, &Scratch::default()) {
        Ok(key) => {
            let mut shown = Vec::new();
            K::print(key, &mut shown);
            format!("the reducer failed at the key {}", String::from_utf8_lossy(&shown))
        }
        Err(_) => "the reducer failed".to_owned(),
    }
}

/// Runs that wait for the last one, within the attempt's memory. They are merged while others arrive: those in memory
/// to disk when they fill their part of it, those on disk when one merge could not read them all at the end.
struct Runs {
    work_dir: PathBuf,
    /// The most that `memory` may take.
    most_in_memory: u64,
    fan_in: usize,
    write_behind: bool,
    memory: Vec<Run>,
    memory_bytes: u64,
    mapped: Vec<Run>,
    /// They are never merged before the end: they take neither memory of the task nor files.
    kept: Vec<Run>,
    records: u64,
    created: usize,
}

impl Runs {
    fn new(env: &Environment) -> Self {
        Self {
            work_dir: env.work_dir.clone(),
            most_in_memory: most_unmerged(env.sort_bytes),
            fan_in: env.fan_in.max(2),
            write_behind: env.write_behind,
            memory: Vec::new(),
            memory_bytes: 0,
            mapped: Vec::new(),
            kept: Vec::new(),
            records: 0,
            created: 0,
        }
    }

    fn add<K: Record, V: Record, C: Combiner<K, V>>(
        &mut self,
        fetched: Fetched,
        folder: &mut Folder<K, V, C>,
        context: &mut Context,
    ) -> Result<()> {
        self.records += fetched.records;
        if fetched.run.len() == 0 {
            return Ok(());
        }
        if !fetched.remote && !matches!(fetched.run, Run::Kept(..)) {
            context.count(TaskCounter::FileBytesRead, fetched.taken_bytes);
        }
        match fetched.run {
            Run::Memory(held) => {
                self.memory_bytes += held.cost();
                self.memory.push(Run::Memory(held));
            }
            run @ Run::Mapped(..) => self.mapped.push(run),
            run @ Run::Kept(..) => self.kept.push(run),
        }
        if self.memory_bytes > self.most_in_memory {
            self.memory_bytes = 0;
            let runs = std::mem::take(&mut self.memory);
            let merged = self.merge(&runs, folder, context)?;
            self.mapped.push(merged);
        }
        // As Hadoop's on-disk merger: early enough that the last merge is a single one, late enough that few bytes
        // go twice.
        if self.mapped.len() >= 2 * self.fan_in {
            let smallest = smallest(&mut self.mapped, self.fan_in);
            let merged = self.merge(&smallest, folder, context)?;
            self.mapped.push(merged);
        }
        Ok(())
    }

    /// Merges runs into one on disk.
    fn merge<K: Record, V: Record, C: Combiner<K, V>>(
        &mut self,
        runs: &[Run],
        folder: &mut Folder<K, V, C>,
        context: &mut Context,
    ) -> Result<Run> {
        let path = self.work_dir.join(format!("merge-{}", self.created));
        self.created += 1;
        let writer = SegmentWriter::create(&path, None)?;
        let mut writer = writer.writing_behind(self.write_behind);
        let mut merger = Merger::new(runs, context.shared())?;
        folder.pass(&mut merger, context, |key, value| writer.record(key, value))?;
        writer.end_partition()?;
        let segment = writer.finish()?;
        context.count(TaskCounter::SpilledRecords, segment.records());
        context.count(TaskCounter::FileBytesWritten, segment.bytes);
        let (run, _) = MappedSegment::open(&path)?.run(0)?;
        // The map keeps the bytes; the name is not needed any more.
        std::fs::remove_file(&path)?;
        context.progress();
        Ok(run)
    }

    /// The runs for the last merge, at most `fan_in` besides those kept in memory, and the records that were fetched.
    fn finish<K: Record, V: Record, C: Combiner<K, V>>(
        mut self,
        folder: &mut Folder<K, V, C>,
        context: &mut Context,
    ) -> Result<(Vec<Run>, u64)> {
        let mut runs = std::mem::take(&mut self.mapped);
        runs.append(&mut self.memory);
        while runs.len() > self.fan_in {
            let count = (runs.len() - self.fan_in + 1).min(self.fan_in);
            let smallest = smallest(&mut runs, count);
            runs.push(self.merge(&smallest, folder, context)?);
        }
        runs.append(&mut self.kept);
        Ok((runs, self.records))
    }
}

/// Takes the `count` smallest of these runs.
fn smallest(runs: &mut Vec<Run>, count: usize) -> Vec<Run> {
    runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
    runs.split_off(runs.len() - count)
}

/// Runs that are all there already.
pub(crate) struct Ready {
    maps: u32,
    /// Of each part whether it is the last one of its map.
    parts: std::vec::IntoIter<(Opened, bool)>,
    partition: u32,
}

impl Ready {
    /// The runs of a partition, of all maps' outputs.
    pub(crate) fn new(outputs: &[Vec<Opened>], partition: u32) -> Self {
        let parts = outputs.iter().flat_map(|parts| {
            let last = parts.len().saturating_sub(1);
            parts.iter().enumerate().map(move |(at, part)| (part.clone(), at == last))
        });
        let parts: Vec<_> = parts.collect();
        Self { maps: outputs.len() as u32, parts: parts.into_iter(), partition }
    }
}

impl ReduceInputs for Ready {
    fn maps(&self) -> u32 {
        self.maps
    }

    fn next(&mut self, _: &mut Context) -> Result<Option<Fetched>> {
        let Some((part, last)) = self.parts.next() else { return Ok(None) };
        let (run, records) = part.run(self.partition)?;
        let taken_bytes = run.len() as u64;
        Ok(Some(Fetched { run, taken_bytes, records, remote: false, last }))
    }
}
