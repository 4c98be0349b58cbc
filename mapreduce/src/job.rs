//! A job: what to read, how to map, combine, partition and reduce, where to write.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, bail};
use hfs_protocol::proto::task::InputSplit;
use hfs_protocol::shuffle::MAX_PARTITIONS;

use crate::cache;
use crate::compress::Codec;
use crate::conf::{self, Conf};
use crate::context::Context;
use crate::files::Files;
use crate::grouping::{GroupPartitioner, Grouping, WholeKey};
use crate::input::{InputFormat, SplitContext};
use crate::mapper::Mapper;
use crate::output::{OutputFormat, TextOutput};
use crate::partition::{HashPartitioner, KeySampler, Partitioner};
use crate::reducer::{Combiner, NoCombiner, Reducer};
use crate::task::attempt::{Environment, Written};
use crate::task::combine::{Combining, GroupCombiner, ReducerAsCombiner};
use crate::task::keep::MapOutput;
use crate::task::map::{map_for_reducers, map_to_output};
use crate::task::packed::Packing;
use crate::task::reduce::{ReduceInputs, reduce};
use crate::task::sample::sample_keys;

/// A job that is ready to run. Made by [`Job::map`].
///
/// ```
/// # use hfs_mapreduce::{Emit, Job, Line, Mapper, Result, Sum, Text, TextInput, words};
/// # #[derive(Clone)]
/// # struct WordCount;
/// # impl Mapper for WordCount {
/// #     type Input = TextInput;
/// #     type Key = Text;
/// #     type Value = u64;
/// #     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
/// #         words(line.bytes).try_for_each(|word| out.emit(word, 1))
/// #     }
/// # }
/// let job: Job = Job::map(WordCount)
///     .combine(Sum)
///     .reduce(Sum)
///     .name("word count")
///     .input("/in")
///     .output("/out")
///     .build()?;
/// # anyhow::Ok(())
/// ```
pub struct Job {
    pub(crate) settings: Settings,
    pub(crate) program: Box<dyn Program>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a job is apart from its code.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Which job of its program it is, from 0.
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) output: String,
    pub(crate) reduces: Option<u32>,
    pub(crate) conf: Conf,
}

/// What is decided once, before a job's tasks run, and is the same for all of them.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) splits: Vec<InputSplit>,
    pub(crate) reduces: u32,
    pub(crate) conf: Conf,
}

impl Plan {
    /// Bytes of all splits.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.splits.iter().map(|split| split.length_bytes).sum()
    }

    /// How many reduces the input is worth, if nobody says how many there are to be.
    fn worth_reduces(&self) -> u32 {
        let worth = (self.splits.len() as u64).max(self.input_bytes() / BYTES_PER_REDUCE);
        u32::try_from(worth).unwrap_or(u32::MAX).max(1)
    }
}

/// Input for which another reduce is worth its process and its file, if nobody says how many there are to be; so is
/// every map.
const BYTES_PER_REDUCE: u64 = 64 << 20;

/// A job's code with its types hidden, so that everything around it is compiled once.
pub(crate) trait Program: Send + Sync {
    fn has_reducer(&self) -> bool;
    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>>;
    /// Lets the partitioner put what all tasks must know into the plan's configuration.
    fn plan_partitions(&self, files: &Files, plan: &mut Plan) -> Result<()>;
    /// Maps for reducers, and into named outputs.
    fn map(
        &self,
        split: &InputSplit,
        env: &Environment,
        context: &mut Context,
    ) -> Result<(MapOutput, Vec<Written>)>;
    /// Maps into an output file, in a job without reducers.
    fn map_only(
        &self,
        split: &InputSplit,
        env: &Environment,
        context: &mut Context,
    ) -> Result<Vec<Written>>;
    fn reduce(
        &self,
        inputs: &mut dyn ReduceInputs,
        env: &Environment,
        context: &mut Context,
    ) -> Result<Vec<Written>>;
}

impl Job {
    /// Begins a job with its mapper.
    pub fn map<M: Mapper>(mapper: M) -> Builder<Mapped<M, NoCombiner, HashPartitioner>> {
        Builder {
            settings: Settings::default(),
            stage: Mapped {
                input: mapper.input(),
                mapper,
                combining: Combining::fold(NoCombiner),
                partitioner: HashPartitioner,
                grouping: WholeKey,
            },
        }
    }

    /// The job's name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The directory it will make; empty for a job without output.
    #[must_use]
    pub fn output(&self) -> &str {
        &self.settings.output
    }

    /// The paths and patterns it reads.
    #[must_use]
    pub fn inputs(&self) -> &[String] {
        &self.settings.inputs
    }

    /// Its configuration.
    pub fn conf_mut(&mut self) -> &mut Conf {
        &mut self.settings.conf
    }

    /// Takes properties that were given from outside: they win over the program's own.
    pub fn override_conf(&mut self, conf: &Conf) {
        for (name, value) in conf.iter() {
            self.settings.conf.set(name, value);
        }
        if let Some(name) = conf.get(conf::JOB_NAME).filter(|name| !name.is_empty()) {
            name.clone_into(&mut self.settings.name);
        }
    }

    /// Makes the paths of inputs and output those of the file system that the job runs on.
    pub(crate) fn resolve_paths(&mut self, files: &Files) -> Result<()> {
        let Settings { inputs, output, .. } = &mut self.settings;
        for path in inputs.iter_mut().chain([output]) {
            *path = files.resolve(path)?;
        }
        Ok(())
    }

    /// Cuts the input into splits and decides all that tasks must agree on. `most_reduces`: so many reduces there are
    /// at most if nobody says how many. `parallelism`: tasks that run at once, where that is known.
    pub(crate) fn plan(
        &self,
        files: &Files,
        most_reduces: u32,
        parallelism: Option<usize>,
    ) -> Result<Plan> {
        let conf = &self.settings.conf;
        // Whoever asks for what there is not hears it before anything runs.
        Packing::of(conf)?;
        let inputs = &self.settings.inputs;
        let splits = self.program.splits(&SplitContext { files, conf, inputs, parallelism })?;
        let mut plan = Plan { splits, reduces: 0, conf: conf.clone() };
        plan.reduces = self.reduces(most_reduces.min(plan.worth_reduces()))?;
        self.program.plan_partitions(files, &mut plan)?;
        Ok(plan)
    }

    /// The number of reduce tasks: the configured one, else the program's, else `default`; 0 for a
    /// job without a reducer.
    pub(crate) fn reduces(&self, default: u32) -> Result<u32> {
        if !self.program.has_reducer() {
            return Ok(0);
        }
        let reduces = match self.settings.conf.parsed(conf::REDUCES)? {
            Some(reduces) => reduces,
            None => self.settings.reduces.unwrap_or(default),
        };
        if !(1..=MAX_PARTITIONS).contains(&reduces) {
            bail!("a job can have 1 to {MAX_PARTITIONS} reduce tasks, not {reduces}");
        }
        Ok(reduces)
    }
}

/// Collects what a job needs, in any order.
#[derive(Clone)]
pub struct Builder<S> {
    settings: Settings,
    stage: S,
}

/// A job with a mapper so far.
#[derive(Clone)]
pub struct Mapped<M: Mapper, C, P, G = WholeKey> {
    mapper: M,
    input: M::Input,
    combining: Combining<C>,
    partitioner: P,
    grouping: G,
}

/// A job whose mapper writes the output.
#[derive(Clone)]
pub struct MapOnly<M: Mapper, O> {
    mapper: M,
    input: M::Input,
    output: O,
}

/// A job with a mapper and a reducer.
#[derive(Clone)]
pub struct Reduced<M: Mapper, C, P, R, O, G = WholeKey> {
    mapped: Mapped<M, C, P, G>,
    reducer: R,
    output: O,
}

impl<S> Builder<S> {
    fn stage<T>(self, change: impl FnOnce(S) -> T) -> Builder<T> {
        Builder { settings: self.settings, stage: change(self.stage) }
    }

    /// The job's name, for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Adds an input: a file, a directory or a pattern.
    #[must_use]
    pub fn input(mut self, path: impl Into<String>) -> Self {
        self.settings.inputs.push(path.into());
        self
    }

    /// Adds inputs.
    #[must_use]
    pub fn inputs<T: Into<String>>(mut self, paths: impl IntoIterator<Item = T>) -> Self {
        self.settings.inputs.extend(paths.into_iter().map(Into::into));
        self
    }

    /// The output directory. It must not exist when the job starts.
    #[must_use]
    pub fn output(mut self, path: impl Into<String>) -> Self {
        self.settings.output = path.into();
        self
    }

    /// How many reduce tasks, and so output files, unless the user says otherwise.
    #[must_use]
    pub fn reduces(mut self, reduces: u32) -> Self {
        self.settings.reduces = Some(reduces);
        self
    }

    /// Sets a property, unless the user says otherwise.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.conf.set(name, value);
        self
    }

    /// Puts a file, or a directory with all below it, into the working directory of every task
    /// (Hadoop's `Job.addCacheFile`): [`Context::cached`] says where. `path#name` gives it a name
    /// there; otherwise it has its own. A plain path is one of the job's file system; with
    /// `file:///` in front it is one of this machine, and is brought to the cluster.
    ///
    /// ```
    /// use std::collections::HashSet;
    ///
    /// use hfs_mapreduce::{Context, Emit, Job, Line, Mapper, Result, Sum, Text, TextInput, words};
    ///
    /// /// Counts words that are not in a list.
    /// #[derive(Clone, Default)]
    /// struct Words {
    ///     stop: HashSet<Vec<u8>>,
    /// }
    ///
    /// impl Mapper for Words {
    ///     type Input = TextInput;
    ///     type Key = Text;
    ///     type Value = u64;
    ///
    ///     fn setup(&mut self, context: &mut Context) -> Result<()> {
    ///         let list = std::fs::read(context.cached("stop"))?;
    ///         self.stop = words(&list).map(<[u8]>::to_vec).collect();
    ///         Ok(())
    ///     }
    ///
    ///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
    ///         let mut words = words(line.bytes).filter(|word| !self.stop.contains(*word));
    ///         words.try_for_each(|word| out.emit(word, 1))
    ///     }
    /// }
    ///
    /// let job = Job::map(Words::default())
    ///     .cache_file("/lists/stop-words.txt#stop")
    ///     .combine(Sum)
    ///     .reduce(Sum)
    ///     .input("/in")
    ///     .output("/out")
    ///     .build()?;
    /// # anyhow::Ok(())
    /// ```
    #[must_use]
    pub fn cache_file(mut self, path: impl AsRef<str>) -> Self {
        cache::append(&mut self.settings.conf, conf::CACHE_FILES, path.as_ref());
        self
    }

    /// As [`Builder::cache_file`] for an archive (`.tar`, `.tar.gz`, `.tgz`, `.zip`, `.jar`), which is
    /// unpacked once on each node: the name is that of the directory with its entries (Hadoop's
    /// `Job.addCacheArchive`).
    #[must_use]
    pub fn cache_archive(mut self, path: impl AsRef<str>) -> Self {
        cache::append(&mut self.settings.conf, conf::CACHE_ARCHIVES, path.as_ref());
        self
    }

    /// Compresses text output, unless the user says otherwise. Files get the format's ending, and are
    /// read by the programs of that format as by later jobs.
    #[must_use]
    pub fn compress_output(self, codec: Codec) -> Self {
        self.set(conf::OUTPUT_COMPRESS, "true").set(conf::OUTPUT_CODEC, codec.name())
    }

    fn finish(self, writes: bool, program: impl FnOnce(S) -> Box<dyn Program>) -> Result<Job> {
        let mut settings = self.settings;
        if !writes {
            settings.output.clear();
        } else if settings.output.is_empty() {
            bail!("the job has no output directory; give it one");
        }
        if settings.name.is_empty() {
            settings.name = "unnamed job".to_owned();
        }
        Ok(Job { settings, program: program(self.stage) })
    }
}

impl<M: Mapper, C, P, G> Builder<Mapped<M, C, P, G>> {
    /// The input format, when its default won't do.
    #[must_use]
    pub fn input_format(mut self, input: M::Input) -> Self {
        self.stage.input = input;
        self
    }

    fn combining<D>(self, combining: Combining<D>) -> Builder<Mapped<M, D, P, G>> {
        self.stage(|Mapped { mapper, input, partitioner, grouping, .. }| Mapped {
            mapper,
            input,
            combining,
            partitioner,
            grouping,
        })
    }

    /// Folds values of equal keys before they leave the map task.
    #[must_use]
    pub fn combine<D: Combiner<M::Key, M::Value>>(
        self,
        combiner: D,
    ) -> Builder<Mapped<M, D, P, G>> {
        self.combining(Combining::fold(combiner))
    }

    /// Shrinks map output with a reducer, as Hadoop's combiner does: it is run over the sorted
    /// records of every spill and every merge, any number of times or never. It must emit the keys it
    /// was given. Where values can be folded one by one, [`Builder::combine`] is faster.
    ///
    /// ```
    /// use hfs_mapreduce::{
    ///     Emit, Identity, Job, Line, Mapper, Record, Reducer, Result, Text, TextInput, Values,
    /// };
    ///
    /// #[derive(Clone)]
    /// struct ByLength;
    ///
    /// impl Mapper for ByLength {
    ///     type Input = TextInput;
    ///     type Key = u64;
    ///     type Value = Text;
    ///
    ///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<u64, Text>) -> Result<()> {
    ///         out.emit(line.bytes.len() as u64, line.bytes)
    ///     }
    /// }
    ///
    /// /// At most three lines of each length: no fold could keep several values.
    /// #[derive(Clone)]
    /// struct FirstThree;
    ///
    /// impl Reducer<u64, Text> for FirstThree {
    ///     type OutKey = u64;
    ///     type OutValue = Text;
    ///
    ///     fn reduce(
    ///         &mut self,
    ///         length: u64,
    ///         lines: &mut Values<'_, '_, Text>,
    ///         out: &mut impl Emit<u64, Text>,
    ///     ) -> Result<()> {
    ///         lines.take(3).try_for_each(|line| out.emit(length, line))
    ///     }
    /// }
    ///
    /// let job = Job::map(ByLength)
    ///     .combine_with(FirstThree)
    ///     .reduce(FirstThree)
    ///     .input("/in")
    ///     .output("/out")
    ///     .build()?;
    /// # anyhow::Ok(())
    /// ```
    #[must_use]
    pub fn combine_with<R>(self, reducer: R) -> Builder<Mapped<M, NoCombiner, P, G>>
    where
        R: Reducer<M::Key, M::Value, OutKey = M::Key, OutValue = M::Value>,
    {
        let reducer = ReducerAsCombiner::<M::Key, M::Value, R>::new(reducer);
        self.combining(Combining::reducer(reducer))
    }

    /// Shrinks map output with code that sees all records of a partition at once, if there is any.
    pub(crate) fn combine_groups(
        self,
        combiner: Option<impl GroupCombiner + 'static>,
    ) -> Builder<Mapped<M, NoCombiner, P, G>> {
        self.combining(match combiner {
            Some(combiner) => Combining::reducer(combiner),
            None => Combining::fold(NoCombiner),
        })
    }

    /// Chooses which reducer a key goes to.
    #[must_use]
    pub fn partition<Q: Partitioner<M::Key>>(self, partitioner: Q) -> Builder<Mapped<M, C, Q, G>> {
        self.stage(|Mapped { mapper, input, combining, grouping, .. }| Mapped {
            mapper,
            input,
            combining,
            partitioner,
            grouping,
        })
    }

    /// Adds the reducer. Output is text unless [`Builder::output_format`] says otherwise.
    #[must_use]
    pub fn reduce<R: Reducer<M::Key, M::Value>>(
        self,
        reducer: R,
    ) -> Builder<Reduced<M, C, P, R, TextOutput, G>> {
        self.stage(|mapped| Reduced { mapped, reducer, output: TextOutput })
    }

    /// Writes what the mapper emits, without sorting it.
    #[must_use]
    pub fn map_only(self) -> Builder<MapOnly<M, TextOutput>> {
        self.stage(|Mapped { mapper, input, .. }| MapOnly { mapper, input, output: TextOutput })
    }
}

impl<M: Mapper, C> Builder<Mapped<M, C, HashPartitioner>> {
    /// Gives the reducer all keys with the same part in one group: secondary sort. Keys are still
    /// sorted whole, so values come in the order of the rest of their keys. Groups are spread over
    /// the reducers by a hash of the part; call [`Builder::partition`] after this for another way,
    /// which must not tear groups apart.
    #[must_use]
    pub fn group_by<G: Grouping<M::Key>>(
        self,
        grouping: G,
    ) -> Builder<Mapped<M, C, GroupPartitioner<G>, G>> {
        self.stage(|Mapped { mapper, input, combining, .. }| Mapped {
            mapper,
            input,
            combining,
            partitioner: GroupPartitioner(grouping.clone()),
            grouping,
        })
    }
}

impl<M, O> Builder<MapOnly<M, O>>
where
    M: Mapper,
    O: OutputFormat<M::Key, M::Value>,
{
    /// The kind of output files.
    #[must_use]
    pub fn output_format<N>(self, output: N) -> Builder<MapOnly<M, N>>
    where
        N: OutputFormat<M::Key, M::Value>,
    {
        self.stage(|MapOnly { mapper, input, .. }| MapOnly { mapper, input, output })
    }

    /// The finished job.
    ///
    /// # Errors
    /// When something is missing.
    pub fn build(self) -> Result<Job> {
        self.finish(O::WRITES, |stage| Box::new(stage))
    }
}

impl<M, C, P, R, O, G> Builder<Reduced<M, C, P, R, O, G>>
where
    M: Mapper,
    C: Combiner<M::Key, M::Value>,
    P: Partitioner<M::Key>,
    G: Grouping<M::Key>,
    R: Reducer<M::Key, M::Value>,
    O: OutputFormat<R::OutKey, R::OutValue>,
{
    /// The kind of output files.
    #[must_use]
    pub fn output_format<N>(self, output: N) -> Builder<Reduced<M, C, P, R, N, G>>
    where
        N: OutputFormat<R::OutKey, R::OutValue>,
    {
        self.stage(|Reduced { mapped, reducer, .. }| Reduced { mapped, reducer, output })
    }

    /// The finished job.
    ///
    /// # Errors
    /// When something is missing.
    pub fn build(self) -> Result<Job> {
        self.finish(O::WRITES, |stage| Box::new(stage))
    }
}

impl<M, O> Program for MapOnly<M, O>
where
    M: Mapper,
    O: OutputFormat<M::Key, M::Value>,
{
    fn has_reducer(&self) -> bool {
        false
    }

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        self.input.splits(context)
    }

    fn plan_partitions(&self, _: &Files, _: &mut Plan) -> Result<()> {
        Ok(())
    }

    fn map(
        &self,
        _: &InputSplit,
        _: &Environment,
        _: &mut Context,
    ) -> Result<(MapOutput, Vec<Written>)> {
        bail!("this job has no reducer, so its maps have no sorted output")
    }

    fn map_only(
        &self,
        split: &InputSplit,
        env: &Environment,
        context: &mut Context,
    ) -> Result<Vec<Written>> {
        map_to_output(self.mapper.clone(), &self.input, &self.output, split, env, context)
    }

    fn reduce(
        &self,
        _: &mut dyn ReduceInputs,
        _: &Environment,
        _: &mut Context,
    ) -> Result<Vec<Written>> {
        bail!("this job has no reducer")
    }
}

impl<M, C, P, R, O, G> Program for Reduced<M, C, P, R, O, G>
where
    M: Mapper,
    C: Combiner<M::Key, M::Value>,
    P: Partitioner<M::Key>,
    R: Reducer<M::Key, M::Value>,
    O: OutputFormat<R::OutKey, R::OutValue>,
    G: Grouping<M::Key>,
{
    fn has_reducer(&self) -> bool {
        true
    }

    fn splits(&self, context: &SplitContext<'_>) -> Result<Vec<InputSplit>> {
        self.mapped.input.splits(context)
    }

    fn plan_partitions(&self, files: &Files, plan: &mut Plan) -> Result<()> {
        let Mapped { mapper, input, partitioner, .. } = &self.mapped;
        let (splits, reduces) = (&plan.splits, plan.reduces);
        let sampled = Arc::new(plan.conf.clone());
        let mut sampler = KeySampler::new(|amount, keep| {
            sample_keys(mapper, input, splits, files, &sampled, amount, keep)
        });
        partitioner.plan(&mut sampler, &mut plan.conf, reduces)
    }

    fn map(
        &self,
        split: &InputSplit,
        env: &Environment,
        context: &mut Context,
    ) -> Result<(MapOutput, Vec<Written>)> {
        let Mapped { mapper, input, combining, partitioner, .. } = &self.mapped;
        let mut partitioner = partitioner.clone();
        partitioner.configure(&env.conf, context.reduces())?;
        map_for_reducers(mapper.clone(), input, combining.clone(), partitioner, split, env, context)
    }

    fn map_only(&self, _: &InputSplit, _: &Environment, _: &mut Context) -> Result<Vec<Written>> {
        bail!("this job has a reducer, so its maps write no output files")
    }

    fn reduce(
        &self,
        inputs: &mut dyn ReduceInputs,
        env: &Environment,
        context: &mut Context,
    ) -> Result<Vec<Written>> {
        let Mapped { combining, grouping, .. } = &self.mapped;
        let (reducer, combining) = (self.reducer.clone(), combining.clone());
        reduce(reducer, combining, grouping, &self.output, inputs, env, context)
    }
}
