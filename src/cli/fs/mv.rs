//! `mv`: renames.

use clap::Args;

use super::shell::{Complaint, Done, Item, Shell, Target};

/// Renames files and directories, or moves them into a directory.
#[derive(Debug, Clone, Args)]
pub struct Mv {
    /// What to move (globs are expanded), and where to
    #[arg(required = true, num_args = 2.., value_names = ["SOURCE", "TARGET"])]
    pub paths: Vec<String>,
}

impl Mv {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        let Some((last, sources)) = self.paths.split_last() else { return };
        let destination = async {
            let target = shell.target(&super::glob::unescape(last)).await?;
            let status = target.try_status().await?;
            Done::Ok((target, status))
        };
        let (target, status) = match destination.await {
            Ok(found) => found,
            Err(complaint) => return shell.complain(&complaint),
        };
        let is_dir = status.as_ref().is_some_and(hfs_client::FileStatus::is_dir);
        if !is_dir && (sources.len() > 1) {
            return shell.complain(&Complaint::path(
                &target.shown,
                if status.is_some() { "Is not a directory" } else { "No such file or directory" },
            ));
        }
        shell
            .each(sources, async |item| {
                let to = if is_dir { target.child(item.target.name()) } else { target.clone() };
                one(item, to, status.is_some() && !is_dir).await
            })
            .await;
    }
}

async fn one(Item { target: from, .. }: Item, to: Target, exists: bool) -> Done {
    if from.fs.url() != to.fs.url() {
        return Err(Complaint::path(&from.shown, "Does not match target filesystem"));
    }
    if exists || (from.path != to.path && to.try_status().await?.is_some()) {
        return Err(Complaint::path(&to.shown, "File exists"));
    }
    if format!("{}/", to.path).starts_with(&format!("{}/", from.path)) && from.path != to.path {
        return Err(Complaint::path(&to.shown, &format!("Is a subdirectory of `{}'", from.shown)));
    }
    match from.fs.rename(&from.path, &to.path).await.map_err(|e| to.complaint(&e))? {
        true => Ok(()),
        false => {
            // The namenode's "no" has no reason; find the one a person would want to hear.
            let parent = to.parent().to_owned();
            match from.fs.try_status(&parent).await? {
                None => Err(Complaint::path(&to.shown, "No such file or directory")),
                Some(status) if !status.is_dir() => {
                    Err(Complaint::path(&parent, "Is not a directory"))
                }
                Some(_) => Err(Complaint::path(&from.shown, "Input/output error")),
            }
        }
    }
}
