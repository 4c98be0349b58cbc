//! Two jobs in a row, the second built from what the first counted: how often words occur, and then
//! how many words occur that often, in as many files as there were different words, three at most.

use std::process::ExitCode;

use hfs_mapreduce::{
    Emit, Job, Line, Mapper, Result, Sum, TaskCounter, Text, TextInput, run_jobs, words,
};

#[derive(Clone)]
struct Words;

impl Mapper for Words {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        words(line.bytes).try_for_each(|word| out.emit(word, 1))
    }
}

/// Takes the lines that the first job wrote.
#[derive(Clone)]
struct Frequencies;

impl Mapper for Frequencies {
    type Input = TextInput;
    type Key = u64;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<u64, u64>) -> Result<()> {
        let count = line.bytes.rsplit(|&byte| byte == b'\t').next().unwrap_or_default();
        out.emit(std::str::from_utf8(count)?.parse()?, 1)
    }
}

/// Counts how many words occur once, twice, and so on.
#[derive(clap::Args)]
struct Arguments {
    /// Text files, directories or patterns
    input: String,
    /// The output directory; beside it, with `-words` at its end, stand the words until the end
    output: String,
}

fn main() -> ExitCode {
    run_jobs(|arguments: Arguments, jobs| {
        let counted = format!("{}-words", arguments.output);
        let count = Job::map(Words)
            .combine(Sum)
            .reduce(Sum)
            .name("chain: words")
            .input(&arguments.input)
            .output(&counted)
            .build()?;
        let different = jobs.run(count)?.count_of(TaskCounter::ReduceOutputRecords);
        let spread = Job::map(Frequencies)
            .combine(Sum)
            .reduce(Sum)
            .name("chain: frequencies")
            .input(&counted)
            .output(&arguments.output)
            .reduces(different.clamp(1, 3) as u32)
            .build()?;
        jobs.run(spread)?;
        jobs.remove(&counted)
    })
}
