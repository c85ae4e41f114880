#!/usr/bin/env bash
# Guess (before the run): converting one ONNX file twice gives equal files, and external weights are found after the
#   pair was moved.
# Found: the second is right, the first is not: each conversion has another random identifier inside (the .weight
#   files are equal). Not guessed, met on the way: the weights are searched under the model's own name plus ".weight",
#   and a model that was renamed or copied alone loads, prints "Can't open file" and answers with other numbers, with
#   no error.
# Version: MNN 3.6.1.
# Why it matters: a publisher that renames, filters or loses the second file puts a model live that starts, passes a
#   health check and answers nonsense. The pair X and X.weight belongs together by name, and a probe must compare an
#   answer.
# Source: run here; `mnnconvert --saveExternalData`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install MNN==3.6.1 onnx==1.23.2 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import numpy as np, onnx
from onnx import TensorProto as T, helper as h, numpy_helper
weights = np.random.default_rng(0).random((64, 64), dtype=np.float32)
ends = [h.make_tensor_value_info(n, T.FLOAT, [1, 64]) for n in ("x", "y")]
graph = h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9), "model.onnx")
PY
for name in one two; do
  venv/bin/mnnconvert -f ONNX --modelFile model.onnx --MNNModel "$name.mnn" --bizCode x --saveExternalData 1 > "$name.log" 2>&1 || exit 2
done
mkdir alone together
cp one.mnn alone/model.mnn
cp one.mnn together/model.mnn
cp one.mnn.weight together/model.mnn.weight
cat > answer.py <<'PY'
import sys
import MNN.expr as F, MNN.nn as nn, numpy as np
net = nn.load_module_from_file(sys.argv[1], ["x"], ["y"])
answer = np.array(net.forward(F.const(np.ones((1, 64), np.float32), [1, 64], F.NCHW)).read()).ravel()
right = np.random.default_rng(0).random((64, 64), dtype=np.float32).sum(axis=0)
print("right" if np.allclose(answer, right, rtol=1e-3) else "wrong")
PY
venv/bin/python answer.py together/model.mnn > together.log 2>&1
together=$(grep -xE "right|wrong" together.log)
venv/bin/python answer.py alone/model.mnn > alone.log 2>&1 || exit 1
alone=$(grep -xE "right|wrong" alone.log)
echo "both files renamed alike: answer $together; model alone: answer $alone, exit 0, the only sign: $(grep -m1 "Can't open" alone.log)"
same() { cmp -s "$1" "$2" && echo equal || echo unequal; }
models=$(same one.mnn two.mnn)
weights=$(same one.mnn.weight two.mnn.weight)
echo "converted twice: models $models, weights $weights"
[[ "$together $alone $models $weights" == "right wrong unequal equal" ]] || exit 1
