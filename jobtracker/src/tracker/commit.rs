//! Turning what attempts wrote into the job's output, so that the output directory is absent or
//! complete, with the files of exactly one attempt of each task.
//!
//! ```text
//!  <staging>/_attempts/<attempt>/part-r-00000   an attempt writes
//!  <staging>/_output/part-r-00000               the attempt that won, renamed by the tracker
//!  <staging>/_output/_SUCCESS                   all tasks are in: sealed
//!  <output>                                     `_output`, renamed once; then <staging> goes
//! ```
//!
//! An attempt that nobody waits for any more, because its worker was given up, writes below
//! `_attempts` alone, so it can't reach the output however late it wakes.
//!
//! Output in an object store, which has no rename, is uploaded to its final keys by the attempts, and stays
//! invisible until the uploads are completed. The files above are then small ones that say how; committing
//! a task moves them as any others, and committing the job completes the uploads and writes `_SUCCESS` last.
//!
//! Each step can be done again after a crash. Whether a rename was done is told by the file id of the
//! directory, which the rename keeps: it is written to the job's history before the rename.

use futures::{StreamExt, TryStreamExt, stream};
use hfs_protocol::ids::AttemptId;
use hfs_protocol::proto::task::{JobSpec, OutputFile};

use super::calls::Calls;
use super::place::is_uploaded;
use super::store::StoreError;
use crate::scheduler::{Cleaned, CommitError};

/// Where attempts write, in the staging directory.
const ATTEMPTS: &str = "_attempts";
/// What will be the output directory, in the staging directory.
const OUTPUT: &str = "_output";
/// Files of maps that are moved at once.
const MOVES_AT_ONCE: usize = 16;
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

fn sealed_dir(job: &JobSpec) -> String {
    format!("{}/{OUTPUT}", job.staging_dir)
}

/// Moves the files of the attempt that won to those of the other tasks. `again`: an earlier tracker may
/// have done it.
///
/// # Errors
/// A sentence that names the file. Unless it is unclear, none of the attempt's files will be moved any more.
pub async fn commit_task(
    calls: &Calls,
    attempt: AttemptId,
    files: &[OutputFile],
    again: bool,
) -> Result<(), CommitError> {
    let job = calls.job();
    let own = attempt_dir(job, attempt);
    if job.staging_dir.is_empty() && !files.is_empty() {
        let why = "the job has no output directory, but its task wrote output files";
        return Err(CommitError::refused(why));
    }
    for file in files {
        let Err(error) = move_file(calls, &own, file, again).await else { continue };
        if is_uploaded(&job.output_dir) {
            give_up(calls, &own).await;
        }
        // A rename that was not answered may still be done, over a file of the next attempt, unless
        // its source is gone.
        return Err(match calls.delete(&own).await {
            Ok(()) => CommitError::refused(error.message()),
            Err(_) if matches!(error, StoreError::Unclear(_)) => {
                CommitError::unclear(error.message())
            }
            Err(_) => CommitError::refused(error.message()),
        });
    }
    Ok(())
}

async fn move_file(
    calls: &Calls,
    own: &str,
    file: &OutputFile,
    again: bool,
) -> Result<(), StoreError> {
    let from = source(own, &file.path)?;
    let to = format!("{}/{}", sealed_dir(calls.job()), file.name);
    let made = |e| match e {
        // Not to be taken for the file that is not there.
        StoreError::NotFound(why) => StoreError::Other(why),
        e => e,
    };
    if let Some((parent, _)) = to.rsplit_once('/') {
        calls.mkdirs(parent).await.map_err(made)?;
    }
    let why = match calls.rename(&from, &to, true).await {
        Ok(true) => return Ok(()),
        Ok(false) => format!("{from} is gone"),
        Err(StoreError::NotFound(why)) if again => why,
        Err(e) => return Err(e),
    };
    match calls.file_id(&to).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Other(why)),
    }
}

/// Moves the files that maps with reduces have written beside their output for these, of the attempts whose
/// output was taken. An earlier try may have moved some.
///
/// # Errors
/// A sentence that names the file. Nothing can be seen of the output then.
pub async fn commit_map_files(
    calls: &Calls,
    maps: Vec<(AttemptId, Vec<OutputFile>)>,
) -> Result<(), CommitError> {
    let job = calls.job();
    if job.staging_dir.is_empty() {
        return Ok(());
    }
    let files = maps.into_iter().flat_map(|(attempt, files)| {
        let own = attempt_dir(job, attempt);
        files.into_iter().map(move |file| (own.clone(), file))
    });
    let moves = stream::iter(files)
        .map(async |(own, file)| move_file(calls, &own, &file, true).await)
        .buffer_unordered(MOVES_AT_ONCE);
    let moved = moves.try_for_each(|()| std::future::ready(Ok(()))).await;
    moved.map_err(|e| CommitError::refused(e.message()))
}

/// A task names its files in full or from its directory on, and no others.
fn source(own: &str, path: &str) -> Result<String, StoreError> {
    let in_full = path.starts_with('/') || path.starts_with(own);
    let full = if in_full { path.to_owned() } else { format!("{own}/{path}") };
    let inside = full.strip_prefix(own).and_then(|rest| rest.strip_prefix('/'));
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    match inside {
        Some(rest) if !rest.split('/').any(odd) => Ok(full),
        _ => {
            let why = format!("the output file {path} is not in the attempt's directory {own}");
            Err(StoreError::Other(why))
        }
    }
}

/// Marks the directory with the files of all tasks, of which there are `files`, as whole. The answer is
/// its file id; 0 in a job without output.
///
/// # Errors
/// A sentence. Nothing can be seen of the output then.
pub async fn seal_job(calls: &Calls, files: u64) -> Result<u64, CommitError> {
    let job = calls.job();
    if job.output_dir.is_empty() {
        return Ok(0);
    }
    let sealed = sealed_dir(job);
    let gone = || {
        let why = format!("the files of its tasks are gone: somebody removed {sealed}");
        CommitError::refused(why)
    };
    let refuse = |e: StoreError| CommitError::refused(e.message());
    if files > 0 && calls.file_id(&sealed).await.map_err(refuse)?.is_none() {
        return Err(gone());
    }
    calls.create_empty(&format!("{sealed}/{SUCCESS}")).await.map_err(refuse)?;
    calls.file_id(&sealed).await.map_err(refuse)?.ok_or_else(gone)
}

/// Makes the sealed directory, of this file id, the output directory, and deletes what is left beside it.
///
/// # Errors
/// A sentence. Unless it is unclear, the output directory is as it was and stays so.
pub async fn commit_job(calls: &Calls, output_id: u64) -> Result<(), CommitError> {
    let job = calls.job();
    let output = &job.output_dir;
    if output.is_empty() {
        return Ok(());
    }
    if is_uploaded(output) {
        return publish_job(calls).await;
    }
    let clear = |e: StoreError| match e {
        StoreError::Unclear(why) => CommitError::unclear(why),
        e => CommitError::refused(e.message()),
    };
    let renamed = match calls.rename(&sealed_dir(job), output, false).await {
        Ok(done) => done,
        Err(StoreError::NotFound(_) | StoreError::Exists(_)) => false,
        Err(e) => return Err(clear(e)),
    };
    if !renamed {
        let there = calls.file_id(output).await.map_err(|e| CommitError::unclear(e.message()))?;
        if there != Some(output_id) {
            return Err(CommitError::refused(match there {
                Some(_) => format!(
                    "{output} exists now and is not replaced; remove it or choose another output directory"
                ),
                None => format!("somebody removed {}", sealed_dir(job)),
            }));
        }
    }
    // The output is there; what is left over does not make the job less done.
    if let Err(e) = calls.delete(&job.staging_dir).await {
        tracing::warn!("{} is left: {}", job.staging_dir, e.message());
    }
    Ok(())
}

/// Completes the uploads of all tasks. `_SUCCESS` says that it was done, by whichever try.
async fn publish_job(calls: &Calls) -> Result<(), CommitError> {
    let job = calls.job();
    calls.publish(&sealed_dir(job)).await.map_err(|e| match e {
        StoreError::Unclear(why) => CommitError::unclear(why),
        e => CommitError::refused(e.message()),
    })?;
    give_up(calls, &format!("{}/{ATTEMPTS}", job.staging_dir)).await;
    if let Err(e) = calls.delete(&job.staging_dir).await {
        tracing::warn!("{} is left: {}", job.staging_dir, e.message());
    }
    Ok(())
}

/// Gives up the uploads of attempts that nobody waits for.
async fn give_up(calls: &Calls, dir: &str) {
    // The output does not depend on it. Stores can be told to forget old uploads by themselves.
    if let Err(e) = calls.withdraw(dir).await {
        tracing::warn!("uploads that {dir} tells of are left: {}", e.message());
    }
}

/// Deletes what a job that did not succeed has written. When a rename of the directory with this file id
/// had no clear answer, finds out what became of it: once the staging directory is gone nothing
/// can be renamed out of it any more. `output_id` 0: there was none.
///
/// # Errors
/// A sentence.
pub async fn clean_job(calls: &Calls, output_id: u64) -> Result<Cleaned, CommitError> {
    let job = calls.job();
    if job.staging_dir.is_empty() {
        return Ok(Cleaned::Gone);
    }
    let explain = |e: StoreError| CommitError::unclear(e.message());
    if is_uploaded(&job.output_dir) {
        let published = calls.withdraw(&job.staging_dir).await.map_err(explain)?;
        calls.delete(&job.staging_dir).await.map_err(explain)?;
        return Ok(if published { Cleaned::Committed } else { Cleaned::Gone });
    }
    calls.delete(&job.staging_dir).await.map_err(explain)?;
    if output_id != 0 && calls.file_id(&job.output_dir).await.map_err(explain)? == Some(output_id) {
        return Ok(Cleaned::Committed);
    }
    Ok(Cleaned::Gone)
}

#[cfg(test)]
mod tests;
