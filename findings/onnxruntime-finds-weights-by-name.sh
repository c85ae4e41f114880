#!/usr/bin/env bash
# Guess (before the run): a model that onnxruntime optimises and writes to another folder is complete there, or says
#   where its weights are; a session from bytes whose weights are in files of their own raises.
# Found: the optimised model names the data file by its bare name and nothing is written beside it. In a folder where
#   another version has a data file of that name it loads and answers with the other version's weights. A session from
#   bytes looks in the current directory, and takes what has the name there as well.
# Version: onnxruntime 1.32.0, onnx 1.23.2.
# Why it matters: exporters give every version the same name (`model.onnx.data`). Optimising at start-up into a shared
#   cache, or reading the model from a store and the weights from wherever the process stands, serves one version's
#   graph with another's weights, and all shapes fit.
# Source: run here; onnxruntime's documentation of `optimized_model_filepath`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - 2> log <<'PY'
import os, pathlib, sys
import numpy as np, onnx, onnxruntime
from onnx import TensorProto as T, helper as h, numpy_helper

def save(folder, value):
    pathlib.Path(folder).mkdir()
    weights = numpy_helper.from_array(np.full((64, 1024), value, dtype=np.float32), "w")
    ends = [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in (("x", [1, 64]), ("y", [1, 1024]))]
    graph = h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, f"{folder}/model.onnx", save_as_external_data=True, location="model.onnx.data")

def answer(model, optimised=""):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if optimised:
        options.optimized_model_filepath = optimised
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return type(error).__name__
    return float(session.run(None, {"x": np.ones((1, 64), np.float32)})[0][0, 0])

save("one", 1)
save("two", 2)
pathlib.Path("cache").mkdir()
seen = {"one, where it is": answer("one/model.onnx"), "one, optimised to cache/": answer("one/model.onnx", "cache/one.onnx")}
seen["cache/one.onnx alone"] = answer("cache/one.onnx")
seen["one, optimised to two/"] = answer("one/model.onnx", "two/one.onnx")
seen["two/one.onnx"] = answer("two/one.onnx")
data = pathlib.Path("one/model.onnx").read_bytes()
seen["one from bytes, nothing in the current directory"] = answer(data)
os.chdir("two")
seen["one from bytes, in two/"] = answer(data)
for name, result in seen.items():
    print(f"{name:50}{result}")
values = list(seen.values())
sys.exit(0 if values[0] == values[1] == values[3] == 64 and values[4] == values[6] == 128 and {type(values[2]), type(values[5])} == {str} else 1)
PY
