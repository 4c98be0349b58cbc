//! A job is looked at now and then: whether its waiting tasks fit any worker at all. What fits none
//! does not wait for ever: when no larger worker has come in time, the job fails and says what the
//! largest has.

use hfs_protocol::ids::{JobId, TaskKind};

use super::{Action, Now, Scheduler, Timer};
use crate::job::{Job, Wishes};
use crate::workers::{Worker, Workers};

/// How often a job is looked at, ms.
const LOOK_MS: u64 = 1_000;

impl Scheduler {
    /// Has a job looked at soon.
    pub(super) fn look_later(&mut self, now: Now, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let pause_ms = LOOK_MS.min(job.wishes.speculation.retry_after_none_ms);
        self.set_timer(now.steady_ms + pause_ms, Timer::Look(id));
    }

    pub(super) fn look(&mut self, now: Now, id: JobId, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.runs()) else { return };
        match unfit(job, &self.workers) {
            None => job.unfit_since_ms = None,
            Some(why) => {
                let since_ms = *job.unfit_since_ms.get_or_insert(now.steady_ms);
                if now.steady_ms.saturating_sub(since_ms) >= self.settings.unfit_ms {
                    let seconds = self.settings.unfit_ms as f64 / 1000.0;
                    let message = format!("for {seconds} s no worker could take its tasks: {why}");
                    self.fail_job(now, id, &message, out);
                    return;
                }
            }
        }
        // A task that avoids a worker because another one is free waits until somebody asks again.
        self.openings.returned.insert(id);
        self.looks.insert(id);
        self.look_later(now, id);
    }
}

/// Why nothing of what waits can ever be placed. A job that has attempts at work is not judged: they
/// may be all that it needs, and workers come and go meanwhile.
fn unfit(job: &Job, workers: &Workers) -> Option<String> {
    if !job.has_ready_task() || job.standing.waits_for_turn() || job.occupied > 0 {
        return None;
    }
    // Without any live worker another deadline counts.
    if workers.live_count() == 0 {
        return None;
    }
    let kinds = [TaskKind::Map, TaskKind::Reduce];
    let ready = kinds.into_iter().find(|kind| job.has_ready(*kind))?;
    let ask = job.wishes.ask(ready);
    let fits = |worker: &Worker| worker.profile.fits(ask);
    if workers.iter().any(|(_, worker)| worker.usable() && fits(worker)) {
        return None;
    }
    let live = || workers.iter().map(|(_, worker)| worker).filter(|worker| worker.live());
    if live().any(fits) {
        return Some(
            "all workers that are large enough are drained or blacklisted; see 'hfs worker list'"
                .to_owned(),
        );
    }
    let largest = live().max_by_key(|w| (w.profile.vcores() >= ask.vcores, w.profile.memory_mb()));
    let largest = largest.map(|worker| {
        let Worker { profile, .. } = worker;
        let memory = match profile.memory_mb {
            0 => String::new(),
            mb => format!(" and {mb} MiB"),
        };
        format!("{}, has {} vcores{memory}", profile.id, profile.vcores())
    });
    let (vcores, memory) = Wishes::ask_properties(ready);
    let kind = match ready {
        TaskKind::Map => "map",
        TaskKind::Reduce => "reduce",
    };
    Some(format!(
        "each {kind} asks for {ask}; the largest worker, {}; ask for less with -D {vcores}=... and -D \
         {memory}=..., or start a larger worker",
        largest.unwrap_or_default()
    ))
}
