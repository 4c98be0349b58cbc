//! The command line of Hadoop Streaming.

use std::ffi::OsString;

use anyhow::{Context as _, Result, bail};

use super::combiner::StreamCombiner;
use super::command::{Step, unqualify};
use super::input::Format;
use super::mapper::StreamMapper;
use super::output::StreamOutput;
use super::partitioner::StreamPartitioner;
use super::reducer::StreamReducer;
use crate::conf::{self, Conf, current_name};
use crate::job::Job;
use crate::run::DriverArgs;

/// How many words an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    One,
    /// Up to the next option.
    Many,
}

/// The options, of Streaming and of Hadoop's `GenericOptionsParser`.
const OPTIONS: &[(&str, Takes)] = &[
    ("input", Takes::Many),
    ("output", Takes::One),
    ("mapper", Takes::One),
    ("combiner", Takes::One),
    ("reducer", Takes::One),
    ("file", Takes::Many),
    ("cacheFile", Takes::Many),
    ("cacheArchive", Takes::Many),
    ("numReduceTasks", Takes::One),
    ("partitioner", Takes::One),
    ("inputformat", Takes::One),
    ("outputformat", Takes::One),
    ("cmdenv", Takes::One),
    ("jobconf", Takes::One),
    ("io", Takes::One),
    ("lazyOutput", Takes::Nothing),
    ("verbose", Takes::Nothing),
    ("info", Takes::Nothing),
    ("help", Takes::Nothing),
    ("D", Takes::One),
    ("files", Takes::One),
    ("archives", Takes::One),
    ("fs", Takes::One),
    ("dfs", Takes::One),
    ("jt", Takes::One),
    ("jobtracker", Takes::One),
    ("local", Takes::Nothing),
    ("json", Takes::Nothing),
    // Known, and refused with a reason.
    ("inputreader", Takes::One),
    ("libjars", Takes::One),
    ("conf", Takes::One),
    ("mapdebug", Takes::One),
    ("reducedebug", Takes::One),
    ("additionalconfspec", Takes::One),
    ("background", Takes::Nothing),
    ("debug", Takes::Nothing),
];

/// A command line that was understood.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    inputs: Vec<String>,
    output: String,
    mapper: String,
    combiner: Option<String>,
    reducer: Option<String>,
    reduces: Option<u32>,
    partitioner: Option<String>,
    input_format: Option<String>,
    output_format: String,
    environment: Vec<(String, String)>,
    lazy: bool,
    /// Say what is done.
    pub(super) verbose: bool,
    /// Only the usage is wanted.
    pub(super) usage: bool,
    shipped: Vec<String>,
    conf: Conf,
    fs: Option<String>,
    jobtracker: Option<String>,
    local: bool,
    json: bool,
}

impl Options {
    /// Reads a command line.
    pub(super) fn read(arguments: Vec<OsString>) -> Result<Self> {
        let mut words = Vec::new();
        for argument in arguments {
            match argument.into_string() {
                Ok(word) => words.push(word),
                Err(odd) => bail!("the argument {odd:?} is not UTF-8"),
            }
        }
        let mut options = Self::default();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            // As in Hadoop -Dname=value is one word, too.
            let (name, mut values) = match word.strip_prefix("-D").filter(|pair| pair.contains('='))
            {
                Some(pair) => ("D", vec![pair.to_owned()]),
                None => (known(&word)?, Vec::new()),
            };
            let takes = OPTIONS.iter().find(|(known, _)| *known == name).map(|(_, takes)| *takes);
            match takes {
                Some(Takes::One) if values.is_empty() => values.extend(words.next()),
                Some(Takes::Many) => {
                    while let Some(value) = words.next_if(|word| !word.starts_with('-')) {
                        values.push(value);
                    }
                }
                _ => {}
            }
            if values.is_empty() && takes != Some(Takes::Nothing) {
                bail!("the option -{name} has no value");
            }
            for value in &values {
                options.value(name, value)?;
            }
            if takes == Some(Takes::Nothing) {
                options.flag(name)?;
            }
        }
        if options.usage {
            return Ok(options);
        }
        if options.inputs.is_empty() {
            bail!("required argument: -input <path>");
        }
        if options.output.is_empty() {
            bail!("required argument: -output <path>");
        }
        // An option goes before a property, and no reducer before both.
        if let Some(reduces) = options.reduces {
            options.conf.set(conf::REDUCES, reduces.to_string());
        }
        if options.reducer.as_deref() == Some("NONE") {
            options.conf.set(conf::REDUCES, "0");
        }
        Ok(options)
    }

    fn flag(&mut self, name: &str) -> Result<()> {
        match name {
            "lazyOutput" => self.lazy = true,
            "verbose" => self.verbose = true,
            "info" | "help" => self.usage = true,
            "local" => self.local = true,
            "json" => self.json = true,
            // What it keeps, its job jar, there is not.
            "debug" => {}
            _ => bail!("the option -{name} can't be used here: a job is watched until it ends"),
        }
        Ok(())
    }

    fn value(&mut self, name: &str, value: &str) -> Result<()> {
        let text = value.to_owned();
        match name {
            "input" => self.inputs.extend(paths(value)),
            "output" => self.output = text,
            "mapper" => self.mapper = text,
            "combiner" => self.combiner = Some(text),
            "reducer" => self.reducer = Some(text),
            "file" => self.ship(value),
            "files" => value.split(',').for_each(|file| self.ship(file)),
            "archives" => crate::cache::append(&mut self.conf, conf::LOCAL_ARCHIVES, value),
            "cacheFile" => crate::cache::append(&mut self.conf, conf::CACHE_FILES, value),
            "cacheArchive" => crate::cache::append(&mut self.conf, conf::CACHE_ARCHIVES, value),
            "numReduceTasks" => {
                let reduces = value.parse();
                self.reduces =
                    Some(reduces.with_context(|| format!("-numReduceTasks {value} is no number"))?);
            }
            "partitioner" => self.partitioner = Some(text),
            "inputformat" => self.input_format = Some(text),
            "outputformat" => self.output_format = text,
            "cmdenv" => {
                let (name, value) = pair(name, value)?;
                self.environment.push((name, value));
            }
            "jobconf" | "D" => {
                let (name, value) = pair(name, value)?;
                self.conf.set(current_name(&name), value);
            }
            "io" if value == "text" => {}
            "io" => bail!("-io {value} is not understood; the one format there is is text"),
            "fs" | "dfs" if value == "local" => self.local = true,
            "fs" | "dfs" => self.fs = Some(text),
            "jt" | "jobtracker" if value == "local" => self.local = true,
            "jt" | "jobtracker" => self.jobtracker = Some(text),
            "libjars" => bail!("-libjars brings Java classes along, and there is no Java here"),
            "inputreader" => {
                bail!(
                    "-inputreader names a Java class, and there is no Java here; see -inputformat"
                )
            }
            _ => bail!("the option -{name} can't be used here; give properties with -D"),
        }
        Ok(())
    }

    fn ship(&mut self, file: &str) {
        self.shipped.push(file.to_owned());
        crate::cache::append(&mut self.conf, conf::LOCAL_FILES, file);
    }

    /// Where the job runs, and its properties.
    pub(super) fn driver(&self) -> DriverArgs {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        DriverArgs {
            explicit_fs: self.fs.is_some(),
            fs: self.fs.clone().or_else(|| variable("HFS_FS")),
            jobtracker: self.jobtracker.clone().or_else(|| variable("HFS_JOBTRACKER")),
            local: self.local,
            define: self.conf.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            reduces: None,
            files: Vec::new(),
            archives: Vec::new(),
            json: self.json,
        }
    }

    /// The job. It is the same for the same options, wherever it is built.
    pub(super) fn job(self) -> Result<Job> {
        let read = |role: &str, text: &str| {
            Step::read(&unqualify(text, &self.shipped))
                .map_err(|why| anyhow::anyhow!("the {role} can't be used: {why}"))
        };
        let mapper = read("mapper", &self.mapper)?;
        if mapper == Step::Aggregate {
            bail!("aggregate is a reducer and no mapper");
        }
        let reducer = read("reducer", self.reducer.as_deref().unwrap_or_default())?;
        let format = match &self.input_format {
            Some(name) => Format::read(name)?,
            None => Format::Text,
        };
        let output = StreamOutput::read(&self.output_format, self.lazy)?;
        for property in [conf::MAP_SKIP_MAX_RECORDS, conf::REDUCE_SKIP_MAX_GROUPS] {
            // A command reads ahead: which of its records it died of is not known.
            if self.conf.parsed_or(property, 0_u64)? > 0 {
                bail!(
                    "{property} is for mappers and reducers in Rust; commands can't leave records out"
                );
            }
        }
        let sorts = self.conf.parsed::<u32>(conf::REDUCES)? != Some(0);
        let environment = self.environment;
        let mapper = StreamMapper::new(mapper, format, environment.clone(), sorts);
        let numbered = mapper.numbers_keys();
        let builder =
            Job::map(mapper).name("streamjob").inputs(self.inputs).output(self.output).reduces(1);
        let mut job = if sorts {
            let combiner = match &self.combiner {
                Some(text) => Some(read("combiner", text)?),
                // As in Hadoop.
                None if reducer == Step::Aggregate => Some(Step::Aggregate),
                None => None,
            };
            let combiner = combiner.map(|step| StreamCombiner {
                step,
                environment: environment.clone(),
                numbered,
            });
            builder
                .combine_groups(combiner)
                .partition(StreamPartitioner::new(self.partitioner, numbered))
                .reduce(StreamReducer::new(reducer, environment, numbered))
                .output_format(output)
                .build()?
        } else {
            builder.map_only().output_format(output).build()?
        };
        if output == StreamOutput::Null {
            job.settings.output.clear();
        }
        Ok(job)
    }
}

/// The name of an option, with one dash or two.
fn known(word: &str) -> Result<&'static str> {
    let name = word.strip_prefix('-').map(|name| name.strip_prefix('-').unwrap_or(name));
    let Some(name) = name else { bail!("'{word}' belongs to no option") };
    let found = OPTIONS.iter().find(|(known, _)| *known == name);
    found.map(|(known, _)| *known).with_context(|| format!("unrecognized option: -{name}"))
}

fn pair(option: &str, text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => bail!("-{option} {text} is not NAME=VALUE"),
    }
}

/// Several paths with commas between them (`FileInputFormat.addInputPaths`); commas in braces belong to
/// a pattern.
fn paths(text: &str) -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut braces = 0usize;
    for letter in text.chars() {
        match letter {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            ',' if braces == 0 => {
                paths.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(path) = paths.last_mut() {
            path.push(letter);
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

/// What `-info` prints.
pub(super) const USAGE: &str = "\
Usage: hfs streaming [generic options] [options]

Runs any program as mapper and reducer: lines come in on standard input, lines go out on standard
output, a tab between key and value.

Options, as Hadoop Streaming has them:
  -input PATH              Input files, directories or patterns; may be repeated
  -output PATH             The directory to make
  -mapper CMD              The mapper's command; without it lines pass as they are
  -combiner CMD            A command for the map output of each key before it is sent
  -reducer CMD             The reducer's command, aggregate, or NONE for map output as it is
  -file FILE               Bring a local file or directory along; -files is the newer way
  -cacheFile, -cacheArchive URI#NAME
                           Bring a file or archive of the file system along
  -numReduceTasks N        How many reduce tasks, 1 unless said; 0 for none
  -partitioner CLASS       HashPartitioner or KeyFieldBasedPartitioner
  -inputformat CLASS       TextInputFormat, KeyValueTextInputFormat or NLineInputFormat
  -outputformat CLASS      TextOutputFormat or NullOutputFormat
  -cmdenv NAME=VALUE       A variable for the commands' environment; may be repeated
  -io text                 The format of what commands read and write
  -lazyOutput              Make an output file for its first record only
  -verbose                 Say what is done
  -info, -help             Print this

Generic options:
  -D NAME=VALUE            A property of the job; -jobconf is the older way
  -files FILE[#NAME],...   Bring local files or directories along, into the working directory
  -archives FILE[#NAME],...
                           Bring archives along and unpack them
  -fs URL                  The file system
  -jt HOST:PORT            The jobtracker; local: run in this process, as --local does

Properties, among others:
  stream.map.output.field.separator, stream.num.map.output.key.fields
  stream.reduce.output.field.separator, stream.num.reduce.output.key.fields
  stream.map.input.field.separator, stream.reduce.input.field.separator
  stream.map.input.ignoreKey, stream.non.zero.exit.is.failure, stream.jobconf.truncate.limit
  mapreduce.map.output.key.field.separator, mapreduce.partition.keypartitioner.options
  mapreduce.job.output.key.comparator.class, mapreduce.partition.keycomparator.options
  mapreduce.job.name, mapreduce.job.reduces, mapreduce.output.textoutputformat.separator

Example:
  hfs streaming -files count.py -input /books -output /counts -mapper 'count.py map' \\
      -combiner 'count.py reduce' -reducer 'count.py reduce'
";

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
