#!/usr/bin/env bash
# Guess (before the run): a second save to the same `location=` of external data replaces the data file.
# Found: onnx appends. The model refers to the last part only, so after three saves two thirds of the file are dead
#   weights of earlier versions. The refusal "External data file exists" is decided in the current directory and not
#   beside the model, so it fires where it should not, and does not where it should.
# Version: onnx 1.23.2.
# Why it matters: an export job that reuses its directory publishes files that grow with each version and still
#   carry the weights of models that were withdrawn. Each version pays for all before it in every region.
# Source: run here; onnx/external_data_helper.py (convert_model_to_external_data, save_external_data).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install onnx==1.23.2 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import pathlib, sys
import numpy as np, onnx
from onnx import TensorProto as T, helper as h, numpy_helper

def model(value):
    weights = numpy_helper.from_array(np.full((64, 1024), value, dtype=np.float32), "w")
    ends = [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in (("x", [1, 64]), ("y", [1, 1024]))]
    return h.make_model(h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights]))

def save(value):
    onnx.save(model(value), "out/model.onnx", save_as_external_data=True, location="weights.bin")

pathlib.Path("out").mkdir()
sizes = []
for value in (1, 2, 3):
    save(value)
    sizes.append(pathlib.Path("out/weights.bin").stat().st_size)
used = onnx.load("out/model.onnx", load_external_data=False).graph.initializer[0].external_data
print("bytes of weights.bin after each save:", sizes, "in use:", {e.key: e.value for e in used})
pathlib.Path("weights.bin").touch()  # of no concern to out/
try:
    save(4)
    refused = ""
except FileExistsError as error:
    refused = str(error)
print("a file of that name in the current directory:", refused or "no error")
sys.exit(0 if sizes == [262144, 524288, 786432] and refused else 1)
PY
