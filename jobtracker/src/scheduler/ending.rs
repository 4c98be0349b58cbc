//! Jobs succeed, fail, are killed.

use hfs_protocol::ids::JobId;
use hfs_protocol::proto::job::JobState;

use super::{Action, Cleaned, CommitError, Durability, EndedJob, Now, Scheduler};
use crate::history::record::{self, Entry, Record};
use crate::job::{Detail, Ending, Phase};

impl Scheduler {
    /// Begins the commit when the last task is done and no attempt is left that could still write.
    pub(super) fn commit_if_done(&mut self, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.runs() && job.all_done() && job.occupied == 0 {
            job.phase = Phase::Sealing;
            let files = job.output_files;
            self.leave_queue(id);
            out.push(Action::SealJob(id, files));
            out.push(Action::Changed(id));
        }
    }

    /// The directory that will be the output is known by its file id. Once that is written down its
    /// rename can be told from any other directory's, whoever dies.
    pub(super) fn job_sealed(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<u64, CommitError>,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.phase == Phase::Sealing) else {
            return;
        };
        match result {
            Ok(output_id) => {
                job.phase = Phase::Committing(output_id);
                let record = Entry::JobCommitting(record::JobCommitting { output_id }).into();
                out.push(Action::Journal(id, record, Durability::Synced));
                out.push(Action::CommitJob(id, output_id));
            }
            Err(error) => self.commit_failed(now, id, 0, &error, out),
        }
    }

    pub(super) fn job_committed(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<(), CommitError>,
        out: &mut Vec<Action>,
    ) {
        let Some(Phase::Committing(output_id)) = self.jobs.get(&id).map(|job| &job.phase) else {
            return;
        };
        let output_id = *output_id;
        match result {
            Ok(()) => self.finish(now, id, JobState::Succeeded, out),
            Err(error) => {
                let output_id = if error.unclear { output_id } else { 0 };
                self.commit_failed(now, id, output_id, &error, out);
            }
        }
    }

    fn commit_failed(
        &mut self,
        now: Now,
        id: JobId,
        output_id: u64,
        error: &CommitError,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (output, why) = (&job.spec.output_dir, &error.message);
        let message = format!("the output could not be committed to {output}: {why}");
        self.begin_ending(now, id, JobState::Failed, &message, output_id, out);
    }

    /// The job takes no more turns; one that waited for it to end may run.
    pub(super) fn leave_queue(&mut self, id: JobId) {
        self.unreserve(id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for next in self.shares.leave(job) {
            if let Some(job) = self.jobs.get_mut(&next) {
                self.shares.admit(job);
                self.moved.insert(next);
                self.openings.eager.insert(next);
            }
        }
    }

    /// Someone wants the job ended. Comes too late for one that is committing or over.
    pub(super) fn kill_job(&mut self, now: Now, id: JobId, reason: &str, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        if matches!(job.phase, Phase::Preparing | Phase::Running) {
            let message = if reason.is_empty() { "killed" } else { reason };
            self.begin_ending(now, id, JobState::Killed, message, 0, out);
        }
    }

    /// The job can't succeed any more.
    pub(super) fn fail_job(&mut self, now: Now, id: JobId, message: &str, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        if matches!(job.phase, Phase::Preparing | Phase::Running) {
            self.begin_ending(now, id, JobState::Failed, message, 0, out);
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
        output_id: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let ending = Ending { state, cleaning: false, output_id };
        message.clone_into(&mut job.message);
        out.push(Action::Journal(id, ending_record(&ending, message), Durability::Buffered));
        out.push(Action::Changed(id));
        job.phase = Phase::Ending(ending);
        self.leave_queue(id);
        let Some(job) = self.jobs.get(&id) else { return };
        for (attempt, worker) in job.running_attempts() {
            self.kill_attempt(now, attempt, worker, "the job has ended", out);
        }
        self.clean_if_idle(id, out);
    }

    /// What may be possible now that no attempt of the job holds a slot, or one less does.
    pub(super) fn go_on_if_idle(&mut self, id: JobId, out: &mut Vec<Action>) {
        self.commit_if_done(id, out);
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
            let record = ending_record(ending, &job.message);
            out.push(Action::Journal(id, record, Durability::Synced));
            out.push(Action::CleanJob(id, ending.output_id));
        }
    }

    pub(super) fn job_cleaned(
        &mut self,
        now: Now,
        id: JobId,
        result: Result<Cleaned, CommitError>,
        out: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Phase::Ending(Ending { mut state, output_id, .. }) = job.phase else { return };
        match result {
            Ok(Cleaned::Gone) => {}
            Ok(Cleaned::Committed) => {
                state = JobState::Succeeded;
                job.message.clear();
            }
            Err(CommitError { message: why, .. }) => {
                let (output, staging) = (&job.spec.output_dir, &job.spec.staging_dir);
                let doubt = match output_id {
                    0 => String::new(),
                    _ => format!("; if {output} is there now, it is this job's and whole"),
                };
                let told = &job.message;
                job.message = format!("{told} (its directory {staging} is left: {why}{doubt})");
            }
        }
        self.finish(now, id, state, out);
    }

    /// The last step of every job.
    fn finish(&mut self, now: Now, id: JobId, state: JobState, out: &mut Vec<Action>) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        // A raced attempt that lost may not be gone yet: it keeps its slot, but on nobody's account.
        let held = i64::try_from(job.held_vcores).unwrap_or(i64::MAX);
        self.shares.hold(&mut job, -held);
        job.phase = Phase::Ended(state);
        job.finish_ms = now.wall_ms;
        let status = job.status(Detail::Full);
        let record =
            record::Ended { status: Some(status.clone()), submit_token: job.submit_token.clone() };
        out.push(Action::Journal(id, Entry::Ended(record).into(), Durability::Synced));
        for key in job.worker_names.keys().copied() {
            let Some(worker) = self.workers.get_mut(key) else { continue };
            worker.segments.retain(|map| map.job != id);
            if worker.live() {
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

fn ending_record(ending: &Ending, message: &str) -> Box<Record> {
    let Ending { state, output_id, .. } = *ending;
    let message = message.to_owned();
    Entry::Ending(record::Ending { state: state.into(), message, output_id }).into()
}
