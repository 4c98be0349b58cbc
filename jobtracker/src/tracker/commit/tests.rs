//! Tests of the commit: step by step, and a whole job whose tracker dies at every step.
#![allow(clippy::unwrap_used)]

mod crashes;

use std::sync::Arc;
use std::time::Duration;

use hfs_protocol::ids::{JobId, TaskId, TaskKind};

use super::super::memory::{Fault, MemoryStore};
use super::*;

const TIME: Duration = Duration::from_secs(60);

fn job() -> JobSpec {
    JobSpec { output_dir: "/out".into(), staging_dir: "/._hfs_out_1".into(), ..JobSpec::default() }
}

fn calls(store: &Arc<MemoryStore>, job: &JobSpec) -> Calls {
    Calls::new(store.clone(), Arc::new(job.clone()), TIME)
}

fn attempt(number: u32) -> AttemptId {
    let job = JobId { tracker: 1, number: 1 };
    AttemptId { task: TaskId { job, kind: TaskKind::Reduce, index: 0 }, number }
}

fn file(path: &str, name: &str) -> OutputFile {
    OutputFile { path: path.into(), name: name.into(), bytes: 1 }
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, contents)| ((*path).to_owned(), (*contents).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_job_commits_once_and_again() {
    let store = Arc::new(MemoryStore::default());
    let job = job();
    let own = attempt_dir(&job, attempt(0));
    store.put(&format!("{own}/f"), "f");
    store.put(&format!("{own}/g"), "g");
    store.put(&format!("{}/late", attempt_dir(&job, attempt(1))), "a loser's");
    let files = [file(&format!("{own}/f"), "part-r-00000"), file("g", "side/one")];
    commit_task(&calls(&store, &job), attempt(0), &files, false).await.unwrap();
    commit_task(&calls(&store, &job), attempt(0), &files, true).await.unwrap();
    let id = seal_job(&calls(&store, &job), 2).await.unwrap();
    assert_eq!(seal_job(&calls(&store, &job), 2).await.unwrap(), id);
    commit_job(&calls(&store, &job), id).await.unwrap();
    let made = pairs(&[("/out/_SUCCESS", ""), ("/out/part-r-00000", "f"), ("/out/side/one", "g")]);
    assert_eq!(store.files(), made);
    commit_job(&calls(&store, &job), id).await.unwrap();
    assert_eq!(store.files(), made);
    assert_eq!(clean_job(&calls(&store, &job), id).await, Ok(Cleaned::Committed));
    assert_eq!(store.files(), made);
}

#[tokio::test(start_paused = true)]
async fn files_of_maps_are_moved_when_the_job_is_sealed_and_again_after_a_crash() {
    let store = Arc::new(MemoryStore::default());
    let job = job();
    for number in 0..2 {
        store.put(&format!("{}/bad", attempt_dir(&job, attempt(number))), &number.to_string());
    }
    let maps = vec![(attempt(1), vec![file("bad", "bad-m-00000")])];
    commit_map_files(&calls(&store, &job), maps.clone()).await.unwrap();
    commit_map_files(&calls(&store, &job), maps).await.unwrap();
    let id = seal_job(&calls(&store, &job), 0).await.unwrap();
    commit_job(&calls(&store, &job), id).await.unwrap();
    let made = pairs(&[("/out/_SUCCESS", ""), ("/out/bad-m-00000", "1")]);
    assert_eq!(store.files(), made);
    let gone = vec![(attempt(0), vec![file("none", "none-m-00000")])];
    let error = commit_map_files(&calls(&store, &job), gone).await.unwrap_err();
    assert!(error.message.contains("none"), "{error:?}");
}

/// Fault 45: what a zombie writes after the seal, and after the commit, is not in the output.
#[tokio::test(start_paused = true)]
async fn fault_45_a_zombie_does_not_reach_the_output() {
    let store = Arc::new(MemoryStore::default());
    let job = job();
    store.put(&format!("{}/f", attempt_dir(&job, attempt(1))), "winner");
    let files = [file("f", "part-r-00000")];
    commit_task(&calls(&store, &job), attempt(1), &files, false).await.unwrap();
    let zombie = format!("{}/f", attempt_dir(&job, attempt(0)));
    store.put(&zombie, "zombie");
    let id = seal_job(&calls(&store, &job), 1).await.unwrap();
    store.put(&zombie, "zombie");
    commit_job(&calls(&store, &job), id).await.unwrap();
    let made = pairs(&[("/out/_SUCCESS", ""), ("/out/part-r-00000", "winner")]);
    assert_eq!(store.files(), made);
    store.put(&zombie, "zombie");
    assert_eq!(store.files()[1..], made);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_output_touches_nothing() {
    let store = Arc::new(MemoryStore::default());
    store.put("/mine", "");
    let job = JobSpec::default();
    assert_eq!(attempt_dir(&job, attempt(0)), "");
    commit_task(&calls(&store, &job), attempt(0), &[], false).await.unwrap();
    let files = [file("/mine", "part-r-00000")];
    let error = commit_task(&calls(&store, &job), attempt(0), &files, false).await.unwrap_err();
    assert!(error.message.contains("no output directory"), "{error:?}");
    assert_eq!(seal_job(&calls(&store, &job), 0).await, Ok(0));
    commit_job(&calls(&store, &job), 0).await.unwrap();
    assert_eq!(clean_job(&calls(&store, &job), 0).await, Ok(Cleaned::Gone));
    assert_eq!(store.files(), pairs(&[("/mine", "")]));
    assert_eq!(store.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_appeared_meanwhile_is_not_touched() {
    let store = Arc::new(MemoryStore::default());
    let id = seal_job(&calls(&store, &job()), 0).await.unwrap();
    store.put("/out/mine", "");
    let error = commit_job(&calls(&store, &job()), id).await.unwrap_err();
    assert!(error.message.contains("/out exists") && !error.unclear, "{error:?}");
    assert_eq!(clean_job(&calls(&store, &job()), 0).await, Ok(Cleaned::Gone));
    assert_eq!(store.names(), ["/out", "/out/mine"]);
}

#[tokio::test(start_paused = true)]
async fn an_output_whose_files_were_removed_is_not_called_whole() {
    let store = Arc::new(MemoryStore::default());
    let error = seal_job(&calls(&store, &job()), 3).await.unwrap_err();
    assert!(error.message.contains("somebody removed /._hfs_out_1/_output"), "{error:?}");
    let id = seal_job(&calls(&store, &job()), 0).await.unwrap();
    clean_job(&calls(&store, &job()), 0).await.unwrap();
    let error = commit_job(&calls(&store, &job()), id).await.unwrap_err();
    assert!(error.message.contains("somebody removed"), "{error:?}");
    assert!(store.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn files_of_others_are_not_moved() {
    let store = Arc::new(MemoryStore::default());
    store.put("/secret", "");
    for path in ["/secret", "../../../secret", "a/../../x", ""] {
        let files = [file(path, "part")];
        let job = job();
        let result = commit_task(&calls(&store, &job), attempt(0), &files, false).await;
        assert!(result.is_err(), "{path}");
    }
    assert_eq!(store.files(), pairs(&[("/secret", "")]));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_there_fails_the_attempt_even_when_an_older_one_is() {
    let store = Arc::new(MemoryStore::default());
    let job = job();
    store.put(&format!("{}/part", sealed_dir(&job)), "of an attempt that failed half way");
    let files = [file("f", "part")];
    let result = commit_task(&calls(&store, &job), attempt(1), &files, false).await;
    assert!(!result.unwrap_err().unclear);
}

/// One answer that is lost, wherever and whether the call was done or not, changes nothing.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again() {
    let mut call = 0;
    loop {
        let mut met = false;
        for done in [false, true] {
            let store = Arc::new(MemoryStore::default());
            let job = job();
            store.put(&format!("{}/f", attempt_dir(&job, attempt(0))), "f");
            store.fail_at(call, Fault::Unclear, done);
            let files = [file("f", "part")];
            commit_task(&calls(&store, &job), attempt(0), &files, false).await.unwrap();
            let id = seal_job(&calls(&store, &job), 1).await.unwrap();
            commit_job(&calls(&store, &job), id).await.unwrap();
            assert_eq!(store.names(), ["/out", "/out/_SUCCESS", "/out/part"]);
            met |= store.calls() > call;
        }
        if !met {
            break;
        }
        call += 1;
    }
    assert!(call >= 6, "only {call} calls");
}
