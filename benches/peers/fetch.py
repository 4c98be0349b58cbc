"""What the peers are and where they come from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The newest examples that resolve from Maven together with a current client, which needs a newer
# commons-cli than they ask for.
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>hfs</groupId>
  <artifactId>peers</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.hadoop</groupId>
      <artifactId>hadoop-client</artifactId>
      <version>3.5.0</version>
    </dependency>
    <dependency>
      <groupId>org.apache.hadoop</groupId>
      <artifactId>hadoop-mapreduce-examples</artifactId>
      <version>3.3.6</version>
    </dependency>
    <dependency>
      <groupId>org.apache.hadoop</groupId>
      <artifactId>hadoop-streaming</artifactId>
      <version>3.4.2</version>
      <exclusions>
        <exclusion>
          <groupId>*</groupId>
          <artifactId>*</artifactId>
        </exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>commons-cli</groupId>
      <artifactId>commons-cli</artifactId>
      <version>1.9.0</version>
    </dependency>
  </dependencies>
</project>
"""
PACKAGES = ["polars", "duckdb", "pyspark", "numpy"]
SOURCE_PACKAGE = "linux-source-6.1"
SOURCE_ENDS = (".c", ".h", ".rst", ".txt")
NATURAL_BYTES = 1_140_000_000


class Missing(Exception):
    """A tool that can't be had, in a sentence."""


def call(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace")[-2000:]
        raise Missing(f"{' '.join(map(str, command))} failed:\n{said}")
    return done.stdout


def tool(name, how):
    if shutil.which(name) is None:
        raise Missing(f"{name} is not installed; {how}")
    return name


def hadoop_classpath(work):
    """The jars of Hadoop's client and examples."""
    jars = work / "hadoop" / "jars"
    pom = jars.parent / "pom.xml"
    if not jars.exists() or not pom.exists() or pom.read_text() != POM:
        tool("mvn", "install Maven and a JDK")
        jars.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(jars, ignore_errors=True)
        pom.write_text(POM)
        partial = jars.with_name("jars.part")
        copy = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
        call(copy, cwd=jars.parent)
        partial.rename(jars)
    return f"{jars}/*"


def python(work):
    """The interpreter that has the Python peers."""
    venv = work / "venv"
    done = venv / "complete"
    if not done.exists():
        call([sys.executable, "-m", "venv", venv])
        call([venv / "bin" / "pip", "install", "-q", *PACKAGES])
        done.touch()
    return venv / "bin" / "python"


def corpora(work):
    """Two texts: the kernel's documentation, repeated; its sources. Both are valid UTF-8."""
    natural, source = work / "natural.txt", work / "source.txt"
    if natural.exists() and source.exists():
        return natural, source
    tree = work / "linux"
    if not tree.exists():
        tool("apt-get", f"unpack {SOURCE_PACKAGE} of Debian to {tree} yourself")
        deb = work / "deb"
        deb.mkdir(parents=True, exist_ok=True)
        if not list(deb.glob("*.deb")):
            call(["apt-get", "download", SOURCE_PACKAGE], cwd=deb)
        call(["dpkg-deb", "-x", *deb.glob("*.deb"), deb / "root"])
        partial = work / "linux.part"
        partial.mkdir(exist_ok=True)
        archive = next((deb / "root" / "usr" / "src").glob("linux-source-*.tar.xz"))
        call(["tar", "xf", archive, "-C", partial, "--strip-components=1"])
        partial.rename(tree)
    write_texts(tree, natural, source)
    return natural, source


def write_texts(tree, natural, source):
    documentation = tree / "Documentation"
    texts = []
    partial = source.with_suffix(".part")
    with open(partial, "wb") as out:
        for folder, folders, files in os.walk(tree):
            folders.sort()
            for name in sorted(files):
                path = Path(folder) / name
                if not name.endswith(SOURCE_ENDS) or path.is_symlink():
                    continue
                text = path.read_bytes().decode(errors="ignore").encode()
                out.write(text)
                if documentation in path.parents:
                    texts.append(text)
    once = b"".join(texts)
    with open(natural.with_suffix(".part"), "wb") as out:
        for _ in range(NATURAL_BYTES // len(once)):
            out.write(once)
    natural.with_suffix(".part").rename(natural)
    partial.rename(source)


MAKE_ROWS = """
import sys, numpy
path, count = sys.argv[1], int(sys.argv[2])
dice = numpy.random.default_rng(1)
letters = numpy.frombuffer(bytes(range(33, 127)), dtype=numpy.uint8)
step = 1_000_000
with open(path, "wb") as out:
    for start in range(0, count, step):
        rows = numpy.empty((min(step, count - start), 100), dtype=numpy.uint8)
        rows[:, :10] = letters[dice.integers(0, len(letters), (len(rows), 10))]
        number = numpy.arange(start, start + len(rows))
        for place in range(10):
            rows[:, 10 + place] = 48 + number // 10 ** (9 - place) % 10
        rows[:, 20:99] = 46
        rows[:, 99] = 10
        out.write(rows.tobytes())
"""


def rows(work, count):
    """So many rows of 99 printable bytes and a line end, the first ten random."""
    path = work / f"rows-{count}"
    if not path.exists():
        partial = path.with_suffix(".part")
        call([python(work), "-c", MAKE_ROWS, partial, str(count)])
        partial.rename(path)
    return path
