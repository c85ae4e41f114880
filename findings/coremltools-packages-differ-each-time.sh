#!/usr/bin/env bash
# Guess (before the run): coremltools writes one model converted twice as two equal .mlpackage folders.
# Found: the identifiers in `Manifest.json` are random for each conversion, so the folders differ though the weights
#   are equal byte for byte.
# Version: coremltools 9.0 on Linux (numpy 2.4.6).
# Why it matters: a rebuild of a model for devices has another digest of the folder and so a new version. The file of
#   weights below `Data` says whether anything was trained anew; the manifest does not.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install coremltools==9.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - 2> python.log <<'PY' || { cat python.log; exit 1; }
import hashlib, pathlib, sys
import coremltools as ct, numpy as np
from coremltools.converters.mil import Builder as mb

def files(name):
    found = sorted(path for path in pathlib.Path(name).rglob("*") if path.is_file())
    return {str(path.relative_to(name)): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in found}

def convert(name):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4))])
    def program(x):
        return mb.linear(x=x, weight=np.ones((512, 4), np.float32), bias=np.zeros(512, np.float32))
    ct.convert(program, minimum_deployment_target=ct.target.iOS16).save(name)
    return files(name)

first, second = convert("a.mlpackage"), convert("b.mlpackage")
different = [name for name in first if first[name] != second[name]]
print("files:", sorted(first))
print("different after a second conversion:", different)
weights = "Data/com.apple.CoreML/weights/weight.bin"
print("weights equal:", first[weights] == second[weights])
sys.exit(0 if "Manifest.json" in different and weights not in different else 1)
PY
