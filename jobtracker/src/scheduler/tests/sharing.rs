//! Stories of queues, priorities and room.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;
use crate::job::wishes;

impl Stage {
    /// A stage with these queues.
    pub(super) fn with_queues(queues: &[(&str, QueueSettings)]) -> Self {
        let queues = queues.iter().map(|(name, q)| ((*name).to_owned(), *q)).collect();
        Self { scheduler: Scheduler::with_queues(Settings::default(), &queues), ..Self::new() }
    }

    /// Submits job number so-and-so with these properties; its maps have no hosts.
    pub(super) fn submit_as(
        &mut self,
        number: u32,
        maps: usize,
        reduces: u32,
        conf: &[(&str, &str)],
    ) -> Vec<Action> {
        let conf: HashMap<String, String> =
            conf.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let job = JobSpec { reduces, max_attempts: 4, conf, ..JobSpec::default() };
        let splits = vec![InputSplit::default(); maps];
        let request = SubmitRequest { job: Some(job), splits, ..SubmitRequest::default() };
        let id = job_id(number);
        self.event(Event::Submitted(id, Box::new(request)));
        self.event(Event::Journalled(id))
    }

    /// A worker with this much of everything.
    pub(super) fn large_worker(&mut self, id: &str, vcores: u32, memory_mb: u64) -> WorkerKey {
        let profile = Profile {
            id: id.into(),
            host: format!("h{id}"),
            rack: "/r".into(),
            slots: 64,
            vcores,
            memory_mb,
            task_memory_mb: 10,
            ..Profile::default()
        };
        let registration = Registration { profile, ..Registration::default() };
        self.event(Event::Registered(Box::new(registration)));
        self.scheduler.workers.by_id(id).unwrap()
    }

    /// How many attempts of each of these jobs run.
    pub(super) fn running(&self, jobs: &[u32]) -> Vec<u32> {
        let of = |number: &u32| self.scheduler.jobs[&job_id(*number)].occupied;
        jobs.iter().map(of).collect()
    }

    /// Some running attempt of a job.
    pub(super) fn some_attempt(&self, number: u32) -> (WorkerKey, AttemptId) {
        let (id, worker) = self.scheduler.jobs[&job_id(number)].running_attempts()[0];
        (worker, id)
    }

    /// Ends attempts of a job, one after the other.
    fn end_some(&mut self, number: u32, count: usize) {
        for _ in 0..count {
            let attempt = self.some_attempt(number);
            self.done(attempt);
            // Without a commit a map-only task is not over.
            self.event(Event::TaskCommitted(attempt.1, Ok(())));
        }
    }
}

pub(super) fn job_id(number: u32) -> JobId {
    JobId { tracker: 1, number }
}

#[test]
fn a_job_that_comes_later_gets_its_fair_share() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 8);
    stage.submit_as(1, 40, 0, &[]);
    assert_eq!(stage.running(&[1]), [8]);
    stage.submit_as(2, 40, 0, &[]);
    stage.end_some(1, 4);
    assert_eq!(stage.running(&[1, 2]), [4, 4]);
    stage.end_some(1, 3);
    stage.end_some(2, 3);
    assert_eq!(stage.running(&[1, 2]), [4, 4], "and keeps it");
}

#[test]
fn priority_is_a_share_among_fair_jobs_and_can_be_changed() {
    let mut stage = Stage::new();
    stage.submit_as(1, 40, 0, &[]);
    stage.submit_as(2, 40, 0, &[(wishes::PRIORITY, "HIGH")]);
    stage.worker("a", "ha", 12);
    assert_eq!(stage.running(&[1, 2]), [4, 8]);
    let out = stage.event(Event::Priority(job_id(2), Priority::Low));
    assert!(wants(&out, |a| matches!(a, Action::Journal(_, record, _)
        if matches!(&record.entry, Some(Entry::Priority(p)) if p.priority == "LOW"))));
    stage.end_some(2, 8);
    assert_eq!(stage.running(&[1, 2]), [8, 4]);
    assert_eq!(stage.scheduler.jobs[&job_id(2)].status(crate::job::Detail::Brief).priority, "LOW");
}

#[test]
fn fifo_serves_the_most_urgent_and_then_the_oldest() {
    let fifo = QueueSettings { policy: Policy::Fifo, ..QueueSettings::default() };
    let mut stage = Stage::with_queues(&[("default", fifo)]);
    stage.submit_as(1, 6, 0, &[]);
    stage.submit_as(2, 6, 0, &[]);
    stage.worker("a", "ha", 4);
    assert_eq!(stage.running(&[1, 2]), [4, 0]);
    stage.submit_as(3, 2, 0, &[(wishes::PRIORITY, "VERY_HIGH")]);
    stage.end_some(1, 3);
    assert_eq!(stage.running(&[1, 2, 3]), [2, 0, 2]);
    stage.end_some(1, 2);
    assert_eq!(stage.running(&[1, 2, 3]), [1, 1, 2], "the first job has no more to give");
}

#[test]
fn queues_share_by_weight_and_least_share() {
    let queue = |weight, min_share| QueueSettings { weight, min_share, ..QueueSettings::default() };
    let queues = [("etl", queue(3, 0)), ("adhoc", queue(1, 0)), ("small", queue(1, 4))];
    let mut stage = Stage::with_queues(&queues);
    for (number, queue) in [(1, "etl"), (2, "adhoc"), (3, "adhoc")] {
        stage.submit_as(number, 40, 0, &[(wishes::QUEUE_NAME, queue)]);
    }
    stage.worker("a", "ha", 8);
    assert_eq!(stage.running(&[1, 2, 3]), [6, 1, 1]);
    stage.submit_as(4, 40, 0, &[(wishes::QUEUE_NAME, "small")]);
    stage.end_some(1, 4);
    assert_eq!(stage.running(&[1, 2, 3, 4]), [2, 1, 1, 4], "the least share comes first");
}

#[test]
fn a_queue_lets_only_so_many_jobs_run() {
    let one = QueueSettings { max_running_jobs: 1, ..QueueSettings::default() };
    let mut stage = Stage::with_queues(&[("default", one)]);
    stage.worker("a", "ha", 4);
    stage.submit_as(1, 1, 0, &[]);
    stage.submit_as(2, 1, 0, &[]);
    stage.submit_as(3, 1, 0, &[(wishes::PRIORITY, "HIGH")]);
    assert_eq!(stage.running(&[1, 2, 3]), [1, 0, 0]);
    let message = |stage: &Stage, number| {
        stage.scheduler.jobs[&job_id(number)].status(crate::job::Detail::Brief).message
    };
    assert!(message(&stage, 2).contains("waits"), "{}", message(&stage, 2));
    stage.end_some(1, 1);
    assert_eq!(stage.running(&[2, 3]), [0, 1], "the more urgent one is next");
    stage.event(Event::Kill(job_id(3), String::new()));
    assert_eq!(stage.running(&[2]), [1]);
    assert_eq!(message(&stage, 2), "");
}

#[test]
fn attempts_are_placed_where_processors_and_memory_are() {
    let mut stage = Stage::new();
    let small = stage.large_worker("small", 2, 1_000);
    let big = stage.large_worker("big", 8, 4_000);
    let ask = [(wishes::MAP_VCORES, "2"), (wishes::MAP_MEMORY_MB, "900")];
    let placed = launches(&stage.submit_as(1, 20, 0, &ask));
    let on = |worker| placed.iter().filter(|(w, _)| *w == worker).count();
    assert_eq!((on(small), on(big)), (1, 4));
    stage.submit_as(2, 20, 0, &[(wishes::MAP_MEMORY_MB, "100")]);
    assert_eq!(stage.running(&[2]), [0], "no processor is left, whatever the memory");
}

#[test]
fn what_fits_no_worker_fails_in_time_with_the_numbers() {
    let mut stage = Stage::new();
    let key = stage.large_worker("a", 4, 1_000);
    stage.submit_as(1, 1, 0, &[(wishes::MAP_VCORES, "5")]);
    for _ in 0..59 {
        stage.event(Event::Heartbeat(key));
        stage.pass(1_000);
    }
    assert_eq!(stage.scheduler.jobs.len(), 1);
    for _ in 0..3 {
        stage.event(Event::Heartbeat(key));
        stage.pass(1_000);
    }
    stage.event(Event::JobCleaned(job_id(1), Ok(Cleaned::Gone)));
    let message = stage.ended().1;
    for part in ["60 s", "5 vcores", "a, has 4 vcores", wishes::MAP_VCORES] {
        assert!(message.contains(part), "no {part} in: {message}");
    }
    // A larger worker in time, and the job runs.
    stage.submit_as(2, 1, 0, &[(wishes::MAP_VCORES, "5")]);
    stage.event(Event::Heartbeat(key));
    stage.pass(5_000);
    stage.large_worker("b", 5, 1_000);
    assert_eq!(stage.running(&[2]), [1]);
}

#[test]
fn a_large_task_is_not_starved_by_small_ones() {
    let mut stage = Stage::new();
    let key = stage.large_worker("a", 4, 1_000);
    let fifo = [(wishes::PRIORITY, "VERY_HIGH")];
    stage.submit_as(1, 400, 0, &fifo);
    stage.submit_as(2, 1, 0, &[(wishes::MAP_VCORES, "4")]);
    for _ in 0..20 {
        stage.event(Event::Heartbeat(key));
        stage.pass(500);
        if stage.running(&[2]) == [1] {
            return;
        }
        let left = stage.scheduler.jobs[&job_id(1)].occupied as usize;
        stage.end_some(1, left.min(1));
    }
    panic!("the large task waits for ever: {:?}", stage.running(&[1, 2]));
}

#[test]
fn maps_that_lack_memory_get_it_from_reduces_of_their_job() {
    let mut stage = Stage::new();
    let key = stage.large_worker("a", 8, 1_000);
    let ask = [(wishes::MAP_MEMORY_MB, "600"), (wishes::REDUCE_MEMORY_MB, "500")];
    let map = launches(&stage.submit_as(1, 1, 2, &ask))[0];
    let reduces = launches(&stage.done(map));
    assert_eq!(reduces.len(), 2);
    let mut killed = Vec::new();
    for (_, reduce) in &reduces {
        let report = FetchFailed {
            attempt_id: reduce.to_string(),
            map_attempt_id: map.1.to_string(),
            ..FetchFailed::default()
        };
        killed.extend(kills(&stage.event(Event::FetchFailed(key, report))));
    }
    assert_eq!(killed.len(), 1, "slots are free, memory is not");
    let failure = Failure { killed: true, ..Failure::default() };
    let out = stage.failed(killed[0], failure.clone());
    assert!(launches(&out).is_empty(), "500 MiB are not enough yet");
    let killed = kills(&out);
    let again = launches(&stage.failed(killed[0], failure));
    assert_eq!(again[0].1.task, map.1.task);
}
