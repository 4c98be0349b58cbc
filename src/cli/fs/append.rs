//! `appendToFile`: local files, or standard input, to the end of a file.

use std::ffi::OsString;
use std::fs::File;
use std::io;

use clap::Args;
use hfs_client::CreateOptions;

use super::put::{local_path, target_end};
use super::shell::{Complaint, Done, Shell};
use super::transfer::{End, LocalPath, Progress, io_complaint, upload_file, upload_stream};

/// Appends local files to a file, which is made if it is missing.
#[derive(Debug, Clone, Args)]
pub struct AppendToFile {
    /// Local files, or - for standard input; then the file
    #[arg(required = true, num_args = 2.., value_name = "LOCAL... PATH")]
    pub paths: Vec<OsString>,
}

/// Something to append.
enum Piece {
    File(File, LocalPath),
    Stdin,
}

impl AppendToFile {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        if let Err(complaint) = self.append(shell).await {
            shell.complain(&complaint);
        }
    }

    async fn append(&self, shell: &Shell) -> Done {
        let Some((target, sources)) = self.paths.split_last() else {
            return Err(Complaint(
                "Not enough arguments: name the files and the target".to_owned(),
            ));
        };
        let End::Remote(target) = target_end(shell, target).await? else {
            return Err(Complaint("the target must be on a file system, not local".to_owned()));
        };
        // All are opened before the first byte is appended: a missing one leaves no half result.
        let pieces = sources.iter().map(open).collect::<Done<Vec<_>>>()?;
        let complain = |e: hfs_client::Error| target.complaint(&e);
        let mut writer = match target.try_status().await? {
            Some(status) if status.is_dir() => {
                return Err(Complaint::path(&target.shown, "Is a directory"));
            }
            Some(_) => target.fs.append(&target.path).await.map_err(complain)?,
            None => {
                let create = CreateOptions::default();
                target.fs.create(&target.path, &create).await.map_err(complain)?
            }
        };
        let progress = Progress::begin();
        let mut done = Ok(());
        for piece in pieces {
            done = match piece {
                Piece::File(file, path) => {
                    upload_file(file, &path.shown, &mut writer, &target, &progress).await
                }
                Piece::Stdin => {
                    upload_stream(io::stdin(), "-", &mut writer, &target, &progress).await
                }
            };
            if done.is_err() {
                break;
            }
        }
        // What was appended before a source failed is kept, as with `cat a b >> c`.
        let closed = writer.close().await.map_err(complain);
        progress.finish();
        done.and(closed)
    }
}

fn open(source: &OsString) -> Done<Piece> {
    if source == "-" {
        return Ok(Piece::Stdin);
    }
    let path = local_path(source);
    let failed = |e: io::Error| io_complaint(&path.shown, &e);
    let file = File::open(&path.path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Complaint::path(&path.shown, "Is a directory"));
    }
    Ok(Piece::File(file, path))
}
