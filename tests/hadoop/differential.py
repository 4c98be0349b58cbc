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


def main():
    install_java()
    WORK.mkdir(parents=True, exist_ok=True)
    fetch.call(["cargo", "build", *(f"--example={name}" for name in EXAMPLES)], cwd=REPOSITORY)
    checks = [word_count, grep, tera, secondary_sort, statistics, pi]
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
