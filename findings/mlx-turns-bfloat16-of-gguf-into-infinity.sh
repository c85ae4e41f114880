#!/usr/bin/env bash
# Guess (before the run): a BF16 tensor of a GGUF file is loaded by mlx as bfloat16, or raises.
# Found: it is loaded as float16. Values beyond 65504 become infinite and small ones zero, without a warning. The same
#   tensor in a safetensors file is loaded as bfloat16.
# Version: mlx 0.32.4 (wheel with the CPU backend), gguf 0.19.0.
# Why it matters: BF16 is what weights are published in, and GGUF files of it are made to lose nothing. A model checked
#   with another loader answers otherwise with this one; an infinite weight makes every answer NaN.
# Source: run here; mlx documents that unsupported quantised types are cast to float16.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install 'mlx[cpu]==0.32.4' gguf==0.19.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import math, sys
import gguf, mlx.core as mx, numpy as np
from gguf import GGMLQuantizationType as Kind

values = np.array([1, 65536, 2.0**100, -(2.0**17), 2.0**-60, 3, 2, 1], np.float32)  # each is exact in bfloat16
to = gguf.GGUFWriter("m.gguf", "llama")
to.add_tensor("w", gguf.quants.quantize(values, Kind.BF16), raw_dtype=Kind.BF16)
to.write_header_to_file()
to.write_kv_data_to_file()
to.write_tensors_to_file()
to.close()
tensor = gguf.GGUFReader("m.gguf").tensors[0]
exact = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
mx.save_safetensors("m.safetensors", {"w": mx.array(values).astype(mx.bfloat16)})
by_gguf, by_safetensors = mx.load("m.gguf")["w"], mx.load("m.safetensors")["w"]
got = np.array(by_gguf.astype(mx.float32))
print("by gguf-py:             ", tensor.tensor_type.name, exact.tolist())
print("by mlx, from GGUF:      ", by_gguf.dtype, got.tolist())
print("by mlx, from safetensors:", by_safetensors.dtype, np.array(by_safetensors.astype(mx.float32)).tolist())
sys.exit(0 if np.array_equal(exact, values) and by_gguf.dtype == mx.float16 and math.isinf(got[1]) and got[4] == 0
         and by_safetensors.dtype == mx.bfloat16 else 1)
PY
