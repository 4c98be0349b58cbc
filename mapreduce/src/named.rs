//! Output files beside a task's own: several named outputs (Hadoop's `MultipleOutputs`).

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Result, bail};
use hfs_protocol::ids::TaskKind;

use crate::conf::Conf;
use crate::context::Context;
use crate::files::Files;
use crate::output::{OutputFormat, RecordWriter, TextOutput, task_file_name};
use crate::record::Record;
use crate::task::attempt::{Environment, Written};

/// The most named outputs that one task may have open: each has a buffer, and in HDFS a pipeline.
const MAX_OPEN: usize = 1000;

/// A named output of a mapper or a reducer, a field of it. Records go to files `NAME-m-00000` or
/// `NAME-r-00000`, one for each task that emits to it, which become visible with the job's other
/// output, and only once. A name may have directories: `by-year/2024`.
///
/// A mapper can have named outputs whether its job has reducers or not. With reducers, the files are
/// those of the very attempts whose records the reducers got.
///
/// ```
/// use hfs_mapreduce::{Emit, Line, Mapper, NamedOutput, Result, Text, TextInput};
///
/// /// Numbers to the output, all other lines to files `bad-m-00000` and so on.
/// #[derive(Clone)]
/// struct Numbers {
///     bad: NamedOutput<Text, ()>,
/// }
///
/// impl Mapper for Numbers {
///     type Input = TextInput;
///     type Key = i64;
///     type Value = ();
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<i64, ()>) -> Result<()> {
///         match std::str::from_utf8(line.bytes).ok().and_then(|text| text.parse().ok()) {
///             Some(number) => out.emit(number, ()),
///             None => self.bad.emit(out.context(), line.bytes, ()),
///         }
///     }
/// }
///
/// let mapper = Numbers { bad: NamedOutput::new("bad") };
/// ```
#[derive(Debug)]
pub struct NamedOutput<K, V, O = TextOutput> {
    name: String,
    format: O,
    /// Which of the task's open outputs it is, once it is open.
    slot: Option<usize>,
    types: PhantomData<fn(K, V)>,
}

impl<K, V, O: Clone> Clone for NamedOutput<K, V, O> {
    /// The clone belongs to another task: it opens a file of its own there.
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            format: self.format.clone(),
            slot: None,
            types: PhantomData,
        }
    }
}

impl<K: Record, V: Record> NamedOutput<K, V> {
    /// A named output of text lines.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self::with_format(name, TextOutput)
    }
}

impl<K, V, O> NamedOutput<K, V, O>
where
    K: Record,
    V: Record,
    O: OutputFormat<K, V>,
    O::Writer: 'static,
{
    /// A named output of another kind of file.
    #[must_use]
    pub fn with_format(name: impl Into<String>, format: O) -> Self {
        Self { name: name.into(), format, slot: None, types: PhantomData }
    }

    /// Appends a record. The file is created for the first one.
    ///
    /// # Errors
    /// When the name can't be used, the task can't have named outputs, or the record can't be written.
    #[inline]
    pub fn emit(
        &mut self,
        context: &mut Context,
        key: K::Ref<'_>,
        value: V::Ref<'_>,
    ) -> Result<()> {
        let written = self.write(context, key, value);
        context.outputs.failed |= written.is_err();
        written
    }

    #[inline]
    fn write(&mut self, context: &mut Context, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        let slot = match self.slot {
            Some(slot) => slot,
            None => match self.open(context)? {
                Some(slot) => *self.slot.insert(slot),
                None => return Ok(()),
            },
        };
        let open = context.outputs.open.get_mut(slot).map(|slot| &mut *slot.writer as &mut dyn Any);
        let Some(open) = open.and_then(|open| open.downcast_mut::<Open<K, V, O>>()) else {
            bail!("the named output '{}' is used with records of different types", self.name);
        };
        open.writer.write(key, value)
    }

    /// Its place among the task's open outputs; `None` when what is emitted is only looked at.
    #[cold]
    fn open(&self, context: &mut Context) -> Result<Option<usize>> {
        let index = context.index();
        let NamedOutputs { place, open, .. } = &mut context.outputs;
        let task = match place {
            Place::Task(task) => task,
            Place::Dropped => return Ok(None),
            Place::None(why) => {
                bail!("the named output '{}' can't be written: {why}", self.name)
            }
        };
        check_name(&self.name)?;
        if let Some(at) = open.iter().position(|slot| slot.name == self.name) {
            return Ok(Some(at));
        }
        if open.len() == MAX_OPEN {
            bail!(
                "the named output '{}' would be number {} of its task; at most {MAX_OPEN} are possible",
                self.name,
                MAX_OPEN + 1
            );
        }
        let extension = self.format.extension(&task.conf)?;
        let file = task_file_name(&self.name, task.kind, index) + extension;
        let path = format!("{}/{file}", task.dir);
        let writer = self.format.begin(&task.files, &path, &task.conf)?;
        open.push(Slot {
            name: self.name.clone(),
            written: Written { path, name: file, bytes: 0 },
            writer: Box::new(Open::<K, V, O> { writer }),
        });
        Ok(Some(open.len() - 1))
    }
}

/// Names that could hide or replace other output are refused.
fn check_name(name: &str) -> Result<()> {
    let odd = |part: &str| {
        part.is_empty() || part.starts_with(['.', '_']) || part.contains(|c: char| c.is_control())
    };
    if name.split('/').any(odd) || name == "part" {
        bail!(
            "a named output can't have the name '{name}'; names are not 'part', and none of their \
             parts between slashes is empty or begins with . or _"
        );
    }
    Ok(())
}

/// The named outputs of an attempt.
#[derive(Default)]
pub(crate) struct NamedOutputs {
    place: Place,
    open: Vec<Slot>,
    /// A record could not be written.
    failed: bool,
}

/// Where named outputs go.
enum Place {
    /// Nowhere, and why.
    None(&'static str),
    /// Nobody wants them: the mapper only runs for a sample.
    Dropped,
    Task(Box<TaskOutputs>),
}

impl Default for Place {
    fn default() -> Self {
        Self::None("only mappers and reducers can have named outputs")
    }
}

struct TaskOutputs {
    files: Files,
    conf: Arc<Conf>,
    dir: String,
    kind: TaskKind,
}

struct Slot {
    name: String,
    written: Written,
    writer: Box<dyn AnyOpen>,
}

/// An open output with its types hidden.
trait AnyOpen: Any {
    fn close(self: Box<Self>) -> Result<u64>;
}

struct Open<K: Record, V: Record, O: OutputFormat<K, V>> {
    writer: O::Writer,
}

impl<K, V, O> AnyOpen for Open<K, V, O>
where
    K: Record,
    V: Record,
    O: OutputFormat<K, V>,
    O::Writer: 'static,
{
    fn close(self: Box<Self>) -> Result<u64> {
        self.writer.close()
    }
}

impl fmt::Debug for NamedOutputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.open.iter().map(|slot| &slot.name)).finish()
    }
}

impl NamedOutputs {
    /// Named outputs that go nowhere.
    pub(crate) fn dropped() -> Self {
        Self { place: Place::Dropped, ..Self::default() }
    }

    /// Those of a task that writes output.
    pub(crate) fn of_task(env: &Environment, kind: TaskKind) -> Self {
        let place = if env.output_dir.is_empty() {
            Place::None("the job has no output directory")
        } else {
            Place::Task(Box::new(TaskOutputs {
                files: env.files.clone(),
                conf: Arc::clone(&env.conf),
                dir: env.output_dir.clone(),
                kind,
            }))
        };
        Self { place, ..Self::default() }
    }

    /// Whether a record could not be written.
    pub(crate) fn have_failed(&self) -> bool {
        self.failed
    }

    /// Closes all files.
    pub(crate) fn close(&mut self) -> Result<Vec<Written>> {
        let close = |slot: Slot| Ok(Written { bytes: slot.writer.close()?, ..slot.written });
        self.open.drain(..).map(close).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_can_not_hide_other_output() {
        for name in ["part", "", "_SUCCESS", "a//b", "../x", "/a", ".a", "a/_b", "a\nb"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["bad", "by-year/2024", "größe", "part2", "a.b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
