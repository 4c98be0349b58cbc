//! Whether a submission makes sense, before anything is promised.

use hfs_protocol::proto::job::SubmitRequest;

use crate::job::Wishes;
use crate::tracker::place::{Place, is_uploaded};

/// The most maps of a job.
pub const MAPS_MAX: usize = 1_000_000;
/// The most reduces of a job.
pub const REDUCES_MAX: u32 = 100_000;
/// How often a task may fail when the job does not say.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 4;
/// The most tries a job may ask for.
pub const MAX_ATTEMPTS_MAX: u32 = 100;

/// Fills in what may be left out and refuses what can't be run.
///
/// # Errors
/// A sentence that says which field is wrong and what it should be.
pub fn check(mut request: SubmitRequest) -> Result<SubmitRequest, String> {
    let job = request.job.as_mut().ok_or("the submission has no job in it")?;
    if request.splits.len() > MAPS_MAX {
        let count = request.splits.len();
        return Err(format!(
            "the job has {count} splits, at most {MAPS_MAX} are possible; make them larger"
        ));
    }
    if job.reduces > REDUCES_MAX {
        let count = job.reduces;
        return Err(format!("the job wants {count} reduces, at most {REDUCES_MAX} are possible"));
    }
    job.maps = request.splits.len() as u32;
    job.max_attempts = match job.max_attempts {
        0 => MAX_ATTEMPTS_DEFAULT,
        wanted => wanted.min(MAX_ATTEMPTS_MAX),
    };
    let sha = &job.program_sha256;
    if sha.len() != 64 || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("program_sha256 is '{sha}', which is not a SHA-256 in hexadecimal"));
    }
    Wishes::read(job)?;
    check_path("program_path", &job.program_path)?;
    check_output(&job.output_dir, &job.staging_dir)?;
    if job.fs_url.is_empty() {
        return Err(
            "fs_url is empty; it must name the job's file system, hdfs://host:port".to_owned()
        );
    }
    Ok(request)
}

fn check_path(name: &str, path: &str) -> Result<(), String> {
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let absolute = path.strip_prefix('/');
    if absolute.is_none_or(|rest| rest.split('/').any(odd)) {
        return Err(format!("{name} is '{path}', which is not an absolute path below /"));
    }
    Ok(())
}

/// A path of output may name its file system.
fn check_output_path(name: &str, path: &str) -> Result<(), String> {
    let place = Place::parse(path).map_err(|why| format!("{name}: {why}"))?;
    check_path(name, place.path())
}

/// A job has an output directory and a staging directory beside it, or neither.
fn check_output(output: &str, staging: &str) -> Result<(), String> {
    if output.is_empty() && staging.is_empty() {
        return Ok(());
    }
    check_output_path("output_dir", output)?;
    check_output_path("staging_dir", staging)?;
    let (mut parent, name) = output.rsplit_once('/').unwrap_or(("", output));
    if is_uploaded(output) {
        // What tasks leave are small files about their uploads, in the job's own file system.
        check_path("staging_dir", staging)?;
        parent = staging.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    let prefix = format!("{parent}/._hfs_{name}_");
    let unique = staging.strip_prefix(&prefix);
    if unique.is_none_or(|unique| unique.is_empty() || unique.contains('/')) {
        return Err(format!(
            "staging_dir is '{staging}'; it must be {prefix} and something unique"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hfs_protocol::proto::task::{InputSplit, JobSpec};

    use super::*;

    fn good() -> SubmitRequest {
        let job = JobSpec {
            program_sha256: "ab".repeat(32),
            program_path: "/tmp/hfs/programs/x".into(),
            output_dir: "/a/out".into(),
            staging_dir: "/a/._hfs_out_77".into(),
            fs_url: "hdfs://127.0.0.1:1".into(),
            ..JobSpec::default()
        };
        SubmitRequest {
            job: Some(job),
            splits: vec![InputSplit::default(); 3],
            ..SubmitRequest::default()
        }
    }

    #[test]
    fn a_good_one_gets_its_defaults() {
        let checked = check(good()).unwrap().job.unwrap();
        assert_eq!((checked.maps, checked.max_attempts), (3, MAX_ATTEMPTS_DEFAULT));
    }

    #[test]
    fn a_job_may_have_no_output_at_all() {
        let mut request = good();
        let job = request.job.as_mut().unwrap();
        job.output_dir.clear();
        assert!(check(request.clone()).is_err(), "a staging directory alone");
        request.job.as_mut().unwrap().staging_dir.clear();
        assert!(check(request).is_ok());
    }

    #[test]
    fn each_odd_field_is_named() {
        type Spoil = fn(&mut JobSpec);
        let spoil: [(&str, Spoil); 8] = [
            ("program_sha256", |j| j.program_sha256 = "x".into()),
            ("program_path", |j| j.program_path = "prog".into()),
            ("output_dir", |j| j.output_dir = "/".into()),
            ("output_dir", |j| j.output_dir = "/a/../b".into()),
            ("staging_dir", |j| j.staging_dir = "/a/out".into()),
            ("staging_dir", |j| j.staging_dir = "/b/._hfs_out_1".into()),
            ("fs_url", |j| j.fs_url.clear()),
            ("reduces", |j| j.reduces = REDUCES_MAX + 1),
        ];
        for (field, spoil) in spoil {
            let mut request = good();
            spoil(request.job.as_mut().unwrap());
            let why = check(request).unwrap_err();
            assert!(why.contains(field), "{why}");
        }
        assert!(check(SubmitRequest::default()).is_err());
    }
}
