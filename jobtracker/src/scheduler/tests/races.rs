//! Stories of slow attempts and those that race them.
#![allow(clippy::unwrap_used)]

use super::sharing::job_id;
use super::*;
use crate::job::wishes;

/// Two workers; a job of four maps, three of which are done after a second. The fourth runs on and is
/// `fraction` done after all.
fn slow_map(fraction: f64, conf: &[(&str, &str)]) -> (Stage, (WorkerKey, AttemptId), Vec<Action>) {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 2);
    stage.worker("b", "hb", 2);
    let maps = launches(&stage.submit_as(1, 4, 0, conf));
    assert_eq!(maps.len(), 4);
    stage.pass(1_000);
    let (slow, quick) = maps.split_last().unwrap();
    for map in quick {
        stage.done(*map);
        stage.event(Event::TaskCommitted(map.1, Ok(())));
    }
    let mut out = Vec::new();
    for _ in 0..6 {
        out.extend(beat(&mut stage, *slow, fraction));
    }
    (stage, *slow, out)
}

/// A second passes; the attempt says how far it is.
fn beat(stage: &mut Stage, (worker, id): (WorkerKey, AttemptId), fraction: f64) -> Vec<Action> {
    let progress = Progress { attempt_id: id.to_string(), fraction, ..Progress::default() };
    stage.event(Event::Progress(worker, progress));
    let keys: Vec<WorkerKey> = stage.scheduler.workers.iter().map(|(key, _)| key).collect();
    for key in keys {
        stage.event(Event::Heartbeat(key));
    }
    stage.pass(1_000)
}

#[test]
fn a_slow_attempt_is_raced_elsewhere_and_the_loser_is_killed() {
    let (mut stage, slow, out) = slow_map(0.1, &[]);
    let raced = launches(&out);
    assert_eq!(raced.len(), 1);
    assert_eq!(raced[0].1.task, slow.1.task);
    assert_ne!(raced[0].0, slow.0);
    let status = stage.scheduler.jobs[&job_id(1)].status(crate::job::Detail::Full);
    assert_eq!((status.speculative_attempts, status.speculative_running), (1, 1));
    assert_eq!(status.attempts.iter().filter(|a| a.speculative).count(), 1);
    let mut more = Vec::new();
    for _ in 0..20 {
        more.extend(launches(&beat(&mut stage, slow, 0.2)));
    }
    assert!(more.is_empty(), "a task is raced by one attempt at a time");
    let out = stage.done(raced[0]);
    assert_eq!(kills(&out), [slow]);
    let out = stage.done(slow);
    assert!(!wants(&out, |a| matches!(a, Action::CommitTask { .. })), "it comes too late");
    let out = stage.event(Event::TaskCommitted(raced[0].1, Ok(())));
    assert!(wants(&out, |a| matches!(a, Action::SealJob(..))));
    let slowness = |key| stage.scheduler.workers.get(key).unwrap().slowness;
    assert!(slowness(slow.0) > slowness(raced[0].0), "and its node is known for it");
}

#[test]
fn an_attempt_that_finds_out_which_record_kills_it_is_not_joined_in_that() {
    let skip =
        [("mapreduce.map.skip.maxrecords", "1"), ("mapreduce.task.skip.start.attempts", "0")];
    let (_, _, out) = slow_map(0.1, &skip);
    assert!(launches(&out).is_empty());
}

#[test]
fn a_race_that_is_lost_costs_nothing() {
    let (mut stage, slow, out) = slow_map(0.1, &[]);
    let raced = launches(&out)[0];
    let out = stage.fails(raced);
    assert!(launches(&out).is_empty(), "the task is at work already");
    assert_eq!(stage.scheduler.jobs[&job_id(1)].speculative_now, 0);
    let out = stage.done(slow);
    assert!(wants(&out, |a| matches!(a, Action::CommitTask { .. })));
}

#[test]
fn what_is_nearly_done_or_not_to_be_raced_is_not_raced() {
    assert!(launches(&slow_map(0.9, &[]).2).is_empty(), "a new attempt would not be done before");
    let off = [(wishes::MAP_SPECULATIVE, "false")];
    assert!(launches(&slow_map(0.1, &off).2).is_empty());
    let off = [(wishes::ALLOWED_MIN, "0")];
    assert!(launches(&slow_map(0.1, &off).2).is_empty());
}

#[test]
fn an_attempt_without_progress_is_raced_when_it_takes_too_long() {
    let (_, slow, out) = slow_map(0.0, &[]);
    assert_eq!(launches(&out)[0].1.task, slow.1.task);
}

#[test]
fn no_attempt_races_before_its_time_or_takes_a_slot_that_others_want() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    stage.worker("b", "hb", 1);
    let maps = launches(&stage.submit_as(1, 3, 0, &[]));
    stage.pass(500);
    let next = launches(&stage.done(maps[0]))[0];
    stage.event(Event::TaskCommitted(maps[0].1, Ok(())));
    for _ in 0..3 {
        assert!(launches(&beat(&mut stage, maps[1], 0.01)).is_empty(), "there is no free slot");
    }
    stage.submit_as(2, 1, 0, &[]);
    let out = stage.done(next);
    assert_eq!(launches(&out)[0].1.task.job, job_id(2), "what waits comes first");
}

#[test]
fn a_slow_node_gets_no_racing_attempt() {
    let (mut stage, slow, _) = slow_map(0.95, &[(wishes::SLOW_NODE, "0.5")]);
    let other = if stage.scheduler.workers.by_id("a") == Some(slow.0) { "b" } else { "a" };
    let other = stage.scheduler.workers.by_id(other).unwrap();
    for (key, ratio) in [(slow.0, 1.0), (other, 5.0)] {
        let worker = stage.scheduler.workers.get_mut(key).unwrap();
        (worker.slowness, worker.slowness_samples) = (ratio, 1);
    }
    let mut raced = Vec::new();
    for _ in 0..5 {
        raced.extend(launches(&beat(&mut stage, slow, 0.01)));
    }
    assert!(raced.is_empty());
    stage.worker("c", "hc", 1);
    for _ in 0..2 {
        raced.extend(launches(&beat(&mut stage, slow, 0.01)));
    }
    assert_eq!(raced.len(), 1, "on the node that is not known to be slow");
}
