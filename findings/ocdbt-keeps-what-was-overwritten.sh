#!/usr/bin/env bash
# Guess (before the run): overwriting an array in an OCDBT database keeps the directory at about one array's size.
# Found: every write adds files with random names and nothing is ever deleted: six overwrites of a 1 MB array are 6
#   MB. Only `manifest.ocdbt` says which files are in use, and the same content in two directories has no equal file
#   name.
# Version: tensorstore 0.1.86. OCDBT is what Orbax writes checkpoints in by default (use_ocdbt).
# Why it matters: a checkpoint directory that training writes in place carries all earlier weights; copied whole,
#   each version ships them to every region. And file names say nothing about content: only digests find what is
#   equal.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install tensorstore==0.1.86 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import pathlib, sys
import numpy as np, tensorstore as ts

def write(top, values):
    spec = {"driver": "zarr3", "kvstore": {"driver": "ocdbt", "base": f"file://{pathlib.Path(top).resolve()}/"},
            "metadata": {"shape": list(values.shape), "data_type": "float32"}}
    ts.open(spec, create=True, open=True).result().write(values).result()

def files(top):
    return {p.name: p.stat().st_size for p in pathlib.Path(top).rglob("*") if p.is_file()}

rng = np.random.default_rng(0)
sizes = []
for _ in range(6):
    write("model", rng.random((512, 512), dtype="f4"))
    sizes.append(sum(files("model").values()) >> 20)
print("MiB after each overwrite of 1 MiB:", sizes)
for top in ("one", "two"):
    write(top, np.ones(4, "f4"))
common = files("one").keys() & files("two").keys()
print("file names in common, same content written twice:", sorted(common))
sys.exit(0 if sizes == [1, 2, 3, 4, 5, 6] and common == {"manifest.ocdbt"} else 1)
PY
