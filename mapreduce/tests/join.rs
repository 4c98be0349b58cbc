//! Joins compared with the same join by the simplest means.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use hfs_mapreduce::testing::{JobResult, JobTest, MapTest};
use hfs_mapreduce::{
    BroadcastTable, Context, Emit, Job, JoinKind, JoinReducer, Joiner, Line, Mapper, Result,
    Source, Text, TextInput,
};
use proptest::prelude::*;

fn fields(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = line.iter().position(|&byte| byte == b' ')?;
    Some((line[..at].to_vec(), line[at + 1..].to_vec()))
}

/// `key value`, the value as text.
#[derive(Clone)]
struct Names;

impl Mapper for Names {
    type Input = TextInput;
    type Key = Text;
    type Value = Text;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let Some((key, value)) = fields(line.bytes) else { return Ok(()) };
        out.emit(&key, &value)
    }
}

/// `key value`, the value as a number.
#[derive(Clone)]
struct Amounts;

impl Mapper for Amounts {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        let Some((key, value)) = fields(line.bytes) else { return Ok(()) };
        out.emit(&key, std::str::from_utf8(&value)?.parse()?)
    }
}

#[derive(Clone)]
struct Pairs;

impl Joiner<Text, Text, u64> for Pairs {
    type OutKey = Text;
    type OutValue = (Text, Option<u64>);

    fn pair(
        &mut self,
        key: &[u8],
        name: Option<&[u8]>,
        amount: Option<u64>,
        out: &mut impl Emit<Text, (Text, Option<u64>)>,
    ) -> Result<()> {
        out.emit(key, (name.unwrap_or(b"-"), amount))
    }
}

fn join(kind: JoinKind, names: &str, amounts: &str, conf: &[(&str, &str)]) -> Result<JobResult> {
    JobTest::new().file("names", names).file("amounts", amounts).run(|path| {
        let names = Source::new(Names).input(path("names"));
        let amounts = Source::new(Amounts).input(path("amounts"));
        let job = Job::join(names, amounts)
            .reduce(JoinReducer::new(kind, Pairs))
            .reduces(2)
            .output(path("out"));
        conf.iter().fold(job, |job, (name, value)| job.set(*name, *value)).build()
    })
}

/// The pairs of two nested loops, sorted.
fn naive(kind: JoinKind, names: &[(u8, u8)], amounts: &[(u8, u8)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, name) in names {
        for (_, amount) in amounts.iter().filter(|(other, _)| other == key) {
            lines.push(format!("k{key}\tn{name}\t{amount}"));
        }
    }
    let lacks = |side: &[(u8, u8)], key: u8| side.iter().all(|(other, _)| *other != key);
    if matches!(kind, JoinKind::LeftOuter | JoinKind::FullOuter) {
        let alone = names.iter().filter(|(key, _)| lacks(amounts, *key));
        lines.extend(alone.map(|(key, name)| format!("k{key}\tn{name}")));
    }
    if matches!(kind, JoinKind::RightOuter | JoinKind::FullOuter) {
        let alone = amounts.iter().filter(|(key, _)| lacks(names, *key));
        lines.extend(alone.map(|(key, amount)| format!("k{key}\t-\t{amount}")));
    }
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_kind_of_join_pairs_as_nested_loops_do(
        names in prop::collection::vec((0u8..6, any::<u8>()), 0..20),
        amounts in prop::collection::vec((0u8..6, any::<u8>()), 0..20),
        kind in prop::sample::select(vec![
            JoinKind::Inner, JoinKind::LeftOuter, JoinKind::RightOuter, JoinKind::FullOuter,
        ]),
    ) {
        let text = |side: &[(u8, u8)], letter: &str| -> String {
            side.iter().map(|(key, value)| format!("k{key} {letter}{value}\n")).collect()
        };
        let done = join(kind, &text(&names, "n"), &text(&amounts, ""), &[]).unwrap();
        let mut lines = done.lines("out");
        lines.sort();
        prop_assert_eq!(lines, naive(kind, &names, &amounts));
    }
}

#[test]
fn too_many_values_of_the_first_source_for_one_key_are_a_sentence() {
    let names: String = (0..30_000).map(|number| format!("k name-{number:020}\n")).collect();
    let held = [("hfs.join.held.mb", "1")];
    let error = format!("{:#}", join(JoinKind::Inner, &names, "k 1\n", &held).unwrap_err());
    assert!(error.contains("take more than 1 MiB; let the other source be the first"), "{error}");
    let done = join(JoinKind::Inner, &names, "k 1\n", &[]).unwrap();
    assert_eq!(done.lines("out").len(), 30_000);
    // The other way round the many stream past.
    let amounts: String = (0..30_000).map(|number| format!("k {number}\n")).collect();
    let done = join(JoinKind::Inner, "k one\n", &amounts, &held).unwrap();
    assert_eq!(done.lines("out").len(), 30_000);
}

#[derive(Clone, Default)]
struct WithNames {
    names: Arc<BroadcastTable>,
}

impl Mapper for WithNames {
    type Input = TextInput;
    type Key = Text;
    type Value = Text;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        let path = context.conf().get("test.names").unwrap_or_default().to_owned();
        self.names = Arc::new(BroadcastTable::read(context, &path, fields)?);
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let Some((key, amount)) = fields(line.bytes) else { return Ok(()) };
        self.names.get(&key).try_for_each(|name| out.emit(name, &amount))
    }
}

#[test]
fn a_broadcast_table_joins_in_the_mapper() {
    let run = |most_mb: &str, names: &str| {
        let files = JobTest::new().file("names/1", names).file("names/2", "b Bob\nodd\n");
        files.file("in", "a 1\nb 2\nc 3\na 4\n").run(|path| {
            Job::map(WithNames::default())
                .map_only()
                .input(path("in"))
                .output(path("out"))
                .set("test.names", path("names"))
                .set("hfs.join.broadcast.mb", most_mb)
                .build()
        })
    };
    let done = run("256", "a Ada\na Adam\n").unwrap();
    let expected = ["Ada\t1", "Adam\t1", "Bob\t2", "Ada\t4", "Adam\t4"];
    assert_eq!(done.lines("out/part-m-00000"), expected);
    let large: String = (0..20_000).map(|number| format!("{number} x\n")).collect();
    let error = format!("{:#}", run("1", &large).unwrap_err());
    assert!(error.contains("takes more than 1 MiB in every task"), "{error}");
    let absent =
        MapTest::new(WithNames::default()).set("test.names", "/no/such/file").text("a 1\n");
    let error = format!("{:#}", absent.unwrap_err());
    assert!(error.contains("the table /no/such/file can't be read"), "{error}");
}
