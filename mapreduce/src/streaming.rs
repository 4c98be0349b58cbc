//! Hadoop Streaming: any program as mapper and reducer, with Hadoop's options and properties.
//!
//! Pure parts first: `command` cuts commands into words, `fields` lines into keys and values, `key_order`
//! makes keys sort as `KeyFieldBasedComparator` would sort them, `reporter` reads what commands say on
//! standard error, `aggregate` is Hadoop's Aggregate package, `environment` names variables. `pipe` runs a
//! command; `mapper`, `combiner` and `reducer` feed it; `input`, `output` and `partitioner` are chosen
//! by class names; `options` reads the command line and makes the job.
//!
//! The program that a task runs is the one that read the command line: a worker needs nothing but it
//! and what the commands themselves need.

mod aggregate;
mod combiner;
mod command;
mod environment;
mod fields;
mod input;
mod key_order;
mod mapper;
mod options;
mod output;
mod own;
mod partitioner;
mod pipe;
mod reducer;
mod reporter;
mod settings;

use std::ffi::OsString;
use std::process::ExitCode;

use options::{Options, USAGE};

use crate::run::{self, Refused, Talk, Way};

/// Runs a streaming job out of a program whose first argument was `verb`; `arguments` are those after it.
/// In the task processes of the job, which are started with the verb, too, it runs the tasks.
pub fn main_of_verb(verb: &str, arguments: Vec<OsString>) -> ExitCode {
    let way = Way { verb: Some(verb), talk: Talk::Hadoop };
    let parse = |arguments| {
        let options = Options::read(arguments).map_err(|why| Refused::Said {
            text: format!("{why:#}\nTry -help for more information\nStreaming Command Failed!"),
            code: 1,
        })?;
        if options.usage {
            return Err(Refused::Said { text: USAGE.to_owned(), code: 0 });
        }
        let driver = options.driver();
        Ok((options, driver))
    };
    let result = run::start(&way, arguments, &parse, &|options: Options, jobs| {
        let verbose = options.verbose;
        let job = options.job()?;
        if verbose {
            jobs.say(|conf| {
                conf.iter().for_each(|(name, value)| eprintln!("STREAM: {name}={value}"))
            });
        }
        jobs.run(job).map(drop)
    });
    result.unwrap_or_else(|error| {
        run::command_failed(&error);
        ExitCode::FAILURE
    })
}
