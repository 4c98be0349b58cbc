#!/usr/bin/env python3
"""Runs hfs and its peers in turns on the same inputs and prints the ratios. See README.md."""

import argparse
import ctypes
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fetch  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINES = Path(__file__).resolve().parent / "engines.py"
LITERAL = "EXPORT_SYMBOL_GPL"
PATTERN = "dev_[a-z]+\\("
LEFT_BEHIND_S = 60
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Side:
    """One of those that are compared: its command for an output path, and what its output says."""

    name: str
    command: Callable[[Path], list]
    result: Callable[[Path, str], str]
    daemons: list = field(default_factory=list)
    before: Callable[[], None] = lambda: None


@dataclass
class Sample:
    wall: float
    cpu: float
    peak_kib: int


def cpu_of(pids):
    """The CPU-seconds of these processes and of their children that have ended."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(int(fields[at]) for at in range(11, 15))
    return total / TICKS


def adopt():
    """Makes this process the parent of what its children leave behind: Spark's driver ends before its JVM."""
    adopt_orphans = 36  # PR_SET_CHILD_SUBREAPER
    if ctypes.CDLL(None, use_errno=True).prctl(adopt_orphans, 1, 0, 0, 0) != 0:
        raise SystemExit(f"can't adopt orphans: {os.strerror(ctypes.get_errno())}")


def children():
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def left_behind(before):
    """The usage of the processes that a side has left behind, when they have ended; those of `before` go on."""
    deadline = time.monotonic() + LEFT_BEHIND_S
    while orphans := children() - before:
        pid, _, usage = os.wait4(min(orphans), os.WNOHANG)
        if pid:
            yield usage
        elif time.monotonic() > deadline:
            raise SystemExit(f"process {min(orphans)} goes on after the command that has started it")
        else:
            time.sleep(0.02)


def measure(side, output, log):
    if output.is_dir():
        shutil.rmtree(output)
    output.unlink(missing_ok=True)
    side.before()
    daemons, others = cpu_of(side.daemons), children()
    with open(log, "wb") as said:
        begin = time.monotonic()
        child = subprocess.Popen([str(part) for part in side.command(output)], stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{side.name} failed; it said:\n{log.read_text(errors='replace')[-3000:]}")
    usages = [usage, *left_behind(others)]
    cpu = sum(u.ru_utime + u.ru_stime for u in usages) + cpu_of(side.daemons) - daemons
    return Sample(wall, cpu, max(u.ru_maxrss for u in usages))


def parts(output):
    if output.is_file():
        return [output]
    return sorted(p for p in output.iterdir() if p.name.startswith("part-") and p.stat().st_size)


def digest_of_lines(output, _log):
    """Of the lines in the order of their bytes: sides put them in different orders."""
    command = ["sort", "--parallel=2", "-S", "4G", *parts(output)]
    ordered = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"})
    digest = hashlib.file_digest(ordered.stdout, "sha256").hexdigest()
    if ordered.wait() != 0:
        raise SystemExit("sort failed")
    return digest


def digest_in_order(output, _log):
    digest = hashlib.sha256()
    for part in parts(output):
        with open(part, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def matches(output, log):
    """The number of matches: the counts of a grep job, or what ripgrep printed."""
    if output.exists():
        lines = b"".join(part.read_bytes() for part in parts(output)).splitlines()
        return str(sum(int(line.split(b"\t")[0]) for line in lines))
    return log.strip()


class Cluster:
    """A local cluster of real processes."""

    def __init__(self, hfs, directory):
        self.hfs, self.directory = hfs, directory
        shutil.rmtree(directory, ignore_errors=True)
        self("cluster", "start", "--dir", directory)
        found = subprocess.run(["pgrep", "-f", str(directory)], stdout=subprocess.PIPE, text=True)
        names = (Path(f"/proc/{pid}/comm") for pid in found.stdout.split())
        self.pids = [int(n.parent.name) for n in names if n.exists() and n.read_text() == "hfs\n"]

    def environment(self):
        return {**os.environ, "HFS_CLUSTER_DIR": str(self.directory)}

    def __call__(self, *arguments):
        fetch.call([self.hfs, *arguments], env=self.environment())

    def stop(self):
        self("cluster", "stop")
        shutil.rmtree(self.directory, ignore_errors=True)


class Bench:
    def __init__(self, options):
        self.work = Path(options.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.wanted = set(options.peers.split(","))
        build = ["cargo", "build", "--release", "--bin", "hfs"]
        examples = [f"--example={name}" for name in ("grep", "terasort", "wordcount")]
        fetch.call([*build, *examples], cwd=REPOSITORY)
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
        self.hfs = target / "hfs"
        self.examples = target / "examples"
        self.cluster = None

    def wants(self, peer):
        return peer in self.wanted

    def cluster_side(self, source):
        if self.cluster is None:
            self.cluster = Cluster(self.hfs, self.work / "cluster")
        self.cluster("mkdir", "-p", "/in")
        name = f"/in/{source.name}"
        self.cluster("put", "-f", source, name)

        def command(output):
            script = (
                f"'{self.examples}/wordcount' -D mapreduce.job.reduces=2 {name} /out > /dev/null"
                f" && '{self.hfs}' get /out '{output}'"
            )
            return ["env", f"HFS_CLUSTER_DIR={self.cluster.directory}", "sh", "-c", script]

        clear = lambda: self.cluster("rm", "-r", "-f", "-skipTrash", "/out")  # noqa: E731
        return Side("hfs, cluster", command, digest_of_lines, self.cluster.pids, clear)

    def hadoop(self, program, *arguments):
        """A job of Hadoop's examples in the LocalJobRunner, two map and two reduce threads."""
        settings = {
            "mapreduce.framework.name": "local",
            "mapreduce.local.map.tasks.maximum": 2,
            "mapreduce.local.reduce.tasks.maximum": 2,
            "mapreduce.job.reduces": 2,
            "mapreduce.task.io.sort.mb": 512,
            "mapreduce.input.fileinputformat.split.minsize": 128 << 20,
            "mapreduce.input.fileinputformat.split.maxsize": 128 << 20,
            "hadoop.tmp.dir": self.work / "hadoop" / "tmp",
        }
        given = [f"-D{key}={value}" for key, value in settings.items()]
        jars = fetch.hadoop_classpath(self.work)
        # The class behind each name in the driver of the examples.
        java = ["java", "-Xmx6g", "-cp", jars, "org.apache.hadoop.examples.ExampleDriver"]
        return [*java, program, *given, *arguments]

    def engine(self, program, source):
        python = fetch.python(self.work)
        return lambda output: [python, ENGINES, program, source, output]

    def word_count(self, source):
        local = lambda out: [self.examples / "wordcount", "--local", source, out]  # noqa: E731
        sides = [Side("hfs, --local", local, digest_of_lines), self.cluster_side(source)]
        hadoop = lambda out: self.hadoop("wordcount", f"file://{source}", f"file://{out}")  # noqa: E731
        if self.wants("hadoop"):
            sides.append(Side("Hadoop, LocalJobRunner", hadoop, digest_of_lines))
        for peer, name in [("spark", "Spark DataFrame"), ("polars", "polars"), ("duckdb", "duckdb")]:
            if self.wants(peer):
                program = self.engine(f"{peer}_words", source)
                sides.append(Side(name, program, digest_of_lines))
        return sides

    def terasort(self):
        source = fetch.rows(self.work, 10_000_000)
        local = lambda out: [self.examples / "terasort", "--local", source, out]  # noqa: E731
        sides = [Side("hfs, --local", local, digest_in_order)]
        hadoop = lambda out: self.hadoop("terasort", f"file://{source}", f"file://{out}")  # noqa: E731
        if self.wants("hadoop"):
            sides.append(Side("Hadoop, LocalJobRunner", hadoop, digest_in_order))
        if self.wants("spark"):
            sides.append(Side("Spark DataFrame", self.engine("spark_sort", source), digest_in_order))
        if self.wants("sort"):
            sort = lambda out: ["env", "LC_ALL=C", "sort", "--parallel=2", "-S", "4G", "-k1.1,1.10", "-o", out, source]  # noqa: E731, E501
            sides.append(Side("GNU sort", sort, digest_in_order))
        return sides

    def grep(self, pattern, flags):
        _, source = fetch.corpora(self.work)
        local = lambda out: [self.examples / "grep", "--local", source, out, pattern]  # noqa: E731
        sides = [Side("hfs, --local", local, matches)]
        hadoop = lambda out: self.hadoop("grep", f"file://{source}", f"file://{out}", pattern)  # noqa: E731
        if self.wants("hadoop"):
            sides.append(Side("Hadoop, LocalJobRunner", hadoop, matches))
        if self.wants("ripgrep"):
            fetch.tool("rg", "install ripgrep")
            count = ["rg", "-j2", "-a", "--no-filename", "--count-matches", *flags, pattern, source]
            sides.append(Side("ripgrep", lambda _: count, matches))
        return sides

    def empty(self):
        source = self.work / "empty.txt"
        source.touch()
        sides = [side for side in self.word_count(source) if side.name != "hfs, --local"]
        return [side for side in sides if side.name not in ("polars", "duckdb")]

    def works(self):
        natural = lambda: self.word_count(fetch.corpora(self.work)[0])  # noqa: E731
        source = lambda: self.word_count(fetch.corpora(self.work)[1])  # noqa: E731
        return {
            "word-count-natural": natural,
            "word-count-source": source,
            "terasort": self.terasort,
            "grep-literal": lambda: self.grep(LITERAL, ["-F"]),
            "grep-regex": lambda: self.grep(PATTERN, []),
            "empty": self.empty,
        }


def compare(bench, work, sides, rounds):
    samples = {side.name: [] for side in sides}
    expected = None
    for turn in range(rounds):
        for side in sides:
            safe = re.sub("[^a-z]+", "-", side.name.lower())
            output, log = bench.work / f"out-{work}-{safe}", bench.work / f"log-{work}-{safe}"
            samples[side.name].append(measure(side, output, log))
            print(f"  {work}, round {turn + 1}: {side.name} {samples[side.name][-1].wall:.2f} s", flush=True)
            if turn == 0:
                said = side.result(output, log.read_text(errors="replace"))
                expected = expected or said
                if said != expected:
                    raise SystemExit(f"{work}: the output of {side.name} is not that of {sides[0].name}")
    for side in sides:
        safe = re.sub("[^a-z]+", "-", side.name.lower())
        output = bench.work / f"out-{work}-{safe}"
        shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    return samples


def report(results):
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"
    lines = [f"Medians (minimum) on {machine}.", ""]
    head = "| work | side | wall s | ratio to hfs | CPU s | peak MiB of one process |"
    lines += [head, "| --- | --- | --- | --- | --- | --- |"]
    for work, samples in results.items():
        ours = statistics.median(s.wall for s in next(iter(samples.values())))
        for side, taken in samples.items():
            wall = statistics.median(s.wall for s in taken)
            least = min(s.wall for s in taken)
            cpu = statistics.median(s.cpu for s in taken)
            peak = max(s.peak_kib for s in taken) // 1024
            row = [work, side, f"{wall:.2f} ({least:.2f})", f"{wall / ours:.2f}", f"{cpu:.1f}", str(peak)]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side [5]")
    parser.add_argument("--only", default="", help="works to run, with commas [all]")
    everyone = "hadoop,spark,polars,duckdb,sort,ripgrep"
    parser.add_argument("--peers", default=everyone, help=f"peers, with commas [{everyone}]")
    parser.add_argument("--work", default=REPOSITORY / "target" / "peers", help="where all is kept")
    parser.add_argument("--json", help="a file for all samples")
    options = parser.parse_args()
    adopt()
    bench = Bench(options)
    works = bench.works()
    chosen = options.only.split(",") if options.only else list(works)
    unknown = [name for name in chosen if name not in works]
    if unknown:
        parser.error(f"there is no work '{unknown[0]}'; there are {', '.join(works)}")
    results = {}
    try:
        for name in chosen:
            results[name] = compare(bench, name, works[name](), options.rounds)
    finally:
        if bench.cluster is not None:
            bench.cluster.stop()
        if results:
            print(report(results))
    if options.json:
        plain = {w: {s: [vars(x) for x in taken] for s, taken in r.items()} for w, r in results.items()}
        Path(options.json).write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    try:
        main()
    except fetch.Missing as missing:
        raise SystemExit(str(missing))
