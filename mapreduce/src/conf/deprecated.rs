//! Older names of properties, which Hadoop still takes.

/// Older names and today's, sorted by the older.
const RENAMED: &[(&str, &str)] = &[
    ("fs.default.name", "fs.defaultFS"),
    ("io.sort.factor", "mapreduce.task.io.sort.factor"),
    ("io.sort.mb", "mapreduce.task.io.sort.mb"),
    (
        "key.value.separator.in.input.line",
        "mapreduce.input.keyvaluelinerecordreader.key.value.separator",
    ),
    ("map.output.key.field.separator", "mapreduce.map.output.key.field.separator"),
    ("mapred.cache.archives", "mapreduce.job.cache.archives"),
    ("mapred.cache.files", "mapreduce.job.cache.files"),
    ("mapred.input.dir.recursive", "mapreduce.input.fileinputformat.input.dir.recursive"),
    ("mapred.compress.map.output", "mapreduce.map.output.compress"),
    ("mapred.job.name", "mapreduce.job.name"),
    ("mapred.job.map.memory.mb", "mapreduce.map.memory.mb"),
    ("mapred.job.queue.name", "mapreduce.job.queuename"),
    ("mapred.job.reduce.memory.mb", "mapreduce.reduce.memory.mb"),
    ("mapred.line.input.format.linespermap", "mapreduce.input.lineinputformat.linespermap"),
    ("mapred.linerecordreader.maxlength", "mapreduce.input.linerecordreader.line.maxlength"),
    ("mapred.map.max.attempts", "mapreduce.map.maxattempts"),
    ("mapred.map.output.compression.codec", "mapreduce.map.output.compress.codec"),
    ("mapred.map.tasks", "mapreduce.job.maps"),
    ("mapred.map.tasks.speculative.execution", "mapreduce.map.speculative"),
    ("mapred.max.split.size", "mapreduce.input.fileinputformat.split.maxsize"),
    ("mapred.min.split.size", "mapreduce.input.fileinputformat.split.minsize"),
    ("mapred.output.compress", "mapreduce.output.fileoutputformat.compress"),
    ("mapred.output.compression.codec", "mapreduce.output.fileoutputformat.compress.codec"),
    ("mapred.output.key.comparator.class", "mapreduce.job.output.key.comparator.class"),
    ("mapred.partitioner.class", "mapreduce.job.partitioner.class"),
    ("mapred.reduce.max.attempts", "mapreduce.reduce.maxattempts"),
    ("mapred.reduce.parallel.copies", "mapreduce.reduce.shuffle.parallelcopies"),
    ("mapred.reduce.slowstart.completed.maps", "mapreduce.job.reduce.slowstart.completedmaps"),
    ("mapred.reduce.tasks", "mapreduce.job.reduces"),
    ("mapred.reduce.tasks.speculative.execution", "mapreduce.reduce.speculative"),
    ("mapred.skip.attempts.to.start.skipping", "mapreduce.task.skip.start.attempts"),
    ("mapred.skip.map.max.skip.records", "mapreduce.map.skip.maxrecords"),
    ("mapred.skip.reduce.max.skip.groups", "mapreduce.reduce.skip.maxgroups"),
    ("mapred.task.timeout", "mapreduce.task.timeout"),
    ("mapred.text.key.comparator.options", "mapreduce.partition.keycomparator.options"),
    ("mapred.text.key.partitioner.options", "mapreduce.partition.keypartitioner.options"),
    ("mapred.textoutputformat.separator", "mapreduce.output.textoutputformat.separator"),
    ("mapreduce.job.counters.limit", "mapreduce.job.counters.max"),
];

/// The name of today of a property (Hadoop's `Configuration.addDeprecation`).
///
/// ```
/// assert_eq!(hfs_mapreduce::conf::current_name("mapred.reduce.tasks"), "mapreduce.job.reduces");
/// assert_eq!(hfs_mapreduce::conf::current_name("my.property"), "my.property");
/// ```
#[must_use]
pub fn current_name(name: &str) -> &str {
    RENAMED.iter().find(|(older, _)| *older == name).map_or(name, |(_, current)| current)
}
