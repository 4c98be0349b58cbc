//! The loop, with a real history and a file system in memory.
#![allow(clippy::unwrap_used)]

use hfs_daemon::clock::SystemClock;
use hfs_protocol::proto::task::{InputSplit, JobSpec};
use prometheus_client::registry::Registry;

use super::memory::MemoryStore;
use super::*;
use crate::history::read_jobs;
use crate::history::record::Entry;
use crate::job::Priority;
use crate::scheduler::Settings;

/// A loop whose histories go to this directory.
fn start(dir: &std::path::Path) -> Handle {
    let edges = Edges {
        clock: Arc::new(SystemClock::new()),
        store: Arc::new(MemoryStore::default()),
        history: Writer::start(dir.to_owned()).unwrap(),
        commit_timeout: Duration::from_secs(5),
        counts: Counts::new(&mut Registry::default()),
        drained: DrainedFile::in_dir(dir),
    };
    let (tracker, handle) = Tracker::new(Scheduler::new(Settings::default()), edges, 1, 0);
    tokio::spawn(tracker.run(Vec::new(), Shutdown::new()));
    handle
}

#[tokio::test]
async fn a_priority_is_in_the_history_when_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = start(dir.path());
    let request = SubmitRequest {
        job: Some(JobSpec::default()),
        splits: vec![InputSplit::default()],
        ..SubmitRequest::default()
    };
    let request = Box::new(request);
    let job = tracker.ask(|reply| Message::Submit { request, reply }).await.unwrap().unwrap();
    for priority in [Priority::High, Priority::High, Priority::Low] {
        let set = tracker.ask(|reply| Message::SetPriority { job, priority, reply }).await.unwrap();
        assert_eq!(set, Ok(true));
        let jobs = read_jobs(dir.path()).unwrap();
        let last = jobs[0].records.as_ref().unwrap().last().unwrap().entry.clone();
        let Some(Entry::Priority(written)) = last else { panic!("{last:?} is the last record") };
        assert_eq!(written.priority, priority.word());
    }
    let job = JobId { number: 77, ..job };
    let priority = Priority::High;
    let set = tracker.ask(|reply| Message::SetPriority { job, priority, reply }).await.unwrap();
    assert_eq!(set, Ok(false), "there is no such job");
}
