//! Combining sorted records on their way to disk, by a fold or by a reducer.

use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::guard::guarded;
use super::merge::Merger;
use crate::context::Context;
use crate::counters::TaskCounter;
use crate::mapper::Emit;
use crate::record::{Record, Scratch};
use crate::reducer::{Combiner, NoCombiner, Reducer};
use crate::values::Values;

/// How a job shrinks its map output: by a fold, by a reducer, or (a fold that does not fold) not at
/// all. A fold also works on records that are not sorted yet.
#[derive(Clone)]
pub(crate) struct Combining<C> {
    pub(crate) fold: C,
    /// Not a type parameter: it is called once for many records, so one indirect call costs nothing,
    /// and jobs without it are not compiled for it.
    pub(crate) reducer: Option<Arc<dyn GroupCombiner>>,
}

impl<C> Combining<C> {
    pub(crate) fn fold(fold: C) -> Self {
        Self { fold, reducer: None }
    }
}

impl Combining<NoCombiner> {
    pub(crate) fn reducer(reducer: impl GroupCombiner + 'static) -> Self {
        Self { fold: NoCombiner, reducer: Some(Arc::new(reducer)) }
    }
}

/// Takes a key and a value on.
pub(crate) type Pass<'p> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'p;

/// Takes sorted records to fewer ones.
pub(crate) trait GroupCombiner: Send + Sync {
    /// Combines all records of `source`, which are of one partition, and gives the results to `pass`
    /// in the order of their keys.
    fn combine(
        &self,
        source: &mut Merger<'_>,
        context: &mut Context,
        pass: &mut Pass<'_>,
    ) -> Result<()>;
}

/// A reducer as combiner. As in Hadoop each partition of each spill or merge gets a reducer of its
/// own, set up and cleaned up.
pub(crate) struct ReducerAsCombiner<K, V, R> {
    reducer: R,
    types: PhantomData<fn(K, V)>,
}

impl<K, V, R> ReducerAsCombiner<K, V, R> {
    pub(crate) fn new(reducer: R) -> Self {
        Self { reducer, types: PhantomData }
    }
}

impl<K, V, R> GroupCombiner for ReducerAsCombiner<K, V, R>
where
    K: Record,
    V: Record,
    R: Reducer<K, V, OutKey = K, OutValue = V>,
{
    fn combine(
        &self,
        source: &mut Merger<'_>,
        context: &mut Context,
        pass: &mut Pass<'_>,
    ) -> Result<()> {
        if source.peek().is_none() {
            return Ok(());
        }
        let mut reducer = self.reducer.clone();
        let mut taken = 0;
        let mut out =
            CombinerEmit { context, pass, group: &[], passed: 0, buffers: <_>::default() };
        guarded(|| {
            reducer.setup(out.context)?;
            let mut scratch = Scratch::default();
            while let Some((key, _)) = source.peek() {
                out.group = key;
                let mut values = Values::<V>::new::<K>(source, &scratch, key, None);
                reducer.reduce(K::decode(key, &scratch)?, &mut values, &mut out)?;
                taken += values.finish()?;
                scratch.clear();
            }
            reducer.cleanup(&mut out)
        })
        .context("the combiner failed")?;
        let passed = out.passed;
        context.count(TaskCounter::CombineInputRecords, taken);
        context.count(TaskCounter::CombineOutputRecords, passed);
        Ok(())
    }
}

/// Passes on what a combiner emits.
struct CombinerEmit<'c, 'a> {
    context: &'c mut Context,
    pass: &'c mut Pass<'c>,
    /// The key that the combiner was given last.
    group: &'a [u8],
    passed: u64,
    buffers: (Vec<u8>, Vec<u8>),
}

impl<K: Record, V: Record> Emit<K, V> for CombinerEmit<'_, '_> {
    fn emit(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        let (key_buffer, value_buffer) = &mut self.buffers;
        self.context.tick();
        let (group, pass) = (self.group, &mut self.pass);
        V::with_encoded(value, value_buffer, |value| {
            K::with_encoded(key, key_buffer, |key| {
                // Another key could belong to another partition or before what is written already.
                if key != group {
                    bail!("it emitted a key other than the one it was given");
                }
                pass(key, value)
            })
        })?;
        self.passed += 1;
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        self.context
    }
}

/// Combines neighbours as records pass by.
pub(crate) struct Folder<K, V, C> {
    combining: Combining<C>,
    scratch: Scratch,
    folded: Vec<u8>,
    types: PhantomData<fn(K, V)>,
}

impl<K: Record, V: Record, C: Combiner<K, V>> Folder<K, V, C> {
    pub(crate) fn new(combining: Combining<C>) -> Self {
        Self { combining, scratch: Scratch::default(), folded: Vec::new(), types: PhantomData }
    }

    /// Passes every record on, those of equal keys combined.
    pub(crate) fn pass<'a>(
        &mut self,
        source: &mut Merger<'a>,
        context: &mut Context,
        mut emit: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        if let Some(reducer) = &self.combining.reducer {
            return reducer.combine(source, context, &mut emit);
        }
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
                self.combining.fold.combine(&mut total, V::decode(value, &self.scratch)?);
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
