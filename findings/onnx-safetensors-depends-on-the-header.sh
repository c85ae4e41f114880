#!/usr/bin/env bash
# Guess (before the run): an ONNX model whose weights are in a safetensors file answers the same, or fails to load,
#   after that file was loaded and saved again with an entry of metadata.
# Found: the model holds offsets into the file. The entry makes the header longer, every tensor lies further on, and
#   onnxruntime reads numbers that begin in the header: it loads without a warning and answers wrong numbers. To
#   safetensors the file is equal, tensor for tensor.
# Version: onnx-safetensors 1.6.0, safetensors 0.8.0, onnx 1.23.2, onnxruntime 1.32.0.
# Why it matters: tools that add a licence, a digest or `format: pt` to safetensors files are common and change no
#   weight. Beside an ONNX model they change all of them. The pair must be published and replaced as one.
# Source: run here; onnx_safetensors writes location, offset and length as ONNX's external data.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install onnx-safetensors==1.6.0 safetensors==0.8.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - 2> log <<'PY'
import sys
import numpy as np, onnx, onnx_safetensors, onnxruntime
from onnx import TensorProto as T, helper as h, numpy_helper
from safetensors.numpy import load_file, save_file

weights = numpy_helper.from_array(np.arange(64 * 8, dtype=np.float32).reshape(64, 8), "w")
ends = [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in (("x", [1, 64]), ("y", [1, 8]))]
graph = h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
onnx.save(onnx_safetensors.save_file(model, "weights.safetensors"), "model.onnx")

def answer():
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ones((1, 64), np.float32)})[0][0]

first, before = answer(), load_file("weights.safetensors")
save_file(before, "weights.safetensors", metadata={"licence": "apache-2.0"})
after, second = load_file("weights.safetensors"), answer()
equal = all(np.array_equal(before[name], after[name]) for name in before)
print("answer of the model:         ", first[:3])
print("tensors equal after the save:", equal)
print("answer of the model now:     ", second[:3])
sys.exit(0 if equal and not np.array_equal(first, second) else 1)
PY
