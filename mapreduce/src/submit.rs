//! Submitting a job to a jobtracker and watching it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use hfs_client::{CreateOptions, blocking};
use hfs_protocol::proto::job::job_service_client::JobServiceClient;
use hfs_protocol::proto::job::{
    ClusterRequest, JobRequest, JobState, JobStatus, SubmitReply, SubmitRequest,
};
use hfs_protocol::proto::task::JobSpec;
use tonic::transport::{Channel, Endpoint};

use crate::cache;
use crate::conf;
use crate::files::{Files, is_bucket, is_url};
use crate::job::{Job, Plan};
use crate::local::{check_output, staging_dir};
use crate::task::attempt::sort_bytes;

mod digest;

use digest::program_digest;

/// Where programs lie, each under its SHA-256.
const PROGRAMS_DIR: &str = "/tmp/hfs/programs";
/// Where jobs whose output is in an object store are staged.
const UPLOADS_DIR: &str = "/tmp/hfs/staging";
/// Attempts before a task fails its job, unless configured.
const DEFAULT_MAX_ATTEMPTS: u32 = 4;
/// An attempt silent for so long is killed, unless configured.
const DEFAULT_TASK_TIMEOUT_MS: u64 = 600_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest message to and from the jobtracker: a job with many splits, or its whole status.
const MAX_MESSAGE_BYTES: usize = 256 << 20;
/// Bytes of the program read and written at once.
const COPY_BYTES: usize = 1 << 20;
/// Broken watches are taken up again so often before the jobtracker counts as lost.
const WATCH_TRIES: u32 = 30;
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// What a job needs besides itself to be submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The job's file system, `hdfs://host:port`.
    pub fs_url: String,
    /// The same, connected, and the way to others that the job names.
    pub files: Files,
    /// Who submits.
    pub user: String,
    /// The program that tasks run.
    pub program: PathBuf,
    /// Its arguments, from which it builds the same job.
    pub program_args: Vec<String>,
}

impl Submission {
    /// Checks the output, cuts the input into splits and uploads the program unless it is there
    /// already. If nobody says how many reduces there are, there are no more than
    /// live `workers`, and no more than the input is worth.
    ///
    /// # Errors
    /// When the output exists, the input does not, or the file system can't be used.
    pub fn prepare(&self, job: &Job, workers: u32) -> Result<SubmitRequest> {
        let files = &self.files;
        let output = job.settings.output.trim_end_matches('/');
        if !output.is_empty() && !output.starts_with('/') && !is_url(output) {
            bail!("the output directory '{output}' must be an absolute path");
        }
        check_output(files, output)?;
        let Plan { splits, reduces, conf } = job.plan(files, workers.max(1), None)?;
        let (program_path, program_sha256) = self.upload()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unique = format!("{}_{}", since.as_nanos(), std::process::id());
        let staging_dir = match output.rsplit_once('/') {
            // What tasks leave there are only small files that say how to complete their uploads.
            Some((_, name)) if is_bucket(output) => format!("{UPLOADS_DIR}/._hfs_{name}_{unique}"),
            _ => staging_dir(output, &unique),
        };
        let upload_dir = cache::upload_dir(&staging_dir, &unique);
        let cache = cache::submit_items(&conf, self.hdfs()?, &upload_dir).inspect_err(|_| {
            // What was brought before the error has no job that would take it along.
            let made = if cache::is_staged(&staging_dir) { &staging_dir } else { &upload_dir };
            let _ = files.remove(made);
        })?;
        let spec = JobSpec {
            job_id: String::new(),
            name: job.settings.name.clone(),
            user: self.user.clone(),
            program_args: self.program_args.clone(),
            job_index: job.settings.index,
            program_path,
            program_sha256,
            fs_url: self.fs_url.clone(),
            conf: conf.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            maps: u32::try_from(splits.len()).context("the job has too many splits")?,
            reduces,
            output_dir: output.to_owned(),
            staging_dir,
            max_attempts: conf.parsed_or(conf::MAX_ATTEMPTS, DEFAULT_MAX_ATTEMPTS)?,
            sort_memory_bytes: sort_bytes(&conf)?,
            task_timeout_ms: conf.parsed_or(conf::TASK_TIMEOUT_MS, DEFAULT_TASK_TIMEOUT_MS)?,
            environment: Vec::new(),
            cache,
        };
        Ok(SubmitRequest {
            job: Some(spec),
            splits,
            submit_token: format!("{}_{unique}", self.user),
        })
    }

    /// Removes what [`Submission::prepare`] has brought for a job that was then refused.
    pub fn discard(&self, request: &SubmitRequest) {
        let Some(job) = request.job.as_ref().filter(|job| !job.cache.is_empty()) else { return };
        cache::forget(&self.files, job);
        if !job.staging_dir.is_empty() {
            // What can't be removed costs some room and nothing else.
            let _ = self.files.remove(&job.staging_dir);
        }
    }

    /// Removes what was brought for a job that has ended, where its staging directory has not taken it
    /// along.
    pub fn ended(&self, job: &JobSpec) {
        cache::forget(&self.files, job);
    }

    fn hdfs(&self) -> Result<&blocking::FileSystem> {
        let fs = self.files.hdfs();
        fs.with_context(|| format!("{} is no HDFS, and a cluster's jobs need one", self.fs_url))
    }

    /// Puts the program where workers find it; says where, and its SHA-256 in hexadecimal.
    fn upload(&self) -> Result<(String, String)> {
        let (length, digest) = program_digest(&self.program)?;
        let path = format!("{PROGRAMS_DIR}/{digest}");
        let fs = self.hdfs()?;
        if fs.try_status(&path)?.is_some_and(|status| status.length == length) {
            return Ok((path, digest));
        }
        // Written beside and renamed: another submitter of the same program sees it whole or not.
        let partial = format!("{PROGRAMS_DIR}/.{digest}.{}", std::process::id());
        put_file(fs, &self.program, &partial)?;
        fs.set_permission(&partial, 0o755)?;
        fs.rename2(&partial, &path, true)?;
        Ok((path, digest))
    }
}

/// Copies a local file into the file system, over an older one.
pub(crate) fn put_file(fs: &blocking::FileSystem, from: &Path, to: &str) -> Result<()> {
    let unreadable = || format!("{} can't be read", from.display());
    let mut file = File::open(from).with_context(unreadable)?;
    let mut writer = fs.create(to, &CreateOptions::overwrite())?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let got = file.read(&mut buffer).with_context(unreadable)?;
        if got == 0 {
            break;
        }
        writer.write_all(&buffer[..got])?;
    }
    writer.close()?;
    Ok(())
}

/// How a job ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The output is there.
    Succeeded(Box<JobStatus>),
    /// It failed or was killed; there is no output.
    Failed(Box<JobStatus>),
}

/// A connection to a jobtracker.
#[derive(Debug, Clone)]
pub struct JobClient {
    address: String,
    client: JobServiceClient<Channel>,
}

impl JobClient {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        let address = address.trim_start_matches("http://").to_owned();
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("'{address}' is not the address of a jobtracker"))?
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await.with_context(|| {
            format!(
                "the jobtracker at {address} can't be reached; check that it runs and that the \
                 address is right (--jobtracker or HFS_JOBTRACKER)"
            )
        })?;
        let client = JobServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { address, client })
    }

    /// Live workers.
    ///
    /// # Errors
    /// When the jobtracker does not answer.
    pub async fn workers(&mut self) -> Result<u32> {
        let cluster = self.client.cluster(ClusterRequest {}).await.map_err(told)?.into_inner();
        let live = cluster.workers.iter().filter(|worker| worker.live).count();
        Ok(u32::try_from(live).unwrap_or(u32::MAX))
    }

    /// Submits a prepared job.
    ///
    /// # Errors
    /// When the jobtracker refuses it.
    pub async fn submit(&mut self, request: SubmitRequest) -> Result<SubmitReply> {
        Ok(self.client.submit(request).await.map_err(told)?.into_inner())
    }

    /// Gives every change of a job's status until it has ended.
    ///
    /// # Errors
    /// When the jobtracker is lost for good; the job may still run.
    pub async fn watch(
        &mut self,
        job_id: &str,
        mut seen: impl FnMut(&JobStatus),
    ) -> Result<Outcome> {
        let request = || JobRequest { job_id: job_id.to_owned() };
        let mut tries = 0;
        loop {
            let error = match self.client.watch(request()).await {
                Ok(stream) => {
                    let mut stream = stream.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(status)) => {
                                tries = 0;
                                seen(&status);
                                if let Some(outcome) = outcome(status) {
                                    return Ok(outcome);
                                }
                            }
                            Ok(None) => break anyhow!("the jobtracker ended the stream"),
                            Err(status) => break told(status),
                        }
                    }
                }
                Err(status) if status.code() == tonic::Code::NotFound => return Err(told(status)),
                Err(status) => told(status),
            };
            tries += 1;
            if tries > WATCH_TRIES {
                return Err(error.context(format!(
                    "the jobtracker at {} is lost; see later what became of the job: hfs job status \
                     {job_id}",
                    self.address
                )));
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }
}

fn outcome(status: JobStatus) -> Option<Outcome> {
    match status.state() {
        JobState::Succeeded => Some(Outcome::Succeeded(Box::new(status))),
        JobState::Failed | JobState::Killed => Some(Outcome::Failed(Box::new(status))),
        JobState::Preparing | JobState::Running | JobState::Committing => None,
    }
}

/// What the jobtracker said, in its own words.
fn told(status: tonic::Status) -> anyhow::Error {
    anyhow!("{}", status.message())
}
