//! `cat`, `text`, `head`, `tail`: files on standard output.

use std::time::Duration;

use clap::Args;
use hfs_mapreduce::read_as_text;

use super::elsewhere::{self, Given};
use super::shell::{Complaint, Done, Item, Shell};
use super::transfer::stream_to_stdout;

/// What `head` and `tail` show, bytes.
const SHOWN_BYTES: u64 = 1024;

/// How often `tail -f` looks for more unless `-s` says otherwise, milliseconds.
const FOLLOW_MS_DEFAULT: u64 = 5000;

/// Prints files as they are.
#[derive(Debug, Clone, Args)]
pub struct Cat {
    /// Files; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Cat {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        each_file(shell, &self.paths, async |place| match place {
            Place::Hdfs(item) => stream_to_stdout(shell, &item.target, 0).await.map(drop),
            Place::Elsewhere(given) => elsewhere::print_range(shell, &given, 0, u64::MAX).await,
        })
        .await;
    }
}

/// A file to print.
enum Place {
    Hdfs(Box<Item>),
    Elsewhere(Given),
}

/// Does `work` for every file that every argument stands for, complaining where it fails and about directories.
async fn each_file(shell: &Shell, arguments: &[String], work: impl AsyncFn(Place) -> Done) {
    for argument in arguments {
        if !elsewhere::is_elsewhere(argument) {
            let one = async |item: Item| {
                if item.status.is_dir() {
                    return Err(Complaint::path(&item.target.shown, "Is a directory"));
                }
                work(Place::Hdfs(Box::new(item))).await
            };
            shell.each(std::slice::from_ref(argument), one).await;
            continue;
        }
        match elsewhere::expand(shell, argument).await {
            Err(complaint) => shell.complain(&complaint),
            Ok(found) => {
                for given in found {
                    let done = match given {
                        Ok(given) => work(Place::Elsewhere(given)).await,
                        Err(complaint) => Err(complaint),
                    };
                    if let Err(complaint) = done {
                        shell.complain(&complaint);
                    }
                }
            }
        }
    }
}

/// Prints files as text: compressed ones are decompressed, records of sequence files are lines of key and value.
#[derive(Debug, Clone, Args)]
pub struct Text {
    /// Files; globs are expanded
    #[arg(required = true)]
    pub paths: Vec<String>,
}

impl Text {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        each_file(shell, &self.paths, async |place| {
            let url = match &place {
                Place::Hdfs(item) => {
                    let target = &item.target;
                    target.fs.url().with_path(target.path.as_str()).to_string()
                }
                Place::Elsewhere(given) => given.url.clone(),
            };
            elsewhere::print(shell, move |files, sink| read_as_text(files, &url, sink)).await
        })
        .await;
    }
}

/// Prints the first kilobyte of a file.
#[derive(Debug, Clone, Args)]
pub struct Head {
    /// The file
    pub path: String,
}

impl Head {
    /// Runs the verb.
    pub async fn run(&self, shell: &Shell) {
        each_file(shell, std::slice::from_ref(&self.path), async |place| match place {
            Place::Hdfs(item) => {
                let target = &item.target;
                let complain = |e: hfs_client::Error| target.complaint(&e);
                let reader = target.fs.open(&target.path).await.map_err(complain)?;
                let mut beginning = [0; SHOWN_BYTES as usize];
                let read = reader.read_at(0, &mut beginning).await.map_err(complain)?;
                shell.bytes(&beginning[..read]);
                Ok(())
            }
            Place::Elsewhere(given) => elsewhere::print_range(shell, &given, 0, SHOWN_BYTES).await,
        })
        .await;
    }
}

/// Prints the last kilobyte of a file.
#[derive(Debug, Clone, Args)]
pub struct Tail {
    /// Go on printing what is appended
    #[arg(short = 'f')]
    pub follow: bool,
    /// With -f: how often to look, milliseconds
    #[arg(short = 's', value_name = "MS", default_value_t = FOLLOW_MS_DEFAULT)]
    pub sleep_ms: u64,
    /// The file
    pub path: String,
}

impl Tail {
    /// Runs the verb. With `-f` it ends when it is interrupted or the file is gone.
    pub async fn run(&self, shell: &Shell) {
        each_file(shell, std::slice::from_ref(&self.path), async |place| match place {
            Place::Hdfs(item) => self.one(shell, &item).await,
            Place::Elsewhere(given) if self.follow => Err(Complaint::path(
                &given.shown,
                "is followed only in an HDFS; use `tail -f` of this machine",
            )),
            Place::Elsewhere(given) => {
                let from = given.length.saturating_sub(SHOWN_BYTES);
                elsewhere::print_range(shell, &given, from, SHOWN_BYTES).await
            }
        })
        .await;
    }

    async fn one(&self, shell: &Shell, item: &Item) -> Done {
        let target = &item.target;
        let mut position = item.status.length.saturating_sub(SHOWN_BYTES);
        position += stream_to_stdout(shell, target, position).await?;
        if !self.follow {
            return Ok(());
        }
        loop {
            shell.flush();
            tokio::time::sleep(Duration::from_millis(self.sleep_ms.max(1))).await;
            // Opened anew each time: a file being written grows for those who open it.
            position += stream_to_stdout(shell, target, position).await?;
        }
    }
}
