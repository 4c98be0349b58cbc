//! The way into a job program: driver, local run or task process, decided by one environment
//! variable and one flag.

mod cluster;
mod display;
mod driver;
mod hadoop_lines;
mod jobs;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory, FromArgMatches, Parser};

use hfs_protocol::proto::task::JobSpec;

use crate::cache;
use crate::conf::{self, Conf};
use crate::job::Job;
use crate::task::process;
use driver::{Driver, JobFailed};

pub use jobs::{FinishedJob, Jobs, SubmittedJob};

/// Names the socket of the worker; set, it makes this process a task process.
pub const TASK_SOCKET: &str = "HFS_TASK_SOCKET";

/// Names a file that the driver creates when it starts, so that `hfs job submit` can tell a job
/// program from any other.
pub const JOB_ANNOUNCE: &str = "HFS_JOB_ANNOUNCE";

/// The flags that every job program has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Job options")]
pub(crate) struct DriverArgs {
    /// The file system, hdfs://HOST:PORT [default: fs.defaultFS, else the running local cluster]
    #[arg(long, env = "HFS_FS", value_name = "URL")]
    pub(crate) fs: Option<String>,
    /// The jobtracker [default: that of the running local cluster]
    #[arg(long, env = "HFS_JOBTRACKER", value_name = "HOST:PORT")]
    pub(crate) jobtracker: Option<String>,
    /// Run in this process: over local files, or over --fs if that is given as a flag
    #[arg(long)]
    pub(crate) local: bool,
    /// Set a property of the job
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = property)]
    pub(crate) define: Vec<(String, String)>,
    /// Number of reduce tasks
    #[arg(long, value_name = "N")]
    pub(crate) reduces: Option<u32>,
    /// Files or directories of this machine for the working directory of every task
    #[arg(long, value_name = "PATH[#NAME],...", value_delimiter = ',')]
    pub(crate) files: Vec<String>,
    /// Archives of this machine that are unpacked there (.tar, .tar.gz, .tgz, .zip, .jar)
    #[arg(long, value_name = "PATH[#NAME],...", value_delimiter = ',')]
    pub(crate) archives: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Whether the file system was named on a command line that clap has not read.
    #[arg(skip)]
    pub(crate) explicit_fs: bool,
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(format!("'{text}' is not NAME=VALUE")),
    }
}

#[derive(Debug, Parser)]
struct CommandLine<A: Args> {
    #[command(flatten)]
    program: A,
    #[command(flatten)]
    driver: DriverArgs,
}

/// Runs a job program: call it as the last thing in `main`.
///
/// `build` makes the job from the program's own arguments. It runs in the driver and again in every
/// task process, with the same arguments, and must make the same job there; it should not look at
/// anything else.
///
/// ```no_run
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
/// /// Counts words.
/// #[derive(clap::Args)]
/// struct Arguments {
///     input: String,
///     output: String,
/// }
///
/// fn main() -> std::process::ExitCode {
///     hfs_mapreduce::run(|arguments: Arguments| {
///         Job::map(WordCount)
///             .combine(Sum)
///             .reduce(Sum)
///             .input(arguments.input)
///             .output(arguments.output)
///             .build()
///     })
/// }
/// ```
pub fn run<A: Args>(build: impl Fn(A) -> Result<Job>) -> ExitCode {
    run_jobs(|arguments, jobs| jobs.run(build(arguments)?).map(drop))
}

/// As [`run`], for a program that has several jobs: call it as the last thing in `main`.
///
/// `program` runs in the driver, and up to the task's own job again in every task process, with the
/// same arguments and the same answers of [`FinishedJob::counter`]. It must submit the same jobs
/// there, so it should look at nothing else, change nothing but through [`Jobs`], and hand errors
/// on. Waiting for a job before the next is submitted makes a chain; submitting several first lets
/// them run at once.
///
/// ```no_run
/// # use hfs_mapreduce::{Emit, Job, Line, Mapper, Result, Sum, Text, TextInput, words};
/// # #[derive(Clone)]
/// # struct Halve;
/// # impl Mapper for Halve {
/// #     type Input = TextInput;
/// #     type Key = Text;
/// #     type Value = u64;
/// #     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
/// #         words(line.bytes).step_by(2).try_for_each(|word| out.emit(word, 1))
/// #     }
/// # }
/// /// Repeats a job on its own output until nothing changes any more.
/// #[derive(clap::Args)]
/// struct Arguments {
///     input: String,
///     output: String,
/// }
///
/// fn main() -> std::process::ExitCode {
///     hfs_mapreduce::run_jobs(|arguments: Arguments, jobs| {
///         let mut input = arguments.input.clone();
///         for round in 1..=20 {
///             let output = format!("{}/round-{round}", arguments.output);
///             let job = Job::map(Halve).reduce(Sum).input(&input).output(&output).build()?;
///             let finished = jobs.run(job)?;
///             if round > 1 {
///                 jobs.remove(&input)?;
///             }
///             if finished.counter("halving", "changed") == 0 {
///                 break;
///             }
///             input = output;
///         }
///         Ok(())
///     })
/// }
/// ```
pub fn run_jobs<A: Args>(program: impl Fn(A, &mut Jobs) -> Result<()>) -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let name = program_name();
    let way = Way { verb: None, talk: Talk::Own };
    ended(&name, start(&way, arguments, &parse_as::<A>(&name), &program))
}

/// As [`run`], for a program that is a job program only when its first argument is `verb`.
/// `arguments` are those after it. Task processes are started with the verb, too.
pub fn run_verb<A: Args>(
    verb: &str,
    arguments: Vec<OsString>,
    build: impl Fn(A) -> Result<Job>,
) -> ExitCode {
    run_verb_jobs(verb, arguments, |arguments, jobs| jobs.run(build(arguments)?).map(drop))
}

/// As [`run_verb`], for several jobs: see [`run_jobs`].
pub fn run_verb_jobs<A: Args>(
    verb: &str,
    arguments: Vec<OsString>,
    program: impl Fn(A, &mut Jobs) -> Result<()>,
) -> ExitCode {
    let way = Way { verb: Some(verb), talk: Talk::Own };
    ended(verb, start(&way, arguments, &parse_as::<A>(verb), &program))
}

fn ended(name: &str, result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        // What a job's end on the cluster has to say was printed when it ended.
        if error.downcast_ref::<JobFailed>().is_none() {
            eprintln!("{name}: {error:#}");
        }
        ExitCode::FAILURE
    })
}

/// How the program came to run its jobs.
pub(crate) struct Way<'a> {
    pub(crate) verb: Option<&'a str>,
    pub(crate) talk: Talk,
}

/// What a person or a program is told on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// A bar or a line now and then.
    Own,
    /// The lines of Hadoop's job client.
    Hadoop,
}

/// A command line that is not run.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It makes no sense, or asks for help.
    Clap(clap::Error),
    /// The same from a command line that clap has not read.
    Said { text: String, code: u8 },
}

impl Refused {
    fn print(&self) -> Result<ExitCode> {
        match self {
            Self::Clap(usage) => {
                usage.print()?;
                Ok(ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2)))
            }
            Self::Said { text, code: 0 } => {
                println!("{text}");
                Ok(ExitCode::SUCCESS)
            }
            Self::Said { text, code } => {
                eprintln!("{text}");
                Ok(ExitCode::from(*code))
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clap(usage) => usage.fmt(f),
            Self::Said { text, .. } => f.write_str(text),
        }
    }
}

impl std::error::Error for Refused {}

/// Tells people that a job of Hadoop's commands has not succeeded.
pub(crate) fn command_failed(error: &anyhow::Error) {
    hadoop_lines::command_failed(Some(error).filter(|error| !error.is::<JobFailed>()));
}

/// The program's arguments and the driver's.
type Parsed<P> = Result<(P, DriverArgs), Refused>;

fn parse_as<A: Args>(name: &str) -> impl Fn(Vec<OsString>) -> Parsed<A> {
    move |arguments| match parse::<A>(name, arguments) {
        Ok(line) => Ok((line.program, line.driver)),
        Err(usage) => Err(Refused::Clap(usage)),
    }
}

pub(crate) fn start<P>(
    way: &Way<'_>,
    arguments: Vec<OsString>,
    parse: &impl Fn(Vec<OsString>) -> Parsed<P>,
    program: &impl Fn(P, &mut Jobs) -> Result<()>,
) -> Result<ExitCode> {
    if let Some(socket) = std::env::var_os(TASK_SOCKET) {
        let socket = PathBuf::from(socket);
        let stream = UnixStream::connect(&socket).with_context(|| {
            format!("the worker's socket {} can't be reached", socket.display())
        })?;
        let build = |spec: &JobSpec| {
            let skipped = usize::from(way.verb.is_some());
            let arguments = spec.program_args.iter().skip(skipped).map(OsString::from).collect();
            let (arguments, driver) = parse(arguments)?;
            Jobs::rebuild(spec, driver.overrides(), |jobs| program(arguments, jobs))
        };
        process::serve(stream, build, |dir| std::env::set_current_dir(dir))?;
        return Ok(ExitCode::SUCCESS);
    }
    announce()?;
    let (parsed, driver) = match parse(arguments.clone()) {
        Ok(parsed) => parsed,
        Err(refused) => return refused.print(),
    };
    let overrides = driver.overrides();
    let program_args = way.verb.map(OsString::from).into_iter().chain(arguments).collect();
    let mut jobs = Jobs::driver(Driver::new(driver, program_args, way.talk), overrides);
    let ended = program(parsed, &mut jobs);
    jobs.into_driver()?.finish(ended)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells the process that started this driver, if it asked, that this is a job program: before the
/// arguments are looked at, since `--help` and a wrong flag are a job program's business, too.
fn announce() -> Result<()> {
    let Some(path) = std::env::var_os(JOB_ANNOUNCE).filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let path = PathBuf::from(path);
    File::create(&path).map(drop).with_context(|| {
        format!("the file {} that {JOB_ANNOUNCE} names can't be created", path.display())
    })
}

impl DriverArgs {
    /// The properties that the flags set.
    fn overrides(&self) -> Conf {
        let current =
            |(name, value): &(String, String)| (conf::current_name(name).to_owned(), value.clone());
        let mut conf: Conf = self.define.iter().map(current).collect();
        if let Some(reduces) = self.reduces {
            conf.set(conf::REDUCES, reduces.to_string());
        }
        for file in &self.files {
            cache::append(&mut conf, conf::LOCAL_FILES, file);
        }
        for archive in &self.archives {
            cache::append(&mut conf, conf::LOCAL_ARCHIVES, archive);
        }
        conf
    }
}

/// What the arguments say.
fn parse<A: Args>(name: &str, arguments: Vec<OsString>) -> Result<CommandLine<A>, clap::Error> {
    let command = CommandLine::<A>::command().no_binary_name(true).bin_name(name);
    let arguments = arguments.into_iter().map(generic_option);
    CommandLine::<A>::from_arg_matches_mut(&mut command.try_get_matches_from(arguments)?)
}

/// The options of Hadoop's `GenericOptionsParser` have one dash.
fn generic_option(argument: OsString) -> OsString {
    match argument.to_str() {
        Some("-files") => "--files".into(),
        Some("-archives") => "--archives".into(),
        Some("-fs") => "--fs".into(),
        Some("-jt") => "--jobtracker".into(),
        _ => argument,
    }
}

fn program_name() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(|path| path.file_name()?.to_str());
    name.unwrap_or("job").to_owned()
}
