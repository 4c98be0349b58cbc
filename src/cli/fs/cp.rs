//! `cp`: copies within a file system and between file systems.

use clap::Args;

use super::put::target_end;
use super::shell::{Complaint, Done, Shell};
use super::transfer::{self, Copier, CopyOptions, Preserve, THREADS_DEFAULT, THREADS_MAX};

/// Copies files and directories.
#[derive(Debug, Clone, Args)]
pub struct Cp {
    /// Replace files that are there
    #[arg(short = 'f')]
    pub force: bool,
    /// Keep attributes: t(imes), o(wner and group), p(ermission); all three without letters (-ptop)
    #[arg(
        short = 'p',
        value_name = "top",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "top"
    )]
    pub preserve: Option<String>,
    /// Write under the final name from the start, without ._COPYING_
    #[arg(short = 'd')]
    pub direct: bool,
    /// Files copied at the same time
    #[arg(short = 't', value_name = "N", default_value_t = THREADS_DEFAULT)]
    pub threads: usize,
    /// Accepted for FsShell's sake: how many files wait is bounded in any case
    #[arg(short = 'q', value_name = "N", hide = true)]
    pub queue: Option<usize>,
    /// Files and directories, globs are expanded; then the target
    #[arg(required = true, num_args = 2.., value_name = "PATH... TARGET")]
    pub paths: Vec<String>,
}

/// What the letters after `-p` ask for.
fn preserve(letters: &str) -> Done<Preserve> {
    let mut what = Preserve::default();
    for letter in letters.chars() {
        match letter {
            't' => what.times = true,
            'o' => what.ownership = true,
            'p' => what.permission = true,
            'a' | 'x' => {
                return Err(Complaint(format!(
                    "-p{letters}: ACLs and extended attributes can't be kept; use -ptop"
                )));
            }
            other => {
                return Err(Complaint(format!(
                    "-p{letters}: '{other}' is not one of t(imes), o(wner) and p(ermission)"
                )));
            }
        }
    }
    Ok(what)
}

impl Cp {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        if let Err(complaint) = self.copy(shell).await {
            shell.complain(&complaint);
        }
    }

    async fn copy(&self, shell: &Shell) -> Done {
        let Some((target, sources)) = self.paths.split_last() else {
            return Err(Complaint(
                "Not enough arguments: name the files and the target".to_owned(),
            ));
        };
        let options = CopyOptions {
            overwrite: self.force,
            direct: self.direct,
            preserve: self.preserve.as_deref().map_or(Ok(Preserve::default()), preserve)?,
            delete_source: false,
            threads: self.threads.clamp(1, THREADS_MAX),
        };
        let nodes = transfer::remote_sources(shell, sources).await;
        if let [Err(complaint)] = nodes.as_slice() {
            return Err(complaint.clone());
        }
        let end = target_end(shell, target.as_ref()).await?;
        let mut copier = Copier::new(shell, options);
        let done = copier.copy_all(nodes, &end).await;
        copier.finish().await;
        done
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn letters_say_what_is_kept() {
        assert_eq!(preserve("top").unwrap(), Preserve::ALL);
        assert_eq!(preserve("t").unwrap(), Preserve { times: true, ..Preserve::default() });
        assert!(preserve("tx").unwrap_err().0.contains("extended attributes"));
        assert!(preserve("q").unwrap_err().0.contains("'q'"));
    }
}
