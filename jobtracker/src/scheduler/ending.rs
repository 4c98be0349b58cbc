//! Jobs succeed, fail, are killed.

use hfs_protocol::ids::JobId;
use hfs_protocol::proto::job::JobState;

use super::{Action, Durability, EndedJob, Now, Scheduler};
use crate::history::record::{self, Entry};
use crate::job::{Detail, Ending, Phase};

impl Scheduler {
    /// Begins the commit when the last task is done.
    pub(super) fn commit_if_done(&mut self, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.runs() && job.all_done() {
            job.phase = Phase::Committing;
            let record = Entry::JobCommitting(record::JobCommitting {}).into();
            out.push(Action::Journal(id, record, Durability::Synced));
            out.push(Action::CommitJob(id, job.recovered));
            out.push(Action::Changed(id));
        }
    }

    pub(super) fn job_committed(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<(), String>,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.phase == Phase::Committing) else {
            return;
        };
        match result {
            Ok(()) => self.finish(now, id, JobState::Succeeded, out),
            Err(why) => {
                let output = job.spec.output_dir.clone();
                let message = format!("the output could not be committed to {output}: {why}");
                self.begin_ending(now, id, JobState::Failed, &message, out);
            }
        }
    }

    /// Someone wants the job ended. Comes too late for one that is committing or over.
    pub(super) fn kill_job(&mut self, now: Now, id: JobId, reason: &str, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        if matches!(job.phase, Phase::Preparing | Phase::Running) {
            let message = if reason.is_empty() { "killed" } else { reason };
            self.begin_ending(now, id, JobState::Killed, message, out);
        }
    }

    /// The job can't succeed any more.
    pub(super) fn fail_job(&mut self, now: Now, id: JobId, message: &str, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        if matches!(job.phase, Phase::Preparing | Phase::Running) {
            self.begin_ending(now, id, JobState::Failed, message, out);
        }
    }

    /// What is not written down can't be promised: the job fails. (One that is committing already
    /// goes on: its output tells its fate by itself.)
    pub(super) fn history_failed(&mut self, now: Now, id: JobId, why: &str, out: &mut Vec<Action>) {
        self.fail_job(now, id, &format!("the job's history can't be written: {why}"), out);
    }

    fn begin_ending(
        &mut self,
        now: Now,
        id: JobId,
        state: JobState,
        message: &str,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.phase = Phase::Ending(Ending { state, cleaning: false });
        job.message = message.to_owned();
        let record = record::Ending { state: state.into(), message: message.to_owned() };
        out.push(Action::Journal(id, Entry::Ending(record).into(), Durability::Buffered));
        out.push(Action::Changed(id));
        for (attempt, worker) in job.running_attempts() {
            self.kill_attempt(now, attempt, worker, "the job has ended", out);
        }
        self.clean_if_idle(id, out);
    }

    /// Deletes the staging directory once nobody can write into it any more, and once it is durable
    /// that the job ends: a restart that did not know would go on without what was deleted.
    pub(super) fn clean_if_idle(&mut self, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let moving = job.map_tally.committing + job.reduce_tally.committing;
        if job.occupied > 0 || moving > 0 {
            return;
        }
        if let Phase::Ending(ending) = &mut job.phase
            && !ending.cleaning
        {
            ending.cleaning = true;
            let record =
                record::Ending { state: ending.state.into(), message: job.message.clone() };
            out.push(Action::Journal(id, Entry::Ending(record).into(), Durability::Synced));
            out.push(Action::CleanJob(id));
        }
    }

    pub(super) fn job_cleaned(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<(), String>,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Phase::Ending(Ending { state, .. }) = job.phase else { return };
        if let Err(why) = result {
            let staging = &job.spec.staging_dir;
            job.message = format!("{} (its directory {staging} is left: {why})", job.message);
        }
        self.finish(now, id, state, out);
    }

    /// The last step of every job.
    fn finish(&mut self, now: Now, id: JobId, state: JobState, out: &mut Vec<Action>) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.phase = Phase::Ended(state);
        job.finish_ms = now.wall_ms;
        let status = job.status(Detail::Full);
        let record =
            record::Ended { status: Some(status.clone()), submit_token: job.submit_token.clone() };
        out.push(Action::Journal(id, Entry::Ended(record).into(), Durability::Synced));
        let workers: Vec<_> =
            self.workers.iter().map(|(key, worker)| (key, worker.live())).collect();
        for (key, live) in workers {
            if let Some(worker) = self.workers.get_mut(key) {
                worker.segments.retain(|map| map.job != id);
            }
            if live && job.worker_names.contains_key(&key) {
                out.push(Action::ForgetJob(key, id));
            }
        }
        self.hungry.remove(&id);
        self.ended.insert(id, EndedJob { status, submit_token: job.submit_token });
        out.push(Action::Changed(id));
        self.drop_oldest(out);
    }

    /// Keeps as many ended jobs as was asked for.
    pub(super) fn drop_oldest(&mut self, out: &mut Vec<Action>) {
        while self.ended.len() > self.settings.ended_kept
            && let Some((oldest, _)) = self.ended.pop_first()
        {
            out.push(Action::DropHistory(oldest));
        }
    }
}
