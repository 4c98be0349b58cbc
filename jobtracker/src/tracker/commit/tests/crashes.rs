//! Fault 44: a tracker that dies at any step of a job, and the next one that goes on from the history.

use std::collections::{BTreeMap, VecDeque};

use hfs_protocol::proto::job::{JobState, SubmitRequest};
use hfs_protocol::proto::task::{Done, InputSplit};

use super::*;
use crate::history::Record;
use crate::job::replay::{Outcome, replay};
use crate::scheduler::{Action, Durability, Event, Now, Registration, Report, Scheduler, Settings};
use crate::workers::Profile;

const JOB: JobId = JobId { tracker: 1, number: 1 };
const TASKS: u32 = 3;

/// Where the tracker dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// Before this action is performed, counted over the whole job.
    Action(u64),
    /// At this call on the file system; true: after it took effect.
    Call(u64, bool),
}

/// A tracker with one worker, on a file system that outlives it.
struct World {
    store: Arc<MemoryStore>,
    scheduler: Scheduler,
    now: Now,
    queue: VecDeque<Event>,
    durable: Vec<Record>,
    buffered: Vec<Record>,
    /// What the worker has to report again when it registers again.
    reports: Vec<Report>,
    launches: BTreeMap<TaskId, u32>,
    actions: u64,
    death: Option<Death>,
}

/// The tracker has died.
struct Dead;

impl World {
    fn new(death: Option<Death>) -> Self {
        let store = Arc::new(MemoryStore::default());
        if let Some(Death::Call(call, done)) = death {
            store.fail_at(call, Fault::Crash, done);
        }
        Self {
            store,
            scheduler: Scheduler::new(Settings::default()),
            now: Now { steady_ms: 1_000, wall_ms: 1_700_000_000_000 },
            queue: VecDeque::new(),
            durable: Vec::new(),
            buffered: Vec::new(),
            reports: Vec::new(),
            launches: BTreeMap::new(),
            actions: 0,
            death,
        }
    }

    fn register(&mut self) {
        let profile = Profile { id: "w".into(), host: "h".into(), slots: 8, ..Profile::default() };
        let reports = self.reports.clone();
        let registration = Registration { profile, reports, ..Registration::default() };
        self.queue.push_back(Event::Registered(Box::new(registration)));
    }

    fn submit(&mut self) {
        let splits = vec![InputSplit::default(); TASKS as usize];
        let spec = JobSpec { max_attempts: 2, ..job() };
        let request = SubmitRequest { job: Some(spec), splits, ..SubmitRequest::default() };
        self.queue.push_back(Event::Submitted(JOB, Box::new(request)));
        self.queue.push_back(Event::Journalled(JOB));
    }

    /// Runs until nothing is left to do.
    async fn run(&mut self, first: Vec<Action>) -> Result<(), Dead> {
        self.perform(first).await?;
        while let Some(event) = self.queue.pop_front() {
            let mut out = Vec::new();
            self.scheduler.handle(self.now, event, &mut out);
            self.scheduler.settle(self.now, &mut out);
            self.scheduler.validate().unwrap();
            self.perform(out).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, actions: Vec<Action>) -> Result<(), Dead> {
        for action in actions {
            if matches!(self.death, Some(Death::Action(at)) if at == self.actions) {
                self.death = None;
                return Err(Dead);
            }
            self.actions += 1;
            let store = Arc::clone(&self.store);
            let event = tokio::select! {
                event = self.perform_one(action) => event,
                () = store.crashed.notified() => return Err(Dead),
            };
            self.queue.extend(event);
        }
        Ok(())
    }

    async fn perform_one(&mut self, action: Action) -> Option<Event> {
        let spec = job();
        let calls = calls(&self.store, &spec);
        Some(match action {
            Action::Journal(_, record, durability) => {
                self.buffered.push(*record);
                if durability == Durability::Synced {
                    self.durable.append(&mut self.buffered);
                }
                return None;
            }
            Action::Launch(key, id) => {
                *self.launches.entry(id.task).or_insert(0) += 1;
                self.store.put(&format!("{}/f", attempt_dir(&spec, id)), &id.to_string());
                let outputs = vec![file("f", &format!("part-m-{}", id.task.index))];
                let done = Done { attempt_id: id.to_string(), outputs, ..Done::default() };
                self.reports.push(Report::Done(done.clone()));
                Event::Report(key, Report::Done(done))
            }
            Action::CommitTask { attempt, files, again } => {
                let result = commit_task(&calls, attempt, &files, again).await;
                Event::TaskCommitted(attempt, result)
            }
            Action::SealJob(job, files) => Event::JobSealed(job, seal_job(&calls, files).await),
            Action::CommitJob(job, id) => Event::JobCommitted(job, commit_job(&calls, id).await),
            Action::CleanJob(job, id) => Event::JobCleaned(job, clean_job(&calls, id).await),
            _ => return None,
        })
    }

    /// The next tracker, from what is in the history.
    fn restart(&mut self) -> Vec<Action> {
        let mut out = Vec::new();
        self.scheduler = Scheduler::new(Settings::default());
        self.queue.clear();
        self.now.steady_ms += 100;
        let history = self.durable.clone();
        if history.is_empty() {
            self.submit();
        } else {
            match replay(history).unwrap() {
                Outcome::Ended(ended) => self.scheduler.restore_ended(JOB, *ended, &mut out),
                Outcome::Unfinished(mut replayed) => {
                    replayed.job.attempt_base = 1_000;
                    self.scheduler.restore(self.now, *replayed, &mut out);
                }
            }
        }
        self.register();
        out
    }

    /// The whole life of a job, with the death of the tracker in it. `power`: what was not synced is
    /// lost with it. False: the death did not come any more.
    async fn live(death: Option<Death>, power: bool) -> bool {
        let mut world = Self::new(death);
        world.register();
        world.submit();
        let died = world.run(Vec::new()).await.is_err();
        if died {
            if power {
                world.buffered.clear();
            } else {
                let mut buffered = std::mem::take(&mut world.buffered);
                world.durable.append(&mut buffered);
            }
            let first = world.restart();
            assert!(world.run(first).await.is_ok());
        }
        world.check(power);
        died
    }

    fn check(&self, power: bool) {
        let status = &self.scheduler.ended()[&JOB].status;
        assert_eq!(status.state(), JobState::Succeeded, "{:?}: {}", self.death, status.message);
        let files = self.store.files();
        let mut expected = pairs(&[("/out/_SUCCESS", "")]);
        for index in 0..TASKS {
            let path = format!("/out/part-m-{index}");
            let contents = files.iter().find(|(name, _)| *name == path).unwrap().1.clone();
            let made: AttemptId = contents.parse().unwrap();
            assert_eq!((made.task.job, made.task.index), (JOB, index));
            expected.push((path, contents));
        }
        assert_eq!(files, expected, "{:?}", self.death);
        assert!(self.store.names().iter().all(|name| name.starts_with("/out")));
        // Only a launch that the history did not hear of is made again.
        let once = self.launches.values().all(|launches| *launches == 1);
        assert!(power || once, "{:?}: {:?}", self.death, self.launches);
    }
}

#[tokio::test(start_paused = true)]
async fn fault_44_a_tracker_that_dies_at_any_step_leaves_one_whole_output() {
    assert!(!World::live(None, false).await);
    for power in [false, true] {
        let mut deaths = 0;
        while World::live(Some(Death::Action(deaths)), power).await {
            deaths += 1;
        }
        assert!(deaths > 20, "only {deaths} actions");
        for done in [false, true] {
            let mut deaths = 0;
            while World::live(Some(Death::Call(deaths, done)), power).await {
                deaths += 1;
            }
            assert!(deaths >= 10, "only {deaths} calls");
        }
    }
}
