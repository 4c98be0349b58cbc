//! Jobs that an earlier tracker left running go on.
//!
//! What their history says is believed until the workers have had time to come back and say
//! themselves: attempts count as running, finished maps' outputs as there. A worker that does not
//! come back in time is dead, like any other.

use std::collections::BTreeMap;

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};

use super::{Action, EndedJob, Now, Scheduler};
use crate::job::replay::Replayed;
use crate::job::{AttemptState, Phase, TaskState};
use crate::workers::{Profile, WorkerKey};

impl Scheduler {
    /// Takes in a job that is over.
    pub fn restore_ended(&mut self, id: JobId, job: EndedJob, out: &mut Vec<Action>) {
        self.ended.insert(id, job);
        self.drop_oldest(out);
    }

    /// Takes in a job that is not over and goes on with it.
    pub fn restore(&mut self, now: Now, replayed: Replayed, out: &mut Vec<Action>) {
        let Replayed { mut job, workers, .. } = replayed;
        let keys = self.adopt_workers(now, workers);
        let id = job.id;
        job.taken_ms = now.steady_ms;
        let rename = |key: WorkerKey| keys.get(&key).copied().unwrap_or(key);
        job.failures_on = job.failures_on.iter().map(|(key, n)| (rename(*key), *n)).collect();
        job.worker_names =
            job.worker_names.iter().map(|(key, name)| (rename(*key), name.clone())).collect();
        let mut commits = Vec::new();
        let mut held: Vec<(WorkerKey, AttemptId)> = Vec::new();
        // Attempts that ran when another one had won, and whose end did not reach the history.
        let mut twins: Vec<(WorkerKey, AttemptId)> = Vec::new();
        let kinds = [(TaskKind::Map, &mut job.maps), (TaskKind::Reduce, &mut job.reduces)];
        for (kind, tasks) in kinds {
            for (index, task) in tasks.iter_mut().enumerate() {
                let task_id = TaskId { job: id, kind, index: index as u32 };
                let won = matches!(task.state, TaskState::Committing(_) | TaskState::Succeeded(_));
                for attempt in &mut task.attempts {
                    attempt.worker = rename(attempt.worker);
                    if let AttemptState::Running(running) = &mut attempt.state {
                        running.last_heard_ms = now.steady_ms;
                        let attempt_id = AttemptId { task: task_id, number: attempt.number };
                        held.push((attempt.worker, attempt_id));
                        if won {
                            twins.push((attempt.worker, attempt_id));
                        }
                    }
                }
                match &mut task.state {
                    TaskState::Succeeded(success) => {
                        if let Some(segment) = &mut success.segment {
                            segment.worker = rename(segment.worker);
                            if let Some(worker) = self.workers.get_mut(segment.worker) {
                                worker.segments.insert(task_id);
                            }
                        }
                    }
                    TaskState::Committing(committing) => {
                        let attempt = AttemptId { task: task_id, number: committing.attempt };
                        let files = committing.files.clone();
                        commits.push(Action::CommitTask { attempt, files, again: true });
                    }
                    TaskState::Waiting | TaskState::Running => {}
                }
            }
        }
        let timeout_ms = job.spec.task_timeout_ms;
        if job.phase == Phase::Preparing {
            job.phase = Phase::Running;
        }
        let phase = job.phase.clone();
        self.jobs.insert(id, job);
        for (key, attempt) in held {
            self.occupy(key, attempt);
            if timeout_ms > 0 {
                let due = now.steady_ms.saturating_add(timeout_ms);
                self.set_timer(due, super::Timer::Attempt(attempt));
            }
        }
        self.begin(now, id);
        if !matches!(phase, Phase::Running) {
            self.leave_queue(id);
        }
        out.extend(commits);
        for (worker, attempt) in twins {
            self.kill_attempt(now, attempt, worker, "another attempt was first", out);
        }
        match phase {
            Phase::Committing(output_id) => out.push(Action::CommitJob(id, output_id)),
            Phase::Ending(_) => {
                let running =
                    self.jobs.get(&id).map(|job| job.running_attempts()).unwrap_or_default();
                for (attempt, worker) in running {
                    self.kill_attempt(now, attempt, worker, "the job has ended", out);
                }
                self.clean_if_idle(id, out);
            }
            _ => self.commit_if_done(id, out),
        }
    }

    /// The workers a job's history names are awaited. Two jobs that name the same worker mean the
    /// same one.
    fn adopt_workers(
        &mut self,
        now: Now,
        named: BTreeMap<WorkerKey, Profile>,
    ) -> BTreeMap<WorkerKey, WorkerKey> {
        let until_ms = now.steady_ms + self.settings.restart_grace_ms;
        let mut keys = BTreeMap::new();
        for (old, profile) in named {
            let key = match self.workers.by_id(&profile.id) {
                Some(key) => key,
                None => {
                    let key = self.workers.add(profile, until_ms);
                    self.set_timer(until_ms, super::Timer::Away(key));
                    key
                }
            };
            keys.insert(old, key);
        }
        keys
    }
}
