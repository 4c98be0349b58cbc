//! Joins: two sources by key, or a source with a table that is small enough for every task.

mod broadcast;

use std::marker::PhantomData;

use anyhow::{Result, bail};

use crate::conf;
use crate::context::Context;
use crate::grouping::{First, GroupPartitioner};
use crate::input::InputFormat;
use crate::job::{Builder, Job, Mapped};
use crate::mapper::{Emit, Mapper};
use crate::record::{OneOf, Record};
use crate::reducer::{NoCombiner, Reducer};
use crate::several::{Both, Side, Source};
use crate::values::Values;

pub use broadcast::BroadcastTable;

/// Memory for one key's values of the first source, MiB, unless configured.
const DEFAULT_HELD_MB: u64 = 256;

/// What becomes of keys that only one source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// They are left out.
    Inner,
    /// Those of the first source stay.
    LeftOuter,
    /// Those of the second source stay.
    RightOuter,
    /// They all stay.
    FullOuter,
}

impl JoinKind {
    fn keeps_first(self) -> bool {
        matches!(self, Self::LeftOuter | Self::FullOuter)
    }

    fn keeps_second(self) -> bool {
        matches!(self, Self::RightOuter | Self::FullOuter)
    }
}

/// Makes output of the pairs that a join has found. See [`Job::join`].
pub trait Joiner<K: Record, A: Record, B: Record>: Clone + Send + Sync + 'static {
    /// The key it emits.
    type OutKey: Record;
    /// The value it emits.
    type OutValue: Record;

    /// Called once for every pair of values of the same key, and in an outer join once for every value
    /// that has no partner. At least one of `first` and `second` is there.
    ///
    /// # Errors
    /// An error fails the attempt; its text is what the job's owner sees.
    fn pair(
        &mut self,
        key: K::Ref<'_>,
        first: Option<A::Ref<'_>>,
        second: Option<B::Ref<'_>>,
        out: &mut impl Emit<Self::OutKey, Self::OutValue>,
    ) -> Result<()>;
}

/// The mapper of a join's first source: marks what it emits.
pub struct JoinFirst<M, R>(M, PhantomData<fn(R)>);

/// The mapper of a join's second source.
pub struct JoinSecond<M, R>(M, PhantomData<fn(R)>);

/// Puts marks between a source's mapper and the job.
struct MarkFirst<'e, E, R>(&'e mut E, PhantomData<fn(R)>);
struct MarkSecond<'e, E, R>(&'e mut E, PhantomData<fn(R)>);

macro_rules! join_side {
    ($mapper:ident, $mark:ident, $side:ident, $number:literal, $of:ident => $value:ty) => {
        impl<K: Record, $of: Record, R: Record, E: Emit<(K, u8), $value>> Emit<K, $of>
            for $mark<'_, E, R>
        {
            #[inline]
            fn emit(&mut self, key: K::Ref<'_>, value: $of::Ref<'_>) -> Result<()> {
                self.0.emit((key, $number), Side::$side(value))
            }

            fn context(&mut self) -> &mut Context {
                self.0.context()
            }
        }

        impl<M: Clone, R> Clone for $mapper<M, R> {
            fn clone(&self) -> Self {
                Self(self.0.clone(), PhantomData)
            }
        }

        impl<M, $of, R> Mapper for $mapper<M, R>
        where
            M: Mapper<Value = $of>,
            $of: Record,
            R: Record,
        {
            type Input = M::Input;
            type Key = (M::Key, u8);
            type Value = $value;

            fn input(&self) -> Self::Input {
                self.0.input()
            }

            fn setup(&mut self, context: &mut Context) -> Result<()> {
                self.0.setup(context)
            }

            fn map(
                &mut self,
                record: <Self::Input as InputFormat>::Record<'_>,
                out: &mut impl Emit<Self::Key, Self::Value>,
            ) -> Result<()> {
                self.0.map(record, &mut $mark::<_, R>(out, PhantomData))
            }

            fn map_batch(
                &mut self,
                batch: <Self::Input as InputFormat>::Batch<'_>,
                out: &mut impl Emit<Self::Key, Self::Value>,
            ) -> Result<()> {
                self.0.map_batch(batch, &mut $mark::<_, R>(out, PhantomData))
            }

            fn cleanup(&mut self, out: &mut impl Emit<Self::Key, Self::Value>) -> Result<()> {
                self.0.cleanup(&mut $mark::<_, R>(out, PhantomData))
            }
        }
    };
}

join_side!(JoinFirst, MarkFirst, First, 0, V => OneOf<V, R>);
join_side!(JoinSecond, MarkSecond, Second, 1, V => OneOf<R, V>);

/// The mapper of a job that joins two sources.
pub type JoinMapper<A, B> =
    Both<JoinFirst<A, <B as Mapper>::Value>, JoinSecond<B, <A as Mapper>::Value>>;

/// A job that joins two sources, so far.
pub type Joined<A, B> =
    Builder<Mapped<JoinMapper<A, B>, NoCombiner, GroupPartitioner<First>, First>>;

impl Job {
    /// Begins a job that joins two sources by their keys on the reduce side: hand it to a
    /// [`JoinReducer`].
    ///
    /// The values of the second source stream past those of the first, which are kept in memory, one
    /// key at a time: let the source with fewer values for a key be the first. A key's values of the
    /// first source may take `hfs.join.held.mb` MiB (256).
    ///
    /// ```
    /// use hfs_mapreduce::{
    ///     Emit, Job, JoinKind, JoinReducer, Joiner, Line, Mapper, Result, Source, Text, TextInput,
    /// };
    ///
    /// /// Lines as `key value`.
    /// #[derive(Clone)]
    /// struct Fields;
    ///
    /// impl Mapper for Fields {
    ///     type Input = TextInput;
    ///     type Key = Text;
    ///     type Value = Text;
    ///
    ///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
    ///         let end = line.bytes.iter().position(|&byte| byte == b' ');
    ///         let (key, value) = line.bytes.split_at(end.unwrap_or(line.bytes.len()));
    ///         out.emit(key, value)
    ///     }
    /// }
    ///
    /// /// Each order with its user's name.
    /// #[derive(Clone)]
    /// struct WithName;
    ///
    /// impl Joiner<Text, Text, Text> for WithName {
    ///     type OutKey = Text;
    ///     type OutValue = Text;
    ///
    ///     fn pair(
    ///         &mut self,
    ///         _: &[u8],
    ///         name: Option<&[u8]>,
    ///         order: Option<&[u8]>,
    ///         out: &mut impl Emit<Text, Text>,
    ///     ) -> Result<()> {
    ///         out.emit(name.unwrap_or(b"unknown"), order.unwrap_or_default())
    ///     }
    /// }
    ///
    /// let users = Source::new(Fields).input("/users");
    /// let orders = Source::new(Fields).input("/orders");
    /// let job = Job::join(users, orders)
    ///     .reduce(JoinReducer::new(JoinKind::RightOuter, WithName))
    ///     .output("/orders-with-names")
    ///     .build()?;
    /// # anyhow::Ok(())
    /// ```
    pub fn join<A, B>(first: Source<A>, second: Source<B>) -> Joined<A, B>
    where
        A: Mapper,
        B: Mapper<Key = A::Key>,
    {
        let first = first.wrap(|mapper| JoinFirst(mapper, PhantomData));
        let second = second.wrap(|mapper| JoinSecond(mapper, PhantomData));
        Job::map(Both::new(first, second)).group_by(First)
    }
}

/// The reducer of a job that [`Job::join`] has begun: pairs values and hands them to a [`Joiner`].
pub struct JoinReducer<A: Record, J> {
    kind: JoinKind,
    joiner: J,
    /// The values of the first source for the key at hand.
    held: Vec<A::Owned>,
    most_held_bytes: u64,
}

impl<A: Record, J: Clone> Clone for JoinReducer<A, J> {
    /// Without the values at hand: those are a running task's own.
    fn clone(&self) -> Self {
        Self::new(self.kind, self.joiner.clone())
    }
}

impl<A: Record, J> JoinReducer<A, J> {
    /// Joins as `kind` says.
    #[must_use]
    pub fn new(kind: JoinKind, joiner: J) -> Self {
        Self { kind, joiner, held: Vec::new(), most_held_bytes: DEFAULT_HELD_MB << 20 }
    }
}

impl<K, A, B, J> Reducer<(K, u8), OneOf<A, B>> for JoinReducer<A, J>
where
    K: Record,
    A: Record,
    B: Record,
    J: Joiner<K, A, B>,
{
    type OutKey = J::OutKey;
    type OutValue = J::OutValue;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        let mb = context.conf().parsed_or(conf::JOIN_HELD_MB, DEFAULT_HELD_MB)?;
        self.most_held_bytes = mb.saturating_mul(1 << 20);
        Ok(())
    }

    fn reduce(
        &mut self,
        (key, _): (K::Ref<'_>, u8),
        values: &mut Values<'_, '_, OneOf<A, B>>,
        out: &mut impl Emit<J::OutKey, J::OutValue>,
    ) -> Result<()> {
        self.held.clear();
        let mut held_bytes = 0;
        let mut paired = false;
        while let Some(((key, _), value)) = values.next_with_key::<(K, u8)>() {
            match value {
                Side::First(first) => {
                    let owned = A::to_owned(first);
                    held_bytes += (A::heap_bytes(&owned) + size_of::<A::Owned>()) as u64;
                    if held_bytes > self.most_held_bytes {
                        bail!(
                            "the values of the join's first source for this one key take more than {} MiB; \
                             let the other source be the first, or raise it with -D {}=...",
                            self.most_held_bytes >> 20,
                            conf::JOIN_HELD_MB
                        );
                    }
                    self.held.push(owned);
                }
                Side::Second(second) => {
                    paired = true;
                    for first in &self.held {
                        self.joiner.pair(key, Some(A::borrow(first)), Some(second), out)?;
                    }
                    if self.held.is_empty() && self.kind.keeps_second() {
                        self.joiner.pair(key, None, Some(second), out)?;
                    }
                }
            }
        }
        if !paired && self.kind.keeps_first() {
            for first in &self.held {
                self.joiner.pair(key, Some(A::borrow(first)), None, out)?;
            }
        }
        Ok(())
    }
}
