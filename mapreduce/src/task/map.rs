//! A map attempt.

use anyhow::{Context as _, Result};
use hfs_protocol::ids::TaskKind;
use hfs_protocol::proto::task::InputSplit;

use super::attempt::{Environment, Written};
use super::collect::MapCollector;
use super::combine::Combining;
use super::guard::guarded;
use super::keep::MapOutput;
use super::skip::Skipping;
use crate::context::Context;
use crate::counters::TaskCounter;
use crate::input::{BatchReader, InputFormat};
use crate::mapper::{Emit, Mapper};
use crate::named::NamedOutputs;
use crate::output::{OutputFormat, RecordWriter};
use crate::partition::Partitioner;
use crate::record::Record;
use crate::reducer::Combiner;

/// Maps a split for reducers, and into the mapper's named outputs.
pub(crate) fn map_for_reducers<M, C, P>(
    mapper: M,
    input: &M::Input,
    combining: Combining<C>,
    partitioner: P,
    split: &InputSplit,
    env: &Environment,
    context: &mut Context,
) -> Result<(MapOutput, Vec<Written>)>
where
    M: Mapper,
    C: Combiner<M::Key, M::Value>,
    P: Partitioner<M::Key>,
{
    context.phase("map", 0.0);
    context.outputs = NamedOutputs::of_task(env, TaskKind::Map);
    let mut out = MapCollector::new(context, env, combining, partitioner);
    run_mapper(mapper, input, split, env, &mut out)?;
    let mapped = out.finish(&env.work_dir.join("map-output"))?;
    let written = context.outputs.close()?;
    if !written.is_empty() {
        let bytes = written.iter().map(|file| file.bytes).sum();
        context.count(env.bytes_written_counter(), bytes);
    }
    Ok((mapped, written))
}

/// Maps a split into an output file, in a job without reducers.
pub(crate) fn map_to_output<M, O>(
    mapper: M,
    input: &M::Input,
    output: &O,
    split: &InputSplit,
    env: &Environment,
    context: &mut Context,
) -> Result<Vec<Written>>
where
    M: Mapper,
    O: OutputFormat<M::Key, M::Value>,
{
    context.phase("map", 0.0);
    let mut out = WriterEmit::begin(output, TaskKind::Map, env, context)?;
    run_mapper(mapper, input, split, env, &mut out)?;
    out.close(TaskCounter::MapOutputRecords, env)
}

fn run_mapper<M: Mapper>(
    mut mapper: M,
    input: &M::Input,
    split: &InputSplit,
    env: &Environment,
    out: &mut impl Emit<M::Key, M::Value>,
) -> Result<()> {
    let mut reader = input
        .open(split, &env.files, &env.conf)
        .with_context(|| format!("the split {} can't be opened", split.description))?;
    let read_from = reader.current_split();
    out.context().reads(read_from.clone());
    let (mut skipping, mut skipped) = (Skipping::begin(env)?, 0);
    let mut moves = 0;
    if let Some(split) = read_from.moved(&mut moves) {
        out.context().came_to(&split);
    }
    guarded(|| mapper.setup(out.context())).context("the mapper's setup failed")?;
    loop {
        // A reader is often the user's own code, and works on bytes from anywhere.
        let mapped = match guarded(|| reader.next_batch()) {
            Ok(None) => break,
            Ok(Some(batch)) => {
                if let Some(split) = read_from.moved(&mut moves) {
                    out.context().came_to(&split);
                }
                Ok(match &mut skipping {
                    None => guarded(|| mapper.map_batch(batch, out)),
                    Some(skipping) => {
                        guarded(|| map_each(&mut mapper, batch, skipping, &mut skipped, out))
                    }
                })
            }
            Err(error) => Err(error),
        };
        let mapped = mapped.with_context(|| format!("reading {} failed", reader.position()))?;
        mapped.with_context(|| format!("the mapper failed in {}", reader.position()))?;
        let counts = reader.take_counts();
        let context = out.context();
        let left_out = std::mem::take(&mut skipped);
        context.count(TaskCounter::MapInputRecords, counts.records.saturating_sub(left_out));
        context.count(TaskCounter::MapSkippedRecords, counts.skipped + left_out);
        context.count(read_from.with_path(|path| env.bytes_read_counter(path)), counts.bytes);
        context.step(reader.fraction())?;
    }
    guarded(|| mapper.cleanup(out)).context("the mapper's cleanup failed")
}

/// Maps a batch in skip mode, and counts what was left out.
fn map_each<M: Mapper>(
    mapper: &mut M,
    batch: <M::Input as InputFormat>::Batch<'_>,
    skipping: &mut Skipping,
    skipped: &mut u64,
    out: &mut impl Emit<M::Key, M::Value>,
) -> Result<()> {
    for record in batch {
        out.context().tick();
        let taken = skipping.take(out, "record", |held| mapper.map(record, held))?;
        *skipped += u64::from(!taken);
    }
    Ok(())
}

/// Emits into a task's output file.
pub(crate) struct WriterEmit<'c, W> {
    context: &'c mut Context,
    writer: W,
    /// `None` when the job has no output.
    file: Option<Written>,
    records: u64,
}

impl<'c, W> WriterEmit<'c, W> {
    /// Begins the task's file, and lets it have named ones.
    pub(crate) fn begin<K: Record, V: Record, O: OutputFormat<K, V, Writer = W>>(
        output: &O,
        kind: TaskKind,
        env: &Environment,
        context: &'c mut Context,
    ) -> Result<Self> {
        let name = output.file_name(kind, context.index()) + output.extension(&env.conf)?;
        let path = format!("{}/{name}", env.output_dir);
        let writer = output.begin(&env.files, &path, &env.conf)?;
        context.outputs = NamedOutputs::of_task(env, kind);
        let file = O::WRITES.then_some(Written { path, name, bytes: 0 });
        Ok(Self { context, writer, file, records: 0 })
    }

    /// Closes the task's files and counts what they got.
    pub(crate) fn close<K: Record, V: Record>(
        self,
        records: TaskCounter,
        env: &Environment,
    ) -> Result<Vec<Written>>
    where
        W: RecordWriter<K, V>,
    {
        let has_file = self.writer.has_file();
        let bytes = self.writer.close()?;
        let file = self.file.filter(|_| has_file);
        let mut written = Vec::from_iter(file.map(|file| Written { bytes, ..file }));
        written.extend(self.context.outputs.close()?);
        self.context.count(records, self.records);
        let bytes = written.iter().map(|file| file.bytes).sum();
        self.context.count(env.bytes_written_counter(), bytes);
        Ok(written)
    }
}

impl<K: Record, V: Record, W: RecordWriter<K, V>> Emit<K, V> for WriterEmit<'_, W> {
    #[inline]
    fn emit(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        self.records += 1;
        self.context.tick();
        self.writer.write(key, value)
    }

    fn context(&mut self) -> &mut Context {
        self.context
    }
}
