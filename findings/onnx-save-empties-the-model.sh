#!/usr/bin/env bash
# Guess (before the run): onnx.save(..., save_as_external_data=True) leaves the model in memory as it was.
# Found: it moves the weights out of the object. The next onnx.save of the same object writes a file of some hundred
#   bytes without any weights, with no error, that refers to a data file which is not in its directory.
# Version: onnx 1.23.2.
# Why it matters: one job that writes two variants (one file, and split) publishes an empty second one. Only a check
#   of every external location before the release finds it: the file itself is a valid ONNX model.
# Source: run here; onnx/__init__.py (save_model converts the model that it is given).
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

weights = numpy_helper.from_array(np.ones((64, 1024), dtype=np.float32), "w")
ends = [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in (("x", [1, 64]), ("y", [1, 1024]))]
model = h.make_model(h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights]))
for name in ("split", "single"):
    pathlib.Path(name).mkdir()
before = len(model.SerializeToString())
onnx.save(model, "split/model.onnx", save_as_external_data=True, location="weights.bin")
onnx.save(model, "single/model.onnx")
size = pathlib.Path("single/model.onnx").stat().st_size
print(f"model in memory before: {before} bytes; second save: {size} bytes, files:",
      sorted(p.name for p in pathlib.Path("single").iterdir()))
sys.exit(0 if before > 262144 and size < 1000 else 1)
PY
