//! The file verbs, with FsShell's names, options, output and exit codes: `hfs ls /x`, `hfs fs -ls /x`,
//! `hfs dfs -ls /x`. One file a verb (or a family of small ones); [`shell`] is what they share.

pub mod append;
pub mod argv;
pub mod cat;
pub mod checksum;
pub mod chmod;
pub mod cp;
pub mod du;
pub mod elsewhere;
pub mod find;
pub mod format;
pub mod get;
pub mod glob;
pub mod ls;
pub mod mkdir;
pub mod mv;
pub mod put;
pub mod rm;
pub mod setrep;
pub mod shell;
pub mod stat;
pub mod test;
pub mod touch;
pub mod transfer;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::shell::Shell;
use super::global::GlobalArgs;

/// A verb whose `-h` means "human-readable", as in FsShell; `--help` explains it.
#[derive(Debug, Clone, Args)]
pub struct Verb<T: Args> {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    verb: T,
}

/// Every file verb.
#[derive(Debug, Clone, Subcommand)]
pub enum FsCommand {
    /// Append local files to a file
    #[command(name = "appendToFile", disable_help_flag = true)]
    AppendToFile(Verb<append::AppendToFile>),
    /// Print files
    #[command(disable_help_flag = true)]
    Cat(Verb<cat::Cat>),
    /// Print the checksums of files
    #[command(disable_help_flag = true)]
    Checksum(Verb<checksum::Checksum>),
    /// Change the group of files
    #[command(disable_help_flag = true)]
    Chgrp(Verb<chmod::Chgrp>),
    /// Change the permissions of files
    #[command(disable_help_flag = true)]
    Chmod(Verb<chmod::Chmod>),
    /// Change the owner of files
    #[command(disable_help_flag = true)]
    Chown(Verb<chmod::Chown>),
    /// Copy local files into the file system
    #[command(name = "copyFromLocal", disable_help_flag = true)]
    CopyFromLocal(Verb<put::Put>),
    /// Copy files to local ones
    #[command(name = "copyToLocal", disable_help_flag = true)]
    CopyToLocal(Verb<get::Get>),
    /// Count directories, files and bytes
    #[command(disable_help_flag = true)]
    Count(Verb<du::Count>),
    /// Copy files and directories
    #[command(disable_help_flag = true)]
    Cp(Verb<cp::Cp>),
    /// Print the capacity and the free space of the file system
    #[command(disable_help_flag = true)]
    Df(Verb<du::Df>),
    /// Print the space that files take
    #[command(disable_help_flag = true)]
    Du(Verb<du::Du>),
    /// Find files by name
    #[command(disable_help_flag = true)]
    Find(Verb<find::Find>),
    /// Copy files to local ones
    #[command(disable_help_flag = true)]
    Get(Verb<get::Get>),
    /// Join files into one local file
    #[command(disable_help_flag = true)]
    Getmerge(Verb<get::Getmerge>),
    /// Print the beginning of a file
    #[command(disable_help_flag = true)]
    Head(Verb<cat::Head>),
    /// List files and directories
    #[command(disable_help_flag = true)]
    Ls(Verb<ls::Ls>),
    /// Make directories
    #[command(disable_help_flag = true)]
    Mkdir(Verb<mkdir::Mkdir>),
    /// Move local files into the file system
    #[command(name = "moveFromLocal", disable_help_flag = true)]
    MoveFromLocal(Verb<put::MoveFromLocal>),
    /// Rename files and directories
    #[command(disable_help_flag = true)]
    Mv(Verb<mv::Mv>),
    /// Copy local files into the file system
    #[command(disable_help_flag = true)]
    Put(Verb<put::Put>),
    /// Delete files and directories
    #[command(disable_help_flag = true)]
    Rm(Verb<rm::Rm>),
    /// Remove empty directories
    #[command(disable_help_flag = true)]
    Rmdir(Verb<ls::Rmdir>),
    /// Set the number of replicas of files
    #[command(disable_help_flag = true)]
    Setrep(Verb<setrep::Setrep>),
    /// Print facts about files
    #[command(disable_help_flag = true)]
    Stat(Verb<stat::Stat>),
    /// Print the end of a file
    #[command(disable_help_flag = true)]
    Tail(Verb<cat::Tail>),
    /// Answer a question about a path with the exit code
    #[command(disable_help_flag = true)]
    Test(Verb<test::Test>),
    /// Print files as text
    #[command(disable_help_flag = true)]
    Text(Verb<cat::Text>),
    /// Set the times of files, making those that are missing
    #[command(disable_help_flag = true)]
    Touch(Verb<touch::Touch>),
    /// Make files of no bytes
    #[command(disable_help_flag = true)]
    Touchz(Verb<touch::Touchz>),
}

/// Runs a file verb.
pub async fn run(command: FsCommand, global: &GlobalArgs) -> ExitCode {
    macro_rules! run {
        ($name:literal, $verb:expr) => {
            match Shell::new($name, global.clone()) {
                Ok(shell) => {
                    $verb.verb.run(&shell).await;
                    shell.exit()
                }
                Err(error) => {
                    eprintln!("{}: {error:#}", $name);
                    ExitCode::from(1)
                }
            }
        };
    }
    match command {
        FsCommand::AppendToFile(verb) => run!("appendToFile", verb),
        FsCommand::Cat(verb) => run!("cat", verb),
        FsCommand::CopyFromLocal(verb) => run!("copyFromLocal", verb),
        FsCommand::CopyToLocal(verb) => run!("copyToLocal", verb),
        FsCommand::Cp(verb) => run!("cp", verb),
        FsCommand::Get(verb) => run!("get", verb),
        FsCommand::Getmerge(verb) => run!("getmerge", verb),
        FsCommand::Head(verb) => run!("head", verb),
        FsCommand::MoveFromLocal(verb) => run!("moveFromLocal", verb),
        FsCommand::Put(verb) => run!("put", verb),
        FsCommand::Tail(verb) => run!("tail", verb),
        FsCommand::Text(verb) => run!("text", verb),
        FsCommand::Checksum(verb) => run!("checksum", verb),
        FsCommand::Chgrp(verb) => run!("chgrp", verb),
        FsCommand::Chmod(verb) => run!("chmod", verb),
        FsCommand::Chown(verb) => run!("chown", verb),
        FsCommand::Count(verb) => run!("count", verb),
        FsCommand::Df(verb) => run!("df", verb),
        FsCommand::Du(verb) => run!("du", verb),
        FsCommand::Find(verb) => run!("find", verb),
        FsCommand::Ls(verb) => run!("ls", verb),
        FsCommand::Mkdir(verb) => run!("mkdir", verb),
        FsCommand::Mv(verb) => run!("mv", verb),
        FsCommand::Rm(verb) => run!("rm", verb),
        FsCommand::Rmdir(verb) => run!("rmdir", verb),
        FsCommand::Setrep(verb) => run!("setrep", verb),
        FsCommand::Stat(verb) => run!("stat", verb),
        FsCommand::Test(verb) => run!("test", verb),
        FsCommand::Touch(verb) => run!("touch", verb),
        FsCommand::Touchz(verb) => run!("touchz", verb),
    }
}
