//! The scheduler's actions, done.

use std::ops::Range;
use std::sync::Arc;

use hfs_protocol::ids::{AttemptId, JobId, TaskKind};
use hfs_protocol::proto::task::launch::Task as LaunchTask;
use hfs_protocol::proto::task::{JobSpec, Launch, MapOutputs, MapTask, OutputFile, ReduceTask};
use hfs_protocol::proto::worker::tracker_message::Message as ToWorker;
use hfs_protocol::proto::worker::{ForgetJob, KillAttempt, LaunchAttempt, LogData, ReduceInputs};
use tokio::sync::oneshot;

use super::calls::Calls;
use super::handle::{LogRoute, Message};
use super::links::Sent;
use super::{Tracker, commit};
use crate::history::Record;
use crate::history::record::Entry;
use crate::job::Job;
use crate::scheduler::{Action, CommitError, Durability, Event, News};
use crate::workers::WorkerKey;

/// The answer that a record is durable.
type Durable = oneshot::Receiver<Result<(), String>>;

/// The record that the next step of this job has to wait for.
fn behind(pending: &mut Option<(JobId, Durable)>, job: JobId) -> Option<Durable> {
    pending.take_if(|(id, _)| *id == job).map(|(_, durable)| durable)
}

impl Tracker {
    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        // A synced record of a job is what the commit right behind it waits for.
        let mut pending: Option<(JobId, Durable)> = None;
        let mut told: Option<((JobId, Range<usize>), News)> = None;
        for action in actions {
            self.edges.counts.action(&action);
            match action {
                Action::Journal(job, record, Durability::Buffered) => {
                    self.edges.history.append(job, *record);
                }
                Action::Journal(job, record, Durability::Synced) => {
                    pending = self.journal(job, *record).map(|durable| (job, durable));
                }
                Action::CommitTask { attempt, files, again } => {
                    let wait = behind(&mut pending, attempt.task.job);
                    self.commit_task(attempt, files, again, wait);
                }
                Action::SealJob(job, files) => {
                    let maps = self.scheduler.jobs().get(&job).map(Job::map_files);
                    let work = async move |calls: Calls| {
                        commit::commit_map_files(&calls, maps.unwrap_or_default()).await?;
                        commit::seal_job(&calls, files).await
                    };
                    self.start(job, None, work, move |result| Event::JobSealed(job, result));
                }
                Action::CommitJob(job, output_id) => {
                    let wait = behind(&mut pending, job);
                    let work =
                        async move |calls: Calls| commit::commit_job(&calls, output_id).await;
                    self.start(job, wait, work, move |result| Event::JobCommitted(job, result));
                }
                Action::CleanJob(job, output_id) => {
                    let wait = behind(&mut pending, job);
                    let work = async move |calls: Calls| commit::clean_job(&calls, output_id).await;
                    self.start(job, wait, work, move |result| Event::JobCleaned(job, result));
                }
                Action::Launch(worker, attempt) => self.launch(worker, attempt),
                Action::Kill(worker, attempt, reason) => {
                    let order = KillAttempt { attempt_id: attempt.to_string(), reason };
                    self.tell(worker, ToWorker::Kill(order));
                }
                Action::FeedReduce(worker, attempt, part) => {
                    // Reduces that know equally much follow each other and are told the same.
                    let about = (attempt.task.job, part);
                    if told.as_ref().is_none_or(|(last, _)| *last != about) {
                        let news = self.scheduler.news(about.0, about.1.clone());
                        told = Some((about, news));
                    }
                    let host = self.scheduler.host_of(worker);
                    let outputs =
                        told.as_ref().map(|(_, news)| news.for_host(host)).unwrap_or_default();
                    if !outputs.is_empty() {
                        let outputs = Some(MapOutputs { outputs });
                        let order = ReduceInputs { attempt_id: attempt.to_string(), outputs };
                        self.tell(worker, ToWorker::ReduceInputs(order));
                    }
                }
                Action::ForgetJob(worker, job) => {
                    let order = ForgetJob { job_id: job.to_string() };
                    self.tell(worker, ToWorker::ForgetJob(order));
                }
                Action::CloseWorker(worker, reason) => {
                    if let Some(worker) = self.scheduler.workers().get(worker) {
                        let (id, host) = (&worker.profile.id, &worker.profile.host);
                        tracing::warn!("gave up worker {id} on {host}: {reason}");
                    }
                    self.links.refuse(worker, reason);
                }
                Action::Changed(job) => self.changed(job),
                Action::DropHistory(job) => self.edges.history.remove(job),
            }
        }
    }

    /// Writes a record that somebody waits for. Who: the submission's answer is waited for here, that of
    /// a change of priority by whoever asked for it, a commit's by the commit, and an end's by nobody, who
    /// only hears of it when it fails.
    fn journal(&mut self, job: JobId, record: Record) -> Option<Durable> {
        let submission = matches!(record.entry, Some(Entry::Submitted(_)));
        let end = matches!(record.entry, Some(Entry::Ended(_)));
        let priority = matches!(record.entry, Some(Entry::Priority(_)));
        let durable = self.edges.history.append_synced(job, record);
        if priority {
            self.answer_reprioritiser(job, durable);
            return None;
        }
        if !submission && !end {
            return Some(durable);
        }
        let own = self.own.clone();
        tokio::spawn(async move {
            let result = durable.await.unwrap_or_else(|_| Err("the writer is gone".to_owned()));
            if submission {
                if let Some(own) = own.upgrade() {
                    let _ = own.send(Message::Durable(job, result)).await;
                }
            } else if let Err(why) = result {
                tracing::error!("the end of {job} is not in its history: {why}");
            }
        });
        None
    }

    /// Answers the oldest request for a priority of this job when its record is durable.
    fn answer_reprioritiser(&mut self, job: JobId, durable: Durable) {
        let Some(waiting) = self.reprioritisers.get_mut(&job) else { return };
        let reply = waiting.pop_front();
        if waiting.is_empty() {
            self.reprioritisers.remove(&job);
        }
        let Some(reply) = reply else { return };
        tokio::spawn(async move {
            let gone = |_| Err("the writer of the history is gone".to_owned());
            let written = durable.await.unwrap_or_else(gone);
            // Who no longer waits does not need the answer.
            let _ = reply.send(written.map(|()| true));
        });
    }

    fn spec(&self, job: JobId) -> Option<Arc<JobSpec>> {
        self.scheduler.jobs().get(&job).map(|job| Arc::clone(&job.spec))
    }

    /// Starts work on a job's file system; its result comes back as an event. It ends, well or not,
    /// within the configured time.
    fn start<T, W, F>(
        &self,
        job: JobId,
        wait: Option<Durable>,
        work: W,
        event: impl FnOnce(Result<T, CommitError>) -> Event + Send + 'static,
    ) where
        T: Send + 'static,
        W: FnOnce(Calls) -> F + Send + 'static,
        F: Future<Output = Result<T, CommitError>> + Send + 'static,
    {
        let Some(spec) = self.spec(job) else { return };
        let own = self.own.clone();
        let timeout = self.edges.commit_timeout;
        let store = Arc::clone(&self.edges.store);
        let turns = Arc::clone(&self.commits);
        let ready = async move {
            if let Some(durable) = wait {
                let gone = |_| Err("the writer of the history is gone".to_owned());
                durable.await.unwrap_or_else(gone)?;
            }
            turns.acquire_owned().await.map_err(|e| e.to_string())
        };
        tokio::spawn(async move {
            let late = |_| Err(format!("it had no turn within {} s", timeout.as_secs_f64()));
            let result = match tokio::time::timeout(timeout, ready).await.unwrap_or_else(late) {
                Ok(_turn) => work(Calls::new(store, spec, timeout)).await,
                Err(why) => Err(CommitError::refused(why)),
            };
            if let Some(own) = own.upgrade() {
                let _ = own.send(Message::Performed(event(result))).await;
            }
        });
    }

    fn commit_task(
        &self,
        attempt: AttemptId,
        files: Vec<OutputFile>,
        again: bool,
        wait: Option<Durable>,
    ) {
        let work =
            async move |calls: Calls| commit::commit_task(&calls, attempt, &files, again).await;
        let event = move |result| Event::TaskCommitted(attempt, result);
        self.start(attempt.task.job, wait, work, event);
    }

    fn launch(&mut self, worker: WorkerKey, attempt: AttemptId) {
        let Some(job) = self.scheduler.jobs().get(&attempt.task.job) else { return };
        let index = attempt.task.index;
        let task = match attempt.task.kind {
            TaskKind::Map => {
                LaunchTask::Map(MapTask { index, split: job.splits.get(index as usize).cloned() })
            }
            TaskKind::Reduce => LaunchTask::Reduce(ReduceTask { partition: index }),
        };
        let launch = Launch {
            job: Some((*job.spec).clone()),
            attempt_id: attempt.to_string(),
            task: Some(task),
            attempt_output_dir: commit::attempt_dir(&job.spec, attempt),
            skip: job.skip(attempt.task),
            ..Launch::default()
        };
        let order = LaunchAttempt { launch: Some(launch) };
        self.tell(worker, ToWorker::Launch(order));
    }

    fn tell(&mut self, worker: WorkerKey, message: ToWorker) {
        if self.links.send(worker, message) == Sent::Overflowed {
            self.overflowed(worker);
        }
    }

    /// A worker that does not take what it is told is treated as one whose stream broke.
    fn overflowed(&mut self, worker: WorkerKey) {
        if let Some(known) = self.scheduler.workers().get(worker) {
            tracing::warn!("closed the stream of worker {}: it is full", known.profile.id);
        }
        let mut actions = Vec::new();
        self.scheduler.handle(self.now(), Event::Disconnected(worker), &mut actions);
        self.perform(actions);
    }

    fn changed(&mut self, id: JobId) {
        let ended = self.scheduler.ended().get(&id);
        if let Some(job) = ended {
            let status = &job.status;
            self.edges.counts.ended(status.state());
            let state = status.state().as_str_name().to_lowercase();
            let took = status.finish_ms.saturating_sub(status.submit_ms);
            let why = if status.message.is_empty() { "" } else { ": " };
            tracing::info!("{id} '{}' {state} after {took} ms{why}{}", status.name, status.message);
        }
        let ended = ended.is_some();
        if let Some(watcher) = self.watchers.get(&id) {
            watcher.send_modify(|version| {
                version.number += 1;
                version.ended = ended;
            });
            if ended || watcher.is_closed() {
                self.watchers.remove(&id);
            }
        }
    }

    pub(super) fn read_log(&mut self, route: LogRoute) {
        let workers = self.scheduler.workers();
        let ran_on = workers.by_id(&route.worker);
        let live = |key: &WorkerKey| workers.get(*key).is_some_and(|worker| worker.live());
        // A worker that was restarted has the logs of the one before it: same host, same directory.
        let host =
            ran_on.and_then(|key| workers.get(key)).map(|worker| worker.profile.host.clone());
        let reader = ran_on.filter(live).or_else(|| {
            let host = host?;
            workers.iter().find(|(_, w)| w.live() && w.profile.host == host).map(|(key, _)| key)
        });
        let refuse = |route: LogRoute, why: String| {
            let _ = route.pieces.try_send(LogData { last: true, error: why, ..LogData::default() });
        };
        let Some(reader) = reader else {
            let why = format!("worker {} is not there", route.worker);
            return refuse(route, why);
        };
        match self.links.read_log(reader, route) {
            Ok(Sent::Overflowed) => self.overflowed(reader),
            Ok(_) => {}
            Err((route, why)) => refuse(route, why.to_owned()),
        }
    }
}
