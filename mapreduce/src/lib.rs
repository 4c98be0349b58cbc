//! The MapReduce library that a job program links.
//!
//! A job program builds a [`Job`] from a [`Mapper`], perhaps a [`Combiner`] and a [`Reducer`], and
//! hands it to [`run`]. The very same program is the driver that submits the job, the task process
//! that a worker starts beside the data, and, with `--local`, a whole cluster in one process.
//!
//! In reading order: [`Mapper`], [`Reducer`] and [`Emit`] are what user code implements and sees;
//! [`Record`] is how keys and values become bytes that sort as they do; [`Job`] puts it together;
//! [`TextInput`] and [`TextOutput`] are where records come from and go to; `task` is the runtime:
//! a table that folds or a buffer that sorts, spills, merges and the shuffle; [`run_local`] runs a
//! job here, [`submit`] on a cluster.
//!
//! What a Hadoop user looks for, and where it is:
//!
//! | in Hadoop | here |
//! | --- | --- |
//! | combiner | [`Combiner`], a fold; [`Builder::combine_with`] for a reducer as combiner |
//! | partitioner: hash, key fields, total order | [`HashPartitioner`], [`KeyFieldPartitioner`], [`TotalOrderPartitioner`], which samples the input |
//! | sort comparator | the key's type: tuples compare part by part, [`Reverse`] turns the order round |
//! | grouping comparator, secondary sort | [`Builder::group_by`] with [`First`] or another [`Grouping`] |
//! | counters | [`Context::increment`], and [`job_counters!`] for those with a type |
//! | `TextInputFormat`, `KeyValueTextInputFormat`, `NLineInputFormat`, `FixedLengthInputFormat` | [`TextInput`], [`KeyValueTextInput`], [`NLineInput`], [`FixedLengthInput`]; [`WholeFileInput`] for files as records |
//! | `CombineFileInputFormat` | every input of files packs small ones into common splits |
//! | `SequenceFileInputFormat`, `SequenceFileOutputFormat`, `Writable` | [`SequenceFileInput`], [`SequenceFileOutput`], [`Writable`] |
//! | `ParquetInputFormat`, `ParquetOutputFormat` | `ParquetInput`, `ParquetOutput`, with the cargo feature `parquet` |
//! | compressed input, compressed output | [`Codec`], [`Builder::compress_output`] |
//! | `mapreduce.map.output.compress` | the same ([`conf::MAP_OUTPUT_COMPRESS`]), with LZ4 or Zstandard |
//! | `SkipBadRecords` | the same properties ([`conf::MAP_SKIP_MAX_RECORDS`], [`conf::REDUCE_SKIP_MAX_GROUPS`]) |
//! | inputs and outputs of other file systems | paths with their file system in front: `hdfs://host:port/x`, `file:///x` ([`files::Files`]) |
//! | `mapreduce.map.input.file` | [`Context::input_split`], and the property ([`conf::MAP_INPUT_FILE`]) |
//! | `MultipleInputs`, `MultipleOutputs`, `NullOutputFormat` | [`Both`], [`NamedOutput`], [`NullOutput`] |
//! | distributed cache, `-files`, `-archives` | [`Builder::cache_file`], [`Builder::cache_archive`], [`Context::cached`] |
//! | joins | [`Job::join`] on the reduce side, [`BroadcastTable`] on the map side |
//! | `JobControl`, chained and repeated jobs | [`run_jobs`] |
//! | Hadoop Streaming | [`streaming`]; on the command line `hfs streaming` |
//! | `MRUnit` | [`testing`] |
//!
//! Promises: an attempt stays within its sort memory whatever the input; every byte between a map
//! and a reduce is checked; the output directory is absent or complete.

mod cache;
mod compress;
pub mod conf;
mod context;
pub mod counters;
pub mod files;
mod grouping;
mod input;
mod job;
mod join;
mod local;
mod mapper;
mod named;
mod output;
#[cfg(feature = "parquet")]
mod parquet_file;
mod partition;
mod record;
mod reducer;
mod run;
mod sequence;
mod several;
pub mod streaming;
pub mod submit;
mod task;
pub mod testing;
mod text_form;
mod values;
mod words;
mod writable;

pub use anyhow::Result;
pub use compress::Codec;
pub use conf::Conf;
pub use context::Context;
pub use counters::{CounterId, JobCounter, TaskCounter};
pub use grouping::{First, FirstTwo, GroupPartitioner, Grouping, WholeKey};
pub use input::{
    BatchReader, CurrentSplit, FileRange, FileSplit, FixedLengthInput, FixedLengthReader,
    FixedRecord, FixedRecords, InputFormat, KeyValue, KeyValueReader, KeyValueTextInput, KeyValues,
    Line, Lines, NLineInput, RangeInput, RangeReader, ReadCounts, SplitContext, TextInput,
    TextReader, WholeFile, WholeFileInput, WholeFileReader,
};
pub use job::{Builder, Job, MapOnly, Mapped, Reduced};
pub use join::{
    BroadcastTable, JoinFirst, JoinKind, JoinMapper, JoinReducer, JoinSecond, Joined, Joiner,
};
pub use local::{LocalOutcome, LocalProgress, run_local};
pub use mapper::{Emit, Mapper};
pub use named::NamedOutput;
pub use output::{
    LazyOutput, LazyWriter, NullOutput, NullWriter, OutputFormat, RecordWriter, TextOutput,
    TextWriter, part_name,
};
#[cfg(feature = "parquet")]
pub use parquet_file::{
    BLOCK_SIZE as PARQUET_BLOCK_SIZE, COMPRESSION as PARQUET_COMPRESSION, ColumnSink,
    ParquetColumns, ParquetInput, ParquetOutput, ParquetReader, ParquetRow, ParquetRows,
    ParquetWriter,
};
pub use partition::{
    HashPartitioner, KeyFieldPartitioner, KeySampler, Partitioner, SampleAmount,
    TotalOrderPartitioner, hash,
};
pub use record::{DecodeError, FixedBytes, OneOf, Record, Reverse, Scratch, Text};
pub use reducer::{Combiner, Identity, Max, Min, NoCombiner, Reducer, Sum};
pub use run::{
    FinishedJob, JOB_ANNOUNCE, Jobs, SubmittedJob, TASK_SOCKET, run, run_jobs, run_verb,
    run_verb_jobs,
};
pub use sequence::{
    SequenceFileInput, SequenceFileOutput, SequenceFileReader, SequenceFileWriter, SequenceRecords,
};
pub use several::{Both, BothInput, Side, Source};
pub use text_form::read_as_text;
pub use values::Values;
pub use words::{Words, words};
pub use writable::Writable;
