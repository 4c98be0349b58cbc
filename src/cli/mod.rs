//! The command line: one tree of verbs, and the way each ends.
//!
//! Standard output is data, standard error is talk. An error is one sentence and a non-zero exit code.

pub mod admin;
pub mod bench;
pub mod cluster;
pub mod daemons;
pub mod fs;
pub mod global;
pub mod hadoop;
pub mod job;
pub mod quickstart;
pub mod streaming;
pub mod worker;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use daemons::{Flags, Namenode};
use global::GlobalArgs;

use crate::jobs::{bench as bench_jobs, wordcount};

/// hfs: a distributed file system that speaks HDFS, and a MapReduce engine.
#[derive(Debug, Parser)]
#[command(name = "hfs", version, max_term_width = 100, propagate_version = false)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    File(fs::FsCommand),
    /// The file verbs in FsShell's spelling: hfs fs -put a /b
    #[command(name = "fs", visible_alias = "dfs")]
    FsShell {
        #[command(subcommand)]
        verb: fs::FsCommand,
    },
    /// See it work: a cluster of real processes, some text, and its words counted
    Quickstart(quickstart::Quickstart),
    /// An operator's words to the namenode
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Figures, as ratios against peers in the same run
    Bench(bench::BenchCommand),
    /// A real cluster on this machine, in the background
    Cluster(cluster::ClusterCommand),
    /// Jobs: run a program, see how its job is doing
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Run any programs as mapper and reducer, with Hadoop Streaming's options: hfs streaming -info
    #[command(name = streaming::VERB, disable_help_flag = true)]
    Streaming {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        arguments: Vec<OsString>,
    },
    /// Write a directory that looks like an installation of Hadoop, for programs that call bin/hadoop
    HadoopShim(hadoop::HadoopShim),
    /// What the scripts of that directory call
    #[command(name = hadoop::VERB, hide = true, disable_help_flag = true)]
    Hadoop {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Run a namenode: the names of the files and where their blocks are
    Namenode(Namenode),
    /// Run a datanode: the blocks
    Datanode(Flags<hfs_datanode::Config>),
    /// Run a jobtracker: takes jobs and hands their tasks to workers
    Jobtracker(Flags<hfs_jobtracker::Config>),
    /// Run a worker (the tasks of jobs), or list and drain those of a jobtracker
    Worker(worker::Worker),
    /// Print a script that makes the shell complete hfs's words
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// A job of `hfs bench`
    #[command(name = bench_jobs::VERB, hide = true, disable_help_flag = true)]
    BenchJob {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The quickstart's job: count words
    #[command(name = wordcount::VERB, hide = true, disable_help_flag = true)]
    WordCountJob {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// An error that the user has been told of already; only the exit code is left to give.
#[derive(Debug, thiserror::Error)]
#[error("already reported")]
pub(crate) struct Reported;

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    main_of(std::env::args_os().collect())
}

/// Does what a command line says, whose first word is the program's name.
fn main_of(words: Vec<OsString>) -> ExitCode {
    // These have command lines of their own.
    let rest = || words.iter().skip(2).cloned().collect();
    match words.get(1).and_then(|word| word.to_str()) {
        Some(bench_jobs::VERB) => return bench_jobs::main_of_verb(rest()),
        Some(wordcount::VERB) => return wordcount::main_of_verb(rest()),
        Some(streaming::VERB) => return streaming::main_of_verb(streaming::VERB, rest()),
        Some(hadoop::VERB) => return main_of_hadoop(rest()),
        _ => {}
    }
    let words = fs::argv::normalize(words, is_file_verb);
    let parsed = Cli::command().try_get_matches_from(&words);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(e) => return refuse(&e, is_file_command(&words)),
    };
    match run(cli) {
        Ok(code) => code,
        Err(e) if e.is::<Reported>() => ExitCode::FAILURE,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hfs: {}", one_line(&format!("{e:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Does what a command line of Hadoop says.
fn main_of_hadoop(words: Vec<OsString>) -> ExitCode {
    match hadoop::translate(words) {
        Ok(hadoop::Meaning::Hfs(words)) => {
            main_of(std::iter::once("hfs".into()).chain(words).collect())
        }
        Ok(hadoop::Meaning::Text(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{}", one_line(&format!("{e:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with the command line, or the help that was asked for.
fn refuse(e: &clap::Error, is_file_command: bool) -> ExitCode {
    // A reader that went away has seen enough.
    let _ = e.print();
    match e.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_file_command => ExitCode::from(fs::shell::USAGE_EXIT),
        code => ExitCode::from(u8::try_from(code).unwrap_or(2)),
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let Cli { global, command } = cli;
    let done = match command {
        Command::File(verb) | Command::FsShell { verb } => {
            return Ok(runtime()?.block_on(fs::run(verb, &global)));
        }
        Command::Quickstart(quickstart) => quickstart.run(),
        Command::Admin(admin) => runtime()?.block_on(admin::run(admin, &global)),
        Command::Bench(bench) => bench.run(&global),
        Command::Cluster(cluster) => cluster.run(&global),
        Command::Job(job) => runtime()?.block_on(job::run(job, &global)),
        Command::Namenode(namenode) => namenode.run(),
        Command::Datanode(flags) => daemons::datanode(&flags),
        Command::Jobtracker(flags) => daemons::jobtracker(&flags),
        Command::Worker(worker) => worker.run(&global),
        Command::Streaming { arguments } => {
            let fs = global.fs.iter().flat_map(|url| [OsString::from("-fs"), url.into()]);
            let arguments = fs.chain(arguments).collect();
            return Ok(streaming::main_of_verb(streaming::VERB, arguments));
        }
        Command::HadoopShim(shim) => shim.run(),
        Command::Hadoop { words } => return Ok(main_of_hadoop(words)),
        Command::BenchJob { arguments } => return Ok(bench_jobs::main_of_verb(arguments)),
        Command::WordCountJob { arguments } => return Ok(wordcount::main_of_verb(arguments)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hfs", &mut io::stdout());
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// The reader of our output went away, as `head` does: nobody is left to tell.
fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// File names may hold anything; an error stays one line.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Whether `word` is a file verb or another name of one.
fn is_file_verb(word: &str) -> bool {
    let command = Cli::command();
    let verbs = command.find_subcommand("fs").into_iter().flat_map(clap::Command::get_subcommands);
    verbs.into_iter().any(|v| v.get_name() == word || v.get_all_aliases().any(|a| a == word))
}

/// Whether this command line is one of FsShell's, which has an exit code of its own for those that make no sense.
fn is_file_command(words: &[OsString]) -> bool {
    let first = words.iter().skip(1).filter_map(|word| word.to_str()).find(|w| !w.starts_with('-'));
    first.is_some_and(|word| word == "fs" || word == "dfs" || is_file_verb(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound_and_every_verb_has_help() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut waiting = vec![command];
        while let Some(command) = waiting.pop() {
            assert!(
                command.is_hide_set()
                    || command.get_name() == "hfs"
                    || command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            waiting.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn file_verbs_are_known() {
        assert!(is_file_verb("ls") && !is_file_verb("cluster") && !is_file_verb("-ls"));
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(is_file_command(&words("hfs ls -x")) && is_file_command(&words("hfs dfs -x")));
        assert!(!is_file_command(&words("hfs cluster ls")));
    }

    #[test]
    fn an_error_stays_one_line() {
        assert_eq!(one_line("a\nb\tc\n"), "a\\nb\\tc");
    }
}
