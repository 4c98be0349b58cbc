//! The way into a job program: driver, local run or task process, decided by one environment
//! variable and one flag.

mod cluster;
mod display;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use hfs_client::{ClientConfig, blocking};
use hfs_protocol::proto::task::Counter;
use tokio::runtime::Builder;

use crate::conf::{self, Conf};
use crate::files::Files;
use crate::job::Job;
use crate::local::run_local;
use crate::submit::{JobClient, Outcome, Submission};
use crate::task::process;
use display::Display;

/// Names the socket of the worker; set, it makes this process a task process.
pub const TASK_SOCKET: &str = "HFS_TASK_SOCKET";

/// Names a file that the driver creates when it starts, so that `hfs job submit` can tell a job
/// program from any other.
pub const JOB_ANNOUNCE: &str = "HFS_JOB_ANNOUNCE";

/// The flags that every job program has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Job options")]
struct DriverArgs {
    /// The file system, hdfs://HOST:PORT [default: fs.defaultFS, else the running local cluster]
    #[arg(long, env = "HFS_FS", value_name = "URL")]
    fs: Option<String>,
    /// The jobtracker [default: that of the running local cluster]
    #[arg(long, env = "HFS_JOBTRACKER", value_name = "HOST:PORT")]
    jobtracker: Option<String>,
    /// Run in this process: over local files, or over --fs if that is given as a flag
    #[arg(long)]
    local: bool,
    /// Set a property of the job
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = property)]
    define: Vec<(String, String)>,
    /// Number of reduce tasks
    #[arg(long, value_name = "N")]
    reduces: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
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
    let arguments = std::env::args_os().skip(1).collect();
    ended(&program_name(), start(&Way { name: &program_name(), verb: None }, arguments, &build))
}

/// As [`run`], for a program that is a job program only when its first argument is `verb`.
/// `arguments` are those after it. Task processes are started with the verb, too.
pub fn run_verb<A: Args>(
    verb: &str,
    arguments: Vec<OsString>,
    build: impl Fn(A) -> Result<Job>,
) -> ExitCode {
    ended(verb, start(&Way { name: verb, verb: Some(verb) }, arguments, &build))
}

fn ended(name: &str, result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::FAILURE
    })
}

/// How the program came to run the job.
struct Way<'a> {
    name: &'a str,
    verb: Option<&'a str>,
}

fn start<A: Args>(
    way: &Way<'_>,
    arguments: Vec<OsString>,
    build: &impl Fn(A) -> Result<Job>,
) -> Result<ExitCode> {
    if let Some(socket) = std::env::var_os(TASK_SOCKET) {
        let socket = PathBuf::from(socket);
        let stream = UnixStream::connect(&socket).with_context(|| {
            format!("the worker's socket {} can't be reached", socket.display())
        })?;
        process::serve(stream, |arguments| {
            let skipped = usize::from(way.verb.is_some());
            let arguments = arguments.iter().skip(skipped).map(OsString::from).collect();
            Ok(parse(way.name, arguments, build)?.0)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    announce()?;
    let (job, driver) = match parse(way.name, arguments.clone(), build) {
        Ok(parsed) => parsed,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => {
                usage.print()?;
                return Ok(ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2)));
            }
            Err(error) => return Err(error),
        },
    };
    if driver.local { drive_local(&job, &driver) } else { drive(&job, &driver, way, arguments) }
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

/// The job that the arguments ask for, with what the flags say about it.
fn parse<A: Args>(
    name: &str,
    arguments: Vec<OsString>,
    build: &impl Fn(A) -> Result<Job>,
) -> Result<(Job, DriverArgs)> {
    let command = CommandLine::<A>::command().no_binary_name(true).bin_name(name);
    let mut matches = command.try_get_matches_from(arguments)?;
    let line = CommandLine::<A>::from_arg_matches_mut(&mut matches)?;
    let mut job = build(line.program)?;
    job.override_conf(&line.driver.define.iter().cloned().collect::<Conf>());
    if let Some(reduces) = line.driver.reduces {
        job.conf_mut().set(conf::REDUCES, reduces.to_string());
    }
    Ok((job, line.driver))
}

fn program_name() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(|path| path.file_name()?.to_str());
    name.unwrap_or("job").to_owned()
}

fn drive_local(job: &Job, driver: &DriverArgs) -> Result<ExitCode> {
    // A file system from the environment is for the cluster; `--local` alone means local files.
    let given = std::env::args_os()
        .any(|arg| arg == "--fs" || arg.to_str().is_some_and(|text| text.starts_with("--fs=")));
    let files = match &driver.fs {
        Some(url) if given => Files::Hdfs(connect(url, &job.settings.conf)?),
        _ => Files::Local,
    };
    let display = Display::new(job.name());
    let outcome = run_local(job, &files, &|progress| display.local(progress));
    display.finish();
    let outcome = outcome?;
    report(driver.json, job, "", &outcome.counters)?;
    Ok(ExitCode::SUCCESS)
}

fn drive(
    job: &Job,
    driver: &DriverArgs,
    way: &Way<'_>,
    arguments: Vec<OsString>,
) -> Result<ExitCode> {
    let url = cluster::file_system(driver.fs.as_deref())?;
    let jobtracker = cluster::jobtracker(driver.jobtracker.as_deref())?;
    let fs = connect(&url, &job.settings.conf)?;
    let user = fs.inner().config().user.clone();
    let program_args = way
        .verb
        .map(OsString::from)
        .into_iter()
        .chain(arguments)
        .map(|argument| {
            argument
                .into_string()
                .map_err(|argument| anyhow!("the argument {argument:?} is not UTF-8"))
        })
        .collect::<Result<Vec<_>>>()?;
    let submission = Submission {
        fs_url: url,
        fs,
        user,
        program: std::env::current_exe().context("the program's own file can't be found")?,
        program_args,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut client = runtime.block_on(JobClient::connect(&jobtracker))?;
    let slots = runtime.block_on(client.workers())?;
    let request = submission.prepare(job, slots)?;
    let display = Display::new(job.name());
    let outcome = runtime.block_on(async {
        let submitted = client.submit(request).await?;
        display.submitted(&submitted);
        client.watch(&submitted.job_id, |status| display.status(status)).await
    });
    display.finish();
    match outcome? {
        Outcome::Succeeded(status) => {
            report(driver.json, job, &status.job_id, &status.counters)?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Failed(status) => {
            display::failure(&status);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn connect(url: &str, conf: &Conf) -> Result<blocking::FileSystem> {
    let mut config = ClientConfig::load()?;
    for (name, value) in conf.iter().filter(|(name, _)| name.starts_with("dfs.")) {
        config.set(name, value)?;
    }
    Ok(blocking::FileSystem::connect(url, config)?)
}

/// What the job did: JSON on stdout for programs, counters on stderr for people.
fn report(json: bool, job: &Job, job_id: &str, counters: &[Counter]) -> Result<()> {
    if json {
        let counters: Vec<_> = counters
            .iter()
            .map(|c| serde_json::json!({"group": c.group, "name": c.name, "value": c.value}))
            .collect();
        let result = serde_json::json!({
            "job_id": job_id,
            "name": job.name(),
            "state": "SUCCEEDED",
            "output": job.output(),
            "counters": counters,
        });
        println!("{}", serde_json::to_string_pretty(&result)?);
        return Ok(());
    }
    display::counters(counters);
    eprintln!("output: {}", job.output());
    Ok(())
}
