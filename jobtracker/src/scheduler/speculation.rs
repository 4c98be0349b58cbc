//! Slow attempts are raced: a second attempt of the same task starts elsewhere, the first to be done
//! wins, and the other is killed.
//!
//! Which ones is judged by the *longest approximate time to end* (LATE, Zaharia et al., OSDI 2008): an
//! attempt that is a part *p* done after *t* has (1 - p) · t / p to go. It is raced when it has worked
//! for a while, is slower than its finished siblings by some standard deviations, and a new attempt,
//! taken to need as long as they did, would be done before it. Of those the one with the longest time
//! to go comes first. Only slots that nothing else wants are used, no more than a share of them, not on
//! nodes that were slow before, and never two for one task. The bounds' names and defaults are those
//! of Hadoop's `DefaultSpeculator`.

use hfs_protocol::ids::{JobId, TaskId, TaskKind};

use super::placement::Choice;
use super::{Action, Now, Scheduler};
use crate::job::{Job, Locality, Pace};
use crate::workers::{Worker, WorkerKey};

/// Finished siblings of which at least one in so many must be there before a task is called slow
/// (Hadoop's `MINIMUM_COMPLETE_PROPORTION_TO_SPECULATE` is 5 %).
const FINISHED_PART: usize = 20;
/// Free workers that are looked at for one that is near a raced map's input.
const NEAR_TRIES: usize = 64;
/// A node counts as slow only when attempts take at least so many times as long there as elsewhere.
const SLOW_AT_LEAST: f64 = 1.3;

/// An attempt that should be raced.
struct Slow {
    task: TaskId,
    worker: WorkerKey,
    /// Milliseconds that it is thought to need still. Infinite when it shows no progress.
    left_ms: f64,
}

impl Scheduler {
    /// Looks at the jobs whose turn it is. Called when everything that waits has had its chance.
    pub(super) fn race_slow_attempts(&mut self, now: Now, out: &mut Vec<Action>) {
        for id in std::mem::take(&mut self.looks) {
            let Some(job) = self.jobs.get(&id).filter(|job| job.runs()) else { continue };
            if job.race_again_ms > now.steady_ms {
                continue;
            }
            let mut slow = Vec::new();
            for kind in [TaskKind::Map, TaskKind::Reduce] {
                find_slow(job, kind, now, self.settings.race_after_ms, &mut slow);
            }
            slow.sort_by(|a, b| b.left_ms.total_cmp(&a.left_ms).then(a.task.cmp(&b.task)));
            let running = job.map_tally.running + job.reduce_tally.running;
            let tasks = job.maps.len() + job.reduces.len();
            let allowed = job.wishes.speculation.allowed(running, tasks);
            let before = job.speculative_now;
            let room = self.may_race().min(u64::from(allowed.saturating_sub(before)));
            let slow_node = self.slow_from(id, &slow);
            let mut raced = 0;
            for candidate in slow {
                if self.workers.free_count() == 0 || raced >= room {
                    break;
                }
                raced += u64::from(self.race(now, &candidate, slow_node, out));
            }
            if let Some(job) = self.jobs.get_mut(&id) {
                let bounds = job.wishes.speculation;
                let pause =
                    if raced > 0 { bounds.retry_after_some_ms } else { bounds.retry_after_none_ms };
                job.race_again_ms = now.steady_ms.saturating_add(pause);
            }
        }
    }

    /// How many more attempts may race others until the share of the cluster's slots is used up.
    fn may_race(&self) -> u64 {
        let racing: u64 = self.jobs.values().map(|job| u64::from(job.speculative_now)).sum();
        let share = self.workers.live_slots() * u64::from(self.settings.race_percent) / 100;
        share.max(1).saturating_sub(racing)
    }

    fn race(&mut self, now: Now, slow: &Slow, slow_node: f64, out: &mut Vec<Action>) -> bool {
        let Some(job) = self.jobs.get(&slow.task.job) else { return false };
        let own_host = self.workers.get(slow.worker).map(|worker| worker.host);
        let ask = job.wishes.ask(slow.task.kind);
        let suits = |(key, worker): &(WorkerKey, &Worker)| {
            *key != slow.worker
                && !self.reserved.contains_key(key)
                && worker.slowness < slow_node
                && !self.field().better_elsewhere(job, slow.task, *key)
        };
        let near = |worker: &Worker| match slow.task.kind {
            TaskKind::Map => job.map_queue.lies_on(slow.task.index, worker.host),
            TaskKind::Reduce => false,
        };
        // On the same host it would suffer from the same; better than nothing, if nothing else is free.
        let mut best: Option<(u8, WorkerKey, bool)> = None;
        for (key, worker) in self.workers.with_room(ask).filter(suits).take(NEAR_TRIES) {
            let is_near = near(worker);
            let rank = 2 * u8::from(Some(worker.host) == own_host) + u8::from(!is_near);
            if best.is_none_or(|(other, ..)| rank < other) {
                best = Some((rank, key, is_near));
            }
            if rank == 0 {
                break;
            }
        }
        let Some((_, key, is_near)) = best else { return false };
        let locality = match slow.task.kind {
            TaskKind::Map if is_near => Some(Locality::Node),
            TaskKind::Map => Some(Locality::Any),
            TaskKind::Reduce => None,
        };
        self.launch(now, key, Choice { task: slow.task, locality, speculative: true }, out);
        true
    }

    /// From which slowness on a node is too slow for the attempts that race these.
    fn slow_from(&self, id: JobId, slow: &[Slow]) -> f64 {
        let Some(job) = self.jobs.get(&id).filter(|_| !slow.is_empty()) else {
            return SLOW_AT_LEAST;
        };
        let deviations = job.wishes.speculation.slow_node;
        let mut all = Pace::default();
        for (_, worker) in self.workers.iter().filter(|(_, w)| w.live() && w.slowness_samples > 0) {
            all.add(worker.slowness);
        }
        let usual = if all.count() == 0 { 1.0 } else { all.mean() };
        (usual + deviations * all.deviation()).max(SLOW_AT_LEAST)
    }
}

/// Finds the attempts of this kind that should be raced.
fn find_slow(job: &Job, kind: TaskKind, now: Now, least_ms: u64, into: &mut Vec<Slow>) {
    let bounds = job.wishes.speculation;
    // What has not been tried at all comes before a second try; a reduce waits for maps before it can
    // be slow.
    if !bounds.wanted(kind)
        || job.has_ready(kind)
        || (kind == TaskKind::Reduce && job.maps_left() > 0)
    {
        return;
    }
    let pace = job.pace[kind as usize];
    let total = match kind {
        TaskKind::Map => job.maps.len(),
        TaskKind::Reduce => job.reduces.len(),
    };
    if (pace.count() as usize) < total.div_ceil(FINISHED_PART).max(1) {
        return;
    }
    let slow_ms = pace.mean() + bounds.slow_task * pace.deviation();
    for id in job.at_work.iter().filter(|id| id.kind == kind) {
        let Some(task) = job.task(*id) else { continue };
        let mut running = task.running();
        let (Some((attempt, state)), None) = (running.next(), running.next()) else { continue };
        // It may have outlived the attempt that it raced; it is not raced itself. One that finds out which record
        // kills it would only be joined in that.
        if attempt.speculative || job.in_skip_mode(*id) {
            continue;
        }
        let worked = job.worked_ms(kind, attempt.start_ms, now.wall_ms);
        if worked < least_ms || worked == 0 {
            continue;
        }
        let worked = worked as f64;
        let (whole_ms, left_ms) = if state.fraction > 0.0 {
            let whole = worked / state.fraction;
            (whole, whole - worked)
        } else {
            // Without any progress only the time that has passed tells.
            (worked, f64::INFINITY)
        };
        if whole_ms > slow_ms && left_ms > pace.mean() {
            into.push(Slow { task: *id, worker: attempt.worker, left_ms });
        }
    }
}
