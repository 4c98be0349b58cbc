//! Which free workers are offered to the jobs, so that nobody looks at all workers for all jobs.
//!
//! When nothing more can be placed, every job with waiting tasks has refused every worker with a free slot.
//! That stays so until something changes, and only what changed is offered: a worker that has got room to all
//! jobs; to a job that may take what it refused before, the workers that have room for it; a map that waits
//! again to the workers that have its input. Workers are met in the order of their load, so that a
//! small job spreads.

use std::collections::{BTreeMap, BTreeSet};

use hfs_protocol::ids::{JobId, TaskId, TaskKind};

use super::placement::{Field, may_reduce};
use super::{Action, Now, Scheduler, Settings, Timer};
use crate::job::Job;
use crate::workers::{Left, Place, WorkerKey, Workers};

/// How many hosts a split has, mostly.
const HOSTS_OF_SPLIT: usize = 3;

/// What may be placed now and could not be before.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Workers that have got room.
    pub(super) fresh: BTreeSet<WorkerKey>,
    /// Workers that have the input of a map that waits again.
    near: BTreeSet<WorkerKey>,
    /// Jobs that may take workers they refused before, or never saw.
    pub(super) eager: BTreeSet<JobId>,
    /// Jobs of which a task waits again, or whose tasks may have been too choosy.
    pub(super) returned: BTreeSet<JobId>,
    /// Something changed that may concern any job.
    pub(super) all: bool,
    /// Jobs whose reduces wait until more of their maps run.
    gated: BTreeSet<JobId>,
    /// The slots of the cluster when the gated jobs were last looked at.
    slots: u64,
    /// Jobs that may have to be noted as waiting for a nearer worker.
    pub(super) restless: BTreeSet<JobId>,
}

/// One round of offers.
#[derive(Default)]
struct Round {
    fresh: BTreeSet<WorkerKey>,
    /// Workers to be met.
    places: BTreeSet<Place>,
    /// Tasks that may go to any worker with room, and how much that is.
    walkers: BTreeMap<(JobId, TaskKind), Left>,
    /// What a worker must have left to be of use to one of them.
    least: Option<Left>,
    last: Option<Place>,
}

impl Round {
    fn next(&mut self, workers: &Workers) -> Option<Place> {
        let walked = self.least.and_then(|least| workers.free_after(self.last, least));
        let place = walked.into_iter().chain(self.places.first().copied()).min()?;
        self.places.remove(&place);
        self.last = Some(place);
        Some(place)
    }

    fn measure(&mut self) {
        self.least = self.walkers.values().copied().reduce(Left::and);
    }
}

impl Scheduler {
    /// Offers what has changed until nobody takes any more of it.
    pub(super) fn offer(&mut self, now: Now, out: &mut Vec<Action>) {
        #[cfg(test)]
        if self.plain {
            return self.offer_plainly(now, out);
        }
        let mut round = self.begin_round(now);
        while !self.shares.idle()
            && let Some((load, key)) = round.next(&self.workers)
        {
            let fresh = round.fresh.contains(&key);
            let Some(choice) = self.choose(now, key, fresh) else { continue };
            let job = choice.task.job;
            self.launch(now, key, choice, out);
            self.openings.restless.insert(job);
            // It comes again, behind all that have less.
            round.places.insert((load + 1, key));
            round.fresh.insert(key);
            self.walk_on(job, &mut round);
        }
        self.note_held_back(now);
    }

    fn begin_round(&mut self, now: Now) -> Round {
        let slots = self.workers.live_slots();
        let openings = &mut self.openings;
        if std::mem::replace(&mut openings.slots, slots) != slots {
            openings.eager.extend(openings.gated.iter().copied());
        }
        let fresh = std::mem::take(&mut openings.fresh);
        let near = std::mem::take(&mut openings.near);
        let mut eager = std::mem::take(&mut openings.eager);
        let returned = std::mem::take(&mut openings.returned);
        if std::mem::take(&mut openings.all) {
            eager.extend(self.shares.ready());
        }
        openings.restless.extend(eager.iter().chain(&returned));
        let place = |key: &WorkerKey| Some((self.workers.get(*key)?.load(), *key));
        let places = fresh.iter().chain(&near).filter_map(place).collect();
        let mut round = Round { fresh, places, ..Round::default() };
        for id in &eager {
            self.send_near(now, *id, &mut round);
        }
        for id in eager.union(&returned) {
            self.send_walking(now, *id, &mut round);
        }
        round.measure();
        round
    }

    /// The workers that have input of a job's waiting maps are met, if the job takes no others yet.
    /// Where the maps are more than the free workers, those are met.
    fn send_near(&mut self, now: Now, id: JobId, round: &mut Round) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.standing.is_ready()) else {
            return;
        };
        if job.map_queue.is_empty() || takes_any(job, now, &self.settings) {
            return;
        }
        if job.map_queue.len() * HOSTS_OF_SPLIT > self.workers.free_count() {
            round.walkers.insert((id, TaskKind::Map), job.wishes.ask(TaskKind::Map).least());
            return;
        }
        for map in job.map_queue.waiting() {
            for key in job.map_queue.hosts(map).iter().flat_map(|host| self.workers.free_on(*host))
            {
                round.places.extend(self.workers.get(key).map(|worker| (worker.load(), key)));
            }
        }
    }

    /// All workers with room are met for those tasks of a job that go anywhere.
    fn send_walking(&mut self, now: Now, id: JobId, round: &mut Round) {
        let slots = self.workers.live_slots();
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.standing.is_ready()) else {
            return;
        };
        if takes_any(job, now, &self.settings) {
            round.walkers.insert((id, TaskKind::Map), job.wishes.ask(TaskKind::Map).least());
        }
        if job.has_ready(TaskKind::Reduce) && may_reduce(job, slots) {
            round.walkers.insert((id, TaskKind::Reduce), job.wishes.ask(TaskKind::Reduce).least());
        }
    }

    /// After a launch of this job: what of it no worker needs to be met for any more, and whether its reduces
    /// may go on now that another map runs.
    fn walk_on(&self, id: JobId, round: &mut Round) {
        let Some(job) = self.jobs.get(&id) else { return };
        let waits = job.standing.is_ready();
        let (map, reduce) = ((id, TaskKind::Map), (id, TaskKind::Reduce));
        let mut changed = false;
        if !waits || job.map_queue.is_empty() {
            changed |= round.walkers.remove(&map).is_some();
        }
        let slots = self.workers.live_slots();
        if !waits || !job.has_ready(TaskKind::Reduce) || !may_reduce(job, slots) {
            changed |= round.walkers.remove(&reduce).is_some();
        } else if self.openings.gated.contains(&id) {
            let least = job.wishes.ask(TaskKind::Reduce).least();
            changed |= round.walkers.insert(reduce, least).is_none();
        }
        if changed {
            round.measure();
        }
    }

    /// A job that has maps left while a worker with room for them is free waits for a nearer one, and not
    /// for ever.
    pub(super) fn note_held_back(&mut self, now: Now) {
        let settings = self.settings;
        for id in std::mem::take(&mut self.openings.restless) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if !job.standing.is_ready()
                || job.map_queue.is_empty()
                || job.held_back_since_ms.is_some()
            {
                continue;
            }
            let (workers, reserved) = (&self.workers, &self.reserved);
            let field = Field { workers, reserved, settings: &settings };
            if field.open_to(job, job.wishes.ask(TaskKind::Map)).next().is_some() {
                job.held_back_since_ms = Some(now.steady_ms);
                if let Some(at) = watch_held_back(job, now, &settings) {
                    self.set_timer(at, Timer::HeldBack(id));
                }
            }
        }
    }

    /// A job may have waited long enough.
    pub(super) fn check_held_back(&mut self, now: Now, id: JobId) {
        let settings = self.settings;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.held_back_timer = false;
        if takes_any(job, now, &settings) {
            self.openings.eager.insert(id);
        }
        if let Some(at) = watch_held_back(job, now, &settings) {
            self.set_timer(at, Timer::HeldBack(id));
        }
    }

    /// A task waits again.
    pub(super) fn returned(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task.job) else { return };
        if task.kind == TaskKind::Map {
            let hosts = job.map_queue.hosts(task.index);
            self.openings.near.extend(hosts.iter().flat_map(|host| self.workers.free_on(*host)));
        }
        self.openings.returned.insert(task.job);
    }

    /// Reduces may start when some maps are done or all are placed, and go on starting while they leave
    /// enough for the maps. When that becomes so, slots that were left empty before are worth another look.
    pub(super) fn open_reduces(&mut self) -> bool {
        let slots = self.workers.live_slots();
        let mut opened = false;
        for id in std::mem::take(&mut self.moved) {
            let was_gated = self.openings.gated.remove(&id);
            let Some(job) = self.jobs.get_mut(&id).filter(|job| job.runs()) else { continue };
            let mut shut = was_gated;
            if !job.reduces_open {
                let done = u64::from(job.map_tally.succeeded) * 100;
                let percent = u64::from(self.settings.slow_start_percent);
                let enough = done >= job.maps.len() as u64 * percent;
                if job.maps.is_empty() || job.map_queue.is_empty() || (enough && done > 0) {
                    job.reduces_open = true;
                    shut = true;
                    self.shares.place(job);
                }
            }
            if !job.has_ready(TaskKind::Reduce) {
                continue;
            }
            if !may_reduce(job, slots) {
                self.openings.gated.insert(id);
            } else if shut {
                self.openings.eager.insert(id);
                opened = true;
            }
        }
        opened
    }
}

/// Whether a job's maps go to others than the nodes of their input: they have waited for those long enough,
/// or some have none.
fn takes_any(job: &mut Job, now: Now, settings: &Settings) -> bool {
    if job.map_queue.is_empty() {
        return false;
    }
    let long_enough = job
        .held_back_since_ms
        .is_some_and(|since| now.steady_ms.saturating_sub(since) >= settings.node_wait_ms);
    long_enough || job.map_queue.has_stranded()
}

/// When a job that waits for a nearer worker may take one that is farther away than now; for the caller to set
/// the timer. None: there is such a timer, or it takes any already.
pub(super) fn watch_held_back(job: &mut Job, now: Now, settings: &Settings) -> Option<u64> {
    let rack_at = job.held_back_since_ms?.saturating_add(settings.node_wait_ms);
    let any_at = rack_at.saturating_add(settings.rack_wait_ms);
    let next = [rack_at, any_at].into_iter().find(|at| *at > now.steady_ms)?;
    (!std::mem::replace(&mut job.held_back_timer, true)).then_some(next)
}
