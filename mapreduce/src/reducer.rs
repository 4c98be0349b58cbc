//! The reduce side of a job, and the combiner that shrinks what travels to it.

use anyhow::Result;

use crate::context::Context;
use crate::mapper::Emit;
use crate::record::Record;
use crate::values::Values;

/// Turns each key with all its values into output records. One clone works on one partition, on one
/// thread, in the order of the encoded keys.
pub trait Reducer<K: Record, V: Record>: Clone + Send + Sync + 'static {
    /// The key it emits.
    type OutKey: Record;
    /// The value it emits.
    type OutValue: Record;

    /// Called once before the first key.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn setup(&mut self, _context: &mut Context) -> Result<()> {
        Ok(())
    }

    /// Called for every key. Values that are not taken are skipped.
    ///
    /// # Errors
    /// An error fails the attempt; its text is what the job's owner sees.
    fn reduce(
        &mut self,
        key: K::Ref<'_>,
        values: &mut Values<'_, '_, V>,
        out: &mut impl Emit<Self::OutKey, Self::OutValue>,
    ) -> Result<()>;

    /// Called once after the last key; may still emit.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn cleanup(&mut self, _out: &mut impl Emit<Self::OutKey, Self::OutValue>) -> Result<()> {
        Ok(())
    }
}

/// Folds the values of a key into one before they leave the map task: a sum, a maximum, a union.
/// It may see the values of a key in any order, in any grouping, any number of times or never, so the
/// fold must be associative and commutative, and the reducer must accept folded values. That is
/// stricter than Hadoop's combiner, and it is what lets values be folded the moment they are
/// emitted.
pub trait Combiner<K: Record, V: Record>: Clone + Send + Sync + 'static {
    /// Whether there is anything to fold; false only for [`NoCombiner`].
    const FOLDS: bool = true;

    /// Folds `value` into `total`, which began as a copy of the key's first value.
    fn combine(&self, total: &mut V::Owned, value: V::Ref<'_>);
}

/// Leaves every record as it was emitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCombiner;

impl<K: Record, V: Record> Combiner<K, V> for NoCombiner {
    const FOLDS: bool = false;

    fn combine(&self, total: &mut V::Owned, value: V::Ref<'_>) {
        *total = V::to_owned(value);
    }
}

/// Adds numbers up: a combiner and a reducer. Whole numbers stop at their type's largest and
/// smallest value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum;

/// Keeps the largest number: a combiner and a reducer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Max;

/// Keeps the smallest number: a combiner and a reducer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Min;

/// Emits every value of every key as it comes, sorted by key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity;

macro_rules! fold {
    ($fold:ident, $type:ty, |$total:ident, $value:ident| $folded:expr) => {
        impl<K: Record> Combiner<K, $type> for $fold {
            #[inline]
            fn combine(&self, $total: &mut $type, $value: $type) {
                *$total = $folded;
            }
        }

        impl<K: Record> Reducer<K, $type> for $fold {
            type OutKey = K;
            type OutValue = $type;

            #[inline]
            fn reduce(
                &mut self,
                key: K::Ref<'_>,
                values: &mut Values<'_, '_, $type>,
                out: &mut impl Emit<K, $type>,
            ) -> Result<()> {
                let Some(mut total) = values.next() else { return Ok(()) };
                for value in values {
                    Combiner::<K, $type>::combine(self, &mut total, value);
                }
                out.emit(key, total)
            }
        }
    };
}

fold!(Sum, u64, |total, value| total.saturating_add(value));
fold!(Sum, u32, |total, value| total.saturating_add(value));
fold!(Sum, i64, |total, value| total.saturating_add(value));
fold!(Sum, i32, |total, value| total.saturating_add(value));
fold!(Sum, f64, |total, value| *total + value);
fold!(Max, u64, |total, value| value.max(*total));
fold!(Max, u32, |total, value| value.max(*total));
fold!(Max, i64, |total, value| value.max(*total));
fold!(Max, i32, |total, value| value.max(*total));
fold!(Max, f64, |total, value| value.max(*total));
fold!(Min, u64, |total, value| value.min(*total));
fold!(Min, u32, |total, value| value.min(*total));
fold!(Min, i64, |total, value| value.min(*total));
fold!(Min, i32, |total, value| value.min(*total));
fold!(Min, f64, |total, value| value.min(*total));

impl<K: Record, V: Record> Reducer<K, V> for Identity {
    type OutKey = K;
    type OutValue = V;

    fn reduce(
        &mut self,
        key: K::Ref<'_>,
        values: &mut Values<'_, '_, V>,
        out: &mut impl Emit<K, V>,
    ) -> Result<()> {
        for value in values {
            out.emit(key, value)?;
        }
        Ok(())
    }
}
