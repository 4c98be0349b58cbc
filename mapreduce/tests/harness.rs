//! The harness for users' own tests shows what a job would do.
#![allow(clippy::unwrap_used)]

use hfs_mapreduce::testing::{JobTest, MapTest, ReduceTest};
use hfs_mapreduce::{
    Context, Emit, First, Job, Line, Mapper, NamedOutput, RangeInput, Reducer, Result, Reverse,
    Sum, Text, TextInput, Values,
};

/// Numbers by their parity; lines that are none to a named output.
#[derive(Clone)]
struct Parity {
    odd_lines: NamedOutput<u64, Text>,
    factor: u64,
}

impl Mapper for Parity {
    type Input = TextInput;
    type Key = bool;
    type Value = u64;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.factor = context.conf().parsed_or("test.factor", 1)?;
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<bool, u64>) -> Result<()> {
        match std::str::from_utf8(line.bytes).unwrap_or_default().parse::<u64>() {
            Ok(number) => out.emit(number % 2 == 0, number * self.factor),
            Err(_) => {
                out.context().increment("lines", "odd", 1);
                self.odd_lines.emit(out.context(), line.offset, line.bytes)
            }
        }
    }

    fn cleanup(&mut self, out: &mut impl Emit<bool, u64>) -> Result<()> {
        out.emit(true, 0)
    }
}

#[test]
fn a_mapper_is_set_up_fed_and_cleaned_up() {
    let mapper = Parity { odd_lines: NamedOutput::new("odd/lines"), factor: 0 };
    let emitted = MapTest::new(mapper.clone()).set("test.factor", "10").text("3\r\nx\n4").unwrap();
    assert_eq!(emitted.printed(), ["false\t30", "true\t40", "true\t0"]);
    assert_eq!(emitted.records().collect::<Vec<_>>(), [(false, 30), (true, 40), (true, 0)]);
    assert_eq!(emitted.counter("lines", "odd"), 1);
    assert_eq!(emitted.counter("TaskCounter", "MAP_INPUT_RECORDS"), 3);
    assert_eq!(emitted.named("odd/lines"), ["3\tx"]);
    assert!(emitted.named("nothing").is_empty());
    let error = MapTest::new(mapper).set("test.factor", "many").text("").unwrap_err();
    assert!(error.to_string().contains("test.factor"), "{error}");
}

#[derive(Clone)]
struct Squares;

impl Mapper for Squares {
    type Input = RangeInput;
    type Key = u64;
    type Value = ();

    fn map(&mut self, number: u64, out: &mut impl Emit<u64, ()>) -> Result<()> {
        out.emit(number * number, ())
    }
}

#[test]
fn a_mapper_of_another_input_takes_its_own_records() {
    assert_eq!(MapTest::new(Squares).records([2, 3]).unwrap().printed(), ["4", "9"]);
}

/// The largest value of each user, and how many there are.
#[derive(Clone)]
struct Largest;

impl Reducer<(Text, Reverse<u64>), Text> for Largest {
    type OutKey = Text;
    type OutValue = (Text, u64);

    fn reduce(
        &mut self,
        (user, amount): (&[u8], u64),
        values: &mut Values<'_, '_, Text>,
        out: &mut impl Emit<Text, (Text, u64)>,
    ) -> Result<()> {
        let Some(first) = values.next() else { return Ok(()) };
        out.emit(user, (first, amount + 1000 * values.count() as u64))
    }
}

#[test]
fn a_reducer_sees_its_records_sorted_and_grouped() {
    let test = ReduceTest::new::<(Text, Reverse<u64>), Text>(Largest);
    let records = [
        ((&b"bob"[..], 2), &b"x"[..]),
        ((b"ada", 5), b"y"),
        ((b"ada", 7), b"z"),
        ((b"ada", 6), b"w"),
    ];
    let emitted = test.clone().group_by(First).records(records).unwrap();
    assert_eq!(emitted.printed(), ["ada\tz\t2007", "bob\tx\t2"]);
    assert_eq!(emitted.counter("TaskCounter", "REDUCE_INPUT_GROUPS"), 2);
    assert_eq!(emitted.counter("TaskCounter", "REDUCE_INPUT_RECORDS"), 4);
    assert_eq!(test.records(records).unwrap().printed().len(), 4, "each key alone");
}

#[test]
fn jobs_run_one_after_the_other() {
    let mapper = Parity { odd_lines: NamedOutput::new("odd"), factor: 1 };
    let test = JobTest::new().file("in/numbers", "1\n2\n3\nx\n");
    let done = test.run_all(|path| {
        let first = Job::map(mapper.clone()).map_only().input(path("in")).output(path("first"));
        let second = Job::map(mapper.clone()).reduce(Sum).input(path("in")).output(path("second"));
        Ok(vec![first.build()?, second.set("test.factor", "0").build()?])
    });
    assert_eq!(done.unwrap().lines("second/odd-m-00000").len(), 1);

    let done = JobTest::new().file("in/numbers", "1\n2\n3\nx\n").run(|path| {
        Job::map(mapper.clone()).map_only().input(path("in")).output(path("out")).build()
    });
    let done = done.unwrap();
    assert_eq!(done.lines("out"), ["6\tx", "false\t1", "true\t2", "false\t3", "true\t0"]);
    assert_eq!(done.lines("out/part-m-00000").len(), 4);
    assert_eq!(done.file("out/odd-m-00000"), Some(&b"6\tx\n"[..]));
    assert_eq!(done.counter("lines", "odd"), 1);
    let names: Vec<_> = done.names().collect();
    assert_eq!(names, ["in/numbers", "out/_SUCCESS", "out/odd-m-00000", "out/part-m-00000"]);
}
