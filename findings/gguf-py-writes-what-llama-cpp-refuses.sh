#!/usr/bin/env bash
# Guess (before the run): gguf-py, which is made beside llama.cpp, refuses to write a tensor that llama.cpp refuses to
#   read.
# Found: it writes names of 64 bytes and more, and tensors of five dimensions, and reads them back; llama.cpp refuses
#   the whole file ("is too long", "invalid number of dimensions"). A convolution over three dimensions, as in video
#   models, has five.
# Version: gguf 0.19.0, xllamacpp 2026.10.11549 (llama.cpp).
# Why it matters: a converted model passes every check that is made with gguf-py (headers, offsets, digests) and fails
#   at the start of the function. "It is a valid GGUF" is to be asked of the loader that will serve it.
# Source: run here; GGML_MAX_NAME and GGML_MAX_DIMS of ggml.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
cat > load.py <<'PY'
import sys
import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.warmup = sys.argv[1], 64, False
xllamacpp.Server(settings)
PY
venv/bin/python - <<'PY'
import subprocess, sys
import gguf, numpy as np

def said(name, shape):
    """What gguf-py reads back, and what llama.cpp complains of first: all of these files lack a model's own tensors."""
    to = gguf.GGUFWriter("m.gguf", "llama")
    to.add_tensor(name, np.ones(shape, np.float32))
    to.write_header_to_file()
    to.write_kv_data_to_file()
    to.write_tensors_to_file()
    to.close()
    tensor = gguf.GGUFReader("m.gguf").tensors[0]
    log = subprocess.run([sys.executable, "load.py", "m.gguf"], capture_output=True, text=True, timeout=300, check=False).stderr
    first = next((line for line in log.splitlines() if " E " in line), "")
    return tensor.name == name and len(tensor.shape) == len(shape), first.partition(" E ")[2]

seen = {"63 bytes": said("x" * 63, (4,)), "64 bytes": said("x" * 64, (4,)), "four dimensions": said("w", (2, 1, 2, 3)), "five dimensions": said("w", (2, 2, 1, 2, 3))}
for name, (read, refusal) in seen.items():
    print(f"{name:16} read back by gguf-py: {read}; llama.cpp: {refusal[:110]}")
ours = [("too long" in r, "dimensions" in r) for _, r in seen.values()]
sys.exit(0 if all(read for read, _ in seen.values()) and ours == [(False, False), (True, False), (False, False), (False, True)] else 1)
PY
