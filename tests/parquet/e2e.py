#!/usr/bin/env python3
"""Parquet files that another program wrote, read by a job; what the job writes, read by the other program.

Usage: tests/parquet/e2e.py [DIRECTORY]. The directory has `hfs` and `examples/parquet`, built with the cargo feature
parquet; default target/debug. Needs python3 with venv; installs polars into a virtual environment.
"""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

INSIDE = "HFS_PARQUET_TEST"
ROWS = 20_000
SHOPS = [f"shop {n}" for n in range(40)] + ["", "Müller & Söhne", None]


def reenter():
    """Runs this script again in a virtual environment that has polars, and removes all at the end."""
    work = tempfile.mkdtemp(prefix="hfs-parquet-")
    try:
        subprocess.run([sys.executable, "-m", "venv", f"{work}/venv"], check=True)
        pip = [f"{work}/venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "polars>=1,<3"], check=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HFS_", "HADOOP_"))}
        environment.update({INSIDE: work, "HOME": work, "HFS_CLUSTER_DIR": f"{work}/cluster"})
        script = [f"{work}/venv/bin/python", os.path.abspath(__file__), *sys.argv[1:]]
        return subprocess.run(script, env=environment, check=False).returncode
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sales():
    """Rows with nulls in both columns that matter, and with columns that nobody asks for."""
    import polars

    draw = random.Random(20)
    cents = [draw.choice([None, draw.randrange(-(1 << 40), 1 << 40)]) for _ in range(ROWS)]
    return polars.DataFrame(
        {
            "ratio": [draw.random() for _ in range(ROWS)],
            "shop": [draw.choice(SHOPS) for _ in range(ROWS)],
            "tags": [["a"] * draw.randrange(3) for _ in range(ROWS)],
            "cents": polars.Series(cents, dtype=polars.Int64),
            "paid": [draw.random() < 0.5 for _ in range(ROWS)],
        }
    )


def totals(frame):
    """What the job should find, by polars."""
    import polars

    grouped = frame.filter(polars.col("shop").is_not_null()).group_by("shop")
    summed = grouped.agg(rows=polars.len(), sum=polars.col("cents").sum())
    return {row[0]: row[1:] for row in summed.iter_rows()}


def found(directory):
    """What the job has found, by polars."""
    import polars

    parts = sorted(pathlib.Path(directory).glob("part-r-*.parquet"))
    assert parts, f"no Parquet files in {directory}: {os.listdir(directory)}"
    frame = polars.concat([polars.read_parquet(part) for part in parts])
    assert frame.columns == ["value", "rows", "sum"], frame.columns
    rows = [(row[0].decode() if isinstance(row[0], bytes) else row[0], *row[1:]) for row in frame.iter_rows()]
    assert len({row[0] for row in rows}) == len(rows), "a value has two rows"
    return {row[0]: row[1:] for row in rows}


def main():
    work = pathlib.Path(os.environ[INSIDE])
    programs = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/debug").resolve()
    hfs, job = programs / "hfs", programs / "examples" / "parquet"
    frame = sales()
    expected = totals(frame)
    source = work / "sales"
    source.mkdir()
    # Thirds of the rows, each written in another way.
    third = ROWS // 3 + 1
    for number, compression in enumerate(["snappy", "gzip", "uncompressed"]):
        part = frame.slice(number * third, third)
        part.write_parquet(source / f"{number}.parquet", compression=compression, row_group_size=1000)

    asked = ["--by", "shop", "--sum", "cents", "-D", "mapreduce.input.fileinputformat.split.maxsize=60000"]
    for codec in ["SNAPPY", "GZIP", "LZ4_RAW", "UNCOMPRESSED"]:
        output = work / f"local-{codec}"
        subprocess.run([job, "--local", *asked, "-D", f"parquet.compression={codec}", source, output], check=True)
        assert found(output) == expected, f"a local job's output in {codec} is not what polars finds"

    subprocess.run([hfs, "cluster", "start"], check=True)
    try:
        subprocess.run([hfs, "put", source, "/sales"], check=True)
        subprocess.run([job, *asked, "--reduces", "3", "/sales", "/by-shop"], check=True)
        subprocess.run([hfs, "get", "/by-shop", work / "by-shop"], check=True)
    finally:
        subprocess.run([hfs, "cluster", "stop"], check=True)
    assert found(work / "by-shop") == expected, "the cluster's output is not what polars finds"

    (source / "cut.parquet").write_bytes((source / "0.parquet").read_bytes()[:5000])
    cut = subprocess.run([job, "--local", *asked, source, work / "cut"], stderr=subprocess.PIPE, text=True)
    assert cut.returncode != 0 and "cut.parquet" in cut.stderr, cut.stderr
    frame.write_parquet(source / "cut.parquet", compression="zstd")
    packed = subprocess.run([job, "--local", *asked, source, work / "zstd"], stderr=subprocess.PIPE, text=True)
    assert packed.returncode != 0 and "cut.parquet" in packed.stderr and "ZSTD" in packed.stderr.upper(), packed.stderr
    print(f"Parquet: {ROWS} rows of 3 files in, {len(expected)} rows out, as polars finds them; 5 jobs")


if __name__ == "__main__":
    if INSIDE in os.environ:
        main()
    else:
        sys.exit(reenter())
