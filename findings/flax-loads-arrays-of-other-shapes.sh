#!/usr/bin/env bash
# Guess (before the run): `flax.serialization.from_bytes` with a target whose arrays have other shapes than those of the
#   file raises.
# Found: the target gives the names only. Arrays of any shape and type come out as they are in the file, and a name that
#   the target lacks is dropped, each without an error. Only a name that the file lacks raises.
# Version: flax 0.12.8 (jax 0.10.2).
# Why it matters: the weights of a model of another size, with the same layers, load as this one's. Where broadcasting
#   makes the shapes fit, it answers wrong numbers; where it does not, it fails at the first request and not at load.
#   "It loads" is no check of a version; compare shapes with the target's.
# Source: run here; flax/serialization.py (from_state_dict).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install flax==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
JAX_PLATFORMS=cpu venv/bin/python - 2> log <<'PY'
import sys
import numpy as np
from flax import serialization

def made(width, kind=np.float32, **more):
    return {"layer": {"kernel": np.ones((width, 4), kind), "bias": np.full(width // 4, 2, kind), **more}}

target, seen = made(16), {}
for name, file in {"equal": made(16), "shapes": made(4), "type": made(16, np.float16), "more": made(16, extra=np.ones(1)),
                   "fewer": {"layer": {"kernel": np.ones((16, 4), np.float32)}}}.items():
    try:
        layer = serialization.from_bytes(target, serialization.to_bytes(file))["layer"]
        seen[name] = {k: (v.shape, v.dtype.name) for k, v in layer.items()}
    except ValueError as error:
        seen[name] = str(error)[:60]
    print(f"{name:8}{seen[name]}")
wanted = target["layer"]["kernel"] @ np.ones((4, 4)) + target["layer"]["bias"]
loaded = serialization.from_bytes(target, serialization.to_bytes(made(4)))["layer"]
other = loaded["kernel"] @ np.ones((4, 4)) + loaded["bias"]
print("a product with them has the shape", other.shape, "and not", wanted.shape)
sys.exit(0 if seen["shapes"]["kernel"][0] == (4, 4) and seen["type"]["kernel"][1] == "float16" and set(seen["more"]) == {"kernel", "bias"}
         and isinstance(seen["fewer"], str) else 1)
PY
