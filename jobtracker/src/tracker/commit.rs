//! Turning what attempts wrote into the job's output, so that the output directory is absent or
//! complete.
//!
//! ```text
//!  <staging>/_attempts/<attempt>/part-r-00000   an attempt writes
//!  <staging>/part-r-00000                       the attempt that won, renamed by the tracker
//!  <staging>/_SUCCESS                           all tasks are in; `_attempts` is gone
//!  <output>                                     the staging directory, renamed once
//! ```
//!
//! Each step can be done again after a crash: a rename whose source is gone and whose target is
//! there has been done.

use hfs_protocol::ids::AttemptId;
use hfs_protocol::proto::task::{JobSpec, OutputFile};

use super::store::{Store, StoreError};

/// Where attempts write, in the staging directory.
const ATTEMPTS: &str = "_attempts";
/// The file that says that the output is whole.
const SUCCESS: &str = "_SUCCESS";

/// The directory of an attempt's own in the file system; empty in a job without output.
#[must_use]
pub fn attempt_dir(job: &JobSpec, attempt: AttemptId) -> String {
    if job.staging_dir.is_empty() {
        return String::new();
    }
    format!("{}/{ATTEMPTS}/{attempt}", job.staging_dir)
}

/// Moves the files of the attempt that won into the staging directory.
///
/// # Errors
/// A sentence that names the file.
pub async fn commit_task(
    store: &dyn Store,
    job: &JobSpec,
    attempt: AttemptId,
    files: &[OutputFile],
) -> Result<(), String> {
    let own = attempt_dir(job, attempt);
    if job.staging_dir.is_empty() && !files.is_empty() {
        return Err("the job has no output directory, but its task wrote output files".to_owned());
    }
    for file in files {
        let from = source(&own, &file.path)?;
        let to = format!("{}/{}", job.staging_dir, file.name);
        if let Some((parent, _)) = file.name.rsplit_once('/') {
            let parent = format!("{}/{parent}", job.staging_dir);
            store.mkdirs(job, &parent).await.map_err(|e| e.message().to_owned())?;
        }
        match store.rename(job, &from, &to, true).await {
            Ok(()) => {}
            Err(StoreError::NotFound(why)) => {
                let done = store.exists(job, &to).await.map_err(|e| e.message().to_owned())?;
                if !done {
                    return Err(why);
                }
            }
            Err(e) => return Err(e.message().to_owned()),
        }
    }
    Ok(())
}

/// A task names its files in full or from its directory on, and no others.
fn source(own: &str, path: &str) -> Result<String, String> {
    let full = if path.starts_with('/') { path.to_owned() } else { format!("{own}/{path}") };
    let inside = full.strip_prefix(own).and_then(|rest| rest.strip_prefix('/'));
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    match inside {
        Some(rest) if !rest.split('/').any(odd) => Ok(full),
        _ => Err(format!("the output file {path} is not in the attempt's directory {own}")),
    }
}

/// Makes the staging directory the output directory. `again`: an earlier tracker may have done it.
///
/// # Errors
/// A sentence. The output directory is then as it was.
pub async fn commit_job(store: &dyn Store, job: &JobSpec, again: bool) -> Result<(), String> {
    let (staging, output) = (&job.staging_dir, &job.output_dir);
    if output.is_empty() {
        return Ok(());
    }
    if again {
        let left = store.exists(job, staging).await.map_err(|e| e.message().to_owned())?;
        if !left && store.exists(job, output).await.map_err(|e| e.message().to_owned())? {
            return Ok(());
        }
    }
    let attempts = format!("{staging}/{ATTEMPTS}");
    let success = format!("{staging}/{SUCCESS}");
    let (deleted, marked) =
        futures::join!(store.delete(job, &attempts), store.create_empty(job, &success));
    deleted.and(marked).map_err(|e| e.message().to_owned())?;
    store.rename(job, staging, output, false).await.map_err(|e| match e {
        StoreError::Exists(_) => format!(
            "{output} exists now and is not replaced; remove it or choose another output directory"
        ),
        e => e.message().to_owned(),
    })
}

/// Deletes what a job that did not succeed has written.
///
/// # Errors
/// A sentence.
pub async fn clean_job(store: &dyn Store, job: &JobSpec) -> Result<(), String> {
    if job.staging_dir.is_empty() {
        return Ok(());
    }
    store.delete(job, &job.staging_dir).await.map_err(|e| e.message().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hfs_protocol::ids::{JobId, TaskId, TaskKind};

    use super::super::memory::MemoryStore;
    use super::*;

    fn job() -> JobSpec {
        JobSpec {
            output_dir: "/out".into(),
            staging_dir: "/._hfs_out_1".into(),
            ..JobSpec::default()
        }
    }

    fn attempt() -> AttemptId {
        let job = JobId { tracker: 1, number: 1 };
        AttemptId { task: TaskId { job, kind: TaskKind::Reduce, index: 0 }, number: 0 }
    }

    fn file(path: &str, name: &str) -> OutputFile {
        OutputFile { path: path.into(), name: name.into(), bytes: 1 }
    }

    #[tokio::test]
    async fn a_job_commits_once_and_again() {
        let store = MemoryStore::default();
        let (job, attempt) = (job(), attempt());
        let own = attempt_dir(&job, attempt);
        store.put(&format!("{own}/f"));
        store.put(&format!("{own}/g"));
        let files = [file(&format!("{own}/f"), "part-r-00000"), file("g", "side/one")];
        commit_task(&store, &job, attempt, &files).await.unwrap();
        commit_task(&store, &job, attempt, &files).await.unwrap();
        commit_job(&store, &job, false).await.unwrap();
        let made = ["/out/_SUCCESS", "/out/part-r-00000", "/out/side/one"];
        assert_eq!(store.files(), made);
        commit_job(&store, &job, true).await.unwrap();
        assert_eq!(store.files(), made);
    }

    #[tokio::test]
    async fn a_job_without_output_touches_nothing() {
        let store = MemoryStore::default();
        store.put("/mine");
        let job = JobSpec::default();
        assert_eq!(attempt_dir(&job, attempt()), "");
        commit_task(&store, &job, attempt(), &[]).await.unwrap();
        let files = [file("/mine", "part-r-00000")];
        let error = commit_task(&store, &job, attempt(), &files).await.unwrap_err();
        assert!(error.contains("no output directory"), "{error}");
        commit_job(&store, &job, false).await.unwrap();
        clean_job(&store, &job).await.unwrap();
        assert_eq!(store.files(), ["/mine"]);
    }

    #[tokio::test]
    async fn an_output_that_appeared_meanwhile_is_not_touched() {
        let store = MemoryStore::default();
        store.put("/out/mine");
        let error = commit_job(&store, &job(), false).await.unwrap_err();
        assert!(error.contains("/out exists"), "{error}");
        clean_job(&store, &job()).await.unwrap();
        assert_eq!(store.files(), ["/out/mine"]);
    }

    #[tokio::test]
    async fn files_of_others_are_not_moved() {
        let store = MemoryStore::default();
        store.put("/secret");
        for path in ["/secret", "../../../secret", "a/../../x", ""] {
            let files = [file(path, "part")];
            assert!(commit_task(&store, &job(), attempt(), &files).await.is_err(), "{path}");
        }
        assert_eq!(store.files(), ["/secret"]);
    }
}
