//! Attempts end; outputs get lost; files get committed.

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::job::AttemptFailure;
use hfs_protocol::proto::task::{Done, FetchFailed, OutputFile, Progress};

use super::{Action, CommitError, Durability, Failure, Now, Report, Scheduler, Timer};
use crate::history::record::{
    AttemptEnded, Entry, MapDone, OutputLost, TaskCommitted, TaskCommitting,
};
use crate::job::{AttemptEnd, SegmentAt, TaskState, limits};
use crate::workers::WorkerKey;

/// A worker ends a silent attempt itself, and with its last words; it has so much longer for that before
/// the tracker gives the attempt up without them.
const SILENCE_GRACE_MS: u64 = 5_000;

impl Scheduler {
    pub(super) fn progress(
        &mut self,
        now: Now,
        key: WorkerKey,
        progress: Progress,
        out: &mut Vec<Action>,
    ) {
        self.heard(now, key);
        let Ok(id) = progress.attempt_id.parse::<AttemptId>() else { return };
        let Some(job) = self.jobs.get_mut(&id.task.job) else { return };
        let Some(attempt) = job.task_mut(id.task).and_then(|task| task.attempt_mut(id.number))
        else {
            return;
        };
        if attempt.worker != key {
            return;
        }
        if attempt.running().is_some() && id.task.kind == TaskKind::Reduce {
            attempt.phases.note(&progress.phase, now.wall_ms);
        }
        if let Some(running) = attempt.running_mut() {
            running.last_heard_ms = now.steady_ms;
            running.fraction =
                if progress.fraction.is_finite() { progress.fraction.clamp(0.0, 1.0) } else { 0.0 };
            running.phase = progress.phase;
            running.counters = progress.counters;
            out.push(Action::Changed(id.task.job));
        }
    }

    pub(super) fn check_attempt(&mut self, now: Now, id: AttemptId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id.task.job) else { return };
        let timeout_ms = job.spec.task_timeout_ms;
        let Some((attempt, running)) = job.running(id) else { return };
        let patience_ms = timeout_ms.saturating_add(SILENCE_GRACE_MS);
        let (worker, due) = (attempt.worker, running.last_heard_ms.saturating_add(patience_ms));
        if due > now.steady_ms {
            self.set_timer(due, Timer::Attempt(id));
            return;
        }
        let message = format!("it reported nothing for {} s", timeout_ms as f64 / 1000.0);
        self.tell_to_die(now, id, worker, &message, out);
        self.attempt_failed(now, id, worker, Failure::of(message), out);
    }

    /// An attempt has ended by its own word. The first success of a task counts; all later ones,
    /// and ends of attempts that were given up, only free their slot.
    pub(super) fn report(
        &mut self,
        now: Now,
        key: WorkerKey,
        report: Report,
        out: &mut Vec<Action>,
    ) {
        self.heard(now, key);
        let Some(id) = report.attempt() else { return };
        let current = self.runs_on(id, key);
        self.free_slot(key, id, out);
        if !current {
            return;
        }
        match report {
            Report::Done(done) => self.done(now, key, id, done, out),
            Report::Failed(_, Failure { killed: true, message, log_tail, .. }) => {
                let failure = AttemptFailure { message, log_tail, ..AttemptFailure::default() };
                self.end_attempt(now, id, AttemptEnd::Killed, failure, out);
            }
            Report::Failed(_, failure) => self.attempt_failed(now, id, key, failure, out),
        }
    }

    fn done(&mut self, now: Now, key: WorkerKey, id: AttemptId, done: Done, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id.task.job) else { return };
        let job_id = job.id;
        if id.task.kind == TaskKind::Map && !job.map_only() {
            if done.map_output_path.is_empty() {
                let message = "it ended without naming its map output";
                self.attempt_failed(now, id, key, Failure::of(message), out);
                return;
            }
            if let Err(message) = check_files(&done.outputs) {
                self.attempt_failed(now, id, key, Failure::of(message), out);
                return;
            }
            let (path, bytes) = (done.map_output_path.clone(), done.map_output_bytes);
            let segment = SegmentAt { worker: key, path, bytes };
            let record = MapDone {
                attempt_id: id.to_string(),
                path: done.map_output_path,
                bytes,
                counters: done.counters.clone(),
                finish_ms: now.wall_ms,
                files: done.outputs.clone(),
            };
            if !job.map_done(id, segment, done.outputs, done.counters, now.wall_ms) {
                return;
            }
            if let Some(worker) = self.workers.get_mut(key) {
                worker.segments.insert(id.task);
            }
            self.note_success(now, id, key);
            self.hungry.insert(job_id);
            out.push(Action::Journal(job_id, Entry::MapDone(record).into(), Durability::Buffered));
        } else {
            if let Err(message) = check_files(&done.outputs) {
                self.attempt_failed(now, id, key, Failure::of(message), out);
                return;
            }
            let record = TaskCommitting {
                attempt_id: id.to_string(),
                files: done.outputs.clone(),
                counters: done.counters.clone(),
                finish_ms: now.wall_ms,
            };
            if !job.committing(id, done.outputs.clone(), done.counters, now.wall_ms) {
                return;
            }
            self.note_success(now, id, key);
            let wait =
                if done.outputs.is_empty() { Durability::Buffered } else { Durability::Synced };
            out.push(Action::Journal(job_id, Entry::TaskCommitting(record).into(), wait));
            if done.outputs.is_empty() {
                self.task_committed(now, id, Ok(()), out);
            } else {
                let files = done.outputs;
                out.push(Action::CommitTask { attempt: id, files, again: false });
            }
        }
        self.kill_others(now, id, out);
        self.moved.insert(job_id);
        out.push(Action::Changed(job_id));
        self.check_limits(now, job_id, out);
        self.commit_if_done(job_id, out);
    }

    /// A job whose tasks together have too many counters fails: they are kept, sent and shown for each
    /// task, and a counter for each word would drown the cluster.
    fn check_limits(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.runs()) else { return };
        if let Some(why) = limits::exceeded(&job.counters, &job.wishes) {
            self.fail_job(now, id, &why, out);
        }
    }

    /// The task is won: whoever else works on it stops.
    fn kill_others(&mut self, now: Now, winner: AttemptId, out: &mut Vec<Action>) {
        let Some(task) = self.jobs.get(&winner.task.job).and_then(|job| job.task(winner.task))
        else {
            return;
        };
        let others: Vec<(AttemptId, WorkerKey)> = task
            .running()
            .map(|(attempt, _)| {
                (AttemptId { task: winner.task, number: attempt.number }, attempt.worker)
            })
            .collect();
        for (id, worker) in others {
            self.note_pace(now, id);
            self.kill_attempt(now, id, worker, "another attempt was first", out);
        }
    }

    /// An attempt failed: the task tries again, unless it has had all its tries.
    pub(super) fn attempt_failed(
        &mut self,
        now: Now,
        id: AttemptId,
        key: WorkerKey,
        failure: Failure,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get(&id.task.job) else { return };
        let Failure { message, log_tail, fatal, record, .. } = failure;
        let failure = AttemptFailure { record, ..job.failure(id, Some(key), &message, &log_tail) };
        let worker = failure.worker.clone();
        let job_id = job.id;
        self.end_attempt(now, id, AttemptEnd::Failed, failure, out);
        let Some(job) = self.jobs.get(&job_id) else { return };
        let failures = job.task(id.task).map_or(0, |task| task.failures);
        if fatal {
            let message = format!("{id} on worker {worker} can't be done by anyone: {message}");
            self.fail_job(now, job_id, &message, out);
        } else if failures >= job.max_attempts() {
            let message = format!(
                "{} failed {failures} times, at last {id} on worker {worker}: {message}",
                id.task
            );
            self.fail_job(now, job_id, &message, out);
        }
    }

    /// Ends an attempt without success and queues its task if nothing else works on it.
    pub(super) fn end_attempt(
        &mut self,
        now: Now,
        id: AttemptId,
        end: AttemptEnd,
        failure: AttemptFailure,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id.task.job) else { return };
        let record = AttemptEnded {
            attempt_id: id.to_string(),
            end: end.word().to_owned(),
            message: failure.message.clone(),
            log_tail: failure.log_tail.clone(),
            finish_ms: now.wall_ms,
            record: failure.record,
        };
        let again = job.attempt_ended(id, end, failure, now.wall_ms);
        self.moved.insert(id.task.job);
        out.push(Action::Journal(
            id.task.job,
            Entry::AttemptEnded(record).into(),
            Durability::Buffered,
        ));
        out.push(Action::Changed(id.task.job));
        if again {
            self.requeue(id.task);
            if id.task.kind == TaskKind::Reduce {
                self.rerun_orphans(now, id.task.job, out);
            }
        }
    }

    /// A reduce could not fetch. One report can be the reduce's own trouble; several, or one that
    /// stays, are the map's.
    pub(super) fn fetch_failed(
        &mut self,
        now: Now,
        key: WorkerKey,
        report: &FetchFailed,
        out: &mut Vec<Action>,
    ) {
        self.heard(now, key);
        let Ok(map) = report.map_attempt_id.parse::<AttemptId>() else { return };
        let Ok(reader) = report.attempt_id.parse::<AttemptId>() else { return };
        if !self.runs_on(reader, key) || reader.task.job != map.task.job {
            return;
        }
        let (threshold, wait_ms) = (self.settings.fetch_reports, self.settings.fetch_wait_ms);
        let Some(job) = self.jobs.get_mut(&map.task.job).filter(|job| job.runs()) else { return };
        let readers = job.reduce_tally.running.max(1);
        let Some(task) = job.task_mut(map.task) else { return };
        let TaskState::Succeeded(success) = &mut task.state else { return };
        if success.attempt != map.number {
            return;
        }
        success.fetch_reports += 1;
        let reports = success.fetch_reports;
        if reports >= threshold.min(readers) {
            let message = format!("its output could not be fetched: {}", report.message);
            self.rerun_map(now, map.task, true, &message, out);
        } else if reports == 1 {
            self.set_timer(now.steady_ms + wait_ms, Timer::Suspect(map.task, map.number));
        }
    }

    pub(super) fn check_suspect(
        &mut self,
        now: Now,
        map: TaskId,
        number: u32,
        out: &mut Vec<Action>,
    ) {
        let same = self.jobs.get(&map.job).and_then(|job| job.task(map)).is_some_and(|task| {
            matches!(&task.state, TaskState::Succeeded(success) if success.attempt == number)
        });
        if same {
            self.rerun_map(now, map, true, "its output could not be fetched", out);
        }
    }

    /// A finished map runs again. With `counts`, its output was at fault and not its worker's death.
    pub(super) fn rerun_map(
        &mut self,
        now: Now,
        map: TaskId,
        counts: bool,
        message: &str,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&map.job).filter(|job| job.runs()) else { return };
        let TaskState::Succeeded(success) = (match job.task(map) {
            Some(task) => &task.state,
            None => return,
        }) else {
            return;
        };
        let Some(segment) = &success.segment else { return };
        let holder = segment.worker;
        let counts = counts && self.workers.get(holder).is_some_and(|worker| worker.live());
        let Some(attempt) = job.output_lost(map, counts, message) else { return };
        let failures = job.task(map).map_or(0, |task| task.failures);
        let exhausted = failures >= job.max_attempts();
        if let Some(worker) = self.workers.get_mut(holder) {
            worker.segments.remove(&map);
        }
        let record =
            OutputLost { attempt_id: attempt.to_string(), counts, message: message.to_owned() };
        out.push(Action::Journal(map.job, Entry::OutputLost(record).into(), Durability::Buffered));
        out.push(Action::Changed(map.job));
        self.requeue(map);
        if exhausted {
            let message = format!("{map} failed {failures} times, at last {attempt}: {message}");
            self.fail_job(now, map.job, &message, out);
        }
    }

    /// The files of a task are in the staging directory, or could not be moved there.
    pub(super) fn task_committed(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<(), CommitError>,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id.task.job) else { return };
        let job_id = job.id;
        match result {
            Ok(()) => {
                if !job.committed(id) {
                    return;
                }
                let record = TaskCommitted { attempt_id: id.to_string() };
                let record = Entry::TaskCommitted(record).into();
                out.push(Action::Journal(job_id, record, Durability::Buffered));
                out.push(Action::Changed(job_id));
                self.check_limits(now, job_id, out);
                self.commit_if_done(job_id, out);
            }
            Err(CommitError { message, unclear }) => {
                let moving = job.task(id.task).is_some_and(|task| {
                    matches!(&task.state, TaskState::Committing(c) if c.attempt == id.number)
                });
                if !moving {
                    return;
                }
                let worker = job.task(id.task).and_then(|t| t.attempt(id.number)).map(|a| a.worker);
                if let Some(worker) = worker {
                    let message = format!("its output files could not be committed: {message}");
                    // A rename that may still be done could replace a file of the next attempt.
                    let failure = Failure { fatal: unclear, ..Failure::of(message) };
                    self.attempt_failed(now, id, worker, failure, out);
                }
            }
        }
        self.clean_if_idle(job_id, out);
    }
}

/// The names a task may give its files: inside the output directory, nothing reserved.
pub(super) fn check_files(files: &[OutputFile]) -> Result<(), String> {
    for file in files {
        let name = &file.name;
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if name.split('/').any(odd) || name == "_SUCCESS" {
            return Err(format!("it gave an output file the name '{name}', which can't be used"));
        }
    }
    Ok(())
}
