#!/usr/bin/env bash
# Runs mrjob's own examples on a local cluster (`-r hadoop`, through the directory that `hfs hadoop-shim`
# writes) and without one (`-r local`, mrjob's own runner): both must say the same.
# Usage: tests/hadoop/mrjob.sh [HFS-PROGRAM]. Needs python3 with venv; installs mrjob into a virtual environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
hfs=$(realpath "${1:-target/release/hfs}")

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  echo "SKIPPED: mrjob's examples need python3 with its modules venv and ensurepip, which are not here"
  exit 0
fi
[ -x "$hfs" ] || { echo "there is no program $hfs; build it or name another"; exit 1; }

work=$(mktemp -d)
export HFS_CLUSTER_DIR=$work/cluster HOME=$work
unset HFS_FS HFS_JOBTRACKER HADOOP_CONF_DIR HADOOP_PREFIX HADOOP_INSTALL
trap '"$hfs" cluster stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
# From Python 3.12 on setuptools has the distutils that mrjob uses, and from 3.13 on standard-pipes has pipes.
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  'mrjob==0.7.4' 'setuptools<81' "standard-pipes; python_version >= '3.13'"
python=$work/venv/bin/python
examples=$("$python" -c 'import mrjob.examples, os; print(os.path.dirname(mrjob.examples.__file__))')

"$hfs" cluster start --datanodes 2 --workers 2 --replication 1
eval "$("$hfs" hadoop-shim "$work/hadoop")"
export HADOOP_HOME

# Words in several files, of which one has no newline at its end.
"$python" - "$work" <<'PYTHON'
import random
import sys

random.seed(7)
words = ["apple", "größe", "it's", "the", "of", "banana", "数据", "cherry", "Apple", "duck"]
for name in ("one.txt", "two.txt"):
    with open(f"{sys.argv[1]}/{name}", "w", encoding="utf-8") as out:
        for _ in range(3000):
            out.write(" ".join(random.choices(words, k=random.randrange(9))) + "\n")
        out.write("the end")
PYTHON
inputs=("$work/one.txt" "$work/two.txt")

# Runs an example both ways and compares the lines, which may come in any order.
same() {
  local name=$1
  shift
  "$python" "$examples/$name.py" -r local "$@" "${inputs[@]}" >"$work/expected" 2>"$work/local.log" ||
    { cat "$work/local.log"; echo "$name does not run without a cluster either"; return 1; }
  "$python" "$examples/$name.py" -r hadoop --python-bin "$python" "$@" "${inputs[@]}" \
    >"$work/found" 2>"$work/hadoop.log" || { cat "$work/hadoop.log"; echo "$name failed"; return 1; }
  # What comes before the last part of a path differs, and Hadoop Streaming ends a line that is all key with a tab.
  for side in expected found; do
    sed -E 's,"(hdfs|file)://[^"]*/,",; s,\t$,,' "$work/$side" | LC_ALL=C sort >"$work/$side.sorted"
  done
  if ! [ -s "$work/found" ] || ! cmp "$work/expected.sorted" "$work/found.sorted"; then
    diff "$work/expected.sorted" "$work/found.sorted" | head -20
    echo "$name says something else on a cluster"
    return 1
  fi
  # What mrjob reads from the lines of the job client.
  grep -q 'Running job: job_' "$work/hadoop.log" || { echo "$name: mrjob has not seen the job's id"; return 1; }
  grep -q 'Map input records=' "$work/hadoop.log" || { echo "$name: mrjob has not seen counters"; return 1; }
  echo "mrjob: $name is the same, $(wc -l <"$work/found") lines"
}

same mr_word_freq_count
same mr_wc
same mr_count_lines_right
same mr_count_lines_by_file
same mr_most_used_word
same mr_grep --expression duck
same mr_next_word_stats
same mr_words_containing_u_freq_count

# A job whose mapper raises: mrjob shows the traceback.
if "$python" "$examples/mr_boom.py" -r hadoop --python-bin "$python" "${inputs[@]}" >/dev/null 2>"$work/boom.log"; then
  echo "mr_boom succeeded and should not have"
  exit 1
fi
grep -q 'Exception: BOOM' "$work/boom.log" ||
  { cat "$work/boom.log"; echo "mr_boom's traceback did not reach the user"; exit 1; }
echo "mrjob: mr_boom fails and says why"
