#!/usr/bin/env bash
# Guess (before the run): mlx.core.load() of a safetensors file with float8 tensors keeps their type, or raises.
# Found: F8_E4M3 and F8_E8M0 load as uint8 without an error, so 1.0 reads as 56 and 127; saved again, the file says
#   U8. F64 raises, so the loader does know types that it does not have. Equal tensors given in another order make
#   another file.
# Version: mlx 0.32.4 (mlx[cpu] on Linux); the input is written by safetensors 0.8.0 with ml_dtypes 0.6.0.
# Why it matters: a step that only passes a checkpoint through MLX (merge, rename, re-shard) publishes weights whose
#   bytes are right and whose type is lost: any other loader takes the numbers 0 to 255. Counts of parameters by type
#   before and after show it; sizes and shapes do not.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install 'mlx[cpu]==0.32.4' safetensors==0.8.0 ml_dtypes==0.6.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import json, pathlib, sys
import ml_dtypes, mlx.core as mx, numpy as np, safetensors.numpy as st

def types(name):
    data = pathlib.Path(name).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {key: entry["dtype"] for key, entry in header.items() if key != "__metadata__"}

kinds = {"e4m3": ml_dtypes.float8_e4m3fn, "e8m0": ml_dtypes.float8_e8m0fnu}
st.save_file({name: np.ones(4, np.float32).astype(kind) for name, kind in kinds.items()}, "in.safetensors")
st.save_file({"f64": np.ones(4)}, "f64.safetensors")
tensors = mx.load("in.safetensors")
mx.save_safetensors("out.safetensors", tensors)
print("in:", types("in.safetensors"), "values 1.0")
print("loaded:", {name: (str(tensor.dtype), tensor.tolist()[0]) for name, tensor in sorted(tensors.items())})
print("out:", types("out.safetensors"))
try:
    mx.load("f64.safetensors")
    f64 = "loads"
except RuntimeError as error:
    f64 = str(error)
print("F64:", f64)
a, b = mx.arange(4), mx.ones((3,))
mx.save_safetensors("ab.safetensors", {"a": a, "b": b})
mx.save_safetensors("ba.safetensors", {"b": b, "a": a})
same = pathlib.Path("ab.safetensors").read_bytes() == pathlib.Path("ba.safetensors").read_bytes()
print("order of the tensors changes the file:", not same)
right = types("out.safetensors") == {"e4m3": "U8", "e8m0": "U8"} and f64 != "loads" and not same
sys.exit(0 if right and [tensors[name].tolist()[0] for name in kinds] == [56, 127] else 1)
PY
