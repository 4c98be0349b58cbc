#!/usr/bin/env python3
"""Jobs whose inputs and outputs are in an object store: on a local cluster, against a server that speaks S3.

Usage: tests/object_store/e2e.py [DIRECTORY]. The directory has `hfs` and `examples/`, built with the cargo feature
object-store; default target/debug. Needs python3 with venv; installs moto's server into a virtual environment.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

INSIDE = "HFS_OBJECT_STORE_TEST"
PATIENCE_S = 120


def reenter():
    """Runs this script again in a virtual environment that has the server, and removes all at the end."""
    work = tempfile.mkdtemp(prefix="hfs-object-store-")
    try:
        subprocess.run([sys.executable, "-m", "venv", f"{work}/venv"], check=True)
        pip = [f"{work}/venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "moto[server]>=5,<6"], check=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HFS_", "HADOOP_"))}
        environment.update({INSIDE: work, "HOME": work, "HFS_CLUSTER_DIR": f"{work}/cluster"})
        script = [f"{work}/venv/bin/python", os.path.abspath(__file__), *sys.argv[1:]]
        return subprocess.run(script, env=environment, check=False).returncode
    finally:
        shutil.rmtree(work, ignore_errors=True)


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise SystemExit(f"{what}: it never came about")


class Store:
    """The server, one bucket, and what is in it."""

    def __init__(self, work):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.endpoint = f"http://127.0.0.1:{s.getsockname()[1]}"
        server = pathlib.Path(sys.executable).with_name("moto_server")
        log = open(f"{work}/moto.log", "w", encoding="utf-8")
        port = self.endpoint.rsplit(":", 1)[1]
        self.process = subprocess.Popen([server, "-p", port], stdout=log, stderr=log)
        import boto3

        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.endpoint, **keys)
        eventually("the server answers", self.answers)
        self.client.create_bucket(Bucket="data")

    def answers(self):
        try:
            return self.client.list_buckets() is not None
        except Exception:  # Whatever it says while it starts.
            return False

    def put(self, key, text):
        self.client.put_object(Bucket="data", Key=key, Body=text)

    def objects(self, prefix):
        found = self.client.list_objects_v2(Bucket="data", Prefix=prefix).get("Contents", [])
        return {o["Key"]: self.client.get_object(Bucket="data", Key=o["Key"])["Body"].read() for o in found}

    def assert_nothing_pending(self):
        pending = self.client.list_multipart_uploads(Bucket="data").get("Uploads", [])
        assert not pending, f"uploads are left: {[upload['Key'] for upload in pending]}"


class Cluster:
    def __init__(self, build, store):
        self.hfs = f"{build}/hfs"
        self.examples = f"{build}/examples"
        self.properties = [
            f"fs.s3a.endpoint={store.endpoint}",
            "fs.s3a.access.key=key",
            "fs.s3a.secret.key=secret",
            "fs.s3a.path.style.access=true",
            "fs.s3a.multipart.size=5m",
            "fs.s3a.block.size=2m",
        ]
        self.run(self.hfs, "cluster", "start", "--datanodes", "2", "--workers", "2", "--replication", "1")

    def run(self, *command, fails=False, environment=None):
        environment = {**os.environ, **(environment or {})}
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        if (done.returncode != 0) != fails:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.decode()}")
        return done.stderr.decode() if fails else done.stdout

    def with_properties(self):
        return [word for each in self.properties for word in ("-D", each)]

    def job(self, example, *arguments, fails=False):
        return self.run(f"{self.examples}/{example}", *self.with_properties(), *arguments, fails=fails)

    def start_job(self, example, *arguments):
        command = [f"{self.examples}/{example}", *self.with_properties(), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def maps_done(self):
        jobs = json.loads(self.run(self.hfs, "job", "list", "--json"))
        jobs = jobs["jobs"] if isinstance(jobs, dict) else jobs
        return jobs[-1]["maps"]["succeeded"] if jobs else 0


def counted(parts):
    counts = {}
    for part in parts:
        for line in part.decode().split("\n"):
            if line:
                word, count = line.rsplit("\t", 1)
                assert word not in counts, f"{word} stands twice"
                counts[word] = int(count)
    return counts


def parts_of(objects):
    return [body for key, body in objects.items() if "/part-" in key]


def main():
    work = os.environ[INSIDE]
    here = pathlib.Path(__file__).resolve().parent.parent.parent
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else here / "target/debug").resolve()
    random.seed(11)
    words = [f"wört{n}" for n in range(3000)] + ["the", "of", "and"] * 200
    texts = ["\n".join(" ".join(random.choices(words, k=9)) for _ in range(n)) for n in (90_000, 20_000)]
    expected = collections.Counter(word for text in texts for word in text.split())
    store, cluster = Store(work), None
    try:
        for number, text in enumerate(texts):
            store.put(f"in/text-{number}", text.encode())
        cluster = Cluster(build, store)
        check(store, cluster, texts, expected)
        print("all of it passed")
    finally:
        if cluster:
            cluster.run(cluster.hfs, "cluster", "stop")
        store.process.terminate()
        store.process.wait()


def check(store, cluster, texts, expected):
    hfs = cluster.hfs

    def step(what):
        print(f"- {what}", flush=True)

    def output_is_right(prefix):
        objects = store.objects(f"{prefix}/")
        assert f"{prefix}/_SUCCESS" in objects, sorted(objects)
        assert counted(parts_of(objects)) == expected, f"the counts in {prefix} are not the text's"
        store.assert_nothing_pending()

    step("from a bucket to HDFS, the input cut into ranges")
    report = json.loads(cluster.job("wordcount", "--json", "--reduces", "2", "s3a://data/in", "/out"))
    counters = {c["name"]: c["value"] for c in report["counters"]}
    assert counters["S3A_BYTES_READ"] >= sum(len(text.encode()) for text in texts)
    assert "HDFS_BYTES_READ" not in counters or counters["HDFS_BYTES_READ"] == 0
    assert cluster.maps_done() >= 4, "the input was not cut"
    assert counted([cluster.run(hfs, "cat", "/out/part-*")]) == expected

    step("from HDFS to a bucket")
    for number, text in enumerate(texts):
        local = f"{os.environ[INSIDE]}/text-{number}"
        pathlib.Path(local).write_text(text, encoding="utf-8")
        cluster.run(hfs, "mkdir", "-p", "/in")
        cluster.run(hfs, "put", "-D", "dfs.blocksize=2m", local, "/in/")
    report = json.loads(cluster.job("wordcount", "--json", "--reduces", "3", "/in", "s3a://data/to/out"))
    output_is_right("to/out")
    objects = store.objects("to/out/")
    assert len(parts_of(objects)) == 3
    written = {c["name"]: c["value"] for c in report["counters"]}["S3A_BYTES_WRITTEN"]
    assert written == sum(len(part) for part in parts_of(objects))
    assert b"staging" in objects["to/out/_SUCCESS"]

    step("output that is there is refused, and a bucket that is not there is named")
    said = cluster.job("wordcount", "/in", "s3a://data/to/out", fails=True)
    assert "s3a://data/to/out exists already" in said, said
    said = cluster.job("wordcount", "s3a://no-such-bucket/in", "/out-2", fails=True)
    assert "no-such-bucket" in said, said

    step("files of several parts, from each map, and an empty one")
    cluster.job("random_text_writer", "--maps", "2", "--megabytes-per-map", "12", "s3a://data/random")
    sizes = [len(part) for part in parts_of(store.objects("random/"))]
    assert len(sizes) == 2 and min(sizes) > 11_000_000, sizes
    store.assert_nothing_pending()
    store.put("none/empty", b"")
    cluster.job("wordcount", "--reduces", "2", "s3a://data/none", "s3a://data/nothing")
    assert parts_of(store.objects("nothing/")) == [b"", b""]

    step("a job that fails leaves nothing")
    said = cluster.job("fail", "--mode", "error", "s3a://data/in", "s3a://data/failed", fails=True)
    assert "on purpose" in said, said
    assert not store.objects("failed/")
    store.assert_nothing_pending()

    step("a worker is killed in the middle, and then the jobtracker")
    for role, output in (("worker/1", "worker-killed"), ("jobtracker/0", "tracker-killed")):
        before = cluster.maps_done()
        arguments = ["--delay-ms", "300", "--reduces", "2", "s3a://data/in", f"s3a://data/{output}"]
        job = cluster.start_job("slow_wordcount", *arguments)
        eventually("maps end", lambda: cluster.maps_done() not in (0, before))
        assert not store.objects(f"{output}/"), "output can be seen before the job has committed"
        cluster.run(hfs, "cluster", "kill", role)
        cluster.run(hfs, "cluster", "start", role)
        _, said = job.communicate()
        assert job.returncode == 0, said.decode()
        output_is_right(output)

    step("without a cluster, with the variables of the environment")
    environment = {
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    local = [f"{cluster.examples}/wordcount", "--local"]
    cluster.run(*local, "s3://data/in", "s3://data/local", environment=environment)
    output_is_right("local")
    cat = cluster.run(hfs, "cat", "s3a://data/in/text-*", environment=environment)
    assert cat.decode() == "".join(texts)
    said = cluster.run(hfs, "cat", "s3a://data/in/none", fails=True, environment=environment)
    assert "s3a://data/in/none': No such file" in said, said


if __name__ == "__main__":
    if INSIDE in os.environ:
        main()
    else:
        sys.exit(reenter())
