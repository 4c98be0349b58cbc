//! Sorted records on local disk: writing spills, merging them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::attempt::Environment;
use super::combine::Folder;
use super::merge::Merger;
use super::packed::Packing;
use super::run::Run;
use super::segment::{MappedSegment, Segment, SegmentWriter, SortedWriter as _};
use crate::context::Context;
use crate::counters::TaskCounter;
use crate::record::Record;
use crate::reducer::Combiner;

/// The spills of one map attempt.
#[derive(Debug)]
pub(crate) struct Spills {
    dir: PathBuf,
    partitions: u32,
    fan_in: usize,
    /// How the one segment is packed in the end; spills are not.
    packing: Option<Packing>,
    write_behind: bool,
    /// So many need not be merged in the end.
    unmerged: usize,
    created: usize,
    spills: Vec<Segment>,
}

impl Spills {
    /// Spills go to the attempt's own directory. One merge reads at most the fan-in of them.
    pub(crate) fn new(env: &Environment, partitions: u32) -> Self {
        Self {
            dir: env.work_dir.clone(),
            partitions,
            fan_in: env.fan_in.max(2),
            packing: env.packing,
            write_behind: env.write_behind,
            unmerged: env.unmerged_spills,
            created: 0,
            spills: Vec::new(),
        }
    }

    /// Whether nothing was spilled yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.spills.is_empty()
    }

    /// A file for the next spill. A `last` one that is the only one will be the segment as it is.
    pub(crate) fn create(&mut self, last: bool) -> Result<SegmentWriter> {
        let path = self.dir.join(format!("spill-{}", self.created));
        self.created += 1;
        let packing = self.packing.filter(|_| last && self.spills.is_empty());
        Ok(SegmentWriter::create(&path, packing)?.writing_behind(self.write_behind))
    }

    /// Keeps a written spill.
    pub(crate) fn add(&mut self, spill: Segment, context: &mut Context) {
        context.count(TaskCounter::SpilledRecords, spill.records());
        context.count(TaskCounter::FileBytesWritten, spill.bytes);
        self.spills.push(spill);
    }

    /// Merges everything into one segment at `path`, or gives the spills as they are if they are few enough.
    pub(crate) fn finish<K: Record, V: Record, C: Combiner<K, V>>(
        mut self,
        path: &Path,
        folder: &mut Folder<K, V, C>,
        context: &mut Context,
    ) -> Result<Vec<Segment>> {
        if self.spills.is_empty() {
            let mut writer = SegmentWriter::create(path, self.packing)?;
            (0..self.partitions).try_for_each(|_| writer.end_partition())?;
            return Ok(vec![writer.finish()?]);
        }
        if self.spills.len() <= self.unmerged {
            return Ok(self.spills);
        }
        while self.spills.len() > self.fan_in {
            // As few spills as possible go through an extra pass: just enough that the rest and the
            // result can be merged at once.
            let count = (self.spills.len() - self.fan_in + 1).min(self.fan_in);
            self.spills.sort_by_key(|spill| std::cmp::Reverse(spill.bytes));
            let smallest = self.spills.split_off(self.spills.len() - count);
            let writer = self.create(false)?;
            let merged = self.merge(&smallest, writer, folder, context)?;
            self.add(merged, context);
        }
        if let [only] = &self.spills[..]
            && only.packing == self.packing
        {
            let mut only = self.spills.remove(0);
            std::fs::rename(&only.path, path)?;
            only.path = path.to_owned();
            return Ok(vec![only]);
        }
        let spills = std::mem::take(&mut self.spills);
        let merged =
            self.merge(&spills, SegmentWriter::create(path, self.packing)?, folder, context)?;
        context.count(TaskCounter::SpilledRecords, merged.records());
        context.count(TaskCounter::FileBytesWritten, merged.bytes);
        Ok(vec![merged])
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
            let mut merger = Merger::new(&runs, context.shared())?;
            folder.pass(&mut merger, context, |key, value| writer.record(key, value))?;
            writer.end_partition()?;
            context.progress();
        }
        for spill in spills {
            std::fs::remove_file(&spill.path)?;
        }
        writer.finish()
    }
}
