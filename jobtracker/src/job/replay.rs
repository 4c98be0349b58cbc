//! Makes a job again from its history.

use std::collections::BTreeMap;

use hfs_protocol::ids::AttemptId;
use hfs_protocol::proto::job::{AttemptFailure, JobState};

use super::{
    Attempt, AttemptEnd, AttemptState, Ending, Job, Locality, Phase, ReducePhases, Running,
    SegmentAt, TaskState,
};
use crate::history::record::{Entry, Record};
use crate::scheduler::EndedJob;
use crate::workers::{Profile, WorkerKey};

/// A job that is not over, with the workers its history names. The keys are the job's own: the
/// scheduler gives the workers new ones.
#[derive(Debug)]
pub struct Replayed {
    /// The job as its history leaves it.
    pub job: Job,
    /// Id and host of the workers.
    pub workers: BTreeMap<WorkerKey, Profile>,
    /// Their keys by id: a history names a worker at every launch.
    by_id: BTreeMap<String, WorkerKey>,
}

/// What a history tells.
#[derive(Debug)]
pub enum Outcome {
    /// The job goes on.
    Unfinished(Box<Replayed>),
    /// The job is over.
    Ended(Box<EndedJob>),
}

/// Reads a whole history.
///
/// # Errors
/// A sentence when the records do not tell a job's story.
pub fn replay(records: impl IntoIterator<Item = Record>) -> Result<Outcome, String> {
    let mut records = records.into_iter();
    let Some(Record { entry: Some(Entry::Submitted(first)) }) = records.next() else {
        return Err("the first record is not a submission".to_owned());
    };
    let id = first.job_id.parse().map_err(|e| format!("{e}"))?;
    let request = first.request.ok_or("the submission is empty")?;
    let job = Job::new(id, request, first.submit_ms);
    let mut replayed = Replayed { job, workers: BTreeMap::new(), by_id: BTreeMap::new() };
    replayed.job.phase = Phase::Running;
    for (place, record) in records.enumerate() {
        let entry = record.entry.ok_or("a record is of a kind that this version does not know")?;
        if let Entry::Ended(ended) = entry {
            let status = ended.status.ok_or("the last record has no status")?;
            let submit_token = ended.submit_token;
            return Ok(Outcome::Ended(Box::new(EndedJob { status, submit_token })));
        }
        replayed.apply(entry).map_err(|e| format!("record {}: {e}", place + 2))?;
    }
    Ok(Outcome::Unfinished(Box::new(replayed)))
}

impl Replayed {
    fn worker(&mut self, id: &str, host: String) -> WorkerKey {
        if let Some(key) = self.by_id.get(id) {
            return *key;
        }
        let key = WorkerKey(self.workers.len() as u32);
        self.by_id.insert(id.to_owned(), key);
        self.workers.insert(key, Profile { id: id.to_owned(), host, ..Profile::default() });
        key
    }

    fn apply(&mut self, entry: Entry) -> Result<(), String> {
        let job = &mut self.job;
        match entry {
            Entry::Launched(launched) => {
                let id = own(job, &launched.attempt_id)?;
                let key = self.worker(&launched.worker_id, launched.host);
                let job = &mut self.job;
                job.worker_names.insert(key, launched.worker_id);
                let locality = match launched.locality.as_str() {
                    "node" => Some(Locality::Node),
                    "rack" => Some(Locality::Rack),
                    "any" => Some(Locality::Any),
                    _ => None,
                };
                let attempt = Attempt {
                    number: id.number,
                    worker: key,
                    locality,
                    speculative: launched.speculative,
                    start_ms: launched.start_ms,
                    phases: ReducePhases::default(),
                    state: AttemptState::Running(Running::default()),
                };
                job.launched(id, attempt);
            }
            Entry::MapDone(done) => {
                let id = own(job, &done.attempt_id)?;
                let worker = job
                    .running(id)
                    .map(|(attempt, _)| attempt.worker)
                    .ok_or_else(|| format!("{id} is done and was not running"))?;
                let segment = SegmentAt { worker, path: done.path, bytes: done.bytes };
                job.map_done(id, segment, done.files, done.counters, done.finish_ms);
            }
            Entry::TaskCommitting(done) => {
                let id = own(job, &done.attempt_id)?;
                job.committing(id, done.files, done.counters, done.finish_ms);
            }
            Entry::TaskCommitted(done) => {
                let id = own(job, &done.attempt_id)?;
                job.committed(id);
            }
            Entry::AttemptEnded(ended) => {
                let id = own(job, &ended.attempt_id)?;
                let end = match ended.end.as_str() {
                    "failed" => AttemptEnd::Failed,
                    "lost" => AttemptEnd::Lost,
                    _ => AttemptEnd::Killed,
                };
                let worker = job.task(id.task).and_then(|t| t.attempt(id.number)).map(|a| a.worker);
                let failure = AttemptFailure {
                    record: ended.record,
                    ..job.failure(id, worker, &ended.message, &ended.log_tail)
                };
                job.attempt_ended(id, end, failure, ended.finish_ms);
            }
            Entry::OutputLost(lost) => {
                let id = own(job, &lost.attempt_id)?;
                let current = job.task(id.task).is_some_and(
                    |task| matches!(&task.state, TaskState::Succeeded(s) if s.attempt == id.number),
                );
                if current {
                    job.output_lost(id.task, lost.counts, &lost.message);
                }
            }
            Entry::Priority(change) => {
                job.priority = change.priority.parse().unwrap_or(job.priority);
            }
            Entry::JobCommitting(record) => job.phase = Phase::Committing(record.output_id),
            Entry::Ending(ending) => {
                let state = JobState::try_from(ending.state).unwrap_or(JobState::Failed);
                let output_id = ending.output_id;
                job.phase = Phase::Ending(Ending { state, cleaning: false, output_id });
                job.message = ending.message;
            }
            Entry::Submitted(_) => return Err("a second submission".to_owned()),
            Entry::Ended(_) => return Err("an end that is not the end".to_owned()),
        }
        Ok(())
    }
}

fn own(job: &Job, text: &str) -> Result<AttemptId, String> {
    let id: AttemptId = text.parse().map_err(|e| format!("{e}"))?;
    if id.task.job != job.id || job.task(id.task).is_none() {
        return Err(format!("{id} is not of {}", job.id));
    }
    Ok(id)
}
