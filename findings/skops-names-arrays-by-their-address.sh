#!/usr/bin/env bash
# Guess (before the run): one estimator, fitted on the same data in two processes, gives two equal .skops files, or files
#   that differ only in the times of their zip entries.
# Found: every array inside is called by its address in memory, as is the reference to it in schema.json. Names, their
#   order and the schema differ in each process; the arrays themselves are equal.
# Version: skops 0.13.0 with scikit-learn 1.9.1.
# Why it matters: who distributes by digest sends an unchanged model again after each training run, and no cache or
#   deduplication by file or by entry sees that it is the same.
# Source: run here; the names in the archive are decimal numbers of the size of addresses, each with ".npy".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install skops==0.13.0 scikit-learn==1.9.1 2> pip.log || { cat pip.log; exit 2; }
cat > train.py <<'PY'
import sys
import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression

kept = [bytearray(1 << 16) for _ in range(int(sys.argv[2]))]  # another process has other things in memory
data = np.arange(40.0).reshape(20, 2)
skops.io.dump(LogisticRegression().fit(data, np.arange(20) > 9), sys.argv[1])
PY
venv/bin/python train.py a.skops 0
venv/bin/python train.py b.skops 100
venv/bin/python - <<'PY'
import hashlib, sys, zipfile

files = {}
for name in ("a.skops", "b.skops"):
    with zipfile.ZipFile(name) as archive:
        files[name] = {each: hashlib.sha256(archive.read(each)).hexdigest() for each in archive.namelist()}
one, other = files.values()
arrays = [sorted(digest for name, digest in found.items() if name.endswith(".npy")) for found in files.values()]
common = (one.keys() & other.keys()) - {"schema.json"}
are_numbers = all(name.removesuffix(".npy").isdecimal() for name in one if name != "schema.json")
print(f"{len(arrays[0])} arrays, equal: {arrays[0] == arrays[1]}, names in both: {len(common)}, e.g. {min(one)}")
print(f"schema.json equal: {one['schema.json'] == other['schema.json']}")
sys.exit(0 if arrays[0] == arrays[1] and not common and are_numbers else 1)
PY
