//! The cluster that is simulated, and its dice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::job::{JobState, SubmitRequest};
use hfs_protocol::proto::task::{Done, InputSplit, JobSpec, OutputFile};

use crate::history::Record;
use crate::job::Priority;
use crate::job::replay::{Outcome, replay};
use crate::job::wishes;
use crate::scheduler::{
    Action, Cleaned, CommitError, Event, Failure, Now, Policy, QueueSettings, Registration, Report,
    Scheduler, Settings,
};
use crate::workers::{Profile, WorkerKey};

/// A dice that falls the same way for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }
}

/// What can happen in a simulation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) workers: u32,
    pub(super) slots: u32,
    pub(super) jobs: u32,
    pub(super) maps: u32,
    pub(super) reduces: u32,
    /// Of 100 attempts, how many fail.
    pub(super) failing: u64,
    /// Workers die so often, one in so many finished attempts. 0: never.
    pub(super) deaths: u64,
    /// Workers are cut off for a while so often, and work on meanwhile: one in so many finished
    /// attempts. 0: never.
    pub(super) cuts: u64,
    /// Of 100 attempts, how many take twenty times as long.
    pub(super) slow: u64,
    /// Whether slow attempts are raced.
    pub(super) speculate: bool,
    /// Jobs of different queues, priorities and needs.
    pub(super) mixed: bool,
    /// People end attempts, drain hosts and change priorities.
    pub(super) operators: bool,
    /// The tracker dies after so many actions. 0: never.
    pub(super) restart_after: u64,
    /// Check the invariants after every event: costs time.
    pub(super) validate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Finish(u32, AttemptId),
    Beat(u32),
    Reborn(u32),
    Back(u32),
    Undrain(u32),
}

pub(super) struct World {
    shape: Shape,
    dice: Dice,
    scheduler: Scheduler,
    /// Another one that is told the same, and must want the same.
    rival: Option<Scheduler>,
    pub(super) now: Now,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    /// By place in the cluster: the worker's current life, if it has one.
    pub(super) alive: BTreeMap<u32, (u32, WorkerKey)>,
    lives: u32,
    /// Where each life was lived.
    places: BTreeMap<u32, u32>,
    /// Whose key each is, in the tracker's present life.
    keys: BTreeMap<WorkerKey, u32>,
    running: BTreeMap<u32, BTreeSet<AttemptId>>,
    segments: BTreeMap<u32, BTreeSet<AttemptId>>,
    pub(super) committed: BTreeMap<TaskId, AttemptId>,
    histories: BTreeMap<JobId, Vec<Record>>,
    /// What the tracker is about to hear. Lost when it dies.
    queue: VecDeque<Event>,
    /// Lives that are cut off.
    cut: BTreeSet<u32>,
    drained: BTreeSet<String>,
    pub(super) raced: u64,
    /// What each life of a worker has reported, to be repeated when it registers again.
    reports: BTreeMap<u32, Vec<Report>>,
    performed: u64,
    pub(super) launched: u64,
    healing: bool,
}

impl World {
    pub(super) fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            dice: Dice(seed | 1),
            scheduler: scheduler(),
            rival: None,
            now: Now { steady_ms: 0, wall_ms: 1_000_000 },
            due: BinaryHeap::new(),
            alive: BTreeMap::new(),
            lives: 0,
            places: BTreeMap::new(),
            keys: BTreeMap::new(),
            running: BTreeMap::new(),
            segments: BTreeMap::new(),
            committed: BTreeMap::new(),
            histories: BTreeMap::new(),
            queue: VecDeque::new(),
            cut: BTreeSet::new(),
            drained: BTreeSet::new(),
            raced: 0,
            reports: BTreeMap::new(),
            performed: 0,
            launched: 0,
            healing: false,
        }
    }

    /// A world whose scheduler is compared with a plain one.
    pub(super) fn compared(shape: Shape, seed: u64) -> Self {
        Self { rival: Some(scheduler().plainly()), ..Self::new(shape, seed) }
    }

    /// Tells the scheduler, and the rival if there is one.
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        // A job that has waited long enough is seen by a look at everything, also when something else
        // happens in the millisecond of its timer, before it rings.
        let due = self.scheduler.next_deadline_ms().is_some_and(|at| at <= self.now.steady_ms);
        if self.rival.is_some() && due && !matches!(event, Event::Tick) {
            out = self.tell_one(Event::Tick);
        }
        out.extend(self.tell_one(event));
        out
    }

    fn tell_one(&mut self, event: Event) -> Vec<Action> {
        let (mut out, mut rivals) = (Vec::new(), Vec::new());
        if let Some(rival) = &mut self.rival {
            rival.handle(self.now, event.clone(), &mut rivals);
            rival.settle(self.now, &mut rivals);
        }
        self.scheduler.handle(self.now, event, &mut out);
        self.scheduler.settle(self.now, &mut out);
        if self.rival.is_some() {
            assert_eq!(format!("{out:#?}"), format!("{rivals:#?}"), "at {:?}", self.now);
        }
        out
    }

    pub(super) fn run(&mut self) {
        for place in 0..self.shape.workers {
            self.born(place);
        }
        for number in 1..=self.shape.jobs {
            let job = JobId { tracker: 1, number };
            let hosts = self.shape.workers;
            let splits = (0..self.shape.maps)
                .map(|_| InputSplit {
                    hosts: (0..3).map(|_| format!("h{}", self.dice.roll(hosts.into()))).collect(),
                    ..InputSplit::default()
                })
                .collect();
            // So many tries that a job never fails by bad luck alone.
            let spec = JobSpec {
                reduces: self.shape.reduces,
                max_attempts: 60,
                conf: self.properties(),
                ..JobSpec::default()
            };
            let request = SubmitRequest { job: Some(spec), splits, ..SubmitRequest::default() };
            self.event(Event::Submitted(job, Box::new(request)));
            self.event(Event::Journalled(job));
        }
        let mut steps: u64 = 0;
        while !self.scheduler.jobs().is_empty() {
            steps += 1;
            let tasks =
                u64::from(self.shape.jobs) * u64::from(self.shape.maps + self.shape.reduces);
            assert!(steps < 400 * tasks + 2_000_000, "the cluster hangs: {:?}", self.shape);
            self.healing = self.healing || self.now.steady_ms > 120_000;
            self.step();
        }
        for number in 1..=self.shape.jobs {
            let job = JobId { tracker: 1, number };
            let status = &self.scheduler.ended()[&job].status;
            assert_eq!(status.state(), JobState::Succeeded, "{}", status.message);
        }
    }

    fn properties(&mut self) -> HashMap<String, String> {
        let mut conf = HashMap::new();
        let mut set = |name: &str, value: String| conf.insert(name.to_owned(), value);
        set(wishes::MAP_SPECULATIVE, self.shape.speculate.to_string());
        set(wishes::REDUCE_SPECULATIVE, self.shape.speculate.to_string());
        set(wishes::RETRY_AFTER_SOME, "1000".to_owned());
        if self.shape.mixed {
            let queue = ["default", "etl", "one"][self.dice.roll(3) as usize];
            set(wishes::QUEUE_NAME, queue.to_owned());
            set(wishes::PRIORITY, self.priority().word().to_owned());
            let slots = u64::from(self.shape.slots);
            for name in [wishes::MAP_VCORES, wishes::REDUCE_VCORES] {
                set(name, (1 + self.dice.roll(slots)).to_string());
            }
            for name in [wishes::MAP_MEMORY_MB, wishes::REDUCE_MEMORY_MB] {
                set(name, (1 + self.dice.roll(1000 * slots)).to_string());
            }
        }
        conf
    }

    fn priority(&mut self) -> Priority {
        Priority::ALL[self.dice.roll(5) as usize]
    }

    fn profile(&self, place: u32, id: &str) -> Profile {
        Profile {
            id: id.to_owned(),
            host: format!("h{place}"),
            rack: format!("/r{}", place / 20),
            slots: self.shape.slots,
            vcores: self.shape.slots,
            memory_mb: u64::from(self.shape.slots) * 1000,
            ..Profile::default()
        }
    }

    /// The next thing that is due happens: a timer of the scheduler or something in the cluster.
    fn step(&mut self) {
        let timer = self.scheduler.next_deadline_ms();
        let next = self.due.peek().map(|Reverse((at, _))| *at);
        let (Some(at), rings) = (match (timer, next) {
            (Some(timer), Some(next)) if timer <= next => (Some(timer), true),
            (_, Some(next)) => (Some(next), false),
            (timer, None) => (timer, true),
        }) else {
            panic!("nothing will ever happen, and jobs are unfinished: {:?}", self.shape);
        };
        let passed = at.saturating_sub(self.now.steady_ms);
        self.now.steady_ms += passed;
        self.now.wall_ms += passed;
        if rings {
            return self.event(Event::Tick);
        }
        match self.due.pop() {
            Some(Reverse((_, Due::Finish(life, id)))) => self.finish(life, id),
            Some(Reverse((_, Due::Beat(life)))) => self.beat(life),
            Some(Reverse((_, Due::Reborn(place)))) => self.born(place),
            Some(Reverse((_, Due::Back(life)))) => self.come_back(life),
            Some(Reverse((_, Due::Undrain(place)))) => self.drain(place, false),
            None => {}
        }
    }

    fn place_of(&self, life: u32) -> Option<(u32, WorkerKey)> {
        let place = *self.places.get(&life)?;
        let (current, key) = *self.alive.get(&place)?;
        (current == life).then_some((place, key))
    }

    fn life_of(&self, key: WorkerKey) -> Option<u32> {
        let life = *self.keys.get(&key)?;
        self.place_of(life).filter(|(_, current)| *current == key).map(|_| life)
    }

    pub(super) fn born(&mut self, place: u32) {
        self.lives += 1;
        let life = self.lives;
        let id = format!("w{life}");
        let profile = self.profile(place, &id);
        self.running.insert(life, BTreeSet::new());
        self.segments.insert(life, BTreeSet::new());
        // The key is known only after the registration; launches look the life up by its id.
        let registration = Registration { profile, ..Registration::default() };
        self.scheduler_only(Event::Registered(Box::new(registration)), place, life, &id);
        self.due.push(Reverse((self.now.steady_ms + 1_000, Due::Beat(life))));
    }

    fn scheduler_only(&mut self, event: Event, place: u32, life: u32, id: &str) {
        let out = self.tell(event);
        let key = self.scheduler.workers().by_id(id).unwrap();
        self.alive.insert(place, (life, key));
        self.places.insert(life, place);
        self.keys.insert(key, life);
        self.perform(out);
    }

    fn beat(&mut self, life: u32) {
        if let Some((_, key)) = self.place_of(life) {
            if !self.cut.contains(&life) {
                self.event(Event::Heartbeat(key));
            }
            self.due.push(Reverse((self.now.steady_ms + 1_000, Due::Beat(life))));
        }
    }

    fn die(&mut self, place: u32) {
        let Some((life, key)) = self.alive.remove(&place) else { return };
        self.running.remove(&life);
        self.segments.remove(&life);
        let was_cut = self.cut.remove(&life);
        // Half of them are killed, which resets their stream; half fall silent.
        if self.dice.percent(50) && !was_cut {
            self.event(Event::Disconnected(key));
        }
        let later = self.now.steady_ms + 1 + self.dice.roll(30_000);
        self.due.push(Reverse((later, Due::Reborn(place))));
    }

    /// A worker is cut off: it hears nothing, nobody hears it, and it works on.
    fn cut_off(&mut self, place: u32) {
        let Some((life, key)) = self.alive.get(&place).copied() else { return };
        if !self.cut.insert(life) {
            return;
        }
        if self.dice.percent(50) {
            self.event(Event::Disconnected(key));
        }
        let later = self.now.steady_ms + 1 + self.dice.roll(30_000);
        self.due.push(Reverse((later, Due::Back(life))));
    }

    /// It comes back, by now perhaps as a zombie, with all that it has and has done.
    fn come_back(&mut self, life: u32) {
        if self.cut.remove(&life)
            && let Some((place, _)) = self.place_of(life)
        {
            self.register_again(place);
        }
    }

    fn register_again(&mut self, place: u32) {
        let (life, _) = self.alive[&place];
        let id = format!("w{life}");
        let registration = Registration {
            profile: self.profile(place, &id),
            running: self.running[&life].iter().copied().collect(),
            segments: self.segments[&life].iter().map(|id| (*id, "/x".into())).collect(),
            reports: self.reports.get(&life).cloned().unwrap_or_default(),
        };
        self.scheduler_only(Event::Registered(Box::new(registration)), place, life, &id);
    }

    fn drain(&mut self, place: u32, drained: bool) {
        let node = format!("h{place}");
        if drained {
            self.drained.insert(node.clone());
            self.due.push(Reverse((self.now.steady_ms + 5_000, Due::Undrain(place))));
        } else {
            self.drained.remove(&node);
        }
        self.event(Event::Drain { node, drained });
    }

    /// Somebody at the command line.
    fn operate(&mut self, place: u32) {
        match self.dice.roll(3) {
            0 => self.drain(place, true),
            1 => {
                let running = self.running.values().flatten().next().copied();
                let fails = self.dice.percent(50) && self.shape.failing > 0;
                if let Some(id) = running {
                    self.event(Event::EndAttempt { id, fails, reason: "by hand".into() });
                }
            }
            _ => {
                let priority = self.priority();
                let job = self.scheduler.jobs().keys().next().copied();
                if let Some(job) = job {
                    self.event(Event::Priority(job, priority));
                }
            }
        }
    }

    fn finish(&mut self, life: u32, id: AttemptId) {
        let Some((place, key)) = self.place_of(life) else { return };
        if !self.running.get(&life).is_some_and(|running| running.contains(&id)) {
            return;
        }
        // A reduce can't be done before all maps are.
        let job_runs = self.scheduler.jobs().get(&id.task.job);
        let waits = id.task.kind == TaskKind::Reduce && job_runs.is_some_and(|j| j.maps_left() > 0);
        if waits {
            let later = self.now.steady_ms + 500;
            self.due.push(Reverse((later, Due::Finish(life, id))));
            return;
        }
        self.running.get_mut(&life).unwrap().remove(&id);
        let failing = if self.healing { 0 } else { self.shape.failing };
        let report = if self.dice.percent(failing) {
            Report::Failed(id, Failure { message: "dice".into(), ..Failure::default() })
        } else {
            let mut done = Done { attempt_id: id.to_string(), ..Done::default() };
            if id.task.kind == TaskKind::Map && self.shape.reduces > 0 {
                done.map_output_path = "/x".into();
                self.segments.get_mut(&life).unwrap().insert(id);
            } else {
                let file = OutputFile { path: "f".into(), name: "f".into(), bytes: 1 };
                done.outputs.push(file);
            }
            Report::Done(done)
        };
        if self.shape.restart_after > 0 || self.shape.cuts > 0 {
            self.reports.entry(life).or_default().push(report.clone());
        }
        if !self.cut.contains(&life) {
            self.event(Event::Report(key, report));
        }
        if self.healing {
            return;
        }
        if self.shape.operators && self.dice.roll(20) == 0 {
            self.operate(place);
        }
        if self.shape.cuts > 0 && self.dice.roll(self.shape.cuts) == 0 {
            self.cut_off(place);
        }
        let deaths = self.shape.deaths;
        if deaths > 0 && self.dice.roll(deaths) == 0 {
            self.die(place);
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            let out = self.tell(event);
            self.perform(out);
            if self.shape.restart_after > 0 && self.performed > self.shape.restart_after {
                self.performed = 0;
                self.shape.restart_after *= 3;
                self.restart();
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        if self.shape.validate {
            self.scheduler.validate().unwrap();
        }
        for action in actions {
            self.performed += 1;
            match action {
                Action::Launch(key, id) => self.launch(key, id),
                Action::Kill(key, id, _) => {
                    let life = self.life_of(key).filter(|life| !self.cut.contains(life));
                    let here = life.is_some_and(|life| {
                        self.running.get_mut(&life).is_some_and(|running| running.remove(&id))
                    });
                    if here {
                        let failure = Failure { killed: true, ..Failure::default() };
                        self.queue.push_back(Event::Report(key, Report::Failed(id, failure)));
                    }
                }
                Action::CommitTask { attempt: id, .. } => {
                    let before = self.committed.insert(id.task, id);
                    assert!(before.is_none_or(|b| b == id), "{} committed twice", id.task);
                    self.queue.push_back(Event::TaskCommitted(id, Ok(())));
                }
                Action::SealJob(job, _) => self.queue.push_back(Event::JobSealed(job, Ok(7))),
                Action::CommitJob(job, id) => {
                    assert_eq!(id, 7);
                    let lost = self.dice.percent(20);
                    let result = if lost { Err(CommitError::unclear("dice")) } else { Ok(()) };
                    self.queue.push_back(Event::JobCommitted(job, result));
                }
                Action::CleanJob(job, id) => {
                    assert_eq!(id, 7, "only an unclear commit ends a job here");
                    self.queue.push_back(Event::JobCleaned(job, Ok(Cleaned::Committed)));
                }
                Action::Journal(job, record, _) if self.shape.restart_after > 0 => {
                    self.histories.entry(job).or_default().push(*record);
                }
                _ => {}
            }
        }
    }

    fn launch(&mut self, key: WorkerKey, id: AttemptId) {
        self.launched += 1;
        let attempt = self.scheduler.jobs().get(&id.task.job).and_then(|job| job.running(id));
        self.raced += u64::from(attempt.is_some_and(|(attempt, _)| attempt.speculative));
        let life = self.life_of(key).filter(|life| !self.cut.contains(life));
        // A worker that died unnoticed takes nothing, one that is cut off hears nothing.
        if let Some(running) = life.and_then(|life| self.running.get_mut(&life)) {
            running.insert(id);
            let usual = 100 + self.dice.roll(2_000);
            let took = if self.dice.percent(self.shape.slow) { 20 * usual } else { usual };
            let life = life.unwrap();
            self.due.push(Reverse((self.now.steady_ms + took, Due::Finish(life, id))));
        }
    }

    /// The tracker dies and another one takes over from the histories.
    fn restart(&mut self) {
        let mut next = scheduler();
        let out = self.restore(&mut next);
        if self.rival.is_some() {
            let mut next = scheduler().plainly();
            self.restore(&mut next);
            self.rival = Some(next);
        }
        next.validate().unwrap();
        self.scheduler = next;
        self.keys.clear();
        self.queue.clear();
        self.perform(out);
        let places: Vec<u32> = self.alive.keys().copied().collect();
        for place in places {
            if !self.cut.contains(&self.alive[&place].0) {
                self.register_again(place);
            }
        }
    }

    fn restore(&self, next: &mut Scheduler) -> Vec<Action> {
        next.restore_drained(self.drained.iter().cloned());
        let mut out = Vec::new();
        for (job, history) in &self.histories {
            match replay(history.iter().cloned()).unwrap() {
                Outcome::Ended(ended) => next.restore_ended(*job, *ended, &mut out),
                Outcome::Unfinished(mut replayed) => {
                    replayed.job.attempt_base = 1000 * (self.lives + 1);
                    next.restore(self.now, *replayed, &mut out);
                }
            }
        }
        out
    }
}

/// A new tracker's, with a queue of each sort.
fn scheduler() -> Scheduler {
    let settings =
        Settings { worker_silent_ms: 10_000, race_after_ms: 3_000, ..Settings::default() };
    let etl = QueueSettings { weight: 3, min_share: 2, ..QueueSettings::default() };
    let one =
        QueueSettings { max_running_jobs: 1, policy: Policy::Fifo, ..QueueSettings::default() };
    let queues = [("etl".to_owned(), etl), ("one".to_owned(), one)].into();
    Scheduler::with_queues(settings, &queues)
}

pub(super) fn calm(workers: u32, maps: u32, reduces: u32) -> Shape {
    Shape {
        workers,
        slots: 2,
        jobs: 1,
        maps,
        reduces,
        failing: 0,
        deaths: 0,
        cuts: 0,
        slow: 0,
        speculate: true,
        mixed: false,
        operators: false,
        restart_after: 0,
        validate: true,
    }
}
