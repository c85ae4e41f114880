#!/usr/bin/env bash
# Guess (before the run): a GGUF file ends where its last tensor ends, as a safetensors file does.
# Found: the writer pads the last tensor, too, to the alignment of 32 bytes: the file is longer than its last
#   tensor's end.
# Version: gguf 0.19.0.
# Why it matters: "size = end of the last tensor" is the check that proves a whole safetensors file without reading
#   it. For GGUF the test has to be "not shorter", or padded up to `general.alignment`, or right files are refused.
# Source: run here; gguf/gguf_writer.py (write_tensors_to_file pads after each tensor).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install gguf==0.19.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import pathlib, sys
import gguf, numpy as np

writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_tensor("a", np.ones(8, "f4"))
writer.add_tensor("b", np.ones(5, "f4"))
for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
    step()
last = gguf.GGUFReader("model.gguf").tensors[-1]
end, size = int(last.data_offset + last.n_bytes), pathlib.Path("model.gguf").stat().st_size
print(f"last tensor ends at {end}, file has {size} bytes")
sys.exit(0 if size > end and size == -(-end // 32) * 32 else 1)
PY
