//! Tests of the scheduler: small stories, and a simulated cluster whose workers die at random.
#![allow(clippy::unwrap_used)]

mod nodes;
mod plain;
mod races;
mod sharing;
mod simulation;

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
use hfs_protocol::proto::job::{JobState, SubmitRequest};
use hfs_protocol::proto::task::{Done, FetchFailed, InputSplit, JobSpec, OutputFile, Progress};

use super::*;
use crate::history::record::Entry;
use crate::job::replay::{Outcome, replay};
use crate::workers::Profile;

const JOB: JobId = JobId { tracker: 1, number: 1 };

/// A scheduler, its clock, and what it wanted last.
struct Stage {
    scheduler: Scheduler,
    now: Now,
    out: Vec<Action>,
}

impl Stage {
    fn new() -> Self {
        Self {
            scheduler: Scheduler::new(Settings::default()),
            now: Now { steady_ms: 1_000, wall_ms: 1_700_000_000_000 },
            out: Vec::new(),
        }
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.scheduler.handle(self.now, event, &mut self.out);
        self.settle()
    }

    fn settle(&mut self) -> Vec<Action> {
        self.scheduler.settle(self.now, &mut self.out);
        self.scheduler.validate().unwrap();
        std::mem::take(&mut self.out)
    }

    /// Time passes and timers ring.
    fn pass(&mut self, ms: u64) -> Vec<Action> {
        self.now.steady_ms += ms;
        self.now.wall_ms += ms;
        self.event(Event::Tick)
    }

    fn worker(&mut self, id: &str, host: &str, slots: u32) -> (WorkerKey, Vec<Action>) {
        let registration = Registration {
            profile: Profile {
                id: id.into(),
                host: host.into(),
                rack: "/r".into(),
                slots,
                shuffle_address: format!("{host}:1"),
                ..Profile::default()
            },
            ..Registration::default()
        };
        let out = self.event(Event::Registered(Box::new(registration)));
        (self.scheduler.workers.by_id(id).unwrap(), out)
    }

    fn submit(&mut self, hosts: &[&[&str]], reduces: u32) -> Vec<Action> {
        let splits = hosts
            .iter()
            .map(|hosts| InputSplit {
                hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
                ..InputSplit::default()
            })
            .collect();
        let job =
            JobSpec { reduces, max_attempts: 3, task_timeout_ms: 60_000, ..JobSpec::default() };
        let request = SubmitRequest { job: Some(job), splits, ..SubmitRequest::default() };
        self.event(Event::Submitted(JOB, Box::new(request)));
        self.event(Event::Journalled(JOB))
    }

    fn done(&mut self, (worker, id): (WorkerKey, AttemptId)) -> Vec<Action> {
        let mut done = Done { attempt_id: id.to_string(), ..Done::default() };
        let segment = id.task.kind == TaskKind::Map
            && self.scheduler.jobs.get(&id.task.job).is_some_and(|job| !job.map_only());
        if segment {
            done.map_output_path = format!("/w/{id}");
        } else {
            let file = OutputFile { path: "f".into(), name: id.task.to_string(), bytes: 1 };
            done.outputs.push(file);
        }
        self.event(Event::Report(worker, Report::Done(done)))
    }

    fn failed(&mut self, (worker, id): (WorkerKey, AttemptId), failure: Failure) -> Vec<Action> {
        self.event(Event::Report(worker, Report::Failed(id, failure)))
    }

    fn fails(&mut self, launch: (WorkerKey, AttemptId)) -> Vec<Action> {
        self.failed(launch, Failure { message: "boom".into(), ..Failure::default() })
    }

    fn ended(&self) -> (JobState, String) {
        let status = &self.scheduler.ended[&JOB].status;
        (status.state(), status.message.clone())
    }
}

fn launches(actions: &[Action]) -> Vec<(WorkerKey, AttemptId)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Launch(worker, id) => Some((*worker, *id)),
            _ => None,
        })
        .collect()
}

fn kills(actions: &[Action]) -> Vec<(WorkerKey, AttemptId)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Kill(worker, id, _) => Some((*worker, *id)),
            _ => None,
        })
        .collect()
}

fn wants(actions: &[Action], wanted: impl Fn(&Action) -> bool) -> bool {
    actions.iter().any(wanted)
}

#[test]
fn a_job_goes_from_submission_to_success() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 2);
    let maps = launches(&stage.submit(&[&["ha"], &["ha"]], 1));
    assert_eq!(maps.len(), 2);
    let reduce = launches(&stage.done(maps[0]));
    assert_eq!(reduce.len(), 1);
    let out = stage.done(maps[1]);
    let fed = out.iter().find_map(|action| match action {
        Action::FeedReduce(worker, id, part) => Some((*worker, *id, part.clone())),
        _ => None,
    });
    assert_eq!(fed, Some((reduce[0].0, reduce[0].1, 1..2)));
    let news = stage.scheduler.news(JOB, 1..2);
    let told = |host| news.for_host(host).into_iter().map(|output| output.local_path);
    let here = stage.scheduler.host_of(reduce[0].0);
    assert!(told(here).eq([format!("/w/{}", maps[1].1)]), "it lies on the reduce's own host");
    assert!(told(None).eq([String::new()]));
    let out = stage.done(reduce[0]);
    assert!(wants(
        &out,
        |a| matches!(a, Action::CommitTask { attempt, .. } if *attempt == reduce[0].1)
    ));
    let out = stage.event(Event::TaskCommitted(reduce[0].1, Ok(())));
    assert!(wants(&out, |a| matches!(a, Action::SealJob(JOB, 1))));
    let out = stage.event(Event::JobSealed(JOB, Ok(9)));
    assert!(wants(&out, |a| matches!(a, Action::CommitJob(JOB, 9))));
    let out = stage.event(Event::JobCommitted(JOB, Ok(())));
    assert!(wants(&out, |a| matches!(a, Action::ForgetJob(..))));
    assert_eq!(stage.ended().0, JobState::Succeeded);
}

#[test]
fn a_map_waits_for_its_node_but_not_for_long() {
    let mut stage = Stage::new();
    let (near, _) = stage.worker("a", "ha", 1);
    let (far, _) = stage.worker("b", "hb", 1);
    let first = launches(&stage.submit(&[&["ha"], &["ha"]], 0));
    assert_eq!(first.iter().map(|l| l.0).collect::<Vec<_>>(), [near]);
    assert!(launches(&stage.pass(99)).is_empty());
    let second = launches(&stage.pass(1));
    assert_eq!(second.iter().map(|l| l.0).collect::<Vec<_>>(), [far], "same rack after 100 ms");
}

#[test]
fn a_small_job_spreads_over_the_workers() {
    let mut stage = Stage::new();
    for (id, host) in [("a", "ha"), ("b", "hb"), ("c", "hc")] {
        stage.worker(id, host, 4);
    }
    let all: &[&str] = &["ha", "hb", "hc"];
    let maps = launches(&stage.submit(&[all, all, all], 0));
    let mut workers: Vec<_> = maps.iter().map(|launch| launch.0).collect();
    workers.sort();
    workers.dedup();
    assert_eq!(workers.len(), 3);
}

#[test]
fn records_that_killed_attempts_in_skip_mode_are_left_out_from_then_on_and_after_a_restart() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    let conf =
        [("mapreduce.map.skip.maxrecords", "1"), ("mapreduce.task.skip.start.attempts", "1")];
    let conf = conf.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let job = JobSpec { max_attempts: 9, conf, ..JobSpec::default() };
    let request =
        SubmitRequest { job: Some(job), splits: vec![InputSplit::default()], ..<_>::default() };
    let mut out = stage.event(Event::Submitted(JOB, Box::new(request)));
    out.extend(stage.event(Event::Journalled(JOB)));
    for (record, left_out) in [(None, vec![]), (Some(7), vec![7]), (Some(0), vec![7, 0])] {
        let map = launches(&out).pop().unwrap();
        let more = stage.failed(map, Failure { record, ..Failure::of("boom") });
        assert_eq!(stage.scheduler.jobs[&JOB].skip(map.1.task).unwrap().records, left_out);
        out.extend(more);
    }
    let journal = out.iter().filter_map(|action| match action {
        Action::Journal(_, record, _) => Some((**record).clone()),
        _ => None,
    });
    let Ok(Outcome::Unfinished(replayed)) = replay(journal) else { panic!("no job") };
    let task = TaskId { job: JOB, kind: TaskKind::Map, index: 0 };
    assert_eq!(replayed.job.skip(task).unwrap().records, [7, 0]);
}

#[test]
fn a_task_fails_its_job_after_its_last_try_and_tries_elsewhere_first() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    stage.worker("b", "hb", 1);
    let first = launches(&stage.submit(&[&["ha"]], 0))[0];
    assert!(launches(&stage.fails(first)).is_empty(), "the other node is not its input's");
    let second = launches(&stage.pass(100))[0];
    assert_ne!(second.0, first.0);
    let third = launches(&stage.fails(second))[0];
    let out = stage.fails(third);
    assert!(launches(&out).is_empty());
    assert!(wants(&out, |a| matches!(a, Action::CleanJob(JOB, 0))));
    stage.event(Event::JobCleaned(JOB, Ok(Cleaned::Gone)));
    let (state, message) = stage.ended();
    assert_eq!(state, JobState::Failed);
    assert!(message.contains("failed 3 times") && message.contains("boom"), "{message}");
}

#[test]
fn a_fatal_failure_is_not_tried_again() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    let map = launches(&stage.submit(&[&[]], 0))[0];
    let failure = Failure { message: "no such input".into(), fatal: true, ..Failure::default() };
    assert!(launches(&stage.failed(map, failure)).is_empty());
    stage.event(Event::JobCleaned(JOB, Ok(Cleaned::Gone)));
    assert!(stage.ended().1.contains("no such input"));
}

#[test]
fn what_a_lost_worker_had_runs_again_and_costs_no_try() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 1);
    let maps = launches(&stage.submit(&[&[]], 1));
    stage.done(maps[0]);
    let (b, _) = stage.worker("b", "hb", 1);
    stage.event(Event::Disconnected(a));
    assert!(launches(&stage.pass(1_999)).is_empty(), "it may come back");
    let out = stage.pass(1);
    let again = launches(&out);
    assert!(again.iter().any(|(worker, id)| *worker == b && id.task.kind == TaskKind::Map));
    let job = &stage.scheduler.jobs[&JOB];
    assert_eq!(job.maps[0].failures, 0);
    assert!(job.failures.is_empty());
}

/// Named outputs of maps: those of the attempt whose output the reduces got, and of no other.
#[test]
fn files_of_a_map_that_ran_again_are_those_of_the_last_success() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 1);
    let first = launches(&stage.submit(&[&[]], 1))[0];
    let with_files = |stage: &mut Stage, (worker, id): (WorkerKey, AttemptId)| {
        let done = Done {
            attempt_id: id.to_string(),
            map_output_path: "/w/x".into(),
            outputs: vec![OutputFile {
                path: format!("{id}/f"),
                name: "bad-m-00000".into(),
                bytes: 1,
            }],
            ..Done::default()
        };
        stage.event(Event::Report(worker, Report::Done(done)))
    };
    let out = with_files(&mut stage, first);
    assert!(!wants(&out, |a| matches!(a, Action::CommitTask { .. })), "not before the seal");
    let files = |stage: &Stage| stage.scheduler.jobs[&JOB].map_files();
    assert_eq!(files(&stage)[0].0, first.1);
    stage.worker("b", "hb", 1);
    stage.event(Event::Disconnected(a));
    let again = launches(&stage.pass(2_000));
    let again = *again.iter().find(|(_, id)| id.task.kind == TaskKind::Map).unwrap();
    assert_eq!(files(&stage), [], "what is lost is not there");
    with_files(&mut stage, again);
    assert_eq!(files(&stage)[0].0, again.1);
    assert_eq!(files(&stage)[0].1[0].path, format!("{}/f", again.1));
}

#[test]
fn an_output_nobody_needs_is_not_made_again_until_a_reduce_fails() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 1);
    let map = launches(&stage.submit(&[&[]], 1))[0];
    let (b, _) = stage.worker("b", "hb", 1);
    stage.done(map);
    let job = &stage.scheduler.jobs[&JOB];
    let (reduce, worker) = job.running_attempts()[0];
    if worker == a {
        return;
    }
    assert_eq!(worker, b);
    let progress =
        Progress { attempt_id: reduce.to_string(), phase: "reduce".into(), ..Progress::default() };
    stage.event(Event::Progress(b, progress));
    stage.event(Event::Disconnected(a));
    assert!(launches(&stage.pass(5_000)).is_empty());
    let again = launches(&stage.fails((b, reduce)));
    assert_eq!(again[0].1.task.kind, TaskKind::Map);
}

#[test]
fn a_worker_that_comes_back_in_time_keeps_its_work() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 2);
    let maps = launches(&stage.submit(&[&[], &[]], 1));
    stage.event(Event::Disconnected(a));
    stage.pass(1_000);
    let profile = stage.scheduler.workers.get(a).unwrap().profile.clone();
    let finished = Done {
        attempt_id: maps[0].1.to_string(),
        map_output_path: "/w/x".into(),
        ..Done::default()
    };
    let registration = Registration {
        profile,
        running: vec![maps[1].1],
        segments: vec![(maps[0].1, "/w/x".into())],
        reports: vec![Report::Done(finished)],
    };
    let out = stage.event(Event::Registered(Box::new(registration)));
    assert!(kills(&out).is_empty());
    let job = &stage.scheduler.jobs[&JOB];
    assert!(job.maps[0].succeeded());
    assert_eq!(job.map_tally.running, 1);
    stage.pass(60_000);
}

#[test]
fn a_zombie_that_is_done_after_its_successor_changes_nothing() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 1);
    let zombie = launches(&stage.submit(&[&[]], 0))[0];
    stage.event(Event::Disconnected(a));
    let (b, _) = stage.worker("b", "hb", 1);
    let heir = launches(&stage.pass(2_000))[0];
    assert_eq!(heir.0, b);
    stage.done(heir);
    let profile = stage.scheduler.workers.get(a).unwrap().profile.clone();
    let registration = Registration { profile, running: vec![zombie.1], ..Registration::default() };
    let out = stage.event(Event::Registered(Box::new(registration)));
    assert_eq!(kills(&out), [zombie]);
    let out = stage.done(zombie);
    assert!(!wants(&out, |a| matches!(a, Action::CommitTask { .. })));
    let out = stage.event(Event::TaskCommitted(heir.1, Ok(())));
    assert!(wants(&out, |a| matches!(a, Action::SealJob(..))));
}

#[test]
fn waiting_maps_get_a_slot_from_a_reduce_of_their_job() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 2);
    let maps = launches(&stage.submit(&[&[]], 2));
    let (map, first) = (maps[0], maps[1]);
    assert_eq!(first.1.task.kind, TaskKind::Reduce);
    let second = launches(&stage.done(map))[0];
    assert_eq!(second.1.task.kind, TaskKind::Reduce);
    let report = |reader: AttemptId| FetchFailed {
        attempt_id: reader.to_string(),
        map_index: 0,
        map_attempt_id: map.1.to_string(),
        message: "gone".into(),
    };
    stage.event(Event::FetchFailed(a, report(first.1)));
    let out = stage.event(Event::FetchFailed(a, report(second.1)));
    let killed = kills(&out);
    assert_eq!(killed.len(), 1, "two reports of two reduces decide, and one reduce gives way");
    let failure = Failure { killed: true, ..Failure::default() };
    let again = launches(&stage.failed(killed[0], failure));
    assert_eq!(again[0].1.task.kind, TaskKind::Map);
}

#[test]
fn one_unconfirmed_report_is_decided_by_time() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 4);
    let all = launches(&stage.submit(&[&[]], 3));
    stage.done(all[0]);
    let report = FetchFailed {
        attempt_id: all[1].1.to_string(),
        map_attempt_id: all[0].1.to_string(),
        ..FetchFailed::default()
    };
    assert!(launches(&stage.event(Event::FetchFailed(a, report))).is_empty());
    stage.event(Event::Heartbeat(a));
    let again = launches(&stage.pass(5_000));
    assert_eq!(again[0].1.task.kind, TaskKind::Map);
}

#[test]
fn an_attempt_that_says_nothing_is_killed_and_counts_as_failed() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 1);
    let map = launches(&stage.submit(&[&[]], 0))[0];
    // Its time-out and the grace that its worker has.
    for _ in 0..12 {
        stage.event(Event::Heartbeat(a));
        assert!(kills(&stage.pass(5_000)).is_empty());
    }
    stage.event(Event::Heartbeat(a));
    let out = stage.pass(5_000);
    assert_eq!(kills(&out), [map]);
    assert!(launches(&out).is_empty(), "its slot is not free yet");
    assert_eq!(stage.scheduler.jobs[&JOB].maps[0].failures, 1);
    stage.event(Event::Heartbeat(a));
    stage.pass(5_000);
    stage.event(Event::Heartbeat(a));
    assert_eq!(launches(&stage.pass(5_000)).len(), 1, "a kill is not waited for without end");
}

#[test]
fn without_workers_a_job_fails_in_time_and_says_why() {
    let mut stage = Stage::new();
    stage.submit(&[&[]], 1);
    stage.pass(59_999);
    assert!(stage.scheduler.ended.is_empty());
    let out = stage.pass(1);
    assert!(wants(&out, |a| matches!(a, Action::CleanJob(JOB, 0))));
    stage.event(Event::JobCleaned(JOB, Ok(Cleaned::Gone)));
    assert!(stage.ended().1.contains("no worker"));
}

#[test]
fn a_killed_job_is_cleaned_when_its_attempts_are_gone() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    let map = launches(&stage.submit(&[&[]], 1))[0];
    let out = stage.event(Event::Kill(JOB, "by hand".into()));
    assert_eq!(kills(&out), [map]);
    assert!(!wants(&out, |a| matches!(a, Action::CleanJob(..))));
    let failure = Failure { killed: true, ..Failure::default() };
    let out = stage.failed(map, failure);
    assert!(wants(&out, |a| matches!(a, Action::CleanJob(..))));
    let clean = out.iter().position(|a| matches!(a, Action::CleanJob(..))).unwrap();
    assert!(
        matches!(&out[clean - 1], Action::Journal(JOB, record, Durability::Synced)
            if matches!(record.entry, Some(Entry::Ending(_)))),
        "a restart must know that the job ends before what it wrote is gone"
    );
    stage.event(Event::JobCleaned(JOB, Err(CommitError::unclear("no namenode"))));
    let (state, message) = stage.ended();
    assert_eq!(state, JobState::Killed);
    assert!(message.contains("by hand") && message.contains("no namenode"));
}

#[test]
fn a_job_without_splits_and_reduces_just_commits() {
    let mut stage = Stage::new();
    let out = stage.submit(&[], 0);
    assert!(wants(&out, |a| matches!(a, Action::SealJob(JOB, 0))));
    let out = stage.event(Event::JobSealed(JOB, Err(CommitError::refused("full"))));
    assert!(wants(&out, |a| matches!(a, Action::CleanJob(JOB, 0))));
}

/// Fault 45: the loser may be writing when its task is won. The output is sealed when it is gone.
#[test]
fn fault_45_a_job_is_not_sealed_while_a_loser_can_write() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 1);
    let loser = launches(&stage.submit(&[&[]], 0))[0];
    stage.event(Event::Disconnected(a));
    stage.worker("b", "hb", 1);
    let winner = launches(&stage.pass(2_000))[0];
    let profile = stage.scheduler.workers.get(a).unwrap().profile.clone();
    let registration = Registration { profile, running: vec![loser.1], ..Registration::default() };
    let out = stage.event(Event::Registered(Box::new(registration)));
    assert_eq!(kills(&out), [loser]);
    stage.done(winner);
    let out = stage.event(Event::TaskCommitted(winner.1, Ok(())));
    assert!(!wants(&out, |a| matches!(a, Action::SealJob(..))));
    let out = stage.done(loser);
    assert!(!wants(&out, |a| matches!(a, Action::CommitTask { .. })), "it comes too late");
    assert!(wants(&out, |a| matches!(a, Action::SealJob(JOB, 1))));
}

#[test]
fn a_loser_that_is_not_heard_of_is_not_waited_for_without_end() {
    let mut stage = Stage::new();
    let (a, _) = stage.worker("a", "ha", 1);
    let loser = launches(&stage.submit(&[&[]], 0))[0];
    stage.event(Event::Disconnected(a));
    let (b, _) = stage.worker("b", "hb", 1);
    let winner = launches(&stage.pass(2_000))[0];
    let profile = stage.scheduler.workers.get(a).unwrap().profile.clone();
    let registration = Registration { profile, running: vec![loser.1], ..Registration::default() };
    stage.event(Event::Registered(Box::new(registration)));
    stage.done(winner);
    stage.event(Event::TaskCommitted(winner.1, Ok(())));
    stage.pass(5_000);
    stage.event(Event::Heartbeat(a));
    stage.event(Event::Heartbeat(b));
    let out = stage.pass(5_000);
    assert!(wants(&out, |a| matches!(a, Action::SealJob(JOB, 1))));
}

#[test]
fn a_commit_without_a_clear_answer_is_decided_by_what_is_found() {
    for (found, state) in
        [(Cleaned::Committed, JobState::Succeeded), (Cleaned::Gone, JobState::Failed)]
    {
        let mut stage = Stage::new();
        stage.submit(&[], 0);
        stage.event(Event::JobSealed(JOB, Ok(9)));
        let out = stage.event(Event::JobCommitted(JOB, Err(CommitError::unclear("no answer"))));
        assert!(wants(&out, |a| matches!(a, Action::CleanJob(JOB, 9))));
        stage.event(Event::JobCleaned(JOB, Ok(found)));
        assert_eq!(stage.ended().0, state);
        assert_eq!(stage.ended().1.is_empty(), state == JobState::Succeeded);
    }
}

#[test]
fn a_task_whose_files_may_still_move_fails_its_job() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    let map = launches(&stage.submit(&[&[]], 0))[0];
    stage.done(map);
    let out = stage.event(Event::TaskCommitted(map.1, Err(CommitError::unclear("no answer"))));
    assert!(launches(&out).is_empty(), "a second attempt's file could be replaced");
    stage.event(Event::JobCleaned(JOB, Ok(Cleaned::Gone)));
    assert_eq!(stage.ended().0, JobState::Failed);
}

#[test]
fn odd_file_names_fail_the_attempt() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 1);
    let map = launches(&stage.submit(&[&[]], 0))[0];
    for name in ["../up", "_SUCCESS", "a//b", ""] {
        let file = OutputFile { path: "f".into(), name: name.into(), bytes: 1 };
        assert!(reports_check(&[file]).is_err(), "{name}");
    }
    assert_eq!(map.1.number, 0);
}

fn reports_check(files: &[OutputFile]) -> Result<(), String> {
    super::reports::check_files(files)
}

#[test]
fn a_reduce_is_remembered_by_when_its_phases_were_over() {
    let mut stage = Stage::new();
    stage.worker("a", "ha", 2);
    let launched = launches(&stage.submit(&[&[]], 1));
    let reduce = launched[1];
    stage.done(launched[0]);
    let mut told = |phase: &str, ms| {
        stage.pass(ms);
        let attempt_id = reduce.1.to_string();
        let progress = Progress { attempt_id, phase: phase.into(), ..Progress::default() };
        stage.event(Event::Progress(reduce.0, progress));
        let status = stage.scheduler.jobs[&JOB].status(crate::job::Detail::Full);
        let timing = status.attempts.last().unwrap();
        let since = |ms: u64| ms.checked_sub(timing.start_ms);
        (since(timing.shuffle_finish_ms), since(timing.merge_finish_ms))
    };
    assert_eq!(told("shuffle", 10), (None, None));
    assert_eq!(told("merge", 10), (Some(20), None));
    assert_eq!(told("merge", 10), (Some(20), None));
    assert_eq!(told("reduce", 10), (Some(20), Some(40)));
    assert_eq!(told("reduce", 10), (Some(20), Some(40)));
}

#[test]
fn a_priority_is_promised_only_when_it_is_durable() {
    let mut stage = Stage::new();
    stage.submit(&[&[]], 0);
    // The second time it is nothing new, but the first one may not be on disk yet.
    for _ in 0..2 {
        let out = stage.event(Event::Priority(JOB, Priority::High));
        let synced = |a: &Action| {
            let Action::Journal(_, record, Durability::Synced) = a else { return false };
            matches!(record.entry, Some(Entry::Priority(_)))
        };
        assert!(wants(&out, synced), "{out:?}");
    }
}

#[test]
fn a_map_waits_for_its_node_no_longer_than_the_bound_since_the_last_one_went_there() {
    let mut stage = Stage::new();
    let (near, _) = stage.worker("a", "ha", 1);
    let (far, _) = stage.worker("b", "hb", 1);
    let ha: &[&str] = &["ha"];
    let first = launches(&stage.submit(&[ha, ha, ha], 0));
    assert_eq!(first.iter().map(|launch| launch.0).collect::<Vec<_>>(), [near]);
    stage.pass(50);
    let second = launches(&stage.done(first[0]));
    assert_eq!(second.iter().map(|launch| launch.0).collect::<Vec<_>>(), [near]);
    // Nothing else happens, and the wait began anew.
    assert!(launches(&stage.pass(99)).is_empty());
    let third = launches(&stage.pass(1));
    assert_eq!(third.iter().map(|launch| launch.0).collect::<Vec<_>>(), [far]);
}
