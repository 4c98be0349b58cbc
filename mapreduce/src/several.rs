//! Several inputs with a mapper each (Hadoop's `MultipleInputs`).

use anyhow::{Context as _, Result};
use hfs_protocol::proto::task::InputSplit;

use crate::conf::Conf;
use crate::context::Context;
use crate::files::Files;
use crate::input::{BatchReader, CurrentSplit, InputFormat, ReadCounts, SplitContext};
use crate::mapper::{Emit, Mapper};
use crate::task::guard::guarded;

/// One of two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side<A, B> {
    /// Of the first source.
    First(A),
    /// Of the second source.
    Second(B),
}

impl<A: Default, B> Default for Side<A, B> {
    fn default() -> Self {
        Self::First(A::default())
    }
}

impl<A: Iterator, B: Iterator> Iterator for Side<A, B> {
    type Item = Side<A::Item, B::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::First(first) => first.next().map(Side::First),
            Self::Second(second) => second.next().map(Side::Second),
        }
    }
}

/// A mapper with its own inputs: a part of a job that reads several things. See [`Both`].
#[derive(Clone)]
pub struct Source<M: Mapper> {
    mapper: M,
    format: M::Input,
    paths: Vec<String>,
}

impl<M: Mapper> Source<M> {
    /// A source that `mapper` maps.
    #[must_use]
    pub fn new(mapper: M) -> Self {
        Self { format: mapper.input(), mapper, paths: Vec::new() }
    }

    /// Adds an input: a file, a directory or a pattern.
    #[must_use]
    pub fn input(mut self, path: impl Into<String>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// The input format, when its default won't do.
    #[must_use]
    pub fn input_format(mut self, format: M::Input) -> Self {
        self.format = format;
        self
    }

    /// The same source with its mapper inside another one.
    pub(crate) fn wrap<N: Mapper<Input = M::Input>>(self, wrap: impl FnOnce(M) -> N) -> Source<N> {
        Source { mapper: wrap(self.mapper), format: self.format, paths: self.paths }
    }
}

/// The mapper of a job that reads two sources, each with a mapper of its own; their keys and values
/// are alike. For three, put a `Both` into a [`Source`]. The job itself needs no input paths.
///
/// A mapper is set up when the first record of its source comes.
///
/// ```
/// use hfs_mapreduce::{
///     Both, Emit, Job, Line, Mapper, RangeInput, Result, Source, Sum, Text, TextInput, words,
/// };
///
/// #[derive(Clone)]
/// struct Words;
///
/// impl Mapper for Words {
///     type Input = TextInput;
///     type Key = Text;
///     type Value = u64;
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
///         words(line.bytes).try_for_each(|word| out.emit(word, 1))
///     }
/// }
///
/// #[derive(Clone)]
/// struct Numerals;
///
/// impl Mapper for Numerals {
///     type Input = RangeInput;
///     type Key = Text;
///     type Value = u64;
///
///     fn map(&mut self, number: u64, out: &mut impl Emit<Text, u64>) -> Result<()> {
///         out.emit(number.to_string().as_bytes(), 1)
///     }
/// }
///
/// let sources = Both::new(
///     Source::new(Words).input("/books"),
///     Source::new(Numerals).input_format(RangeInput::new(1000, 2)),
/// );
/// let job = Job::map(sources).combine(Sum).reduce(Sum).output("/counts").build()?;
/// # anyhow::Ok(())
/// ```
#[derive(Clone)]
pub struct Both<A: Mapper, B: Mapper> {
    first: Source<A>,
    second: Source<B>,
    /// Which mappers have been set up.
    ready: (bool, bool),
}

impl<A: Mapper, B: Mapper<Key = A::Key, Value = A::Value>> Both<A, B> {
    /// Reads both sources.
    #[must_use]
    pub fn new(first: Source<A>, second: Source<B>) -> Self {
        Self { first, second, ready: (false, false) }
    }
}

/// The input of [`Both`].
#[derive(Clone)]
pub struct BothInput<A, B> {
    first: (A, Vec<String>),
    second: (B, Vec<String>),
}

impl<A: Default, B: Default> Default for BothInput<A, B> {
    fn default() -> Self {
        Self { first: <_>::default(), second: <_>::default() }
    }
}

/// What marks a split's source, before the payload of the source's own format.
const FIRST: u8 = 0;
const SECOND: u8 = 1;

impl<A: InputFormat, B: InputFormat> InputFormat for BothInput<A, B> {
    type Record<'a> = Side<A::Record<'a>, B::Record<'a>>;
    type Batch<'a> = Side<A::Batch<'a>, B::Batch<'a>>;
    type Reader = Side<A::Reader, B::Reader>;

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        let of = |inputs| SplitContext { inputs, ..*context };
        let mut splits = Vec::new();
        let first = self.first.0.splits(&of(&self.first.1))?;
        let second = self.second.0.splits(&of(&self.second.1))?;
        for (mark, source) in [(FIRST, first), (SECOND, second)] {
            splits.extend(source.into_iter().map(|mut split| {
                split.payload = [&[mark], &split.payload[..]].concat().into();
                split
            }));
        }
        Ok(splits)
    }

    fn open(&self, split: &InputSplit, files: &Files, conf: &Conf) -> Result<Self::Reader> {
        let &mark = split.payload.first().context("the split has no source")?;
        let split = InputSplit { payload: split.payload.slice(1..), ..split.clone() };
        Ok(match mark {
            FIRST => Side::First(self.first.0.open(&split, files, conf)?),
            _ => Side::Second(self.second.0.open(&split, files, conf)?),
        })
    }
}

impl<A: InputFormat, B: InputFormat> BatchReader<BothInput<A, B>> for Side<A::Reader, B::Reader> {
    fn next_batch(&mut self) -> Result<Option<Side<A::Batch<'_>, B::Batch<'_>>>> {
        Ok(match self {
            Self::First(reader) => reader.next_batch()?.map(Side::First),
            Self::Second(reader) => reader.next_batch()?.map(Side::Second),
        })
    }

    fn fraction(&self) -> f64 {
        match self {
            Self::First(reader) => reader.fraction(),
            Self::Second(reader) => reader.fraction(),
        }
    }

    fn position(&self) -> String {
        match self {
            Self::First(reader) => reader.position(),
            Self::Second(reader) => reader.position(),
        }
    }

    fn take_counts(&mut self) -> ReadCounts {
        match self {
            Self::First(reader) => reader.take_counts(),
            Self::Second(reader) => reader.take_counts(),
        }
    }

    fn current_split(&self) -> CurrentSplit {
        match self {
            Self::First(reader) => reader.current_split(),
            Self::Second(reader) => reader.current_split(),
        }
    }
}

/// A source's setup failed, at its first record but not because of it.
#[derive(Debug, thiserror::Error)]
#[error("the {0} source's setup failed")]
pub(crate) struct SetupFailed(&'static str);

#[cfg(test)]
impl SetupFailed {
    pub(crate) fn for_test() -> Self {
        Self("tested")
    }
}

impl<A: Mapper, B: Mapper<Key = A::Key, Value = A::Value>> Both<A, B> {
    fn first(&mut self, context: &mut Context) -> Result<&mut A> {
        if !self.ready.0 {
            guarded(|| self.first.mapper.setup(context)).context(SetupFailed("first"))?;
            self.ready.0 = true;
        }
        Ok(&mut self.first.mapper)
    }

    fn second(&mut self, context: &mut Context) -> Result<&mut B> {
        if !self.ready.1 {
            guarded(|| self.second.mapper.setup(context)).context(SetupFailed("second"))?;
            self.ready.1 = true;
        }
        Ok(&mut self.second.mapper)
    }
}

impl<A: Mapper, B: Mapper<Key = A::Key, Value = A::Value>> Mapper for Both<A, B> {
    type Input = BothInput<A::Input, B::Input>;
    type Key = A::Key;
    type Value = A::Value;

    fn input(&self) -> Self::Input {
        let of_first = (self.first.format.clone(), self.first.paths.clone());
        BothInput {
            first: of_first,
            second: (self.second.format.clone(), self.second.paths.clone()),
        }
    }

    fn map(
        &mut self,
        record: <Self::Input as InputFormat>::Record<'_>,
        out: &mut impl Emit<A::Key, A::Value>,
    ) -> Result<()> {
        match record {
            Side::First(record) => self.first(out.context())?.map(record, out),
            Side::Second(record) => self.second(out.context())?.map(record, out),
        }
    }

    fn map_batch(
        &mut self,
        batch: <Self::Input as InputFormat>::Batch<'_>,
        out: &mut impl Emit<A::Key, A::Value>,
    ) -> Result<()> {
        match batch {
            Side::First(batch) => self.first(out.context())?.map_batch(batch, out),
            Side::Second(batch) => self.second(out.context())?.map_batch(batch, out),
        }
    }

    fn cleanup(&mut self, out: &mut impl Emit<A::Key, A::Value>) -> Result<()> {
        if self.ready.0 {
            self.first.mapper.cleanup(out)?;
        }
        if self.ready.1 {
            self.second.mapper.cleanup(out)?;
        }
        Ok(())
    }
}
