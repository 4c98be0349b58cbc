//! Stories of workers that get no more tasks, and of attempts that are ended by hand.
#![allow(clippy::unwrap_used)]

use super::sharing::job_id;
use super::*;

#[test]
fn a_drained_host_gets_nothing_new_and_what_runs_goes_on() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 2);
    let first = launches(&stage.submit_as(1, 1, 0, &[]));
    assert_eq!(first[0].0, a);
    stage.event(Event::Drain { node: "ha".into(), drained: true });
    stage.submit_as(2, 1, 0, &[]);
    assert_eq!(stage.running(&[1, 2]), [1, 0]);
    // The host stays drained when its worker starts again.
    let (again, out) = stage.worker("a2", "ha", 2);
    assert!(launches(&out).is_empty());
    assert!(!stage.scheduler.workers.get(again).unwrap().usable());
    let out = stage.event(Event::Drain { node: "ha".into(), drained: false });
    assert_eq!(launches(&out).len(), 1);
    let out = stage.done(first[0]);
    assert!(wants(&out, |a| matches!(a, Action::CommitTask { .. })));
}

#[test]
fn a_job_on_drained_workers_fails_in_time_and_says_why() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 2);
    stage.event(Event::Drain { node: "a".into(), drained: true });
    stage.submit_as(1, 1, 0, &[]);
    for _ in 0..63 {
        stage.event(Event::Heartbeat(a));
        stage.pass(1_000);
    }
    stage.event(Event::JobCleaned(job_id(1), Ok(Cleaned::Gone)));
    assert!(stage.ended().1.contains("drained"), "{}", stage.ended().1);
}

#[test]
fn a_worker_that_fails_tasks_of_several_jobs_is_left_alone_for_a_while() {
    let mut stage = Stage::new();
    let (bad, _) = stage.worker("a", "ha", 1);
    let (good, _) = stage.worker("b", "hb", 1);
    for number in 1..=3 {
        assert!(stage.scheduler.workers.get(bad).unwrap().blacklisted.is_none());
        let out = stage.submit_as(number, 2, 0, &[]);
        let (broken, fine): (Vec<_>, Vec<_>) =
            launches(&out).into_iter().partition(|(worker, _)| *worker == bad);
        stage.done(fine[0]);
        stage.event(Event::TaskCommitted(fine[0].1, Ok(())));
        let again = launches(&stage.fails(broken[0]));
        assert_eq!(again[0].0, good, "the other worker is free");
        stage.done(again[0]);
        stage.event(Event::TaskCommitted(again[0].1, Ok(())));
        stage.event(Event::JobSealed(job_id(number), Ok(1)));
        stage.event(Event::JobCommitted(job_id(number), Ok(())));
    }
    let black = stage.scheduler.workers.get(bad).unwrap().blacklisted.clone().unwrap();
    assert!(black.reason.contains("3 jobs"), "{}", black.reason);
    stage.submit_as(4, 2, 0, &[]);
    assert_eq!(stage.running(&[4]), [1]);
    let mut placed = Vec::new();
    for _ in 0..121 {
        stage.event(Event::Heartbeat(bad));
        stage.event(Event::Heartbeat(good));
        placed.extend(launches(&stage.pass(5_000)));
    }
    assert_eq!(placed.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [bad]);
}

#[test]
fn a_job_that_fails_everywhere_blacklists_nobody() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    stage.worker("b", "hb", 1);
    for number in 1..=5 {
        stage.submit_as(number, 1, 0, &[]);
        while stage.scheduler.jobs[&job_id(number)].occupied > 0 {
            let attempt = stage.some_attempt(number);
            stage.fails(attempt);
        }
        stage.event(Event::JobCleaned(job_id(number), Ok(Cleaned::Gone)));
    }
    assert_eq!(stage.scheduler.workers.blacklisted_count(), 0);
}

#[test]
fn a_task_that_failed_on_the_better_worker_does_not_wait_for_one_that_its_job_shuns() {
    let mut stage = Stage::new();
    let (good, _) = stage.worker("a", "ha", 1);
    let map = launches(&stage.submit_as(1, 1, 0, &[]))[0];
    let (bad, _) = stage.worker("b", "hb", 1);
    let most = stage.scheduler.settings.worker_job_failures;
    stage.scheduler.jobs.get_mut(&job_id(1)).unwrap().failures_on.insert(bad, most);
    assert_eq!(map.0, good);
    let again = launches(&stage.fails(map));
    assert_eq!(again.iter().map(|launch| launch.0).collect::<Vec<_>>(), [good]);
}

#[test]
fn an_attempt_ended_by_hand_counts_only_when_it_is_failed() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    let first = launches(&stage.submit_as(1, 1, 0, &[]))[0];
    let by_hand = |id, fails| Event::EndAttempt { id, fails, reason: "killed by ann".into() };
    let out = stage.event(by_hand(first.1, false));
    assert_eq!(kills(&out), [first]);
    assert!(launches(&out).is_empty(), "its slot is not free yet");
    let killed = Failure { killed: true, ..Failure::default() };
    let second = launches(&stage.failed(first, killed.clone()))[0];
    assert_eq!(stage.scheduler.jobs[&job_id(1)].maps[0].failures, 0);
    assert!(kills(&stage.event(by_hand(first.1, false))).is_empty(), "it has ended already");
    stage.event(by_hand(second.1, true));
    let job = &stage.scheduler.jobs[&job_id(1)];
    assert_eq!(job.maps[0].failures, 1);
    assert!(job.failures[0].message.contains("by ann"));
    assert_eq!(launches(&stage.failed(second, killed)).len(), 1);
}

#[test]
fn a_job_with_too_many_counters_over_all_tasks_fails() {
    use hfs_protocol::proto::task::Counter;
    let mut stage = Stage::new();
    stage.worker("a", "ha", 2);
    let conf = [(crate::job::wishes::COUNTERS_MAX, "3"), (crate::job::wishes::GROUPS_MAX, "2")];
    let maps = launches(&stage.submit_as(1, 2, 1, &conf));
    let mut done = |(worker, id): (WorkerKey, AttemptId), names: &[&str]| {
        let counter =
            |name: &&str| Counter { group: "words".into(), name: (*name).to_owned(), value: 1 };
        let done = Done {
            attempt_id: id.to_string(),
            map_output_path: "/x".into(),
            counters: names.iter().map(counter).collect(),
            ..Done::default()
        };
        stage.event(Event::Report(worker, Report::Done(done)));
        stage.scheduler.jobs[&job_id(1)].message.clone()
    };
    assert_eq!(done(maps[0], &["a", "b"]), "");
    let message = done(maps[1], &["b", "c", "d"]);
    assert!(message.starts_with("Too many counters: 4 max=3"), "{message}");
}
