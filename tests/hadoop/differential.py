#!/usr/bin/env python3
"""Runs the same jobs on Hadoop's own LocalJobRunner and on hfs: same input, same output, same counters.

Hadoop and its example jobs come from Maven; where Java or Maven are missing and the system is Debian's, they
are installed. The hfs examples are built in debug mode. Everything is kept in `target/hadoop`.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benches" / "peers"))
import fetch  # noqa: E402

WORK = REPOSITORY / "target" / "hadoop"
LOG4J = """log4j.rootLogger=INFO,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%m%n
"""
# Hadoop's words for counters that mean the same in hfs.
COUNTERS = {
    "Map input records": "MAP_INPUT_RECORDS",
    "Map output records": "MAP_OUTPUT_RECORDS",
    "Reduce input groups": "REDUCE_INPUT_GROUPS",
    "Reduce output records": "REDUCE_OUTPUT_RECORDS",
}
EXAMPLES = [
    "grep",
    "pi",
    "secondary_sort",
    "teragen",
    "terasort",
    "teravalidate",
    "word_statistics",
    "wordcount",
]


class Differs(Exception):
    """What is not the same, in a sentence."""


def install_java():
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        fetch.call(["apt-get", "update", "-qq"])
        fetch.call(["apt-get", "install", "-y", "-qq", "default-jre-headless", "maven"])
    for name in missing:
        fetch.tool(name, "install a Java runtime and Maven")


def hadoop(program, *arguments, **settings):
    """What a job of Hadoop's examples says."""
    properties = WORK / "log4j.properties"
    properties.write_text(LOG4J)
    settings = {
        "mapreduce.framework.name": "local",
        "mapreduce.job.reduces": 1,
        "hadoop.tmp.dir": WORK / "tmp",
        **{name.replace("_", "."): value for name, value in settings.items()},
    }
    java = ["java", f"-Dlog4j.configuration=file:{properties}", "-cp", fetch.hadoop_classpath(WORK)]
    driver = ["org.apache.hadoop.examples.ExampleDriver", program]
    given = [f"-D{name}={value}" for name, value in settings.items()]
    return fetch.call([*java, *driver, *given, *map(str, arguments)], cwd=WORK).decode()


def hfs(example, *arguments):
    """What a job of hfs says."""
    program = REPOSITORY / "target" / "debug" / "examples" / example
    return fetch.call([program, "--local", "--reduces", "1", *map(str, arguments)]).decode()


def outputs(name):
    """Fresh places for the outputs of both."""
    both = WORK / f"{name}-hadoop", WORK / f"{name}-hfs"
    for output in both:
        shutil.rmtree(output, ignore_errors=True)
    return both


def contents(output):
    parts = sorted(p for p in output.iterdir() if p.name.startswith("part-"))
    return b"".join(part.read_bytes() for part in parts)


def same(what, theirs, ours):
    if theirs == ours:
        return
    if isinstance(theirs, bytes):
        at = next((i for i, (a, b) in enumerate(zip(theirs, ours)) if a != b), min(len(theirs), len(ours)))
        theirs, ours = theirs[max(0, at - 40) : at + 40], ours[max(0, at - 40) : at + 40]
        raise Differs(f"{what}: at byte {at} Hadoop has {theirs!r} and hfs {ours!r}")
    if isinstance(theirs, list):
        pairs = list(zip(theirs, ours))
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        what, theirs, ours = f"{what}, line {at + 1}", theirs[at : at + 3], ours[at : at + 3]
    raise Differs(f"{what}: Hadoop has {theirs!r} and hfs {ours!r}")


def same_counters(what, said_by_hadoop, said_by_hfs):
    for their_name, our_name in COUNTERS.items():
        theirs = re.findall(rf"^\s*{their_name}=(\d+)$", said_by_hadoop, re.MULTILINE)
        ours = re.findall(rf"^\s*{our_name}=(\d+)$", said_by_hfs, re.MULTILINE)
        if not theirs or not ours:
            raise Differs(f"{what}: no counter '{their_name}' was shown by both")
        same(f"{what}, counter {our_name}", theirs[-1], ours[-1])


def text(path, dice, ends):
    """Words of every length, in any script, between every kind of white space.

    No lone carriage return: Hadoop ends a line there, hfs does not (README.md).
    """
    letters = "abcdefghijklmnopqrstuvwxyz0123456789_-äßéλжю漢字😀\v\u00a0\u2003"
    with open(path, "w", encoding="utf-8", newline="") as out:
        for _ in range(20_000):
            words = ("".join(dice.choices(letters, k=dice.choice([1, 2, 3, 9, 40]))) for _ in range(dice.randrange(12)))
            for word in words:
                out.write(word + dice.choice([" ", "  ", "\t", "\f", " \t "]))
            out.write(dice.choice(ends))
        out.write("no line end")


def word_count(source):
    for name, ends in [("unix", ["\n"]), ("dos", ["\r\n", "\n", "\r\n\r\n", "\n\n"])]:
        text(source, random.Random(name), ends)
        theirs, ours = outputs("wordcount")
        said = hadoop("wordcount", f"file://{source}", f"file://{theirs}")
        ours_said = hfs("wordcount", source, ours)
        same(f"word count of {name} lines", contents(theirs), contents(ours))
        same_counters(f"word count of {name} lines", said, ours_said)


def grep(source):
    text(source, random.Random(2), ["\n", "\r\n"])
    for pattern in ["[a-z]+_[a-z0-9]+", "ab", "λ|ж", "^[a-z]{2}"]:
        theirs, ours = outputs("grep")
        hadoop("grep", f"file://{source}", f"file://{theirs}", pattern)
        hfs("grep", source, ours, pattern)
        # Hadoop promises no order among texts that matched equally often.
        theirs, ours = contents(theirs).splitlines(), contents(ours).splitlines()
        same(f"grep {pattern}, counts", [x.split(b"\t")[0] for x in theirs], [x.split(b"\t")[0] for x in ours])
        same(f"grep {pattern}", sorted(theirs), sorted(ours))


def tera(_):
    theirs, ours = outputs("teragen")
    hadoop("teragen", 20_000, f"file://{theirs}")
    hfs("teragen", 20_000, ours)
    same("teragen", contents(theirs), contents(ours))
    sorted_theirs, sorted_ours = outputs("terasort")
    hadoop("terasort", f"file://{theirs}", f"file://{sorted_theirs}")
    hfs("terasort", ours, sorted_ours)
    same("terasort", contents(sorted_theirs), contents(sorted_ours))
    report_theirs, report_ours = outputs("teravalidate")
    # Each reads what the other has sorted, and then what is out of order.
    hadoop("teravalidate", f"file://{sorted_ours}", f"file://{report_theirs}")
    hfs("teravalidate", sorted_theirs, report_ours)
    same("teravalidate", contents(report_theirs), contents(report_ours))
    report_theirs, report_ours = outputs("teravalidate")
    for directory in (theirs, ours):
        whole = contents(directory)[:300]
        shutil.rmtree(directory)
        directory.mkdir()
        (directory / "part-m-00000").write_bytes(whole)
    hadoop("teravalidate", f"file://{theirs}", f"file://{report_theirs}")
    hfs("teravalidate", ours, report_ours)
    same("teravalidate of rows out of order", contents(report_theirs), contents(report_ours))


def secondary_sort(source):
    dice = random.Random(3)
    pairs = "".join(f"{dice.randrange(-50, 50)} {dice.randrange(-(2**31), 2**31)}\n" for _ in range(5_000))
    source.write_text(pairs)
    theirs, ours = outputs("secondarysort")
    hadoop("secondarysort", f"file://{source}", f"file://{theirs}")
    hfs("secondary_sort", source, ours)
    same("secondary sort", contents(theirs), contents(ours))


def statistics(source):
    text(source, random.Random(5), ["\n"])
    # Hadoop's examples take a word's characters for its length, hfs its bytes: the same in ASCII.
    source.write_bytes(bytes(byte for byte in source.read_bytes() if byte < 128 and byte != 11))
    _, ours = outputs("statistics")
    hfs("word_statistics", source, ours)
    ours = dict(line.rsplit(b"\t", 1) for line in contents(ours).splitlines())
    for program, name, words in [
        ("wordmean", b"mean", "The mean is: "),
        ("wordmedian", b"median", "The median is: "),
        ("wordstandarddeviation", b"standard deviation", "The standard deviation is: "),
    ]:
        theirs, _ = outputs(program)
        said = hadoop(program, f"file://{source}", f"file://{theirs}")
        theirs = float(re.search(rf"^{words}([\d.]+)$", said, re.MULTILINE).group(1))
        if abs(theirs - float(ours[name])) > 1e-6 * theirs:
            raise Differs(f"{program}: Hadoop has {theirs} and hfs {ours[name].decode()}")


def pi(_):
    said = hadoop("pi", 3, 5_000)
    theirs = float(re.search(r"Estimated value of Pi is ([\d.]+)", said).group(1))
    _, ours = outputs("pi")
    hfs("pi", 3, 5_000, ours)
    ours = dict(line.split(b"\t") for line in contents(ours).splitlines())
    same("pi", theirs, float(ours[b"pi"]))


# Jobs of Hadoop Streaming: a name, options of which {in} and {text} are inputs, and how to compare. "parts": the same
# files, byte by byte. "lines": the same lines in the same order. "set": the same lines in any order, because Hadoop
# promises none among equal keys, or spreads keys in another way.
COMPARATOR = ["-D", "mapreduce.job.output.key.comparator.class=org.apache.hadoop.mapreduce.lib.partition.KeyFieldBasedComparator"]
FIELDS = ["-D", "mapreduce.map.output.key.field.separator=.", "-D", "stream.num.map.output.key.fields=9"]
PARTITIONER = ["-partitioner", "org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner", "-numReduceTasks", "4"]
SUM = "awk -F\t '{ n[$1] += $2 } END { for (k in n) print k FS n[k] }'"
LIB = "org.apache.hadoop.mapred.lib"
STREAMING = [
    ("cat", ["-input", "{in}", "-mapper", "cat", "-reducer", "cat"], "set"),
    ("map only", ["-input", "{in}", "-mapper", "cat", "-reducer", "NONE"], "parts"),
    ("number of reducers 0", ["-input", "{in}", "-mapper", "cat", "-numReduceTasks", "0"], "parts"),
    ("identity", ["-input", "{in}", "-mapper", f"{LIB}.IdentityMapper", "-reducer", f"{LIB}.IdentityReducer"], "lines"),
    ("keys of input", ["-D", "stream.map.input.ignoreKey=false", "-input", "{in}", "-mapper", "cat", "-reducer", "NONE"], "parts"),
    ("key and value", ["-inputformat", "KeyValueTextInputFormat", "-input", "{in}", "-mapper", "cat -A", "-reducer", "NONE"], "parts"),
    ("key and value, identity", ["-inputformat", "KeyValueTextInputFormat", "-input", "{in}", "-mapper", f"{LIB}.IdentityMapper", "-reducer", "cat -A"], "set"),
    ("numbered lines", ["-D", "mapreduce.input.lineinputformat.linespermap=7", "-inputformat", f"{LIB}.NLineInputFormat", "-input", "{in}", "-mapper", "sort", "-reducer", "NONE"], "parts"),
    ("separators", ["-D", "stream.map.output.field.separator=.", "-D", "stream.num.map.output.key.fields=2", "-D", "stream.reduce.output.field.separator=.", "-D", "stream.num.reduce.output.key.fields=3", "-D", "mapreduce.output.textoutputformat.separator=|", "-input", "{in}", "-mapper", "cat", "-reducer", "cat"], "set"),
    ("long separators", ["-D", "stream.map.output.field.separator=a.", "-D", "stream.map.input.field.separator=<>", "-D", "stream.reduce.input.field.separator=::", "-D", "stream.map.input.ignoreKey=false", "-input", "{in}", "-mapper", "cat", "-reducer", "cat"], "set"),
    ("combiner", ["-input", "{in}", "-mapper", "awk '{ print NF \"\\t1\" }'", "-combiner", SUM, "-reducer", SUM], "set"),
    ("aggregate", ["-input", "{agg}", "-mapper", "cat", "-reducer", "aggregate"], "lines"),
    ("partitions by fields", [*FIELDS, "-D", "mapreduce.partition.keypartitioner.options=-k1,2", *PARTITIONER, "-input", "{in}", "-mapper", "cat", "-reducer", f"{LIB}.IdentityReducer"], "parts sorted"),
    ("partitions by bytes of fields", [*FIELDS, "-D", "mapreduce.partition.keypartitioner.options=-k2.2,2.3 -k1,1", *PARTITIONER, "-input", "{in}", "-mapper", "cat", "-reducer", "cat"], "parts sorted"),
    ("partitions by a number of fields", ["-D", "num.key.fields.for.partition=1", "-D", "map.output.key.field.separator=.", *PARTITIONER, "-input", "{in}", "-mapper", "cat", "-reducer", "cat"], "parts sorted"),
    *(
        (f"order {options}", [*FIELDS, *COMPARATOR, "-D", f"mapreduce.partition.keycomparator.options={options}", "-input", "{keys}", "-mapper", "cat", "-reducer", "cat"], "lines")
        for options in ["-k2,2n -k1,1 -k3", "-k2,2nr -k1,1r -k3", "-k1,1 -k2nr -k3", "-r -k2,2n -k1,1 -k3,3", "-k3,3 -k1.2,1.3r -k1 -r"]
    ),
    ("quotes", ["-input", "{in}", "-mapper", "sh -c \"tr ' ' '\\n' | sed 's/$/  x/'\"  ", "-reducer", "NONE"], "parts"),
    ("input file", ["-input", "{in}", "-mapper", "sh -c 'cat >/dev/null; echo $mapreduce_map_input_file $mapreduce_map_input_start $mapreduce_task_ismap $mapreduce_task_partition'", "-reducer", "NONE"], "parts"),
    ("environment", ["-D", "my.own-name=x y", "-cmdenv", "OTHER=z", "-input", "{in}", "-mapper", "sh -c 'cat >/dev/null; echo $my_own_name $OTHER'", "-reducer", "NONE"], "parts"),
    ("nothing read", ["-input", "{in}", "-mapper", "echo x", "-reducer", "NONE"], "parts"),
    ("an empty file", ["-input", "{empty}", "-mapper", "wc -l", "-reducer", "cat"], "parts"),
    ("nothing for a reducer", ["-input", "{in}", "-mapper", "sh -c 'cat >/dev/null'", "-reducer", "wc -l"], "parts"),
    ("failure", ["-input", "{in}", "-mapper", "sh -c 'cat >/dev/null; exit 3'", "-reducer", "NONE"], "fails"),
    ("failure that counts as none", ["-D", "stream.non.zero.exit.is.failure=false", "-input", "{in}", "-mapper", "sh -c 'cat; exit 3'", "-reducer", "NONE"], "parts"),
    ("unknown program", ["-input", "{in}", "-mapper", "no-such-program", "-reducer", "NONE"], "fails"),
]


def stream(program, output, arguments):
    """Runs a streaming job; its output by files, or None when it fails."""
    shutil.rmtree(output, ignore_errors=True)
    done = subprocess.run(
        [*program, *arguments, "-output", f"file://{output}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=WORK, env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        return None
    return {path.name: path.read_bytes() for path in sorted(output.glob("part-*"))}


def streaming(source):
    """Streaming jobs, in inputs whose keys have dots."""
    dice = random.Random(11)
    inputs = {name: WORK / f"streaming-{name}" for name in ("in", "keys", "agg", "empty")}
    inputs["empty"].write_bytes(b"")
    words = ["a", "ab", "größe", "", "x y", "10", "9", "漢"]
    with open(inputs["in"], "w", encoding="utf-8", newline="") as out:
        for _ in range(400):
            fields = (dice.choice(words) for _ in range(dice.randrange(5)))
            out.write("".join(field + dice.choice([".", "\t", "a."]) for field in fields))
            out.write(dice.choice(["\n", "\n", "\r\n", "last\n"]))
        out.write("no line end")
    # No leading zeros: Hadoop's comparator takes 007 for less than 7, hfs takes them for equal, as `sort -n` does.
    numbers = ["0", "-0", "7", "-7", "10", "-10", "70", "2", "-12", "123456789012345678901", "-123456789012345678901"]
    with open(inputs["keys"], "w", encoding="utf-8") as out:
        seen = set()
        for _ in range(300):
            key = (dice.choice(["a", "bb", "bc", "B", "é"]), dice.choice(numbers), dice.randrange(50))
            # Keys that compare as equal come in no certain order.
            if (key[0], int(key[1]), key[2]) not in seen:
                out.write(".".join(map(str, key)) + "\n")
            seen.add((key[0], int(key[1]), key[2]))
    with open(inputs["agg"], "w", encoding="utf-8") as out:
        for _ in range(500):
            kind = dice.choice(["LongValueSum", "LongValueMax", "LongValueMin", "DoubleValueSum", "UniqValueCount", "ValueHistogram"])
            value = f"{dice.randrange(-20, 20)}{dice.choice(['', '.5']) if kind == 'DoubleValueSum' else ''}"
            out.write(f"{kind}:{dice.choice('abc')}\t{value}\n")
            out.write(f"StringValue{dice.choice(['Max', 'Min'])}:{dice.choice('abc')}\t{dice.choice(words[:-1])}\n")
    settings = {"mapreduce.framework.name": "local", "hadoop.tmp.dir": WORK / "tmp", "mapreduce.job.reduces": 1}
    java = ["java", f"-Dlog4j.configuration=file:{WORK / 'log4j.properties'}", "-cp", fetch.hadoop_classpath(WORK)]
    java += ["org.apache.hadoop.streaming.HadoopStreaming"]
    java += [word for name, value in settings.items() for word in ("-D", f"{name}={value}")]
    ours = [REPOSITORY / "target" / "debug" / "hfs", "streaming", "-jt", "local", "-D", "mapreduce.job.reduces=1"]
    for name, options, how in STREAMING:
        options = [option.format(**{k: f"file://{v}" for k, v in inputs.items()}) if option.strip("{}") in inputs else option for option in options]
        their_output, our_output = outputs("streaming")
        theirs, found = stream(java, their_output, options), stream(ours, our_output, options)
        what = f"streaming, {name}"
        if how == "fails":
            same(f"{what}, whether it fails", theirs is None, found is None)
            continue
        if theirs is None or found is None:
            raise Differs(f"{what}: {'hfs' if theirs else 'Hadoop'} failed and should not have")
        if how == "parts sorted":
            theirs, found = ({k: sorted(v.splitlines()) for k, v in x.items()} for x in (theirs, found))
            same(f"{what}, names of files", list(theirs), list(found))
            for part in theirs:
                same(f"{what}, {part}", theirs[part], found[part])
        elif how == "parts":
            same(f"{what}, names of files", list(theirs), list(found))
            # Maps are numbered in the order of their splits, which is any.
            same(what, sorted(theirs.values()), sorted(found.values()))
        else:
            theirs, found = (b"".join(x.values()).splitlines() for x in (theirs, found))
            if how == "set":
                theirs, found = sorted(theirs), sorted(found)
            same(what, theirs, found)


def main():
    install_java()
    WORK.mkdir(parents=True, exist_ok=True)
    fetch.call(["cargo", "build", "--workspace", "--bin=hfs", *(f"--example={name}" for name in EXAMPLES)], cwd=REPOSITORY)
    (WORK / "log4j.properties").write_text(LOG4J)
    checks = [word_count, grep, tera, secondary_sort, statistics, pi, streaming]
    failed = 0
    source = WORK / "input.txt"
    for check in checks:
        try:
            check(source)
            print(f"ok: {check.__name__}", flush=True)
        except Differs as differs:
            failed += 1
            print(f"FAILED: {check.__name__}: {differs}", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except (fetch.Missing, subprocess.SubprocessError) as error:
        raise SystemExit(str(error))
