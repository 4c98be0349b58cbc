//! Sorted records on their way to local disk: combining neighbours, writing spills, merging them.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::merge::Merger;
use super::run::Run;
use super::segment::{MappedSegment, Segment, SegmentWriter};
use crate::context::Context;
use crate::counters::TaskCounter;
use crate::record::{Record, Scratch};
use crate::reducer::Combiner;

/// Gives records in the order of their keys.
pub(crate) trait Sorted<'a> {
    /// The next record.
    fn peek(&self) -> Option<(&'a [u8], &'a [u8])>;
    /// Goes past the next record.
    fn advance(&mut self) -> Result<()>;
}

impl<'a> Sorted<'a> for Merger<'a> {
    fn peek(&self) -> Option<(&'a [u8], &'a [u8])> {
        Self::peek(self)
    }

    fn advance(&mut self) -> Result<()> {
        Self::advance(self)
    }
}

/// Folds the values of equal neighbouring keys.
#[derive(Debug)]
pub(crate) struct Folder<K, V, C> {
    combiner: C,
    scratch: Scratch,
    folded: Vec<u8>,
    types: PhantomData<fn(K, V)>,
}

impl<K: Record, V: Record, C: Combiner<K, V>> Folder<K, V, C> {
    pub(crate) fn new(combiner: C) -> Self {
        Self { combiner, scratch: Scratch::default(), folded: Vec::new(), types: PhantomData }
    }

    /// Passes every record on, values of equal keys folded into one.
    pub(crate) fn pass<'a>(
        &mut self,
        source: &mut impl Sorted<'a>,
        context: &mut Context,
        mut emit: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (mut taken, mut passed) = (0, 0);
        while let Some((key, value)) = source.peek() {
            source.advance()?;
            taken += 1;
            passed += 1;
            if !C::FOLDS || source.peek().is_none_or(|(next, _)| next != key) {
                emit(key, value)?;
                continue;
            }
            let mut total = V::to_owned(V::decode(value, &self.scratch)?);
            while let Some((next, value)) = source.peek() {
                if next != key {
                    break;
                }
                self.combiner.combine(&mut total, V::decode(value, &self.scratch)?);
                source.advance()?;
                taken += 1;
            }
            self.folded.clear();
            V::encode(V::borrow(&total), &mut self.folded);
            emit(key, &self.folded)?;
            self.scratch.clear();
        }
        if C::FOLDS {
            context.count(TaskCounter::CombineInputRecords, taken);
            context.count(TaskCounter::CombineOutputRecords, passed);
        }
        Ok(())
    }
}

/// The spills of one map attempt.
#[derive(Debug)]
pub(crate) struct Spills {
    dir: PathBuf,
    partitions: u32,
    fan_in: usize,
    created: usize,
    spills: Vec<Segment>,
}

impl Spills {
    /// Spills go to `dir`, which is the attempt's own. One merge reads at most `fan_in` of them.
    pub(crate) fn new(dir: &Path, partitions: u32, fan_in: usize) -> Self {
        Self {
            dir: dir.to_owned(),
            partitions,
            fan_in: fan_in.max(2),
            created: 0,
            spills: Vec::new(),
        }
    }

    /// A file for the next spill.
    pub(crate) fn create(&mut self) -> Result<SegmentWriter> {
        let path = self.dir.join(format!("spill-{}", self.created));
        self.created += 1;
        SegmentWriter::create(&path)
    }

    /// Keeps a written spill.
    pub(crate) fn add(&mut self, spill: Segment, context: &mut Context) {
        context.count(TaskCounter::SpilledRecords, spill.records());
        context.count(TaskCounter::FileBytesWritten, spill.bytes);
        self.spills.push(spill);
    }

    /// Merges everything into one segment at `path`.
    pub(crate) fn finish<K: Record, V: Record, C: Combiner<K, V>>(
        mut self,
        path: &Path,
        folder: &mut Folder<K, V, C>,
        context: &mut Context,
    ) -> Result<Segment> {
        if self.spills.is_empty() {
            let mut writer = SegmentWriter::create(path)?;
            (0..self.partitions).for_each(|_| writer.end_partition());
            return writer.finish();
        }
        while self.spills.len() > self.fan_in {
            // As few spills as possible go through an extra pass: just enough that the rest and the
            // result can be merged at once.
            let count = (self.spills.len() - self.fan_in + 1).min(self.fan_in);
            self.spills.sort_by_key(|spill| std::cmp::Reverse(spill.bytes));
            let smallest = self.spills.split_off(self.spills.len() - count);
            let writer = self.create()?;
            let merged = self.merge(&smallest, writer, folder, context)?;
            self.add(merged, context);
        }
        if self.spills.len() == 1 {
            let mut only = self.spills.remove(0);
            std::fs::rename(&only.path, path)?;
            only.path = path.to_owned();
            return Ok(only);
        }
        let spills = std::mem::take(&mut self.spills);
        let merged = self.merge(&spills, SegmentWriter::create(path)?, folder, context)?;
        context.count(TaskCounter::SpilledRecords, merged.records());
        context.count(TaskCounter::FileBytesWritten, merged.bytes);
        Ok(merged)
    }

    /// Merges spills and removes them.
    fn merge<K: Record, V: Record, C: Combiner<K, V>>(
        &self,
        spills: &[Segment],
        mut writer: SegmentWriter,
        folder: &mut Folder<K, V, C>,
        context: &mut Context,
    ) -> Result<Segment> {
        let mapped =
            spills.iter().map(|s| MappedSegment::open(&s.path)).collect::<Result<Vec<_>>>()?;
        context.count(TaskCounter::FileBytesRead, spills.iter().map(|spill| spill.bytes).sum());
        for partition in 0..self.partitions {
            let runs: Vec<Run> = mapped
                .iter()
                .map(|segment| segment.run(partition).map(|(run, _)| run))
                .collect::<Result<_>>()?;
            let mut merger = Merger::new(runs.iter().map(Run::bytes))?;
            folder.pass(&mut merger, context, |key, value| writer.record(key, value))?;
            writer.end_partition();
            context.progress();
        }
        for spill in spills {
            std::fs::remove_file(&spill.path)?;
        }
        writer.finish()
    }
}
