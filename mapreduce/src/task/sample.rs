//! Keys of a job's map output, before the job runs: the mapper itself maps a little of its input.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hfs_protocol::proto::task::InputSplit;

use super::guard::guarded;
use crate::conf::{self, Conf};
use crate::context::{Context, Shared};
use crate::files::Files;
use crate::input::{BatchReader, InputFormat};
use crate::mapper::{Emit, Mapper};
use crate::named::NamedOutputs;
use crate::partition::SampleAmount;
use crate::record::Record;

/// Gives `keep` the encoded keys of records from the beginnings of splits that lie evenly over the
/// input. What the mapper counts and writes besides is dropped.
pub(crate) fn sample_keys<M: Mapper>(
    mapper: &M,
    input: &M::Input,
    splits: &[InputSplit],
    files: &Files,
    conf: &Arc<Conf>,
    amount: SampleAmount,
    keep: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let count = splits.len().min(amount.splits.max(1));
    let mut keys_left = amount.keys;
    for number in 0..count {
        let split = &splits[number * splits.len() / count];
        let mut context = Context::new(
            Arc::clone(conf),
            format!("sample_{number}"),
            u32::try_from(number).unwrap_or(u32::MAX),
            0,
            Arc::new(Shared::default()),
        )
        .with_files(files.clone());
        context.outputs = NamedOutputs::dropped();
        let wanted = keys_left.div_ceil(count - number);
        let mut out = SampleEmit { context: &mut context, left: wanted, keep, key: Vec::new() };
        sample_split(mapper.clone(), input, split, files, conf, &mut out)
            .with_context(|| format!("keys of the split {} can't be sampled", split.description))?;
        keys_left -= wanted - out.left;
    }
    Ok(())
}

fn sample_split<M: Mapper>(
    mut mapper: M,
    input: &M::Input,
    split: &InputSplit,
    files: &Files,
    conf: &Conf,
    out: &mut SampleEmit<'_>,
) -> Result<()> {
    let mut reader = input.open(split, files, conf)?;
    guarded(|| mapper.setup(out.context)).context("the mapper's setup failed")?;
    let skips = conf.parsed_or(conf::MAP_SKIP_MAX_RECORDS, 0_u64)? > 0;
    while out.left > 0 {
        let mapped = match guarded(|| reader.next_batch())? {
            Some(batch) if skips => {
                batch.into_iter().for_each(|record| {
                    // It will be left out, or it will fail the job: that is for the maps to find.
                    let _ = guarded(|| mapper.map(record, out));
                });
                Ok(())
            }
            Some(batch) => guarded(|| mapper.map_batch(batch, out)),
            None => break,
        };
        // The error that stops the mapper once there are enough is no failure.
        if out.left > 0 {
            mapped.with_context(|| format!("the mapper failed in {}", reader.position()))?;
        }
    }
    Ok(())
}

/// Keeps keys until there are enough.
struct SampleEmit<'a> {
    context: &'a mut Context,
    left: usize,
    keep: &'a mut dyn FnMut(&[u8]),
    key: Vec<u8>,
}

impl<K: Record, V: Record> Emit<K, V> for SampleEmit<'_> {
    fn emit(&mut self, key: K::Ref<'_>, _: V::Ref<'_>) -> Result<()> {
        if self.left == 0 {
            bail!("enough keys have been sampled");
        }
        self.left -= 1;
        K::with_encoded(key, &mut self.key, |encoded| (self.keep)(encoded));
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        self.context
    }
}
