//! Whether the cluster can be used: asked of the masters themselves, over the protocols that any client uses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hfs_client::{ClientConfig, DatanodeFilter, FileSystem, SafeModeAction};
use hfs_protocol::proto::job::ClusterRequest;
use hfs_protocol::proto::job::job_service_client::JobServiceClient;
use tonic::transport::{Channel, Endpoint};

/// Between two looks.
const POLL: Duration = Duration::from_millis(2);

/// One question may take this long.
const ASK_DEADLINE: Duration = Duration::from_secs(10);

/// How long the client may try a master that does not answer; the loop around it tries again.
const MASTER_BUDGET: Duration = Duration::from_millis(500);

/// What the masters say.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    /// Whether the namenode refuses changes.
    pub safe_mode: bool,
    /// Datanodes the namenode believes alive.
    pub live_datanodes: usize,
    /// Workers the jobtracker believes alive.
    pub live_workers: usize,
}

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) namenode: SocketAddr,
    pub(super) jobtracker: SocketAddr,
    pub(super) datanodes: usize,
    pub(super) workers: usize,
}

impl Goal {
    /// Waits until the goal is reached. `still` is asked between the looks and ends the waiting with its error.
    pub(super) fn wait(
        self,
        deadline: Instant,
        still: impl Fn() -> Result<()> + Send + Sync,
    ) -> Result<()> {
        on_own_thread(async move {
            let (mut fs, mut jobs) = (None, None);
            loop {
                still()?;
                let health = self.look(&mut fs, &mut jobs).await;
                let missing = match &health {
                    Ok(health) => match self.missing(health) {
                        None => return Ok(()),
                        Some(missing) => missing,
                    },
                    Err(e) => format!("{e:#}"),
                };
                if Instant::now() >= deadline {
                    bail!("the cluster is not usable in time: {missing}");
                }
                tokio::time::sleep(POLL).await;
            }
        })
    }

    fn missing(&self, health: &Health) -> Option<String> {
        if health.live_datanodes < self.datanodes {
            Some(format!(
                "{} of {} datanodes have registered",
                health.live_datanodes, self.datanodes
            ))
        } else if health.safe_mode {
            Some(
                "the namenode is in safe mode: blocks are missing that no datanode has reported"
                    .into(),
            )
        } else if health.live_workers < self.workers {
            Some(format!("{} of {} workers have registered", health.live_workers, self.workers))
        } else {
            None
        }
    }

    async fn look(
        &self,
        fs: &mut Option<FileSystem>,
        jobs: &mut Option<JobServiceClient<Channel>>,
    ) -> Result<Health> {
        let fs = match fs {
            Some(fs) => fs,
            None => fs.insert(connect(self.namenode).await?),
        };
        let jobs = match jobs {
            Some(jobs) => jobs,
            None => jobs.insert(connect_jobs(self.jobtracker).await?),
        };
        ask(fs, jobs).await
    }
}

/// Asks both masters how they fare.
pub(super) fn health(namenode: SocketAddr, jobtracker: SocketAddr) -> Result<Health> {
    on_own_thread(async move {
        ask(&connect(namenode).await?, &mut connect_jobs(jobtracker).await?).await
    })
}

async fn ask(fs: &FileSystem, jobs: &mut JobServiceClient<Channel>) -> Result<Health> {
    let asked = async {
        let live_datanodes = fs.datanode_report(DatanodeFilter::Live).await?.len();
        let safe_mode = fs.set_safe_mode(SafeModeAction::Get).await?;
        let status = jobs.cluster(ClusterRequest {}).await.context("the jobtracker")?.into_inner();
        let live_workers = status.workers.iter().filter(|worker| worker.live).count();
        anyhow::Ok(Health { safe_mode, live_datanodes, live_workers })
    };
    tokio::time::timeout(ASK_DEADLINE, asked).await.context("the masters don't answer")?
}

async fn connect(namenode: SocketAddr) -> Result<FileSystem> {
    let config = ClientConfig {
        connect_budget: MASTER_BUDGET,
        retry_budget: MASTER_BUDGET,
        ..ClientConfig::default()
    };
    Ok(FileSystem::connect(format!("hdfs://{namenode}").as_str(), config).await?)
}

/// A client of the jobtracker at that address.
///
/// # Errors
/// When it can't be reached.
pub async fn connect_jobs(jobtracker: SocketAddr) -> Result<JobServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{jobtracker}"))?
        .connect_timeout(ASK_DEADLINE)
        .timeout(ASK_DEADLINE);
    let channel = endpoint
        .connect()
        .await
        .with_context(|| format!("the jobtracker at {jobtracker} can't be reached"))?;
    Ok(JobServiceClient::new(channel))
}

/// Runs a future to its end on a thread and runtime of its own, so that callers may or may not be async.
fn on_own_thread<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(future)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
