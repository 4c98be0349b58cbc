//! Whether a submission makes sense, before anything is promised.

use hfs_protocol::proto::job::SubmitRequest;

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
    for (name, path) in [
        ("program_path", &job.program_path),
        ("output_dir", &job.output_dir),
        ("staging_dir", &job.staging_dir),
    ] {
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        let absolute = path.strip_prefix('/');
        if absolute.is_none_or(|rest| rest.split('/').any(odd)) {
            return Err(format!("{name} is '{path}', which is not an absolute path below /"));
        }
    }
    let (parent, name) = job.output_dir.rsplit_once('/').unwrap_or(("", &job.output_dir));
    let prefix = format!("{parent}/._hfs_{name}_");
    let unique = job.staging_dir.strip_prefix(&prefix);
    if unique.is_none_or(|unique| unique.is_empty() || unique.contains('/')) {
        let staging = &job.staging_dir;
        return Err(format!(
            "staging_dir is '{staging}'; it must be {prefix} and something unique"
        ));
    }
    if job.fs_url.is_empty() {
        return Err(
            "fs_url is empty; it must name the job's file system, hdfs://host:port".to_owned()
        );
    }
    Ok(request)
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
