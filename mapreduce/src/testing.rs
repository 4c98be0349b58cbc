//! Tests of user code without a cluster and without files of one's own: a mapper, a reducer, or a
//! whole job (as MRUnit does for Hadoop).
//!
//! ```
//! use hfs_mapreduce::testing::{JobTest, MapTest, ReduceTest};
//! use hfs_mapreduce::{Emit, Job, Line, Mapper, Result, Sum, Text, TextInput, words};
//!
//! #[derive(Clone)]
//! struct WordCount;
//!
//! impl Mapper for WordCount {
//!     type Input = TextInput;
//!     type Key = Text;
//!     type Value = u64;
//!
//!     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
//!         words(line.bytes).try_for_each(|word| out.emit(word, 1))
//!     }
//! }
//!
//! let mapped = MapTest::new(WordCount).text("to be or\nnot to be\n")?;
//! assert_eq!(mapped.printed(), ["to\t1", "be\t1", "or\t1", "not\t1", "to\t1", "be\t1"]);
//! assert_eq!(mapped.counter("TaskCounter", "MAP_INPUT_RECORDS"), 2);
//!
//! let reduced = ReduceTest::new::<Text, u64>(Sum).records([(&b"to"[..], 1), (b"be", 1), (b"to", 1)])?;
//! assert_eq!(reduced.printed(), ["be\t1", "to\t2"]);
//!
//! let done = JobTest::new().file("in/a", "to be\n").file("in/b", "or not to be\n").run(|path| {
//!     Job::map(WordCount)
//!         .combine(Sum)
//!         .reduce(Sum)
//!         .reduces(1)
//!         .input(path("in"))
//!         .output(path("out"))
//!         .build()
//! })?;
//! assert_eq!(done.lines("out/part-r-00000"), ["be\t2", "not\t1", "or\t1", "to\t2"]);
//! # anyhow::Ok(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hfs_protocol::ids::TaskKind;
use hfs_protocol::proto::task::Counter;
use tempfile::TempDir;

use crate::cache::{WorkingDir, localize_here};
use crate::conf::Conf;
use crate::context::{Context, Shared};
use crate::counters::{self, Limits, TaskCounter};
use crate::files::Files;
use crate::grouping::{Grouping, WholeKey};
use crate::input::{InputFormat, Line, TextInput};
use crate::job::Job;
use crate::local::run_local;
use crate::mapper::{Emit, Mapper};
use crate::named::NamedOutputs;
use crate::record::{Record, Scratch};
use crate::reducer::Reducer;
use crate::task::attempt::{DEFAULT_FAN_IN, DEFAULT_SORT_BYTES, Environment};
use crate::task::buffer::SortBuffer;
use crate::task::reduce::of_keys;
use crate::values::{GroupPart, Values};

/// What a mapper or a reducer under test has emitted.
pub struct Emitted<K: Record, V: Record> {
    records: Vec<(K::Owned, V::Owned)>,
    counters: Vec<Counter>,
    named: BTreeMap<String, String>,
}

impl<K: Record, V: Record> fmt::Debug for Emitted<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitted")
            .field("printed", &self.printed())
            .field("counters", &self.counters)
            .field("named", &self.named)
            .finish()
    }
}

impl<K: Record, V: Record> Emitted<K, V> {
    /// The records, in the order in which they were emitted.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (K::Ref<'_>, V::Ref<'_>)> {
        self.records.iter().map(|(key, value)| (K::borrow(key), V::borrow(value)))
    }

    /// The records as text output prints them: key, tab, value.
    #[must_use]
    pub fn printed(&self) -> Vec<String> {
        let print = |(key, value)| {
            let (mut line, mut printed) = (Vec::new(), Vec::new());
            let has_key = K::print(key, &mut line);
            if V::print(value, &mut printed) {
                line.extend_from_slice(if has_key { b"\t" } else { b"" });
                line.append(&mut printed);
            }
            String::from_utf8_lossy(&line).into_owned()
        };
        self.records().map(print).collect()
    }

    /// The value of a counter; 0 for one that nobody increased.
    #[must_use]
    pub fn counter(&self, group: &str, name: &str) -> i64 {
        value_of(&self.counters, group, name)
    }

    /// The lines of a named output; none if nothing went there.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<&str> {
        self.named.get(name).map(|text| text.lines().collect()).unwrap_or_default()
    }
}

fn value_of(counters: &[Counter], group: &str, name: &str) -> i64 {
    counters.iter().find(|c| c.group == group && c.name == name).map_or(0, |c| c.value)
}

/// The surroundings of user code under test.
struct Bench {
    dir: TempDir,
    context: Context,
    _working: WorkingDir,
}

impl Bench {
    fn new(conf: &Conf, kind: TaskKind) -> Result<Self> {
        let dir = tempfile::tempdir().context("no directory for a test's files can be made")?;
        let conf = Arc::new(conf.clone());
        let env = Environment {
            files: Files::local(),
            conf: Arc::clone(&conf),
            work_dir: dir.path().join("attempt"),
            output_dir: path_in(&dir, "out")?,
            sort_bytes: DEFAULT_SORT_BYTES,
            fan_in: DEFAULT_FAN_IN,
            write_behind: false,
            unmerged_spills: 0,
            pool: None,
            packing: None,
            skip: None,
        };
        let limits = Limits::read(&conf)?;
        let cached = localize_here(&conf, &Files::local(), dir.path())?;
        let working = WorkingDir::make(dir.path(), &cached)?;
        let mut context = Context::new(conf, "test".into(), 0, 1, Arc::new(Shared::default()))
            .with_working_dir(working.path());
        context.limit_counters(limits);
        context.outputs = NamedOutputs::of_task(&env, kind);
        Ok(Self { dir, context, _working: working })
    }

    fn finish<K: Record, V: Record>(
        mut self,
        records: Vec<(K::Owned, V::Owned)>,
    ) -> Result<Emitted<K, V>> {
        self.context.counters.check()?;
        let mut named = BTreeMap::new();
        for written in self.context.outputs.close()? {
            let bytes = std::fs::read(&written.path)
                .with_context(|| format!("the named output {} can't be read", written.path))?;
            // As `NAME-m-00000` and perhaps an ending: there is one task.
            let end = written.name.rfind("-m-00000").or_else(|| written.name.rfind("-r-00000"));
            let name = written.name[..end.unwrap_or(written.name.len())].to_owned();
            named.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
        let counters = self.context.counters.to_messages();
        self.dir.close().context("a test's files can't be removed")?;
        Ok(Emitted { records, counters, named })
    }
}

fn path_in(dir: &TempDir, name: &str) -> Result<String> {
    let path = dir.path().join(name);
    path.to_str().map(str::to_owned).context("the directory for temporary files is not UTF-8")
}

/// Keeps what is emitted.
struct Keep<'c, K: Record, V: Record> {
    context: &'c mut Context,
    records: Vec<(K::Owned, V::Owned)>,
}

impl<K: Record, V: Record> Emit<K, V> for Keep<'_, K, V> {
    fn emit(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        self.records.push((K::to_owned(key), V::to_owned(value)));
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        self.context
    }
}

/// Gives records to a mapper, with its setup before and its cleanup after. A panic of the mapper is
/// the test's own.
#[derive(Debug, Clone)]
pub struct MapTest<M> {
    mapper: M,
    conf: Conf,
}

impl<M: Mapper> MapTest<M> {
    /// A test of this mapper.
    #[must_use]
    pub fn new(mapper: M) -> Self {
        Self { mapper, conf: Conf::default() }
    }

    /// Sets a property of the job.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.conf.set(name, value);
        self
    }

    /// Maps these records.
    ///
    /// # Errors
    /// The mapper's own.
    pub fn records<'a>(
        mut self,
        records: impl IntoIterator<Item = <M::Input as InputFormat>::Record<'a>>,
    ) -> Result<Emitted<M::Key, M::Value>> {
        let mut bench = Bench::new(&self.conf, TaskKind::Map)?;
        let mut out = Keep { context: &mut bench.context, records: Vec::new() };
        self.mapper.setup(out.context)?;
        for record in records {
            out.context.count(TaskCounter::MapInputRecords, 1);
            self.mapper.map(record, &mut out)?;
        }
        self.mapper.cleanup(&mut out)?;
        let records = out.records;
        bench.finish(records)
    }
}

impl<M: Mapper<Input = TextInput>> MapTest<M> {
    /// Maps the lines of a text.
    ///
    /// # Errors
    /// The mapper's own.
    pub fn text(self, text: &str) -> Result<Emitted<M::Key, M::Value>> {
        let mut offset = 0;
        self.records(text.split_inclusive('\n').map(|line| {
            let at = offset;
            offset += line.len() as u64;
            let line = line.strip_suffix('\n').unwrap_or(line);
            Line { offset: at, bytes: line.strip_suffix('\r').unwrap_or(line).as_bytes() }
        }))
    }
}

/// Gives records to a reducer as a job would: sorted and grouped, with setup and cleanup. A panic of
/// the reducer is the test's own.
pub struct ReduceTest<K, V, R, G = WholeKey> {
    reducer: R,
    grouping: G,
    conf: Conf,
    types: PhantomData<fn(K, V)>,
}

impl<K, V, R: Clone, G: Clone> Clone for ReduceTest<K, V, R, G> {
    fn clone(&self) -> Self {
        Self {
            reducer: self.reducer.clone(),
            grouping: self.grouping.clone(),
            conf: self.conf.clone(),
            types: PhantomData,
        }
    }
}

impl<R> ReduceTest<(), (), R> {
    /// A test of this reducer with keys and values of the types `K` and `V`.
    #[must_use]
    pub fn new<K: Record, V: Record>(reducer: R) -> ReduceTest<K, V, R>
    where
        R: Reducer<K, V>,
    {
        ReduceTest { reducer, grouping: WholeKey, conf: Conf::default(), types: PhantomData }
    }
}

impl<K: Record, V: Record, R: Reducer<K, V>, G: Grouping<K>> ReduceTest<K, V, R, G> {
    /// Sets a property of the job.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.conf.set(name, value);
        self
    }

    /// Groups keys as [`Builder::group_by`](crate::Builder::group_by) does.
    #[must_use]
    pub fn group_by<H: Grouping<K>>(self, grouping: H) -> ReduceTest<K, V, R, H> {
        ReduceTest { reducer: self.reducer, grouping, conf: self.conf, types: PhantomData }
    }

    /// Reduces these records, given in any order.
    ///
    /// # Errors
    /// The reducer's own.
    pub fn records<'a>(
        mut self,
        records: impl IntoIterator<Item = (K::Ref<'a>, V::Ref<'a>)>,
    ) -> Result<Emitted<R::OutKey, R::OutValue>> {
        let mut buffer = SortBuffer::new(usize::MAX);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for record in records {
            key.clear();
            value.clear();
            K::encode(record.0, &mut key);
            V::encode(record.1, &mut value);
            buffer.push(0, &key, &value);
        }
        let mut bench = Bench::new(&self.conf, TaskKind::Reduce)?;
        let heard_by = Arc::clone(bench.context.shared());
        let mut out = Keep { context: &mut bench.context, records: Vec::new() };
        self.reducer.setup(out.context)?;
        let (reducer, grouping) = (&mut self.reducer, &self.grouping);
        let part = of_keys(|key| grouping.part(key));
        let part = (!G::WHOLE).then_some(&part as GroupPart<'_>);
        buffer.sorted(1, &heard_by, |sorted| {
            let mut scratch = Scratch::default();
            while let Some((key, _)) = sorted.peek() {
                let mut values = Values::<V>::new::<K>(sorted, &scratch, key, part);
                reducer.reduce(K::decode(key, &scratch)?, &mut values, &mut out)?;
                out.context.count(TaskCounter::ReduceInputRecords, values.finish()?);
                out.context.count(TaskCounter::ReduceInputGroups, 1);
                scratch.clear();
            }
            Ok(())
        })?;
        self.reducer.cleanup(&mut out)?;
        let records = out.records;
        bench.finish(records)
    }
}

/// Runs whole jobs, as `--local` does, in a directory that is gone afterwards.
#[derive(Debug, Clone, Default)]
pub struct JobTest {
    files: BTreeMap<String, Vec<u8>>,
}

/// What jobs under test have left.
#[derive(Debug, Clone)]
pub struct JobResult {
    files: BTreeMap<String, Vec<u8>>,
    counters: Vec<Counter>,
}

impl JobTest {
    /// A test without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, its directories included.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.into(), content.into());
        self
    }

    /// Runs the job that `build` makes, which is given a function that says where a name lies.
    ///
    /// # Errors
    /// The job's own.
    pub fn run(
        self,
        build: impl FnOnce(&dyn Fn(&str) -> String) -> Result<Job>,
    ) -> Result<JobResult> {
        self.run_all(|path| Ok(vec![build(path)?]))
    }

    /// Runs several jobs, one after the other. Their counters are added up.
    ///
    /// # Errors
    /// The first job's that fails.
    pub fn run_all(
        self,
        build: impl FnOnce(&dyn Fn(&str) -> String) -> Result<Vec<Job>>,
    ) -> Result<JobResult> {
        let dir = tempfile::tempdir().context("no directory for a test's files can be made")?;
        let root = path_in(&dir, "")?;
        for (name, content) in &self.files {
            let mut file = Files::local().create(&format!("{root}{name}"))?;
            file.write_all(content)?;
            file.close()?;
        }
        let mut counters = Vec::new();
        for job in build(&|name| format!("{root}{name}"))? {
            counters.extend(run_local(&job, &Files::local(), &|_| {})?.counters);
        }
        let mut files = BTreeMap::new();
        read_tree(dir.path(), "", &mut files)
            .with_context(|| format!("the test's files in {root} can't be read"))?;
        Ok(JobResult { files, counters: counters::sum(&counters) })
    }
}

fn read_tree(
    dir: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_tree(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}

impl JobResult {
    /// The content of a file that is there when the jobs have ended.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The names of all files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The lines of a file, or of all files of a directory in the order of their names; none if there
    /// is nothing of that name.
    #[must_use]
    pub fn lines(&self, name: &str) -> Vec<String> {
        let inside = |file: &str| {
            file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let files = self.files.iter().filter(|(file, _)| inside(file));
        files
            .flat_map(|(_, bytes)| {
                String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The value of a counter over all tasks; 0 for one that nobody increased.
    #[must_use]
    pub fn counter(&self, group: &str, name: &str) -> i64 {
        value_of(&self.counters, group, name)
    }
}
