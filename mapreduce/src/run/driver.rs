//! The driver's side of a program's jobs: here with `--local`, else on a cluster.

use std::ffi::OsString;
use std::fmt;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use hfs_client::{FsUrl, blocking};
use hfs_protocol::proto::task::{Counter, JobSpec};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::display::{self, Display};
use super::{DriverArgs, Talk, cluster, hadoop_lines};
use crate::conf::{self, Conf};
use crate::files::{Files, client_config_of, is_url};
use crate::job::Job;
use crate::local::run_local;
use crate::submit::{JobClient, Outcome, Submission};

/// Runs jobs and remembers how they ended.
pub(super) struct Driver {
    args: DriverArgs,
    /// The program's own arguments, for its tasks.
    program_args: Vec<OsString>,
    talk: Talk,
    place: Option<Place>,
    jobs: Vec<State>,
}

/// Where jobs run, known from the first one on.
enum Place {
    Here(Files),
    Cluster(Box<Cluster>),
}

struct Cluster {
    runtime: Runtime,
    client: JobClient,
    submission: Submission,
}

/// A job of the program.
enum State {
    Running { job_id: String, name: String, output: String, start: Instant, spec: Box<JobSpec> },
    Ended(Result<Report, JobFailed>),
}

/// What is told of a job that succeeded.
#[derive(Clone)]
struct Report {
    job_id: String,
    name: String,
    output: String,
    /// Of the output.
    fs_url: String,
    counters: Vec<Counter>,
}

/// A job that failed or was killed on the cluster. What there is to say has been printed when this
/// comes up.
#[derive(Debug, Clone)]
pub(super) struct JobFailed(String);

impl fmt::Display for JobFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JobFailed {}

impl Driver {
    pub(super) fn new(args: DriverArgs, program_args: Vec<OsString>, talk: Talk) -> Self {
        Self { args, program_args, talk, place: None, jobs: Vec::new() }
    }

    /// Where this and all later jobs run. `conf` is the first job's: its `dfs.` properties are those
    /// of the connection.
    fn place(&mut self, conf: &Conf) -> Result<&mut Place> {
        let place = match self.place.take() {
            Some(place) => place,
            None if self.args.local => Place::Here(local_files(&self.args, conf)?),
            None => {
                Place::Cluster(Box::new(Cluster::connect(&self.args, &self.program_args, conf)?))
            }
        };
        Ok(self.place.insert(place))
    }

    pub(super) fn submit(&mut self, mut job: Job) -> Result<()> {
        let (start, talk) = (Instant::now(), self.talk);
        match self.place(&job.settings.conf)? {
            Place::Here(files) => job.resolve_paths(files)?,
            Place::Cluster(cluster) => {
                job.resolve_paths(&cluster.submission.files)?;
            }
        }
        let (name, output) = (job.name().to_owned(), job.output().to_owned());
        let state = match self.place(&job.settings.conf)? {
            Place::Here(files) => {
                let display = Display::new(&name, start, talk);
                let outcome = run_local(&job, files, &|progress| display.local(progress));
                display.finish();
                let counters = outcome?.counters;
                let fs_url = files.url();
                State::Ended(Ok(Report { job_id: String::new(), name, output, fs_url, counters }))
            }
            Place::Cluster(cluster) => {
                let slots = cluster.runtime.block_on(cluster.client.workers())?;
                let request = cluster.submission.prepare(&job, slots)?;
                let spec = Box::new(request.job.clone().unwrap_or_default());
                let submitted = cluster.runtime.block_on(cluster.client.submit(request.clone()));
                let reply = submitted.inspect_err(|_| cluster.submission.discard(&request))?;
                match talk {
                    Talk::Own => display::submitted(&name, &reply),
                    Talk::Hadoop => hadoop_lines::submitted(&reply),
                }
                State::Running { job_id: reply.job_id, name, output, start, spec }
            }
        };
        if let State::Ended(Ok(report)) = &state {
            self.tell(report);
        }
        self.jobs.push(state);
        Ok(())
    }

    /// Waits for the job with this number; its counters.
    pub(super) fn wait(&mut self, index: u32) -> Result<Vec<Counter>> {
        let jobs = self.jobs.len();
        let state = self
            .jobs
            .get_mut(index as usize)
            .ok_or_else(|| anyhow!("there is no job number {index} of {jobs}"))?;
        if let State::Running { job_id, name, output, start, spec } = state
            && let Some(Place::Cluster(cluster)) = &mut self.place
        {
            // Only the job that is waited for is drawn: several bars would overwrite each other.
            let display = Display::new(name, *start, self.talk);
            let watched = cluster.client.watch(job_id, |status| display.status(status));
            let outcome = cluster.runtime.block_on(watched);
            display.finish();
            let outcome = outcome?;
            cluster.submission.ended(spec);
            let ended = match outcome {
                Outcome::Succeeded(status) => Ok(Report {
                    job_id: status.job_id,
                    name: std::mem::take(name),
                    output: std::mem::take(output),
                    fs_url: cluster.submission.fs_url.clone(),
                    counters: status.counters,
                }),
                Outcome::Failed(status) => {
                    match self.talk {
                        Talk::Own => display::failure(&status),
                        Talk::Hadoop => hadoop_lines::failed(&status),
                    }
                    Err(JobFailed(format!("the job {name} did not succeed: {}", status.message)))
                }
            };
            *state = State::Ended(ended);
            if let State::Ended(Ok(report)) = state {
                let report = report.clone();
                self.tell(&report);
            }
        }
        match &self.jobs[index as usize] {
            State::Ended(Ok(report)) => Ok(report.counters.clone()),
            State::Ended(Err(failed)) => Err(failed.clone().into()),
            State::Running { job_id, .. } => Err(anyhow!("nobody watches the job {job_id}")),
        }
    }

    pub(super) fn remove(&mut self, path: &str) -> Result<()> {
        match self.place(&Conf::default())? {
            Place::Here(files) => files.remove(&files.resolve(path)?),
            Place::Cluster(cluster) => {
                let files = &cluster.submission.files;
                files.remove(&files.resolve(path)?)
            }
        }
    }

    /// Counters on stderr for people; for programs all is told at the end.
    fn tell(&self, report: &Report) {
        if self.args.json {
            return;
        }
        if self.talk == Talk::Hadoop {
            let Report { job_id, counters, output, fs_url, .. } = report;
            let output = match output.as_str() {
                "" => String::new(),
                path if is_url(path) => path.to_owned(),
                path if job_id.is_empty() && !fs_url.starts_with("hdfs:") => {
                    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
                    format!("file:{}", path.display())
                }
                path => format!("{}{path}", fs_url.trim_end_matches('/')),
            };
            let job_id = if job_id.is_empty() { "job_local_0001" } else { job_id };
            hadoop_lines::succeeded(job_id, counters, &output);
        } else {
            display::counters(&report.counters);
            if !report.output.is_empty() {
                eprintln!("output: {}", report.output);
            }
        }
    }

    /// Waits for the jobs that nobody has waited for, and prints the results as JSON if asked to: an
    /// object for the program's job, or a list of them if it has several.
    pub(super) fn finish(mut self, ended: Result<()>) -> Result<()> {
        let mut first_error = ended.err();
        for index in 0..self.jobs.len() {
            if let Err(error) = self.wait(index as u32) {
                first_error.get_or_insert(error);
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        if self.args.json {
            let mut reports: Vec<_> = self
                .jobs
                .iter()
                .filter_map(|job| match job {
                    State::Ended(Ok(report)) => Some(as_json(report)),
                    _ => None,
                })
                .collect();
            let told = if reports.len() == 1 { reports.remove(0) } else { Value::Array(reports) };
            println!("{}", serde_json::to_string_pretty(&told)?);
        }
        Ok(())
    }
}

fn as_json(report: &Report) -> Value {
    let counters: Vec<_> = report
        .counters
        .iter()
        .map(|c| json!({"group": c.group, "name": c.name, "value": c.value}))
        .collect();
    json!({
        "job_id": report.job_id,
        "name": report.name,
        "state": "SUCCEEDED",
        "output": report.output,
        "counters": counters,
    })
}

/// The default file system as the command line says it: `--fs`, else `-D fs.defaultFS`.
fn said_fs(args: &DriverArgs, conf: &Conf) -> Option<String> {
    // One from the environment is in `args`, too, but says less than a property.
    let given = std::env::args_os().any(|arg| {
        arg == "--fs" || arg == "-fs" || arg.to_str().is_some_and(|text| text.starts_with("--fs="))
    });
    let flag = args.fs.clone().filter(|_| given || args.explicit_fs);
    flag.or_else(|| conf.get(conf::DEFAULT_FS).map(str::to_owned)).filter(|url| !url.is_empty())
}

fn local_files(args: &DriverArgs, conf: &Conf) -> Result<Files> {
    match said_fs(args, conf) {
        Some(url) if !url.starts_with("file:") => Ok(Files::of_hdfs(connect(&url, conf)?)),
        // A file system from the environment is for the cluster; `--local` alone means local files.
        _ => Ok(Files::local_with(client_config_of(conf)?)),
    }
}

impl Cluster {
    fn connect(args: &DriverArgs, program_args: &[OsString], conf: &Conf) -> Result<Self> {
        let url = cluster::file_system(said_fs(args, conf).or_else(|| args.fs.clone()).as_deref())?;
        if is_url(&url) && !FsUrl::is_url(&url) {
            bail!(
                "{url} can't be the default file system of a job on a cluster, as the program and what \
                 its tasks share are kept there: name an HDFS, and the inputs and outputs elsewhere by \
                 their whole URLs; or run here with --local"
            );
        }
        let jobtracker = cluster::jobtracker(args.jobtracker.as_deref())?;
        let fs = connect(&url, conf)?;
        let user = fs.inner().config().user.clone();
        let program_args = program_args
            .iter()
            .map(|argument| {
                let text = argument.to_str().map(str::to_owned);
                text.ok_or_else(|| anyhow!("the argument {argument:?} is not UTF-8"))
            })
            .collect::<Result<_>>()?;
        let submission = Submission {
            fs_url: url,
            files: Files::of_hdfs(fs),
            user,
            program: std::env::current_exe().context("the program's own file can't be found")?,
            program_args,
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(JobClient::connect(&jobtracker))?;
        Ok(Self { runtime, client, submission })
    }
}

fn connect(url: &str, conf: &Conf) -> Result<blocking::FileSystem> {
    Ok(blocking::FileSystem::connect(url, client_config_of(conf)?)?)
}
